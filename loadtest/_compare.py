"""Whether one run, or several repeats of it, are worse than others were."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from loadtest._gate import ABORTED, BROKEN, FAILED, INVALID, PASS, VERDICTS, exit_code
from loadtest._report import grid, markdown_table
from loadtest._result import Result, Row, Series

__all__ = ["REFUSED", "Comparison", "Line", "Tolerances", "compare", "compared_markdown", "compared_text", "summarise"]

REFUSED = 2  #: exit code: these cannot be compared

# What may differ between runs that are compared: where the server was, and how the run was asked for.
_INCIDENTAL = frozenset({"attach_token_file", "host", "id", "profile", "run_dir", "serve", "target", "url"})
_NOISY = frozenset({"p999_ms", "max_ms"})  # of a handful of samples: they are shown, and decide nothing
_AGREEING = 2 / 3  # of the new repeats that must be worse
_SERIES_FIGURES = ("p50", "p99", "p999")

Judgement = Literal["", "same", "better", "worse", "WORSE"]


class Tolerances(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much worse figures may be, as shares of what they were."""

    growth_max: float = 0.15  #: of figures of which less is better, such as latencies
    drop_max: float = 0.10  #: of figures of which more is better, such as throughput


class Line(NamedTuple):
    """A figure then and now."""

    key: str
    metric: str
    old: str
    new: str
    change: float | None  #: share of the old value; None where that is 0 and the new one is not
    judgement: Judgement  #: ``WORSE`` decides, ``worse`` is only told

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """For a table: name, old, new, change, judgement."""
        change = "from 0" if self.change is None else f"{self.change * 100:+.1f} %"
        return self.metric, self.old, self.new, change, self.judgement


class Comparison(NamedTuple):
    """What became better or worse."""

    old: str  #: which runs
    new: str
    lines: list[Line]
    differences: list[str]  #: why these should not be compared
    exit_code: int  #: 0, 3 when something is WORSE, or :data:`REFUSED`

    @property
    def verdict(self) -> str:
        """In a sentence."""
        if self.exit_code == REFUSED:
            return "not compared: the runs differ in more than what was tested (exit code 2)"
        worse = [line.metric for line in self.lines if line.judgement == "WORSE"]
        return f"WORSE: {', '.join(worse)} (exit code 3)" if worse else "no worse (exit code 0)"


def compare(
    old: Result | Sequence[Result],
    new: Result | Sequence[Result],
    tolerances: Tolerances = Tolerances(),  # noqa: B008  # frozen
    *,
    force: bool = False,
) -> Comparison:
    """Compare a run, or repeats of it, with earlier ones.

    A law that is broken now and was not before is worse. A figure that has a better side is worse when at least two
    thirds of the new repeats are worse than the old ones' median by more than the tolerance; p99.9 and maxima, the
    generator's health and the series' own percentiles are judged likewise, and decide nothing. Nothing is compared
    unless scenario, options and machine are the same and every run says something about the server, or ``force`` is
    given; :attr:`Comparison.differences` says what is not so in either case.

    Args:
        old: One run or more.
        new: One run or more.
        tolerances: Of figures.
        force: Compare what should not be.
    """
    before = [old] if isinstance(old, Result) else list(old)
    after = [new] if isinstance(new, Result) else list(new)
    names = _named(before), _named(after)
    differences = _differences([*before, *after])
    if differences and not force:
        return Comparison(*names, [], differences, REFUSED)
    lines = [*_row_lines(before, after, tolerances), *_series_lines(before, after, tolerances)]
    worse = any(line.judgement == "WORSE" for line in lines)
    return Comparison(*names, lines, differences, FAILED if worse else PASS)


def compared_text(comparison: Comparison) -> str:
    """A comparison as a table for the terminal."""
    parts = [f"{comparison.old}  ->  {comparison.new}", *(f"different: {each}" for each in comparison.differences)]
    if comparison.lines:
        parts.append(grid([("metric", "old", "new", "change", ""), *(line.cells for line in comparison.lines)]))
    return "\n".join([*parts, f"verdict: {comparison.verdict}"])


def compared_markdown(comparison: Comparison) -> str:
    """A comparison for a pull request: what decides, and what changed beyond the tolerances."""
    told = [line for line in comparison.lines if line.judgement not in ("", "same")]
    lines = [*comparison.differences, comparison.verdict]
    tables = [markdown_table((f"since {comparison.old}", "old", "new", "change", ""), [line.cells for line in told])]
    return "\n\n".join([markdown_table(("comparison",), [(line,) for line in lines]), *(tables if told else [])])


def summarise(results: Sequence[Result]) -> Result:
    """Repeats of one run as one result.

    Each row is that of the run whose number is the median (of two the lower), with the spread behind it; a law that
    was broken once is broken. Each series is that of the run with the median p99. Nothing is made up: every number
    was measured in one of the runs. There are no seconds.
    """
    if len(results) == 1:
        return results[0]
    first = results[0]
    keys = list(dict.fromkeys(row.key for result in results for row in result.rows))
    rows = [_summed_up([row for result in results for row in result.rows if row.key == key]) for key in keys]
    broken = next((result for result in results if result.exit_code == BROKEN), None)
    error = broken.error or broken.verdict if broken is not None else ""
    code = exit_code(rows, error, aborted=any(result.exit_code == ABORTED for result in results))
    return msgspec.structs.replace(
        first,
        exit_code=code,
        verdict=f"{VERDICTS[code]}, {len(results)} repeats",
        error=error,
        rows=rows,
        latencies=_of_median(results, "latencies"),
        floor=_of_median(results, "floor"),
        measured=statistics.median_low(result.measured for result in results),
        seconds=[],
        events=[],
        details={"repeats": [result.started for result in results]},
    )


def _named(results: Sequence[Result]) -> str:
    first = results[0]
    commit = first.box.commit if first.box is not None else ""
    more = f" and {len(results) - 1} more" if len(results) > 1 else ""
    return f"{first.scenario} {first.started}{f' {commit}' if commit else ''}{more}"


def _differences(results: Sequence[Result]) -> list[str]:
    """What speaks against a comparison."""
    first, *others = results
    found: list[str] = []
    for other in others:
        if other.scenario != first.scenario:
            found.append(f"scenario: {first.scenario}, {other.scenario}")
        for name in sorted((first.options.keys() | other.options.keys()) - _INCIDENTAL):
            one, two = first.options.get(name), other.options.get(name)
            if one != two:
                found.append(f"option {name}: {one}, {two}")
        if other.processes != first.processes:
            found.append(f"generator processes: {first.processes}, {other.processes}")
        if other.box is not None and first.box is not None and other.box.fingerprint != first.box.fingerprint:
            here, there = (
                f"{box.cpu}, {box.cores} cores, {box.kernel}, {box.python}" for box in (first.box, other.box)
            )
            found.append(f"machine: {here}; {there}" if here != there else f"machine: other builds of {here}")
        if (other.box is None) != (first.box is None):
            found.append("machine: not known of each run")
    found += [
        f"{result.started}: {result.verdict}, so its figures are not the server's"
        for result in results
        if result.exit_code in (BROKEN, INVALID, ABORTED)
    ]
    return list(dict.fromkeys(found))


def _row_lines(before: Sequence[Result], after: Sequence[Result], tolerances: Tolerances) -> list[Line]:
    lines = []
    for row in after[0].rows:
        old, new = (
            [each for result in results for each in result.rows if each.key == row.key and each.number is not None]
            for results in (before, after)
        )
        if old and new:
            was = statistics.median(_numbers(old))
            judgement = _judge(was, _numbers(new), row.better, tolerances)
            if row.key in _NOISY or row.kind == "health":
                judgement = "worse" if judgement == "WORSE" else judgement
            if row.kind == "must" and _broken(new) and not _broken(old):
                judgement = "WORSE"
            change = _change(was, statistics.median(_numbers(new)))
            lines.append(Line(row.key, row.metric, _spread(old), _spread(new), change, judgement))
    return lines


def _series_lines(before: Sequence[Result], after: Sequence[Result], tolerances: Tolerances) -> list[Line]:
    lines = []
    for name in sorted(after[0].latencies):
        for figure in _SERIES_FIGURES:
            old, new = (
                [getattr(each.latencies[name], figure) for each in results if name in each.latencies]
                for results in (before, after)
            )
            if old:
                was, now = statistics.median(old), statistics.median(new)
                judgement = _judge(was, new, "less", tolerances)
                told: Judgement = "worse" if judgement == "WORSE" else judgement
                metric = f"{name} {figure.replace('p999', 'p99.9')}"
                texts = f"{was:.2f} ms", f"{now:.2f} ms"
                lines.append(Line(f"{name} {figure}", metric, *texts, _change(was, now), told))
    return lines


def _judge(was: float, now: Sequence[float], better: str, tolerances: Tolerances) -> Judgement:
    if not better:
        return ""
    sign, tolerance = (1, tolerances.growth_max) if better == "less" else (-1, tolerances.drop_max)
    # The rounding of what was written down is no change.
    margin = tolerance * abs(was) + 1e-9
    needed = math.ceil(_AGREEING * len(now))
    if sum(sign * (each - was) > margin for each in now) >= needed:
        return "WORSE"
    return "better" if sum(sign * (each - was) < -margin for each in now) >= needed else "same"


def _broken(rows: Sequence[Row]) -> bool:
    return any(row.mark == "FAIL" for row in rows)


def _change(was: float, now: float) -> float | None:
    if was == now:
        return 0.0
    return (now - was) / abs(was) if was else None


def _spread(rows: Sequence[Row]) -> str:
    ordered = sorted(rows, key=lambda row: row.number or 0.0)
    median = ordered[(len(rows) - 1) // 2].value
    return median if len(rows) == 1 else f"{median} ({ordered[0].value} … {ordered[-1].value})"


def _summed_up(rows: Sequence[Row]) -> Row:
    if any(row.number is None for row in rows):
        values = list(dict.fromkeys(row.value for row in rows))
        median = msgspec.structs.replace(rows[0], value=" | ".join(values), number=None)
    else:
        middle = sorted(rows, key=lambda row: row.number or 0.0)[(len(rows) - 1) // 2]
        median = msgspec.structs.replace(middle, value=_spread(rows))
    decisive = [row for row in rows if row.mark == "INVALID" or (row.mark == "FAIL" and row.kind == "must")]
    return msgspec.structs.replace(median, mark=decisive[0].mark) if decisive else median


def _of_median(results: Sequence[Result], which: Literal["latencies", "floor"]) -> dict[str, Series]:
    found: dict[str, list[Series]] = {}
    for result in results:
        for name, series in getattr(result, which).items():
            found.setdefault(name, []).append(series)
    return {name: sorted(every, key=lambda series: series.p99)[(len(every) - 1) // 2] for name, every in found.items()}


def _numbers(rows: Sequence[Row]) -> list[float]:
    return [row.number for row in rows if row.number is not None]
