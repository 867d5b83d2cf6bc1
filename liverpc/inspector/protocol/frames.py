"""The messages of ``liverpc.attach.v1``.

JSON text frames, told apart by ``t``. Unknown kinds and fields are ignored on both sides, so either may be
newer. Times named ``at`` are the server's monotonic seconds; ``Welcome`` and ``Pong`` relate them to its
wall clock. Every payload was redacted on the server when it was captured. Events and faults are in :mod:`.events`,
rows (:mod:`.rows`) are arrays.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from liverpc.config import Level
from liverpc.inspector.protocol.events import Blast, CallEvent, ChaosRule, Event
from liverpc.inspector.protocol.rows import (
    Awaited,
    BreakerInfo,
    ConnectionInfo,
    ConnectionStats,
    Declarations,
    LockInfo,
    PathInfo,
    PathStats,
    PendingCall,
    RefusedJoin,
    RoomInfo,
    RoomMember,
    RoomTotals,
    StreamInfo,
    StreamStats,
    SubscriptionInfo,
    UploadInfo,
    UploadTotals,
)

ATTACH_PATH = "/__liverpc/attach"
SUBPROTOCOL = "liverpc.attach.v1"
VERSION = 1
CARRIERS = ("binary", "upload")  #: kinds of calls with data besides the arguments


# -- client to server -------------------------------------------------------------------------------------


class _Frame(msgspec.Struct, tag_field="t", omit_defaults=True, frozen=True):
    pass


class Budget(msgspec.Struct, frozen=True):
    """How much an observer wants to be told at most. State is never left out, only events are."""

    events: float = 500.0  #: per second
    bytes: float = 262_144.0  #: of events, per second


class Hello(_Frame, tag="hello", frozen=True):
    """First frame of a session."""

    v: int
    client: str
    want: Level = "observe"
    budget: Budget = Budget()


class Match(msgspec.Struct, omit_defaults=True, frozen=True):
    """Which events a watch wants. Empty lists match everything.

    Globs know ``*`` only, and have at most 256 characters; a list has at most 16.
    """

    kind: list[str] = []  #: ``pub``, ``rpc``, ``conn``; of the calls ``binary`` or ``upload`` only those
    topic: list[str] = []  #: globs; only publishes have topics
    path: list[str] = []  #: globs; only calls have paths
    ok: bool | None = None  #: False: failed calls only
    min_ms: float = 0.0  #: calls at least that long
    event: list[str] = []  #: globs of event names; only publishes have them


class Watch(_Frame, tag="watch", frozen=True):
    """Send events that match until unwatched. ``payload=False`` leaves data, args and results out.

    An event that several watches want is sent once. ``capture`` narrows what the server captures at all, while it is
    the only one: what does not match costs none of the server's budget.
    """

    id: int
    match: Match = Match()
    payload: bool = True
    sample: float = 1.0  #: share of the matching events that is sent; what is left out by choice is not lost
    capture: bool = False


class Unwatch(_Frame, tag="unwatch", frozen=True):
    """End a watch."""

    id: int


class Credit(_Frame, tag="credit", frozen=True):
    """Allow ``n`` more events. A session starts with 1,000; without credit events are counted as lost."""

    n: int


class Get(_Frame, tag="get", frozen=True):
    """Ask for what is kept, or for what is too dear to be told unasked.

    ``["stream", topic]`` are its last events, ``["calls"]`` the history of calls, ``["call", connection, id]`` where a
    call or upload that runs waits now; of several with that id the oldest, unless a fourth item says when it started,
    as in :class:`PendingCall`. ``["chain", id]`` are the kept events that led to the one with that id, and those it
    led to; ``["subscribers", topic]`` who listens to a topic, ``["subscriptions", connection]`` to what one listens;
    ``["declared"]`` is what the server declares.
    """

    id: int
    ref: list[str]


class Look(_Frame, tag="look", frozen=True):
    """Tell of rooms from now on, with :class:`Rooms`, or no more; replaces what was said before."""

    rooms: bool = True
    kind: str = ""  #: with ``number``, the room whose members are to be told; empty: none
    number: int = 0


class Kick(_Frame, tag="kick", frozen=True):
    """Close a connection, or all of a user; needs level ``admin``."""

    id: int
    connection: str = ""
    user: str = ""  #: instead of ``connection``
    for_good: bool = False  #: clients stop (4403); otherwise they come back by themselves (1012)


class Resync(_Frame, tag="resync", frozen=True):
    """A delta was missed: send the whole state again."""


class ChaosArm(_Frame, tag="chaos.arm", frozen=True):
    """Put a fault in force for ``ttl`` seconds (at most 900)."""

    id: int
    rule: ChaosRule
    ttl: float = 60.0
    detach: bool = False  #: survives this session, then for at most 300 seconds
    dry: bool = False  #: only tell what it would strike: :attr:`Ok.blast`


class ChaosRenew(_Frame, tag="chaos.renew", frozen=True):
    """Let a rule live ``ttl`` seconds from now."""

    id: int
    rule: int
    ttl: float


class ChaosClear(_Frame, tag="chaos.clear", frozen=True):
    """Remove one rule, or all of them with 0. Everybody attached may do this."""

    id: int
    rule: int = 0


class Try(_Frame, tag="try", frozen=True):
    """Call a function as a test user; needs level ``admin``, a server in development mode and no scope."""

    id: int
    path: str
    args: list[Any] = []
    user: str = ""  #: one of :attr:`Declarations.users`; empty: anonymous


class Redact(_Frame, tag="redact", frozen=True):
    """Record the values of further keys no more; needs level ``admin``. Nothing is taken back."""

    id: int
    keys: list[str]


class Ping(_Frame, tag="ping", frozen=True):
    """Keeps the session, and its faults, alive; every 2 seconds."""

    at: float  #: the sender's monotonic seconds, returned unchanged


ClientFrame = (
    Hello
    | Watch
    | Unwatch
    | Credit
    | Get
    | Look
    | Resync
    | ChaosArm
    | ChaosRenew
    | ChaosClear
    | Kick
    | Try
    | Redact
    | Ping
)


# -- server to client -------------------------------------------------------------------------------------


class ServerInfo(msgspec.Struct, frozen=True):
    """Who is being looked at."""

    name: str
    version: str
    pid: int
    started: float  #: wall seconds
    dev: bool = False


class Welcome(_Frame, tag="welcome", frozen=True):
    """The answer to ``Hello``."""

    v: int
    session: str
    granted: Level
    denied: list[str]  #: sentences: what was wanted and not given, and why
    server: ServerInfo
    at: float  #: monotonic seconds of the server now
    wall: float  #: its wall clock at the same moment
    redacted: list[str]  #: the keys whose values are never recorded
    ring: int
    history: int
    chaos: bool  #: whether faults may be injected at all
    budget: Budget = Budget()  #: what was granted


class State(_Frame, tag="state", frozen=True):
    """The whole state (``full``), or what changed since ``rev - 1``.

    A full state may come in several parts with one ``rev``; ``more`` is true on all but the last.
    """

    rev: int
    at: float
    full: bool = False
    more: bool = False
    streams: list[StreamInfo] = []
    stream_stats: list[StreamStats] = []
    streams_gone: list[int] = []
    connections: list[ConnectionInfo] = []
    connection_stats: list[ConnectionStats] = []
    connections_gone: list[str] = []
    paths: list[PathInfo] = []
    path_stats: list[PathStats] = []
    pending: list[PendingCall] = []  #: always complete, oldest first, at most 200
    pending_total: int = 0
    uploads: list[UploadInfo] = []  #: always complete, oldest first, at most 200
    upload_totals: UploadTotals | None = None  #: None for scoped tokens, who see no running upload either
    counters: dict[str, int] = {}  #: always complete; monotonic
    chaos: list[ChaosRule] = []  #: always complete
    busy: float = 0.0  #: share of the loop's time the devtools took lately, 0..1
    locks: list[LockInfo] = []  #: always complete, most waited for first, at most 100; none at level ``metrics``
    locks_total: int = 0
    breakers: list[BreakerInfo] = []  #: always complete
    lag: float = 0.0  #: seconds the event loop came too late lately, at worst
    memory: int = 0  #: bytes of the process; 0: not known
    latencies: list[
        tuple[int, int]
    ] = []  #: calls in each bucket of :data:`~liverpc.telemetry.BUCKETS`, monotonic; once a second
    deliveries: list[tuple[int, int]] = []  #: likewise for the time from a publish to the socket, of captured ones


class Events(_Frame, tag="ev", frozen=True):
    """Events in order of occurrence."""

    items: list[Event]
    lost: int = 0  #: since the last frame: publishes and calls not captured, whoever watches them, and matching
    #: events not sent for want of credit or budget; with a scoped token only the latter
    sample: float = 1.0  #: share of all events captured lately


class Rooms(_Frame, tag="rooms", frozen=True):
    """The rooms, or what changed since the last such frame. Comes about once a second, when anything changed."""

    at: float
    totals: RoomTotals
    full: bool = False  #: forget what was told before
    rows: list[RoomInfo] = []  #: new and changed ones; of all rooms at most 1,000 are told
    gone: list[tuple[str, int]] = []  #: kind and number
    of: tuple[str, int] | None = None  #: the room that is looked at, when its members changed
    members: list[RoomMember] = []  #: all of them then; at most 200, and 256 KiB
    refused: list[RefusedJoin] = []  #: new ones; of each kind of room the last 100 are kept


class Got(_Frame, tag="got", frozen=True):
    """The answer to ``Get``: events, oldest first; at most 512 KiB of the newest, 200 of a chain, 500 subscriptions."""

    id: int
    items: list[Event]
    left_out: int = 0  #: older ones that did not fit; of a chain those furthest from the event, of subscriptions any
    awaited: Awaited | None = None  #: what was asked of a call
    subscriptions: list[SubscriptionInfo] = []  #: what was asked of a topic or a connection
    declared: Declarations | None = None  #: what was asked for


class Ok(_Frame, tag="ok", frozen=True):
    """A request was carried out."""

    id: int
    rule: int = 0  #: the id of the armed rule
    closed: int = 0  #: connections
    blast: Blast | None = None  #: of a dry run
    call: CallEvent | None = None  #: what came of a :class:`Try`


class Err(_Frame, tag="err", frozen=True):
    """A request was refused."""

    id: int
    text: str


class ChaosChanged(_Frame, tag="chaos", frozen=True):
    """The faults in force changed; the whole list."""

    active: list[ChaosRule]
    text: str  #: what happened, for people; empty for scoped tokens
    ended: list[ChaosRule] = []  #: the last of those that are over, with their final figures


class Note(_Frame, tag="note", frozen=True):
    """Something people should know, such as that a fault was ended by the server."""

    text: str


class Pong(_Frame, tag="pong", frozen=True):
    """The answer to ``Ping``."""

    at: float
    server_at: float


class Bye(_Frame, tag="bye", frozen=True):
    """The server ends the session: ``SLOW``, ``SHUTDOWN``, ``REVOKED`` (the token has expired) or ``VERSION``."""

    code: str
    text: str = ""


ServerFrame = Welcome | State | Events | Rooms | Got | Ok | Err | ChaosChanged | Note | Pong | Bye

LEVELS: tuple[Level, ...] = ("metrics", "observe", "chaos", "admin")  #: each may what those before it may


class Limits:
    """Figures both sides count on."""

    INITIAL_CREDIT: ClassVar[int] = 1000
    HEARTBEAT: ClassVar[float] = 2.0
    LEASE: ClassVar[float] = 5.0  #: after so many seconds of silence an observer's faults are removed
    MAX_TTL: ClassVar[float] = 900.0
    MAX_DETACHED_TTL: ClassVar[float] = 300.0
    MAX_CALL_ID: ClassVar[int] = 128  #: characters of a client's id of a call that are shown
