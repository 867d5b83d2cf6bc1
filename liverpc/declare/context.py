"""``ctx``: what a handler knows of its caller and may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Self, overload

import msgspec

from liverpc._types import PartialEvent, Topic, User
from liverpc.declare.occupancy import Occupancy
from liverpc.declare.replies import Slot
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.people import Messages, People
from liverpc.policies.admission import Admission
from liverpc.policies.pacing import Pacing
from liverpc.policies.pressure import Pressure, PressureGauge
from liverpc.policies.running import RunningPolicies
from liverpc.telemetry import Trace
from liverpc.wire.frames import CallFrame

if TYPE_CHECKING:
    from typing import TypeVar

    D = TypeVar("D")

__all__ = ["Context", "Services"]

_REMEMBERED = 20  # topics a call published to, for the devtools


class Services(msgspec.Struct):
    """What of a server the contexts of its calls reach."""

    hub: Hub
    pacing: Pacing
    pressure: PressureGauge
    admission: Admission
    report: Callable[[str, BaseException, Any], object]  #: (path, error, ctx): an exception nobody expected
    rooms: Occupancy
    policies: RunningPolicies
    refresh: Callable[[Connection], Awaitable[bool]]  #: asks again who it is; False: it is closed


# A struct: one is made for every call, in a third of the time a class with __init__ takes.
class Context(Messages, msgspec.Struct, Generic[User], eq=False):
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
    slot: Slot | None = None  # of a call that has no reply of its own
    started_at: float = 0.0  # loop time
    published: list[str] | None = None  # topics, for the devtools
    asked: CallFrame | None = None  # of a stream request, or a call that may carry a key: what the client wants
    data: bytes = b""  # of a binary call
    served: object = None  # of a call to a contract: what the connection had open under its name when it came
    trace: Trace | None = None  # while somebody traces
    _state: dict[str, Any] | None = None

    @property
    def user(self) -> User:
        """What ``on_connect`` returned, or its ``user`` if that was a ``liverpc.Locals``; None for anonymous."""
        user: User = self.connection.user
        return user

    @property
    def locals(self) -> Any:
        """What ``on_connect`` returned, exactly; ``user`` is its ``user`` when that was a ``liverpc.Locals``."""
        return self.connection.locals

    @property
    def cursor(self) -> Any:
        """For a loader: where the page begins that the client asks for, as in the last page's ``cursor``; it came from
        the client, so it may be any JSON. None: the first page.
        """
        return None if self.asked is None else self.asked.cursor

    @property
    def _people(self) -> People:
        return self.services.hub.people

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
    def publish(self, topic: Topic[Any], event: PartialEvent, data: object, /) -> None: ...
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
        self.remember(name)

    def batch(self, messages: Iterable[tuple[Topic[Any] | str, str, Any]], /) -> None:
        """Publish several ``(topic, event, data)``, in order; otherwise as :meth:`publish`.

        Raises:
            LiveError: ``INVALID_TOPIC`` for a reserved or malformed topic; then none of them was published.
            TypeError: Some data has no JSON form; then none was published either.
        """
        named = [(topic.name if isinstance(topic, Topic) else topic, event, data) for topic, event, data in messages]
        self.services.hub.publish_batch(named)
        for name, _, _ in named:
            self.remember(name)

    @overload
    def throttle(self, topic: Topic[D], event: str, data: D, interval: float, /) -> None: ...
    @overload
    def throttle(self, topic: str, event: str, data: object, interval: float, /) -> None: ...
    def throttle(self, topic: Any, event: str, data: Any, interval: float, /) -> None:
        """Publish at most once in ``interval`` seconds: the first value at once, then the last of each interval.

        The last value is always sent. Values are told apart by topic, event and their field ``key``, or ``id``
        when they have no ``key``, so that one cursor does not displace another. What waits comes behind what is
        published meanwhile. Beyond ``limits.paced_keys`` of them, values are published at once.

        Args:
            topic: As for :meth:`publish`.
            event: As for :meth:`publish`.
            data: As for :meth:`publish`; it is kept as it is now.
            interval: Seconds, more than 0.

        Raises:
            LiveError: ``INVALID_TOPIC`` as for :meth:`publish`; ``INVALID_ARG`` for an unusable interval.
            TypeError: ``data`` has no JSON form.
        """
        name = topic.name if isinstance(topic, Topic) else topic
        self.services.pacing.throttle(name, event, data, interval, self)
        self.remember(name)

    @overload
    def debounce(self, topic: Topic[D], event: str, data: D, interval: float, /) -> None: ...
    @overload
    def debounce(self, topic: str, event: str, data: object, interval: float, /) -> None: ...
    def debounce(self, topic: Any, event: str, data: Any, interval: float, /) -> None:
        """Publish the last value, once none came for ``interval`` seconds; otherwise as :meth:`throttle`."""
        name = topic.name if isinstance(topic, Topic) else topic
        self.services.pacing.debounce(name, event, data, interval, self)
        self.remember(name)

    def skip(self, key: str, seconds: float, /) -> bool:
        """Whether this was done less than ``seconds`` ago; if not, it counts as done now.

        ``if not ctx.skip(f"mail:{ctx.user.id}", 60.0): send_mail()``. Keys belong to the path that is called.
        When ``limits.paced_keys`` of them cool down already, nothing is skipped.

        Args:
            key: 1 to 256 characters.
            seconds: More than 0.

        Raises:
            LiveError: ``INVALID_ARG`` for any other key or time.
        """
        return self.services.pacing.skip(self.path, key, seconds)

    async def refresh(self) -> None:
        """Ask ``on_connect`` again who the caller is, and whatever the connection listens to whether it still may.

        For when what the user may do has changed, or its session was made longer. ``user`` and ``locals`` are the new
        ones then. Streams, topics and rooms that are refused now have ended. A connection that is refused itself,
        whose session is over, or which belongs to another user now is closed, and this call with it. docs/users.md
        says more.

        Raises:
            Exception: What ``on_connect`` raised, or a TimeoutError after ``limits.connect_seconds``; the connection is
                as it was.
            RuntimeError: There is no client, as in ``server.load``; or this is what a refresh asks, such as a guard.
        """
        if not await self.services.refresh(self.connection):
            raise asyncio.CancelledError

    def anew(self) -> Self:
        """The same for asking a guard again: what an earlier one has left is gone."""
        return msgspec.structs.replace(self, asked=None, slot=None, published=None, trace=None, _state=None)

    @property
    def pressure(self) -> Pressure:
        """How hard the server works; about a second old at most. The first look starts the measuring."""
        return self.services.pressure.read()

    def shed(self, class_of_service: str, /) -> bool:
        """Whether work of this class should be refused now, by the rules of ``LiveServer.admission``.

        Raises:
            LiveError: ``INVALID_REQUEST``: there are rules, but none for this class.
        """
        return self.services.admission.sheds(class_of_service)

    def remember(self, topic: str) -> None:
        """This call published on a topic; for the devtools."""
        if self.published is None:
            self.published = [topic]
        elif len(self.published) < _REMEMBERED:
            self.published.append(topic)

    def enters(self, step: str) -> None:
        """The call's next step begins; for the devtools."""
        if self.trace is not None:
            self.trace.enters(step)

    def __repr__(self) -> str:
        return f"<Context of {self.path} for {self.connection.user_id or 'anonymous'}>"
