"""What the core may know about other server processes: one Protocol per capability.

A *node* is one running server process; its id is new for each start. Payloads cross a port as encoded JSON
(``bytes``), so that nothing is encoded twice and nobody shares a mutable value with a store. Durations are
seconds, deadlines are times of the running event loop (``loop.time()``).

Every method of a remote backend may raise ``ConnectionError`` or ``TimeoutError``; whether the operation
took place is then unknown. The in-process versions never do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, runtime_checkable

import msgspec

__all__ = [
    "Bus",
    "Claim",
    "Cluster",
    "Decision",
    "EventLog",
    "Frame",
    "Gap",
    "Grant",
    "IdempotencyStore",
    "LeaseStore",
    "LocalLimiter",
    "LocalLog",
    "Membership",
    "OnDirect",
    "OnFrames",
    "OnGap",
    "Pos",
    "PresenceChange",
    "PresenceStore",
    "RateLimiter",
    "Registry",
    "Roster",
    "Slice",
    "Where",
]


class Pos(msgspec.Struct, frozen=True, gc=False):
    """A position in the log of one topic."""

    epoch: str  #: changes when the log was lost or dropped; positions of different epochs cannot be compared
    seq: int  #: of an event, or the one before the first


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event of a topic on its way between nodes."""

    topic: str
    event: str
    data: bytes  #: encoded JSON
    pos: Pos | None = None  #: set for events that went through the log
    shaped: bool = False  #: a transform made the data fit for clients; set for events without a position


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Frames may be missing: read logged topics again from the last position, reload the others."""

    reason: Literal["hole", "resubscribed", "overflow"]
    origin: str | None = None  #: the node whose frames are missing; None: any


class Slice(msgspec.Struct, frozen=True):
    """What a log holds after a position.

    ``status`` is ``ok``; ``truncated`` when the next events are no longer held; ``reset`` when the position
    is of another epoch or was never reached. Unless ``ok`` there are no frames and the reader has to load
    the value anew.
    """

    status: Literal["ok", "truncated", "reset"]
    frames: list[Frame]  #: without a hole, oldest first; fewer than there are when a limit was given
    head: Pos  #: of the newest event at the moment of reading


class PresenceChange(msgspec.Struct, frozen=True, gc=False):
    """A user appeared in a topic, changed what it shows of itself, or left."""

    topic: str
    kind: Literal["join", "update", "leave"]
    user: str
    meta: bytes  #: encoded JSON; what the user shows now, ``null`` for a leave
    version: int  #: of the topic's roster after the change


class Roster(msgspec.Struct, frozen=True):
    """Who is in a topic.

    The version grows by one with each change. It may jump after everybody had left, never fall: a reader
    drops changes up to its version and reads the roster again when a version is missing.
    """

    version: int
    users: Mapping[str, bytes]  #: user to what it shows, as encoded JSON


class Where(msgspec.Struct, frozen=True, gc=False):
    """A connection of a user somewhere in the cluster."""

    node: str
    conn: str
    since_ms: int  #: wall-clock milliseconds since the epoch, by the store's clock


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Proof of holding a lease."""

    name: str
    token: str
    fence: int  #: greater than that of every earlier holder; hand it to what you write to, to refuse latecomers
    deadline: float  #: loop time until which holding is certain


class Claim(msgspec.Struct, frozen=True, gc=False):
    """The answer to "may I run this?".

    ``fresh``: yes, and ``token`` proves it. ``in_flight``: somebody else is running it. ``done``: it ran,
    with ``result``. ``mismatch``: the key was used for another request.
    """

    state: Literal["fresh", "in_flight", "done", "mismatch"]
    token: str = ""
    result: bytes = b""  #: as committed


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a hit is within its limit."""

    allowed: bool
    remaining: int  #: hits of cost 1 that would be allowed now
    retry_after: float  #: seconds until the refused hit would be allowed; 0 when it was
    degraded: bool = False  #: decided by this node alone because the shared store did not answer


OnFrames = Callable[[list[Frame]], None]
OnGap = Callable[[Gap], None]
OnDirect = Callable[[bytes], None]


class Bus(Protocol):
    """Events and messages between nodes. Delivery to the node's own subscribers is not its business.

    At most once. Frames of one node arrive at another in the order of publishing. Whatever was lost on
    the way is followed by a :class:`Gap`. The callbacks must not block; one that raises is logged.
    """

    @property
    def node(self) -> str:
        """Id of this node."""
        ...

    async def start(self, on_frames: OnFrames, on_gap: OnGap, on_direct: OnDirect) -> None:
        """Listen. When it returns, frames published by other nodes arrive."""
        ...

    def publish(self, frame: Frame) -> None:
        """Queue a frame for all other nodes.

        Returns at once and never raises. When the queue is full or the backend is away, the frame is lost
        and the others learn of it by a gap. Before :meth:`start` nothing is sent.
        """
        ...

    async def direct(self, node: str, message: bytes) -> bool:
        """Send to one node, this one included. False: nobody listens there, and nothing was sent."""
        ...

    async def aclose(self) -> None:
        """Stop listening; no callback is called afterwards. Harmless when not started or closed already."""
        ...


class EventLog(Protocol):
    """The last events of topics, numbered."""

    async def append(self, topic: str, event: str, data: bytes, *, dedupe: str | None = None) -> Pos:
        """Number, store and announce an event in one atomic step.

        The frame, with its position, goes to ``on_frames`` of every started node **including this one**, in
        the same order everywhere; the announcement can be lost like any frame of the bus, the stored event
        not. In-process it has arrived when this returns.

        Args:
            topic: Whose log. Its numbers have no gap, and go on behind those of a log that was dropped.
            event: Name of the event.
            data: Encoded JSON.
            dedupe: When an event still held was appended under this id, its position is returned and
                nothing happens: repeat an append whose outcome is unknown.
        """
        ...

    async def read(self, topic: str, after: Pos | None, limit: int = 1000) -> Slice:
        """The events after a position, and the head, from the same moment.

        Args:
            topic: Any; the log of a topic without events is empty and has an epoch.
            after: None: from the oldest one still held.
            limit: At most so many frames.
        """
        ...

    async def clear(self, topic: str) -> None:
        """Drop the log of a topic. What is appended next has another epoch."""
        ...


@runtime_checkable
class LocalLog(EventLog, Protocol):
    """A log in this process, which answers at once. Each method is as its namesake."""

    def append_now(self, topic: str, event: str, data: bytes, dedupe: str | None = None) -> Pos: ...

    def read_now(self, topic: str, after: Pos | None, limit: int = 1000) -> Slice: ...

    def clear_now(self, topic: str) -> None: ...

    def depth(self, topic: str) -> int:
        """How many events of a topic it holds."""
        ...


class Membership(Protocol):
    """Which nodes are alive. What a node owns in the other stores counts while the node does."""

    async def beat(self) -> bool:
        """Prolong this node's life; call it three times per lease.

        False: the node was not known, because it is new or had been given up. Everything it owns must be
        announced again.
        """
        ...

    async def reap(self) -> list[str]:
        """Other nodes that died or left, for the caller to evict from the stores and then :meth:`forget`.

        Each is handed to one caller; to another one 30 seconds later if it was not forgotten.
        """
        ...

    async def forget(self, node: str) -> None:
        """A reaped node's belongings are gone."""
        ...

    async def leave(self) -> None:
        """This node counts as dead from now on."""
        ...


class PresenceStore(Protocol):
    """Who is in which topic, over all nodes.

    A node reports a user once, however many connections it has there. A user on several nodes shows what
    was entered last. A change is returned to the caller, who publishes it; nobody else is told. Every
    method may be repeated. The rows of a dead node stay until they are evicted.
    """

    async def enter(self, topic: str, user: str, meta: bytes) -> PresenceChange | None:
        """The user is in the topic on this node and shows ``meta``. None: nothing changed for others."""
        ...

    async def leave(self, topic: str, user: str) -> PresenceChange | None:
        """The user is no longer there on this node. An ``update`` when another node's row becomes visible."""
        ...

    async def roster(self, topic: str) -> Roster:
        """Everybody in the topic."""
        ...

    async def evict(self, node: str) -> list[PresenceChange]:
        """Remove all rows of a node. Each change is returned to one caller only."""
        ...


class Registry(Protocol):
    """Which connections a user has, over all nodes."""

    async def add(self, user: str, conn: str) -> None:
        """A connection of this node belongs to the user, as its newest."""
        ...

    async def remove(self, user: str, conn: str) -> None:
        """Forget this connection of this node, and no other."""
        ...

    async def locate(self, user: str) -> list[Where]:
        """The user's connections on living nodes, newest first."""
        ...

    async def evict(self, node: str) -> None:
        """Remove all connections of a node."""
        ...


class LeaseStore(Protocol):
    """Names that one holder at a time has, for a limited time."""

    async def acquire(self, name: str, ttl: float) -> Grant | None:
        """The lease, or None when somebody has it. Atomic: of many callers one gets it."""
        ...

    async def renew(self, grant: Grant, ttl: float) -> Grant | None:
        """A new deadline, ``ttl`` from now. None: the lease ended, or is somebody else's by now."""
        ...

    async def release(self, grant: Grant) -> bool:
        """Give it back before its end. False: it was no longer the caller's; nothing happened."""
        ...


class IdempotencyStore(Protocol):
    """Requests that must not run twice, and their results. A claim not finished in time is free again.

    Claims are never forgotten before their time; results may be, for want of room. A store has a bound for the results
    of one owner, within which its own oldest go; one for those of all guests, within which the oldest of guests go; and
    one for all others. So an owner alone makes nobody else's results forgotten, nor do all guests together those of
    others. In-process, the bounds are those in ``Limits``.
    """

    async def begin(self, key: str, *, fingerprint: str = "", hold: float = 60.0) -> Claim:
        """Claim a key, or learn what became of it. Atomic: of many callers one gets ``fresh``.

        Args:
            key: What identifies the request, among those of all owners.
            fingerprint: Of the request's content; the same key with another one is a ``mismatch``.
            hold: Seconds after which a claim ends that was neither extended, committed nor aborted.
        """
        ...

    async def extend(self, key: str, token: str, hold: float) -> bool:
        """Keep a claim for ``hold`` seconds from now. False: it is not the caller's any more."""
        ...

    async def commit(
        self, key: str, token: str, result: bytes, *, ttl: float = 172_800.0, owner: str = "", guest: bool = False
    ) -> bool:
        """End a claim and keep the result.

        Args:
            key: As claimed.
            token: Of the claim.
            result: What later callers get.
            ttl: Seconds to keep it; 0: not at all.
            owner: Whose results make place for it when this owner has too many. Empty: nobody's, which only the bound
                for all limits; do not use it for what strangers can cause.
            guest: Whether the owner is anonymous. Guests and others with the same name are different owners.

        Returns:
            False: the claim is not the caller's any more; nothing is stored.
        """
        ...

    async def abort(self, key: str, token: str) -> bool:
        """End a claim so that the next caller runs. False: it is not the caller's any more."""
        ...


class RateLimiter(Protocol):
    """How often something may happen.

    Nobody is refused because others are many. A store that is full forgets the keys hit longest ago, which may then
    be hit anew; keys that only guests have hit never take the place of others. In-process, the bounds are
    ``Limits.rate_limit_keys`` and ``Limits.rate_limit_guests``.
    """

    async def hit(self, key: str, *, limit: int, per: float, cost: int = 1, guest: bool = False) -> Decision:
        """Count a hit, if it is allowed; refused ones do not count. Atomic over all nodes.

        ``limit`` hits may come at once; after that they become possible again evenly, ``limit`` in ``per``
        seconds. So no ``per`` seconds see more than twice the ``limit``.

        Args:
            key: Who and what is limited. Use it with one limit only.
            limit: At least 1.
            per: Seconds, more than 0.
            cost: Hits it counts for; above ``limit`` it is never allowed, whatever ``retry_after`` says. 0: nothing is
                counted, the answer tells what remains.
            guest: The caller is anonymous. The hits of guests and others on one key count together.
        """
        ...


@runtime_checkable
class LocalLimiter(RateLimiter, Protocol):
    """A limiter in this process, which answers at once."""

    def hit_now(self, key: str, *, limit: int, per: float, cost: int = 1, guest: bool = False) -> Decision:
        """As :meth:`hit`."""
        ...


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """All ports of one node. A log announces through the bus it was made with: do not mix those two."""

    bus: Bus
    log: EventLog
    members: Membership
    presence: PresenceStore
    registry: Registry
    leases: LeaseStore
    idempotency: IdempotencyStore
    limiter: RateLimiter

    async def start(self, on_frames: OnFrames, on_gap: OnGap, on_direct: OnDirect) -> None:
        """Listen to the other nodes and become one of them. When it raises, nothing is left open."""
        await self.bus.start(on_frames, on_gap, on_direct)
        try:
            await self.members.beat()
        except BaseException:
            await self.bus.aclose()
            raise

    async def aclose(self) -> None:
        """Leave, then stop listening; the second happens even if the first fails."""
        try:
            await self.members.leave()
        finally:
            await self.bus.aclose()
