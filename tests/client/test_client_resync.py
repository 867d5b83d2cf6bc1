"""What replies say of a stream besides its value, and what becomes of events that are missing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.core_kit import Peer, Row, reopened, stream

KNOWN = {"seq": 4, "epoch": "e", "version": "v1", "schemaVersion": 3}


@pytest.fixture
def peer() -> Peer:
    peer = Peer(jitter=(1.0, 1.0))
    peer.open()
    return peer


# -- replies


def test_a_gated_stream_is_connected_and_has_no_value(peer: Peer) -> None:  # acceptance 51, 52
    gated = stream(peer, data=None, answer={"topic": None, "gated": True})
    assert (gated.status, gated.error, gated.has_value, gated.topic) == ("connected", None, False, None)
    with pytest.raises(LookupError, match="its gate is shut at present"):
        _ = gated.value
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], [{"id": 1}], topic="t", **KNOWN)
    assert gated.value == [{"id": 1}]
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], None, gated=True)
    assert (gated.status, gated.has_value) == ("connected", False)
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    assert "seq" not in frame
    peer.answer(frame["id"], [{"id": 2}], topic="t", **KNOWN)
    assert gated.value == [{"id": 2}]


def test_unchanged_keeps_the_value_and_listens(peer: Peer) -> None:  # acceptance 194
    subscription = stream(peer, data=[{"id": 1}], answer={"version": 7})
    frame = reopened(peer, {"unchanged": True, "version": 7}, [])
    assert frame["version"] == 7
    assert (subscription.status, subscription.value) == ("connected", [{"id": 1}])
    peer.event("t", "created", {"id": 2})
    assert subscription.value == [{"id": 1}, {"id": 2}]


def test_a_delta_changes_adds_and_removes_rows(peer: Peer) -> None:  # acceptance 194
    subscription = stream(peer, data=[{"id": 1}, {"id": 2}, {"id": 3}, {"id": 5}], answer={"version": 0})
    rows = [
        {"id": 2, "x": 1},
        {"id": 1, "_deleted": True},
        {"id": 5, "_deleted": 1},
        {"id": 4},
        {"id": 3, "_deleted": False},
    ]
    frame = reopened(peer, {"delta": True, "version": 2}, rows)
    assert frame["version"] == 0
    assert subscription.value == [{"id": 2, "x": 1}, {"id": 3, "_deleted": False}, {"id": 4}]
    assert reopened(peer, {"delta": True}, [])["version"] == 2
    assert reopened(peer, {"delta": True}, [])["version"] == 2


def test_a_replay_applies_what_was_missed_once(peer: Peer) -> None:  # acceptance 196
    subscription = stream(peer, data=[], answer={"seq": 3, "epoch": "e", "merge": "latest"})
    peer.event("t", "said", "four", seq=4)
    missed = [{"seq": n, "event": "said", "data": n} for n in (3, 4, 5, 6)]
    frame = reopened(peer, {"replay": True, "seq": 6, "epoch": "e", "merge": "latest"}, missed)
    assert (frame["seq"], frame["epoch"], "resync" in frame) == (4, "e", False)
    assert subscription.value == ["four", 5, 6]
    assert reopened(peer, {"replay": False, "seq": 9, "epoch": "f", "merge": "latest"}, ["all"])["seq"] == 6
    assert subscription.value == ["all"]
    peer.event("t", "said", "ten", seq=10)
    assert subscription.value == ["all", "ten"]


@pytest.mark.parametrize("merge", ["crud", "latest"])
def test_a_server_that_names_no_log_is_asked_for_the_whole_value(peer: Peer, merge: str) -> None:
    subscription = stream(peer, data=[], answer={"seq": 3, "merge": merge})
    peer.event("t", "created", {"id": 1}, seq=9)
    assert (subscription.value, peer.sent()) == ([{"id": 1}], [])
    for _ in range(2):
        frame = reopened(peer, {"seq": 1, "merge": merge}, [{"id": 1}, {"id": 2}])
        assert not frame.keys() & {"seq", "epoch"}
        assert subscription.value == [{"id": 1}, {"id": 2}]


def test_a_server_that_stops_naming_its_log_is_believed_without_the_old_one(peer: Peer) -> None:
    stream(peer, data=[], answer={"seq": 3, "epoch": "e"})
    reopened(peer, {"seq": 4}, [])
    assert not reopened(peer, {}, []).keys() & {"seq", "epoch"}


@pytest.mark.parametrize("members", [{"replay": True}, {"delta": True}, {"unchanged": True}])
def test_changes_of_what_one_never_had_are_an_error(peer: Peer, members: Any) -> None:
    subscription = stream(peer, data=[], answer=members)
    assert (subscription.status, subscription.has_value) == ("error", False)


@pytest.mark.parametrize(
    ("members", "data"), [({"replay": True, "key": "k"}, []), ({"replay": True}, [3]), ({"delta": True}, {"id": 1})]
)
def test_changes_that_do_not_fit_are_answered_by_asking_for_the_whole_value(
    peer: Peer, members: Any, data: Any
) -> None:
    subscription = stream(peer, data=[{"id": 1}], answer=KNOWN)
    reopened(peer, members, data)
    (frame,) = peer.sent()
    assert not frame.keys() & {"seq", "epoch", "version"}
    peer.answer(frame["id"], [{"id": 2}], topic="t", **KNOWN)
    assert (subscription.status, subscription.value) == ("connected", [{"id": 2}])


def test_a_row_that_does_not_fit_is_not_hidden_by_catching_up_later(peer: Peer) -> None:
    subscription = stream(peer, result_type=list[Row], answer=KNOWN)
    missed = [
        {"seq": 5, "event": "created", "data": {"id": "x"}},
        {"seq": 6, "event": "created", "data": {"id": 2}},
    ]
    reopened(peer, {"replay": True, "seq": 6, "epoch": "e"}, missed)
    assert (subscription.status, subscription.value) == ("error", [Row(2)])
    assert "seq" not in reopened(peer, KNOWN, [{"id": 1}])
    assert (subscription.status, subscription.value) == ("connected", [Row(1)])


@pytest.mark.parametrize("kind", ["channel", "derived"])
def test_channels_and_derived_streams_keep_what_they_have(peer: Peer, kind: str) -> None:
    subscription = stream(peer, data=0, answer={"merge": "set", kind: True})
    peer.event("t", "set", 42)
    reopened(peer, {"merge": "set", kind: True}, 0)
    assert subscription.value == 42


# -- gaps


NUMBERED = {"seq": 4, "epoch": "e"}


def test_a_gap_holds_events_back_and_asks_once(peer: Peer) -> None:
    subscription = stream(peer, "r", answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    peer.event("t", "created", {"id": 4}, seq=4)
    (frame,) = peer.sent()
    name = frame.pop("id")
    assert frame == {"rpc": "a/s", "args": ["r"], "stream": True, "seq": 4, "epoch": "e", "resync": True}
    peer.event("t", "created", {"id": 8}, seq=8)
    peer.event("t", "created", {"id": 0}, seq=None)
    assert (subscription.value, subscription.status, peer.sent()) == ([{"id": 0}], "connected", [])
    peer.answer(name, [{"seq": 5, "event": "created", "data": {"id": 5}}], replay=True, topic="t", seq=5, epoch="e")
    assert subscription.value == [{"id": 0}, {"id": 5}, {"id": 6}]
    (frame,) = peer.sent()  # 7 is still missing
    assert frame["seq"] == 6
    peer.event("t", "created", {"id": 7}, seq=7)
    assert [row["id"] for row in subscription.value] == [0, 5, 6, 7, 8]
    peer.answer(frame["id"], [], replay=True, topic="t", seq=8, epoch="e")
    assert (peer.sent(), peer.core.streams.counters.resyncs) == ([], 2)


def test_events_that_were_had_are_ignored(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED | {"merge": "latest"})
    for seq in (5, 5, 4, 6, 1):
        peer.event("t", "said", seq, seq=seq)
    assert (subscription.value, peer.sent()) == ([5, 6], [])


def test_events_held_back_are_forgotten_with_their_log(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": "old"}, seq=6)
    peer.answer(peer.request(), [], topic="t", seq=5, epoch="f", replay=False)
    assert (subscription.value, peer.sent()) == ([], [])
    peer.event("t", "created", {"id": "new"}, seq=6)
    assert subscription.value == [{"id": "new"}]


def test_a_failed_resync_is_no_secret_and_repeated_later_and_later(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    peer.answer(peer.request(), ok=False, code="OVERLOADED", error="later")
    assert subscription.error is not None
    assert (subscription.status, subscription.error.code, subscription.value) == ("error", "OVERLOADED", [])
    for wait in (3.0, 6.6):
        peer.event("t", "created", {"id": 7}, seq=7)
        assert peer.sent() == []
        due = peer.core.next_deadline()
        assert due == pytest.approx(peer.seconds + wait)
        assert due is not None
        peer.seconds = due
        peer.core.tick()
        peer.request()
        peer.seconds += 30.0
        peer.core.tick()
        assert subscription.error.code == "TIMEOUT"
    peer.seconds = peer.core.next_deadline() or 0.0
    peer.core.tick()
    peer.answer(peer.request(), [{"id": 5}, {"id": 6}], topic="t", seq=6, epoch="e")
    assert [subscription.status, subscription.error] == ["connected", None]
    assert [row["id"] for row in subscription.value] == [5, 6, 7]
    assert peer.core.next_deadline() is None


def test_what_is_refused_for_good_is_not_asked_for_again_on_this_connection(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    peer.answer(peer.request(), ok=False, code="FORBIDDEN", error="no longer")
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]
    peer.event("t", "created", {"id": 7}, seq=7)
    assert (subscription.status, subscription.value) == ("error", [])
    assert (peer.sent(), peer.core.next_deadline()) == ([], None)
    assert "resync" not in reopened(peer, NUMBERED | {"seq": 7}, [{"id": 7}])
    assert (subscription.status, subscription.value) == ("connected", [{"id": 7}])


@pytest.mark.parametrize("code", ["TIMEOUT", "DISCONNECTED", "OVERLOADED", "INTERNAL_ERROR"])
def test_a_request_that_may_succeed_later_is_repeated_while_the_status_tells_the_error(peer: Peer, code: str) -> None:
    subscription = stream(peer, data=[{"id": 1}])
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    if code == "TIMEOUT":
        peer.seconds += 30.0
        peer.core.tick()
    else:
        peer.answer(frame["id"], ok=False, code=code, error="later")
    assert subscription.error is not None
    assert (subscription.status, subscription.error.code, peer.core.quiescent) == ("error", code, True)
    assert (peer.sent(), peer.core.next_deadline()) == ([], peer.seconds + 3.0)
    peer.seconds += 3.0
    peer.core.tick()
    name = peer.request()
    assert (subscription.status, subscription.value) == ("error", [{"id": 1}])
    if code == "TIMEOUT":
        peer.answer(frame["id"], [{"id": 2}], topic="t")
        assert peer.sent() == []  # the late answer must not end what is being asked for
    peer.answer(name, [{"id": 3}], topic="t")
    assert (subscription.status, subscription.value) == ("connected", [{"id": 3}])
    assert (peer.sent(), peer.core.next_deadline()) == ([], None)


def test_a_server_that_says_when_is_asked_no_earlier(peer: Peer) -> None:
    stream(peer)
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], ok=False, code="OVERLOADED", error="later", retryAfter=9000)
    assert peer.core.next_deadline() == 9.0


@pytest.mark.parametrize("code", ["FORBIDDEN", "NOT_FOUND", "VALIDATION", "CUSTOM"])
def test_other_refusals_stay_until_the_next_connection(peer: Peer, code: str) -> None:
    subscription = stream(peer)
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], ok=False, code=code, error="no")
    assert (subscription.status, peer.core.next_deadline()) == ("error", None)
    reopened(peer, {}, [{"id": 1}])
    assert subscription.status == "connected"


def test_without_a_connection_nothing_is_repeated(peer: Peer) -> None:
    peer.core.subscribe("a/s", [], timeout=5.0)
    peer.core.connection_lost(1006)
    peer.seconds += 5.0
    peer.core.tick()
    assert peer.core.next_deadline() is None
    (frame,) = peer.open()
    assert frame["rpc"] == "a/s"


def test_leaving_ends_repetitions(peer: Peer) -> None:
    subscription = stream(peer)
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], ok=False, code="INTERNAL_ERROR", error="later")
    peer.core.unsubscribe(subscription)
    assert peer.sent() == []
    peer.seconds += 3.0
    peer.core.tick()
    assert peer.sent() == []


def test_a_server_that_does_not_know_better_is_not_asked_in_a_loop(peer: Peer) -> None:
    stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    peer.answer(peer.request(), [], replay=True, topic="t", **NUMBERED)
    assert peer.sent() == []
    assert peer.core.next_deadline() == 3.0


def test_a_lost_connection_ends_resyncs_and_their_repetition(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    peer.answer(peer.request(), ok=False, code="OVERLOADED", error="later")
    peer.core.connection_lost(1006)
    assert (subscription.status, peer.core.next_deadline()) == ("reconnecting", None)
    (frame,) = peer.open()
    assert (frame["seq"], "resync" in frame) == (4, False)
    missed = [{"seq": n, "event": "created", "data": {"id": n}} for n in (5, 6)]
    peer.answer(frame["id"], missed, replay=True, topic="t", seq=6, epoch="e")
    assert [row["id"] for row in subscription.value] == [5, 6]


def test_leaving_ends_a_resync(peer: Peer) -> None:
    subscription = stream(peer, answer=NUMBERED)
    peer.event("t", "created", {"id": 6}, seq=6)
    name = peer.request()
    peer.core.unsubscribe(subscription)
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]
    peer.answer(name, [], replay=True, topic="t", seq=6, epoch="e")
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]  # once more, harmlessly
    assert len(peer.core.streams._kept) == 1


def test_a_new_epoch_is_answered_by_fetching_all_anew(peer: Peer) -> None:
    subscription = stream(peer, data=[{"id": 1}], answer=KNOWN)
    told: list[Any] = []
    peer.core.subscribe("a/s", [], on_change=told.append)
    peer.event("t", "truncated", {"reqId": "log", "truncated": True}, seq=None)
    assert (told, subscription.value) == ([], [{"id": 1}])
    (frame,) = peer.sent()
    assert frame.pop("id")
    assert frame == {"rpc": "a/s", "args": [], "stream": True, "schemaVersion": 3, "resync": True}
    peer.event("t", "created", {"id": 2}, seq=1)
    assert subscription.value == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("data", [{"truncated": True}, {"reqId": 1}, {"reqId": 1, "truncated": 1}])
def test_events_that_only_look_alike_are_events(peer: Peer, data: Any) -> None:
    subscription = stream(peer, answer={"merge": "latest"})
    peer.event("t", "truncated", data)
    assert (subscription.value, peer.sent()) == ([data], [])
