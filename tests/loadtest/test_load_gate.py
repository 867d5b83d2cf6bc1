"""Options, verdict and table, without Locust."""

from __future__ import annotations

import argparse
from itertools import islice

import msgspec
import pytest

from liverpc.inspector.protocol import ChaosRule
from liverpc.policies.faults import draws
from loadtest._chaos import agreement, predicted
from loadtest._cli import Chaos, Options, add_options, parse_chaos
from loadtest._gate import GATED_SECONDS, Row, equals, exit_code, healthy, shown
from loadtest._report import table

CHAOS = Chaos(0.2, "s")


def marks(rows: list[Row]) -> set[str]:
    return {row.mark for row in rows}


def test_the_options_have_defaults_that_just_work() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    options = msgspec.convert(parser.parse_args(["--scenario", "fanout"]), Options, from_attributes=True)
    assert (options.scenario, options.rate, options.size, options.chaos) == ("fanout", 50.0, 0, None)
    assert options.random_arrivals is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scenario", "x"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "x"],
        ["--size", "-1"],
        ["--size", "1000001"],
        ["--chaos", "x"],
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_fault_is_read() -> None:
    assert parse_chaos("drop=0.2,seed=s,topic=load:*") == CHAOS
    assert parse_chaos("topic=x,drop=1").topic == "x"
    assert parse_chaos("drop=0.2").seed != parse_chaos("drop=0.2").seed


@pytest.mark.parametrize(
    "text", ["", "drop", "drop=", "drop=x", "drop=1.1", "drop=nan", "seed=s", "drop=.1,drop=.1", "delay=1"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="drop"):
        parse_chaos(text)


@pytest.mark.parametrize(
    ("rows", "error", "code"),
    [
        ([shown("a", 1), equals("b", 0, 0)], "", 0),
        ([equals("b", 1, 0)], "", 3),
        ([healthy("cpu", 99, 75, "%", 60)], "", 4),
        ([healthy("cpu", 99, 75, "%", 60), equals("b", 1, 0)], "", 3),
        ([equals("b", 1, 0)], "it broke", 1),
    ],
)
def test_the_exit_code_follows_from_the_worst_row(rows: list[Row], error: str, code: int) -> None:
    assert exit_code(rows, error) == code


@pytest.mark.parametrize(
    ("value", "seconds", "mark"),
    [
        (74.9, GATED_SECONDS, "ok"),
        (75, GATED_SECONDS, "INVALID"),
        (75, GATED_SECONDS - 0.1, "high"),
    ],
)
def test_an_overloaded_generator_invalidates_long_runs_only(value: float, seconds: float, mark: str) -> None:
    assert healthy("cpu", value, 75, "%", seconds).mark == mark


def test_the_table_names_the_verdict_and_why() -> None:
    text = table("t", [equals("lost", 2, 0, "why")], [], 3, "")
    assert "2 (why)" in text
    assert text.endswith("verdict: FAIL (exit code 3)")
    assert table("t", [], [], 1, "no users").endswith("verdict: ERROR: no users (exit code 1)")


def test_the_prediction_is_one_draw_per_publish() -> None:
    expected = {n for n, draw in enumerate(islice(draws("s"), 100)) if draw < 0.2}
    assert predicted(CHAOS, 100) == expected
    assert 5 < len(expected) < 40


def test_everybody_may_agree_about_a_fault() -> None:
    lost = predicted(CHAOS, 100)
    rule = ChaosRule(seen=100, hits=len(lost))
    assert marks(agreement(CHAOS, 100, [lost, lost], rule, len(lost))) == {"", "ok"}


def test_every_disagreement_about_a_fault_is_named() -> None:
    lost = predicted(CHAOS, 100)
    hits = len(lost)
    right = ChaosRule(seen=100, hits=hits)

    def wrong(*arguments: object) -> list[str]:
        return [row.metric for row in agreement(CHAOS, 100, *arguments) if row.mark == "FAIL"]  # type: ignore[arg-type]

    assert wrong([lost, lost - {min(lost)}], right, hits) == ["fault: subscribers that lost other publishes"]
    assert wrong([lost], ChaosRule(seen=101, hits=hits), hits) == ["fault: publishes it saw"]
    assert wrong([lost], ChaosRule(seen=100, hits=1), hits) == ["fault: its hits, and publishes lost"]
    assert wrong([lost], right, None) == ["fault: dropped by the server's count, and lost"]
    assert wrong([lost], None, hits) == ["fault: state at the end"]
    (unlike,) = [
        row
        for row in agreement(CHAOS, 100, [lost ^ {0, 1, 2}], ChaosRule(seen=100, hits=len(lost ^ {0, 1, 2})), None)
        if row.metric == "fault: losses as the seed predicts"
    ]
    assert unlike.mark == "FAIL"
    assert "not predicted" in unlike.value
