"""Publishing from outside handlers."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from liverpc._types import PartialEvent, Topic
from liverpc.hub.hub import Hub
from liverpc.hub.people import Messages, People

__all__ = ["Publisher"]

D = TypeVar("D")


class Publisher(Messages):
    """Publishes for the application itself, which may use reserved topics, too. A ``LiveServer`` is one."""

    _hub: Hub

    @property
    def _people(self) -> People:
        return self._hub.people

    @overload
    def publish_nowait(self, topic: Topic[Any], event: PartialEvent, data: object, /) -> None: ...
    @overload
    def publish_nowait(self, topic: Topic[D], event: str, data: D, /) -> None: ...
    @overload
    def publish_nowait(self, topic: str, event: str, data: object, /) -> None: ...
    def publish_nowait(self, topic: Any, event: str, data: Any, /) -> None:
        """Send an event to all subscribers of a topic. To be called on the server's event loop.

        Raises:
            LiveError: ``INVALID_TOPIC`` for a malformed topic. Reserved topics (``__…``) are allowed here.
            TypeError: ``data`` has no JSON form.
        """
        name = topic.name if isinstance(topic, Topic) else topic
        self._hub.publish(name, event, data, internal=name.startswith("__"))

    @overload
    async def publish(self, topic: Topic[Any], event: PartialEvent, data: object, /) -> None: ...
    @overload
    async def publish(self, topic: Topic[D], event: str, data: D, /) -> None: ...
    @overload
    async def publish(self, topic: str, event: str, data: object, /) -> None: ...
    async def publish(self, topic: Any, event: str, data: Any, /) -> None:
        """As :meth:`publish_nowait`; returns when the event was numbered and handed out."""
        self.publish_nowait(topic, event, data)
