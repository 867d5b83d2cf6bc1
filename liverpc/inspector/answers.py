"""What observers get when they ask: kept events, what runs, who listens, what is declared."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from liverpc.config import Level
from liverpc.hub.topic import Subscription
from liverpc.inspector.chains import chain
from liverpc.inspector.protocol import Err, Event, Get, Got, SubscriptionInfo
from liverpc.inspector.telling import encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverpc.inspector.inspector import Inspector
    from liverpc.inspector.view import View

__all__ = ["Answers", "newest"]

_MAX_BYTES = 512 * 1024  # of events in one frame
_MAX_CHAIN = 200  # events
_MAX_SUBSCRIPTIONS = 500
_FORMS = (
    '["stream", topic], ["calls"], ["call", connection, call], ["chain", id], ["subscribers", topic],'
    ' ["subscriptions", connection] or ["declared"]'
)


class _Refused(Exception):
    """With a sentence for the observer."""


class Answers:
    """Answers one observer.

    Args:
        inspector: Of the server.
        view: What the observer may see.
        may: Whether it has a level.
    """

    def __init__(self, inspector: Inspector, view: View, may: Callable[[Level], bool]) -> None:
        self._inspector = inspector
        self._view = view
        self._may = may

    def answer(self, get: Get) -> Got | Err:
        """The answer, or why there is none."""
        try:
            return self._answer(get)
        except _Refused as refused:
            return Err(id=get.id, text=str(refused))

    def _answer(self, get: Get) -> Got:
        tap = self._inspector.tap
        match get.ref:
            case ["calls", *_]:
                return self._events(get, tap.history())
            case ["stream", topic]:
                return self._events(get, tap.rings.get(topic, ()))
            case ["call", connection, call, *started_at] if len(started_at) <= 1:
                self._check("where a call waits is told")
                awaited = self._view.awaited(connection, call, *started_at)
                if awaited is None:
                    raise _Refused("it does not run any more")
                return Got(id=get.id, items=[], awaited=awaited)
            case ["chain", number]:
                return self._chain(get, number)
            case ["subscribers", topic]:
                self._check("who listens is told", scoped=True)
                return self._subscriptions(get, self._of_topic(topic))
            case ["subscriptions", connection]:
                self._check("what a connection listens to is told", scoped=True)
                return self._subscriptions(get, self._of_connection(connection))
            case ["declared"]:
                self._check("what is declared is told")
                users = self._inspector.trials.users if self._may("admin") else []
                return Got(id=get.id, items=[], declared=self._inspector.declared.told(users))
        raise _Refused(f"get takes {_FORMS}")

    def _check(self, what: str, *, scoped: bool = False) -> None:
        """Whether the observer has level ``observe`` and, unless ``scoped`` ones may, a token for all topics."""
        if not self._may("observe") or (self._view.scoped and not scoped):
            raise _Refused(f"{what} at level observe{'' if scoped else ', to tokens for all topics'}")

    # -- events

    def _events(self, get: Get, events: Iterable[Event]) -> Got:
        seen = [shown for event in events if (shown := self._view.event(event, True)) is not None]
        fitting, left_out, _ = newest(seen, _MAX_BYTES)
        return Got(id=get.id, items=fitting, left_out=left_out)

    def _chain(self, get: Get, text: str) -> Got:
        number = self._view.real_id(int(text)) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        found = chain(self._inspector.tap.kept(), number) if number else []
        seen = [shown for event in found if (shown := self._view.event(event, True)) is not None]
        if not seen:
            raise _Refused(f"no event {text:.20} is kept, nor one that it led to")
        fitting, left_out, _ = newest(sorted(seen[:_MAX_CHAIN], key=attrgetter("id")), _MAX_BYTES)
        return Got(id=get.id, items=fitting, left_out=left_out + max(0, len(seen) - _MAX_CHAIN))

    # -- who listens to what

    def _of_topic(self, name: str) -> Iterable[Subscription]:
        """Those of a topic, by the name that clients know."""
        topics = self._inspector.source.hub.topics
        topic = topics.get(name)
        if topic is None or topic.wire != name:
            topic = next((each for each in topics.values() if each.wire == name), None)
        if topic is None or not self._view.covers(name):
            raise _Refused(f"nobody is subscribed to {name[:256]!r}")
        return topic.subscriptions.values()

    def _of_connection(self, name: str) -> Iterable[Subscription]:
        connection = self._inspector.source.hub.connections.get(name)
        if connection is None or not self._view.shows(connection):
            raise _Refused("no such connection is open")
        return [each for each in connection.subscriptions.values() if self._view.covers(each.topic.wire)]

    def _subscriptions(self, get: Get, found: Iterable[Subscription]) -> Got:
        rows = [
            SubscriptionInfo(
                each.topic.wire,
                each.connection.id,
                each.connection.user_id or "",
                each.connection.link.buffered,
                each.held,
                each.live,
            )
            for each in found
        ]
        left_out = max(0, len(rows) - _MAX_SUBSCRIPTIONS)
        return Got(id=get.id, items=[], subscriptions=rows[:_MAX_SUBSCRIPTIONS], left_out=left_out)


def newest(events: list[Event], room: int) -> tuple[list[Any], int, int]:
    """As many of the newest events, encoded, as fit into so many bytes; how many older ones did not; bytes taken."""
    fitting: list[msgspec.Raw] = []
    taken = 0
    for event in reversed(events):
        told = encoded(event)
        if taken + len(told) > room:
            break
        taken += len(told)
        fitting.append(msgspec.Raw(told))
    fitting.reverse()
    return fitting, len(events) - len(fitting), taken
