"""One store for all who show a stream: sharing it, leaving it, coming back to it, and values of one's own."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from liverpc import ClientConfig, ConfigError
from liverpc.client.streams import KEPT_MAX
from liverpc.client.subscription import Subscription
from tests.client.core_kit import Peer, Row, reopened, stream


@pytest.fixture
def peer() -> Peer:
    peer = Peer(jitter=(1.0, 1.0))
    peer.open()
    return peer


# -- sharing


def test_the_same_stream_is_requested_once_and_shown_by_all(peer: Peer) -> None:  # acceptance 204
    told: list[str] = []
    first = stream(peer, "r", data=[{"id": 1}], on_change=lambda _: told.append("first"))
    second = peer.core.subscribe("a/s", ["r"], on_change=lambda _: told.append("second"))
    assert peer.sent() == []
    assert (second.status, second.answered, second.topic, second.value) == ("connected", True, "t", [{"id": 1}])
    del told[:]
    peer.event("t", "created", {"id": 2})
    assert first.value == second.value == [{"id": 1}, {"id": 2}]
    assert told == ["first", "second"]
    peer.core.connection_lost(1006)
    assert len(peer.open()) == 1


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["1"], {}),
        ([1.0], {}),
        ([True], {}),
        ([1, None], {}),
        ([1], {"result_type": list[Row]}),
        ([1], {"schema_version": 1}),
        ([1], {"on_event": lambda _: None}),
    ],
)
def test_what_differs_is_another_stream(peer: Peer, args: list[Any], options: Any) -> None:
    stream(peer, 1)
    peer.core.subscribe("a/s", args, **options)
    assert len(peer.sent()) == 1


def test_the_order_of_a_dicts_keys_makes_no_other_stream(peer: Peer) -> None:
    stream(peer, {"x": 1, "y": 2})
    peer.core.subscribe("a/s", [{"y": 2, "x": 1}])
    assert peer.sent() == []


def test_types_that_have_no_hash_are_the_same_when_they_are_the_same_object(peer: Peer) -> None:
    declared: Any = Annotated[list[Row], {"unhashable": []}]
    stream(peer, result_type=declared)
    peer.core.subscribe("a/s", [], result_type=declared)
    assert peer.sent() == []


def test_arguments_without_a_json_form_leave_nothing_behind(peer: Peer) -> None:
    given: list[dict[str, Any]] = [{}, {"on_event": lambda _: None}]
    for options in given:
        with pytest.raises(TypeError):
            peer.core.subscribe("a/s", [object()], **options)
    assert (peer.sent(), peer.core.quiescent, peer.core.streams._shared) == ([], True, {})


def test_who_joins_after_an_error_asks_again_for_all(peer: Peer) -> None:  # acceptance 201
    first = peer.core.subscribe("a/s", [])
    peer.answer(peer.request(), ok=False, code="FORBIDDEN", error="no")
    second = peer.core.subscribe("a/s", [])
    assert (first.status, first.error, second.answered) == ("loading", None, False)
    peer.answer(peer.request(), [], topic="t")
    assert (first.status, second.status, second.value) == ("connected", "connected", [])


def test_errors_are_of_ones_own(peer: Peer) -> None:
    both = [peer.core.subscribe("a/s", []) for _ in range(2)]
    peer.answer(peer.request(), ok=False, code="FORBIDDEN", error="no", retryAfter=500)
    errors = [each.error for each in both]
    assert errors[0] is not errors[1]
    assert errors[0] is both[0].error
    assert errors[0] is not None
    assert (errors[0].code, errors[0].retry_after) == ("FORBIDDEN", 0.5)


# -- values of one's own


def test_a_changed_list_shows_nowhere_else(peer: Peer) -> None:
    first = stream(peer, data=[{"id": 1}])
    second = peer.core.subscribe("a/s", [])
    first.value.append("mine")
    assert first.value == [{"id": 1}, "mine"]  # the same object until the stream changes
    assert second.value == [{"id": 1}]
    peer.event("t", "created", {"id": 2})
    assert first.value == second.value == [{"id": 1}, {"id": 2}]
    assert peer.core.subscribe("a/s", []).value == [{"id": 1}, {"id": 2}]


def test_a_changed_dict_under_set_shows_nowhere_else(peer: Peer) -> None:
    first = stream(peer, data={"n": 1}, answer={"merge": "set"})
    first.value["n"] = 2
    assert peer.core.subscribe("a/s", []).value == {"n": 1}


def test_who_has_left_shows_on_what_it_showed(peer: Peer) -> None:
    first = stream(peer, data=[{"id": 1}])
    second = peer.core.subscribe("a/s", [])
    peer.core.unsubscribe(first)
    peer.event("t", "created", {"id": 2})
    peer.core.connection_lost(1006)
    assert (first.value, first.status) == ([{"id": 1}], "connected")
    assert (second.value, second.status) == ([{"id": 1}, {"id": 2}], "reconnecting")
    assert peer.core.streams._stores


# -- leaving and coming back


def test_leaving_and_coming_back_in_one_turn_sends_nothing(peer: Peer) -> None:  # acceptance 203
    first = stream(peer, data=[{"id": 1}])
    peer.core.unsubscribe(first)
    assert peer.core.turn_is_open
    second = peer.core.subscribe("a/s", [])
    assert peer.sent() == []
    assert not peer.core.turn_is_open
    peer.event("t", "created", {"id": 2})
    assert second.value == [{"id": 1}, {"id": 2}]


def test_leaving_and_coming_back_in_one_turn_keeps_the_request(peer: Peer) -> None:  # acceptance 203
    first = peer.core.subscribe("a/s", [])
    name = peer.request()
    peer.core.unsubscribe(first)
    second = peer.core.subscribe("a/s", [])
    assert peer.sent() == []
    peer.answer(name, [{"id": 1}], topic="t")
    assert second.value == [{"id": 1}]


KNOWN = {"seq": 4, "epoch": "e", "version": "v1", "schemaVersion": 3}


def test_who_comes_back_sees_the_old_value_and_asks_for_what_has_changed(peer: Peer) -> None:  # acceptance 219
    first = stream(peer, "r", data=[{"id": 1}], answer=KNOWN)
    peer.event("t", "created", {"id": 2}, seq=5)
    peer.core.unsubscribe(first)
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]
    peer.event("t", "created", {"id": 9}, seq=6)
    peer.seconds = 59.9
    peer.core.tick()
    told: list[Any] = []
    second = peer.core.subscribe("a/s", ["r"], on_change=lambda s: told.append((s.status, s.value)))
    assert (second.status, second.answered, told) == ("loading", False, [("loading", [{"id": 1}, {"id": 2}])])
    (frame,) = peer.sent()
    name = frame.pop("id")
    assert frame == {"rpc": "a/s", "args": ["r"], "stream": True} | KNOWN | {"seq": 5}
    peer.answer(name, [{"seq": 6, "event": "created", "data": {"id": 3}}], replay=True, topic="t", seq=6, epoch="e")
    assert (second.status, second.value) == ("connected", [{"id": 1}, {"id": 2}, {"id": 3}])
    assert first.value == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(("grace", "later"), [(60.0, 60.0), (0.0, 0.0), (5.0, 5.0)])
def test_after_the_grace_a_stream_begins_anew(grace: float, later: float) -> None:  # acceptance 219
    peer = Peer(resume_grace=grace)
    peer.open()
    peer.core.unsubscribe(stream(peer, data=[{"id": 1}], answer=KNOWN))
    peer.sent()
    assert peer.core.next_deadline() == (grace or None)
    peer.seconds = later
    peer.core.tick()
    again = peer.core.subscribe("a/s", [])
    assert not again.has_value
    (frame,) = peer.sent()
    assert frame.keys() == {"rpc", "id", "args", "stream"}
    assert peer.core.streams._kept == {}


def test_the_grace_may_be_zero_and_not_less() -> None:
    assert ClientConfig(resume_grace=0).resume_grace == 0
    refused: list[dict[str, Any]] = [{"resume_grace": -1}, {"timeout": 0}]
    for config in refused:
        with pytest.raises(ConfigError, match="must be positive"):
            ClientConfig(**config)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_thousand_values_are_kept(peer: Peer, over: int) -> None:
    for number in range(KEPT_MAX + over):
        peer.core.unsubscribe(stream(peer, number))
        peer.sent()
    assert peer.core.streams.counters.evicted == max(over, 0)
    assert len(peer.core.streams._kept) == min(KEPT_MAX, KEPT_MAX + over)
    assert peer.core.subscribe("a/s", [0]).has_value == (over <= 0)
    assert peer.core.subscribe("a/s", [1]).has_value


def test_streams_without_value_and_raw_ones_are_not_kept(peer: Peer) -> None:
    left = [stream(peer, on_event=lambda _: None)]
    left.append(peer.core.subscribe("a/s", [2]))
    peer.answer(peer.request(), ok=False, code="NO", error="no")
    for subscription in left:
        peer.core.unsubscribe(subscription)
    peer.sent()
    assert (peer.core.streams._kept, peer.core.streams._shared, peer.core.next_deadline()) == ({}, {}, None)


def test_what_was_kept_when_the_connection_was_lost_serves_the_next_one(peer: Peer) -> None:
    peer.core.unsubscribe(stream(peer, data=[{"id": 1}], answer=KNOWN))
    peer.sent()
    peer.core.connection_lost(1006)
    assert peer.open() == []
    second = peer.core.subscribe("a/s", [])
    (frame,) = peer.sent()
    assert (frame["seq"], frame["epoch"]) == (4, "e")
    peer.answer(frame["id"], [], replay=True, topic="t", seq=4, epoch="e")
    assert second.value == [{"id": 1}]


def test_closing_the_client_forgets_what_was_kept(peer: Peer) -> None:
    held = stream(peer, 1)
    peer.core.unsubscribe(stream(peer, 2))
    peer.sent()
    peer.core.close()
    peer.core.unsubscribe(held)
    peer.core.end_turn()
    assert peer.core.next_deadline() is None
    assert (peer.core.streams._kept, peer.core.streams._shared, peer.core.streams._keys) == ({}, {}, {})
    late = peer.core.subscribe("a/s", [2])
    assert late.error is not None
    assert (late.error.code, late.has_value) == ("CONNECTION_CLOSED", False)


def test_a_pinned_schema_is_asked_for_each_time(peer: Peer) -> None:  # acceptance 193
    subscription = peer.core.subscribe("a/s", [], schema_version=1)
    (frame,) = peer.sent()
    assert frame["schemaVersion"] == 1
    peer.answer(frame["id"], [], topic="t", schemaVersion=3)
    assert reopened(peer, {"schemaVersion": 3}, [])["schemaVersion"] == 1
    assert subscription.status == "connected"


def test_a_callback_may_close_the_client_while_streams_are_told(peer: Peer) -> None:
    told: list[str] = []

    def close(subscription: Subscription) -> None:
        told.append(subscription.status)
        peer.core.close()

    stream(peer, 1, on_change=close)
    assert told[:2] == ["connected", "error"]
