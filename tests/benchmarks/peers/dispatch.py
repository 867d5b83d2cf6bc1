"""One call from frame to frame without a socket, timed in this process: ``dispatch liverpc|bare``.

Each line of input names a duration in seconds; it is answered with nanoseconds per call.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from liverpc import ConnectRequest, Inspect, LiveServer
from liverpc.hub.link import Tally
from tests.benchmarks.peers import handlers

#: No two alike, so that nothing is gained by remembering the last one.
CALLS = [b'{"rpc":"bench/echo","id":"k%d","args":["hello %d"]}' % (number, number) for number in range(1000, 1500)]
LAST_ANSWER = b'"data":"hello 1499"'

Answer = Callable[[bytes], object]


class Sink:
    """A link (``liverpc.hub.link.Link``) whose peer takes everything at once."""

    buffered = 0

    def __init__(self) -> None:
        self.last = b""

    def send(self, frame: bytes) -> bool:
        self.last = frame
        return True

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        return self.send(frame)

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        return self.send(frame)

    def close(self, code: int, reason: str = "") -> None: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...


async def liverpc_call(stack: AsyncExitStack, sink: Sink) -> Answer:
    """The whole server behind an open socket, with a plain function."""
    server = LiveServer({"bench": handlers}, inspect=Inspect(enabled=False), dev=False)
    await stack.enter_async_context(server.lifespan())
    endpoint = server.endpoint(server.path)
    assert endpoint is not None
    receive = endpoint.opened(sink, ConnectRequest(server.path), None).receive
    return lambda frame: receive(frame, True)


class Request(msgspec.Struct):
    rpc: str
    id: str
    args: list[Any]


class Ok(msgspec.Struct):
    ok: bool
    data: Any


class Reply(msgspec.Struct):
    topic: str
    event: str
    data: Ok


class BareContext:
    __slots__ = ("app", "connection", "meta", "request", "topic", "user")

    def __init__(self, user: object, connection: object, app: object, request: Request) -> None:
        self.user = user
        self.connection = connection
        self.app = app
        self.request = request
        self.topic = None
        self.meta = None


async def bare_echo(ctx: BareContext, text: str) -> str:
    return text


def bare_call(sink: Sink) -> Answer:
    """The least that can be called dispatch: decode, look up, make a context, run a coroutine, encode, frame.

    The yardstick of the row: what it does must not change, or its 1.0 us stand for something else.
    """
    decode, encode = msgspec.json.Decoder(Request).decode, msgspec.json.Encoder().encode
    functions: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {"bench/echo": bare_echo}
    headers = [bytes((0x81, size)) for size in range(126)]

    def answer(frame: bytes) -> None:
        request = decode(frame)
        try:
            functions[request.rpc](BareContext(None, None, None, request), *request.args).send(None)
        except StopIteration as returned:
            payload = encode(Reply("__rpc", request.id, Ok(True, returned.value)))
            sink.last = headers[len(payload)] + payload

    return answer


async def main(kind: str) -> None:
    async with AsyncExitStack() as stack:
        sink = Sink()
        answer = await liverpc_call(stack, sink) if kind == "liverpc" else bare_call(sink)
        print(json.dumps({"kind": kind}), flush=True)
        for line in sys.stdin:
            calls, start = 0, time.process_time_ns()
            end = start + int(float(line) * 1e9)
            while (now := time.process_time_ns()) < end:
                sink.last = b""
                for frame in CALLS:
                    answer(frame)
                assert LAST_ANSWER in sink.last, sink.last
                calls += len(CALLS)
                await asyncio.sleep(0)
            print(json.dumps({"ns": (now - start) / calls}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
