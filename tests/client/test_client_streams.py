from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date
from types import FrameType
from typing import Annotated, Any

import msgspec
import pytest

from liverpc.client.subscription import Subscription
from liverpc.errors import RpcError
from liverpc.wire.frames import EventFrame
from tests.client.core_kit import Peer, subscribed


class Row(msgspec.Struct):
    id: int
    text: str = ""


@dataclass
class Even:
    id: int

    def __post_init__(self) -> None:
        if self.id % 2:
            raise ArithmeticError("odd")


@pytest.fixture
def peer() -> Peer:
    peer = Peer()
    peer.open()
    return peer


# -- values


def test_a_request_says_that_it_is_a_stream(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", ["r1"])
    (text,) = peer.core.outgoing()
    assert isinstance(text, str)
    assert text.startswith('{"rpc":"a/s","id":"')
    assert text.endswith('","args":["r1"],"stream":true}')
    assert (stream.status, stream.version, stream.answered) == ("loading", 0, False)
    with pytest.raises(LookupError, match="a/s has no value yet"):
        _ = stream.value


def test_the_answer_installs_the_servers_options(peer: Peer) -> None:
    seen: list[Any] = []
    stream = peer.core.subscribe("a/s", [], on_change=lambda s: seen.append((s.status, s.value)))
    peer.answer(peer.request(), data=[{"k": 1}], topic="t", merge="crud", key="k", prepend=True, max=2)
    peer.event("t", "created", {"k": 2})
    peer.event("t", "created", {"k": 3})
    assert seen == [
        ("connected", [{"k": 1}]),
        ("connected", [{"k": 2}, {"k": 1}]),
        ("connected", [{"k": 3}, {"k": 2}]),
    ]
    assert (stream.topic, stream.version) == ("t", 3)


def test_rows_become_the_declared_type_one_by_one(peer: Peer) -> None:
    stream = subscribed(peer, data=[{"id": 1, "text": "a"}], result_type=list[Row])
    first = stream.value[0]
    peer.event("t", "created", {"id": 2})
    peer.event("t", "updated", {"id": 9})
    peer.event("t", "deleted", {"id": 5})
    assert stream.value == [Row(1, "a"), Row(2)]
    assert stream.value[0] is first


@pytest.mark.parametrize("declared", [Any, list, Annotated[list[Any], "rows"]])
def test_without_a_row_type_rows_stay_json(peer: Peer, declared: Any) -> None:
    assert subscribed(peer, data=[{"id": 1}], result_type=declared).value == [{"id": 1}]


def test_under_set_the_whole_value_is_converted(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", [], result_type=dict[int, date])
    peer.answer(peer.request(), data={"1": "2024-02-29"}, topic="t", merge="set")
    assert stream.value == {1: date(2024, 2, 29)}
    peer.event("t", "anything", {"2": "2024-03-01"})
    assert stream.value == {2: date(2024, 3, 1)}


def test_batched_events_are_applied_in_order_and_unreadable_ones_skipped(peer: Peer) -> None:
    stream = subscribed(peer)
    events = [
        {"topic": "t", "event": "created", "data": {"id": 1}},
        {"event": "created", "data": {"id": 7}},
        3,
        {"topic": "t", "event": "updated", "data": {"id": 1, "x": 2}},
    ]
    peer.core.receive(json.dumps({"type": "batch", "events": events}))
    assert stream.value == [{"id": 1, "x": 2}]


def test_events_before_the_answer_are_ignored(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", [])
    name = peer.request()
    peer.event("t", "created", {"id": 1})
    peer.answer(name, data=[], topic="t")
    assert stream.value == []


def test_events_reach_all_subscriptions_of_a_topic_and_no_others(peer: Peer) -> None:
    first, second, other = subscribed(peer), subscribed(peer), subscribed(peer, topic="u")
    peer.event("t", "created", {"id": 1})
    assert first.value == second.value == [{"id": 1}]
    first.value[0]["id"] = 2
    assert second.value == [{"id": 1}]
    assert other.value == []


def test_events_that_change_nothing_are_not_told(peer: Peer) -> None:
    seen: list[Any] = []
    subscribed(peer, on_change=seen.append)
    del seen[:]
    peer.event("t", "deleted", {"id": 1})
    peer.event("t", "unheard-of", {"id": 1})
    assert seen == []


def test_raw_events_are_handed_out_undecoded(peer: Peer) -> None:
    frames: list[EventFrame] = []
    stream = peer.core.subscribe("a/s", [], on_event=frames.append)
    peer.answer(peer.request(), data=[{"id": 1}], topic="t")
    peer.event("t", "created", {"id": 1})
    assert stream.status == "connected"
    assert (frames[0].event, bytes(frames[0].data), frames[0].seq) == ("created", b'{"id": 1}', 1)
    with pytest.raises(LookupError):
        _ = stream.value


# -- errors


def test_an_error_reply_is_the_streams_error(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", [])
    peer.answer(peer.request(), ok=False, code="FORBIDDEN", error="no")
    assert stream.error is not None
    assert (stream.status, stream.error.code, stream.answered) == ("error", "FORBIDDEN", True)


def test_after_an_error_the_next_reconnect_tries_again_and_the_value_stays(peer: Peer) -> None:
    stream = subscribed(peer, data=[{"id": 1}])
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], ok=False, code="OVERLOADED", error="later")
    assert (stream.status, stream.value) == ("error", [{"id": 1}])
    peer.core.connection_lost(1006)
    assert (stream.status, stream.error) == ("reconnecting", None)
    (frame,) = peer.open()
    peer.answer(frame["id"], data=[{"id": 2}], topic="t")
    assert (stream.status, stream.error, stream.value) == ("connected", None, [{"id": 2}])


def test_an_unanswered_request_is_an_error_when_its_time_is_up(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", [], timeout=5.0)
    name = peer.request()
    peer.seconds = 5.0
    peer.core.tick()
    assert stream.error is not None
    assert (stream.status, stream.error.code) == ("error", "TIMEOUT")
    peer.answer(name, data=[], topic="t")
    assert stream.status == "error"
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]


def test_a_denied_topic_is_an_error_with_the_reason_as_code(peer: Peer) -> None:
    streams = [subscribed(peer, data=[{"id": 1}]), subscribed(peer), subscribed(peer, topic="u")]
    # acceptance 220
    peer.core.receive('{"type":"subscribe-denied","topic":"t","ref":1,"reason":"EXPIRED"}')
    assert [stream.status for stream in streams] == ["error", "error", "connected"]
    assert streams[0].error is not None
    assert streams[0].error.code == "EXPIRED"
    assert streams[1].error is not streams[0].error  # they collect the traces of those who raise them
    assert streams[0].value == [{"id": 1}]


@pytest.mark.parametrize(
    ("declared", "data", "merge", "what"),
    [
        (list[Row], [{"id": "x"}], "crud", r"Expected `int`, got `str` - at `\$.id`"),
        (list[Even], [{"id": 1}], "crud", "odd"),
        (Row, {"id": "x"}, "set", "Expected `int`"),
        (Row, [{"id": 1}], "crud", "merge 'crud' makes a list, the declared type is Row"),
        (Any, [], "sorted", "merge is one of"),
    ],
)
def test_initial_data_that_does_not_fit_is_an_error(
    peer: Peer, declared: Any, data: Any, merge: str, what: str
) -> None:
    stream = peer.core.subscribe("a/s", [], result_type=declared)
    peer.answer(peer.request(), data=data, topic="t", merge=merge)
    assert stream.error is not None
    assert (stream.status, stream.error.code, stream.version) == ("error", "STREAM_ERROR", 0)
    with pytest.raises(RpcError, match=what):
        raise stream.error


def test_an_event_that_does_not_fit_is_an_error_and_the_others_still_count(peer: Peer) -> None:
    stream = subscribed(peer, data=[{"id": 1}], result_type=list[Row])
    peer.event("t", "created", {"id": "x"})
    assert stream.error is not None
    assert (stream.status, stream.error.code, stream.value) == ("error", "STREAM_ERROR", [Row(1)])
    peer.event("t", "created", {"id": 2})
    assert stream.value == [Row(1), Row(2)]


def test_a_call_mistaken_for_a_stream_is_an_error(peer: Peer) -> None:
    stream = peer.core.subscribe("a/call", [])
    peer.answer(peer.request(), data=3)
    assert stream.error is not None
    assert "is this a call rather than a stream?" in stream.error.message


def test_a_stream_with_nothing_to_stream_is_connected_and_has_no_value(peer: Peer) -> None:
    stream = peer.core.subscribe("a/gated", [], result_type=Row)
    peer.answer(peer.request(), data=None, gated=True)
    assert (stream.status, stream.version) == ("connected", 0)


# -- channels


def test_a_channel_begins_empty_and_keeps_what_it_collected(peer: Peer) -> None:
    stream = peer.core.subscribe("a/c", [], result_type=list[Row])
    peer.answer(peer.request(), data=[], topic="t", merge="latest", channel=True)
    assert stream.value == []
    peer.event("t", "said", {"id": 1})
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], data=[], topic="t", merge="latest", channel=True)
    assert (stream.status, stream.value) == ("connected", [Row(1)])


def test_a_set_channel_begins_with_none_whatever_its_type(peer: Peer) -> None:
    stream = peer.core.subscribe("a/c", [], result_type=Row)
    peer.answer(peer.request(), data=None, topic="t", merge="set", channel=True)
    assert (stream.status, stream.value) == ("connected", None)
    peer.event("t", "moved", {"id": 1})
    assert stream.value == Row(1)


# -- reconnecting


def test_after_a_loss_streams_keep_their_value_and_are_requested_again(peer: Peer) -> None:
    first = subscribed(peer, data=[{"id": 1}])
    second = subscribed(peer, topic="u")
    peer.core.connection_lost(1001)
    assert (first.status, first.value, second.status) == ("reconnecting", [{"id": 1}], "reconnecting")
    frames = peer.open()
    assert [frame["rpc"] for frame in frames] == ["a/s", "a/s"]
    peer.event("t", "created", {"id": 5})
    assert first.value == [{"id": 1}]
    peer.answer(frames[0]["id"], data=[{"id": 2}], topic="t")
    assert (first.status, first.value, second.status) == ("connected", [{"id": 2}], "reconnecting")
    peer.event("t", "created", {"id": 3})
    assert first.value == [{"id": 2}, {"id": 3}]


def test_a_stream_opened_without_a_connection_loads_with_the_next_one() -> None:
    peer = Peer()
    stream = peer.core.subscribe("a/s", [])
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.core.connection_lost(1006)
    assert (stream.status, stream.version) == ("loading", 0)
    (again,) = peer.open()
    assert again["id"] == frame["id"]
    peer.answer(again["id"], data=[], topic="t")
    assert stream.status == "connected"


def test_the_time_for_the_first_answer_runs_through_reconnects() -> None:
    peer = Peer()
    stream = peer.core.subscribe("a/s", [], timeout=5.0)
    peer.open()
    peer.core.connection_lost(1006)
    assert peer.core.next_deadline() == 5.0
    peer.seconds = 5.0
    peer.core.tick()
    assert stream.status == "error"
    assert len(peer.open()) == 1


def test_an_established_stream_does_not_time_out_without_a_connection(peer: Peer) -> None:
    stream = subscribed(peer)
    peer.core.connection_lost(1006)
    peer.open()
    peer.core.connection_lost(1006)
    assert peer.core.next_deadline() is None
    assert stream.status == "reconnecting"


def test_a_final_close_is_every_streams_error_and_the_value_stays(peer: Peer) -> None:
    stream = subscribed(peer, data=[{"id": 1}])
    loading = peer.core.subscribe("a/s", [])
    peer.core.connection_lost(4401, "expired")
    for each in (stream, loading):
        assert each.error is not None
        assert (each.status, each.error.code) == ("error", "CONNECTION_CLOSED")
    assert stream.value == [{"id": 1}]


# -- leaving


def test_the_last_one_to_leave_a_topic_tells_the_server(peer: Peer) -> None:
    first, second = subscribed(peer), subscribed(peer)
    peer.core.unsubscribe(first)
    assert peer.sent() == []
    peer.core.unsubscribe(second)
    peer.core.end_turn()
    assert list(peer.core.outgoing()) == ['{"type":"unsubscribe","topic":"t"}']
    peer.core.unsubscribe(second)
    peer.event("t", "created", {"id": 1})
    assert peer.sent() == []
    assert second.value == []


def test_a_late_answer_for_a_left_stream_is_unsubscribed(peer: Peer) -> None:
    stream = peer.core.subscribe("a/s", [])
    name = peer.request()
    peer.core.unsubscribe(stream)
    assert peer.sent() == []
    peer.answer(name, data=[], topic="t")
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]
    assert (stream.status, stream.version) == ("loading", 0)


def test_a_late_answer_for_a_topic_somebody_holds_is_not(peer: Peer) -> None:
    left = peer.core.subscribe("a/s", [])
    name = peer.request()
    peer.core.unsubscribe(left)
    subscribed(peer)
    peer.answer(name, data=[], topic="t")
    assert peer.sent() == []


def test_while_another_stream_opens_goodbyes_wait_for_it(peer: Peer) -> None:
    first = subscribed(peer)
    second = peer.core.subscribe("a/other", [])
    name = peer.request()
    peer.core.unsubscribe(first)
    assert peer.sent() == []
    peer.answer(name, data=[], topic="t")
    assert peer.sent() == []
    peer.event("t", "created", {"id": 1})
    assert second.value == [{"id": 1}]


def test_while_another_topic_opens_the_goodbye_comes_after_its_answer(peer: Peer) -> None:
    first = subscribed(peer)
    peer.core.subscribe("a/other", [])
    name = peer.request()
    peer.core.unsubscribe(first)
    peer.answer(name, ok=False, code="FORBIDDEN", error="no")
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]


def test_a_stream_left_before_it_was_requested_is_never_requested() -> None:
    peer = Peer()
    stream = peer.core.subscribe("a/s", [])
    peer.core.unsubscribe(stream)
    assert peer.open() == []


def test_system_topics_are_not_unsubscribed(peer: Peer) -> None:
    peer.core.unsubscribe(subscribed(peer, topic="__presence:t"))
    assert peer.sent() == []


def test_leaving_while_disconnected_says_nothing_later(peer: Peer) -> None:
    stream = subscribed(peer)
    peer.core.connection_lost(1006)
    peer.core.unsubscribe(stream)
    assert peer.open() == []


def test_a_stream_may_leave_in_its_own_callback(peer: Peer) -> None:
    def leave(stream: Subscription) -> None:
        if stream.version == 2:
            peer.core.unsubscribe(stream)

    subscribed(peer, on_change=leave)
    other = subscribed(peer)
    peer.event("t", "created", {"id": 1})
    peer.event("t", "created", {"id": 2})
    assert len(other.value) == 2
    peer.core.unsubscribe(other)
    assert peer.sent() == [{"type": "unsubscribe", "topic": "t"}]


def steps_to_leave(topics: int, holders: int) -> int:
    """How many lines of Python it takes to leave all streams."""
    peer = Peer()
    peer.open()
    streams = [subscribed(peer, f"t{number}") for number in range(topics) for _ in range(holders)]
    steps = 0

    def count(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        for stream in reversed(streams):
            peer.core.unsubscribe(stream)
        peer.core.end_turn()
    finally:
        sys.settrace(before)
    assert [frame["topic"] for frame in peer.sent()] == [f"t{number}" for number in reversed(range(topics))]
    return steps


@pytest.mark.parametrize("together", [False, True])
def test_leaving_many_streams_takes_steps_in_proportion_to_their_number(together: bool) -> None:
    few, many = ((1, 10), (1, 1000)) if together else ((10, 1), (1000, 1))
    assert steps_to_leave(*many) <= 110 * steps_to_leave(*few)
