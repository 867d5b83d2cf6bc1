"""Questions of the server to its clients, and their answers (docs/protocol.md section 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from liverpc.errors import ErrorCode, LiveError, PushFailed
from liverpc.telemetry import Counters
from liverpc.wire.codec import encode

if TYPE_CHECKING:
    from liverpc.hub.connection import Connection

__all__ = ["Requests", "Undelivered"]

_GONE = "the client is gone"


class Undelivered(PushFailed):
    """The question went nowhere."""


class _Question(NamedTuple):
    answer: asyncio.Future[Any]
    event: str
    asker: asyncio.Task[Any] | None


class Requests:
    """The open requests of one server.

    Args:
        most: How many of them one connection may have.
        counters: Of the server.
    """

    def __init__(self, most: int, counters: Counters) -> None:
        self._most = most
        self._counters = counters
        self._numbers = 0
        self._open: dict[Connection, dict[int, _Question]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    async def ask(self, connection: Connection, event: str, data: Any, seconds: float) -> Any:
        """See :meth:`liverpc.hub.connection.Connection.ask`."""
        return await self.answer(connection, self.send(connection, event, data), event, seconds)

    def asks(self, connection: Connection, task: asyncio.Task[Any] | None) -> bool:
        """Whether a task waits for an answer of this client."""
        return task is not None and any(each.asker is task for each in self._open.get(connection, {}).values())

    def asked_by(self, task: asyncio.Task[Any]) -> str:
        """The event of a question that a task waits for; empty when there is none."""
        questions = (each for waiting in self._open.values() for each in waiting.values())
        return next((each.event for each in questions if each.asker is task), "")

    def note(self, event: str, data: Any) -> bytes:
        """The payload of a question to whose answer nobody listens; TypeError when ``data`` has no JSON form."""
        self._numbers += 1
        return encode({"type": "request", "ref": self._numbers, "event": event, "data": data})

    def send(self, connection: Connection, event: str, data: Any) -> int:
        """Send a question; :meth:`answer` must follow.

        Returns:
            Its number.

        Raises:
            Undelivered: The client is gone.
            LiveError: ``OVERLOADED``.
            TypeError: ``data`` has no JSON form.
        """
        payload = self.note(event, data)
        ref = self._numbers
        waiting = self._open.get(connection, {})
        if len(waiting) >= self._most:
            self._counters.requests_refused += 1
            raise LiveError(ErrorCode.OVERLOADED, f"the client has {self._most} requests to answer already, the limit")
        if connection.closed or not connection.send(payload):
            raise Undelivered(_GONE)
        self._open[connection] = waiting
        waiting[ref] = _Question(asyncio.get_running_loop().create_future(), event, asyncio.current_task())
        return ref

    async def answer(self, connection: Connection, ref: int, event: str, seconds: float) -> Any:
        """Wait for the answer to a question that was sent just now."""
        waiting = self._open[connection]
        answer = waiting[ref].answer
        try:
            with connection.calls.asking():
                async with asyncio.timeout(seconds):
                    return await answer
        except TimeoutError:
            raise LiveError(ErrorCode.TIMEOUT, f"the client did not answer {event!r} within {seconds:g} s") from None
        finally:
            del waiting[ref]
            if not waiting:
                self._open.pop(connection, None)

    def answered(self, connection: Connection, ref: object, data: Any, error: object) -> None:
        """A reply came; those to no open request of this very connection mean nothing."""
        waiting = self._open.get(connection)
        question = waiting.get(ref) if waiting is not None and type(ref) is int else None
        if question is None or (answer := question.answer).done():
            return
        if isinstance(error, str):
            answer.set_exception(PushFailed(error))
        else:
            answer.set_result(data)

    def gone(self, connection: Connection) -> None:
        """The client left: nobody will answer."""
        for answer, *_ in self._open.pop(connection, {}).values():
            if not answer.done():
                answer.set_exception(PushFailed(_GONE))
