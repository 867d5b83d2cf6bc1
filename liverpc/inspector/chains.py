"""Which of the kept events led to which."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter

from liverpc.inspector.protocol import Event

__all__ = ["chain"]


def chain(events: Iterable[Event], number: int) -> list[Event]:
    """The events that led to one, itself, and those it led to; in this order, the closest relatives first.

    Args:
        events: All that are kept.
        number: Its id. It need not be kept itself, as long as what it led to is.
    """
    known: dict[int, Event] = {}
    effects: dict[int, list[Event]] = {}
    for event in events:
        if event.id:
            known[event.id] = event
            effects.setdefault(event.cause, []).append(event)
    found: list[Event] = []
    cause = number
    while cause in known:
        found.append(known.pop(cause))  # popped: a chain that bites its tail ends, too
        cause = found[-1].cause
    waiting = deque([number])
    while waiting:
        for effect in sorted(effects.pop(waiting.popleft(), ()), key=attrgetter("id")):
            if known.pop(effect.id, None) is not None:
                found.append(effect)
                waiting.append(effect.id)
    return found
