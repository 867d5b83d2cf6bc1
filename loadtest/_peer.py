"""A connection that follows no rules.

It is on the standard library's sockets, which wait without keeping others from running as soon as Locust has patched
them.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from liverpc.config import Limits
from liverpc.contrib.locust.frames import CLOSE, PONG, TEXT, FrameReader, client_frame

__all__ = ["KEY", "PROMPT", "Aim", "Ended", "Peer", "call_frame", "text_frame"]

PROMPT = 5.0  # seconds, for what the server decides at once; a busy machine may need some
KEY = bytes(4)  # masks nothing; any key is allowed
_DRIP_SECONDS = 1.0  # between two bytes of who is slow on purpose


class Aim(msgspec.Struct, frozen=True):
    """The server that is attacked."""

    url: str  #: ``ws://`` or ``wss://``
    limits: Limits  #: its own

    def dial(self, timeout: float, receive_buffer: int = 0) -> socket.socket:
        """A TCP connection, with TLS where the URL wants it; ``receive_buffer``: bytes, 0 is the system's choice.

        Raises:
            OSError: There is none.
        """
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, parts.port or (443 if parts.scheme == "wss" else 80), type=socket.SOCK_STREAM
        )[0]
        connection = socket.socket(family, kind, protocol)
        try:
            if receive_buffer:  # decides the window, so it comes before the connection
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(timeout)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "wss":
                connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise
        return connection

    def request(self, *, query: str = "", headers: str = "", method: str = "GET", path: str = "") -> bytes:
        """The head of a request; without ``method`` and ``path`` that of a WebSocket handshake.

        ``headers``: whole lines, each with its end.
        """
        parts = urlsplit(self.url)
        head = (
            f"{method} {path or parts.path or '/ws'}{'?' + query if query else ''} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        )
        if not path:
            head += (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            )
        return f"{head}{headers}\r\n".encode()


class Ended(Exception):
    """A connection is over, or silent for too long; the only argument says how, in a word or two."""


class Peer:
    """One connection, on which everything can be sent.

    Attributes:
        answers: What comes but for the welcome and keep-alives, decoded; ends as :meth:`messages` does.

    Args:
        aim: The server.
        patience: Seconds for all that is done with it.
        receive_buffer: As of :meth:`Aim.dial`.

    Raises:
        Ended: There is no connection.
    """

    def __init__(self, aim: Aim, patience: float, *, receive_buffer: int = 0) -> None:
        self.aim = aim
        self.until = time.monotonic() + patience
        self._reader = FrameReader(1 << 30)
        self._waiting: list[bytes] = []
        self.answers = self._read()
        try:
            self._socket = aim.dial(patience, receive_buffer)
        except OSError as error:
            raise Ended(f"no connection: {error.strerror or error}") from None

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; when the server does not want them any more, receiving tells why.

        Raises:
            Ended: It takes none for too long.
        """
        self._patiently()
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise Ended("takes no bytes") from None
        except OSError:
            pass

    def call(self, path: str, *args: Any, **members: Any) -> None:
        """Send a call as any client would; raises as :meth:`send`."""
        self.send(call_frame(path, *args, ref="1", **members))

    def drip(self, data: bytes) -> None:
        """Send a byte at a time.

        Raises:
            Ended: The server lost its patience, or answered.
        """
        for byte in data:
            self.send(bytes((byte,)))
            self._socket.settimeout(_DRIP_SECONDS)
            try:
                answer = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
            raise Ended("answers" if answer else "cut")

    def open(self, *, query: str = "", headers: str = "") -> None:
        """Become a WebSocket.

        Raises:
            Ended: The server does not want that: ``http`` and the status, once it has closed the connection.
        """
        self.send(self.aim.request(query=query, headers=headers))
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.receive()
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 "):
            raise Ended("no HTTP")
        status = head[9:12].decode(errors="replace")
        if status != "101":
            self._until_cut(f"http {status}")
        self._waiting = self._reader.feed(rest)

    def receive(self, most: int = 1 << 16) -> bytes:
        """The next bytes.

        Raises:
            Ended: ``cut`` when there will be none, ``silence`` when none come.
        """
        self._patiently()
        try:
            data = self._socket.recv(most)
        except TimeoutError:
            raise Ended("silence") from None
        except OSError:
            data = b""
        if not data:
            raise Ended("cut")
        return data

    def messages(self, most: int = 1 << 16) -> list[bytes]:
        """What the next bytes complete, perhaps nothing.

        Raises:
            Ended: As :meth:`receive`, and ``close`` with the code of the goodbye.
        """
        if self._waiting:
            messages, self._waiting = self._waiting, []
            return messages
        end = self._reader.end
        if end is not None:
            if end.violation:
                raise Ended(f"breaks the protocol: {end.reason}")
            self.send(client_frame(CLOSE, end.code.to_bytes(2, "big"), KEY))
            self._until_cut(f"close {end.code}")
        messages = self._reader.feed(self.receive(most))
        if self._reader.ping is not None:  # whoever reads is not dropped for silence
            payload, self._reader.ping = self._reader.ping, None
            self.send(client_frame(PONG, payload, KEY))
        return messages

    def _read(self) -> Iterator[dict[str, Any]]:
        while True:
            for message in self.messages():
                frame = json.loads(message)
                if frame.get("type") not in ("welcome", "ping"):
                    yield frame

    def _patiently(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise Ended("silence")
        self._socket.settimeout(left)

    def _until_cut(self, how: str) -> None:
        self.until = min(self.until, time.monotonic() + PROMPT)
        try:
            while True:
                self.receive()
        except Ended as ended:
            if ended.args != ("cut",):
                how += ", but not cut"
        raise Ended(how)


def call_frame(path: str, *args: Any, ref: str, **members: Any) -> bytes:
    """A call; ``members``: more of its members."""
    return text_frame(json.dumps({"rpc": path, "id": ref, "args": args, **members}))


def text_frame(text: str) -> bytes:
    """A client's text message."""
    return client_frame(TEXT, text.encode(), KEY)
