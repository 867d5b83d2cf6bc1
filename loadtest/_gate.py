"""The verdict: rows of a table, and the exit code that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

__all__ = ["GATED_SECONDS", "Row", "equals", "exit_code", "healthy", "shown"]

GATED_SECONDS = 30.0  # in shorter runs the generator's health is told, and decides nothing

PASS, BROKEN, FAILED, INVALID = 0, 1, 3, 4

Mark = Literal["", "ok", "high", "FAIL", "INVALID"]


class Row(msgspec.Struct, frozen=True):
    """A line of the table. ``mark`` is empty for what is only told."""

    metric: str
    value: str
    limit: str = ""
    mark: Mark = ""


def shown(metric: str, value: object) -> Row:
    """A figure that decides nothing."""
    return Row(metric, str(value))


def equals(metric: str, value: object, wanted: object, note: str = "") -> Row:
    """A figure that must be ``wanted``, or the test fails; ``note`` says more about a wrong one."""
    right = value == wanted
    text = str(value) if right or not note else f"{value} ({note})"
    return Row(metric, text, str(wanted), "ok" if right else "FAIL")


def healthy(metric: str, value: float, limit: float, unit: str, measured: float) -> Row:
    """A figure of the load generator itself, which must stay below ``limit``.

    Above, the run says nothing about the server: it is INVALID, unless it lasted less than
    :data:`GATED_SECONDS`.
    """
    over: Mark = "INVALID" if measured >= GATED_SECONDS else "high"
    return Row(metric, f"{value:.1f} {unit}", f"< {limit:g} {unit}", "ok" if value < limit else over)


def exit_code(rows: Sequence[Row], error: str = "") -> int:
    """0 passed, 1 the test itself went wrong (``error``), 3 a row failed, 4 the generator was overloaded."""
    marks = {row.mark for row in rows}
    if error:
        return BROKEN
    if "FAIL" in marks:
        return FAILED
    return INVALID if "INVALID" in marks else PASS
