"""A run in words: the table on the terminal, and the same as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from liverpc.contrib.locust.histogram import Histogram
from liverpc.contrib.locust.words import printable
from loadtest._result import SHARES, Result, Row, Series

__all__ = ["COLUMNS", "above_floor", "grid", "heading", "latency_lines", "markdown", "series", "where"]
__all__ += ["markdown_table", "table"]

#: Of latencies: what is shown of a series, under which name.
COLUMNS = {name: name if name != "p999" else "p99.9" for name in SHARES} | {"max": "max"}
_CODES = 8  # of failures that are named in a line
_LINE_MAX = 1000  # characters of a cell
_ABBREVIATED = ("p50", "p95", "p99", "p999", "max")  # what fits into the terminal


def series(histogram: Histogram, failures: Mapping[str, int]) -> Series:
    """What reports keep of a histogram, and of the failures beside it by code."""
    return Series(
        count=histogram.count,
        mean=_milliseconds(histogram.total / histogram.count if histogram.count else 0.0),
        min=_milliseconds(histogram.min if histogram.count else 0.0),
        max=_milliseconds(histogram.max),
        **{name: _milliseconds(histogram.percentile(share)) for name, share in SHARES.items()},
        buckets=sorted(histogram.counts.items()),
        failures=dict(failures),
    )


def above_floor(result: Result, name: str) -> dict[str, float] | None:
    """An estimate of the server's own part of a series, by the names of :data:`COLUMNS`: total − floor.

    None where there is no floor. Percentiles of two runs are subtracted, which is the percentile of a difference
    only as long as the floor is small; below 0 it says 0.
    """
    floor = result.floor.get(name)
    if floor is None:
        return None
    total = result.latencies[name]
    return {column: max(getattr(total, column) - getattr(floor, column), 0.0) for column in COLUMNS}


def heading(result: Result) -> str:
    """What was run, in a line."""
    text = f"{result.scenario}: {result.users} users"
    rate = result.options.get("rate")
    if isinstance(rate, int | float) and not result.options.get("recording"):  # which says how often what is called
        text += f", {rate:g}/s {result.options.get('arrivals', '')}".rstrip()
    return f"{text}, profile {result.profile}" if result.profile else text


def where(result: Result) -> str:
    """When, how long and on which machine, in a line."""
    parts = [result.started, f"{result.measured:.0f} s measured"]
    if result.warmup:
        parts.append(f"after {result.warmup:g} s of warm-up")
    if result.processes > 1:
        parts.append(f"{result.processes} generator processes")
    if (box := result.box) is not None:
        versions = [f"{name} {version}" for name, version in box.versions.items()]
        parts += [box.cpu, f"{box.cores} cores", box.kernel, f"Python {box.python}", *versions]
        if box.commit:
            parts.append(f"commit {box.commit}")
    return " · ".join(part for part in parts if part)


def latency_lines(result: Result) -> list[tuple[str, dict[str, float], str]]:
    """Name, milliseconds by :data:`COLUMNS`, and samples with failures of each series, with its floor below it."""
    lines: list[tuple[str, dict[str, float], str]] = []
    for name, total in sorted(result.latencies.items()):
        failures = _failures(total.failures)
        samples = f"{total.count}, failed: {failures}" if failures else str(total.count)
        lines.append((name, {column: getattr(total, column) for column in COLUMNS}, samples))
        rest = above_floor(result, name)
        if rest is not None:
            floor = result.floor[name]
            lines.append(("  floor", {column: getattr(floor, column) for column in COLUMNS}, str(floor.count)))
            lines.append(("  server = total − floor, estimated", rest, ""))
    return lines


def _failures(numbers: Mapping[str, int]) -> str:
    """How many, by code: the most frequent ones, and the others together."""
    shown = Counter(numbers).most_common(_CODES)
    others = sum(numbers.values()) - sum(number for _, number in shown)
    more = [f"{others} of {len(numbers) - len(shown)} more kinds"] if others else []
    return ", ".join([*(f"{number} {code}" for code, number in shown), *more])


def table(result: Result) -> str:
    """Everything in one table, the verdict last."""
    # The percentiles of the main series are among the latencies below.
    repeated = {f"{name}_ms" for name in COLUMNS} if result.headline in result.latencies else set()
    cells = [
        (row.metric, row.value, row.limit, row.mark) for row in result.rows if row.limit or row.key not in repeated
    ]
    if result.latencies:
        names = " ".join(COLUMNS[name] for name in _ABBREVIATED)
        cells.append((f"ms: {names} (samples)", "", "", ""))
    for name, milliseconds, samples in latency_lines(result):
        figures = " ".join(f"{milliseconds[each]:.2f}" for each in _ABBREVIATED)
        cells.append((name, f"{figures}  ({samples})" if samples else figures, "", ""))
    return f"\n{heading(result)}\n{grid([('metric', 'value', 'limit', ''), *cells])}\n{_verdict(result)}"


def grid(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; the first line is their names."""
    one_line = [[_one_line(cell) for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in one_line) for column in range(len(one_line[0]) - 1)]
    texts = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in one_line
    ]
    return "\n".join([texts[0], "-" * (sum(widths) + 4 * len(widths)), *texts[1:]])


def markdown(result: Result, attribution: str, comparison: str = "") -> str:
    """The run as a comment for a pull request: GitHub's Markdown.

    Args:
        result: The run.
        attribution: What :func:`loadtest._knee.knee` says of it.
        comparison: More Markdown, put below the latencies.
    """
    decisive = [row for row in result.rows if row.limit]
    others = [row for row in result.rows if not row.limit]
    parts = [
        f"### {_escaped(heading(result))}",
        f"**{_escaped(_verdict(result))}**",
        markdown_table(("metric", "value", "limit", ""), [_cells(row) for row in decisive]) if decisive else "",
        comparison,
        markdown_table(
            ("latencies, ms", *COLUMNS.values(), "samples"),
            [
                (name.strip(), *(f"{ms[column]:.2f}" for column in COLUMNS), samples)
                for name, ms, samples in latency_lines(result)
            ],
        )
        if result.latencies
        else "",
        _escaped(attribution),
        "<details><summary>More figures</summary>\n\n"
        + markdown_table(("metric", "value", "key"), [(row.metric, row.value, row.key) for row in others])
        + "\n\n</details>"
        if others
        else "",
        f"<sub>{_escaped(where(result))}</sub>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, whatever the texts are."""
    rule = "|".join(["---"] * len(names))
    body = ["|".join(_escaped(cell) for cell in line) for line in [names, *lines]]
    return "\n".join([f"|{body[0]}|", f"|{rule}|", *(f"|{line}|" for line in body[1:])])


def _verdict(result: Result) -> str:
    error = f": {_one_line(result.error)}" if result.error else ""
    return f"verdict: {result.verdict}{error} (exit code {result.exit_code})"


def _one_line(text: str) -> str:
    """For a terminal: what servers said may be in it."""
    return printable(" ".join(text.split("\n")), _LINE_MAX)


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.metric, row.value, row.limit, row.mark


def _escaped(text: str) -> str:
    """Text that means nothing in Markdown. Entities rather than backslashes: they are safe in tables, too."""
    return re.sub(r"[^\w\s.,:;/()%=+−·-]|[_\r\n]", lambda found: f"&#{ord(found[0])};", text)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 4)
