"""Sessions over real sockets: opening, losing and coming back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from liverpc.errors import AttachError
from liverpc.inspector.protocol import ATTACH_PATH, Hello, Match, Ping, Watch
from liverpc_devtools.core.attach import Attachment, Ended, Link
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target
from tests.devtools.fake_attach import TOKEN, FakeServer, fake_server

pytestmark = pytest.mark.realtime


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


def target(server: FakeServer) -> Target:
    return Target(server.url + ATTACH_PATH, TOKEN)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_session_says_who_we_are_and_pings(server: FakeServer) -> None:
    async with await Attachment.open(target(server), "chaos") as attachment:
        (hello,) = server.sent(Hello)
        assert (hello.want, "@" in hello.client) == ("chaos", True)
        assert attachment.welcome.granted == "chaos"
        await server.until_sent(Ping)


async def test_what_was_sent_before_closing_arrives(server: FakeServer) -> None:
    async with await Attachment.open(target(server), "observe") as attachment:
        attachment.send(Watch(id=1))
    await server.until_sent(Watch)


async def test_closing_leaves_no_task_behind(server: FakeServer) -> None:
    async with await Attachment.open(target(server), "observe"):
        pass
    assert [each for each in asyncio.all_tasks() if each.get_name() == "attach writer"] == []


async def test_the_end_of_a_session_is_told_with_its_reason(server: FakeServer) -> None:
    async with await Attachment.open(target(server), "observe") as attachment:
        await until(lambda: bool(server.sockets))
        await server.sockets[0].close(1001, "going\x1b away")
        with pytest.raises(Ended, match=r"going\\x1b away"):
            async for _ in attachment:
                pass


async def test_a_websocket_of_another_kind_is_no_devtools() -> None:
    async def echo(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with serve(echo, "127.0.0.1", 0) as other:
        port = next(iter(other.sockets)).getsockname()[1]
        with pytest.raises(AttachError) as caught:
            await Attachment.open(Target(f"ws://127.0.0.1:{port}/", ""), "observe")
        assert caught.value.kind == "version"


async def test_what_speaks_no_http_is_no_devtools() -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(AttachError) as caught:
            await Attachment.open(Target(f"ws://127.0.0.1:{port}/", ""), "observe")
        assert caught.value.kind == "absent"


async def test_the_token_does_not_follow_a_redirect() -> None:
    seen: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(AttachError) as caught:
            await Attachment.open(Target(f"ws://127.0.0.1:{port}/", TOKEN), "observe")
    assert caught.value.kind == "absent"
    assert TOKEN not in str(caught.value)
    assert len(seen) == 1
    assert b"\r\norigin:" not in seen[0].lower()
    assert b"sec-websocket-extensions" not in seen[0].lower()


async def test_a_link_comes_back_and_asks_for_the_same(server: FakeServer) -> None:
    model = Model()
    link = Link(lambda: target(server), "observe", model)
    model.watch(Match(kind=["rpc"]))
    await link.connect()
    running = asyncio.create_task(link.run())
    await until(lambda: model.rows.complete)
    await server.sockets[0].close(1001, "restarting")
    await until(lambda: model.phase == "reconnecting")
    assert model.reason == "restarting"
    assert len(model.rows.streams) == 9  # what was known stays visible
    await until(lambda: model.phase == "live" and model.rows.complete)
    assert [each.match.kind for each in await server.until_sent(Watch, 2)] == [["rpc"], ["rpc"]]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not server.sockets)


async def test_a_link_gives_up_when_the_token_is_refused(server: FakeServer) -> None:
    model = Model()
    await Link(lambda: Target(server.url + ATTACH_PATH, "wrong"), "observe", model).run()
    assert model.phase == "gone"
    assert "refused the token" in model.reason


async def test_a_link_that_was_opened_and_never_run_can_be_closed(server: FakeServer) -> None:
    link = Link(lambda: target(server), "observe", Model())
    await link.connect()
    await link.close()
    await until(lambda: not server.sockets)


async def test_a_link_finds_the_new_token_of_a_restarted_local_server(server: FakeServer) -> None:
    url, model = server.url + ATTACH_PATH, Model()
    tokens = iter(["of-the-first-life", "of-the-first-life"])
    link = Link(lambda: Target(url, next(tokens, TOKEN), renewable=True), "observe", model)
    running = asyncio.create_task(link.run())
    await until(lambda: model.phase == "reconnecting")
    await until(lambda: model.phase == "live")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
