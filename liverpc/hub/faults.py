"""What the hub asks while faults are injected on purpose, and what such a fault gives a caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from liverpc.errors import LiveError

if TYPE_CHECKING:
    from liverpc.hub.connection import Connection
    from liverpc.hub.topic import TopicState

__all__ = ["DeliveryGate", "FaultGate", "Injected"]


class Injected(LiveError):
    """An error that a fault gives on purpose.

    Attributes:
        fault: Its name, such as ``error#3``.
    """

    fault = ""


class FaultGate(Protocol):
    """The faults in force. It is asked only while there are any."""

    @property
    def active(self) -> int:
        """How many there are."""
        ...

    @property
    def singly(self) -> bool:
        """Whether events have to be handed out one by one, to find out what befell each."""
        ...

    def drops(self, topic: str, event: str) -> str:
        """The name of what loses this publish; empty: nothing does.

        Called once per publish of an application topic, in order, before its fan-out.
        """
        ...

    def arrived(self) -> None:
        """Called before an event of another node is handed out, where it was decided whether to drop it."""
        ...

    def struck(self, topic: str) -> str:
        """What befell deliveries of the event that was handed out last, if it was one of this topic; empty: nothing."""
        ...

    def load(self, topic: str, path: str, connection: Connection) -> None:
        """Called before a stream request is answered with a value.

        Raises:
            Injected: A fault takes the loader's place.
        """
        ...

    def call(self, path: str, connection: Connection) -> None:
        """Called before an upload begins.

        Raises:
            Injected: A fault takes the handler's place.
        """
        ...

    def opened(self, connection: Connection) -> None:
        """There is a new connection, with no subscription yet."""
        ...


class DeliveryGate(Protocol):
    """What events pass on their way to one connection."""

    @property
    def held(self) -> int:
        """Events that wait for their time."""
        ...

    def through(self, topic: TopicState, send: Callable[..., object]) -> Callable[..., object]:
        """``send``, or what takes its place for the events of a topic."""
        ...

    def loading(self, topic: TopicState) -> None:
        """A value of the topic is about to be loaded, with all that was published: nothing of it may come later."""
        ...

    def gone(self) -> str:
        """The connection is closed: forget what is held. Returns the name of the fault that closed it, or nothing."""
        ...
