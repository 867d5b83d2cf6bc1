"""What the devtools know of a server: the frames of a session folded into rows and rings.

No I/O and no screen. Feed it with :meth:`Model.apply`; read its attributes. Times named ``at`` are the
server's monotonic seconds; :meth:`Model.now` and :meth:`Model.wall` relate them to us and to the calendar.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from liverpc.inspector.protocol import (
    BreakerInfo,
    CallEvent,
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRule,
    ClientFrame,
    ConnectionEvent,
    Err,
    Event,
    Events,
    Get,
    Got,
    Kick,
    LockInfo,
    Look,
    Match,
    Ok,
    PendingCall,
    PublishEvent,
    Rooms,
    ServerFrame,
    State,
    Unwatch,
    Watch,
    Welcome,
)
from liverpc_devtools.core.history import Calls, TopicRing
from liverpc_devtools.core.room_rows import RoomRows
from liverpc_devtools.core.rows import Rows
from liverpc_devtools.core.upload_rows import Uploads
from liverpc_devtools.core.where import Where

__all__ = ["Model", "Phase"]

Phase = Literal["connecting", "live", "stale", "reconnecting", "gone"]

_STALE_SECONDS = 3.0
_CONNECTION_EVENTS, _NOTES = 200, 20
_RING = 20
# A state is sent four times a second; a call younger than this was most likely answered since.
_PENDING_AFTER = 0.1


class Model:
    """One server as seen by one observer.

    Attributes:
        rows: Streams, connections and paths.
        uploads: Those that run, and for a while those that ended.
        rooms: Known while they are looked at.
        pending: Calls that run, oldest first; at most 200 of ``pending_total``.
        where: Where the call waits that :meth:`look_into` was about.
        locks: Those that are held, most waited for first; at most 100 of ``locks_total``.
        breakers: All of them.
        calls: Answered calls, oldest first; failures are kept longer than the rest.
        connection_events: Openings and closings, oldest first.
        notes: Sentences for people, oldest first; whoever shows them takes them out.
        chaos: The faults in force.
        send: Hands a frame to the server. Does nothing while there is no session.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.welcome: Welcome | None = None
        self.send: Callable[[ClientFrame], None] = _nowhere
        self.notes: deque[str] = deque(maxlen=_NOTES)
        self.reason = ""  # why there is no session
        self._monotonic = monotonic
        self._phase: Phase = "connecting"
        self._offset = 0.0
        self._heard = 0.0
        self._retry_at = 0.0
        self._ids = itertools.count(1)
        self._watches: dict[int, Watch] = {}
        self._asked: dict[int, list[str]] = {}
        self._look: Look | None = None
        self._reset()

    def _reset(self) -> None:
        self.rows = Rows(self.now())
        self.uploads = Uploads(self.now())
        self.rooms = RoomRows()
        self.pending: list[PendingCall] = []
        self.pending_total = 0
        self.where = Where()
        self.locks: list[LockInfo] = []
        self.locks_total = 0
        self.breakers: list[BreakerInfo] = []
        self.calls = Calls()
        self.connection_events: deque[ConnectionEvent] = deque(maxlen=_CONNECTION_EVENTS)
        self.counters: dict[str, int] = {}
        self.chaos: list[ChaosRule] = []
        self.busy = 0.0
        self.lost = 0
        self.sample = 1.0
        self._chaos_at = 0.0
        self._ring: TopicRing | None = None
        self._cleared: dict[str, float] = {}
        self._all_cleared = 0.0

    # -- the session --------------------------------------------------------------------------------------

    def attached(self, welcome: Welcome, send: Callable[[ClientFrame], None]) -> None:
        """A session was opened."""
        self.send = send
        self.apply(welcome)

    def heard(self, offset: float) -> None:
        """Something arrived; ``offset`` turns our monotonic time into the server's."""
        self._heard = self._monotonic()
        self._offset = offset

    def detached(self, reason: str, retry_in: float) -> None:
        """The session is over; another attempt follows."""
        self._phase, self.reason, self.send = "reconnecting", reason, _nowhere
        self._retry_at = self._monotonic() + retry_in

    def gone(self, reason: str) -> None:
        """The session is over for good."""
        self._phase, self.reason, self.send = "gone", reason, _nowhere

    @property
    def phase(self) -> Phase:
        """The state of the session; ``stale`` when nothing arrived for three seconds."""
        if self._phase == "live" and self.silence > _STALE_SECONDS:
            return "stale"
        return self._phase

    @property
    def silence(self) -> float:
        """Seconds since something arrived."""
        return self._monotonic() - self._heard

    @property
    def retry_in(self) -> float:
        """Seconds until the next attempt."""
        return max(self._retry_at - self._monotonic(), 0.0)

    def now(self) -> float:
        """The server's monotonic time."""
        return self._monotonic() + self._offset

    def tick(self) -> float:
        """The server's monotonic time, moving on four times a second: what changes faster cannot be read."""
        return math.floor(self.now() * 4) / 4

    def wall(self, at: float) -> float:
        """Seconds since the epoch, by the server's calendar, at its monotonic time ``at``."""
        return at if self.welcome is None else self.welcome.wall + at - self.welcome.at

    @property
    def may_arm(self) -> bool:
        """Whether this observer may inject faults now."""
        welcome = self.welcome
        return welcome is not None and welcome.chaos and welcome.granted in ("chaos", "admin")

    @property
    def may_kick(self) -> bool:
        """Whether this observer may close connections."""
        return self.welcome is not None and self.welcome.granted == "admin"

    @property
    def looking(self) -> bool:
        """Whether the server tells of rooms now."""
        return self._look is not None

    # -- requests -----------------------------------------------------------------------------------------

    def watch(self, match: Match) -> int:
        """Ask for events, now and after every reconnection; returns the id for :meth:`unwatch`."""
        frame = Watch(id=next(self._ids), match=match)
        self._watches[frame.id] = frame
        self.send(frame)
        return frame.id

    def unwatch(self, watch: int) -> None:
        """Undo :meth:`watch`."""
        if self._watches.pop(watch, None) is not None:
            self.send(Unwatch(id=watch))

    def get(self, *ref: str) -> int:
        """Ask for what the server keeps; the answer is folded in. Returns the id of the request."""
        return self._request(list(ref), lambda number: Get(id=number, ref=list(ref)))

    def look_into(self, *call: str) -> None:
        """Ask where a call waits, not more than once a second; to be repeated while somebody looks.

        Args:
            *call: Its connection, its id and, when it has no such id, its start, as in :class:`Get`.
        """
        if self.where.due(["call", *call], self._monotonic()):
            self.get("call", *call)

    def arm(self, rule: ChaosRule, ttl: float) -> int:
        """Ask for a fault. A refusal becomes a note."""
        return self._request(["arm"], lambda number: ChaosArm(id=number, rule=rule, ttl=ttl))

    def disarm(self) -> int:
        """Remove every fault. Anybody attached may."""
        return self._request(["clear"], lambda number: ChaosClear(id=number))

    def kick(self, wish: Kick) -> int:
        """Close connections. What came of it becomes a note."""
        return self._request(["kick"], lambda number: msgspec.structs.replace(wish, id=number))

    def look(self, wish: Look | None) -> None:
        """Be told of rooms, and of the members of one, now and after every reconnection; None: no more."""
        if wish != self._look:
            self._look = wish
            self.rooms.look(wish or Look(rooms=False))
            self.send(wish or Look(rooms=False))

    def _request(self, ref: list[str], make: Callable[[int], ClientFrame]) -> int:
        number = next(self._ids)
        self._asked[number] = ref
        self.send(make(number))
        return number

    # -- the topic that is looked at ----------------------------------------------------------------------

    @property
    def topic(self) -> str | None:
        """The topic whose events are kept; None for none."""
        return None if self._ring is None else self._ring.topic

    @property
    def ring(self) -> list[PublishEvent]:
        """The last events of :attr:`topic`, oldest first."""
        return [] if self._ring is None else list(self._ring.events)

    @property
    def left_out(self) -> int:
        """How many older events of :attr:`topic` the server kept and did not send."""
        return 0 if self._ring is None else self._ring.left_out

    @property
    def paused(self) -> bool:
        """Whether the events of :attr:`topic` are left out for now."""
        return self._ring is not None and self._ring.paused

    @property
    def missed(self) -> int:
        """Publishes on :attr:`topic` since the pause began."""
        ring = self._ring
        return self._published(ring.topic) - ring.paused_from if ring is not None and ring.paused else 0

    def look_at(self, topic: str | None) -> None:
        """Keep the events of ``topic`` from now on, beginning with what the server has kept."""
        if topic == self.topic:
            return
        if self._ring is not None and not self._ring.paused:
            self.unwatch(self._ring.watch)
        self._ring = None
        if topic is not None:
            size = _RING if self.welcome is None else self.welcome.ring
            self._ring = TopicRing(topic, size, after=max(self._cleared.get(topic, 0.0), self._all_cleared))
            self._follow(self._ring)

    def pause(self) -> None:
        """Stop keeping events of :attr:`topic`, or go on with them."""
        ring = self._ring
        if ring is None:
            return
        ring.paused = not ring.paused
        if ring.paused:
            ring.paused_from = self._published(ring.topic)
            self.unwatch(ring.watch)
        else:
            self._follow(ring)

    def clear(self, *, everything: bool = False) -> None:
        """Forget the events of :attr:`topic`, or of all topics, up to now."""
        now = self.now()
        if everything:
            self._all_cleared = now
            self._cleared.clear()
        elif self._ring is not None:
            self._cleared[self._ring.topic] = now
        if self._ring is not None:
            self._ring.clear(now)

    def _follow(self, ring: TopicRing) -> None:
        ring.watch = self.watch(Match(kind=["pub"], topic=[ring.topic]))
        self.get("stream", ring.topic)

    def _published(self, topic: str) -> int:
        return next((each.published.total for each in self.rows.streams.values() if each.info.topic == topic), 0)

    # -- folding ------------------------------------------------------------------------------------------

    def apply(self, frame: ServerFrame) -> None:
        """Fold one frame in."""
        self._heard = self._monotonic()
        if isinstance(frame, Events):
            self.lost += frame.lost
            self.sample = frame.sample
            for event in frame.items:
                self._event(event)
        elif isinstance(frame, State):
            self._state(frame)
        elif isinstance(frame, Rooms):
            self.rooms.apply(frame)
        elif isinstance(frame, Got):
            self._got(self._asked.pop(frame.id, []), frame)
        elif isinstance(frame, ChaosChanged):
            self._chaos(frame.active)
            if not frame.active:  # what is armed stands in the banner
                self.notes.append(frame.text)
        elif isinstance(frame, Err):
            self._refused(self._asked.pop(frame.id, []), frame.text)
        elif isinstance(frame, Ok):
            if self._asked.pop(frame.id, None) == ["kick"]:
                self.notes.append(f"closed {frame.closed} connection{'s' if frame.closed != 1 else ''}")
        elif isinstance(frame, Welcome):
            self._welcome(frame)

    def _welcome(self, welcome: Welcome) -> None:
        before, topic = self.welcome, self.topic
        self.welcome, self._phase, self.reason = welcome, "live", ""
        self._offset = welcome.at - self._monotonic()
        self._asked.clear()
        self.rows.restart()
        server = welcome.server
        if before is not None and (before.server.pid, before.server.started) != (server.pid, server.started):
            if self._ring is not None:
                self._watches.pop(self._ring.watch, None)
            self._reset()  # its clock and its ids begin anew
            self.notes.append("the server was restarted")
        for watch in self._watches.values():
            self.send(watch)
        if self._look is not None:
            self.rooms.look(self._look)
            self.send(self._look)
        if self._ring is None:
            self.look_at(topic)
        elif not self._ring.paused:
            self.get("stream", self._ring.topic)
        self.get("calls")
        if before is None or before.denied != welcome.denied:  # told once, not after every reconnection
            self.notes.extend(f"not granted: {each}" for each in welcome.denied)

    def _event(self, event: Event) -> None:
        if isinstance(event, PublishEvent):
            if self._ring is not None:
                self._ring.add(event)
        elif isinstance(event, CallEvent):
            self.calls.add(event)
            self.uploads.ended(event, self.now())
            if event.call:
                self.pending = [
                    each for each in self.pending if (each.connection, each.call) != (event.connection, event.call)
                ]
        else:
            self.connection_events.append(event)

    def _refused(self, ref: list[str], text: str) -> None:
        if ref[:1] == ["call"]:
            self.where.answered(ref, None, text)
        else:
            self.notes.append(f"refused: {text}")

    def _got(self, ref: list[str], got: Got) -> None:
        if ref == ["calls"]:
            calls = [each for each in got.items if isinstance(each, CallEvent)]
            self.calls.merge(calls, got.left_out)
            for each in calls:
                self.uploads.ended(each, self.now())
        elif ref[:1] == ["call"]:
            self.where.answered(ref, got.awaited)
        elif self._ring is not None and ref == ["stream", self._ring.topic]:
            self._ring.merge((each for each in got.items if isinstance(each, PublishEvent)), got.left_out)

    def _chaos(self, rules: list[ChaosRule]) -> None:
        self.chaos = rules
        self._chaos_at = self._monotonic()

    def chaos_left(self, rule: ChaosRule) -> float:
        """Seconds until ``rule`` of :attr:`chaos` ends by itself."""
        return max(rule.left - (self._monotonic() - self._chaos_at), 0.0)

    def running(self) -> list[PendingCall]:
        """The pending calls that run long enough to be worth a line, oldest first."""
        border = self.now() - _PENDING_AFTER
        return [each for each in self.pending if each.started_at <= border]

    def _state(self, state: State) -> None:
        self.rows.apply(state)
        self.uploads.apply(state)
        self.pending, self.pending_total = state.pending, state.pending_total
        self.locks, self.locks_total, self.breakers = state.locks, state.locks_total, state.breakers
        self.counters, self.busy = state.counters, state.busy
        self._chaos(state.chaos)


def _nowhere(frame: ClientFrame) -> None:
    """There is no session."""
