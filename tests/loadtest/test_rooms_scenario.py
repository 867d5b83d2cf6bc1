"""``rooms``: who must hear what in a room, who must be seen there, and a run in two processes."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._room_audit import Arrivals, Cursors, Manner, Roster, Stay, Zipf, converged
from tests.e2e.doors import free_port
from tests.loadtest.load_kit import cells, locust


class Ear:
    """Subscribes somewhere, and notes how everything came."""

    def __init__(self, *first: dict[str, Any]) -> None:
        self.manners: list[Manner] = []
        self.stay = Stay(lambda _, manner: self.manners.append(manner))
        self.stay.whole([*first])

    def hear(self, *numbers: int, who: str = "ann") -> None:
        for number in numbers:
            self.stay.event({"id": who, "n": number})


def row(who: str, number: int) -> dict[str, Any]:
    return {"id": who, "n": number}


def test_a_stay_begins_behind_what_was_said_before() -> None:
    ear = Ear(row("ann", 4))
    ear.hear(5, 6)
    ear.hear(0, 1, who="bob")  # who had not spoken
    assert ear.manners == ["", "", "", ""]
    counts = ear.stay.counts({"ann": 7, "bob": 2})
    assert (counts["expected"], counts["deliveries"], counts["lost"]) == (4, 4, 0)


def test_what_a_stay_misses_is_lost_the_last_message_and_the_only_one_too() -> None:
    ear = Ear(row("ann", 4))
    ear.hear(6)
    assert ear.manners == ["gap"]
    said = {"ann": 8, "bob": 1}
    assert ear.stay.lost(said) == 3
    assert (ear.stay.behind({"ann": 7}), ear.stay.behind({"ann": 8}), ear.stay.behind({"bob": 1})) == (
        False,
        True,
        True,
    )
    assert (ear.stay.missing("ann", 8), ear.stay.missing("bob", 1)) == ({5, 7}, {0})
    counts = ear.stay.counts(said)
    assert (counts["expected"], counts["deliveries"], counts["lost"]) == (4, 1, 3)


def test_what_comes_twice_or_late_is_told_apart() -> None:
    ear = Ear()
    ear.hear(0, 2, 1, 2)
    assert ear.manners == ["", "gap", "late", "again"]
    counts = ear.stay.counts({"ann": 3})
    assert (counts["lost"], counts["out_of_order"], counts["duplicates"]) == (0, 1, 1)
    assert ear.stay.displaced == 1


def test_what_was_asked_for_is_no_loss() -> None:
    ear = Ear()
    ear.hear(0)
    ear.stay.missed([row("ann", 1), row("ann", 2)])
    ear.hear(3)
    assert ear.manners == ["", "replayed", "replayed", ""]
    assert ear.stay.counts({"ann": 4})["lost"] == 0


def test_a_value_that_is_loaded_anew_hides_no_loss() -> None:
    ear = Ear()
    ear.hear(0)
    ear.stay.whole([row("ann", 3)])
    ear.hear(4)
    counts = ear.stay.counts({"ann": 5})
    assert (counts["resets"], counts["lost"]) == (1, 3)


def test_what_comes_after_the_answer_that_ends_a_stay_is_expected_as_it_came() -> None:
    ear = Ear()
    ear.hear(0, 1, 2)
    counts = ear.stay.counts({"ann": 2})
    assert (counts["expected"], counts["deliveries"], counts["lost"]) == (3, 3, 0)


@given(
    st.integers(0, 5),
    st.lists(st.sampled_from(["ann", "bob"]), max_size=40).flatmap(
        lambda said: st.tuples(st.just(said), st.lists(st.booleans(), min_size=len(said), max_size=len(said)))
    ),
)
def test_every_message_is_delivered_or_lost(first: int, case: tuple[list[str], list[bool]]) -> None:
    said, arrives = case
    ear = Ear(*[row("ann", first - 1)] * (first > 0))
    numbers = Counter(ann=first)
    for who, comes in zip(said, arrives, strict=True):
        if comes:
            ear.hear(numbers[who], who=who)
        numbers[who] += 1
    counts = ear.stay.counts(numbers)
    assert counts["expected"] == len(said)
    assert counts["deliveries"] == sum(arrives)
    assert counts["lost"] == len(said) - sum(arrives)


def test_rooms_are_chosen_as_zipf_has_it() -> None:
    rng = random.Random(1)
    chosen = Counter(Zipf(4, 1.0).choose(rng) for _ in range(12_500))
    assert [chosen[number] / 12_500 for number in range(4)] == pytest.approx([0.48, 0.24, 0.16, 0.12], abs=0.02)
    assert min(Counter(Zipf(4, 0.0).choose(rng) for _ in range(4_000)).values()) > 900


def test_nobody_chooses_a_room_twice_however_attractive_it_is() -> None:
    zipf = Zipf(3, 10.0)
    assert {zipf.choose(random.Random(seed), {0, 1}) for seed in range(50)} == {2}


def test_a_roster_follows_who_comes_and_goes() -> None:
    came: list[tuple[str, float]] = []
    roster = Roster(lambda who, at: came.append((who, at)))
    roster.whole([{"key": "ann", "data": {"at": 1.0}}])
    roster.event({"key": "bob", "data": {"at": 2.0}})
    roster.event({"key": "ann"})
    assert (roster.keys, came) == ({"bob"}, [("bob", 2.0)])


def test_positions_that_were_left_out_or_went_back_are_counted() -> None:
    moved: list[float] = []
    cursors = Cursors(moved.append)
    cursors.whole([{"key": "ann", "n": 3, "at": 0.3}])
    for number in (3, 4, 7, 6):  # the first is what the whole value had already
        cursors.event({"key": "ann", "n": number, "at": number / 10})
    cursors.event({"key": "bob", "n": 0, "at": 0.0})
    assert (cursors.received, cursors.skipped, cursors.back) == (3, 2, 1)
    assert cursors.numbers == {"ann": 7, "bob": 0}
    assert moved == [0.4, 0.7, 0.0]
    cursors.event({"key": "ann"})
    cursors.event({"key": "ann", "n": 9, "at": 0.9})  # back after it was away: nothing was left out
    assert (cursors.numbers, cursors.skipped) == ({"ann": 9, "bob": 0}, 2)


def test_who_comes_is_seen_by_all_when_the_last_one_sees_it() -> None:
    here, there = Arrivals(most=2), Arrivals()
    for seconds in (0.2, 0.1):
        here.seen("ann", 1.0, seconds)
    there.seen("ann", 1.0, 0.5)
    there.seen("ann", 9.0, 0.25)  # came again
    here.seen("bob", 1.0, 0.1)
    here.seen("eve", 1.0, 0.1)
    histogram = converged([*here.told(), *there.told()])
    assert (histogram.count, histogram.max, histogram.min) == (3, 0.5, 0.1)
    assert here.forgotten == 1


@pytest.mark.realtime
def test_everybody_hears_and_sees_what_happens_in_its_rooms(environ: dict[str, str]) -> None:
    meeting = str(free_port())
    done = locust(
        *("--headless", "--only-summary", "--scenario", "rooms", "--serve", "-t", "3s", "-u", "16", "--rate", "60"),
        *("--topics", "6", "--churn", "0.5", "--cursor-hz", "40", "--processes", "2"),
        *("--master-port", meeting, "--master-bind-port", meeting),
        environ=environ | {"LIVERPC_LIMITS_PRESENCE_GRACE_SECONDS": "0.2"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    assert int(table["said in plain rooms"][0]) > 100
    assert int(table["deliveries"][0]) > 300
    assert int(table["changes of rooms"][0]) > 5
    assert int(table["stays in a room"][0]) == 32 + int(table["changes of rooms"][0])
    assert int(table["presence: arrivals seen by others"][0]) > 20
    # 40 moves per second are more than the server passes on, which are 20
    assert 0.2 < float(table["cursors: positions left out for later ones"][0]) < 0.8
    wrong = [name for name in table if "wrong" in name or "unlike" in name or name in ("lost", "duplicate")]
    assert len(wrong) == 5
    assert [table[name] for name in wrong] == [["0", "0", "ok"]] * 5


@pytest.mark.realtime
def test_rooms_that_nobody_can_be_in_are_refused(host: str, environ: dict[str, str]) -> None:
    few = ("--topics", "2", "--rooms-per-user", "2")
    done = locust("--headless", "--scenario", "rooms", "-t", "1s", "--host", host, *few, environ=environ)
    assert done.returncode != 0
    assert "nobody can go elsewhere who is in all rooms" in done.stderr
