"""Uploads and binary calls, as observers of each level and scope see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConnectRequest, Context, Inspect, Limits, LiveServer, Token, UploadContext, live, public
from liverpc.inspector.protocol import CallEvent, Event, Get, Got, State, UploadInfo, UploadTotals
from liverpc.testing import TestEnv
from liverpc.transports.memory import MemorySocket
from liverpc.wire.binary import binary_call, upload_cancel, upload_chunk, upload_header
from tests.inspector.attach_kit import SECRETS, Observer

DATA = b"bytes-that-nobody-may-see"


class World:
    def __init__(self, **limits: Any) -> None:
        self.gate = asyncio.Event()  # handlers take the next chunk when it is set

        @live.upload()
        async def keep(ctx: UploadContext[Any], name: str, password: str = "") -> dict[str, int]:
            await self.gate.wait()
            received = 0
            async for chunk in ctx.upload:
                received += len(chunk)
                ctx.publish("room:red", "updated", {"id": 1, "bytes": received})
            ctx.publish("room:red", "created", {"id": 1, "name": name})
            return {"bytes": received}

        @live.binary()
        async def digest(ctx: Context[Any], data: bytes, name: str) -> bytes | dict[str, int]:
            if name == "slow":
                await self.gate.wait()
            return {"bytes": len(data)}

        @live.stream("room:{room}")
        async def room(ctx: Context[Any], room: str) -> list[Any]:
            return []

        functions = {"keep": keep, "digest": digest, "room": room}
        levels: dict[str, Any] = {"metrics": {"level": "metrics"}, "observe": {}, "scoped": {"topics": ("room:red",)}}
        self.server = LiveServer(
            {"demo": SimpleNamespace(**functions, _guard=public())},
            limits=Limits(**limits),
            on_connect=lambda request: _user(request),
            inspect=Inspect(
                enabled=True, tokens=tuple(Token(secret=SECRETS[name], **more) for name, more in levels.items())
            ),
        )


def _user(request: ConnectRequest) -> dict[str, str]:
    return {"id": request.headers["x-user"]}


async def connect(env: TestEnv, user: str = "ann") -> MemorySocket:
    return await env.transport.connect("/ws", headers={"X-User": user}, address="10.0.0.9")


def first(number: int, *args: str, size: int | None = None, data: bytes = DATA, last: bool = False) -> bytes:
    return upload_chunk(number, 0, data, last=last, header=upload_header("demo/keep", list(args), size))


async def uploads(observer: Observer, count: int) -> list[UploadInfo]:
    return (await observer.wait(State, lambda state: len(state.uploads) == count)).uploads


async def finished(observer: Observer, count: int = 1) -> list[CallEvent]:
    """The calls with data, when there are so many."""
    while len(found := [each for each in observer.events if isinstance(each, CallEvent) and each.carries]) < count:
        await observer.next()
    return found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def env(world: World) -> AsyncIterator[TestEnv]:
    async with TestEnv(world.server) as env:
        yield env
        world.gate.set()


async def test_a_running_upload_is_seen_from_its_beginning_to_its_end(env: TestEnv, world: World) -> None:
    observer = await Observer.attach(env)
    await observer.watch(kind=["upload"])
    socket = await connect(env)
    await socket.send(first(7, "a.bin", size=1000))
    (seen,) = await uploads(observer, 1)
    assert (seen.id, seen.path, seen.user, seen.address, seen.size) == (
        "00000007",
        "demo/keep",
        "ann",
        "10.0.0.9",
        1000,
    )
    assert (seen.received, seen.taken, seen.buffered, seen.state) == (len(DATA), 0, len(DATA), "receiving")
    world.gate.set()
    (seen,) = (await observer.wait(State, lambda state: state.uploads and state.uploads[0].taken)).uploads
    assert (seen.received, seen.taken, seen.buffered) == (len(DATA), len(DATA), 0)
    await socket.send(upload_chunk(7, 1, DATA, last=True))
    await uploads(observer, 0)
    (event,) = await finished(observer)
    assert (event.connection, event.call, event.carries, event.received) == (
        seen.connection,
        seen.id,
        "upload",
        2 * len(DATA),
    )
    assert (event.ok, event.args, event.result) == (True, {"name": "a.bin"}, {"bytes": 2 * len(DATA)})


async def test_totals_tell_how_much_there_is_and_may_be(world: World) -> None:
    world = World(uploads=5, uploads_buffer_bytes=1 << 20)
    async with TestEnv(world.server) as env:
        observer = await Observer.attach(env)
        socket = await connect(env)
        for number in (1, 2):
            await socket.send(first(number, "a"))
        state = await observer.wait(State, lambda state: len(state.uploads) == 2)
        assert state.upload_totals == UploadTotals(2, 5, 2 * len(DATA), 1 << 20)
        assert (state.counters["uploads_started"], state.counters["upload_bytes"]) == (2, 2 * len(DATA))
        world.gate.set()


async def test_how_an_upload_ended_early_is_seen(env: TestEnv, world: World) -> None:
    observer = await Observer.attach(env)
    await observer.watch(kind=["rpc"])
    socket = await connect(env)
    await socket.send(first(1, "a.bin"))
    await uploads(observer, 1)
    await socket.send(upload_cancel(1))
    (seen,) = (await observer.wait(State, lambda state: state.uploads[0].state == "ended early")).uploads
    assert seen.buffered == 0
    world.gate.set()
    (event,) = await finished(observer)
    assert (event.ok, event.code, event.received) == (False, "CANCELLED", len(DATA))
    await uploads(observer, 0)


async def test_the_newest_of_very_many_are_left_out(world: World) -> None:
    world = World(uploads_per_connection=201)
    async with TestEnv(world.server) as env:
        observer, socket = await Observer.attach(env), await connect(env)
        for number in range(1, 202):
            await socket.send(first(number, "a", data=b""))
        await env.settle()
        state = await observer.wait(State, lambda state: state.upload_totals and state.upload_totals.running == 201)
        assert [each.id for each in state.uploads] == [f"{number:08x}" for number in range(1, 201)]
        world.gate.set()


async def test_of_the_data_only_its_size_is_recorded(env: TestEnv, world: World) -> None:
    observer = await Observer.attach(env)
    await observer.watch()
    world.gate.set()
    socket = await connect(env)
    await socket.send(first(1, "a.bin", "hunter2-hunter2", last=True))
    await socket.send(binary_call("demo/digest", "b1", ["tiny"], DATA))
    upload, binary = sorted(await finished(observer, 2), key=lambda event: event.carries, reverse=True)
    assert upload.args == {"name": "a.bin", "password": "[REDACTED]"}
    assert (binary.carries, binary.call, binary.received, binary.args) == ("binary", "b1", len(DATA), {"name": "tiny"})
    history = await observer.ask(Get(id=70, ref=["calls"]))
    assert DATA.decode() not in repr(observer.events) + repr(history)


async def test_a_binary_call_that_runs_says_what_it_is(env: TestEnv) -> None:
    observer, socket = await Observer.attach(env), await connect(env)
    await socket.send(binary_call("demo/digest", "b1", ["slow"], DATA))
    state = await observer.wait(State, lambda state: state.pending)
    assert [(each.path, each.carries) for each in state.pending] == [("demo/digest", "binary")]


async def test_a_watch_of_uploads_gets_no_other_calls(env: TestEnv, world: World) -> None:
    observer = await Observer.attach(env)
    await observer.watch(kind=["upload"])
    world.gate.set()
    socket = await connect(env)
    await socket.send(binary_call("demo/digest", "b1", ["tiny"], DATA))
    await socket.send(json.dumps({"rpc": "demo/room", "id": "s", "args": ["red"], "stream": True}))
    await socket.send(first(1, "a.bin", last=True))
    await finished(observer)
    await observer.wait(State)
    assert [each.carries for each in observer.events if isinstance(each, CallEvent)] == ["upload"]


async def test_level_metrics_sees_the_figures_of_uploads_and_not_whose_they_are(env: TestEnv, world: World) -> None:
    observer = await Observer.attach(env, "metrics")
    await observer.watch(kind=["upload"])
    socket = await connect(env)
    await socket.send(first(1, "a.bin"))
    (seen,) = await uploads(observer, 1)
    assert (seen.user, seen.address, seen.received) == ("", "", len(DATA))
    world.gate.set()
    await socket.send(upload_chunk(1, 1, b"", last=True))
    (event,) = await finished(observer)
    assert event.received == len(DATA)
    assert "ann" not in repr(event)
    assert "a.bin" not in repr(event)


async def test_a_scoped_token_sees_no_running_upload_and_those_that_published_to_its_topics(
    env: TestEnv, world: World
) -> None:
    observer, witness = await Observer.attach(env, "scoped"), await Observer.attach(env)
    await observer.watch()
    socket = await connect(env)
    await socket.send(json.dumps({"rpc": "demo/room", "id": "s", "args": ["red"], "stream": True}))
    await socket.send(first(1, "published"))
    await socket.send(first(2, "given up"))
    await uploads(witness, 2)
    state = await observer.wait(State)
    assert (state.uploads, state.upload_totals, state.counters) == ([], None, {})
    await socket.send(upload_cancel(2))
    world.gate.set()
    await socket.send(upload_chunk(1, 1, b"", last=True))
    (event,) = await finished(observer)
    assert (event.args, event.published) == ({"name": "published"}, ["room:red"])  # named once
    await uploads(witness, 0)
    await observer.wait(State)
    history = await observer.ask(Get(id=70, ref=["calls"]))
    assert isinstance(history, Got)
    seen: list[Event] = [*observer.events, *history.items]
    assert "given up" not in repr(seen)
