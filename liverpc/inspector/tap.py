"""What the devtools record while somebody looks: bounded, sampled, redacted as it is written.

The tap listens to telemetry only between :meth:`Tap.start` and :meth:`Tap.stop`; without an observer a
publish or call costs one truth test. While it listens, as many events as the budget allows are kept with
payload and the others counted. When the budget is used up, the tap stops listening for a moment, so that in a
flood a publish or call costs a truth test again. Failed and slow calls go on with a budget of their own, and
are never hidden by good ones; so do publishes on topics that somebody has open.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from liverpc.config import Inspect
from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Event, PublishEvent
from liverpc.inspector.protocol.frames import CARRIERS, Limits
from liverpc.inspector.redact import REDACTED, Redactor
from liverpc.telemetry import (
    SLOW_CALL,
    CallFinished,
    ConnectionClosed,
    ConnectionOpened,
    Published,
    StreamFailed,
    Subscribed,
    Telemetry,
    Unsubscribed,
)

__all__ = ["Bucket", "Changes", "Tap"]

_PAUSE = 0.125  # seconds without events after their budget was used up
_MAX_RINGS = 1000  # topics with kept events; the longest unpublished goes first
_MAX_PUBLISHED = 20  # topics of a call
_MAX_QUEUE = 4096  # events waiting for the next flush
_decode = msgspec.json.Decoder().decode


class Bucket:
    """A token bucket: ``rate`` per second, saved up for at most one second."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = rate
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed now."""
        level = self._level + (now - self._at) * self.rate
        self._at = now
        if level > self.rate:
            level = self.rate
        if level < 1:
            self._level = level
            return False
        self._level = level - 1
        return True


class Changes(msgspec.Struct):
    """What is different since somebody last looked."""

    topics: set[str] = msgspec.field(
        default_factory=set
    )  #: in the hub: published on, with other subscribers, or failed
    born: set[str] = msgspec.field(default_factory=set)  #: of those, the ones with a new subscriber
    ended: dict[int, str] = {}  #: topics that are gone: number, and what clients know them as
    opened: set[str] = msgspec.field(default_factory=set)  #: connections
    closed: set[str] = msgspec.field(default_factory=set)
    joined: set[str] = msgspec.field(default_factory=set)  #: connections that subscribed to something
    left: dict[str, set[str]] = {}  #: connections that left topics, as clients know these

    def clear(self) -> None:
        """Everything was told. The sets stay the same objects: the hub fills one of them."""
        for each in (self.topics, self.born, self.ended, self.opened, self.closed, self.joined, self.left):
            each.clear()


class Tap:
    """The recorder of one server.

    Attributes:
        calls: Finished calls, oldest first; ``failed`` the failed ones besides, kept longer.
        rings: The last events of each topic.
        queue: Events captured since the last :meth:`drain`; ``lost`` counts those it had no room for.
        spent: Seconds of processor time spent recording since the last time somebody asked.
        changes: What changed since the last state was sent; the hub adds the topics that are published on.
    """

    def __init__(self, settings: Inspect, telemetry: Telemetry, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._now = monotonic
        self.redactor = Redactor(settings.redact)
        self.listening = False
        self.focus: frozenset[str] = frozenset()  # topics somebody has open: captured with their own budget
        self.calls: deque[CallEvent] = deque(maxlen=settings.history)
        self.failed: deque[CallEvent] = deque(maxlen=max(1, settings.history // 2))
        self.rings: OrderedDict[str, deque[PublishEvent]] = OrderedDict()
        self.queue: list[Event] = []
        self.lost = 0
        self.spent = 0.0
        self.changes = Changes()
        now = monotonic()
        self._budget = Bucket(settings.max_events, now)
        self._notable = Bucket(max(1.0, settings.max_events / 4), now)
        self._focused = Bucket(max(1.0, settings.max_events / 2), now)
        self._seen = 0  # publishes and calls counted when lost ones were last computed
        self._kept = 0  # of those since then
        self._resume: asyncio.TimerHandle | None = None  # while paused

    # -- listening

    def start(self) -> None:
        """Begin to record."""
        if self.listening:
            return
        self.listening = True
        telemetry = self._telemetry
        self._seen = self._count()
        telemetry.published.append(self._published)
        telemetry.call_finished.append(self._call_finished)
        telemetry.connection_opened.append(self._connection_opened)
        telemetry.connection_closed.append(self._connection_closed)
        telemetry.subscribed.append(self._subscribed)
        telemetry.unsubscribed.append(self._unsubscribed)
        telemetry.stream_failed.append(self._stream_failed)

    def stop(self) -> None:
        """Stop, and forget what was recorded."""
        if not self.listening:
            return
        self.listening = False
        telemetry = self._telemetry
        if self._resume is not None:
            self._resume.cancel()
            self._resumed()
        telemetry.published.remove(self._published)
        telemetry.call_finished.remove(self._call_finished)
        telemetry.connection_opened.remove(self._connection_opened)
        telemetry.connection_closed.remove(self._connection_closed)
        telemetry.subscribed.remove(self._subscribed)
        telemetry.unsubscribed.remove(self._unsubscribed)
        telemetry.stream_failed.remove(self._stream_failed)
        self.calls.clear()
        self.failed.clear()
        self.rings.clear()
        self.forget()

    def forget(self) -> None:
        """Drop what waits to be sent; nobody is there to get it."""
        self.queue.clear()
        self.lost = self._kept = 0
        self._seen = self._count()
        self.changes.clear()

    def throttle(self, factor: float) -> None:
        """Scale the budget by ``factor``, between a 64th and all of what was configured."""
        most = self._settings.max_events
        self._budget.rate = min(most, max(most / 64, self._budget.rate * factor))

    def history(self) -> list[CallEvent]:
        """Finished calls, oldest first; failed ones reach back further than the others."""
        recent = set(map(id, self.calls))
        return [call for call in self.failed if id(call) not in recent] + list(self.calls)

    # -- recording

    def _keep(self, event: Event) -> None:
        if len(self.queue) < _MAX_QUEUE:
            self.queue.append(event)
        else:
            self.lost += 1

    def _published(self, event: Published) -> None:
        now = self._now()
        topic = event.topic
        if not self._budget.take(now):
            self._pause()
            if not (topic in self.focus and self._focused.take(now)):
                return
        self._kept += not event.remote
        began = time.thread_time()
        data = event.data if not event.remote else None
        kept = PublishEvent(
            at=now,
            topic=topic,
            event=event.event,
            size=event.size,
            receivers=event.receivers,
            seq=event.seq,
            dropped=event.dropped,
            data=self.redactor(data),
        )
        ring = self.rings.get(topic)
        if ring is None:
            ring = self.rings[topic] = deque(maxlen=self._settings.ring)
            if len(self.rings) > _MAX_RINGS:
                self.rings.popitem(last=False)
        else:
            self.rings.move_to_end(topic)
        ring.append(kept)
        self._keep(kept)
        self.spent += time.thread_time() - began

    def _call_finished(self, event: CallFinished) -> None:
        if self._budget.take(self._now()):
            self._keep_call(event)
        else:
            self._pause()
            if event.code is not None or event.seconds >= SLOW_CALL:
                self._call_notable(event)

    def _call_notable(self, event: CallFinished) -> None:
        if self._notable.take(self._now()):
            self._keep_call(event)

    def _pause(self) -> None:
        """Listen to what has a budget of its own only, until the common one has grown again."""
        if self._resume is not None:
            return
        telemetry = self._telemetry
        telemetry.call_finished.remove(self._call_finished)
        telemetry.call_notable.append(self._call_notable)
        if not self.focus:
            telemetry.published.remove(self._published)
        self._resume = asyncio.get_running_loop().call_later(_PAUSE, self._resumed)

    def _resumed(self) -> None:
        self._resume = None
        telemetry = self._telemetry
        telemetry.call_notable.remove(self._call_notable)
        telemetry.call_finished.append(self._call_finished)
        if self._published not in telemetry.published:
            telemetry.published.append(self._published)

    def focus_on(self, topics: frozenset[str]) -> None:
        """Topics somebody has open; they are captured with a budget of their own."""
        self.focus = topics
        if topics and self._resume is not None and self._published not in self._telemetry.published:
            self._telemetry.published.append(self._published)

    def _count(self) -> int:
        counters = self._telemetry.counters
        return counters.published + counters.calls

    def drain(self) -> tuple[list[Event], int]:
        """The events captured since the last drain, and how many publishes and calls were not."""
        events, self.queue = self.queue, []
        count = self._count()
        lost = self.lost + max(0, count - self._seen - self._kept)
        self.lost = self._kept = 0
        self._seen = count
        return events, lost

    def _keep_call(self, event: CallFinished) -> None:
        began = time.thread_time()
        kept = CallEvent(
            at=self._now(),
            path=event.path,
            connection=event.connection,
            ms=round(event.seconds * 1000, 3),
            ok=event.code is None,
            call=(event.call or "")[: Limits.MAX_CALL_ID],
            user=event.user or "",
            code=event.code or "",
            stream=event.kind == "stream",
            args=self._arguments(event),
            result=self._error(event) if event.issues else self.redactor(event.result),
            published=list(islice(dict.fromkeys(event.published), _MAX_PUBLISHED)),
            carries=event.kind if event.kind in CARRIERS else "",
            received=event.received,
        )
        self._kept += 1
        self.calls.append(kept)
        if not kept.ok:
            self.failed.append(kept)
        self._keep(kept)
        self.spent += time.thread_time() - began

    def _error(self, event: CallFinished) -> Any:
        """The message, and which argument was wrong how; messages may quote a value, so secret ones go, too."""
        issues: list[str] = []
        for issue in event.issues:
            secret = any(step.lower() in self.redactor.keys for step in issue.path)
            issues.append(f"{'.'.join(issue.path)}: {REDACTED if secret else issue.message}")
        return self.redactor({"message": event.result, "issues": issues})

    def _arguments(self, event: CallFinished) -> Any:
        """Arguments by parameter name, so that ``login(email, password)`` is covered by the keys."""
        try:
            values = _decode(event.args)
        except (msgspec.MsgspecError, RecursionError):
            values = None
        if not isinstance(values, list):
            return "[no argument list]"
        copy = self.redactor(dict(zip(event.parameters, values, strict=False)))
        if (surplus := len(values) - len(event.parameters)) > 0:
            # Values without a name cannot be judged; only how many there were is kept.
            copy["…"] = f"[{surplus} arguments without a name]"
        return copy

    def _connection_opened(self, event: ConnectionOpened) -> None:
        self.changes.opened.add(event.connection)
        self._keep(
            ConnectionEvent(
                at=self._now(),
                connection=event.connection,
                what="open",
                user=event.user or "",
                address=event.address,
            )
        )

    def _connection_closed(self, event: ConnectionClosed) -> None:
        self.changes.closed.add(event.connection)
        self._keep(
            ConnectionEvent(
                at=self._now(),
                connection=event.connection,
                what="close",
                user=event.user or "",
                code=event.code,
                reason=event.reason,
            )
        )

    def _subscribed(self, event: Subscribed) -> None:
        self.changes.topics.add(event.topic)
        self.changes.born.add(event.topic)
        self.changes.joined.add(event.connection)

    def _stream_failed(self, event: StreamFailed) -> None:
        self.changes.topics.add(event.topic)

    def _unsubscribed(self, event: Unsubscribed) -> None:
        self.changes.topics.add(event.topic)
        self.changes.left.setdefault(event.connection, set()).add(event.wire)
        if event.ended is not None:
            self.changes.ended[event.ended] = event.wire
