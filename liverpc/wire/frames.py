"""The frames on the wire, as structs (docs/protocol.md sections 1 to 5)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

__all__ = [
    "CONTROL_MAX_BYTES",
    "RPC_TOPIC",
    "SUBSCRIBE_BATCH_MAX",
    "ClientFrame",
    "Denied",
    "EventBatch",
    "EventFrame",
    "Reply",
    "ServerFrame",
]

RPC_TOPIC = "__rpc"
CONTROL_MAX_BYTES = 8191  # larger control frames are ignored
SUBSCRIBE_BATCH_MAX = 256  # topics beyond are ignored


class ClientFrame(msgspec.Struct, gc=False):
    """Anything a client sends as JSON: a call (``rpc``) or a control frame (``type``), in any key order.

    Fields whose type is checked later are left raw or untyped, so that one wrong field does not hide the
    ``id`` an error could be sent to.
    """

    rpc: str | UnsetType = UNSET
    id: str | UnsetType = UNSET  #: absent: fire and forget
    args: Raw = Raw(b"[]")
    stream: Any = False
    type: str | UnsetType = UNSET
    topic: Any = None
    topics: Any = None
    ref: Any = None


class EventFrame(msgspec.Struct, gc=False):
    """``{"topic", "event", "data", "seq"}``: an event of a topic, or a reply when the topic is ``__rpc``."""

    topic: str
    event: str
    data: Raw = Raw(b"null")
    seq: int | None = None


class EventBatch(msgspec.Struct, tag="batch", tag_field="type"):
    """Several events in one frame, in order."""

    events: list[Raw]  #: each an event frame; the unreadable ones are skipped


class Reply(msgspec.Struct, gc=False, rename={"has_more": "hasMore", "retry_after": "retryAfter"}):
    """The ``data`` of a reply, as a client reads it."""

    ok: bool = False
    data: Raw | UnsetType = UNSET
    code: str = "UNKNOWN"
    error: str = "the server gave no reason"
    issues: Raw | UnsetType = UNSET
    retry_after: float | None = None  #: milliseconds
    topic: str | None = None
    merge: str = "crud"
    key: str = "id"
    prepend: bool = False
    max: int = 0
    channel: bool = False


class Denied(msgspec.Struct, tag="subscribe-denied", tag_field="type"):
    """A bare topic subscribe was refused."""

    topic: Any = None
    ref: Any = None
    reason: str = "FORBIDDEN"


ServerFrame = EventFrame | EventBatch | Denied
