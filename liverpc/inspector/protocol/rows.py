"""The rows of the attach protocol: what exists on a server, and its figures."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Awaited",
    "BreakerInfo",
    "ConnectionInfo",
    "ConnectionStats",
    "Declarations",
    "Declared",
    "LockInfo",
    "PathInfo",
    "PathStats",
    "PendingCall",
    "RefusedJoin",
    "RoomInfo",
    "RoomMember",
    "RoomTotals",
    "Step",
    "StreamInfo",
    "StreamStats",
    "SubscriptionInfo",
    "UploadInfo",
    "UploadTotals",
]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A positional record; new fields go to the end."""


class StreamInfo(Row, frozen=True):
    """A topic somebody is subscribed to."""

    id: int
    topic: str
    merge: str
    path: str  #: the declaration that opened it first


class StreamStats(Row, frozen=True):
    """Figures of one topic; totals since the topic came to life."""

    id: int
    subscribers: int
    published: int
    delivered: int
    dropped: int  #: publishes dropped by fault rules
    bytes: int  #: encoded, before fan-out
    event: str  #: name of the last event; empty before the first
    at: float  #: when it was published; 0.0 before the first
    seq: int
    error: str  #: code of the last failed subscribe or reload; empty when none failed
    replay_depth: int = 0  #: events in the log, for clients that come back
    held: int = 0  #: events held back for subscribers whose loaders run
    reloads: int = 0  #: values loaded anew for everybody
    coalesced: int = 0  #: events not sent to a full socket because a newer one took their place
    volatile_drops: int = 0  #: events not sent to a full socket because nobody misses them


class ConnectionInfo(Row, frozen=True):
    """An open connection."""

    id: str
    user: str  #: empty for anonymous, and for observers at level ``metrics``
    address: str
    opened_at: float


class ConnectionStats(Row, frozen=True, gc=False):
    """Figures of one connection; totals since it opened."""

    id: str
    topics: int
    frames_in: int
    calls: int
    pending: int
    buffered: int  #: bytes not yet taken by the socket


class PathInfo(Row, frozen=True):
    """A declared function that was called or subscribed to."""

    id: int
    path: str


class PathStats(Row, frozen=True):
    """Figures of one path since the server started. Durations in seconds.

    Percentiles are those of the calls since durations were first measured, at the latest since the first observer.
    """

    id: int
    calls: int
    errors: int
    total: float
    max: float
    p50: float = 0.0  #: 0.0: not known
    p95: float = 0.0
    p99: float = 0.0
    codes: list[tuple[str, int]] = []  #: errors by code, the most frequent first; at most 8
    limited: int = 0  #: refused with ``RATE_LIMITED``
    shed: int = 0  #: refused with ``OVERLOADED``


class PendingCall(Row, frozen=True):
    """A call that runs now."""

    connection: str
    call: str  #: the client's id; empty for fire and forget
    path: str
    user: str
    started_at: float
    carries: str = ""  #: as in :class:`CallEvent`


class Step(Row, frozen=True):
    """A function of a call that waits for the next one, or for something."""

    function: str
    file: str  #: seen from the server's working directory or from where modules are found
    line: int


class Awaited(Row, frozen=True):
    """Where a call that runs waits now. What its functions work with is never told."""

    on: str  #: a phrase such as ``a worker thread`` or ``asyncio.tasks.sleep``
    steps: list[Step]  #: from the application's outermost function to the innermost one; at most the last 40


class LockInfo(Row, frozen=True):
    """A key of ``live.lock`` that a call holds now."""

    key: str
    path: str  #: of the call that holds it
    connection: str
    call: str  #: its id; empty for fire and forget
    user: str  #: empty for anonymous
    since: float
    waiting: int  #: calls
    waiting_since: float  #: the one that waits longest; 0.0 when none does


class BreakerInfo(Row, frozen=True):
    """A breaker of ``live.breaker``."""

    name: str
    state: str  #: ``closed``, ``open`` or ``half-open``
    failures: int  #: in a row
    tried_in: float | None  #: seconds until a call is tried; None: calls go through, or one is being tried
    paths: list[str]  #: at most 20


class UploadInfo(Row, frozen=True):
    """An upload that runs now. How it ended is told by a :class:`CallEvent` of the same connection and ``id``."""

    connection: str
    id: str  #: eight hexadecimal digits; no other unanswered upload of the connection has them
    path: str
    user: str  #: empty for anonymous, and for observers at level ``metrics``
    address: str
    started_at: float
    size: int | None  #: what the client announced, unchecked
    received: int  #: bytes
    taken: int  #: bytes the handler has
    buffered: int  #: bytes that wait for it; none any more when the upload ended early
    state: str  #: ``waiting``, ``receiving``, ``full``, ``held``, ``complete`` or ``ended early``; see docs/devtools.md


class RoomInfo(Row, frozen=True):
    """A room with somebody in it, and its figures. ``kind`` and ``number`` identify it."""

    kind: str  #: ``room`` or ``contract``
    number: int
    name: str  #: topic of a room's data; ``<contract>/<room>`` for those of contracts
    key: str  #: of a contract's room; empty for others, and for observers at level ``metrics``
    declared: str  #: the path of a room; the URL pattern of a contract
    members: int  #: users and guests, those in their grace too
    away: int  #: of these, in their grace: without a connection
    connections: int
    cursors: int  #: members with a position
    joined_at: float  #: when the newest member came


class RoomMember(Row, frozen=True):
    """A user, or a guest, in a room."""

    key: str  #: the user's id, or ``__guest_`` and a number
    connections: list[str]  #: none: in its grace
    how: str  #: ``stream``, ``auto``, ``asked`` or ``handler``; see docs/devtools.md
    since: float
    shown: Any = None  #: presence; redacted
    cursor: Any = None  #: last position; redacted


class RefusedJoin(Row, frozen=True):
    """Somebody who was not let into a room. The client was not told why."""

    at: float
    room: str  #: as :attr:`RoomInfo.name`; of a room the path, when its topic was not known
    connection: str
    user: str  #: empty for anonymous
    reason: str
    asked: str = ""  #: what for: the payload under its parameter's name, as JSON; redacted, at most 200 characters


class RoomTotals(Row, frozen=True):
    """All rooms that the observer may see."""

    rooms: int
    members: int
    refused: int | None  #: joins since the server started; None for scoped tokens
    more: bool = False  #: there are too many to look at: further rooms are not counted


class UploadTotals(Row, frozen=True):
    """All running uploads of a server, and how much there may be at most."""

    running: int
    most: int
    buffered: int  #: bytes
    most_buffered: int


class SubscriptionInfo(Row, frozen=True):
    """One connection that listens to one topic."""

    topic: str
    connection: str
    user: str  #: empty for anonymous, and for observers at level ``metrics``
    buffered: int  #: bytes the connection's socket has not taken
    held: int  #: events held back while the loader runs
    live: bool  #: the loader was answered


class Declared(Row, frozen=True):
    """A path, as it was declared."""

    path: str
    kind: str  #: ``rpc``, ``stream``, ``channel``, ``binary`` or ``upload``
    doc: str  #: first paragraph of its description
    place: str  #: file and line, seen from where modules are found
    parameters: list[tuple[str, dict[str, Any], bool]]  #: name, JSON schema, whether it must be given
    result: dict[str, Any]  #: JSON schema; empty: anything
    guards: list[str]  #: what callers must pass, by name, in order
    policies: list[tuple[str, str]]  #: such as ``("rate limit", "5 per 60 s")``
    topic: str = ""  #: of a stream: its name, or its template; empty when it is computed


class Declarations(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a server declares, and as whom it can be tried."""

    paths: list[Declared]
    definitions: dict[str, Any] = {}  #: of the schemas: what ``#/$defs/NAME`` refers to
    users: list[str] = []  #: of tests, ``""`` is nobody; empty when calls cannot be tried by this observer
    left_out: list[str] = []  #: what there was no room for, such as ``descriptions``
