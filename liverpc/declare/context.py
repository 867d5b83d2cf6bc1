"""``ctx``: what a handler knows of its caller and may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, overload

import msgspec

from liverpc._types import Topic, User
from liverpc.declare.replies import BatchSlot
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub

if TYPE_CHECKING:
    from typing import TypeVar

    D = TypeVar("D")

__all__ = ["Context", "Services"]

_REMEMBERED = 20  # topics a call published to, for the devtools


class Services(msgspec.Struct):
    """What of a server the contexts of its calls reach."""

    hub: Hub


# A struct: one is made for every call, in a third of the time a class with __init__ takes.
class Context(msgspec.Struct, Generic[User], eq=False):
    """The first argument of every handler, guard and hook; one per call.

    Using it after the call ended, or after the client left, is harmless.

    Attributes:
        connection: The caller's socket.
        path: The path that was called.
        state: For guards to leave something for later guards and the handler; empty at the start.
    """

    services: Services
    connection: Connection
    path: str
    call: str | None = None  # the client's id of the call; None: nobody waits for an answer
    slot: BatchSlot | None = None  # of a call in a batch
    started_at: float = 0.0  # loop time
    published: list[str] | None = None  # topics, for the devtools
    _state: dict[str, Any] | None = None

    @property
    def user(self) -> User:
        """What ``on_connect`` returned, exactly; None for anonymous."""
        user: User = self.connection.user
        return user

    @property
    def request_id(self) -> str:
        """The id of the handshake request: ``X-Request-ID`` if it was usable, else made up."""
        return self.connection.request_id

    @property
    def state(self) -> dict[str, Any]:
        if self._state is None:
            self._state = {}
        return self._state

    @overload
    def publish(self, topic: Topic[D], event: str, data: D, /) -> None: ...
    @overload
    def publish(self, topic: str, event: str, data: object, /) -> None: ...
    def publish(self, topic: Any, event: str, data: Any, /) -> None:
        """Send an event to all subscribers of a topic, the caller included; it arrives before the reply.

        Returns at once. ``data`` is encoded now, so later changes to it do not matter.

        Args:
            topic: A name, or ``stream.topic(...)``, which also checks the type of ``data``.
            event: For ``crud`` streams ``created``, ``updated``, ``deleted``; see docs/streams.md.
            data: Anything with a JSON form.

        Raises:
            LiveError: ``INVALID_TOPIC`` for a reserved (``__…``) or malformed topic.
            TypeError: ``data`` has no JSON form.
        """
        name = topic.name if isinstance(topic, Topic) else topic
        self.services.hub.publish(name, event, data)
        if self.published is None:
            self.published = [name]
        elif len(self.published) < _REMEMBERED:
            self.published.append(name)

    def __repr__(self) -> str:
        return f"<Context of {self.path} for {self.connection.user_id or 'anonymous'}>"
