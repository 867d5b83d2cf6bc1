from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import ClientFrame, ConnectionEvent, Err, Events, Got, Match, ServerInfo, Watch
from liverpc_devtools.core.events import Entry, EventLog, Remark, failed, groups, notable
from liverpc_devtools.core.model import Model
from tests.devtools.attach_frames import WALL, Hand, call, pub, welcome


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def sent() -> list[ClientFrame]:
    return []


@pytest.fixture
def model(hand: Hand, sent: list[ClientFrame]) -> Model:
    model = Model(monotonic=hand)
    model.attached(welcome(), sent.append)
    return model


def remarks(model: Model) -> list[tuple[str, str]]:
    return [(each.what.kind, each.what.text) for each in model.events if isinstance(each.what, Remark)]


def times(log: EventLog) -> list[float]:
    return [each.what.at for each in log]


@given(st.lists(st.floats(0, 100), max_size=40))
def test_entries_are_ordered_by_the_servers_time_and_then_by_arrival(at: list[float]) -> None:
    log = EventLog(most=20)
    for number, each in enumerate(at, 1):
        log.add(pub(at=each, id=number), each)
    assert times(log) == sorted(times(log))
    assert len(log) == min(len(at), 20)
    assert log.evicted == max(len(at) - 20, 0)
    same: list[Entry] = list(log)
    assert all(a.number < b.number for a, b in itertools.pairwise(same) if a.what.at == b.what.at)
    assert log.weight == sum(each.weight for each in log)


@pytest.mark.parametrize(("events", "evicted"), [(4, 0), (5, 0), (6, 1)])
def test_beyond_the_most_entries_the_oldest_goes(events: int, evicted: int) -> None:
    log = EventLog(most=5)
    for number in range(1, events + 1):
        log.add(pub(at=float(number), id=number), 0.0)
    assert (log.evicted, times(log)[0]) == (evicted, 1.0 + evicted)


def test_beyond_the_most_bytes_the_oldest_goes() -> None:
    large = msgspec.structs.replace(pub(id=1), data={"text": "x" * 1000})
    log = EventLog(most_bytes=50_000)
    for number in range(1, 30):
        log.add(msgspec.structs.replace(large, id=number, at=float(number)), 0.0)
    assert 0 < log.weight <= 50_000
    assert log.evicted == 29 - len(log)


def test_failed_and_slow_calls_outlive_the_rest() -> None:
    log = EventLog(most=10)
    log.add(call(1.0, ok=False, id=1), 0.0)
    log.add(msgspec.structs.replace(call(2.0, id=2), ms=100.0), 0.0)
    for number in range(3, 100):
        log.add(pub(at=float(number), id=number), 0.0)
    assert times(log)[:2] == [1.0, 2.0]


def test_failures_take_no_more_than_half_of_the_room() -> None:
    log = EventLog(most=10)
    for number in range(1, 101):
        log.add(pub(at=number * 2.0, id=number * 2), 0.0)
        log.add(call(number * 2.0 + 1, ok=False, id=number * 2 + 1), 0.0)
    assert sum(notable(each.what) for each in log) == 5


def test_an_event_that_arrives_twice_is_kept_once_with_what_is_known_last() -> None:
    log = EventLog()
    log.add(pub(id=7), 0.0)
    log.add(msgspec.structs.replace(pub(id=7), sent_ms=1.5), 0.0)
    log.add(pub(id=7), 0.0)
    log.add(call(), 0.0)
    log.add(call(), 0.0)  # of a server without ids
    assert len(log) == 2
    assert getattr(log.get(7), "sent_ms", None) == 1.5


def test_what_was_cleared_stays_away_when_it_arrives_again() -> None:
    log = EventLog()
    log.add(pub(at=5.0, id=1), 0.0)
    log.clear(5.0)
    log.add(pub(at=5.0, id=1), 0.0)
    log.add(pub(at=5.1, id=2), 0.0)
    assert times(log) == [5.1]


def test_failures_are_grouped_by_path_and_code() -> None:
    calls = [call(float(at), ok=False, number=at) for at in range(3)] + [call(9.0)]
    [(last, seen)] = groups(calls)
    assert (last.at, seen) == (2.0, 3)


@pytest.mark.parametrize(("code", "problem"), [(1000, False), (1001, False), (1006, True), (1013, True)])
def test_a_connection_that_was_cut_is_a_failure(code: int, problem: bool) -> None:
    assert failed(ConnectionEvent(at=1.0, connection="c1", what="close", code=code)) is problem


# -- what the model says between the events


def test_losses_close_together_are_one_line(model: Model) -> None:
    model.apply(Events(items=[pub(at=1100.0, id=1)], lost=3))
    model.apply(Events(items=[pub(at=1100.5, id=2)], lost=4))
    model.apply(Events(items=[pub(at=1102.0, id=3)], lost=1))
    assert [text for _, text in remarks(model)] == [
        "7 events not captured, or not sent, here",
        "1 event not captured, or not sent, here",
    ]


def test_a_lost_session_leaves_a_gap_and_what_was_known(model: Model, hand: Hand, sent: list[ClientFrame]) -> None:
    model.apply(Events(items=[pub(id=1)]))
    hand.now += 1
    model.detached("lost", 1.0)
    hand.now += 8
    model.detached("still", 1.0)
    model.attached(welcome(at=1109.0, wall=WALL + 9), sent.append)
    [(kind, text)] = remarks(model)
    assert (kind, text.startswith("no events from "), ": the connection was lost" in text) == ("gap", True, True)
    assert len(model.events) == 2


def test_a_restarted_server_begins_below_what_the_old_one_did(model: Model, sent: list[ClientFrame]) -> None:
    model.apply(Events(items=[pub(at=1100.0, id=1)]))
    model.detached("lost", 1.0)
    model.attached(welcome(at=5.0, server=ServerInfo("prod-a", "0.1.0", 2, WALL)), sent.append)
    model.apply(Events(items=[pub(at=5.5, id=1)]))
    assert [getattr(each.what, "text", each.what.at) for each in model.events] == [
        1100.0,
        "the server was restarted: what it did before it was attached to is not known",
        5.5,
    ]
    assert [each.at for each in model.events.events()] == [5.5]  # ids of the old one mean nothing now


def test_publishes_are_watched_while_somebody_wants_them(model: Model, sent: list[ClientFrame]) -> None:
    def watched() -> list[Any]:
        return [each for each in sent if isinstance(each, Watch) and each.match == Match(kind=["pub"])]

    model.watch_publishes(True)
    model.watch_publishes(True)
    assert len(watched()) == 1
    model.watch_publishes(False)
    model.watch_publishes(True)
    assert len(watched()) == 2
    assert [kind for kind, _ in remarks(model)] == ["note", "gap"]


def test_the_history_of_calls_is_part_of_the_timeline(model: Model) -> None:
    number = next(number for number, ref in model._asked.items() if ref == ["calls"])
    model.apply(Events(items=[pub(at=1101.0, id=9)]))
    model.apply(Got(id=number, items=[call(1099.0, id=1)]))
    assert times(model.events) == [1099.0, 1101.0]


def test_a_server_that_knows_no_chains_is_not_asked_again(model: Model, sent: list[ClientFrame]) -> None:
    event = call(id=4)
    assert model.unfold(event).missing[-1] == "the server is asked for more"
    number = next(number for number, ref in model._asked.items() if ref == ["chain", "4"])
    model.apply(Err(id=number, text="unknown"))
    assert model.unfold(event).missing[-1] == "the server does not tell more: unknown"
    assert sum(getattr(each, "ref", None) == ["chain", "4"] for each in sent) == 1
