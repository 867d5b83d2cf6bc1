"""Questions of the server to its clients, and their answers (docs/protocol.md section 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from liverpc.errors import ErrorCode, LiveError, PushFailed
from liverpc.telemetry import Counters
from liverpc.wire.codec import encode

if TYPE_CHECKING:
    from liverpc.hub.connection import Connection

__all__ = ["Requests"]

_GONE = "the client is gone"


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
        self._open: dict[Connection, dict[int, asyncio.Future[Any]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    async def ask(self, connection: Connection, event: str, data: Any, seconds: float) -> Any:
        """See :meth:`liverpc.hub.connection.Connection.ask`."""
        self._numbers += 1
        ref = self._numbers
        payload = encode({"type": "request", "ref": ref, "event": event, "data": data})
        waiting = self._open.get(connection, {})
        if len(waiting) >= self._most:
            self._counters.requests_refused += 1
            raise LiveError(ErrorCode.OVERLOADED, f"the client has {self._most} requests to answer already, the limit")
        if connection.closed or not connection.send(payload):
            raise PushFailed(_GONE)
        self._open[connection] = waiting
        answer = waiting[ref] = asyncio.get_running_loop().create_future()
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
        answer = waiting.get(ref) if waiting is not None and type(ref) is int else None
        if answer is None or answer.done():
            return
        if isinstance(error, str):
            answer.set_exception(PushFailed(error))
        else:
            answer.set_result(data)

    def gone(self, connection: Connection) -> None:
        """The client left: nobody will answer."""
        for answer in self._open.pop(connection, {}).values():
            if not answer.done():
                answer.set_exception(PushFailed(_GONE))
