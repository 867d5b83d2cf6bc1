"""One call from frame to frame without a socket, timed in this process.

``dispatch liverpc|bare`` is a plain function of a server, and the least that can be called dispatch.
``dispatch def|async`` is a function of a server, ``direct-def|direct-async`` the same server with nothing but the call
itself in the place of its pipeline, ``pieces-def|pieces-async`` the library's pieces in a row, without a server around.
Each line of input names a duration in seconds; it is answered with nanoseconds per call.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec

from liverpc import ConnectRequest, Context, Inspect, LiveServer
from liverpc.declare.replies import Slot
from liverpc.dispatch.endpoint import LiveEndpoint
from liverpc.dispatch.pipeline import Pipeline, Runner
from liverpc.hub.connection import Connection
from liverpc.hub.link import Tally
from liverpc.wire.codec import decode_call, encode, reply_frame
from tests.benchmarks.peers import handlers

LAST_ANSWER = b'"data":"hello 1499"'
#: Coroutines under way at once; a connection is not read from when it has 64 of them.
IN_FLIGHT = 50

Answer = Callable[[bytes], object]


def calls_of(name: str) -> list[bytes]:
    """Frames of which no two are alike, so that nothing is gained by remembering the last one."""
    frame = b'{"rpc":"bench/%b","id":"k%d","args":["hello %d"]}'
    return [frame % (name.encode(), number, number) for number in range(1000, 1500)]


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

    def stall(self) -> None: ...

    def unstall(self) -> None: ...


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


def direct(server: LiveServer, pipeline: Pipeline, name: str, *, counted: bool) -> Runner:
    """A call without the steps of a pipeline: make its context, validate the arguments, run the function, encode, frame
    and send its result; then record it as a server does, or merely count it.

    A coroutine runs in a task in a context of its own, and ends with its connection, as in a server. No guard is asked,
    no error is caught, no result measured, and nothing but a call with an id is provided for.
    """
    counters, services = server.counters, server._services
    now, finished = services.hub.monotonic, pipeline.outcomes.finished
    path = f"bench/{name}"
    entry = server.registry.paths[path]
    handler, exact = entry.declaration.handler, entry.declaration.signature.exact

    def run(connection: Connection, frame: Any, slot: Slot | None) -> None:
        ctx: Context[Any] = Context(services, connection, path, frame.id, slot, now())
        (text,) = exact(frame.args)
        result = handler(ctx, text)
        connection.link.send(reply_frame(frame.id, encode(result)))
        if counted:
            finished(entry, ctx, frame.args, None, result)
        else:
            counters.calls += 1

    async def in_task(ctx: Context[Any], frame: Any) -> None:
        (text,) = exact(frame.args)
        result = await handler(ctx, text)
        ctx.connection.link.send(reply_frame(frame.id, encode(result)))
        if counted:
            finished(entry, ctx, frame.args, None, result)
        else:
            counters.calls += 1
        ctx.connection.calls.finished(ctx)

    def start(connection: Connection, frame: Any, slot: Slot | None) -> None:
        ctx: Context[Any] = Context(services, connection, path, frame.id, slot, now())
        connection.calls.start(ctx, in_task(ctx, frame))

    return start if entry.declaration.is_async else run


async def prepare(kind: str, name: str, stack: AsyncExitStack, sink: Sink) -> Answer:
    """What answers the frames of a call to ``bench/NAME``."""
    if kind == "bare":
        return bare_call(sink)
    server = LiveServer({"bench": handlers}, inspect=Inspect(enabled=False), dev=False)
    await stack.enter_async_context(server.lifespan())
    endpoint = server.endpoint(server.path)
    assert isinstance(endpoint, LiveEndpoint)
    pipeline = endpoint._pipeline
    receive = endpoint.opened(sink, ConnectRequest(server.path), None).receive
    if kind.startswith("pieces"):
        connection: Connection = server.connections[-1]
        functions: dict[Any, Runner] = {f"bench/{name}": direct(server, pipeline, name, counted=False)}

        def answer(frame: bytes) -> None:
            call = decode_call(frame)
            functions[call.rpc](connection, call, None)

        return answer
    if kind.startswith("direct"):
        pipeline.runners[f"bench/{name}"] = direct(server, pipeline, name, counted=True)
    return partial(receive, text=True)


async def main(kind: str) -> None:
    name = "echo_async" if kind.endswith("async") else "echo"
    frames = calls_of(name)
    turn = IN_FLIGHT if name == "echo_async" else len(frames)
    turns = [frames[first : first + turn] for first in range(0, len(frames), turn)]
    async with AsyncExitStack() as stack:
        sink = Sink()
        answer = await prepare(kind, name, stack, sink)
        print(json.dumps({"kind": kind}), flush=True)
        for line in sys.stdin:
            calls, start = 0, time.process_time_ns()
            end = start + int(float(line) * 1e9)
            while (now := time.process_time_ns()) < end:
                sink.last = b""
                for some in turns:
                    for frame in some:
                        answer(frame)
                    await asyncio.sleep(0)
                assert LAST_ANSWER in sink.last, sink.last
                calls += len(frames)
            print(json.dumps({"ns": (now - start) / calls}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
