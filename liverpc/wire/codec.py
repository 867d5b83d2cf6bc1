"""JSON in and out, both ends.

The functions of the two hot paths build bytes by concatenation: the constant parts of a frame are encoded
once, and a published payload once for all its receivers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import accumulate
from math import ceil
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from liverpc.errors import ErrorCode, Issue, LiveError, RpcError
from liverpc.wire.frames import (
    BATCH_MAX,
    CONTROL_MAX_BYTES,
    CallFrame,
    Denied,
    EventBatch,
    EventFrame,
    ReplayedEvent,
    Reply,
    ServerFrame,
    ServerRequest,
    UploadCredit,
    UploadLimits,
)
from liverpc.wire.framing import HEADERS, text_frame

__all__ = [
    "UNREADABLE",
    "Ignored",
    "answer_body",
    "answer_text",
    "batch_reply",
    "batch_text",
    "call_text",
    "canonical",
    "control_text",
    "decode_args",
    "decode_batch",
    "decode_batch_calls",
    "decode_batch_reply",
    "decode_call",
    "decode_call_carefully",
    "decode_replayed",
    "decode_reply",
    "decode_server_frame",
    "encode",
    "error_members",
    "event_batch",
    "event_head",
    "event_payload",
    "event_prefix",
    "json_depth_exceeds",
    "ok_members",
    "reply",
    "reply_frame",
    "rpc_error",
]

_ERROR_TEXT_MAX = 1000  # characters of an error that a client tells: in any script they fit a control frame

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""A value as compact JSON. Raises TypeError for what has no JSON form."""

_decode_list = msgspec.json.Decoder(list[Any]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_event = msgspec.json.Decoder(EventFrame).decode
_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_replayed = msgspec.json.Decoder(list[ReplayedEvent]).decode
_decode_issues = msgspec.json.Decoder(list[Issue]).decode


class _Id(msgspec.Struct, gc=False):
    id: str | UnsetType = UNSET


_decode_id = msgspec.json.Decoder(_Id).decode

# What decoding hostile bytes raises. msgspec leaves the UTF-8 of strings to Python.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Ignored(Exception):
    """A frame that means nothing here. ``reason``: ``malformed``, ``too_deep``, ``not_ours``."""

    def __init__(self, reason: str, frame: CallFrame | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frame = frame  # with a usable id, when the frame can still be answered


# -- depth ------------------------------------------------------------------------------------------------

# A string without an end counts as one up to the end of the input. If it did not match, the search would go
# on at the next quote in it, and time would grow with the square of the length. Possessive: no backtracking.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1 as signed bytes


def json_depth_exceeds(payload: bytes, limit: int) -> bool:
    """Whether arrays and objects in ``payload`` nest deeper than ``limit``. Meaningless for malformed JSON."""
    # Counting brackets is far cheaper than matching them, and nearly every frame has fewer than the limit.
    if payload.count(b"[") + payload.count(b"{") <= limit:
        return False
    # Linear and without recursion, for the input is hostile.
    steps = _STRING.sub(b"", payload).translate(_STEPS, delete=_NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > limit


# -- server: in -------------------------------------------------------------------------------------------


decode_call = msgspec.json.Decoder(CallFrame).decode
"""The frame in a text message that is too short to nest too deep.

It is neither a call nor a batch, but perhaps a control frame, when it has neither ``rpc`` nor ``batch``. Raises one of
``UNREADABLE`` for what is no frame at all.
"""


def decode_call_carefully(payload: bytes, depth: int, text: bool) -> CallFrame:
    """The same for any message.

    Raises:
        Ignored: It is no frame of ours; nothing must be answered unless the exception carries a frame.
    """
    too_deep = json_depth_exceeds(payload, depth)
    try:
        if not text:
            payload.decode()  # in a binary frame nobody has checked the UTF-8 of the arguments yet
        frame = decode_call(payload)
    except UNREADABLE:
        raise Ignored("too_deep" if too_deep else "malformed") from None
    if too_deep:
        answerable = frame.rpc is not UNSET or bytes(frame.batch)[:1] == b"["
        raise Ignored("too_deep", frame if answerable else None)
    return frame


def decode_batch_calls(batch: Raw) -> list[CallFrame]:
    """The calls in a batch, in order.

    What cannot be a call with an answer, for want of a path or an id, becomes a frame without ``rpc``. Of more than
    ``BATCH_MAX`` only one more is looked at.

    Raises:
        Ignored: It is no list.
    """
    try:
        elements = _decode_raws(batch)
    except UNREADABLE:
        raise Ignored("malformed") from None
    return [_batch_call(element) for element in elements[: BATCH_MAX + 1]]


def decode_args(args: Raw) -> list[Any]:
    """A call's arguments as plain values; LiveError ``INVALID_REQUEST`` when they are no list."""
    try:
        return _decode_list(args)
    except UNREADABLE:
        raise LiveError(ErrorCode.INVALID_REQUEST, "args must be a list") from None


def _batch_call(element: Raw) -> CallFrame:
    try:
        frame = decode_call(element)
    except UNREADABLE:
        try:
            # Another field is wrong: the id may still tell the caller which of its calls failed.
            return CallFrame(id=_decode_id(element).id)
        except UNREADABLE:
            return CallFrame()
    if frame.id is UNSET:
        frame.rpc = UNSET
    return frame


# -- server: out ------------------------------------------------------------------------------------------


def event_prefix(topic: str) -> bytes:
    """The constant beginning of every event on ``topic``; made once per topic."""
    return b'{"topic":' + encode(topic) + b',"event":'


def event_head(prefix: bytes, event: str) -> bytes:
    """The frame up to the data, from :func:`event_prefix`; the same for all events of one name on a topic."""
    return b"".join((prefix, encode(event), b',"data":'))


def event_payload(head: bytes, data: bytes, seq: int | None) -> bytes:
    """An event frame's payload, from :func:`event_head` and encoded data; without a number for None."""
    return b'%b%b,"seq":%d}' % (head, data, seq) if seq is not None else b"%b%b}" % (head, data)


def event_batch(events: list[bytes]) -> bytes:
    """The payload with several events, from the payload of each."""
    return b'{"type":"batch","events":[%b]}' % b",".join(events)


def reply_frame(call: str, result: bytes) -> bytes:
    """``text_frame(reply(call, ok_members(result)))``, only faster: nearly every call ends here."""
    key = encode(call)
    payload = b'{"topic":"__rpc","event":%b,"data":{"id":%b,"ok":true,"data":%b}}' % (key, key, result)
    n = len(payload)
    return HEADERS[n] + payload if n < len(HEADERS) else text_frame(payload)


def ok_members(result: bytes, extra: bytes = b"") -> bytes:
    """A successful answer, as members of an object.

    Args:
        result: Encoded; ``null`` for a handler that returned nothing.
        extra: More members, each beginning with a comma.
    """
    return b'"ok":true,"data":%b%b' % (result, extra)


def error_members(error: LiveError) -> bytes:
    """A failed answer, likewise. Raises TypeError when an issue has no JSON form."""
    parts = [b'"ok":false,"code":', encode(error.code), b',"error":', encode(error.message)]
    if error.issues:
        parts += [b',"issues":', encode(error.issues)]
    if error.retry_after is not None:
        least = 1 if error.retry_after > 0 else 0
        parts += [b',"retryAfter":%d' % max(least, ceil(error.retry_after * 1000 - 0.001))]  # not before it is over
    return b"".join(parts)


def answer_body(call: str, members: bytes) -> bytes:
    """An answer as an object that says which call it belongs to."""
    return b'{"id":%b,%b}' % (encode(call), members)


def reply(call: str, members: bytes) -> bytes:
    """The payload that brings an answer to its caller."""
    return b'{"topic":"__rpc","event":%b,"data":%b}' % (encode(call), answer_body(call, members))


def batch_reply(bodies: list[bytes]) -> bytes:
    """The payload that answers a batch, from the :func:`answer_body` of each call, in their order."""
    return b'{"topic":"__rpc","event":"__batch","data":{"batch":[%b]}}' % b",".join(bodies)


# -- client: out ------------------------------------------------------------------------------------------


_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


def _encoded(encode: Callable[[Any], bytes], value: Any) -> bytes:
    """Encode what a program gave; TypeError for all that has no JSON form."""
    try:
        return encode(value)
    except (ValueError, RecursionError) as error:  # half a surrogate pair, a list that contains itself
        raise TypeError(f"it has no JSON form: {error}") from None


def canonical(value: Any) -> bytes:
    """A value as JSON in which the order of a dict's keys does not show. Raises TypeError as :data:`encode`."""
    try:
        return _encoded(_encode_sorted, value)
    except TypeError:  # it cannot sort keys that are numbers
        return _encoded(encode, value)


def call_text(
    path: str,
    call: str | None,
    args: list[Any],
    *,
    stream: bool = False,
    idempotency_key: str | None = None,
    members: Mapping[str, Any] | None = None,
) -> str:
    """A call as text. Key order matters to servers that look at the first bytes only: ``rpc`` comes first.

    ``members`` are further ones, such as a stream request's ``seq`` and ``cursor``.
    """
    frame: dict[str, Any] = {"rpc": path}
    if call is not None:
        frame["id"] = call
    frame["args"] = args
    if stream:
        frame["stream"] = True
    if idempotency_key is not None:
        frame["idempotencyKey"] = idempotency_key
    if members:
        frame.update(members)
    return _encoded(encode, frame).decode()


def batch_text(calls: list[str], *, sequential: bool) -> str:
    """Several calls, each from :func:`call_text`, in one frame."""
    end = '],"sequential":true}' if sequential else "]}"
    return '{"batch":[' + ",".join(calls) + end


def control_text(kind: str, **members: Any) -> str:
    """A control frame as text; ``type`` comes first, for the same reason."""
    return _encoded(encode, {"type": kind, **members}).decode()


def answer_text(ref: Any, data: Any, error: str | None) -> str:
    """The answer to a question of the server.

    Data without JSON form, or more of it than a control frame may have, becomes an error.
    """
    try:
        text = control_text("reply", ref=ref, data=data) if error is None else ""
    except TypeError:
        text, error = "", "the handler's answer has no JSON form"
    if len(text.encode()) > CONTROL_MAX_BYTES:
        text, error = "", f"the handler's answer is larger than a control frame, {CONTROL_MAX_BYTES} bytes"
    if error is not None:
        told = error[:_ERROR_TEXT_MAX].encode(errors="replace").decode()
        text = control_text("reply", ref=ref, error=told)
    return text


# -- client: in -------------------------------------------------------------------------------------------


class _Head(msgspec.Struct, gc=False):
    topic: Any = None
    event: Any = UNSET
    type: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode
_CONTROL: dict[str, Any] = {
    "batch": msgspec.json.Decoder(EventBatch).decode,
    "request": msgspec.json.Decoder(ServerRequest).decode,
    "subscribe-denied": msgspec.json.Decoder(Denied).decode,
    "upload-credit": msgspec.json.Decoder(UploadCredit).decode,
    "upload-limits": msgspec.json.Decoder(UploadLimits).decode,
}


class _BatchReply(msgspec.Struct, gc=False):
    batch: list[Raw]


_decode_batch_reply = msgspec.json.Decoder(_BatchReply).decode


def decode_server_frame(payload: str | bytes) -> ServerFrame | None:
    """What a server sent; None for frames a client ignores, such as an unknown type or broken JSON."""
    try:
        return _decode_event(payload)
    except UNREADABLE:
        pass
    try:
        head = _decode_head(payload)
        decoder = _CONTROL.get(head.type) if isinstance(head.type, str) else None
        if decoder is None or (head.topic and head.event is not UNSET):
            return None
        frame: ServerFrame = decoder(payload)
        return frame
    except UNREADABLE:
        return None


def decode_batch(frame: EventBatch) -> list[EventFrame]:
    """The readable events of a batch."""
    events: list[EventFrame] = []
    for raw in frame.events:
        try:
            events.append(_decode_event(raw))
        except UNREADABLE:
            continue
    return events


def decode_reply(frame: EventFrame) -> Reply | None:
    """The reply in an event on ``__rpc``; None when it is not readable."""
    try:
        return _decode_reply(frame.data)
    except UNREADABLE:
        return None


def decode_replayed(data: Raw) -> list[ReplayedEvent] | None:
    """The missed events in a stream's reply; None when they are not readable."""
    try:
        return _decode_replayed(data)
    except UNREADABLE:
        return None


def decode_batch_reply(frame: EventFrame) -> list[tuple[str, Reply | None]]:
    """The replies in the answer to a batch, each with its id (``""`` for none), or None when it is not readable."""
    try:
        replies = _decode_batch_reply(frame.data).batch
    except UNREADABLE:
        return []
    return [_batch_entry(raw) for raw in replies]


def _batch_entry(raw: Raw) -> tuple[str, Reply | None]:
    try:
        call = _decode_id(raw).id
    except UNREADABLE:
        return "", None
    name = "" if call is UNSET else call
    try:
        return name, _decode_reply(raw)
    except UNREADABLE:
        return name, None


def rpc_error(reply: Reply) -> RpcError:
    """The error in a failed reply."""
    issues: list[Issue] = []
    if reply.issues is not UNSET:
        try:
            issues = _decode_issues(reply.issues)
        except UNREADABLE:
            issues = []
    retry_after = None if reply.retry_after is None else reply.retry_after / 1000
    return RpcError(reply.code, reply.error, issues=issues, retry_after=retry_after)
