"""The inspector of one server: observers, the tap they share, and the task that tells them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

from liverpc.config import Inspect, Token
from liverpc.declare.registry import Registry
from liverpc.hub.hub import Hub
from liverpc.inspector.allowance import Allowance
from liverpc.inspector.attach import SKIP_ABOVE, AttachEndpoint, Observer
from liverpc.inspector.declared import Declarer
from liverpc.inspector.figures import Load, PathFigures
from liverpc.inspector.protocol import Bye, ChaosChanged, Note, ServerInfo
from liverpc.inspector.protocol import frames as protocol
from liverpc.inspector.rooms import Survey
from liverpc.inspector.tap import Tap
from liverpc.inspector.telling import encoded
from liverpc.inspector.trying import OpenClient, Trials
from liverpc.inspector.view import TURNS, Source
from liverpc.policies.faults import FaultRules
from liverpc.policies.pressure import resident_bytes
from liverpc.policies.running import RunningPolicies
from liverpc.rooms.census import Census
from liverpc.telemetry import Telemetry
from liverpc.uploads.uploads import Uploads
from liverpc.wire.close import CloseCode
from liverpc.wire.framing import text_frame

__all__ = ["Inspector"]

log = logging.getLogger("liverpc.inspector")

_TICK = 0.125  # seconds between flushes of events; every second flush carries the state
_SECOND = 8  # ticks
_MAX_BUSY = 0.02  # share of the loop's time above which less is captured
_MAX_GLOBS = 16  # of all watches, for which less is captured
_SLOW_SECONDS = 30.0


class Inspector:
    """The server side of the devtools.

    Attributes:
        endpoint: Answers on the attach path.
        survey: What is known of the rooms.
        trials: Calls that observers try.
        declared: What the server declares.
        tokens: Who may attach; made up at start when none were configured.
        allowances: By the secret of a token, what its holders may take of the server's time for what they ask.
        local_token: The one that was made up, for programs of this user; None: there are others.
        observers: Attached ones.
    """

    def __init__(
        self,
        settings: Inspect,
        *,
        hub: Hub,
        registry: Registry,
        telemetry: Telemetry,
        faults: FaultRules,
        uploads: Uploads,
        policies: RunningPolicies,
        info: ServerInfo,
        wall: Callable[[], float],
        rooms: Sequence[Census] = (),
        always: bool = False,
        connect: OpenClient | None = None,
    ) -> None:
        self.settings = settings
        paths = PathFigures(registry, hub.monotonic)
        self.info = info
        self.wall = wall
        self.monotonic = hub.monotonic
        self.tap = Tap(settings, telemetry, hub.monotonic)
        deliveries = self.tap.deliveries.latencies
        self.source = Source(hub, registry, telemetry.counters, faults, uploads, policies, paths, deliveries)
        self.survey = Survey(rooms, hub.monotonic, self.tap.redactor)
        self.trials = Trials(connect, settings.test_users, self.source, telemetry, self.tap.redactor)
        self.declared = Declarer(registry, self.source.policies, self.tap.redactor)
        own = Token(
            secret=secrets.token_urlsafe(24), level="admin" if info.dev else "chaos" if settings.chaos else "observe"
        )
        self.tokens = settings.tokens or (own,)
        self.local_token = None if settings.tokens else own.secret
        share = _MAX_BUSY / min(len(self.tokens), settings.max_observers)
        self.allowances = {token.secret: Allowance(share, hub.monotonic) for token in self.tokens}
        self.endpoint = AttachEndpoint(self, settings, self.tokens)
        self.observers: list[Observer] = []
        self._always = always or settings.capture == "always"
        self._rev = 0
        self._busy = 0.0
        self._late: deque[float] = deque(maxlen=_SECOND)  # seconds, of the ticks of the last second
        self._lately: deque[tuple[int, int]] = deque(maxlen=8)  # captured and lost events of each tick of a second
        self._calm = 0
        self._turn = 0  # of the connections that are looked at
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    # -- life

    def start(self) -> None:
        """Begin to record, when it is to be done without an observer, too."""
        if self._always:
            self.tap.start()
            self.source.registry.measure()

    async def aclose(self) -> None:
        """Say goodbye to all observers and stop."""
        self.closed = True
        for observer in list(self.observers):
            observer.send(Bye(code="SHUTDOWN", text="the server is shutting down"))
            observer.link.close(CloseCode.GOING_AWAY, "server going away")
        self.source.faults.clear()
        await self.trials.aclose()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.source.hub.touched = None  # a task that was cancelled before its first step left it
        self.tap.stop()

    def joined(self, observer: Observer) -> None:
        """A socket was accepted; it still has to say hello."""
        self.observers.append(observer)
        self.tap.start()
        self.tap.attend()
        self.source.registry.measure()
        self.source.hub.touched = self.tap.changes.topics
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="liverpc inspector")

    def greeted(self, observer: Observer) -> None:
        """An observer may be told things from now on."""
        self._send_full(observer)

    def left(self, observer: Observer) -> None:
        """A socket is gone; so are its faults, at once."""
        if observer in self.observers:
            self.observers.remove(observer)
        self.trials.stop(observer)
        self.source.faults.orphaned(observer)
        self.refocus()

    def refocus(self) -> None:
        """Find out which topics somebody has open, and whether anything else has to be captured."""
        watches = [each for observer in self.observers for each in observer.watching.watches()]
        self.tap.focus_on(frozenset(topic for watch, _ in watches for topic in watch.match.topic if "*" not in topic))
        narrow = bool(watches) and all(watch.capture for watch, _ in watches)
        # Every publish and every call is asked about each glob then.
        narrow = narrow and sum(wants.globs for _, wants in watches) <= _MAX_GLOBS
        self.tap.narrow([wants for _, wants in watches] if narrow else None)

    def faults_changed(self, text: str) -> None:
        """Tell everybody about a change of the faults in force."""
        log.warning("%s", text)
        now = self.monotonic()
        for observer in self.observers:
            if observer.greeted:
                view = observer.view
                told = "" if view.scoped else text  # it names topics
                observer.send(ChaosChanged(active=view.rules(now), text=told, ended=view.ended_rules(now)))

    def note(self, text: str) -> None:
        """Tell everybody something that they should know. No names of topics, which are not for everybody."""
        for observer in self.observers:
            if observer.greeted:
                observer.send(Note(text=text))

    @property
    def lag(self) -> float:
        """Seconds by which the event loop was late within the last second, at worst."""
        return max(self._late, default=0.0)

    def _load(self) -> Load:
        return Load(self._busy, self.lag, resident_bytes())

    # -- telling

    async def _run(self) -> None:
        ticks = 0
        last = self.monotonic()
        try:
            while self.observers:
                due = self.monotonic() + _TICK
                await asyncio.sleep(_TICK)
                self._late.append(max(0.0, self.monotonic() - due))
                began = time.thread_time()  # not the wall clock: a preempted process did not spend it
                ticks += 1
                self._turn = ticks // 2 % TURNS
                steps = (self._collect, self._tell_events, self._tell_state, self._tell_rooms)
                for step in steps if ticks % 2 == 0 else (self._tell_events,):
                    try:
                        step()
                    except Exception:  # one observer's trouble must not end the service for the others
                        log.exception("the inspector failed in %s", step.__name__)
                now = self.monotonic()
                self._measure(time.thread_time() - began, now - last)
                last = now
        finally:
            self.source.hub.touched = None
            self.tap.forget()
            self.survey.forget()
            if not self._always:
                self.tap.stop()

    def _collect(self) -> None:
        now, wall = self.monotonic(), self.wall()
        self.source.faults.expire()
        for observer in list(self.observers):
            if observer.token.expired(wall):
                observer.send(Bye(code="REVOKED", text="the token has expired"))
                observer.link.close(CloseCode.UNAUTHENTICATED, "token expired")
                continue
            silent = now - observer.heard_at
            if silent > protocol.Limits.LEASE:
                self.source.faults.orphaned(observer)
            if silent > _SLOW_SECONDS:
                observer.send(Bye(code="SLOW", text="nothing was heard from the observer for 30 seconds"))
                observer.link.close(CloseCode.TRY_AGAIN_LATER, "silent")

    def _tell_events(self) -> None:
        tap = self.tap
        events, lost = tap.drain()
        self._lately.append((len(events), lost))
        captured = sum(kept for kept, _ in self._lately)
        sample = captured / max(1, captured + sum(missed for _, missed in self._lately)) if lost else 1.0
        for observer in self.observers:
            if observer.greeted:
                watching = observer.watching
                for event in events:
                    watching.offer(event)
                if observer.link.buffered > SKIP_ABOVE:
                    watching.miss(lost)
                elif (frame := watching.flush(lost, sample)) is not None:
                    observer.send(frame)

    def _tell_state(self) -> None:
        changes = self.tap.changes
        self._rev += 1
        now, load = self.monotonic(), self._load()
        shared: dict[object, bytes] = {}
        for observer in list(self.observers):
            if not observer.greeted:
                continue
            if observer.stale:
                if observer.link.buffered <= SKIP_ABOVE:
                    self._send_full(observer)
                continue
            view = observer.view
            frame = shared.get(view.key)
            if frame is None:
                state = view.delta(changes, self._rev, now, load, self._turn)
                frame = shared[view.key] = text_frame(encoded(state))
            observer.send_state(frame)
        changes.clear()

    def _tell_rooms(self) -> None:
        for observer in list(self.observers):
            observer.tell_rooms()
        if not any(observer.rooms for observer in self.observers):
            self.survey.forget()

    def _send_full(self, observer: Observer) -> None:
        if observer.allowance.wait:
            observer.stale = True
            return
        began = time.thread_time()
        parts = observer.view.full(self._rev, self.monotonic(), self._load())
        observer.send_state(*(text_frame(encoded(part)) for part in parts), full=True)
        observer.allowance.spend(time.thread_time() - began)

    def _measure(self, spent: float, elapsed: float) -> None:
        spent += self.tap.spent
        self.tap.spent = 0.0
        self._busy += (spent / elapsed - self._busy) * 0.2
        if self._busy > _MAX_BUSY:
            self._calm = 0
            if self.tap.slowest and not self.tap.bare:
                self.tap.bare = True
                self.note("watching takes too much of the server's time: payloads are not recorded for now")
            self.tap.throttle(0.5)
        else:
            self._calm += 1
            if self._calm % 10 == 0:
                if self.tap.bare:
                    self.tap.bare = False
                    self.note("payloads are recorded again")
                else:
                    self.tap.throttle(2.0)
