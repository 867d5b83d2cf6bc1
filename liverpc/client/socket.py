"""The seam between clients and what carries their messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from liverpc.wire.close import CloseCode

__all__ = ["Connector", "HandshakeRefused", "Socket", "SocketClosed"]


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


class Socket(Protocol):
    """One open connection to a server, as a client sees it."""

    async def send(self, text: str) -> None:
        """Hand one text message to the transport.

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


Connector = Callable[[], Awaitable[Socket]]  # opens one connection; raises HandshakeRefused or OSError
