"""What the devtools know of a server: the frames of a session folded into rows and rings.

No I/O and no screen. Feed it with :meth:`Model.apply`; read its attributes. Times named ``at`` are the
server's monotonic seconds; :meth:`Model.now` and :meth:`Model.wall` relate them to us and to the calendar.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from liverpc.inspector.protocol import (
    BreakerInfo,
    CallEvent,
    ChaosChanged,
    ChaosRule,
    ClientFrame,
    ConnectionEvent,
    Err,
    Event,
    Events,
    Got,
    LockInfo,
    Match,
    Note,
    Ok,
    PendingCall,
    PublishEvent,
    Rooms,
    ServerFrame,
    State,
    Welcome,
)
from liverpc_devtools.core.chain import Chain, chain
from liverpc_devtools.core.effect import Effect
from liverpc_devtools.core.events import EventLog
from liverpc_devtools.core.focus import Focus
from liverpc_devtools.core.history import Calls
from liverpc_devtools.core.rows import Rows
from liverpc_devtools.core.text import clean, clock
from liverpc_devtools.core.trends import Trends
from liverpc_devtools.core.upload_rows import Uploads

if TYPE_CHECKING:
    from liverpc_devtools.core.tape import Tape

__all__ = ["Model"]

_CONNECTION_EVENTS = 200
# A state is sent four times a second; a call younger than this was most likely answered since.
_PENDING_AFTER = 0.1


class Model(Focus):
    """One server as seen by one observer.

    Attributes:
        uploads: Those that run, and for a while those that ended.
        pending: Calls that run, oldest first; at most 200 of ``pending_total``.
        locks: Those that are held, most waited for first; at most 100 of ``locks_total``.
        breakers: All of them.
        state: The last one told, whole or what had changed.
        calls: Answered calls, oldest first; failures are kept longer than the rest.
        connection_events: Openings and closings, oldest first.
        events: The timeline: all that was told of, and what is missing. It outlives sessions and servers.
        taps: Are given each frame when it was folded in.
        tape: Records it, or plays it; made when somebody asks for it.
        trends: Figures over the last minutes.
        lag: Seconds the server's event loop came too late lately, at worst.
        memory: Bytes of the server's process; 0: not known.
        chaos: The faults in force.
        effect: What came of them.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(monotonic)
        self.events = EventLog()
        self.taps: list[Callable[[ServerFrame], None]] = []
        self.tape: Tape | None = None
        self._publishes: int | None = None  # the id of the watch

    def _reset(self) -> None:
        super()._reset()
        self.uploads = Uploads(self.now())
        self.pending: list[PendingCall] = []
        self.pending_total = 0
        self.locks: list[LockInfo] = []
        self.locks_total = 0
        self.state: State | None = None
        self.breakers: list[BreakerInfo] = []
        self.calls = Calls()
        self.connection_events: deque[ConnectionEvent] = deque(maxlen=_CONNECTION_EVENTS)
        self.counters: dict[str, int] = {}
        self.chaos: list[ChaosRule] = []
        self.effect = Effect()
        self.trends = Trends()
        self.busy = self.lag = 0.0
        self.memory = 0
        self.lost = 0
        self.sample = 1.0
        self._chaos_at = 0.0
        self._unwatched_at: float | None = None

    # -- the session --------------------------------------------------------------------------------------

    def attached(self, welcome: Welcome, send: Callable[[ClientFrame], None]) -> None:
        """A session was opened."""
        self.send = send
        self.apply(welcome)

    def forget(self) -> None:
        """Begin anew, as if nothing had been told: what follows is of another time. What is watched stays."""
        self.look_at(None)
        self.welcome = None
        self._reset()
        self.events.clear(float("-inf"))

    # -- folding ------------------------------------------------------------------------------------------

    def apply(self, frame: ServerFrame) -> None:
        """Fold one frame in."""
        self._heard = self._monotonic()
        if isinstance(frame, Events):
            self._events(frame)
        elif isinstance(frame, State):
            self._state(frame)
        elif isinstance(frame, Rooms):
            self.rooms.apply(frame)
        elif isinstance(frame, Got):
            self._got(self._asked.pop(frame.id, []), frame)
        elif isinstance(frame, ChaosChanged):
            self._faults(frame)
        elif isinstance(frame, Note):
            self.notes.append(frame.text)
            self._remark("note", frame.text)
        elif isinstance(frame, Err):
            self._refused(self._asked.pop(frame.id, []), frame)
        elif isinstance(frame, Ok):
            self._done(self._asked.pop(frame.id, []), frame)
        elif isinstance(frame, Welcome):
            self._welcome(frame)
        for tap in self.taps:
            tap(frame)

    def _welcome(self, welcome: Welcome) -> None:
        before, topic = self.welcome, self.topic
        lost_at, self._lost_at = self._lost_at, None
        self.welcome, self._phase, self.reason = welcome, "live", ""
        self._offset = welcome.at - self._monotonic()
        self.rows.restart()
        server = welcome.server
        if before is None:  # only now the server's time is known, from which rates are reckoned
            self.rows, self.uploads = Rows(self.now()), Uploads(self.now())
        elif (before.server.pid, before.server.started) != (server.pid, server.started):
            self._drop_rings()
            self._reset()  # its clock and its ids begin anew
            self.notes.append("the server was restarted")
            self.events.restart()
            self._remark("gap", "the server was restarted: what it did before it was attached to is not known")
        elif lost_at is not None:
            gone, back = (clock(self.wall(at), millis=False) for at in (lost_at, welcome.at))
            self._remark("gap", f"no events from {gone} to {back}: the connection was lost, and is back")
        self._ask_again()
        if self._ring is None:
            self.look_at(topic)
        self._fill_rings()
        self.get("calls")
        if before is None or before.denied != welcome.denied:  # told once, not after every reconnection
            self.notes.extend(f"not granted: {each}" for each in welcome.denied)

    def _remark(self, kind: Literal["gap", "chaos", "note"], text: str) -> None:
        self.events.remark(kind, text, self.now(), self.wall(self.now()))

    def _events(self, frame: Events) -> None:
        self.lost += frame.lost
        self.sample = frame.sample
        for event in frame.items:
            self._event(event)
        if frame.lost:
            at = frame.items[-1].at if frame.items else self.now()
            self.events.lost(frame.lost, at, self.wall(at))

    def _event(self, event: Event) -> None:
        self.events.add(event, self.wall(event.at))
        if isinstance(event, PublishEvent):
            self._keep(event)
        elif isinstance(event, CallEvent):
            self.calls.add(event)
            self.uploads.ended(event, self.now())
            if event.call:
                self.pending = [
                    each for each in self.pending if (each.connection, each.call) != (event.connection, event.call)
                ]
        else:
            self.connection_events.append(event)

    def _done(self, ref: list[str], done: Ok) -> None:
        if ref == ["kick"]:
            self.notes.append(f"closed {done.closed} connection{'s' if done.closed != 1 else ''}")
        elif ref[:1] == ["redact"]:
            self.notes.append(f"no longer recorded: {', '.join(ref[1:])}")
        elif ref == ["arm"]:
            self.mine.add(done.rule)
        elif ref == ["try"] and done.call is not None:
            self.explored.answered(done.id, done.call)
        elif ref == ["preview"] and done.blast is not None:
            self._previewed(done.id, done.blast)

    def _refused(self, ref: list[str], refusal: Err) -> None:
        if ref[:1] == ["call"]:
            self.where.answered(ref, None, refusal.text)
        elif ref[:1] == ["chain"]:
            self.told.answered(ref, [], refusal.text)
        elif ref[:1] in (["subscribers"], ["subscriptions"]):
            self.listeners.answered(ref, None, refusal.text)
        elif ref == ["preview"]:
            self._previewed(refusal.id, refusal.text)
        elif ref == ["try"]:
            self.explored.answered(refusal.id, refusal.text)
        elif ref == ["declared"]:
            self.explored.problem = refusal.text
        else:
            self.notes.append(f"refused: {refusal.text}")

    def _got(self, ref: list[str], got: Got) -> None:
        if ref == ["calls"]:
            calls = [each for each in got.items if isinstance(each, CallEvent)]
            self.calls.merge(calls, got.left_out)
            for each in calls:
                self.uploads.ended(each, self.now())
                self.events.add(each, self.wall(each.at))
        elif ref[:1] == ["call"]:
            self.where.answered(ref, got.awaited)
        elif ref[:1] == ["chain"]:
            self.told.answered(ref, got.items)
        elif ref[:1] in (["subscribers"], ["subscriptions"]):
            self.listeners.answered(ref, got.subscriptions)
        elif ref == ["declared"]:
            self.explored.declared, self.explored.problem = got.declared, ""
        elif ref[:1] == ["stream"]:
            self._kept(ref[1], [each for each in got.items if isinstance(each, PublishEvent)], got.left_out)

    def _faults(self, changed: ChaosChanged) -> None:
        self._chaos(changed.active)
        if changed.text:
            self._remark("chaos", changed.text)
        if not changed.active:  # what is armed stands in the banner
            self.notes.append(changed.text)

    def _chaos(self, rules: list[ChaosRule]) -> None:
        self.chaos = rules
        self._chaos_at = self._monotonic()

    def chaos_left(self, rule: ChaosRule) -> float:
        """Seconds until ``rule`` of :attr:`chaos` ends by itself."""
        return max(rule.left - (self._monotonic() - self._chaos_at), 0.0)

    # -- the timeline -------------------------------------------------------------------------------------

    def watch_publishes(self, wanted: bool) -> None:
        """Be told of the publishes of all topics from now on, or no more; the timeline says from when to when."""
        if wanted == (self._publishes is not None):
            return
        if self._publishes is not None:
            self.unwatch(self._publishes)
            self._publishes, self._unwatched_at = None, self.now()
            return
        self._publishes = self.watch(Match(kind=["pub"]))
        until = clock(self.wall(self.now()), millis=False)
        if self._unwatched_at is None:
            self._remark("note", f"publishes of all topics from {until} on")
        else:
            since = clock(self.wall(self._unwatched_at), millis=False)
            self._remark("gap", f"publishes were not watched from {since} to {until}")

    def unfold(self, event: Event) -> Chain:
        """The chain of ``event``, out of what is kept here and, once it answered, what the server has."""
        if event.id and self.told.ask(event.id):
            self.get("chain", str(event.id))
        found = chain(event, [*self.told.events, *self.events.events()])
        if event.id and self.told.problem:
            found.missing.append(f"the server does not tell more: {clean(self.told.problem)}")
        elif event.id and not self.told.known:
            found.missing.append("the server is asked for more")
        return found

    def running(self) -> list[PendingCall]:
        """The pending calls that run long enough to be worth a line, oldest first."""
        border = self.now() - _PENDING_AFTER
        return [each for each in self.pending if each.started_at <= border]

    def _state(self, state: State) -> None:
        self.state = state
        self.rows.apply(state)
        self.trends.apply(state, self.rows)
        self.uploads.apply(state)
        self.pending, self.pending_total = state.pending, state.pending_total
        self.locks, self.locks_total, self.breakers = state.locks, state.locks_total, state.breakers
        self.counters, self.busy = state.counters, state.busy
        self.lag, self.memory = state.lag, state.memory
        self._chaos(state.chaos)
        self.effect.add(state.at, state.counters, state.chaos)
