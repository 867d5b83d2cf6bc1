"""A link that is stalled on purpose is full like one whose peer reads nothing, until it is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from websockets.asyncio.client import connect

from liverpc.config import Limits
from liverpc.hub.link import Link
from liverpc.transports.memory import MemoryTransport
from liverpc.wire.framing import text_frame
from tests.transports.asgi_kit import HostedEcho, opened, settle
from tests.transports.transport_kit import EchoApplication, Peer, Tallied, serving, turns, without_sockets

Got: TypeAlias = Callable[[], list[str]]


@asynccontextmanager
async def over_ws(limits: Limits) -> AsyncIterator[tuple[Any, Link, Got]]:
    application = EchoApplication(limits)
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        yield application, application.sessions[0].link, lambda: [text.decode() for text in peer.texts]


@asynccontextmanager
async def over_asgi(limits: Limits) -> AsyncIterator[tuple[Any, Link, Got]]:
    application = HostedEcho(limits)
    async with application.lifespan():
        visit = await opened(application)
        yield application, application.sessions[0].link, lambda: visit.texts
        visit.leave()
        await visit.over()


@asynccontextmanager
async def in_memory(limits: Limits) -> AsyncIterator[tuple[Any, Link, Got]]:
    application = EchoApplication(limits)
    transport = MemoryTransport(application)
    client = await transport.connect()
    got: list[str] = []

    async def read() -> None:
        while True:
            got.append(str(await client.recv()))

    reading = asyncio.create_task(read())
    yield application, application.sessions[0].link, lambda: got
    reading.cancel()
    await asyncio.wait([reading])
    await transport.aclose()


links = pytest.mark.parametrize("over", [over_ws, over_asgi, in_memory])


async def idle() -> None:
    await turns()
    await settle()


@links
async def test_nothing_leaves_a_stalled_link_and_all_of_it_later(over: Any) -> None:
    async with over(Limits()) as (application, link, got):
        before = list(got())
        tally = Tallied()
        link.stall()
        link.stall()
        assert link.send(text_frame(b"one"))
        assert link.send_volatile(tally, text_frame(b"nobody misses it"))
        for number in (1, 2, 3):
            assert link.send_latest(tally, "key", text_frame(b"%d" % number))
        await idle()
        assert got() == before
        assert (tally.volatile_drops, tally.coalesced) == (1, 2)
        link.unstall()
        link.unstall()
        await idle()
        assert link.send(text_frame(b"two"))
        await idle()
        assert [text for text in got() if text not in before] == ["one", "3", "two"]
        assert link.buffered == 0
        assert application.counters.outbox_overflows == 0


@links
async def test_a_stalled_link_is_closed_when_too_much_waits(over: Any) -> None:
    async with over(Limits(outbox_frames=5)) as (application, link, _):
        link.stall()
        assert [link.send(text_frame(b"x")) for _ in range(6)] == [True] * 5 + [False]
        assert application.counters.outbox_frame_overflows == 1
        link.unstall()
        await idle()


async def test_a_transport_that_has_room_again_does_not_end_a_stall() -> None:
    async with without_sockets(EchoApplication()) as listener:
        peer = Peer(listener)
        peer.protocol.pause_writing()
        peer.protocol.stall()
        peer.protocol.resume_writing()
        peer.protocol.send(text_frame(b"late"))
        await turns()
        assert peer.texts == []
        peer.protocol.unstall()
        assert peer.texts == [b"late"]


@pytest.mark.realtime
async def test_a_client_behind_a_real_socket_hears_nothing_for_a_while() -> None:
    application = EchoApplication()
    async with serving(application) as served, connect(served.url) as client:
        link = application.sessions[0].link
        link.stall()
        link.send(text_frame(b"late"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.05)
        link.unstall()
        assert await asyncio.wait_for(client.recv(), 5) == "late"
