from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import (
    ChaosChanged,
    ChaosRule,
    ClientFrame,
    ConnectionInfo,
    Err,
    Events,
    Get,
    Got,
    Match,
    PathStats,
    PendingCall,
    PublishEvent,
    ServerInfo,
    State,
    Unwatch,
    Watch,
)
from liverpc_devtools.core.history import Calls, TopicRing, weight
from liverpc_devtools.core.meter import Meter
from liverpc_devtools.core.model import Model
from tests.devtools.attach_frames import WALL, Hand, call, figures, full, pub, stream, welcome


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


def of(sent: list[ClientFrame], kind: type[Any]) -> list[Any]:
    return [each for each in sent if isinstance(each, kind)]


# -- the session


def test_the_phase_follows_the_session(hand: Hand) -> None:
    model = Model(monotonic=hand)
    phases = [model.phase]
    model.apply(welcome())
    phases.append(model.phase)
    model.detached("gone away", 2.0)
    phases.append(model.phase)
    assert (model.retry_in, model.reason) == (2.0, "gone away")
    model.apply(welcome())
    assert model.reason == ""
    phases.append(model.phase)
    model.gone("the token was refused")
    assert [*phases, model.phase] == ["connecting", "live", "reconnecting", "live", "gone"]


@pytest.mark.parametrize(("silence", "phase"), [(2.9, "live"), (3.0, "live"), (3.1, "stale")])
def test_three_seconds_without_a_frame_are_stale(model: Model, hand: Hand, silence: float, phase: str) -> None:
    hand.now += silence
    assert model.phase == phase


def test_a_message_without_meaning_shows_life(model: Model, hand: Hand) -> None:
    hand.now += 10
    model.heard(1000.0)
    assert model.phase == "live"


def test_server_times_become_wall_times(model: Model, hand: Hand) -> None:
    hand.now += 5
    assert model.now() == 1105.0
    assert model.wall(model.now()) == WALL + 5


def test_what_was_denied_is_told(hand: Hand) -> None:
    model = Model(monotonic=hand)
    model.apply(welcome(denied=["chaos: off"]))
    assert list(model.notes) == ["not granted: chaos: off"]
    model.apply(welcome(denied=["chaos: off"]))
    assert len(model.notes) == 1  # not again after a reconnection


@pytest.mark.parametrize(
    ("granted", "chaos", "may"), [("observe", True, False), ("chaos", False, False), ("chaos", True, True)]
)
def test_faults_need_the_level_and_a_server_that_allows_them(granted: str, chaos: bool, may: bool) -> None:
    model = Model()
    model.apply(welcome(granted=granted, chaos=chaos))
    assert model.may_arm is may


def test_watches_are_asked_for_again_after_a_loss(model: Model, sent: list[ClientFrame]) -> None:
    kept = model.watch(Match(kind=["rpc"]))
    model.unwatch(model.watch(Match(kind=["conn"])))
    model.look_at("a")
    sent.clear()
    model.detached("lost", 1.0)
    model.attached(welcome(), sent.append)
    assert [each.match.kind for each in of(sent, Watch)] == [["rpc"], ["pub"]]
    assert of(sent, Watch)[0].id == kept
    assert ["stream", "a"] in [each.ref for each in of(sent, Get)]


def test_nothing_is_sent_without_a_session(model: Model, sent: list[ClientFrame]) -> None:
    model.detached("lost", 1.0)
    sent.clear()
    model.look_at("a")
    assert sent == []


def test_a_restarted_server_begins_anew(model: Model, sent: list[ClientFrame]) -> None:
    model.apply(full())
    model.look_at("a")
    model.apply(Events(items=[pub(), call()]))
    sent.clear()
    model.attached(welcome(server=ServerInfo("prod-a", "0.1.0", 2, WALL)), sent.append)
    assert (len(model.rows.streams), len(model.calls), model.ring) == (0, 0, [])
    assert model.topic == "a"
    assert [each.match.topic for each in of(sent, Watch)] == [["a"]]
    assert "the server was restarted" in model.notes


# -- state


def test_a_full_state_replaces_what_was_known(model: Model) -> None:
    model.apply(full(topics=("a", "b")))
    model.apply(full(rev=5, topics=("a",), connections=[ConnectionInfo("c2", "", "x", 1.0)], paths=[]))
    assert [row.info.topic for row in model.rows.streams.values()] == ["a"]
    assert list(model.rows.connections) == ["c2"]
    assert model.rows.paths == {}


def test_a_full_state_in_parts_is_complete_with_the_last(model: Model) -> None:
    model.apply(full(topics=("a", "b")))
    model.apply(State(rev=9, at=1101.0, full=True, more=True, streams=[stream(1, "a")]))
    assert len(model.rows.streams) == 2  # nothing vanishes half way
    model.apply(State(rev=9, at=1101.0, full=True, streams=[stream(3, "c")]))
    assert sorted(row.info.topic for row in model.rows.streams.values()) == ["a", "c"]
    assert model.rows.complete


def test_a_delta_adds_changes_and_removes(model: Model) -> None:
    model.apply(full(topics=("a", "b")))
    model.apply(
        State(
            rev=2,
            at=1101.0,
            streams=[stream(3, "c")],
            stream_stats=[figures(1, 4, 8), figures(77, 1)],
            streams_gone=[2, 99],
            connections_gone=["c1", "nobody"],
        )
    )
    assert {row.info.topic: row.stats.published for row in model.rows.streams.values()} == {"a": 4, "c": 0}
    assert model.rows.connections == {}


def test_an_id_given_to_another_topic_begins_at_zero(model: Model) -> None:
    model.apply(full(topics=("a",)))
    model.apply(State(rev=2, at=1101.0, stream_stats=[figures(1, 50)]))
    model.apply(State(rev=3, at=1102.0, streams=[stream(1, "z")]))
    assert (model.rows.streams[1].info.topic, model.rows.streams[1].stats.published) == ("z", 0)


def test_rates_come_from_the_servers_clock(model: Model, hand: Hand) -> None:
    model.apply(full(topics=("a",), stream_stats=[figures(1, 1000, 2000)]))
    assert model.rows.streams[1].published.rate(1100.0) == 0
    for second in range(1, 6):
        model.apply(State(rev=1 + second, at=1100.0 + second, stream_stats=[figures(1, 1000 + 10 * second, 2000)]))
    assert model.rows.streams[1].published.rate(1105.0) == pytest.approx(10)
    assert model.rows.totals.published.rate(1105.0) == pytest.approx(10)
    assert model.rows.streams[1].published.rate(1109.0) == 0


def test_rates_of_a_server_that_runs_for_a_shorter_time_than_we_do(model: Model, hand: Hand) -> None:
    later = Model(monotonic=hand)
    later.attached(welcome(at=5.0), lambda _: None)  # our clock says 100
    later.apply(full(topics=("a",), at=5.0, stream_stats=[figures(1, 1000, 2000)]))
    for second in range(1, 11):
        later.apply(State(rev=1 + second, at=5.0 + second, stream_stats=[figures(1, 1000 + 10 * second, 2000)]))
    assert later.rows.totals.published.rate(15.0) == pytest.approx(10)


def test_totals_outlive_their_topics(model: Model) -> None:
    model.apply(full(topics=("a",)))
    model.apply(State(rev=2, at=1101.0, stream_stats=[figures(1, 7, 14)]))
    model.apply(State(rev=3, at=1102.0, streams_gone=[1]))
    model.apply(State(rev=4, at=1103.0, path_stats=[PathStats(1, 13, 2, 0.6, 0.2)]))
    totals = model.rows.totals
    assert (totals.published.total, totals.delivered.total) == (7, 14)
    assert (totals.calls.total, totals.errors.total) == (3, 1)


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 1000)), min_size=1, max_size=60))
def test_a_rate_is_never_negative_nor_above_the_fastest_second(steps: list[tuple[float, int]]) -> None:
    meter, at, total = Meter(0.0, 0), 0.0, 0
    for seconds, more in steps:
        at, total = at + seconds, total + more
        meter.add(at, total)
        assert 0 <= meter.rate(at) <= total
        assert len(meter._points) <= 12


# -- calls


def test_a_call_that_just_began_is_not_shown_as_running(model: Model, hand: Hand) -> None:
    running = [PendingCall("c1", "k1", "slow", "", 1099.0), PendingCall("c1", "k2", "quick", "", 1099.95)]
    model.apply(State(rev=1, at=1100.0, full=True, pending=running, pending_total=2))
    assert [each.path for each in model.running()] == ["slow"]
    hand.now += 0.1
    assert [each.path for each in model.running()] == ["slow", "quick"]


def test_an_answered_call_runs_no_more(model: Model) -> None:
    model.apply(State(rev=1, at=1100.0, full=True, pending=[PendingCall("c1", "k1", "p", "", 1.0)]))
    model.apply(Events(items=[call(number=1)]))
    assert model.running() == []


@pytest.mark.parametrize(("ok", "cap"), [(True, 500), (False, 250)])
def test_the_history_keeps_so_many_calls(ok: bool, cap: int) -> None:
    calls = Calls()
    for number in range(cap):
        calls.add(call(at=number + 1.0, ok=ok, number=number))
    assert len(calls) == cap
    calls.add(call(at=9999.0, ok=ok, number=cap))
    assert len(calls) == cap
    assert next(each.at for each in calls) == 2.0


def test_successes_do_not_push_failures_out() -> None:
    calls = Calls()
    calls.add(call(at=1.0, ok=False))
    for number in range(600):
        calls.add(call(at=2.0 + number, number=number))
    assert calls.failed == 1
    assert len(calls) == 501


@pytest.mark.parametrize("ok", [True, False])
def test_large_calls_are_fewer_and_successes_go_first(ok: bool) -> None:
    large = "x" * 1000
    calls = Calls(most_bytes=4 * weight(call(ok=False, result=large)))
    for number in range(4):
        calls.add(call(at=1.0 + number, ok=number > 1, number=number, result=large))
    assert len(calls) == 4
    calls.add(call(at=9.0, ok=ok, number=9, result=large))
    assert [each.call for each in calls] == ["k0", "k1", "k3", "k9"]
    calls.add(call(at=10.0, ok=ok, number=10, result=large * 9))
    assert [each.call for each in calls] == ["k10"]


def test_large_events_of_a_topic_are_fewer() -> None:
    def large(seq: int) -> PublishEvent:
        return msgspec.structs.replace(pub(at=float(seq), seq=seq), data="x" * 1000)

    ring = TopicRing("a", 2000, after=0.0, most_bytes=3 * weight(large(1)))
    for seq in (1, 2, 3):
        ring.add(large(seq))
    assert [each.seq for each in ring.events] == [1, 2, 3]
    ring.add(large(4))
    assert [each.seq for each in ring.events] == [2, 3, 4]
    ring.add(msgspec.structs.replace(large(5), data="x" * 10_000))
    assert [each.seq for each in ring.events] == [5]  # larger than all there is room for


def test_the_servers_history_and_the_live_calls_are_one(model: Model, sent: list[ClientFrame]) -> None:
    request = next(each for each in of(sent, Get) if each.ref == ["calls"])
    model.apply(Events(items=[call(at=1103.0, number=3)]))
    model.apply(Got(id=request.id, items=[call(at=1101.0, number=1), call(at=1103.0, number=3)]))
    assert [each.call for each in model.calls] == ["k1", "k3"]


def test_what_the_server_left_out_counts_until_it_would_have_been_pushed_out(model: Model) -> None:
    model.apply(Got(id=model.get("calls"), items=[call()], left_out=2))
    assert model.calls.left_out == 2
    for number in range(500):
        assert model.calls.left_out == 2
        model.apply(Events(items=[call(at=1101.0 + number, number=number)]))
    assert model.calls.left_out == 0
    model.apply(Got(id=model.get("calls"), items=[], left_out=2))
    model.calls.clear(model.now())
    assert model.calls.left_out == 0


def test_cleared_calls_stay_away(model: Model) -> None:
    model.apply(Events(items=[call(at=1099.0)]))
    model.calls.clear(model.now())
    model.apply(Got(id=model.get("calls"), items=[call(at=1099.0), call(at=1101.0, number=2)]))
    assert [each.call for each in model.calls] == ["k2"]


# -- the topic that is looked at


def test_a_topic_shows_what_the_server_kept_and_what_comes(model: Model, sent: list[ClientFrame]) -> None:
    model.look_at("a")
    watch, request = of(sent, Watch)[-1], of(sent, Get)[-1]
    assert (watch.match.kind, watch.match.topic, request.ref) == (["pub"], ["a"], ["stream", "a"])
    model.apply(Events(items=[pub(at=1102.0, seq=3), pub("other", at=1102.0)]))
    model.apply(Got(id=request.id, items=[pub(at=1100.0, seq=1), pub(at=1101.0, seq=2)]))
    assert [each.seq for each in model.ring] == [1, 2, 3]
    model.apply(Events(items=[pub(at=1103.0, seq=4)]))
    assert [each.seq for each in model.ring] == [2, 3, 4]  # the server keeps three


def test_events_the_server_left_out_count_until_they_would_have_been_pushed_out(
    model: Model, sent: list[ClientFrame]
) -> None:
    assert model.left_out == 0
    model.look_at("a")
    model.apply(Got(id=of(sent, Get)[-1].id, items=[pub()], left_out=2))
    for seq in (2, 3):
        model.apply(Events(items=[pub(at=1100.0 + seq, seq=seq)]))
        assert model.left_out == 2
    model.apply(Events(items=[pub(at=1104.0, seq=4)]))
    assert model.left_out == 0
    model.apply(Got(id=model.get("stream", "a"), items=[pub(at=1104.0, seq=4)], left_out=3))
    model.clear()
    assert model.left_out == 0


def test_looking_elsewhere_ends_the_watch(model: Model, sent: list[ClientFrame]) -> None:
    model.look_at("a")
    first = of(sent, Watch)[-1]
    late = of(sent, Get)[-1]
    model.look_at("b")
    assert [each.id for each in of(sent, Unwatch)] == [first.id]
    model.apply(Got(id=late.id, items=[pub("a")]))
    assert model.ring == []


def test_a_pause_leaves_events_out_and_counts_them(model: Model, sent: list[ClientFrame]) -> None:
    model.apply(full(topics=("a",)))
    model.look_at("a")
    model.pause()
    assert model.paused
    assert len(of(sent, Unwatch)) == 1
    model.apply(Events(items=[pub(at=1101.0)]))
    model.apply(State(rev=2, at=1101.0, stream_stats=[figures(1, 5, 5)]))
    assert (model.ring, model.missed) == ([], 5)
    model.pause()
    assert (model.paused, model.missed) == (False, 0)
    assert len(of(sent, Watch)) == 2


def test_cleared_events_stay_away_when_coming_back(model: Model, sent: list[ClientFrame]) -> None:
    for everything in (False, True):
        model.look_at("a")
        model.apply(Events(items=[pub(at=1100.0)]))
        model.clear(everything=everything)
        assert model.ring == []
        model.look_at("b")
        model.look_at("a")
        model.apply(Got(id=of(sent, Get)[-1].id, items=[pub(at=1100.0), pub(at=1101.0, seq=2)]))
        assert [each.seq for each in model.ring] == [2]
        model.look_at(None)


# -- losses, faults, notes


def test_losses_add_up(model: Model) -> None:
    model.apply(Events(items=[], lost=4, sample=0.125))
    model.apply(Events(items=[], lost=1, sample=0.25))
    assert (model.lost, model.sample) == (5, 0.25)


def test_the_time_left_of_a_fault_runs_down_between_frames(model: Model, hand: Hand) -> None:
    model.apply(ChaosChanged(active=[ChaosRule(rate=0.2, id=1, left=41.0)], text="al armed drop"))
    hand.now += 40.5
    assert model.chaos_left(model.chaos[0]) == 0.5
    hand.now += 9
    assert model.chaos_left(model.chaos[0]) == 0


def test_the_end_of_the_last_fault_becomes_a_note_and_its_beginning_does_not(model: Model) -> None:
    model.apply(ChaosChanged(active=[ChaosRule(rate=0.2, id=1)], text="al armed drop"))
    assert list(model.notes) == []
    model.apply(ChaosChanged(active=[], text="the fault ended"))
    assert list(model.notes) == ["the fault ended"]


def test_a_refused_fault_becomes_a_note(model: Model) -> None:
    number = model.arm(ChaosRule(rate=0.2), 60)
    model.apply(Err(id=number, text="outside your scope"))
    assert list(model.notes) == ["refused: outside your scope"]
