"""The demo's uploads: what they answer, and what everybody sees of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest

from liverpc import LiveError, RpcError
from liverpc.demo import files
from liverpc.demo.app import make_server
from liverpc.demo.world import Visitor, World
from liverpc.testing import TestEnv, create_test_context, create_upload_context


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def env(world: World) -> AsyncIterator[TestEnv]:
    async with TestEnv(make_server(world)) as env:
        yield env


async def test_a_file_is_counted_and_everybody_sees_it(env: TestEnv) -> None:
    ann, bob = env.connect(query={"user": "ann"}), env.connect(query={"user": "bob"})
    recent = await bob.subscribe(files.recent)
    data = bytes(range(256)) * 10_000
    assert await ann.upload(files.store, data, "a.bin") == files.Stored(len(data), hashlib.sha256(data).hexdigest())
    await recent.wait_for(lambda rows: [row.state for row in rows] == ["stored"])
    [row] = recent.value
    assert (row.name, row.owner, row.size, row.bytes) == ("a.bin", "ann", len(data), len(data))


async def test_others_see_how_far_an_upload_is_and_that_it_was_given_up(env: TestEnv) -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.sleep(files.NEWS_SECONDS * 2)
        yield b"x" * 1000
        await more.wait()

    recent = await env.connect(query={"user": "bob"}).subscribe(files.recent)
    handle = env.connect(query={"user": "ann"}).upload(files.store, source(), "a.bin")
    await recent.wait_for(lambda rows: [row.bytes for row in rows] == [1000])
    await recent.wait_for(lambda rows: [row.bytes for row in rows] == [2000])
    assert recent.value[0].state == "running"
    handle.cancel()
    with pytest.raises(RpcError, match="CANCELLED"):
        await handle
    await recent.wait_for(lambda rows: [row.state for row in rows] == ["ended early"])


async def test_the_last_word_on_an_upload_is_published_last(world: World) -> None:
    ctx = create_upload_context([b"x"] * 50, user=Visitor("ann", world))
    await files.store(ctx, "a")
    await asyncio.sleep(files.NEWS_SECONDS * 3)
    states = [(event, data.state) for _, event, data in ctx.events]
    assert states[0] == ("created", "running")
    assert states[-1] == ("updated", "stored")
    assert len(states) <= 3


async def test_twenty_are_remembered(world: World) -> None:
    user = Visitor("ann", world)
    for number in range(files.KEPT + 5):
        await files.store(create_upload_context(user=user), f"f{number}")
    assert [file.name for file in world.files.values()] == [f"f{number}" for number in range(5, files.KEPT + 5)]
    assert await files.recent(create_test_context(user=user)) == list(world.files.values())


async def test_one_that_is_forgotten_while_it_runs_does_not_come_back(world: World) -> None:
    user = Visitor("ann", world)

    def chunks() -> Iterator[bytes]:
        yield b"x"
        world.files.clear()
        yield b"x"

    ctx = create_upload_context(chunks(), user=user, error=LiveError("DISCONNECTED", "gone"))
    with pytest.raises(LiveError):
        await files.store(ctx, "a")
    assert world.files == {}


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"", "unknown"), (b"abc", "unknown")],
)
async def test_a_picture_is_known_by_its_first_bytes(data: bytes, kind: str, env: TestEnv) -> None:
    picture = await env.connect().binary(files.avatar, data)
    assert picture == files.Picture(kind, len(data), hashlib.sha256(data).hexdigest())
