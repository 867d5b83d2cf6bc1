"""What the server says to the user of a client, on all connections of that user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liverpc.client.convert import read_json
from liverpc.client.listeners import Listeners
from liverpc.wire.frames import EventFrame

__all__ = ["Signals"]


class Signals:
    """Who wants to hear which signals. Nobody else's reach a client, so only their names tell them apart."""

    def __init__(self) -> None:
        self._of: dict[str, Listeners[Any]] = {}

    def on(self, event: str, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Tell it the data of each signal of this name from now on. Returns what ends that."""
        return self._of.setdefault(event, Listeners()).add(callback)

    def take(self, frame: EventFrame) -> None:
        """A signal has come; one that nobody wants is not decoded."""
        listeners = self._of.get(frame.event)
        if listeners:
            listeners.tell(read_json(frame.data))
