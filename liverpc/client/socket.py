"""The seam between clients and what carries their messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, runtime_checkable

from liverpc.wire.close import CloseCode

__all__ = ["BulkSocket", "Connector", "HandshakeRefused", "PreflightFailed", "Socket", "SocketClosed"]


class SocketClosed(Exception):
    """The socket is closed, by whichever side.

    Attributes:
        code: WebSocket close code; 1006 when it was lost without a goodbye, 1005 when the goodbye had none.
        reason: The peer's words, often empty.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(code, reason)


class HandshakeRefused(Exception):
    """The server answered the request for a connection with an HTTP status.

    Attributes:
        status: The HTTP status, for example 403.
        text: The body of the answer.
    """

    def __init__(self, status: int, text: str = "") -> None:
        self.status = status
        self.text = text
        super().__init__(status, text)


class PreflightFailed(Exception):
    """The auth request that precedes the handshake did not succeed.

    Attributes:
        status: The HTTP status; None when there was no answer.
        reason: The body of the answer, or what went wrong.
    """

    def __init__(self, status: int | None, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(status, reason)


class Socket(Protocol):
    """One open connection to a server, as a client sees it."""

    async def send(self, message: str | bytes) -> None:
        """Hand one message to the transport: text, or binary when it is bytes.

        Raises:
            SocketClosed: The connection is closed; the message went nowhere.
        """
        ...

    async def recv(self) -> str | bytes:
        """The next message.

        Raises:
            SocketClosed: The connection is closed and everything received was handed out.
        """
        ...

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and wait until the connection is gone. Harmless when it is closed already."""
        ...


@runtime_checkable
class BulkSocket(Protocol):
    """A socket that can hand many messages to the network at once."""

    async def send_all(self, messages: Iterator[str | bytes]) -> None:
        """Hand messages to the transport, in order and as few pieces as possible.

        Messages are taken from the iterator when their turn has come: while the transport takes nothing,
        the rest stays there.

        Raises:
            SocketClosed: The connection is closed; messages that were taken went nowhere.
        """
        ...


# Opens one connection; raises PreflightFailed, HandshakeRefused or OSError.
Connector = Callable[[], Awaitable[Socket]]
