"""Seeded faults."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import ConfigError
from liverpc.inspector.protocol.events import FAULTS
from liverpc.policies.faults import Fault, FaultRules, draws
from liverpc.policies.faults_wish import ACTIONS
from liverpc.wire.names import glob

# The first numbers of svelte-realtime's generator for the seed its documentation uses.
GOLDEN = [0.5393911201972514, 0.8019300322048366, 0.6604930076282471, 0.3708111068699509]


class Rules(FaultRules):
    """Rules with a clock set by hand, and what was told about them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        super().__init__(lambda: self.now, self.told.append)


def test_the_generator_is_the_one_of_the_javascript_harness() -> None:
    assert list(itertools.islice(draws("rep-1234"), 4)) == GOLDEN


@given(st.text())
def test_numbers_depend_on_the_seed_alone_and_lie_in_the_unit_interval(seed: str) -> None:
    first = list(itertools.islice(draws(seed), 20))
    assert first == list(itertools.islice(draws(seed), 20))
    assert all(0 <= number < 1 for number in first)


def test_one_draw_is_made_per_matching_publish_and_none_for_others() -> None:
    rules = Rules()
    rules.arm(Fault(rate=0.6, topic="board:*", seed="rep-1234"))
    decisions = []
    for _ in GOLDEN:
        assert not rules.drops("chat", "e")
        decisions.append(rules.drops("board:1", "e") == "drop#1")
    assert decisions == [number < 0.6 for number in GOLDEN]
    [rule] = rules.rules
    assert (rule.seen, rule.hits) == (4, sum(decisions))


def test_a_second_rule_does_not_shift_the_first_ones_sequence() -> None:
    rules = Rules()
    rules.arm(Fault(rate=0.6, topic="a", seed="rep-1234"))
    rules.arm(Fault(rate=1, topic="*", seed="x"))
    decisions = []
    for _ in GOLDEN:
        assert rules.drops("b", "e") == "drop#2"
        decisions.append(rules.drops("a", "e") == "drop#1")
    assert decisions == [number < 0.6 for number in GOLDEN]


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, math.inf])
def test_a_rate_outside_the_unit_interval_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        Rules().arm(Fault(rate=rate))


@pytest.mark.parametrize("rate", [0, 1])
def test_the_ends_of_the_interval_mean_never_and_always(rate: float) -> None:
    rules = Rules()
    rules.arm(Fault(rate=rate, topic="*", seed="s"))
    assert {rules.drops("t", "e") != "" for _ in range(100)} == {bool(rate)}


def test_a_rule_ends_at_its_limit_exactly() -> None:
    rules = Rules()
    rules.arm(Fault(seed="s", limit=3))
    assert [rules.drops("t", "e") != "" for _ in range(5)] == [True, True, True, False, False]
    assert rules.rules == []


def test_an_expired_rule_never_acts_again() -> None:
    rules = Rules()
    rules.arm(Fault(rate=1, topic="*", seed="s"), ttl=10)
    rules.now = 9.99
    assert rules.drops("t", "e")
    rules.now = 10.0
    assert not rules.drops("t", "e")
    assert rules.rules == []


def test_renewing_counts_from_now() -> None:
    rules = Rules()
    rule = rules.arm(Fault(rate=1, topic="*", seed="s"), ttl=10)
    rules.now = 9
    assert rules.renew(rule.number, 10)
    rules.now = 18
    assert rules.drops("t", "e")
    assert not rules.renew(99, 10)


def test_the_rules_of_a_lost_owner_go_and_no_others() -> None:
    rules = Rules()
    owner = object()
    rules.arm(Fault(rate=1, topic="a", seed="s"), owner=owner)
    kept = rules.arm(Fault(rate=1, topic="b", seed="s"))
    rules.orphaned(owner)
    assert rules.rules == [kept]


def test_every_change_is_told() -> None:
    rules = Rules()
    rules.arm(Fault(rate=1, topic="*", seed="s"), by="ann")
    rules.clear(by="bob")
    assert rules.clear() == 0
    assert len(rules.told) == 2
    assert "ann" in rules.told[0]
    assert "bob" in rules.told[1]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("board:*", "board:1", True),
        ("board:*", "board:", True),
        ("board:*", "xboard:1", False),
        ("*", "", True),
        ("a.c", "abc", False),
        ("a*c", "a\nc", True),
        ("[x]", "[x]", True),
        ("", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*c*", "abcd", True),
        ("*b*c*", "acbd", False),
        ("**", "x", True),
        ("a*b*c", "abc", True),
        ("a*bc*c", "abc", False),
    ],
)
def test_a_glob_knows_the_star_only(pattern: str, name: str, matches: bool) -> None:
    assert bool(glob(pattern)(name)) is matches


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_a_glob_agrees_with_the_regular_expression_it_stands_for(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    assert glob(pattern)(name) is (expected is not None)


def test_a_hostile_glob_takes_no_time() -> None:
    assert glob("*a" * 60 + "*b")("a" * 250) is False


def test_there_are_at_most_32_rules() -> None:
    rules = Rules()
    for number in range(32):
        rules.arm(Fault(rate=0, topic=f"t{number}"))
    with pytest.raises(ConfigError, match="32"):
        rules.arm(Fault(rate=0, topic="one more", seed="s"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["drop", "partition"]), st.floats(0, 1), st.integers(0, 5), st.floats(0.1, 20), st.text()
        ),
        max_size=4,
    ),
    st.lists(st.floats(0, 5), max_size=40),
)
def test_no_fault_strikes_beyond_its_time_or_its_limit(
    wishes: list[tuple[str, float, int, float, str]], pauses: list[float]
) -> None:
    rules = Rules()
    armed = [
        (rules.arm(Fault(action=action, rate=rate, limit=limit, seed=seed), ttl=ttl), ttl)
        for action, rate, limit, ttl, seed in wishes
    ]
    for pause in pauses:
        rules.now += pause
        before = {rule: rule.hits for rule, _ in armed}
        name = rules.drops("topic", "event")
        struck = [(rule, ttl) for rule, ttl in armed if rule.hits != before[rule]]
        assert [rule.name for rule, _ in struck] == ([name] if name else [])
        assert all(rules.now < ttl for _, ttl in struck)
        assert all(rule.hits <= (rule.fault.limit or rule.hits) for rule, _ in armed)
    rules.now += 20
    rules.expire()
    assert rules.rules == []


def test_the_protocol_names_every_action() -> None:
    assert ACTIONS == FAULTS


def test_a_fault_in_words_is_one_printable_line() -> None:
    text = str(Fault(topic="a\nb\x1b[2J", event="\u202e", seed="s\r"))
    assert text == "drop of a?b?[2J, event ?, seed 's\\r'"
    assert text.isprintable()


def test_a_rule_that_ended_keeps_its_name_and_not_its_owner() -> None:
    rules = FaultRules(lambda: 0.0, lambda text: None)
    ended = [rules.arm(Fault(), owner=object()) for _ in range(2)]
    rules.clear(1)
    assert [each.owner is None for each in ended] == [True, False]
    assert [rules.named(f"drop#{number}") for number in (1, 2, 3)] == [*ended, None]
    for _ in range(32):
        rules.clear(rules.arm(Fault()).number)
    assert rules.named("drop#1") is None, "32 are remembered"
