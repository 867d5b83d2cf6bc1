"""The asyncio client against our own server, over memory and on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, assert_type

import msgspec
import pytest

from liverpc import ConnectRequest, Context, LiveError, LiveServer, Reject, live, public
from liverpc.client import Client, ClientConfig, Reply, RpcError, StreamHandle, connect
from liverpc.transports.memory import MemorySocket, MemoryTransport


class Note(msgspec.Struct):
    id: int
    text: str


class Chat(ModuleType):
    """A module of live functions, with state of its own."""

    def __init__(self) -> None:
        super().__init__(__name__)
        notes: list[Note] = []

        @live
        async def send(ctx: Context, text: str) -> Note:
            if not text:
                raise LiveError("EMPTY", "say something")
            note = Note(len(notes), text)
            notes.append(note)
            ctx.publish("notes", "created", note)
            return note

        @live.stream("notes")
        async def listing(ctx: Context) -> list[Note]:
            loaded = list(notes)
            await asyncio.sleep(1.0)
            return loaded

        self.send = send
        self.listing = listing
        self._guard = public()


class World:
    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.sockets: list[MemorySocket] = []

    def client(self, **settings: Any) -> Client:
        async def connector() -> MemorySocket:
            self.sockets.append(await self.transport.connect())
            return self.sockets[-1]

        given: dict[str, Any] = {"jitter": (1.0, 1.0)} | settings
        return connect("ws://memory/ws", config=ClientConfig(**given), connector=connector)


@asynccontextmanager
async def running(
    chat: Chat, on_connect: Callable[[ConnectRequest], Any] | None = None, latency: float = 0.0
) -> AsyncIterator[World]:
    server = LiveServer(modules=[chat], on_connect=on_connect)
    async with server.lifespan():
        transport = MemoryTransport(server, latency=latency)
        try:
            yield World(transport)
        finally:
            await transport.aclose()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def chat() -> Chat:
    return Chat()


async def test_calls_and_streams_keep_their_declared_types(chat: Chat) -> None:
    async with running(chat) as world, world.client() as client:
        note = await client.call(chat.send, text="hi")
        assert_type(note, Note)
        assert note == Note(0, "hi")
        handle = client.stream(chat.listing)
        assert_type(handle, StreamHandle[list[Note]])
        async with handle as notes:
            assert notes.value == [Note(0, "hi")]
            await client.call(chat.send, "ho")
            # Events of a handler precede its reply.
            assert notes.value == [Note(0, "hi"), Note(1, "ho")]


async def test_errors_of_handlers_and_arguments_arrive(chat: Chat) -> None:
    async with running(chat) as world, world.client() as client:
        with pytest.raises(RpcError, match="EMPTY: say something"):
            await client.call(chat.send, "")
        wrong: Any = 3
        with pytest.raises(RpcError, match="VALIDATION") as caught:
            await client.call(chat.send, wrong)
        assert [issue.path for issue in caught.value.issues] == [["text"]]
        with pytest.raises(TypeError, match="missing a required argument"):
            await client.call(chat.send)  # type: ignore[call-arg]


async def test_events_during_the_loading_are_not_lost(chat: Chat) -> None:
    async with running(chat, latency=0.1) as world, world.client() as writer, world.client() as reader:
        opening = asyncio.create_task(reader.stream(chat.listing).open())
        await asyncio.sleep(0.5)
        await writer.call(chat.send, "meanwhile")
        notes = await opening
        assert await notes.wait_for(lambda rows: len(rows) == 1) == [Note(0, "meanwhile")]


async def test_leaving_a_stream_while_another_one_of_it_opens_disturbs_nothing(chat: Chat) -> None:
    async with running(chat) as world, world.client() as client:
        first = await client.stream(chat.listing).open()
        opening = asyncio.create_task(client.stream(chat.listing).open())
        await asyncio.sleep(0.5)
        await first.aclose()
        second = await opening
        await client.call(chat.send, "hi")
        assert second.value == [Note(0, "hi")]
        assert first.value == []


async def test_what_was_missed_is_there_after_the_reconnect(chat: Chat) -> None:
    async with running(chat) as world, world.client() as reader, reader.stream(chat.listing) as notes:
        world.sockets[0].cut()
        async with world.client() as writer:
            await writer.call(chat.send, "missed")
        assert await notes.wait_for(lambda rows: len(rows) == 1) == [Note(0, "missed")]
        assert now() == 5.0  # 1 s loading, 3 s waiting, 1 s loading
        assert notes.status == "connected"


async def test_a_server_that_goes_away_is_waited_for(chat: Chat) -> None:
    async with running(chat) as world, world.client() as client:
        await world.transport.aclose()
        await asyncio.sleep(1.0)
        assert client.status == "reconnecting"
        assert client.failure is not None
        assert client.failure.code == 1001
        await asyncio.sleep(3.0)
        assert client.failure is not None
        assert (client.failure.code, client.failure.reason) == (4503, "HTTP 503 server going away")


@pytest.mark.parametrize("before_upgrade", [False, True])
async def test_a_rejected_client_is_told_why_and_stops(chat: Chat, before_upgrade: bool) -> None:
    def nobody(_: ConnectRequest) -> Any:
        raise Reject("UNAUTHENTICATED", "sign in first", before_upgrade=before_upgrade)

    async with running(chat, nobody) as world:
        client = world.client()
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*sign in first"):
            async with client:
                await client.call(chat.send, "hi")
        assert client.status == "closed"
        assert client.failure is not None
        assert client.failure.code == 4401
        assert len(world.sockets) == (0 if before_upgrade else 1)


async def test_a_batch_is_answered_call_by_call(chat: Chat) -> None:  # acceptance 206
    async with running(chat) as world, world.client() as client:
        async with client.stream(chat.listing) as notes:
            async with client.batch(sequential=True) as batch:
                first, refused, last = (batch.call(chat.send, text) for text in ("one", "", "two"))
            assert_type(first, Reply[Note])
            assert (await first, last.result()) == (Note(0, "one"), Note(1, "two"))
            with pytest.raises(RpcError, match="EMPTY: say something"):
                await refused
            assert notes.value == [Note(0, "one"), Note(1, "two")]
        wrong: Any = 3
        async with client.batch() as batch:
            batch.call(chat.send, "three")
            invalid = batch.call(chat.send, wrong)
        with pytest.raises(RpcError, match="VALIDATION") as caught:
            await invalid
        assert [issue.path for issue in caught.value.issues] == [["text"]]


async def test_identical_calls_run_once_and_fresh_ones_each(chat: Chat) -> None:  # acceptance 204
    async with running(chat) as world, world.client() as client:
        same = await asyncio.gather(*(client.call(chat.send, "hi") for _ in range(3)))
        assert same == [Note(0, "hi")] * 3
        assert same[0] is not same[1]
        fresh = client.using(fresh=True)
        notes = await asyncio.gather(*(fresh.call(chat.send, "hi") for _ in range(3)))
        assert sorted(note.id for note in notes) == [1, 2, 3]


async def test_what_is_fired_runs(chat: Chat) -> None:
    async with running(chat) as world, world.client() as client, client.stream(chat.listing) as notes:
        assert client.fire(chat.send, "hi")
        assert await notes.wait_for(lambda rows: len(rows) == 1) == [Note(0, "hi")]
