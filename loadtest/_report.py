"""The table at the end of a run, and the same as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import liverpc
from liverpc.contrib.locust.histogram import Histogram
from loadtest._gate import Row, shown

__all__ = ["latency_rows", "table", "write_report"]

_SHARES = (0.5, 0.95, 0.99, 0.999)
_NAMES = ("p50", "p95", "p99", "p99.9", "max")
_VERDICTS = {0: "PASS", 1: "ERROR", 3: "FAIL", 4: "INVALID: the load generator was overloaded"}


def latency_rows(totals: Mapping[tuple[str, str], Histogram]) -> list[Row]:
    """p50, p95, p99, p99.9 and maximum of each series, in milliseconds."""
    return [
        shown(
            f"{kind} {name}",
            " ".join(f"{ms:.2f}" for ms in _milliseconds(histogram)) + f"  ({histogram.count})",
        )
        for (kind, name), histogram in sorted(totals.items())
    ]


def table(title: str, rows: Sequence[Row], latencies: Sequence[Row], code: int, error: str) -> str:
    """Everything in one table, the verdict last."""
    heading = shown(f"ms: {' '.join(_NAMES)} (samples)", "")
    lines = [*rows, *([heading, *latencies] if latencies else [])]
    cells = [("metric", "value", "limit", ""), *((row.metric, row.value, row.limit, row.mark) for row in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    text = [f"\n{title}"]
    for number, line in enumerate(cells):
        text.append(
            "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        )
        if number == 0:
            text.append("-" * (sum(widths) + 12))
    text.append(f"verdict: {_VERDICTS[code]}{f': {error}' if error else ''} (exit code {code})")
    return "\n".join(text)


def write_report(
    path: str,
    *,
    options: Any,
    rows: Sequence[Row],
    totals: Mapping[tuple[str, str], Histogram],
    details: Mapping[str, Any],
    code: int,
    error: str,
) -> None:
    """Write what :func:`table` shows, and more, as JSON. Latencies in milliseconds.

    Raises:
        OSError: The file cannot be written.
    """
    report = {
        "schema": 1,
        "exit_code": code,
        "verdict": _VERDICTS[code],
        "error": error,
        "options": options,
        "versions": {"liverpc": liverpc.__version__, "python": platform.python_version()},
        "rows": rows,
        "latencies": {
            f"{kind} {name}": {
                "count": histogram.count,
                **dict(zip(_NAMES, _milliseconds(histogram), strict=True)),
                "buckets_ns": sorted(histogram.counts.items()),
            }
            for (kind, name), histogram in sorted(totals.items())
        },
        **details,
    }
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _milliseconds(histogram: Histogram) -> list[float]:
    seconds = [*(histogram.percentile(share) for share in _SHARES), histogram.max]
    return [round(each * 1000, 4) for each in seconds]
