"""The frames on the wire, as structs (docs/protocol.md sections 1 to 5)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

__all__ = [
    "BATCH_MAX",
    "BATCH_REPLY",
    "CONTROL_MAX_BYTES",
    "HEALTH_TOPIC",
    "JOIN_MAX_BYTES",
    "NO_BATCH",
    "ROOM_JOINED",
    "ROOM_LOST",
    "RPC_TOPIC",
    "SIGNAL_PREFIX",
    "SUBSCRIBE_BATCH_MAX",
    "UPLOAD_TOPIC",
    "CallFrame",
    "ControlFrame",
    "Denied",
    "EventBatch",
    "EventFrame",
    "ReplayedEvent",
    "Reply",
    "ServerFrame",
    "ServerRequest",
    "UploadCredit",
    "UploadLimits",
]

RPC_TOPIC = "__rpc"
SIGNAL_PREFIX = "__signal:"  # and the id of a user: events for that user alone
UPLOAD_TOPIC = "__upload"  # its events, named by the id of the upload, answer uploads
HEALTH_TOPIC = "__realtime"  # its events degraded and recovered tell how the server is
BATCH_REPLY = "__batch"  # the event on __rpc that answers a batch
BATCH_MAX = 50  # calls in one frame; with more, none of them runs
CONTROL_MAX_BYTES = 8191  # larger control frames are ignored
JOIN_MAX_BYTES = 8191  # arguments of a call that asks for a room of a contract
ROOM_LOST = "__lost"  # the event on <contract>/__client that says which room its client is in no more
ROOM_JOINED = "__joined"  # and this one, which of those that it does not ask for it is in after all
SUBSCRIBE_BATCH_MAX = 256  # topics beyond are ignored


NO_BATCH = Raw(b"")


class CallFrame(
    msgspec.Struct, gc=False, rename={"schema_version": "schemaVersion", "idempotency_key": "idempotencyKey"}
):
    """A call, in any key order, or a batch of them; neither ``rpc`` nor ``batch``: something else.

    Fields whose type is checked later are left raw or untyped, so that one wrong field does not hide the
    ``id`` an error could be sent to.
    """

    rpc: str | UnsetType = UNSET
    id: str | UnsetType = UNSET  #: absent: fire and forget
    args: Raw = Raw(b"[]")
    stream: Any = False
    batch: Raw = NO_BATCH
    sequential: Any = False
    idempotency_key: Any = UNSET  #: by which a repetition is recognised
    # Of stream requests (docs/protocol.md section 5): what the client knows already, and what it wants.
    seq: Any = None
    epoch: Any = None
    version: Any = None
    schema_version: Any = None
    cursor: Any = None  #: of the page it wants; None: it wants to subscribe
    resync: Any = False  #: it is subscribed and wants what it missed


class ControlFrame(msgspec.Struct, gc=False, rename={"session_id": "sessionId", "seqs": "lastSeenSeqs"}):
    """Anything a client sends that is told apart by its ``type``."""

    type: str | UnsetType = UNSET
    topic: Any = None
    topics: Any = None
    ref: Any = None
    caps: Any = None  #: of ``hello``
    session_id: Any = None  #: of ``resume``
    seqs: Any = None  #: of ``resume``: last number seen, by topic
    data: Any = None  #: of ``reply``
    error: Any = None  #: of ``reply``


class EventFrame(msgspec.Struct, gc=False):
    """``{"topic", "event", "data", "seq"}``: an event of a topic, or a reply when the topic is ``__rpc``."""

    topic: str
    event: str
    data: Raw = Raw(b"null")
    seq: int | None = None
    has_more: bool | None = msgspec.field(default=None, name="hasMore")  #: of a ``refreshed`` that is a page
    cursor: Any = None  #: likewise


class EventBatch(msgspec.Struct, tag="batch", tag_field="type"):
    """Several events in one frame, in order."""

    events: list[Raw]  #: each an event frame; the unreadable ones are skipped


class Reply(
    msgspec.Struct,
    gc=False,
    rename={
        "retry_after": "retryAfter",
        "has_more": "hasMore",
        "schema_version": "schemaVersion",
        "frame_bytes": "__cap",
    },
):
    """The ``data`` of a reply, as a client reads it; most of it is about streams (docs/protocol.md section 5)."""

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
    derived: bool = False
    gated: bool = False
    has_more: bool | None = None  #: None: the value is no page
    cursor: Any = None
    seq: int | None = None
    epoch: str | None = None
    version: Any = None
    schema_version: int | None = None
    unchanged: bool = False  #: ``data`` says nothing
    delta: bool = False  #: ``data`` are changed rows, those with a true ``_deleted`` are gone
    replay: bool = False  #: ``data`` are the events missed, each a :class:`ReplayedEvent`
    frame_bytes: Any = None  #: of the answer to an upload: the largest message the server takes


class ReplayedEvent(msgspec.Struct, gc=False):
    """One event in a reply that brings what a client missed."""

    event: str
    data: Raw = Raw(b"null")
    seq: int | None = None


class Denied(msgspec.Struct, tag="subscribe-denied", tag_field="type"):
    """A bare topic subscribe was refused."""

    topic: Any = None
    ref: Any = None
    reason: str = "FORBIDDEN"


class ServerRequest(msgspec.Struct, tag="request", tag_field="type"):
    """The server asks the client."""

    event: str
    ref: Any = None  #: comes back in the answer
    data: Raw = Raw(b"null")


class UploadLimits(msgspec.Struct, tag="upload-limits", tag_field="type", rename="camel"):
    """What the server takes, told to clients that can pace uploads (docs/protocol.md section 11)."""

    frame_bytes: int  #: the largest message
    window_bytes: int  #: of one upload, before the first credit


class UploadCredit(msgspec.Struct, tag="upload-credit", tag_field="type"):
    """The handler of an upload has taken some of it, so that more may be sent."""

    stream: str  #: the id of the upload
    bytes: int  #: that may be sent in all, from its beginning


ServerFrame = EventFrame | EventBatch | Denied | ServerRequest | UploadLimits | UploadCredit
