"""``python -m tests.benchmarks.terminal``: what the terminal program costs, on a real terminal.

A process plays a server with thousands of streams and sends states and events at a given rate; the program is attached
to it on a pty whose output is read at once. Told are the share of a core that the program takes, and how long it takes
from a key until what it leads to is drawn. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import multiprocessing
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from liverpc.inspector.protocol import (
    ATTACH_PATH,
    SUBPROTOCOL,
    CallEvent,
    ConnectionInfo,
    ConnectionStats,
    Events,
    Got,
    Hello,
    PathInfo,
    PathStats,
    Ping,
    Pong,
    PublishEvent,
    ServerInfo,
    State,
    StreamInfo,
    StreamStats,
    Welcome,
)

__all__ = ["measure"]

STREAMS = 5_000
CONNECTIONS = 500
_PART = 500
_encode = msgspec.json.Encoder().encode
_SIZE = (160, 48)
_ESCAPES = re.compile(r"\x1b\[[0-9;?>$]*[a-zA-Z]")


# -- the server ---------------------------------------------------------------------------------------------------


def _stats(number: int, published: int, at: float) -> StreamStats:
    return StreamStats(number, 3, published, 3 * published, 0, 100 * published, "updated", at, published, "")


async def _full(socket: ServerConnection, at: float) -> None:
    connections = [ConnectionInfo(f"c{n:05}", f"u_{n}", "10.0.0.1", at - n) for n in range(CONNECTIONS)]
    for start in range(0, STREAMS, _PART):
        numbers = range(start + 1, start + _PART + 1)
        state = State(
            rev=1,
            at=at,
            full=True,
            more=start + _PART < STREAMS,
            streams=[StreamInfo(n, f"board:{n}", "crud", "board/cards") for n in numbers],
            stream_stats=[_stats(n, n, at) for n in numbers],
            connections=connections if not start else [],
            connection_stats=[ConnectionStats(each.id, 2, 9, 4, 0, 0) for each in connections] if not start else [],
            paths=[PathInfo(1, "board/move")],
            path_stats=[PathStats(1, 10, 1, 0.1, 0.05)],
        )
        await socket.send(_encode(state), text=True)


class _Feed:
    """What one observer is sent."""

    def __init__(self, socket: ServerConnection, rate: int) -> None:
        self._socket = socket
        self._rate = rate
        self._published = 0
        self._calls = 10

    async def run(self) -> None:
        began = time.monotonic()
        await _full(self._socket, began)
        tick = 0
        while True:
            tick += 1
            await asyncio.sleep(max(0.0, began + tick * 0.125 - time.monotonic()))
            now, count = time.monotonic(), self._rate // 8
            if count:
                await self._socket.send(_encode(self._events(now, count)), text=True)
            if tick % 2 == 0:
                await self._socket.send(_encode(self._state(now, tick)), text=True)

    def _events(self, now: float, count: int) -> Events:
        # A server sends no more than its budget; of the rest it tells the number.
        shown = min(count, 250)
        events = [self._call(now, n) if n % 4 == 0 else self._publish(now, n) for n in range(shown)]
        return Events(items=list(events), lost=count - shown, sample=shown / count)

    def _publish(self, now: float, n: int) -> PublishEvent:
        self._published += 1
        topic = f"board:{(self._published * 7) % STREAMS + 1}"
        data = {"id": f"c-{n}", "title": "Ship it", "author": {"id": 7, "token": "[REDACTED]"}, "votes": n}
        return PublishEvent(now, topic, "updated", 212, 3, self._published, data=data, id=self._published)

    def _call(self, now: float, n: int) -> CallEvent:
        self._calls += 1
        return CallEvent(now, "board/move", f"c{n:05}", 1.2, n % 10 != 0, f"k{self._calls}", "u_1", id=-self._calls)

    def _state(self, now: float, tick: int) -> State:
        share = min(STREAMS, max(self._rate // 4, 1))
        first = (tick * share) % STREAMS
        return State(
            rev=tick,
            at=now,
            stream_stats=[_stats((first + n) % STREAMS + 1, tick + n, now) for n in range(share)],
            path_stats=[PathStats(1, self._calls, 1, 0.1, 0.05)],
            counters={"calls": self._calls, "published": self._published},
        )


async def _attached(socket: ServerConnection, rate: int) -> None:
    feed: asyncio.Task[None] | None = None
    try:
        async for message in socket:
            frame = json.loads(message)
            if frame["t"] == Hello.__struct_config__.tag:
                server, now = ServerInfo("bench", "0", os.getpid(), time.time()), time.monotonic()
                welcome = Welcome(1, "s", "observe", [], server, now, time.time(), [], 20, 500, False)
                await socket.send(_encode(welcome), text=True)
                feed = asyncio.create_task(_Feed(socket, rate).run())
            elif frame["t"] == Ping.__struct_config__.tag:
                await socket.send(_encode(Pong(frame["at"], time.monotonic())), text=True)
            elif frame["t"] == "get":
                await socket.send(_encode(Got(frame["id"], [])), text=True)
    except ConnectionClosed:
        pass
    finally:
        if feed is not None:
            feed.cancel()


def _serve(rate: int, told: Pipe) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    async def run() -> None:
        protocols = [Subprotocol(SUBPROTOCOL)]
        handler: Callable[[ServerConnection], Any] = lambda socket: _attached(socket, rate)  # noqa: E731 - serve's argument
        async with serve(handler, "127.0.0.1", 0, subprotocols=protocols, compression=None) as server:
            told.send(server.sockets[0].getsockname()[1])
            await asyncio.Future()

    asyncio.run(run())


# -- the terminal -------------------------------------------------------------------------------------------------


class _Terminal:
    """The program on a pty."""

    def __init__(self, url: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            own = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LIVERPC_ATTACH_TOKEN": "x" * 16}
            os.execve(sys.executable, [sys.executable, "-m", "liverpc_devtools.cli", "attach", url], os.environ | own)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", _SIZE[1], _SIZE[0], 0, 0))
        self._drawn = ""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._drawn = (self._drawn + data.decode(errors="replace"))[-200_000:]
        self._news.set()

    async def until(self, part: str) -> None:
        async with asyncio.timeout(20):
            while part not in _ESCAPES.sub("", self._drawn):
                self._news.clear()
                await self._news.wait()

    async def seconds(self, key: str, part: str) -> float:
        """From a key until ``part`` is drawn."""
        self._drawn = ""
        began = time.perf_counter()
        os.write(self._fd, key.encode())
        await self.until(part)
        return time.perf_counter() - began

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


async def _watch(port: int, seconds: float, keys: int) -> dict[str, float]:
    terminal = _Terminal(f"ws://127.0.0.1:{port}{ATTACH_PATH}")
    try:
        await terminal.until("bench")
        for key, shown in (("3", "[3 RPC]"), ("2", "[2 Streams]")):  # whichever it begins with
            await terminal.seconds(key, shown)
        await asyncio.sleep(2)
        cpu, began = terminal.cpu(), time.perf_counter()
        await asyncio.sleep(seconds)
        share = (terminal.cpu() - cpu) / (time.perf_counter() - began)
        painted = []
        for _ in range(keys):
            painted.append(await terminal.seconds("3", "[3 RPC]"))
            painted.append(await terminal.seconds("2", "[2 Streams]"))
            await asyncio.sleep(0.05)
        painted.sort()
        return {
            "core_share": round(share, 3),
            "key_to_paint_p50_ms": round(painted[len(painted) // 2] * 1000, 1),
            "key_to_paint_p99_ms": round(painted[-1 - len(painted) // 100] * 1000, 1),
            "rss_mib": round(terminal.memory() / 2**20, 1),
        }
    finally:
        terminal.close()


def measure(rate: int, *, seconds: float, keys: int) -> dict[str, float]:
    """What the program costs while it is told of ``rate`` events a second on a server with 5,000 streams."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(rate, theirs), daemon=True)
    process.start()
    try:
        return asyncio.run(_watch(ours.recv(), seconds, keys))
    finally:
        process.kill()
        process.join()


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.terminal", description=__doc__)
    parser.add_argument("--rates", default="0,2000,20000", help="events a second, with commas (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="for the share of a core (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=40, help="pairs of keys (default: %(default)s)")
    given = parser.parse_args()
    for rate in map(int, given.rates.split(",")):
        print(json.dumps({"events_per_s": rate} | measure(rate, seconds=given.seconds, keys=given.keys)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
