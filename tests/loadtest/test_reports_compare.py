"""Runs against earlier runs, and repeats as one."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._compare import REFUSED, Comparison, Tolerances, compare, compared_markdown, compared_text, summarise
from loadtest._result import Result
from tests.loadtest.results_kit import BOX, ECHO, result_of, row, series_of


def run(number: float, better: Literal["", "less", "more"] = "less", /, key: str = "p99_ms", **more: Any) -> Result:
    return result_of(rows=[row(key, number, better=better, **more)])


def judged(comparison: Comparison, key: str = "p99_ms") -> tuple[str, int]:
    (line,) = [line for line in comparison.lines if line.key == key]
    return line.judgement, comparison.exit_code


@pytest.mark.parametrize(
    ("better", "old", "new", "judgement", "code"),
    [
        ("less", 100, 115, "same", 0),
        ("less", 100, 115.1, "WORSE", 3),
        ("less", 100, 85, "same", 0),
        ("less", 100, 84.9, "better", 0),
        ("more", 100, 90, "same", 0),
        ("more", 100, 89.9, "WORSE", 3),
        ("more", 100, 110.1, "better", 0),
        ("", 100, 1000, "", 0),
        ("less", 0, 0, "same", 0),
        ("less", 0, 1, "WORSE", 3),
    ],
)
def test_a_figure_is_judged_by_its_better_side(
    better: Literal["", "less", "more"], old: float, new: float, judgement: str, code: int
) -> None:
    assert judged(compare(run(old, better), run(new, better))) == (judgement, code)


def test_a_law_that_is_broken_now_is_worse_and_one_that_always_was_is_not() -> None:
    kept, broken = (run(n, "", key="lost", kind="must", mark=mark) for n, mark in ((0, "ok"), (5, "FAIL")))
    assert judged(compare(kept, broken), "lost") == ("WORSE", 3)
    assert judged(compare(broken, broken), "lost") == judged(compare(broken, kept), "lost") == ("", 0)


def test_tolerances_may_be_others() -> None:
    assert judged(compare(run(100), run(115), Tolerances(growth_max=0.1))) == ("WORSE", 3)
    assert judged(compare(run(100, "more"), run(80, "more"), Tolerances(drop_max=0.3))) == ("same", 0)


@pytest.mark.parametrize("more", [{"key": "p999_ms"}, {"key": "max_ms"}, {"kind": "health"}])
def test_what_is_noisy_or_the_generators_is_told_and_decides_nothing(more: dict[str, Any]) -> None:
    assert judged(compare(run(1, **more), run(9, **more)), more.get("key", "p99_ms")) == ("worse", 0)


def test_latencies_of_all_series_are_told() -> None:
    old = result_of(latencies={ECHO: series_of([1.0]), "gone": series_of([1.0])})
    new = result_of(latencies={ECHO: series_of([2.0]), "new": series_of([1.0])})
    told = {line.key: line for line in compare(old, new).lines if " " in line.key}
    assert set(told) == {f"{ECHO} {figure}" for figure in ("p50", "p99", "p999")}
    assert {(line.judgement, line.cells[3]) for line in told.values()} == {("worse", "+100.0 %")}


@pytest.mark.parametrize(
    ("new", "judgement"),
    [([120, 120, 100], "WORSE"), ([120, 100, 100], "same"), ([120, 100], "same"), ([80, 100, 80], "better")],
)
def test_two_of_three_repeats_must_agree(new: list[float], judgement: str) -> None:
    comparison = compare([run(99), run(100), run(500)], [run(each) for each in new])
    assert judged(comparison)[0] == judgement


def test_repeats_show_their_median_and_their_spread() -> None:
    (line, *_) = compare([run(99), run(100), run(500)], run(100)).lines
    assert line.cells[1:4] == ("100 (99 … 500)", "100", "+0.0 %")


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(["less", "more"]))
def test_better_one_way_is_never_better_the_other_way(
    one: float, other: float, better: Literal["less", "more"]
) -> None:
    there, back = compare(run(one, better), run(other, better)), compare(run(other, better), run(one, better))
    assert {judged(there)[0], judged(back)[0]} not in ({"WORSE"}, {"better"})


def with_box(**given: Any) -> Result:
    return result_of(box=msgspec.structs.replace(BOX, **given))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (with_box(fingerprint="f2", cpu="Cpu 2"), "machine: Cpu 1, 2 cores"),
        (with_box(fingerprint="f2"), "machine: other builds"),
        (result_of(box=None), "machine: not known"),
        (result_of(scenario="fanout"), "scenario: rpc, fanout"),
        (result_of(options={**result_of().options, "rate": 5.0}), "option rate: 1000.0, 5.0"),
        (result_of(options={**result_of().options, "size": 5}), "option size: None, 5"),
        (result_of(processes=2), "generator processes: 1, 2"),
        (result_of(exit_code=4, verdict="INVALID: overloaded"), "INVALID: overloaded, so"),
        (result_of(exit_code=1, verdict="ERROR"), "ERROR, so"),
    ],
)
def test_runs_that_cannot_be_compared_are_not_unless_it_is_forced(other: Result, why: str) -> None:
    refused = compare(result_of(), other)
    assert (refused.exit_code, refused.lines) == (REFUSED, [])
    assert any(why in difference for difference in refused.differences)
    assert "not compared" in compared_text(refused)
    forced = compare(result_of(), other, force=True)
    assert forced.exit_code == 0
    assert forced.lines
    assert why in compared_text(forced)


def test_another_server_address_commit_or_verdict_is_no_obstacle() -> None:
    other = msgspec.structs.replace(
        with_box(commit="def5678", versions={"liverpc": "2.0"}),
        options={**result_of().options, "url": "ws://elsewhere", "id": "x"},
        exit_code=3,
        verdict="FAIL",
    )
    assert compare(result_of(), other).exit_code == 0


def test_a_comparison_reads_well() -> None:
    comparison = compare(run(100), msgspec.structs.replace(run(200), started="2026-03-02T12:00:00Z"))
    lines = compared_text(comparison).splitlines()
    assert lines[0] == "rpc 2026-03-01T12:00:00Z abc1234  ->  rpc 2026-03-02T12:00:00Z abc1234"
    assert lines[3].split() == ["p99_ms", "100", "200", "+100.0", "%", "WORSE"]
    assert lines[-1] == "verdict: WORSE: p99_ms (exit code 3)"
    assert "|p99&#95;ms|100|200|+100.0 %|WORSE|" in compared_markdown(comparison)


# -- repeats


def test_one_repeat_is_itself() -> None:
    result = result_of()
    assert summarise([result]) is result


def test_repeats_become_their_median_with_the_spread_behind_it() -> None:
    whole = summarise([run(each, value=f"{each} ms") for each in (3, 1, 2)])
    (figure,) = whole.rows
    assert (figure.number, figure.value) == (2, "2 ms (1 ms … 3 ms)")
    assert (whole.exit_code, whole.verdict) == (0, "PASS, 3 repeats")
    assert len(whole.details["repeats"]) == 3


def test_a_limit_broken_once_is_forgiven_and_a_law_is_not() -> None:
    def limited(mark: Literal["ok", "FAIL"], number: float, kind: Literal["must", "limit"]) -> Result:
        return run(number, limit="<= 5", mark=mark, kind=kind)

    limits = [limited("ok", 1, "limit"), limited("FAIL", 9, "limit"), limited("ok", 2, "limit")]
    assert summarise(limits).exit_code == 0
    assert summarise([limits[0], limits[1], limits[1]]).exit_code == 3
    assert summarise([limited("ok", 0, "must"), limited("FAIL", 1, "must"), limited("ok", 0, "must")]).exit_code == 3


def test_one_overloaded_generator_makes_all_repeats_invalid() -> None:
    rows = [row("cpu", 0.9, limit="< 0.75", mark="INVALID", kind="health")]
    fine = result_of(rows=[row("cpu", 0.1, limit="< 0.75", mark="ok", kind="health")])
    assert summarise([fine, result_of(rows=rows), fine]).exit_code == 4


def test_a_repeat_that_broke_breaks_the_whole() -> None:
    whole = summarise([result_of(), result_of(exit_code=1, verdict="ERROR", error="no server")])
    assert (whole.exit_code, whole.error) == (1, "no server")


def test_rows_without_a_number_show_every_value_once() -> None:
    texts = [result_of(rows=[row("seed", 0, value=value, number=None)]) for value in ("a", "b", "a")]
    assert summarise(texts).rows[0].value == "a | b"


def test_series_are_those_of_the_median_run() -> None:
    runs = [result_of(latencies={ECHO: series_of([ms])}) for ms in (9.0, 1.0, 2.0)]
    assert summarise(runs).latencies[ECHO] == runs[2].latencies[ECHO]
