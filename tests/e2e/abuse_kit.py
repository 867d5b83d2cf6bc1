"""Clients that follow no rules, on blocking sockets: thousands of them cost little more than their server's work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

from liverpc import Limits
from liverpc.wire.binary import binary_call, upload_chunk, upload_header
from tests.transports.transport_kit import BINARY, CLOSE, TEXT, frame

__all__ = [
    "CloseCode",
    "Raw",
    "abuse_process",
    "abused_server",
    "binary",
    "call",
    "crowd",
    "hostile",
    "message",
    "report",
    "stream",
    "upload",
]

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.e2e.abuse_programs"]
PATIENCE = 10.0  # seconds for an answer


class CloseCode(Exception):
    """The server ended the connection; the code is the only argument, None without a goodbye."""


def message(payload: Any) -> bytes:
    """A client's frame: bytes in a binary one, a string as it is, anything else as JSON."""
    if isinstance(payload, bytes):
        return frame(BINARY, payload)
    return frame(TEXT, (payload if isinstance(payload, str) else json.dumps(payload)).encode())


def call(path: str, *args: Any, ref: str = "1", **members: Any) -> dict[str, Any]:
    return {"rpc": path, "id": ref, "args": list(args), **members}


def stream(path: str, *args: Any, ref: str = "1") -> dict[str, Any]:
    return call(path, *args, ref=ref, stream=True)


def binary(path: str, *args: Any, ref: str = "1", data: bytes = b"") -> bytes:
    return binary_call(path, ref, list(args), data)


def upload(path: str, *args: Any, number: int = 1, data: bytes = b"", last: bool = True) -> bytes:
    return upload_chunk(number, 0, data, last=last, header=upload_header(path, list(args), None))


class Raw:
    """One connection. It says what it wants before it knows whether it was let in.

    Args:
        port: Of the server.
        token: Who it is (``abuse_programs``); None: nobody.
        address: Where it comes from, as its proxy says.
        first: Messages that go out with the handshake.
        path: Of the URL.
    """

    def __init__(
        self,
        port: int,
        token: str | None = None,
        *,
        address: str | None = None,
        first: bytes = b"",
        path: str = "/ws",
    ) -> None:
        self._data = bytearray()
        self._status: int | None = None
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        )
        head += "" if token is None else f"Authorization: {token}\r\n"
        head += "" if address is None else f"X-Forwarded-For: {address}\r\n"
        self._socket.sendall(f"{head}\r\n".encode() + first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def status(self) -> int:
        """Of the handshake's answer."""
        while self._status is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                self._more()
            else:
                self._status = int(self._data[9:12])
                del self._data[: end + 4]
        return self._status

    def send(self, *payloads: Any) -> None:
        self._socket.sendall(b"".join(map(message, payloads)))

    def receive(self) -> Any:
        """The next message.

        Raises:
            CloseCode: There is none.
        """
        assert self.status == 101
        while True:
            if len(self._data) >= 2:
                size, at = self._data[1], 2
                if size >= 126:
                    at = 4 if size == 126 else 10
                    size = int.from_bytes(self._data[2:at]) if len(self._data) >= at else 1 << 62
                if len(self._data) >= at + size:
                    opcode, payload = self._data[0] & 15, bytes(self._data[at : at + size])
                    del self._data[: at + size]
                    if opcode == CLOSE:
                        raise CloseCode(int.from_bytes(payload[:2]) if payload else 1005)
                    if opcode == TEXT:
                        return json.loads(payload)
                    continue
            self._more()

    def _more(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            raise CloseCode(None)
        self._data += data

    def answers(self, count: int) -> list[dict[str, Any]]:
        """So many answers to calls, those in batches included, in the order in which they come."""
        answers: list[dict[str, Any]] = []
        while len(answers) < count:
            got = self.receive()
            if got.get("topic") in ("__rpc", "__upload"):
                answers += got["data"]["batch"] if got["event"] == "__batch" else [got["data"]]
        return answers

    def ask(self, payload: Any) -> dict[str, Any]:
        """The answer to one message that gets one."""
        self.send(payload)
        return self.answers(1)[0]

    def code(self, payload: Any) -> str | None:
        """The code of the answer; None for success."""
        return self.ask(payload).get("code")

    def closed_with(self) -> int | None:
        """How the server ends the connection; what comes before is skipped."""
        try:
            while True:
                self.receive()
        except CloseCode as closed:
            code: int | None = closed.args[0]
            return code


def hostile(times: int) -> list[tuple[list[Any], int]]:
    """What to send to a server in a flood, and how many answers each part gets; nothing of it is allowed to anybody of
    another organization than ``acme``.
    """
    numbers = range(times)
    deep = json.dumps(call("tenant/look", "x")).replace('"x"', "[" * 90 + "]" * 90)
    return [
        ([call(f"vault/no{n}", ref=str(n)) for n in numbers], times),
        ([call("tenant/look", "acme", ref=str(n)) for n in numbers], times),
        ([call("tenant/change", "acme", ref=str(n)) for n in numbers], times),
        ([stream("tenant/news", "acme", ref=str(n)) for n in numbers], times),
        ([binary("tenant/look", "acme", ref=str(n)) for n in numbers], times),
        ([deep] * times, times),
        ([{"batch": [call("tenant/look", "acme", ref=str(n)) for n in range(50)]}], 50),
        ([{"batch": [call("vault/read", ref=str(n)) for n in range(51)]}], 1),
        ([{"type": "subscribe", "topic": f"tenant:acme{n}", "ref": n} for n in numbers], 0),
        (["[" * 1000, '{"rpc":', "{}", b"\x00\x00", b"\x01" * 40, b"\x02" * 40], 0),
    ]


def crowd(port: int, tokens: Iterable[str | None], addresses: Iterable[str], first: bytes) -> Iterator[Raw]:
    """Connections that send the same messages, a hundred at a time; each is closed when the next hundred come."""
    callers = zip(tokens, addresses, strict=False)
    while True:
        with ExitStack() as stack:
            some = [
                stack.enter_context(Raw(port, token, address=address, first=first))
                for token, address in islice(callers, 100)
            ]
            if not some:
                return
            yield from some


@contextmanager
def abuse_process(*arguments: str, limits: Limits | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program of ``abuse_programs``; lines go in and out."""
    default = Limits()
    changed = {
        f"LIVERPC_LIMITS_{name.upper()}": str(getattr(limits, name))
        for name in (Limits.__struct_fields__ if limits else ())
        if getattr(limits, name) != getattr(default, name)
    }
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env=os.environ | changed,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def abused_server(limits: Limits | None = None) -> Iterator[int]:
    """The server, in a process of its own; its port."""
    with abuse_process("server", limits=limits) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the server ended"
        yield json.loads(line)["port"]


def report(port: int) -> dict[str, Any]:
    """What reached functions since the last report, ``(path, who, arguments)`` to how often, and what is in hand."""
    with Raw(port, "control.acme") as control:
        about: dict[str, Any] = control.ask(call("control/report"))["data"]
    about["reached"] = {(path, who, tuple(args)): times for path, who, args, times in about["reached"]}
    return about
