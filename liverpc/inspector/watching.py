"""The events that one observer is told of: what it watches, and within which budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from liverpc.config import Inspect
from liverpc.inspector.answers import newest
from liverpc.inspector.bucket import Bucket
from liverpc.inspector.matching import Matcher
from liverpc.inspector.protocol import Budget, CallEvent, Event, Events, Watch
from liverpc.inspector.protocol.frames import Limits
from liverpc.inspector.view import View
from liverpc.telemetry import SLOW_CALL
from liverpc.wire.names import MAX_TOPIC_LENGTH

__all__ = ["Watching", "granted"]

_MAX_WATCHES = 16
_MAX_GLOBS = 16  # in a watch
_MAX_BYTES = 512 * 1024  # of events in one frame
_MAX_WAITING = 4096  # events kept for one observer between two flushes
_MAX_BYTES_PER_SECOND = 1 << 20


def granted(wanted: Budget, settings: Inspect) -> Budget:
    """What an observer gets of the budget it wants: at most twice what the server captures, and 1 MiB per second."""
    return Budget(
        min(max(0.0, wanted.events), 2 * settings.max_events), min(max(0.0, wanted.bytes), _MAX_BYTES_PER_SECOND)
    )


class _Watched:
    __slots__ = ("_share", "wants", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.wants = Matcher(watch.match)
        self._share = 1 - watch.sample  # the first one is told

    def chosen(self) -> bool:
        """Whether the next event that it wants belongs to the sample."""
        self._share += self.watch.sample
        if self._share < 1 - 1e-9:  # a tenth, ten times, is a little less than 1
            return False
        self._share -= 1
        return True


class Watching:
    """The watches of one observer, and the events that wait for the next flush.

    Args:
        view: What the observer may see.
        budget: What it was granted.
        monotonic: Loop time.

    Attributes:
        credit: How many events more it allows.
    """

    def __init__(self, view: View, budget: Budget, monotonic: Callable[[], float]) -> None:
        self._view = view
        self._now = monotonic
        self._watches: dict[int, _Watched] = {}
        self._waiting: list[Event] = []
        self._lost = 0
        self.credit = Limits.INITIAL_CREDIT
        now = monotonic()
        self._events = Bucket(budget.events, now)
        self._notable = Bucket(budget.events / 4, now)  # failed and slow calls besides
        self._bytes = Bucket(budget.bytes, now)

    # -- watches

    def watch(self, watch: Watch) -> str | None:
        """Begin or replace a watch; why not, if that cannot be."""
        if len(self._watches) >= _MAX_WATCHES and watch.id not in self._watches:
            return f"at most {_MAX_WATCHES} watches; end one first"
        globs = watch.match.topic, watch.match.path, watch.match.event
        if any(len(each) > _MAX_GLOBS or any(len(g) > MAX_TOPIC_LENGTH for g in each) for each in globs):
            return f"at most {_MAX_GLOBS} globs of {MAX_TOPIC_LENGTH} characters; watch less at once"
        if not 0 < watch.sample <= 1:
            return f"a sample is a share above 0 and at most 1, not {watch.sample:g}"
        self._watches[watch.id] = _Watched(watch)
        return None

    def unwatch(self, number: int) -> None:
        """End a watch. Unknown ones are no error."""
        self._watches.pop(number, None)

    def watches(self) -> Iterator[tuple[Watch, Matcher]]:
        """What is watched."""
        return ((each.watch, each.wants) for each in self._watches.values())

    # -- events

    def offer(self, event: Event) -> None:
        """Keep an event for the next flush, if a watch wants it and the observer may see it."""
        for each in self._watches.values():
            if not each.wants(event):
                continue
            seen = self._view.event(event, each.watch.payload)
            if seen is None:
                return
            if each.chosen():
                if self.credit > 0 and len(self._waiting) < _MAX_WAITING and self._affords(event):
                    self.credit -= 1
                    self._waiting.append(seen)
                else:
                    self._lost += 1
                return

    def _affords(self, event: Event) -> bool:
        now = self._now()
        if self._events.take(now):
            return True
        notable = isinstance(event, CallEvent) and (not event.ok or event.ms >= SLOW_CALL * 1000)
        return notable and self._notable.take(now)

    def miss(self, lost: int) -> None:
        """So many events were not captured, of which the observer is to be told later."""
        if not self._view.scoped:
            self._lost += lost

    def flush(self, lost: int, sample: float) -> Events | None:
        """What was kept, for sending; None: there is nothing to tell.

        Args:
            lost: Events not captured at all.
            sample: Share of all events captured lately.
        """
        self.miss(lost)
        lost = self._lost
        if not self._waiting and not (lost and self._watches):
            return None
        now = self._now()
        items, left_out, size = newest(self._waiting, min(_MAX_BYTES, int(self._bytes.level(now))))
        self._bytes.take(now, size)
        lost += left_out
        self._waiting = []
        self._lost = 0
        return Events(items=items, lost=lost if self._watches else 0, sample=round(sample, 4))
