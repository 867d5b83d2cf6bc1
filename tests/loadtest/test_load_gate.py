"""Options, verdict and table, without Locust."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from liverpc.inspector.protocol import ChaosRule
from liverpc.policies.faults import draws
from loadtest._cli import add_options, given_options
from loadtest._faults import agreement, predicted
from loadtest._gate import exit_code, healthy, limited, must, told
from loadtest._profile import FOLDER, HealthLimits, Meta, OptionError, Plan, Profile, make_plan, read_profile
from loadtest._result import Row
from loadtest._upload_plan import UploadKnobs
from loadtest._words import Chaos, parse_chaos, parse_freeze, seconds

CHAOS = Chaos(0.2, "s")


def marks(rows: list[Row]) -> set[str]:
    return {row.mark for row in rows}


class Knobs(msgspec.Struct, frozen=True):
    rows: Annotated[int, msgspec.Meta(description="how many, 100% of them", ge=1)] = 10
    waiting: bool = False


def planned(*arguments: str, profile: Profile = Profile(), **defaults: Any) -> Plan:  # noqa: B008 - frozen
    parser = argparse.ArgumentParser()
    for name, kind in (("users", int), ("spawn-rate", float), ("run-time", int)):
        parser.add_argument(f"--{name}", type=kind, dest={"users": "num_users"}.get(name))
    add_options(parser, {"a": Knobs, "b": UploadKnobs})
    return make_plan(
        scenario="a",
        url="ws://x/ws",
        defaults=defaults,
        knobs=Knobs,
        profile=profile,
        given=given_options(parser.parse_args(arguments), [Knobs]),
    )


def test_the_command_line_wins_over_the_profile_and_that_over_the_scenario() -> None:
    assert planned().options.rate == 50
    assert planned(rate=60).options.rate == 60
    profile = Profile("p", scenarios={"a": {"rate": 70, "rows": 3, "limits": {"p99_ms_max": 5}}, "b": {"rate": 1}})
    plan = planned(profile=profile, rate=60)
    assert (plan.options.rate, plan.knobs, plan.limits) == (70, {"rows": 3, "waiting": False}, {"p99_ms_max": 5})
    assert plan.options.seconds == 30
    plan = planned("--rate", "80", "--rows", "4", "--waiting", "--users", "7", profile=profile, rate=60)
    assert (plan.options.rate, plan.options.users, plan.knobs) == (80, 7, {"rows": 4, "waiting": True})


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
        ["--freeze", "2"],
        ["--warmup", "-1"],
        ["--rows", "0"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        planned(*arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"rat": 3}, r"the profile p says \[a\] rat, which the scenario does not have: it has .*rate.*, and limits"),
        ({"rate": "x"}, r"the options of a are wrong: Expected `float`, got `str` - at `\$.rate`"),
        ({"rows": 0}, r"Expected `int` >= 1 - at `\$.rows`"),
        ({"limits": {"p99_ms_max": "x"}}, "Expected `float`"),
        ({"warmup": "soon"}, "'soon' is no time"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        planned(profile=Profile("p", scenarios={"a": section}))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[meta", "cannot read the profile"),
        ("[meta]\nrepeats = 3", "unknown field `repeats`"),
        ("[meta]\nmeasure = 'soon'", "'soon' is no time"),
        ("[generator]\ncpu_max = 'high'", "Expected `float`"),
        ("rate = 3", "Expected `object`"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=sentence):
        read_profile(str(path))


def test_a_run_that_is_over_before_it_is_measured_is_refused() -> None:
    profile = Profile("p", Meta(warmup="5s"), scenarios={"a": {}})
    assert planned("--run-time", "6", profile=profile).options.seconds == 6
    for length in ("5", "4"):
        with pytest.raises(OptionError, match=f"a warm-up of 5 s leaves nothing of {length} s to measure"):
            planned("--run-time", length, profile=profile)


def test_a_section_that_is_no_scenario_is_refused() -> None:
    profile = Profile("p", scenarios={"rpc": {}, "fanuot": {}})
    profile.check(["rpc", "fanuot"])
    with pytest.raises(
        OptionError, match=r"the profile p has a section \[fanuot\], which is no scenario: .*fanout, rpc"
    ):
        profile.check(["rpc", "fanout"])


def test_a_profile_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(OptionError, match=r"there is no profile .*x\.toml: choose one of .*smoke"):
        read_profile("x")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_profiles_of_the_project_can_be_read(path: Path) -> None:
    assert read_profile(path.stem).scenarios


@pytest.mark.parametrize(
    ("text", "wanted"), [("90", 90), ("1.5s", 1.5), ("200ms", 0.2), ("1h30m", 5400), ("5m", 300), (7, 7)]
)
def test_times_are_read(text: str | int, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "1x", "-1", "1s2", "1 s", "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        seconds(text)


def test_a_freeze_has_a_length_and_a_period() -> None:
    assert (parse_freeze("0.2").seconds, parse_freeze("0.2").every) == (0.2, 1)
    assert (parse_freeze("2/10").seconds, parse_freeze("2/10").every) == (2, 10)
    for text in ("", "x", "0", "1/1", "nan", "1/", "-1/2"):
        with pytest.raises(ValueError, match=r"not like 0\.2/1"):
            parse_freeze(text)


def test_a_fault_is_read() -> None:
    assert parse_chaos("drop=0.2,seed=s,topic=load:*") == CHAOS
    assert parse_chaos("topic=x,drop=1").topic == "x"
    assert parse_chaos("drop=0.2").seed != parse_chaos("drop=0.2").seed


@pytest.mark.parametrize(
    "text", ["", "drop", "drop=", "drop=x", "drop=1.1", "drop=nan", "seed=s", "drop=.1,drop=.1", "delay=1"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="drop"):
        parse_chaos(text)


HOT = healthy("cpu", "cpu", 99, 75, "%", gated=True)
WRONG = must("b", "b", 1, 0)


@pytest.mark.parametrize(
    ("rows", "error", "aborted", "code"),
    [
        ([told("a", "a", 1), must("b", "b", 0, 0)], "", False, 0),
        ([WRONG], "", False, 3),
        ([HOT], "", False, 4),
        ([HOT, WRONG], "", True, 3),
        ([HOT, *limited([told("p99_ms", "p99", 9.0)], {"p99_ms_max": 5})], "", True, 4),
        (limited([told("p99_ms", "p99", 9.0)], {"p99_ms_max": 5}), "", True, 5),
        (limited([told("p99_ms", "p99", 9.0)], {"p99_ms_max": 5}), "", False, 3),
        ([WRONG], "it broke", False, 1),
    ],
)
def test_the_exit_code_follows_from_the_worst_row(rows: list[Row], error: str, aborted: bool, code: int) -> None:
    assert exit_code(rows, error, aborted=aborted) == code


@pytest.mark.parametrize(("value", "gated", "mark"), [(74.9, True, "ok"), (75, True, "INVALID"), (75, False, "high")])
def test_an_overloaded_generator_invalidates_where_that_is_gated(value: float, gated: bool, mark: str) -> None:
    assert healthy("cpu", "cpu", value, 75, "%", gated=gated).mark == mark


def test_limits_hold_at_the_limit_and_not_beyond() -> None:
    rows = [told("p99_ms", "p99", 5.0), told("ratio", "done", 0.99), told("name", "name", "x")]
    assert [row.mark for row in limited(rows, {"p99_ms_max": 5, "ratio_min": 0.99})] == ["ok", "ok", ""]
    assert [row.mark for row in limited(rows, {"p99_ms_max": 4.9, "ratio_min": 1})] == ["FAIL", "FAIL", ""]
    both = limited(rows, {"p99_ms_max": 6, "p99_ms_min": 5.5})[0]
    assert (both.mark, both.limit) == ("FAIL", "<= 6, >= 5.5")


@pytest.mark.parametrize("name", ["p98_ms_max", "p99_ms", "p99_ms_most", "name_max"])
def test_a_limit_without_a_figure_is_named_beside_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=f"the limit {name} has no figure: .*of the figures p99_ms$"):
        limited([told("p99_ms", "p99", 5.0), told("name", "name", "x")], {name: 1})


def test_a_goal_does_not_soften_a_law() -> None:
    assert limited([WRONG], {"b_max": 5}) == [WRONG]


def test_the_default_health_is_only_told_in_short_runs() -> None:
    assert HealthLimits().gate is None
    assert read_profile("smoke").generator.gate is False


def test_the_prediction_is_one_draw_per_publish() -> None:
    expected = {n for n, draw in enumerate(islice(draws("s"), 100)) if draw < 0.2}
    assert predicted(CHAOS, 100) == expected
    assert 5 < len(expected) < 40


def test_everybody_may_agree_about_a_fault() -> None:
    lost = predicted(CHAOS, 100)
    rule = ChaosRule(seen=100, hits=len(lost))
    assert marks(agreement(CHAOS, 100, [(lost, 2)], rule, len(lost))) == {"", "ok"}


def test_every_disagreement_about_a_fault_is_named() -> None:
    lost = predicted(CHAOS, 100)
    hits = len(lost)
    right = ChaosRule(seen=100, hits=hits)

    def wrong(lost: list[tuple[set[int], int]], rule: ChaosRule | None, dropped: int | None) -> list[str]:
        return [row.metric for row in agreement(CHAOS, 100, lost, rule, dropped) if row.mark == "FAIL"]

    assert wrong([(lost, 1), (lost - {min(lost)}, 1)], right, hits) == ["fault: subscribers that lost other publishes"]
    assert wrong([(lost, 1)], ChaosRule(seen=101, hits=hits), hits) == ["fault: publishes it saw"]
    assert wrong([(lost, 1)], ChaosRule(seen=100, hits=1), hits) == ["fault: its hits, and publishes lost"]
    assert wrong([(lost, 1)], right, None) == ["fault: dropped by the server's count, and lost"]
    assert wrong([(lost, 1)], None, hits) == ["fault: state at the end"]
    (unlike,) = [
        row
        for row in agreement(CHAOS, 100, [(lost ^ {0, 1, 2}, 1)], ChaosRule(seen=100, hits=len(lost ^ {0, 1, 2})), None)
        if row.metric == "fault: losses as the seed predicts"
    ]
    assert unlike.mark == "FAIL"
    assert "not predicted" in unlike.value
