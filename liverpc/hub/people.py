"""What a server says to one user: questions, notes and signals (docs/protocol.md section 4)."""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast, overload

import msgspec

from liverpc.errors import ErrorCode, LiveError, PushFailed
from liverpc.hub.connection import Connection
from liverpc.hub.requests import Requests, Undelivered
from liverpc.wire.codec import encode, event_head, event_payload, event_prefix
from liverpc.wire.frames import SIGNAL_PREFIX
from liverpc.wire.names import topic_fault

__all__ = ["INVALID_USER_ID", "Messages", "People"]

T = TypeVar("T")

INVALID_USER_ID = "INVALID_USER_ID"


class _Person:
    """A user who is connected."""

    __slots__ = ("connections", "signals")

    def __init__(self) -> None:
        self.connections: dict[Connection, None] = {}  # the newest one last
        self.signals = 0  # that were sent to it


class People:
    """The connected users of a server, and what it says to them. Anonymous clients are nobody.

    Args:
        requests: Of the server.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._of: dict[str, _Person] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, connection: Connection) -> None:
        """A connection is open; it is its user's newest one."""
        if connection.user_id is not None:
            self._of.setdefault(connection.user_id, _Person()).connections[connection] = None

    def remove(self, connection: Connection) -> None:
        """It is gone. Harmless when it was never added."""
        person = self._of.get(connection.user_id) if connection.user_id is not None else None
        if person is not None and person.connections.pop(connection, self) is None and not person.connections:
            del self._of[cast("str", connection.user_id)]

    def connections(self, user: str) -> list[Connection]:
        """The connections of a user, the newest one first."""
        person = self._of.get(user)
        return [] if person is None else list(reversed(person.connections))

    async def push(self, user: str, event: str, data: Any, seconds: float, returns: Any) -> Any:
        """See :meth:`Messages.push`."""
        _check(user, event)
        given: object = seconds
        if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < math.inf:
            raise LiveError(ErrorCode.VALIDATION, f"the timeout of a push is a number of seconds above 0: {seconds!r}")
        refusal = LiveError(ErrorCode.NOT_FOUND, f"the user {user!r} is not connected")
        for connection in self.connections(user):
            try:
                ref = self._requests.send(connection, event, data)
            except Undelivered:  # it has just left
                continue
            except LiveError as error:  # it has too much to answer
                refusal = error
                continue
            answer = await self._requests.answer(connection, ref, event, seconds)
            try:
                return answer if returns is Any else msgspec.convert(answer, returns)
            except msgspec.ValidationError as error:
                raise PushFailed(f"the client's answer to {event!r} does not fit: {error}") from None
        raise refusal

    def notify(self, user: str, event: str, data: Any) -> None:
        """See :meth:`Messages.notify`."""
        _check(user, event)
        payload = self._requests.note(event, data)
        for connection in self.connections(user):
            if not connection.closed and connection.send(payload):
                return

    def signal(self, user: str, event: str, data: Any) -> None:
        """See :meth:`Messages.signal`."""
        if (fault := topic_fault(user)) is not None:
            raise LiveError(INVALID_USER_ID, f"the user id {fault}")
        if (fault := topic_fault(event, reserved=True)) is not None:
            raise LiveError(ErrorCode.VALIDATION, f"the event of a signal {fault}")
        encoded = encode(data)
        person = self._of.get(user)
        listening = [each for each in person.connections if each.signals] if person is not None else []
        if person is None or not listening:
            return
        person.signals += 1
        payload = event_payload(event_head(event_prefix(SIGNAL_PREFIX + user), event), encoded, person.signals)
        for connection in listening:
            connection.send(payload)


def _check(user: object, event: object) -> None:
    if (fault := topic_fault(user)) is not None:
        raise LiveError(ErrorCode.VALIDATION, f"the user id {fault}")
    if (fault := topic_fault(event, reserved=True)) is not None:
        raise LiveError(ErrorCode.VALIDATION, f"the event {fault}")


class Messages:
    """Says something to the clients of one user; a ``LiveServer`` and every ``ctx`` can.

    A user is named by the id that ``identify`` gives; anonymous clients cannot be reached so.
    """

    __slots__ = ()

    @property
    def _people(self) -> People:
        raise NotImplementedError  # of whoever mixes this in; structs cannot be abstract

    @overload
    async def push(
        self,
        user: str,
        event: str,
        data: object = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - part of the question
    ) -> Any: ...
    @overload
    async def push(
        self,
        user: str,
        event: str,
        data: object = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - part of the question
        returns: type[T],
    ) -> T: ...
    async def push(
        self,
        user: str,
        event: str,
        data: object = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - part of the question
        returns: Any = Any,
    ) -> Any:
        """Ask a user something, and wait for the answer.

        The connection that was opened last is asked; when it cannot be reached, the one before. Once the question
        was sent nobody else is asked.

        Args:
            user: The user's id.
            event: Which of the client's handlers is asked.
            data: For it; anything with a JSON form.
            timeout: Seconds to wait for the answer.
            returns: What the answer has to be. Default: the decoded JSON as it came.

        Raises:
            PushFailed: The client answered with an error, whose text this is, or with something else than ``returns``,
                or left.
            LiveError: ``NOT_FOUND``: the user is not connected. ``TIMEOUT``. ``OVERLOADED``: all connections of the
                user have ``limits.requests_in_flight`` to answer. ``VALIDATION``: id, event or timeout are unusable.
            TypeError: ``data`` has no JSON form.
        """
        return await self._people.push(user, event, data, timeout, returns)

    def notify(self, user: str, event: str, data: object = None) -> None:
        """Tell a user something: as :meth:`push`, without an answer. Whether anybody hears it does not matter.

        Raises:
            LiveError: ``VALIDATION``: id or event are unusable.
            TypeError: ``data`` has no JSON form.
        """
        self._people.notify(user, event, data)

    def signal(self, user: str, event: str, data: object = None) -> None:
        """Send an event to all connections of a user, save those whose ``signals`` is False.

        Nobody else can listen to it. Whether anybody hears it does not matter.

        Raises:
            LiveError: ``INVALID_USER_ID``; ``VALIDATION``: the event is unusable.
            TypeError: ``data`` has no JSON form.
        """
        self._people.signal(user, event, data)
