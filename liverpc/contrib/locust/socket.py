"""A WebSocket client on a gevent socket: little memory and little work per message."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket as gsocket
from gevent import ssl as gssl
from gevent.lock import BoundedSemaphore

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.contrib.locust.frames import BINARY, CLOSE, PONG, TEXT, ClosedBy, FrameReader, client_frame
from liverpc.contrib.locust.words import printable
from liverpc.wire.close import CloseCode

__all__ = ["GeventSocket", "open_socket"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 65536
_HEAD_MAX = 16384
_REFUSAL_MAX = 200  # bytes of a refusal's body that are kept
_TURN = 16  # reads without waiting, after which everybody else has a turn
_MOMENT = 1e-6  # seconds; with 0, only who is ready already would have a turn
_STATUS = re.compile("[1-5][0-9][0-9]")
_SHORT = re.compile("[0-9]{1,3}")  # a number of bytes that matters
_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets the connection and throws away what was not sent


class GeventSocket:
    """One open connection; made by :func:`open_socket`.

    One greenlet receives, any may send.

    Attributes:
        tcp: Seconds until the TCP connection (and TLS) stood.
        upgrade: Seconds from then until the server agreed to speak WebSocket.
    """

    def __init__(self, sock: Any, *, rest: bytes, message_max: int, tcp: float, upgrade: float) -> None:
        self.tcp = tcp
        self.upgrade = upgrade
        self._sock = sock
        self._reader = FrameReader(message_max)
        self._early = self._reader.feed(rest)
        self._lock = BoundedSemaphore(1)
        self._said_goodbye = False
        self._now = gevent.get_hub().loop.now  # stands still while nobody waits
        self._turn = (0.0, 0)

    def recv(self) -> list[bytes]:
        """The next messages, at least one; waits for them.

        Raises:
            SocketClosed: The connection is closed, or was silent for too long.
        """
        messages, self._early = self._early, []
        reader = self._reader
        while True:
            if reader.ping is not None:
                self._pong()
            if messages:
                return messages
            if reader.end is not None:
                self._answer_goodbye(reader.end)
                raise SocketClosed(reader.end.code, reader.end.reason)
            self._give_way()
            try:
                data = self._sock.recv(_CHUNK)
            except TimeoutError:
                raise SocketClosed(CloseCode.LOST, f"the server was silent for {self._sock.gettimeout():g} s") from None
            except OSError as error:
                raise SocketClosed(CloseCode.LOST, _reason(error)) from None
            if not data:
                raise SocketClosed(CloseCode.LOST, "the server hung up without a goodbye")
            messages = reader.feed(data)

    def send(self, messages: Iterable[str | bytes]) -> None:
        """Send messages, of text or of bytes; waits while the network is busy.

        They are taken from the iterable when their turn has come.

        Raises:
            SocketClosed: The connection is closed; whether the messages arrived is unknown.
        """
        with self._lock:
            for message in messages:
                if isinstance(message, str):
                    self._write(TEXT, message.encode())
                else:
                    self._write(BINARY, message)
                if self._reader.ping is not None:  # there may be no end of messages
                    self._write_pong()
        if self._reader.ping is not None:
            self._pong()

    def close(self, code: int = CloseCode.NORMAL) -> None:
        """Say goodbye without waiting for the answer. Who receives gets ``SocketClosed`` when it came."""
        try:
            with self._lock:
                self._goodbye(code)
        except SocketClosed:
            pass  # so be it

    def abort(self, *, reset: bool = False) -> None:
        """Hang up at once; ``reset``: as a machine does that lost its power, with a TCP reset."""
        if reset:
            with suppress(OSError):  # it is closed
                self._sock.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, _NO_LINGER)
        self._sock.close()

    def _give_way(self) -> None:
        # A read that need not wait lets nobody else run: with a server that never pauses not even time limits would.
        began, reads = self._turn
        now = self._now()
        if now != began:
            reads = 0
        elif reads >= _TURN:
            gevent.sleep(_MOMENT)
        self._turn = now, reads + 1

    def _pong(self) -> None:
        # Never waits: who receives must go on receiving, or both sides might wait for each other. Whoever
        # holds the lock answers afterwards.
        if self._lock.acquire(blocking=False):
            try:
                self._write_pong()
            except SocketClosed:
                pass  # receiving tells
            finally:
                self._lock.release()

    def _write_pong(self) -> None:
        payload, self._reader.ping = self._reader.ping, None
        self._write(PONG, payload or b"")

    def _answer_goodbye(self, end: ClosedBy) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._goodbye(end.code if end.violation else CloseCode.NORMAL)
            except SocketClosed:
                pass  # the server did not wait
            finally:
                self._lock.release()

    def _goodbye(self, code: int) -> None:
        if not self._said_goodbye:
            self._said_goodbye = True
            self._write(CLOSE, code.to_bytes(2, "big"))

    def _write(self, opcode: int, payload: bytes) -> None:
        try:
            self._sock.sendall(client_frame(opcode, payload, os.urandom(4)))
        except OSError as error:
            raise SocketClosed(CloseCode.LOST, _reason(error)) from None


def open_socket(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    tls: gssl.SSLContext | None = None,
    subprotocol: str | None = None,
    timeout: float = 10.0,
    silence: float = 150.0,
    message_max: int = 16 << 20,
) -> GeventSocket:
    """Connect and shake hands.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: Sent with the handshake.
        tls: For ``wss://``. Default: the system's certificate authorities.
        subprotocol: Asked for, and the server must agree.
        timeout: Seconds for all of it.
        silence: Seconds without a byte from the server after which the connection counts as lost.
        message_max: Bytes of the largest message accepted.

    Raises:
        HandshakeRefused: The server answered with an HTTP status.
        OSError: There is no connection, or it did not come about in time.
        SocketClosed: What answered does not speak WebSocket.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    began = time.perf_counter()
    sock: Any = None
    limit = gevent.Timeout(timeout)
    try:
        with limit:
            sock = _connected(parts.hostname or "", parts.port or (443 if secure else 80))
            sock.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
            if secure:
                sock = (tls or _default_tls()).wrap_socket(sock, server_hostname=parts.hostname)
            connected = time.perf_counter()
            key = base64.b64encode(os.urandom(16)).decode()
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            sock.sendall(_request(path, parts.netloc, key, headers or {}, subprotocol))
            rest = _agreed(sock, key, subprotocol)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if error is limit:
            raise TimeoutError(f"no answer within {timeout:g} s") from None
        raise
    upgraded = time.perf_counter()
    sock.settimeout(silence)
    return GeventSocket(sock, rest=rest, message_max=message_max, tcp=connected - began, upgrade=upgraded - connected)


def _connected(host: str, port: int) -> Any:
    family = gsocket.AF_INET6 if ":" in host else gsocket.AF_INET
    try:
        gsocket.inet_pton(family, host)
    except OSError:
        return gsocket.create_connection((host, port))
    # Asking what an address is would take a thread, and each change of threads milliseconds while this one is busy.
    sock = gsocket.socket(family)
    try:
        sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _default_tls() -> Any:
    context = gssl.SSLContext(gssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _request(path: str, host: str, key: str, headers: Mapping[str, str], subprotocol: str | None) -> bytes:
    lines = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        **({"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}),
        **headers,
    }
    for name, value in lines.items():
        if not f"{name}{value}".isprintable():
            raise ValueError(f"the header {name!r} contains a control character")
    head = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    return "\r\n".join(head).encode("latin-1")


def _agreed(sock: Any, key: str, subprotocol: str | None) -> bytes:
    """Read the server's answer; returns what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(_CHUNK)
        if not more or len(data) + len(more) > _HEAD_MAX + _CHUNK:
            raise SocketClosed(CloseCode.LOST, "what answers there does not speak HTTP")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not _STATUS.fullmatch(words[1]):
        raise SocketClosed(CloseCode.LOST, "what answers there does not speak HTTP")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(words[1])
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise HandshakeRefused(status, _refusal(sock, rest, fields.get("content-length", "")))
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - RFC 6455 wants it
    if fields.get("sec-websocket-accept") != accept:
        raise SocketClosed(CloseCode.LOST, "what answers there does not speak WebSocket")
    if subprotocol and fields.get("sec-websocket-protocol") != subprotocol:
        raise SocketClosed(CloseCode.LOST, f"the server does not speak {subprotocol}")
    return rest


def _refusal(sock: Any, body: bytes, length: str) -> str:
    wanted = int(length) if _SHORT.fullmatch(length) else _REFUSAL_MAX
    while len(body) < min(wanted, _REFUSAL_MAX) and (more := sock.recv(_REFUSAL_MAX)):
        body += more
    return printable(body[:_REFUSAL_MAX].decode(errors="replace").strip())


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
