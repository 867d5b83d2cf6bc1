"""JSON in and out, both ends.

The functions of the two hot paths build bytes by concatenation: the constant parts of a frame are encoded
once, and a published payload once for all its receivers.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import UNSET

from liverpc.errors import Issue, LiveError, RpcError
from liverpc.wire.frames import (
    CONTROL_MAX_BYTES,
    ClientFrame,
    Denied,
    EventBatch,
    EventFrame,
    Reply,
    ServerFrame,
)

__all__ = [
    "Ignored",
    "batch_reply",
    "call_text",
    "control_text",
    "decode_batch",
    "decode_client_frame",
    "decode_reply",
    "decode_server_frame",
    "encode",
    "error_body",
    "event_head",
    "event_payload",
    "event_prefix",
    "json_depth_exceeds",
    "ok_body",
    "reply",
    "rpc_error",
]

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""A value as compact JSON. Raises TypeError for what has no JSON form."""

_decode_client = msgspec.json.Decoder(ClientFrame).decode
_decode_event = msgspec.json.Decoder(EventFrame).decode
_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_issues = msgspec.json.Decoder(list[Issue]).decode


# What decoding hostile bytes raises. msgspec leaves the UTF-8 of strings to Python.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Ignored(Exception):
    """A frame that means nothing here. ``reason``: ``malformed``, ``too_deep``, ``not_ours``."""

    def __init__(self, reason: str, frame: ClientFrame | None = None) -> None:
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


def decode_client_frame(payload: bytes, depth: int, text: bool = True) -> ClientFrame:
    """The frame in ``payload``; exactly one of ``rpc`` and ``type`` is set.

    Raises:
        Ignored: It is no frame of ours; nothing must be answered unless the exception carries a frame.
    """
    if payload[:1] != b"{":
        raise Ignored("not_ours")
    too_deep = json_depth_exceeds(payload, depth)
    try:
        if not text:
            payload.decode()  # in a binary frame nobody has checked the UTF-8 of the arguments yet
        frame = _decode_client(payload)
    except _UNREADABLE:
        raise Ignored("too_deep" if too_deep else "malformed") from None
    if frame.rpc is not UNSET:
        if too_deep:
            raise Ignored("too_deep", frame)
        return frame
    if too_deep:
        raise Ignored("too_deep")
    if frame.type is UNSET or not text or len(payload) > CONTROL_MAX_BYTES:
        raise Ignored("not_ours")
    return frame


# -- server: out ------------------------------------------------------------------------------------------


def event_prefix(topic: str) -> bytes:
    """The constant beginning of every event on ``topic``; made once per topic."""
    return b'{"topic":' + encode(topic) + b',"event":'


def event_head(prefix: bytes, event: str) -> bytes:
    """The frame up to the data, from :func:`event_prefix`; the same for all events of one name on a topic."""
    return b"".join((prefix, encode(event), b',"data":'))


def event_payload(head: bytes, data: bytes, seq: int) -> bytes:
    """An event frame's payload, from :func:`event_head` and encoded data."""
    return b'%b%b,"seq":%d}' % (head, data, seq)


def ok_body(call: str, result: bytes, extra: bytes = b"") -> bytes:
    """A successful answer.

    Args:
        call: The client's id of the call.
        result: Encoded; ``null`` for a handler that returned nothing.
        extra: More members, each beginning with a comma.
    """
    return b'{"id":%b,"ok":true,"data":%b%b}' % (encode(call), result, extra)


def error_body(call: str, error: LiveError) -> bytes:
    """A failed answer. Raises TypeError when an issue has no JSON form."""
    parts = [b'{"id":', encode(call), b',"ok":false,"code":', encode(error.code), b',"error":', encode(error.message)]
    if error.issues:
        parts += [b',"issues":', encode(error.issues)]
    if error.retry_after is not None:
        parts += [b',"retryAfter":%d' % round(error.retry_after * 1000)]
    parts.append(b"}")
    return b"".join(parts)


def reply(call: str, body: bytes) -> bytes:
    """The payload that brings an answer to its caller."""
    return b'{"topic":"__rpc","event":%b,"data":%b}' % (encode(call), body)


def batch_reply(bodies: list[bytes]) -> bytes:
    """The payload that answers a batch, in the order of its calls."""
    return b'{"topic":"__rpc","event":"__batch","data":{"batch":[%b]}}' % b",".join(bodies)


# -- client: out ------------------------------------------------------------------------------------------


def call_text(path: str, call: str | None, args: list[Any], *, stream: bool = False) -> str:
    """A call as text. Key order matters to servers that look at the first bytes only: ``rpc`` comes first."""
    frame: dict[str, Any] = {"rpc": path}
    if call is not None:
        frame["id"] = call
    frame["args"] = args
    if stream:
        frame["stream"] = True
    return encode(frame).decode()


def control_text(kind: str, **members: Any) -> str:
    """A control frame as text; ``type`` comes first, for the same reason."""
    return encode({"type": kind, **members}).decode()


# -- client: in -------------------------------------------------------------------------------------------


class _Head(msgspec.Struct, gc=False):
    topic: Any = None
    event: Any = UNSET
    type: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode
_CONTROL: dict[str, Any] = {
    "batch": msgspec.json.Decoder(EventBatch).decode,
    "subscribe-denied": msgspec.json.Decoder(Denied).decode,
}


def decode_server_frame(payload: str | bytes) -> ServerFrame | None:
    """What a server sent; None for frames a client ignores, such as an unknown type or broken JSON."""
    try:
        return _decode_event(payload)
    except _UNREADABLE:
        pass
    try:
        head = _decode_head(payload)
        decoder = _CONTROL.get(head.type) if isinstance(head.type, str) else None
        if decoder is None or (head.topic and head.event is not UNSET):
            return None
        frame: ServerFrame = decoder(payload)
        return frame
    except _UNREADABLE:
        return None


def decode_batch(frame: EventBatch) -> list[EventFrame]:
    """The readable events of a batch."""
    events: list[EventFrame] = []
    for raw in frame.events:
        try:
            events.append(_decode_event(raw))
        except _UNREADABLE:
            continue
    return events


def decode_reply(frame: EventFrame) -> Reply | None:
    """The reply in an event on ``__rpc``; None when it is not readable."""
    try:
        return _decode_reply(frame.data)
    except _UNREADABLE:
        return None


def rpc_error(reply: Reply) -> RpcError:
    """The error in a failed reply."""
    issues: list[Issue] = []
    if reply.issues is not UNSET:
        try:
            issues = _decode_issues(reply.issues)
        except _UNREADABLE:
            issues = []
    retry_after = None if reply.retry_after is None else reply.retry_after / 1000
    return RpcError(reply.code, reply.error, issues=issues, retry_after=retry_after)
