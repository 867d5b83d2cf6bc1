"""Clients that follow no rules, and what must become of each by docs/protocol.md sections 1, 2, 6, 7 and 8.

They are on the standard library's sockets, which wait without keeping others from running as soon as Locust has
patched them.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from liverpc.config import Limits
from liverpc.contrib.locust.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, FrameReader, client_frame
from liverpc.wire.frames import CONTROL_MAX_BYTES

__all__ = ["KINDS", "Aim", "Attack", "Ended", "Ending", "Peer", "attacks", "load"]

PROMPT = 5.0  # seconds, for what the server decides at once; a busy machine may need some
_TICKS = 0.5  # seconds; deadlines of the server are that much late at most
_DRIP = 1.0  # seconds between two bytes of who is slow on purpose
_OVER = 50  # how many more than the server takes
_PINGS = 1_000
_BATCH = 50  # calls in one, docs/protocol.md section 8
_ROUNDS = 10  # times as many calls as may be unfinished
_WAIT = 0.05  # seconds that each of them takes
_DRIPS = 1_000
_SHOWN = 80  # characters of an unexpected answer
_NAME = "x" * 65  # one character more than the demo lets in
_KEY = bytes(4)  # masks nothing; any key is allowed


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
        self.send(_call(path, *args, ref="1", **members))

    def drip(self, data: bytes) -> None:
        """Send a byte at a time.

        Raises:
            Ended: The server lost its patience, or answered.
        """
        for byte in data:
            self.send(bytes((byte,)))
            self._socket.settimeout(_DRIP)
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
            self.send(client_frame(CLOSE, end.code.to_bytes(2, "big"), _KEY))
            self._until_cut(f"close {end.code}")
        return self._reader.feed(self.receive(most))

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


Act = Callable[[Peer, random.Random], str]
Data = Callable[[Limits, random.Random], bytes]


class Ending(msgspec.Struct, frozen=True):
    """What became of an attacker."""

    how: str
    seconds: float
    right: bool


class Attack(msgspec.Struct, frozen=True):
    """One kind of attacker.

    ``act`` does it, on a new connection, and says how that ended; raising :class:`Ended` says it, too.
    """

    kind: str
    promise: str  #: how it ends on a server that keeps its promises
    act: Act
    soonest: float = 0.0  #: seconds; honest clients have that long
    latest: float = PROMPT
    rest: float = 0.0  #: seconds between two of them, where all kinds take turns

    def run(self, aim: Aim, rng: random.Random) -> Ending:
        """Attack once."""
        began = time.monotonic()
        try:
            peer = Peer(aim, self.latest)
            try:
                how = self.act(peer, rng)
            finally:
                peer.close()
        except Ended as ended:
            how = str(ended)
        seconds = time.monotonic() - began
        return Ending(how, seconds, how == self.promise and self.soonest <= seconds)


# -- what they do


def _refused(peer: Peer, rng: random.Random, *, query: str = "", headers: str = "") -> str:
    """A handshake that ends the connection, before or after the upgrade."""
    peer.open(query=query, headers=headers)
    return _unasked(next(peer.answers))


def _closed(data: Data, peer: Peer, rng: random.Random) -> str:
    """A WebSocket that ends at what it sends."""
    peer.open()
    peer.send(data(peer.aim.limits, rng))
    return _unasked(next(peer.answers))


def _answered(data: Data, peer: Peer, rng: random.Random) -> str:
    """A WebSocket on which one answer comes, to ``attack`` or else to an honest call, and which goes on to work."""
    peer.open()
    peer.send(data(peer.aim.limits, rng) + _HONEST)
    frame = next(peer.answers)
    how = _outcome(frame, "attack", "__batch", "honest")
    if frame.get("event") in ("attack", "__batch") and (then := _outcome(next(peer.answers), "honest")) != "ok":
        return f"{how}, then {then}"
    return how


def _half_open(peer: Peer, rng: random.Random) -> str:
    head = peer.aim.request()
    peer.send(head[: rng.randrange(len(head) - 2)])
    return f"answers: {peer.receive()[:_SHOWN]!r}"


def _slowloris(peer: Peer, rng: random.Random) -> str:
    peer.drip(peer.aim.request(headers=f"X-Slow: {'x' * _DRIPS}\r\n"))
    return "took it all"


def _slow_body(peer: Peer, rng: random.Random) -> str:
    peer.send(peer.aim.request(method="POST", path="/__ws/auth", headers=f"Content-Length: {_DRIPS}\r\n"))
    peer.drip(b"x" * _DRIPS)
    return "took it all"


def _no_goodbye(peer: Peer, rng: random.Random) -> str:
    """Somebody refused, who does not answer the server's goodbye."""
    peer.open(query=f"user={_NAME}")
    while True:
        peer.receive()


def _subscribe_bomb(peer: Peer, rng: random.Random) -> str:
    """More streams than a connection may have."""
    limits = peer.aim.limits
    peer.open()
    peer.send(_subscribes(limits))
    codes = _counted(peer, limits.streams_per_connection + _OVER)
    wanted = {"ok": limits.streams_per_connection, "OVERLOADED": _OVER}
    return "OVERLOADED" if codes == wanted else f"answers: {codes}"


def _call_bomb(peer: Peer, rng: random.Random) -> str:
    """Many times more calls than may be unfinished: all are answered, no faster than that allows."""
    limits = peer.aim.limits
    peer.open()
    began = time.monotonic()
    peer.send(_calls(limits))
    codes = _counted(peer, _ROUNDS * limits.calls_in_flight)
    if time.monotonic() - began < _ROUNDS * _WAIT:
        return "more at once than calls_in_flight"
    return "ok" if codes == {"ok": _ROUNDS * limits.calls_in_flight} else f"answers: {codes}"


def _outcome(frame: dict[str, Any], *refs: str) -> str:
    """How a reply to one of these came out: ``ok`` or its code."""
    if frame.get("event") not in refs:
        return _unasked(frame)
    data = frame["data"]
    answers = data.get("batch", [data])
    return ", ".join(sorted({"ok" if answer["ok"] else answer["code"] for answer in answers}))


def _unasked(frame: dict[str, Any]) -> str:
    return f"answers: {json.dumps(frame)[:_SHOWN]}"


def _counted(peer: Peer, number: int) -> dict[str, int]:
    """So many answers, by how they came out."""
    codes: dict[str, int] = {}
    while number > 0:
        for message in peer.messages():  # not decoded: they are thousands, and honest users are in this process
            if b'"ok":true' in message:
                code = "ok"
            elif b'"code":"' in message:
                code = message.split(b'"code":"', 1)[1].split(b'"', 1)[0].decode()
            else:
                continue
            codes[code] = codes.get(code, 0) + 1
            number -= 1
    return codes


# -- what they send


def _call(path: str, *args: Any, ref: str, **members: Any) -> bytes:
    return _text(json.dumps({"rpc": path, "id": ref, "args": args, **members}))


def _text(text: str) -> bytes:
    return client_frame(TEXT, text.encode(), _KEY)


_HONEST = _call("load/echo", "still here", ref="honest")
_NO_FRAMES: list[Any] = [None, 7, "text", [], {}, {"rpc": 1, "id": "1"}, {"rpc": "load/echo", "id": 2}, {"type": "x"}]


def _bad_json(limits: Limits, rng: random.Random) -> bytes:
    whole = json.dumps({"rpc": "load/echo", "id": "1", "args": [{"a": [1, 2, "three"]}]})
    broken = [whole[: rng.randrange(len(whole))] for _ in range(20)]
    long = {"type": "subscribe", "topic": "load:x", "ref": 1, "pad": "x" * CONTROL_MAX_BYTES}
    return b"".join(map(_text, [*broken, *map(json.dumps, [*_NO_FRAMES, long])]))


def _garbage(limits: Limits, rng: random.Random) -> bytes:
    # 0, 1 and 2 begin binary calls and uploads. None of these has a header of that length.
    heads = (bytes((rng.randrange(3), 0xFF, 0xFF)) if n % 2 else b"" for n in range(30))
    return b"".join(client_frame(BINARY, head + rng.randbytes(rng.randrange(400)), _KEY) for head in heads)


def _noise(limits: Limits, rng: random.Random) -> bytes:
    return b"\x83" + rng.randbytes(200)  # there is no frame of this kind


def _unmasked(limits: Limits, rng: random.Random) -> bytes:
    return b"\x81\x02{}"


def _bad_utf8(limits: Limits, rng: random.Random) -> bytes:
    return client_frame(TEXT, b'{"rpc":"\xff"}', _KEY)


def _pings(limits: Limits, rng: random.Random) -> bytes:
    return client_frame(PING, b"x" * 125, _KEY) * _PINGS


def _batch(limits: Limits, rng: random.Random) -> bytes:
    calls = [{"rpc": "load/echo", "id": str(n), "args": [n]} for n in range(_BATCH + 1)]
    return _text(json.dumps({"batch": calls}))


def _deep(limits: Limits, rng: random.Random) -> bytes:
    bottomless = "[" * 50_000
    levels = limits.depth  # the frame and the list of its arguments come on top
    return _text(bottomless) + _text(f'{{"rpc":"load/echo","id":"attack","args":[{"[" * levels}{"]" * levels}]}}')


# Large, and the same for every attacker


@cache
def _oversize(limits: Limits) -> bytes:
    return client_frame(TEXT, b"x" * (limits.message_bytes + 1), _KEY)


@cache
def _fragments(limits: Limits) -> bytes:
    half = client_frame(TEXT, b"x" * (limits.message_bytes // 2 + 1), _KEY)
    return bytes((TEXT,)) + half[1:] + bytes((CONTINUATION,)) + half[1:]  # none of them the last


@cache
def _subscribes(limits: Limits) -> bytes:
    numbers = range(limits.streams_per_connection + _OVER)
    return b"".join(_call("load/events", f"bomb-{n}", ref=str(n), stream=True) for n in numbers)


@cache
def _calls(limits: Limits) -> bytes:
    return b"".join(_call("load/wait", _WAIT, ref=str(n)) for n in range(_ROUNDS * limits.calls_in_flight))


def load(limits: Limits) -> None:
    """Make what is large now, and not while somebody measures in this process."""
    for make in (_oversize, _fragments, _subscribes, _calls):
        make(limits)


def attacks(limits: Limits) -> dict[str, Attack]:
    """Every kind, for a server with these limits."""

    def slow(kind: str, act: Act, patience: float = limits.connect_seconds) -> Attack:
        return Attack(kind, "cut", act, soonest=patience, latest=patience + _TICKS + PROMPT)

    all_of_them = [
        Attack("oversize", "close 1009", partial(_closed, lambda limits, _: _oversize(limits))),
        Attack("fragments", "close 1009", partial(_closed, lambda limits, _: _fragments(limits))),
        Attack("bad_json", "ok", partial(_answered, _bad_json)),
        Attack("garbage", "ok", partial(_answered, _garbage)),
        Attack("noise", "close 1002", partial(_closed, _noise)),
        Attack("unmasked", "close 1002", partial(_closed, _unmasked)),
        Attack("bad_utf8", "close 1007", partial(_closed, _bad_utf8)),
        Attack("ping_flood", "ok", partial(_answered, _pings)),
        Attack("deep_json", "INVALID_REQUEST", partial(_answered, _deep)),
        Attack("batch_bomb", "INVALID_REQUEST", partial(_answered, _batch)),
        Attack("call_bomb", "ok", _call_bomb),
        Attack(
            "subscribe_bomb",
            "OVERLOADED",
            _subscribe_bomb,
            latest=PROMPT + limits.streams_per_connection / 500,
            rest=5.0,
        ),
        Attack("refused", "close 4403", partial(_refused, query=f"user={_NAME}")),
        Attack("huge_header", "http 431", partial(_refused, headers=f"X-Huge: {'x' * limits.head_bytes}\r\n")),
        Attack("many_headers", "http 431", partial(_refused, headers="X-Many: 1\r\n" * limits.headers)),
        slow("half_open", _half_open),
        slow("slowloris", _slowloris),
        slow("slow_body", _slow_body),
        slow("no_goodbye", _no_goodbye, limits.close_seconds),
    ]
    return {attack.kind: attack for attack in all_of_them}


KINDS = tuple(attacks(Limits()))
