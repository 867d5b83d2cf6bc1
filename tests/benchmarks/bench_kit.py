"""A server in a process of its own, and a load generator that is not the bottleneck.

The generator sends ready-made masked frames in blocks and counts the bytes that come back, so that one core
of it saturates one core of the server. Server and generator are pinned to different cores where possible.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def masked(text: str) -> bytes:
    """A client's text frame with a zero masking key: valid framing, and free."""
    payload = text.encode()
    n = len(payload)
    head = bytes((0x81, 0x80 | n)) if n < 126 else b"\x81\xfe" + n.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the machine has one to spare."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        with suppress(OSError):
            os.sched_setaffinity(pid, {cores[core % len(cores)]})


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def bench_server() -> Iterator[tuple[int, int, str]]:
    """A server that records nothing while nobody looks; gives pid, port and the URL to attach to."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port, url = server.stdout.readline().split()
            pin(server.pid, 0)
            yield server.pid, int(port), url
        finally:
            server.kill()


def connect(port: int) -> socket.socket:
    """An open WebSocket, as a blocking socket whose welcome was read."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    received = b""
    while b'"sessionId"' not in received or not received.endswith(b"}"):
        received += sock.recv(4096)
    return sock


def recv_exactly(sock: socket.socket, size: int) -> None:
    """Read and forget ``size`` bytes."""
    while size > 0:
        got = len(sock.recv(min(size, 1 << 20)))
        if not got:
            raise ConnectionError("the server closed the connection")
        size -= got


def size_of_frames(sock: socket.socket, count: int) -> int:
    """Read a server's next ``count`` frames, of which none is followed by others; the bytes they take."""
    data, end = b"", 0
    while count:
        while len(data) < end + 4 or len(data) < end + _frame_size(data[end:]):
            more = sock.recv(1 << 20)
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        end += _frame_size(data[end:])
        count -= 1
    assert len(data) == end
    return end


def _frame_size(data: bytes) -> int:
    """Head and payload of a frame of less than 64 KiB, by its first four bytes."""
    short = data[1] & 127
    return 2 + short if short < 126 else 4 + int.from_bytes(data[2:4], "big")


class EchoLoad:
    """Calls of ``load/echo`` on several connections, ``depth`` in flight on each.

    The depth is such that the generator, which shares its core with an observer, is never what limits the rate.
    """

    def __init__(self, port: int, connections: int = 16, depth: int = 64) -> None:
        self.depth = depth
        self.sockets = [connect(port) for _ in range(connections)]
        self.block = b"".join(
            masked(f'{{"rpc":"load/echo","id":"k{n:04d}","args":["hello, this is a call"]}}') for n in range(depth)
        )
        first = self.sockets[0]
        first.sendall(self.block)
        self.answer = size_of_frames(first, depth)

    def run(self, seconds: float) -> int:
        """Calls answered in about ``seconds``."""
        done = 0
        end = time.perf_counter() + seconds
        for sock in self.sockets:
            sock.sendall(self.block)
        while time.perf_counter() < end:
            for sock in self.sockets:
                recv_exactly(sock, self.answer)
                sock.sendall(self.block)
                done += self.depth
        for sock in self.sockets:
            recv_exactly(sock, self.answer)
        return done

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


class FanOutLoad:
    """Publishes on one topic with many subscribers, one block at a time."""

    def __init__(self, port: int, subscribers: int = 100, block: int = 20) -> None:
        self.subscribers = [connect(port) for _ in range(subscribers)]
        self.size = block
        subscribe = masked('{"rpc":"load/events","id":"s","args":["bench"],"stream":true}')
        for sock in self.subscribers:
            sock.sendall(subscribe)
            while not sock.recv(4096).endswith(b"}}"):
                pass
        self.publisher = connect(port)
        payload = '{"p":1,"text":"' + "x" * 120 + '"}'
        self.publish = masked(f'{{"rpc":"load/publish","args":["bench",{payload}]}}') * block
        # The number in an event grows, so its length does: count events by their constant head.
        self.mark = b'{"topic":"load:bench"'

    def run(self, seconds: float) -> int:
        """Deliveries in about ``seconds``."""
        done = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.publisher.sendall(self.publish)
            for sock in self.subscribers:
                seen = 0
                while seen < self.size:
                    seen += sock.recv(1 << 20).count(self.mark)
            done += self.size * len(self.subscribers)
        return done

    def close(self) -> None:
        for sock in (*self.subscribers, self.publisher):
            sock.close()
