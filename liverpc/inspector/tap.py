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
from collections.abc import Callable, Iterator, Sequence
from itertools import chain as joined

import msgspec

from liverpc.config import Inspect
from liverpc.inspector.bucket import Bucket
from liverpc.inspector.changes import Changes
from liverpc.inspector.deliveries import Deliveries
from liverpc.inspector.matching import Matcher
from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Event, PublishEvent
from liverpc.inspector.recorded import call_event, carries
from liverpc.inspector.redact import Redactor
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

__all__ = ["Tap"]

_PAUSE = 0.125  # seconds without events after their budget was used up
_MAX_RINGS = 1000  # topics with kept events; the longest unpublished goes first
_MAX_QUEUE = 4096  # events waiting for the next flush


class Tap:
    """The recorder of one server.

    Attributes:
        calls: Finished calls, oldest first; ``failed`` the failed ones besides, kept longer.
        connections: Those that opened and closed.
        rings: The last events of each topic.
        deliveries: How long publishes took to the sockets.
        bare: Record no payloads: even at the lowest rate it takes too much time.
        queue: Events captured since the last :meth:`drain`; ``lost`` counts those it had no room for.
        spent: Seconds of processor time spent recording since the last time somebody asked.
        changes: What changed since the last state was sent; the hub adds the topics that are published on.
    """

    def __init__(self, settings: Inspect, telemetry: Telemetry, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._tracing = telemetry.tracing
        self._now = monotonic
        self.redactor = Redactor(settings.redact)
        self.deliveries = Deliveries(monotonic)
        self.bare = False
        self.listening = False
        self._attended = self.deliveries.patient = False  # somebody gets what is recorded
        self.focus: frozenset[str] = frozenset()  # topics somebody has open: captured with their own budget
        self.calls: deque[CallEvent] = deque(maxlen=settings.history)
        self.failed: deque[CallEvent] = deque(maxlen=max(1, settings.history // 2))
        self.connections: deque[ConnectionEvent] = deque(maxlen=settings.history)
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
        self._wanted: Sequence[Matcher] | None = None  # nothing else is recorded; None: everything is
        self._resume: asyncio.TimerHandle | None = None  # while paused

    # -- listening

    def start(self) -> None:
        """Begin to record."""
        if self.listening:
            return
        self.listening = True
        telemetry = self._telemetry
        self._tracing.active = self._tracing.calls = True
        self._seen = self._count()
        telemetry.published.append(self._published)
        telemetry.call_finished.append(self._call_finished)
        telemetry.connection_opened.append(self._connection_opened)
        telemetry.connection_closed.append(self._connection_closed)

    def stop(self) -> None:
        """Stop, and forget what was recorded."""
        if not self.listening:
            return
        self.listening = False
        telemetry = self._telemetry
        if self._resume is not None:
            self._resume.cancel()
            self._resumed()
        self._tracing.active = self._tracing.calls = False
        telemetry.published.remove(self._published)
        telemetry.call_finished.remove(self._call_finished)
        telemetry.connection_opened.remove(self._connection_opened)
        telemetry.connection_closed.remove(self._connection_closed)
        self.calls.clear()
        self.connections.clear()
        self.failed.clear()
        self.rings.clear()
        self.forget()

    def attend(self) -> None:
        """Somebody is there who is told what happens from now on."""
        if self._attended:
            return
        self._attended = self.deliveries.patient = True
        telemetry = self._telemetry
        telemetry.subscribed.append(self._subscribed)
        telemetry.unsubscribed.append(self._unsubscribed)
        telemetry.stream_failed.append(self._stream_failed)
        self.lost = self._kept = 0
        self._seen = self._count()

    def forget(self) -> None:
        """Drop what waits to be sent; nobody is there to get it."""
        if self._attended:
            self._attended = self.deliveries.patient = False
            telemetry = self._telemetry
            telemetry.subscribed.remove(self._subscribed)
            telemetry.unsubscribed.remove(self._unsubscribed)
            telemetry.stream_failed.remove(self._stream_failed)
        self.queue.clear()
        self.deliveries.forget()
        self.bare = False
        self.lost = self._kept = 0
        self._seen = self._count()
        self.changes.clear()

    def throttle(self, factor: float) -> None:
        """Scale the budget by ``factor``, between a 64th and all of what was configured."""
        most = self._settings.max_events
        self._budget.rate = min(most, max(most / 64, self._budget.rate * factor))

    @property
    def slowest(self) -> bool:
        """Whether its budget cannot be made smaller."""
        return self._budget.rate <= self._settings.max_events / 64

    def narrow(self, wanted: Sequence[Matcher] | None) -> None:
        """Record only what one of them matches, from now on; None: everything."""
        if (wanted is None) != (self._wanted is None):
            self.lost += self._uncounted()  # what counts as lost was another thing until now
            if wanted is not None and self._resume is not None:
                self._resume.cancel()
                self._resumed()
        self._wanted = wanted

    def kept(self) -> Iterator[Event]:
        """Everything that is kept, in no order."""
        return joined(self.history(), self.connections, *self.rings.values())

    def history(self) -> list[CallEvent]:
        """Finished calls, oldest first; failed ones reach back further than the others."""
        recent = set(map(id, self.calls))
        return [call for call in self.failed if id(call) not in recent] + list(self.calls)

    # -- recording

    def _keep(self, event: Event) -> None:
        if not self._attended:
            return
        if len(self.queue) < _MAX_QUEUE:
            self.queue.append(event)
        else:
            self.lost += 1

    def _published(self, event: Published) -> None:
        now = self._now()
        topic = event.topic
        if self._wanted is not None and not any(each.publish(topic, event.event) for each in self._wanted):
            return
        if not self._budget.take(now):
            self._pause()
            if not (topic in self.focus and self._focused.take(now)):
                self.lost += self._wanted is not None
                return
        self._kept += not event.remote
        began = time.thread_time()
        data = self.redactor(None if event.remote else event.data) if not self.bare else msgspec.UNSET
        kept = PublishEvent(
            at=now,
            topic=topic,
            event=event.event,
            size=event.size,
            receivers=event.receivers,
            seq=event.seq,
            dropped=event.dropped,
            data=data,
            id=event.id,
            cause=event.cause,
            fault=event.fault,
        )
        self.deliveries.expect(kept, event.to)
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
        if self._wanted is not None and not self._wants_call(self._wanted, event):
            return
        if self._budget.take(self._now()):
            self._keep_call(event)
        else:
            self._pause()
            if event.code is not None or event.seconds >= SLOW_CALL:
                self._call_notable(event)
            elif self._wanted is not None:
                self.lost += 1

    @staticmethod
    def _wants_call(wanted: Sequence[Matcher], event: CallFinished) -> bool:
        ok, ms, carried = event.code is None, event.seconds * 1000, carries(event)
        return any(each.call(event.path, ok, ms, carried) for each in wanted)

    def _call_notable(self, event: CallFinished) -> None:
        if self._notable.take(self._now()):
            self._keep_call(event)
        elif self._wanted is not None:
            self.lost += 1

    def _pause(self) -> None:
        """Listen to what has a budget of its own only, until the common one has grown again."""
        if self._resume is not None or self._wanted is not None:
            return  # in a pause nobody would know how many of those that are not recorded were wanted
        self._tracing.calls = False
        telemetry = self._telemetry
        telemetry.call_finished.remove(self._call_finished)
        telemetry.call_notable.append(self._call_notable)
        if not self.focus:
            telemetry.published.remove(self._published)
        self._resume = asyncio.get_running_loop().call_later(_PAUSE, self._resumed)

    def _resumed(self) -> None:
        self._resume = None
        self._tracing.calls = True
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
        self.deliveries.look()
        events, self.queue = self.queue, []
        lost = self.lost + self._uncounted()
        self.lost = 0
        return events, lost

    def _uncounted(self) -> int:
        """Publishes and calls that were not recorded since the last time somebody asked, and are not in ``lost``."""
        count = self._count()
        lost = max(0, count - self._seen - self._kept) if self._wanted is None else 0
        self._kept = 0
        self._seen = count
        return lost

    def _keep_call(self, event: CallFinished) -> None:
        began = time.thread_time()
        kept = call_event(event, self._now(), self.redactor, payload=not self.bare)
        self._kept += 1
        self.calls.append(kept)
        if not kept.ok:
            self.failed.append(kept)
        self._keep(kept)
        self.spent += time.thread_time() - began

    def _connection_opened(self, event: ConnectionOpened) -> None:
        if self._attended:
            self.changes.opened.add(event.connection)
        self._keep_connection(
            ConnectionEvent(
                at=self._now(),
                connection=event.connection,
                what="open",
                user=event.user or "",
                address=event.address,
                id=self._tracing.number(),
            )
        )

    def _connection_closed(self, event: ConnectionClosed) -> None:
        if self._attended:
            self.changes.closed.add(event.connection)
        self._keep_connection(
            ConnectionEvent(
                at=self._now(),
                connection=event.connection,
                what="close",
                user=event.user or "",
                code=event.code,
                reason=event.reason,
                id=self._tracing.number(),
                cause=event.cause,
                fault=event.fault,
            )
        )

    def _keep_connection(self, event: ConnectionEvent) -> None:
        if self._wanted is None or any(each.connections for each in self._wanted):
            self.connections.append(event)
            self._keep(event)

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
