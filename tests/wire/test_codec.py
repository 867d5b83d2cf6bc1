"""Frames to bytes and back, and what hostile bytes do: nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from liverpc.errors import Issue, LiveError
from liverpc.wire.codec import (
    Ignored,
    answer_body,
    batch_reply,
    call_text,
    control_text,
    decode_batch,
    decode_batch_calls,
    decode_reply,
    decode_server_frame,
    encode,
    error_members,
    event_head,
    event_payload,
    event_prefix,
    json_depth_exceeds,
    ok_members,
    reply_frame,
    rpc_error,
)
from liverpc.wire.codec import reply as reply_payload
from liverpc.wire.frames import (
    CONTROL_MAX_BYTES,
    NO_BATCH,
    CallFrame,
    ControlFrame,
    Denied,
    EventBatch,
    EventFrame,
    Reply,
)
from liverpc.wire.framing import text_frame
from tests.wire.client_frames import decode_client_frame

DEPTH = 64
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(max_size=20)  # without lone surrogates: they have no UTF-8
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def ignored(payload: bytes, text: bool = True) -> Ignored:
    with pytest.raises(Ignored) as caught:
        decode_client_frame(payload, DEPTH, text)
    return caught.value


def nested(levels: int) -> bytes:
    """A call whose frame nests so deep: the frame itself, the list of arguments, and lists in it."""
    return b'{"rpc":"a/b","id":"k","args":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def true_depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(true_depth, children), default=0)


# -- depth


@given(JSON, st.integers(0, 8))
@example(["]]]]", {"{[": '"}'}, "\\"], 1)
@example([['\\"[[']], 2)
def test_depth_is_that_of_the_value_whatever_its_strings_hold(value: Any, limit: int) -> None:
    for payload in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        assert json_depth_exceeds(payload, limit) is (true_depth(value) > limit)


@pytest.mark.parametrize("inside", [b"[" * 100, rb"\"" + b"{" * 100, rb"\\\"" + b"[" * 100, b"]" * 100])
def test_brackets_inside_strings_do_not_count(inside: bytes) -> None:
    assert not json_depth_exceeds(b'["' + inside + b'"]', 1)
    assert json_depth_exceeds(b'[["' + inside + b'"]]', 1)


def test_brackets_after_an_escaped_backslash_count() -> None:
    assert json_depth_exceeds(rb'["\\",[[]]]', 2)
    assert not json_depth_exceeds(rb'["\\",[[]]]', 3)


@pytest.mark.parametrize("levels", [DEPTH - 1, DEPTH])
def test_calls_up_to_the_limit_are_decoded(levels: int) -> None:
    assert decode_client_frame(nested(levels), DEPTH).id == "k"


def test_a_call_above_the_limit_can_still_be_answered() -> None:
    refusal = ignored(nested(DEPTH + 1))
    assert refusal.reason == "too_deep"
    assert refusal.frame is not None
    assert refusal.frame.id == "k"


def test_a_control_frame_above_the_limit_is_ignored() -> None:
    refusal = ignored(b'{"type":"hello","caps":' + b"[" * DEPTH + b"]" * DEPTH + b"}")
    assert (refusal.reason, refusal.frame) == ("too_deep", None)


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 2**20,
        b'{"args":' + b"[" * 2**20,
        b'{"rpc":"a/b","id":"k","args":' + b"[" * 2**19 + b"]" * 2**19 + b"}",
        b'{"a":' * (2**20 // 5),
        b'{"rpc":"' + b'\\"[' * (2**20 // 3),
        b'{"rpc":"' + b"\\" * 2**20,
    ],
    ids=["brackets", "open", "closed", "objects", "escapes", "backslashes"],
)
def test_a_mebibyte_of_nesting_is_ignored(payload: bytes) -> None:
    assert ignored(payload).reason in ("too_deep", "malformed", "not_ours")


# -- server: in


@pytest.mark.parametrize(
    "payload",
    [
        b'{"rpc":"a/b","id":"k","args":[1]}',
        b'{"args":[1],"id":"k","rpc":"a/b"}',
        b'{"id":"k","unknown":{"x":[]},"args":[1],"rpc":"a/b"}',
        b'{ "id" : "k" ,\n "rpc" : "a/b" , "args" : [1] }',
        b'{"rpc":"a\\u002fb","id":"k","args":[1]}',
    ],
)
def test_calls_are_read_in_any_order_of_keys(payload: bytes) -> None:
    frame = decode_client_frame(payload, DEPTH)
    assert (frame.rpc, frame.id, json.loads(bytes(frame.args))) == ("a/b", "k", [1])


def test_a_call_needs_neither_id_nor_arguments() -> None:
    frame = decode_client_frame(b'{"rpc":"a/b"}', DEPTH)
    assert (frame.id, bytes(frame.args), frame.stream) == (UNSET, b"[]", False)


def test_a_call_may_come_as_a_binary_frame_and_a_control_frame_may_not() -> None:
    assert decode_client_frame(b'{"rpc":"a/b"}', DEPTH, text=False).rpc == "a/b"
    assert ignored(b'{"type":"hello"}', text=False).reason == "not_ours"


@pytest.mark.parametrize("length", [CONTROL_MAX_BYTES - 1, CONTROL_MAX_BYTES])
def test_control_frames_up_to_their_limit_are_read(length: int) -> None:
    assert decode_client_frame(b'{"type":"hello"}'.ljust(length), DEPTH).type == "hello"


def test_a_larger_control_frame_is_ignored_and_a_larger_call_is_not() -> None:
    assert ignored(b'{"type":"hello"}'.ljust(CONTROL_MAX_BYTES + 1)).reason == "not_ours"
    assert decode_client_frame(b'{"rpc":"a/b"}'.ljust(CONTROL_MAX_BYTES + 1), DEPTH).rpc == "a/b"


@pytest.mark.parametrize("payload", [b"{}", b'{"x":1}', b'{"args":[]}'])
def test_what_is_no_frame_of_ours_is_ignored(payload: bytes) -> None:
    assert ignored(payload).reason == "not_ours"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b"\x00\xff",
        b"{",
        b'{"rpc":"a/b"',
        b'{"rpc":"a/b"}x',
        b'{"rpc":5,"id":"k"}',
        b'{"rpc":"a/b","id":7}',
        b'{"rpc":null}',
        b'{"type":1}',
        b'{"rpc":"\xff"}',
        b'{"rpc":"a/b","args":[NaN]}',
    ],
)
def test_malformed_frames_are_ignored(payload: bytes) -> None:
    assert ignored(payload).reason == "malformed"


def test_arguments_of_a_binary_frame_are_utf8() -> None:
    assert ignored(b'{"rpc":"a/b","args":["\xff"]}', text=False).reason == "malformed"
    assert decode_client_frame('{"rpc":"a/b","args":["ü"]}'.encode(), DEPTH, text=False).rpc == "a/b"


def test_a_frame_that_is_call_and_control_frame_is_a_call() -> None:
    assert decode_client_frame(b'{"type":"hello","rpc":"a/b"}', DEPTH).rpc == "a/b"


@given(st.binary(max_size=200) | st.builds(lambda value: b'{"rpc":' + encode(value) + b"}", JSON) | JSON.map(encode))
def test_bytes_from_a_client_are_a_frame_or_ignored(payload: bytes) -> None:
    try:
        frame = decode_client_frame(payload, DEPTH)
    except Ignored as refusal:
        assert refusal.reason in ("malformed", "too_deep", "not_ours")
    else:
        if isinstance(frame, ControlFrame):
            assert isinstance(frame.type, str)
        else:
            assert isinstance(frame.rpc, str) or frame.batch is not NO_BATCH


@given(st.data())
def test_a_damaged_frame_is_a_frame_or_ignored(data: st.DataObject) -> None:
    whole = bytearray(b'{"rpc":"demo/echo","id":"k3","args":[{"a":[1,2.5,null]},"\\u00e9\\"]"],"stream":true}')
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Ignored):
        decode_client_frame(bytes(whole), DEPTH)


# -- batches


def test_the_calls_of_a_batch_come_in_order_and_what_is_none_keeps_its_place() -> None:
    elements = [
        {"rpc": "a/b", "id": "k0", "args": [1]},
        {"rpc": "a/b"},
        {"id": "k2"},
        {"rpc": 7, "id": "k3"},
        {"rpc": "a/b", "id": 4},
        "nonsense",
        None,
    ]
    frame = decode_client_frame(encode({"batch": elements, "sequential": True}), DEPTH)
    assert frame.sequential is True
    calls = decode_batch_calls(frame.batch)
    assert [call.rpc for call in calls] == ["a/b", *[UNSET] * 6]
    assert [call.id for call in calls] == ["k0", UNSET, "k2", "k3", UNSET, UNSET, UNSET]


@pytest.mark.parametrize("batch", [b"7", b"{}", b"null", b'"x"'])
def test_a_batch_that_is_no_list_is_ignored(batch: bytes) -> None:
    frame = decode_client_frame(b'{"batch":' + batch + b"}", DEPTH)
    with pytest.raises(Ignored, match="malformed"):
        decode_batch_calls(frame.batch)


def test_a_batch_that_nests_too_deep_can_still_be_answered() -> None:
    inside = nested(DEPTH - 1)  # two levels below the frame and its list
    refusal = ignored(b'{"batch":[' + inside + b"]}")
    assert refusal.frame is not None
    assert [call.id for call in decode_batch_calls(refusal.frame.batch)] == ["k"]
    assert decode_client_frame(b'{"batch":[' + nested(DEPTH - 2) + b"]}", DEPTH).batch is not NO_BATCH


def test_the_answers_to_a_batch_travel_in_one_reply() -> None:
    bodies = [
        answer_body("k0", ok_members(b"1")),
        answer_body("k1", error_members(LiveError("CONFLICT", "taken"))),
    ]
    assert json.loads(batch_reply(bodies)) == {
        "topic": "__rpc",
        "event": "__batch",
        "data": {
            "batch": [
                {"id": "k0", "ok": True, "data": 1},
                {"id": "k1", "ok": False, "code": "CONFLICT", "error": "taken"},
            ]
        },
    }


@given(TEXT, JSON)
def test_the_short_way_to_a_reply_frame_is_the_long_one(call: str, result: Any) -> None:
    encoded = encode(result)
    assert reply_frame(call, encoded) == text_frame(reply_payload(call, ok_members(encoded)))


# -- client out, server in


@given(TEXT, st.none() | TEXT, st.lists(JSON, max_size=4), st.booleans())
def test_calls_survive_the_wire(path: str, call: str | None, args: list[Any], stream: bool) -> None:
    text = call_text(path, call, args, stream=stream)
    assert text.startswith('{"rpc":')
    frame = decode_client_frame(text.encode(), DEPTH)
    assert (frame.rpc, frame.id, frame.stream) == (path, UNSET if call is None else call, stream)
    assert json.loads(bytes(frame.args)) == args


@given(TEXT, st.integers() | TEXT)
def test_control_frames_survive_the_wire(topic: str, ref: int | str) -> None:
    ref = ref if isinstance(ref, str) else ref % 2**53
    text = control_text("subscribe", topic=topic, ref=ref)
    assert text.startswith('{"type":')
    frame = decode_client_frame(text.encode(), DEPTH)
    assert (frame.type, frame.topic, frame.ref) == ("subscribe", topic, ref)


def test_the_key_orders_that_servers_look_for() -> None:
    assert call_text("a/b", "k", [1]) == '{"rpc":"a/b","id":"k","args":[1]}'
    assert call_text("a/b", None, []) == '{"rpc":"a/b","args":[]}'
    assert call_text("a/b", "k", [], stream=True) == '{"rpc":"a/b","id":"k","args":[],"stream":true}'
    assert control_text("hello", caps=["batch"]) == '{"type":"hello","caps":["batch"]}'


# -- server out, client in


@given(TEXT.filter(bool), TEXT, JSON, st.integers(0, 2**63 - 1))
def test_events_survive_the_wire(topic: str, event: str, data: Any, seq: int) -> None:
    payload = event_payload(event_head(event_prefix(topic), event), encode(data), seq)
    assert json.loads(payload) == {"topic": topic, "event": event, "data": data, "seq": seq}
    frame = decode_server_frame(payload)
    assert isinstance(frame, EventFrame)
    assert (frame.topic, frame.event, json.loads(bytes(frame.data)), frame.seq) == (topic, event, data, seq)


def reply_in(payload: bytes, call: str) -> Reply:
    frame = decode_server_frame(payload)
    assert isinstance(frame, EventFrame)
    assert (frame.topic, frame.event) == ("__rpc", call)
    assert json.loads(bytes(frame.data))["id"] == call
    reply = decode_reply(frame)
    assert reply is not None
    return reply


@given(TEXT, JSON)
def test_results_survive_the_wire(call: str, result: Any) -> None:
    reply = reply_in(reply_payload(call, ok_members(encode(result))), call)
    assert reply.ok
    assert isinstance(reply.data, msgspec.Raw)
    assert json.loads(bytes(reply.data)) == result


def test_a_streams_reply_has_its_own_members() -> None:
    reply = reply_in(
        reply_payload("k", ok_members(b"[]", b',"topic":"t","merge":"latest","max":5,"channel":true')), "k"
    )
    assert (reply.topic, reply.merge, reply.max, reply.channel) == ("t", "latest", 5, True)


@given(
    TEXT,
    TEXT.filter(bool),
    TEXT,
    st.lists(st.builds(Issue, st.lists(TEXT, max_size=3), TEXT), max_size=3),
    st.none() | st.integers(0, 10**6),
)
def test_errors_survive_the_wire(
    call: str, code: str, text: str, issues: list[Issue], milliseconds: int | None
) -> None:
    retry_after = None if milliseconds is None else milliseconds / 1000
    sent = LiveError(code, text, issues=issues, retry_after=retry_after)
    reply = reply_in(reply_payload(call, error_members(sent)), call)
    assert not reply.ok
    received = rpc_error(reply)
    assert received.to_dict() == sent.to_dict()


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ('{"type":"subscribe-denied","topic":5,"ref":"r","reason":"NO"}', Denied),
        ('{"type":"batch","events":[]}', EventBatch),
        ('{"topic":"t","event":"e"}', EventFrame),
        ('{"topic":"t","event":"e","type":"welcome"}', EventFrame),
    ],
)
def test_frames_from_a_server_are_told_apart(payload: str, kind: type) -> None:
    assert isinstance(decode_server_frame(payload), kind)
    assert isinstance(decode_server_frame(payload.encode()), kind)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        "{}",
        '{"type":"ping"}',
        '{"type":5}',
        '{"type":["batch"]}',
        '{"type":"batch"}',
        '{"type":"batch","events":{}}',
        '{"type":"welcome","sessionId":5}',
        '{"topic":5,"event":"e"}',
        '{"topic":"t","event":5}',
        '{"topic":"t","event":5,"type":"welcome"}',
        '{"topic":"t"}',
        b"\xff\xfe",
        b'{"topic":"\xff","event":"e"}',
        b"[" * 2**20,
        b'{"topic":' * 10**5,
        b'{"type":"batch","events":' + b"[" * 10**5,
    ],
)
def test_everything_else_from_a_server_is_nothing(payload: str | bytes) -> None:
    assert decode_server_frame(payload) is None


@given(st.binary(max_size=200) | JSON.map(encode))
def test_no_bytes_from_a_server_raise(payload: bytes) -> None:
    frame = decode_server_frame(payload)
    if isinstance(frame, EventFrame):
        decode_reply(frame)
    elif isinstance(frame, EventBatch):
        decode_batch(frame)


def test_a_batch_gives_its_readable_events_in_order() -> None:
    frame = decode_server_frame(
        '{"type":"batch","events":[{"topic":"a","event":"x","data":1},5,{"topic":"b"},null,{"topic":"b","event":"y"}]}'
    )
    assert isinstance(frame, EventBatch)
    assert [(event.topic, event.event, bytes(event.data)) for event in decode_batch(frame)] == [
        ("a", "x", b"1"),
        ("b", "y", b"null"),
    ]


@pytest.mark.parametrize(
    "data", [b"null", b"5", b'"x"', b"[]", b'{"ok":"yes"}', b'{"ok":false,"code":5}', b'{"code":"\xff"}']
)
def test_an_unreadable_reply_is_nothing(data: bytes) -> None:
    assert decode_reply(EventFrame("__rpc", "k", msgspec.Raw(data))) is None


@pytest.mark.parametrize("issues", [b'"odd"', b'[{"path":["\xff"],"message":""}]'])
def test_an_error_without_reasons_still_is_one(issues: bytes) -> None:
    reply = decode_reply(EventFrame("__rpc", "k", msgspec.Raw(b'{"ok":false,"issues":%b}' % issues)))
    assert reply is not None
    error = rpc_error(reply)
    assert (error.code, error.issues) == ("UNKNOWN", ())
    assert error.message


def test_a_client_frame_without_anything_is_told_by_its_missing_members() -> None:
    assert (CallFrame().rpc, ControlFrame().type) == (UNSET, UNSET)
