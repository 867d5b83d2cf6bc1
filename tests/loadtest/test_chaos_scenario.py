"""``chaos``: what a fault must have done by its seed, and whether clients noticed exactly that."""

from __future__ import annotations

import msgspec
import pytest

from loadtest._faults import (
    Fault,
    Noticed,
    Strike,
    fault_rows,
    losses,
    lost_by,
    parse_faults,
    recovery_row,
    struck,
    uninjected,
)
from tests.loadtest.load_kit import cells, locust

NOTHING = Noticed(again=0, swapped=0, felt=0, recovered=None)
DROP = Strike(Fault("drop", "drop", 0.2), "j", hits=10, seen=50, first=(100, 103), end=150)
WANTED = struck(DROP)


def marks(strike: Strike, noticed: Noticed = NOTHING, lost: set[int] | None = None) -> dict[str, str]:
    """The laws of a fault and what became of them."""
    return {row.key: row.mark for row in fault_rows(strike, noticed, lost or set()) if row.kind == "must"}


def test_faults_are_parsed_with_a_figure_name_for_each() -> None:
    assert parse_faults("drop=0.2,delay=0.1/0.3,drop=1,reorder=0.05") == [
        Fault("drop", "drop", 0.2),
        Fault("delay", "delay", 0.1, 0.3),
        Fault("drop2", "drop", 1.0),
        Fault("reorder", "reorder", 0.05, 1.0),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "drop",
        "drop=0",
        "drop=1.1",
        "drop=nan",
        "drop=0.1/1",
        "delay=0.1/0",
        "delay=0.1/3.1",
        "delay=0.1/x",
        "vanish=1",
    ],
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not like drop=0\.2"):
        parse_faults(text)


@pytest.mark.parametrize("first", DROP.first)
def test_losses_are_found_wherever_the_fault_began(first: int) -> None:
    lost = {first + number for number in WANTED}
    assert losses(DROP, lost | {90, 200}) == (set(), set())  # those are of other times
    assert len(WANTED) == 10
    assert set(marks(DROP, lost=lost).values()) == {"ok"}


def test_a_loss_that_nobody_noticed_and_one_that_was_not_injected_are_told() -> None:
    lost = {101 + number for number in WANTED}
    hidden, other = max(lost), next(number for number in range(101, 151) if number not in lost)
    assert losses(DROP, lost - {hidden} | {other}) == ({hidden}, {other})
    rows = {row.key: row for row in fault_rows(DROP, NOTHING, lost - {hidden})}
    assert rows["drop_predicted"].value == f"1 predicted and not lost: {hidden}"
    assert rows["drop_predicted"].mark == "FAIL"
    assert rows["drop_detection_ratio"].number == 0.9


def test_who_lost_a_message_is_counted_over_all_processes() -> None:
    found = lost_by([("r", "ann", 1, 2), ("r", "ann", 1, 1), ("r", "bob", 0, 2)])
    assert found == {("r", "ann", 1): 3, ("r", "bob", 0): 2}


def test_a_fault_that_did_not_see_all_that_was_said_is_told() -> None:
    # Armed when 100 to 103 messages had been said.
    assert [marks(msgspec.structs.replace(DROP, end=end))["drop_unseen"] for end in (153, 154)] == ["ok", "FAIL"]


def test_a_fault_that_struck_otherwise_than_its_seed_says_or_was_removed_is_told() -> None:
    assert marks(msgspec.structs.replace(DROP, hits=11))["drop_hits"] == "FAIL"
    assert marks(msgspec.structs.replace(DROP, hits=None, seen=0)) == {"drop_state": "FAIL"}


@pytest.mark.parametrize(
    ("action", "noticed", "broken"),
    [
        ("duplicate", {"again": 10}, set()),
        ("duplicate", {"again": 9}, {"duplicate_noticed"}),
        ("duplicate", {"again": 11}, {"duplicate_noticed"}),
        ("delay", {"felt": 10}, set()),
        ("delay", {"felt": 60}, set()),  # what was behind
        ("delay", {"felt": 9}, {"delay_noticed"}),
        ("reorder", {"swapped": 10}, set()),
        ("reorder", {"swapped": 8}, set()),  # two strikes met
        ("reorder", {"swapped": 11}, {"reorder_surplus"}),
        ("reorder", {}, {"reorder_none"}),
    ],
)
def test_each_fault_must_be_noticed_for_what_it_is(action: str, noticed: dict[str, int], broken: set[str]) -> None:
    strike = msgspec.structs.replace(DROP, fault=Fault(action, action, 0.2, 0.2))
    found = marks(strike, msgspec.structs.replace(NOTHING, **noticed))
    assert {key for key, mark in found.items() if mark == "FAIL"} == broken


def test_what_was_noticed_and_not_injected_is_told() -> None:
    strikes = [DROP, msgspec.structs.replace(DROP, fault=Fault("duplicate", "duplicate", 0.2))]
    noticed = [
        Noticed(again=1, swapped=2, felt=0, recovered=None),
        Noticed(again=5, swapped=0, felt=0, recovered=None),
    ]
    lost = {99, 100, 152, 153}  # it saw 50 messages, the first of them 100 to 103
    assert uninjected(strikes, noticed, lost, NOTHING) == {"lost": 2, "duplicate": 1, "out of order": 2}
    before = Noticed(again=1, swapped=1, felt=0, recovered=None)
    assert uninjected([], [], set(), before) == {"lost": 0, "duplicate": 1, "out of order": 1}


@pytest.mark.parametrize(("recovered", "seconds"), [(None, 0.0), (0.75, 0.75)])
def test_the_time_until_all_is_usual_again_is_a_figure(recovered: float | None, seconds: float) -> None:
    row = recovery_row(DROP.fault, "kept", recovered)
    assert (row.key, row.number) == ("drop_kept_recovered_s", seconds)


@pytest.mark.realtime
def test_plain_rooms_notice_every_fault_and_those_with_replay_none(environ: dict[str, str]) -> None:
    done = locust(
        *("--headless", "--only-summary", "--scenario", "chaos", "--serve", "-u", "12", "--rate", "80"),
        *("--topics", "4", "--faults", "drop=0.3,delay=0.1/0.1,duplicate=0.2,reorder=0.1/0.5"),
        *("--trouble", "0.9", "--calm", "0.3"),
        environ=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["faults"] == ["4"]
    for fault in ("drop", "delay", "duplicate", "reorder"):
        hits, predicted, mark = table[f"{fault}: its strikes, and as the seed predicts"]
        assert (hits, mark) == (predicted, "ok")
        assert int(hits) > 3
        hits, predicted, mark = table[f"{fault}, kept: its strikes, and as the seed predicts"]
        assert (hits, mark) == (predicted, "ok")
        assert int(hits) > 3
    assert table["drop: losses as the seed predicts"] == ["all", "all", "ok"]
    assert float(table["drop: noticed of injected"][0]) == float(table["duplicate: noticed of injected"][0]) == 1
    assert float(table["delay: noticed of injected"][0]) == 1
    assert float(table["reorder: noticed of injected"][0]) > 0.5
    assert [table[f"with replay: {what}"] for what in ("lost", "duplicate", "out of order")] == [["0", "0", "ok"]] * 3
    assert int(table["with replay: messages asked for"][0]) > 0
    assert table["values unlike the server's at the end"] == ["0", "0", "ok"]
