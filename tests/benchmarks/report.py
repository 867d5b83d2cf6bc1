"""Results as text, as JSON, and beside those of another run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["WIDTH", "compare", "machine", "render", "verdict"]

PACKAGES = (
    "websockets", "msgspec", "uvicorn", "fastapi", "uvloop", "python-socketio", "aiohttp",
)  # fmt: skip
#: A ratio that moved less is taken for the same.
NOISE = 0.1
WIDTH = 37  #: of a row's name in a printed line


def machine() -> dict[str, Any]:
    """Where a run took place, as far as its figures depend on it."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "packages": versions,
    }


def verdict(row: Mapping[str, Any]) -> str:
    """``reaches target``, ``reaches must`` or ``MISSES must``: of the goals of a row; empty without goals."""
    if "not_run" in row or row["must"] is None:
        return ""
    sign = 1 if row["higher_is_better"] else -1
    for word in ("target", "must"):
        if sign * row["ratio"] >= sign * row[word]:
            return f"reaches {word}"
    return "MISSES must"


def render(row: Mapping[str, Any]) -> str:
    """One line about a row."""
    name = f"{row['name']:<{WIDTH}}"
    if "not_run" in row:
        return f"{name} {row['not_run']}"
    parts = [f"{name} {row['ratio']:>7.2f}x"]
    if row["must"] is not None:
        sign = ">=" if row["higher_is_better"] else "<="
        parts.append(f"{verdict(row):<14} (must {sign} {row['must']:g}, target {sign} {row['target']:g})")
    parts.append(f"{_side(row, 'subject')} against {_side(row, 'peer')}")
    if "cpu_ratio" in row:
        parts.append(f"CPU {row['cpu_ratio']:.2f}x")
    if row["contended"]:
        parts.append("contended: other programs used the servers' core")
    if row["client_bound"]:
        parts.append(f"client-bound: {', '.join(row['client_bound'])}")
    return "  ".join(parts)


def _side(row: Mapping[str, Any], name: str) -> str:
    side = row[name]
    if row["metric"] == "rate":
        busy = f", server {side['server_busy']:.0%}, client {side['client_busy']:.0%}"
        return f"{side['rate']:,.0f}/s ({side['cpu_us']:.2f} us CPU{busy})"
    unit = {"kb": "KB", "ns": "ns", "p99_us": "us p99"}[row["metric"]]
    return f"{side[row['metric']]:,.1f} {unit}"


def compare(old: Path, new: Path) -> Iterator[str]:
    """Lines about how each row's ratio changed from one result file to another.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file holds no results.
    """
    before, after = _rows(old), _rows(new)
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is None or now is None or "not_run" in was or "not_run" in now:
            missing = [
                f"{path.name}: {'no such row' if row is None else row.get('not_run', 'measured')}"
                for path, row in ((old, was), (new, now))
            ]
            yield f"{name:<{WIDTH}} {'; '.join(missing)}"
            continue
        change = now["ratio"] / was["ratio"] - 1
        better = change > 0 if now["higher_is_better"] else change < 0
        word = "same" if abs(change) < NOISE else "better" if better else "WORSE"
        parts = [f"{name:<{WIDTH}} {was['ratio']:>7.2f}x -> {now['ratio']:>7.2f}x  {change:>+7.1%}  {word:<6}"]
        if verdict(was) != verdict(now):
            parts.append(f"{verdict(was)} -> {verdict(now)}")
        yield "  ".join(parts)


def _rows(path: Path) -> dict[str, Any]:
    try:
        return {row["name"]: row for row in json.loads(path.read_bytes())["rows"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} holds no results of `python -m tests.benchmarks`") from None
