"""With which earlier event an event is compared."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent
from liverpc_devtools.core.diff import identity

__all__ = ["before"]


def before(event: Event, events: Iterable[Event]) -> Event | None:
    """The event that ``event`` is compared with; None when there is none.

    Of a call it is the last one of the same path before it. Of a publish it is the last one on its topic before it that
    was about the same item, and when nothing tells the item from others, the last one of the same name.

    Args:
        event: Connections are compared with nothing.
        events: In any order.
    """
    found: Iterable[Event] = ()
    if isinstance(event, CallEvent):
        found = (each for each in events if isinstance(each, CallEvent) and each.path == event.path)
    elif isinstance(event, PublishEvent) and event.data is not msgspec.UNSET:
        item = identity(event.data)
        found = (
            each
            for each in events
            if isinstance(each, PublishEvent)
            and each.topic == event.topic
            and each.data is not msgspec.UNSET
            and (identity(each.data) == item if item is not None else each.event == event.event)
        )
    return max((each for each in found if _place(each) < _place(event)), key=_place, default=None)


def _place(event: Event) -> tuple[float, int]:
    return event.at, (event.seq or 0) if isinstance(event, PublishEvent) else 0
