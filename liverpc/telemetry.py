"""Typed telemetry: the only instrumentation in the library.

Lower layers emit events; whoever wants to know, such as the inspector, listens. An event nobody listens to costs
one truth test. What is counted is read when somebody asks. All durations are seconds, all sizes bytes.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from math import ldexp
from typing import Any, Generic, TypeVar

import msgspec

from liverpc.errors import Issue

__all__ = [
    "BUCKETS",
    "CAUSE",
    "INVALID_PATH",
    "SLOW_CALL",
    "UNKNOWN_PATH",
    "CallFinished",
    "Cause",
    "ConnectionClosed",
    "ConnectionOpened",
    "Counters",
    "FrameIgnored",
    "Latencies",
    "Listeners",
    "Published",
    "StreamFailed",
    "Subscribed",
    "Tally",
    "Telemetry",
    "Trace",
    "Tracing",
    "Unsubscribed",
    "run_for",
]

log = logging.getLogger("liverpc.telemetry")

E = TypeVar("E")
R = TypeVar("R")


class Listeners(list[Callable[[E], object]], Generic[E]):
    """The listeners of one kind of event. Emitters test its truth before they build an event."""

    __slots__ = ()

    def emit(self, event: E) -> None:
        """Tell every listener; one that raises is logged and does not disturb the others or the emitter."""
        for listener in tuple(self):  # a listener may leave while it is told
            try:
                listener(event)
            except Exception:
                log.exception("a telemetry listener failed on %s", type(event).__name__)


class ConnectionOpened(msgspec.Struct, frozen=True, gc=False):
    """A client was accepted."""

    connection: str
    user: str | None
    address: str


class ConnectionClosed(msgspec.Struct, frozen=True, gc=False):
    """A client left, for whatever reason."""

    connection: str
    user: str | None
    code: int  #: WebSocket close code; 1006 when the peer vanished
    reason: str
    seconds: float  #: how long it was open
    cause: int = 0  #: id of the call that closed it; 0: none did, or nobody traces
    fault: str = ""  #: the name of what closed it on purpose


class CallFinished(msgspec.Struct, frozen=True, gc=False):
    """A call or a stream request was answered, or a fire-and-forget call ended."""

    path: str  #: ``__unknown__`` or ``__invalid__`` when no declared path was named: never a client's own text
    connection: str
    user: str | None
    call: str | None  #: the client's id of the call; None: fire and forget
    kind: str  #: ``rpc``, ``stream`` (channels, too), ``binary`` or ``upload``
    received: int  #: bytes of data beside the arguments
    seconds: float
    code: str | None  #: error code, or None for success
    parameters: tuple[str, ...]  #: names of the declared parameters, in wire order
    args: bytes  #: JSON list as received, not redacted
    result: Any  #: what the handler returned, or the error message; not redacted
    issues: Sequence[Issue]  #: what was wrong with the arguments
    published: tuple[str, ...]  #: topics this call published to
    id: int = 0  #: among the events of the server; 0: nobody traces
    marks: Sequence[tuple[str, float]] = ()  #: the steps it went through, and the loop time at which each began
    fault: str = ""  #: the name of what failed it on purpose


class Published(msgspec.Struct, frozen=True, gc=False):
    """An event was published on a topic."""

    topic: str
    event: str
    data: Any  #: as published, not redacted
    size: int  #: of the encoded event
    receivers: int  #: connections it went to; 0 when a fault rule dropped it
    seq: int | None
    dropped: bool  #: by a fault rule
    remote: bool  #: came from another process
    id: int = 0  #: among the events of the server; 0: nobody traces
    cause: int = 0  #: id of the call or publish that led to it; 0: nothing known did
    to: Collection[Any] = ()  #: the connections; only to be looked at by listeners, at once
    fault: str = ""  #: the name of what befell it on purpose, at the publish or on the way to a connection


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """A stream of a connection went live, or a bare subscription began."""

    topic: str
    path: str  #: of the stream; empty for a bare subscription
    connection: str


class Unsubscribed(msgspec.Struct, frozen=True, gc=False):
    """A connection has neither a stream nor a bare subscription on a topic any more."""

    topic: str
    wire: str  #: what clients know it as
    connection: str
    ended: int | None  #: the topic's number, when this was its last subscriber and it is gone


class StreamFailed(msgspec.Struct, frozen=True, gc=False):
    """A stream request was refused or its loader failed, after the topic was known."""

    topic: str
    path: str
    connection: str
    code: str


class FrameIgnored(msgspec.Struct, frozen=True, gc=False):
    """A frame that means nothing here arrived and was dropped without an answer."""

    connection: str
    reason: str  #: ``malformed``, ``too_deep``, ``not_ours``
    size: int


SLOW_CALL = 0.1  # seconds from which on a call is notable

UNKNOWN_PATH = "__unknown__"  # of calls to paths that do not exist: a client's own text must not become a label
INVALID_PATH = "__invalid__"  # of calls that reached no path for other reasons

_OCTAVE = 8  # buckets per factor of two: each is 6 to 13 % wide
_LOWEST, _HIGHEST = -20, 12  # powers of two, in seconds: about 1 µs and 68 minutes
BUCKETS = [
    ldexp(1 + part / _OCTAVE, exponent) for exponent in range(_LOWEST, _HIGHEST) for part in range(_OCTAVE)
]  # upper ones, of all buckets but the last


class Latencies:
    """How long calls took, in buckets narrow enough for quantiles; of fixed size.

    Powers of two are bounds of buckets, which include their upper bound, so :meth:`below` is exact for them.

    Attributes:
        sum: Seconds of all calls.
    """

    __slots__ = ("_buckets", "sum")

    def __init__(self) -> None:
        self._buckets = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Record one; of those below 1 µs and above an hour no more than that is known."""
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """Calls."""
        return sum(self._buckets)

    @classmethod
    def of_all(cls, several: Iterable[Latencies]) -> Latencies:
        """All of them together."""
        together = cls()
        found = [together, *several]
        together._buckets = [sum(counts) for counts in zip(*(each._buckets for each in found), strict=True)]
        together.sum = sum(each.sum for each in found)
        return together

    def sparse(self) -> list[tuple[int, int]]:
        """The buckets that are not empty: their indices in :data:`BUCKETS`, and how many calls are in each."""
        return [(index, count) for index, count in enumerate(self._buckets) if count]

    def quantile(self, q: float) -> float:
        """Seconds within which a share ``q`` of the calls ended, to about 6 %; 0.0 when there were none."""
        wanted = q * self.count
        reached = 0
        for index, count in enumerate(self._buckets):
            reached += count
            if count and reached >= wanted:
                return (BUCKETS[max(0, index - 1)] + BUCKETS[min(index, len(BUCKETS) - 1)]) / 2
        return 0.0

    def below(self, exponent: int) -> int:
        """How many took at most ``2 ** exponent`` seconds."""
        return sum(self._buckets[: bisect_right(BUCKETS, ldexp(1, exponent))])


class Cause:
    """An event that others may come of, of the server whose :class:`Tracing` numbered it."""

    __slots__ = ("id", "tracing")

    def __init__(self, tracing: Tracing, id: int) -> None:  # noqa: A002 - the attribute's name
        self.tracing = tracing
        self.id = id


class Trace(Cause):
    """A call that is watched while it runs.

    Attributes:
        marks: Its steps so far, and when each began.
    """

    __slots__ = ("_now", "marks")

    def __init__(self, tracing: Tracing, now: Callable[[], float], step: str, at: float) -> None:
        self.tracing = tracing
        self.id = tracing.last = tracing.last + 1
        self.marks = [(step, at)]
        self._now = now

    def enters(self, step: str) -> None:
        """The step before is over, and this one begins."""
        self.marks.append((step, self._now()))


CAUSE: ContextVar[Cause | None] = ContextVar("liverpc_cause", default=None)
"""What the running code runs for: a call, or what a call or publish brought about; None: nothing known."""


def run_for(cause: Cause | None, function: Callable[..., R], *args: Any) -> R:
    """Call a function because of ``cause``; None: because of nothing known, whoever is the caller."""
    token = CAUSE.set(cause)
    try:
        return function(*args)
    finally:
        CAUSE.reset(token)


class Tracing:
    """Numbers the events of a server, and tells which led to which, while somebody wants to know.

    What is caused is found by the context: timers and tasks take theirs from whoever makes them.

    Attributes:
        active: Somebody wants to know.
        calls: Of what calls do, too, and how they go; most are so short that it shows.
        last: The id of the newest event.
    """

    __slots__ = ("active", "calls", "last")

    def __init__(self) -> None:
        self.active = False
        self.calls = False
        self.last = 0

    def number(self) -> int:
        """The id of one more event."""
        self.last += 1
        return self.last

    def id_of(self, cause: Cause | None) -> int:
        """The id of a cause; 0 when it is unknown, or another server's."""
        return cause.id if cause is not None and cause.tracing is self else 0


_MAX_CODES = 32  # handlers may make up codes of their own
OTHER = "other"


class Tally:
    """What is counted of the calls of one path.

    Attributes:
        calls: Answered, or ended without an answer.
        errors: Those of them that failed.
        codes: The same by error code; codes beyond 32 different ones count as ``other``.
        seconds: They took together.
        max_seconds: The longest took.
        latencies: While somebody measures.
    """

    __slots__ = ("calls", "codes", "errors", "latencies", "max_seconds", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.codes: dict[str, int] = {}
        self.seconds = 0.0
        self.max_seconds = 0.0
        self.latencies: Latencies | None = None

    def failed(self, code: str) -> None:
        """Count an error of a call that is counted itself."""
        self.errors += 1
        count_in(self.codes, code, _MAX_CODES)


def count_in(counts: dict[str, int], key: str, most: int) -> int:
    """Add 1 to the count of ``key``, or of ``other`` when ``most`` different keys are counted; returns it."""
    if key not in counts and len(counts) >= most:
        key = OTHER
    counts[key] = count = counts.get(key, 0) + 1
    return count


@dataclass(slots=True)  # a struct would take four times as long to count
class Counters:
    """Monotonic totals of one server since it started. Always on; a lost reading never corrupts them."""

    connections_opened: int = 0
    connections_closed: int = 0
    connections_kicked: int = 0  #: ... on behalf of an operator, by the devtools
    handshakes_refused: int = 0
    frames_in: int = 0
    frames_ignored: int = 0
    calls: int = 0  #: answered, or ended without an answer
    call_errors: int = 0
    published: int = 0
    deliveries: int = 0  #: events handed to connections by publishes
    delivered_bytes: int = 0
    fault_drops: int = 0  #: publishes dropped by a fault rule
    fault_losses: int = 0  #: events that single connections did not get because of one
    fault_hurried: int = 0  #: events that one held and that left early, for want of room
    sessions_expired: int = 0  #: connections closed because their session was over
    sessions_refreshed: int = 0  #: times a connection's user was asked for again, and may stay
    streams_revoked: int = 0  #: streams, bare topics and rooms lost because their user may not have them any more
    streams_refused: int = 0  #: subscribes above the number a connection may have
    streams_shed: int = 0  #: subscribes refused by a rule of admission
    calls_shed: int = 0  #: calls refused by a rule of admission
    rate_limited: int = 0  #: calls and stream requests refused because their caller makes too many
    lock_waits: int = 0  #: calls that had to wait for a lock
    lock_timeouts: int = 0  #: calls that did not get it in time
    lock_overflows: int = 0  #: calls refused because too many wait for it
    idempotent_replays: int = 0  #: calls answered with the result of an earlier one
    idempotent_conflicts: int = 0  #: calls refused because their idempotency key was in use
    breaker_openings: int = 0  #: times a breaker opened
    breaker_refusals: int = 0  #: calls it kept from being made
    requests_refused: int = 0  #: requests to a client that has as many to answer as it may
    batch_answers_replaced: int = 0  #: answers for which the reply to their batch had no room
    held_overflows: int = 0  #: subscribes refused because too much was published while their loader ran
    uploads_started: int = 0
    uploads_refused: int = 0  #: for want of room: too many, or too many bytes waiting
    uploads_aborted: int = 0  #: ended early: given up, too large, refused midway, lost
    upload_bytes: int = 0  #: received
    upload_holds: int = 0  #: times reading from a connection stopped, for a handler had not taken what was there
    upload_stalls: int = 0  #: uploads ended because their handler took nothing meanwhile
    presence_graces_cut: int = 0  #: users who left more rooms at a time than have a grace
    presence_overflows: int = 0  #: users a full room did not list
    paced_overflows: int = 0  #: throttled or debounced publishes sent at once, and skips not made, for want of room
    resumes: int = 0  #: streams of returning clients that got what they missed instead of the whole value
    resume_misses: int = 0  #: ... the whole value, because what they missed was not known any more
    reloads: int = 0  #: values loaded anew for all subscribers of a topic
    reload_errors: int = 0  #: ... that could not be loaded
    reloads_delayed: int = 0  #: ... that had to wait for others
    log_failures: int = 0  #: events of topics with replay that their log did not take
    bus_gaps: int = 0  #: times events of other processes may have been missed
    outbox_overflows: int = 0  #: connections closed because they did not read: too many bytes waited
    outbox_frame_overflows: int = 0  #: ... too many frames
    volatile_drops: int = 0  #: frames nobody misses, not sent because the socket was full
    latest_replaced: int = 0  #: frames that waited for a full socket and were outdated by a newer one
    upgrades_limited: int = 0  #: handshakes refused because their address asks too often
    handshake_overflows: int = 0  #: handshakes refused because too many were undecided
    deadline_aborts: int = 0  #: sockets dropped because a handshake, close or full buffer took too long
    ping_timeouts: int = 0
    http_requests: int = 0


_MAX_CATEGORIES = 32
_TOLD = 10  # violations of a category that are all logged; afterwards those whose number is a power of two


class Telemetry:
    """What one server reports: the listeners to each kind of event, and the counters.

    Attributes:
        strays: Calls that reached no path, by the name they have in telemetry.
        violations: Of invariants, by category.
        strict: A violated invariant raises. Only for tests; ``TestEnv`` sets it.
    """

    strict = False

    def __init__(self) -> None:
        self.counters = Counters()
        self.strays = {UNKNOWN_PATH: Tally(), INVALID_PATH: Tally()}
        self.violations: dict[str, int] = {}
        self.connection_opened: Listeners[ConnectionOpened] = Listeners()
        self.connection_closed: Listeners[ConnectionClosed] = Listeners()
        self.call_finished: Listeners[CallFinished] = Listeners()
        self.call_notable: Listeners[CallFinished] = Listeners()  # of those only the failed and slow ones
        self.published: Listeners[Published] = Listeners()
        self.subscribed: Listeners[Subscribed] = Listeners()
        self.unsubscribed: Listeners[Unsubscribed] = Listeners()
        self.stream_failed: Listeners[StreamFailed] = Listeners()
        self.frame_ignored: Listeners[FrameIgnored] = Listeners()
        self.tracing = Tracing()

    def invariant(self, holds: object, category: str, text: str, *args: object) -> None:
        """State what must be true; when it is not, count it and log an error, and let the work go on.

        ``telemetry.invariant(total >= 0, "stock", "%d left of %s", total, name)``.

        Args:
            holds: Whether it is true.
            category: What it is counted as; beyond 32 different ones they count as ``other``.
            text: What is wrong, with ``args`` formatted into it as by ``logging``. No secrets.
            args: For ``text``.

        Raises:
            AssertionError: It is not true, and ``strict`` is set.
        """
        if holds:
            return
        wrong = text % args if args else text
        count = count_in(self.violations, category, _MAX_CATEGORIES)
        if count <= _TOLD or count & (count - 1) == 0:
            extra = {"category": category, "violations": count}
            log.error("violated invariant of %s (no. %d): %s", category, count, wrong, extra=extra)
        if self.strict:
            raise AssertionError(f"{category}: {wrong}")
