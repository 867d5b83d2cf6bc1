"""``python -m loadtest._null``: a server that does next to nothing, for the floor of a measurement.

It speaks the protocol as far as the scenarios connect, rpc, rpc_burst, fanout and subscribe need it, and has no part
of liverpc's server. It checks nothing that it is sent: what a scenario measures with it is the load generator, the
kernel and the loopback device, and as little else as Python allows.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import msgspec
from msgspec import UNSET, Raw

from liverpc.errors import ErrorCode, LiveError
from liverpc.wire.codec import (
    UNREADABLE,
    Ignored,
    answer_body,
    batch_reply,
    decode_batch_calls,
    decode_call,
    encode,
    error_members,
    event_head,
    event_payload,
    event_prefix,
    ok_members,
    reply,
)
from liverpc.wire.control import decode_control
from liverpc.wire.frames import NO_BATCH, CallFrame
from liverpc.wire.framing import text_frame

try:  # in C where there is a wheel for the platform
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["NullServer", "main"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD = 16_384
_MAX_UNSENT = 8 << 20  # bytes; who takes so little is cut off
_BACKLOG = 4096
_TEXT, _CLOSE, _PING = 1, 8, 9
_WELCOME = text_frame(b'{"type":"welcome","sessionId":"null"}')
_NULL = Raw(b"null")
_CHANGED = "load:rows-changed"
_ROWS = "load-rows:"
_MAX_ROWS = 10_000
_MAX_KEPT = 10_000  # names that are counted, and results of one connection: above, all are forgotten
_NOT_THERE = error_members(LiveError(ErrorCode.NOT_FOUND, "the null server does not have this"))
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode
_number = msgspec.json.Decoder(int).decode


class NullServer:
    """What all its connections share.

    Attributes:
        counts: What was counted under a name.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._subscribers: dict[str, dict[_Peer, None]] = {}
        self._heads: dict[str, bytes] = {}
        self._published: Counter[str] = Counter()

    def peer(self) -> asyncio.Protocol:
        """What takes a new connection."""
        return _Peer(self)

    def count(self, name: str) -> int:
        """Count under a name; returns how many there are."""
        if len(self.counts) > _MAX_KEPT:
            self.counts.clear()
        self.counts[name] += 1
        return self.counts[name]

    def join(self, topic: str, peer: _Peer) -> bool:
        """Let a connection listen to a topic; whether it is the first one."""
        listening = self._subscribers.setdefault(topic, {})
        listening[peer] = None
        return len(listening) == 1

    def leave(self, topic: str, peer: _Peer) -> None:
        """Let it listen no longer. Harmless when it does not."""
        listening = self._subscribers.get(topic, {})
        listening.pop(peer, None)
        if not listening:
            self._subscribers.pop(topic, None)
            self._heads.pop(topic, None)
            self._published.pop(topic, None)

    def publish(self, topic: str, data: bytes) -> None:
        """Send an event to everybody who listens to a topic of ``load/events``."""
        if listening := self._subscribers.get(topic):
            head = self._heads.get(topic)
            if head is None:
                head = self._heads[topic] = event_head(event_prefix(topic), "event")
            self._send(topic, listening, head, data)

    def reload(self) -> None:
        """Send the value of ``load/rows`` anew to everybody who has it."""
        for topic, listening in self._subscribers.items():
            if topic.startswith(_ROWS):
                self.count(topic.split(":")[1])
                size = next(iter(listening)).topics[topic]
                self._send(topic, listening, event_head(event_prefix(topic), "refreshed"), _rows(size))

    def _send(self, topic: str, listening: Iterable[_Peer], head: bytes, data: bytes) -> None:
        self._published[topic] += 1
        frame = text_frame(event_payload(head, data, self._published[topic]))
        for peer in listening:
            peer.send(frame)


class _Peer(asyncio.Protocol):
    """One connection.

    Attributes:
        topics: What it listens to; of ``load/rows`` with the number of rows.
    """

    def __init__(self, server: NullServer) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._open = False  # the handshake is over
        self._rest = b""
        self.topics: dict[str, int] = {}
        self._results: dict[str, bytes] = {}  # by idempotency key
        self._out: list[bytes] | None = None  # while frames are read: what is to be sent afterwards, in one go

    # -- bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for topic in self.topics:
            self._server.leave(topic, self)

    def send(self, frame: bytes) -> None:
        """Send bytes of a frame."""
        if self._out is not None:
            self._out.append(frame)
            return
        transport = self._transport
        transport.write(frame)
        if transport.get_write_buffer_size() > _MAX_UNSENT:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                if len(head) > _MAX_HEAD:
                    self._transport.abort()
                return
            if not self._shake_hands(head):
                return
        self._out = []
        try:
            self._rest = data[self._read(data) :]
        finally:
            out, self._out = self._out, None
        if out:
            self.send(b"".join(out))

    def _shake_hands(self, head: bytes) -> bool:
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path = first.split(" ")[1:2]
        key = fields.get("sec-websocket-key")
        if key is None or not path or path[0].partition("?")[0] != "/ws":
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return False
        accept = base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID).digest())  # noqa: S324 - RFC 6455 wants it
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n%b" % (accept, _WELCOME)
        )
        self._open = True
        return True

    def _read(self, data: bytes) -> int:
        """Take the frames in ``data``; returns where those end that are complete."""
        at, available = 0, len(data)
        while available - at >= 6:
            opcode, size = data[at] & 15, data[at + 1] & 127
            begin = at + 6
            if size >= 126:
                width = 2 if size == 126 else 8
                begin += width
                size = int.from_bytes(data[at + 2 : at + 2 + width], "big")
            if available < begin + size:
                break
            at = begin + size
            payload = apply_mask(data[begin:at], data[begin - 4 : begin])
            if opcode == _TEXT:
                self._take(payload)
            elif opcode == _PING:
                self.send(bytes((0x8A, size)) + payload)
            elif opcode == _CLOSE:
                self.send(bytes((0x88, size)) + payload)
                asyncio.get_running_loop().call_soon(self._transport.close)
                return available
        return at

    # -- frames

    def _take(self, payload: bytes) -> None:
        try:
            frame = decode_call(payload)
            if frame.rpc is not UNSET:
                members = self._answer(frame)
                if frame.id is not UNSET:
                    self.send(text_frame(reply(frame.id, members)))
            elif frame.batch is not NO_BATCH:
                calls = decode_batch_calls(frame.batch)
                bodies = [answer_body(str(call.id), self._answer(call)) for call in calls]
                self.send(text_frame(batch_reply(bodies)))
            elif (control := decode_control(payload, text=True)).type == "unsubscribe":
                self.topics.pop(control.topic, None)
                self._server.leave(control.topic, self)
        except (*UNREADABLE, Ignored, TypeError, IndexError):  # it is not one of ours
            self._transport.abort()

    def _answer(self, frame: CallFrame) -> bytes:
        key = frame.idempotency_key
        if key is not UNSET and key in self._results:
            return self._results[key]
        function = _FUNCTIONS.get(str(frame.rpc))
        answer = _NOT_THERE if function is None else function(self, *_decode_raws(frame.args))
        if key is not UNSET:
            if len(self._results) > _MAX_KEPT:
                self._results.clear()
            self._results[key] = answer
        return answer

    def echo(self, value: Raw = _NULL) -> bytes:
        """``load/echo``."""
        return ok_members(value)

    def publish(self, name: Raw, value: Raw = _NULL) -> bytes:
        """``load/publish``."""
        topic = f"load:{_text(name)}"
        self._server.publish(topic, value)
        if topic == _CHANGED:
            self._server.reload()
        return ok_members(_NULL)

    def events(self, name: Raw) -> bytes:
        """``load/events``."""
        topic = f"load:{_text(name)}"
        self.topics[topic] = 0
        self._server.join(topic, self)
        return ok_members(b"[]", b',"topic":%b,"merge":"latest","max":1,"channel":true' % encode(topic))

    def rows(self, name: Raw, number: Raw, size: Raw) -> bytes:
        """``load/rows``."""
        topic = f"{_ROWS}{_text(name)}:{_number(number)}"
        self.topics[topic] = _number(size)
        if self._server.join(topic, self):
            self._server.count(_text(name))
        return ok_members(_rows(self.topics[topic]), b',"topic":%b,"merge":"crud","key":"id"' % encode(topic))

    def table_sum(self, size: Raw) -> bytes:
        """``load/table_sum``."""
        return ok_members(b'{"rows":%d,"crc32":%d}' % (_number(size), zlib.crc32(_rows(_number(size)))))

    def once(self, name: Raw, number: Raw) -> bytes:
        """``load/once``."""
        return ok_members(b"%d" % self._server.count(_text(name)))

    def counted(self, name: Raw) -> bytes:
        """``load/counted``."""
        return ok_members(b"%d" % self._server.counts[_text(name)])


_FUNCTIONS: Mapping[str, Callable[..., bytes]] = {
    f"load/{function.__name__}": function
    for function in (
        _Peer.echo,
        _Peer.publish,
        _Peer.events,
        _Peer.rows,
        _Peer.table_sum,
        _Peer.once,
        _Peer.counted,
    )
}


@cache
def _rows(size: int) -> bytes:
    """A value of ``load/rows``, of the size that the demo's has."""
    return encode([{"id": n, "text": f"row {n} of the demo's table"} for n in range(min(size, _MAX_ROWS))])


async def _serve(port: int, *, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def parent_ended() -> None:
        loop.remove_reader(sys.stdin)  # a closed pipe stays readable
        stop.set()

    if until_eof:
        loop.add_reader(sys.stdin, parent_ended)
    listening = await loop.create_server(NullServer().peer, "127.0.0.1", port, backlog=_BACKLOG)
    sys.stdout.write(f"server    ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws\n")
    sys.stdout.flush()
    await stop.wait()
    listening.close()


def main() -> None:
    """Run it until a signal."""
    parser = argparse.ArgumentParser(prog="python -m loadtest._null", description="A server that does next to nothing.")
    parser.add_argument("--port", type=int, default=8001, help="port to listen on, 0 for any (default: %(default)s)")
    parser.add_argument("--until-eof", action="store_true", help=argparse.SUPPRESS)  # for the process that started it
    options = parser.parse_args()
    asyncio.run(_serve(options.port, until_eof=options.until_eof))


if __name__ == "__main__":
    main()
