"""The server that does next to nothing is one for the clients all the same."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec
import pytest

from liverpc.client import RpcError, connect, remote
from liverpc.demo import load
from liverpc.demo.app import make_server
from liverpc.demo.world import World
from liverpc.testing import TestEnv
from loadtest._null import NullServer
from tests.transports.transport_kit import CLOSE, HEAD, PING, PONG, TEXT, frame, unframe

pytestmark = pytest.mark.realtime


@pytest.fixture
async def url() -> AsyncIterator[str]:
    listening = await asyncio.get_running_loop().create_server(NullServer().peer, "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws"
    listening.close()


async def test_calls_and_batches_are_answered(url: str) -> None:
    async with connect(url) as client:
        for value in (None, 1, {"ä": ["x" * 70_000]}):
            assert await client.call(load.echo, value) == value
        with pytest.raises(RpcError, match="does not have this"):
            await client.call(remote("load/nothing", returns=int))
        async with client.batch() as batch:
            answers = [batch.call(load.echo, number) for number in range(50)]
        assert [await each for each in answers] == list(range(50))
        assert client.fire(load.echo, 1)


async def test_what_is_published_reaches_everybody_who_listens_and_nobody_else(url: str) -> None:
    async with (
        connect(url) as one,
        connect(url) as two,
        one.stream(load.events, "a") as a,
        two.stream(load.events, "a") as b,
        two.stream(load.events, "b") as c,
    ):
        await one.call(load.publish, "a", 1)
        await one.call(load.publish, "nobody", 2)
        assert a.value == [1]  # before the answer
        await two.call(load.echo)
        assert (b.value, c.value) == ([1], [])
        await two.aclose()
        await one.call(load.publish, "a", 3)
        assert a.value == [3]


async def test_rows_are_the_demos_and_are_loaded_once_for_all(url: str) -> None:
    async with TestEnv(make_server(World())) as env, env.connect() as visitor:
        right = await visitor.call(load.table_sum, 100)
    async with connect(url) as one, connect(url) as two:
        assert await one.call(load.table_sum, 100) == right
        async with one.stream(load.rows, "herd", 1, 100) as a, two.stream(load.rows, "herd", 1, 100) as b:
            assert (len(a.value), zlib.crc32(msgspec.json.encode(b.value))) == (right.rows, right.crc32)
            assert await one.call(load.counted, "herd") == 1
            await one.call(load.publish, "rows-changed")
            assert await two.call(load.counted, "herd") == 2
        await two.call(load.echo)
        await one.call(load.publish, "rows-changed")
        assert await one.call(load.counted, "herd") == 2  # nobody is there any more


async def test_a_repetition_counts_once(url: str) -> None:
    async with connect(url) as client:
        for key, counted in (("a", 1), ("a", 1), ("b", 2)):
            assert await client.using(idempotency_key=key).call(load.once, "burst", 0) == counted


async def test_frames_are_found_however_they_are_cut(url: str) -> None:
    texts = [b'{"rpc":"load/echo","id":"%d","args":["%b"]}' % (size, b"x" * size) for size in (0, 125, 70_000)]
    sent = HEAD % b"" + frame(PING, b"hi") + b"".join(frame(TEXT, text) for text in texts) + frame(CLOSE, b"\x03\xe8")
    reader, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"))
    for at in range(len(HEAD) + 500):
        writer.write(sent[at : at + 1])
        await asyncio.sleep(0)
    writer.write(sent[len(HEAD) + 500 :])
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    writer.close()
    (_, welcome), pong, *replies, goodbye = unframe(rest)
    assert b'"welcome"' in welcome
    assert pong == (0x80 | PONG, b"hi")
    assert [payload.count(b"x") for _, payload in replies] == [0, 125, 70_000]
    assert goodbye == (0x80 | CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("path", ["/__liverpc/attach", "/"])
async def test_there_is_nothing_else(path: str, url: str) -> None:
    reader, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"))
    writer.write(HEAD.replace(b"/ws", path.encode()) % b"")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404 ")
