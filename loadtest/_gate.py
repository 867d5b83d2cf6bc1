"""The verdict: rows of a table, and the exit code that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from loadtest._result import Row

__all__ = [
    "ABORTED",
    "BROKEN",
    "FAILED",
    "GATED_SECONDS",
    "INVALID",
    "PASS",
    "VERDICTS",
    "exit_code",
    "healthy",
    "limited",
    "must",
    "told",
]

GATED_SECONDS = 30.0  # in shorter runs the generator's health is told, and decides nothing

PASS, BROKEN, FAILED, INVALID, ABORTED = 0, 1, 3, 4, 5
VERDICTS = {
    PASS: "PASS",
    BROKEN: "ERROR",
    FAILED: "FAIL",
    INVALID: "INVALID: the load generator was not up to it",
    ABORTED: "ABORTED",
}


def told(
    key: str, metric: str, value: Any, unit: str = "", *, better: Literal["", "less", "more"] = "", digits: int = 2
) -> Row:
    """A figure that decides nothing, unless the profile has a limit for it."""
    number = float(value) if isinstance(value, int | float) else None
    text = f"{value:.{digits}f}" if isinstance(value, float) else str(value)
    return Row(key=key, metric=metric, value=f"{text} {unit}".rstrip(), number=number, better=better)


def must(key: str, metric: str, value: Any, wanted: Any, note: str = "") -> Row:
    """A figure that must be ``wanted``, or the test fails; ``note`` says more about a wrong one."""
    right = value == wanted
    text = str(value) if right or not note else f"{value} ({note})"
    number = float(value) if isinstance(value, int | float) else None
    return Row(
        key=key,
        metric=metric,
        value=text,
        number=number,
        limit=str(wanted),
        mark="ok" if right else "FAIL",
        kind="must",
    )


def healthy(key: str, metric: str, value: float, limit: float, unit: str, *, gated: bool) -> Row:
    """A figure of the load generator itself, which must stay below ``limit``.

    Above, the run says nothing about the server: it is INVALID if that is ``gated``, else it is only told.
    """
    mark: Literal["ok", "high", "INVALID"] = "ok" if value < limit else "INVALID" if gated else "high"
    return Row(
        key=key,
        metric=metric,
        value=f"{value:.1f} {unit}",
        number=value,
        limit=f"< {limit:g} {unit}",
        mark=mark,
        kind="health",
        better="less",
    )


def limited(rows: Sequence[Row], limits: Mapping[str, float]) -> list[Row]:
    """The rows with a profile's limits (``<key>_max``, ``<key>_min``) on them.

    Raises:
        ValueError: A limit has no figure; the text names those there are.
    """
    by_key = {row.key: row for row in rows if row.number is not None}
    both: dict[str, list[tuple[str, float]]] = {}
    for name, limit in limits.items():
        key, _, side = name.rpartition("_")
        if key not in by_key or side not in ("max", "min"):
            raise ValueError(
                f"the limit {name} has no figure: limits are <figure>_max or <figure>_min, "
                f"of the figures {', '.join(sorted(by_key))}"
            )
        both.setdefault(key, []).append((side, limit))
    return [_with(row, both[row.key]) if row.key in both and row.number is not None else row for row in rows]


def _with(row: Row, limits: list[tuple[str, float]]) -> Row:
    number = row.number
    assert number is not None
    kept = all(number <= limit if side == "max" else number >= limit for side, limit in limits)
    texts = [f"{'<=' if side == 'max' else '>='} {limit:g}" for side, limit in limits]
    if row.kind == "must":  # a goal does not soften a law
        return row
    return msgspec.structs.replace(row, limit=", ".join(texts), mark="ok" if kept else "FAIL", kind="limit")


def exit_code(rows: Sequence[Row], error: str = "", *, aborted: bool = False) -> int:
    """0 passed, 1 the test itself went wrong (``error``), 3 a law or a limit was broken, 4 the generator was
    overloaded or its clocks were too far apart, so that limits say nothing, 5 a limit was broken for so long that the
    run was ended early.
    """
    if error:
        return BROKEN
    if any(row.mark == "FAIL" and row.kind == "must" for row in rows):
        return FAILED
    if any(row.mark == "INVALID" for row in rows):
        return INVALID
    if aborted:
        return ABORTED
    return FAILED if any(row.mark == "FAIL" for row in rows) else PASS
