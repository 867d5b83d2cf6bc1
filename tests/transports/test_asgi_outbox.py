"""The ASGI door and peers that take less than they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from liverpc.config import Limits
from liverpc.wire.framing import text_frame
from tests.transports.asgi_kit import HostedEcho, opened, settle
from tests.transports.transport_kit import Tallied

LIMITS = Limits(outbox_bytes=1000, outbox_frames=20)


@pytest.fixture
async def app() -> AsyncIterator[HostedEcho]:
    application = HostedEcho(LIMITS)
    async with application.lifespan():
        yield application
    assert all(len(session.ended) == 1 for session in application.sessions)


async def test_a_full_outbox_closes_with_1013(app: HostedEcho) -> None:
    visit = await opened(app)
    link = app.sessions[0].link
    visit.taking.clear()
    assert link.send(text_frame(b"x" * 5000))  # not full yet: any size
    await settle()
    assert link.buffered == 5000
    visit.taking.set()
    await settle()
    visit.taking.clear()
    assert link.send(text_frame(b"x" * 400))  # under way
    await settle()
    assert link.send(text_frame(b"x" * 599))
    assert link.send(text_frame(b"x"))  # exactly the limit
    assert not link.send(text_frame(b"x"))
    assert app.counters.outbox_overflows == 1
    assert not link.send(text_frame(b"x"))
    visit.taking.set()
    await settle()
    assert visit.closing == (1013, "too slow")
    assert visit.texts[1:] == ["x" * 400]
    visit.leave()
    await visit.over()
    assert app.sessions[0].ended == [(1013, "too slow")]


BURST = 4 * LIMITS.outbox_bytes


@pytest.mark.parametrize("sizes", [[BURST - 1], [BURST], [BURST + 1], [BURST - 1, 1], [1] * 1000])
async def test_a_burst_within_one_turn_may_be_larger_than_the_outbox(app: HostedEcho, sizes: list[int]) -> None:
    visit = await opened(app)
    link = app.sessions[0].link
    assert all(link.send(text_frame(b"x" * size)) for size in sizes)
    await settle()
    assert [len(text) for text in visit.texts] == sizes
    assert (link.buffered, app.counters.outbox_overflows) == (0, 0)
    visit.leave()
    await visit.over()


@pytest.mark.parametrize("sizes", [[BURST, 1], [BURST + 1, 1], [1000, 1000, 1000, 1000, 1]])
async def test_a_larger_burst_closes_with_1013(app: HostedEcho, sizes: list[int]) -> None:
    visit = await opened(app)
    link = app.sessions[0].link
    *fitting, last = sizes
    assert all(link.send(text_frame(b"x" * size)) for size in fitting)
    assert not link.send(text_frame(b"x" * last))
    assert (link.buffered, app.counters.outbox_overflows) == (0, 1)
    await settle()
    assert (visit.texts, visit.closing) == ([], (1013, "too slow"))
    visit.leave()
    await visit.over()


async def test_too_many_waiting_frames_close_with_1013(app: HostedEcho) -> None:
    visit = await opened(app)
    link = app.sessions[0].link
    visit.taking.clear()
    link.send(text_frame(b"a"))
    await settle()
    assert all(link.send(text_frame(b"a")) for _ in range(LIMITS.outbox_frames))
    assert not link.send(text_frame(b"a"))
    assert app.counters.outbox_frame_overflows == 1
    visit.taking.set()
    visit.leave()
    await visit.over()


async def test_volatile_frames_are_dropped_while_the_socket_is_full(app: HostedEcho) -> None:
    visit = await opened(app)
    link, tally = app.sessions[0].link, Tallied()
    assert link.send_volatile(tally, text_frame(b"1"))
    await settle()
    visit.taking.clear()
    assert link.send_volatile(tally, text_frame(b"2"))
    await settle()
    assert link.send_volatile(tally, text_frame(b"3"))
    assert app.counters.volatile_drops == tally.volatile_drops == 1
    visit.taking.set()
    await settle()
    assert visit.texts == ["1", "2"]
    link.close(1000)
    assert not link.send_volatile(Tallied(), text_frame(b"4"))
    visit.leave()
    await visit.over()


async def test_only_the_newest_of_each_key_waits_for_a_full_socket(app: HostedEcho) -> None:
    visit = await opened(app)
    link, tally = app.sessions[0].link, Tallied()
    assert link.send_latest(tally, "k", text_frame(b"0"))
    await settle()
    visit.taking.clear()
    link.send(text_frame(b"under way"))
    await settle()
    for key, value in [("a", b"1"), ("b", b"2"), ("a", b"3")]:
        assert link.send_latest(tally, key, text_frame(value))
    assert link.send(text_frame(b"before"))
    assert link.buffered == len(b"under way") + len(b"before") + 2
    assert app.counters.latest_replaced == tally.coalesced == 1
    visit.taking.set()
    await settle()
    assert visit.texts == ["0", "under way", "before", "3", "2"]
    assert link.buffered == 0
    visit.leave()
    await visit.over()


async def test_who_does_not_read_answers_is_not_listened_to() -> None:
    application = HostedEcho(Limits(outbox_bytes=1 << 20))
    async with application.lifespan():
        visit = await opened(application)
        visit.taking.clear()
        visit.say(*["big:30000"] * 100)
        await settle()
        assert visit.received <= 5
        assert application.sessions[0].link.buffered <= 100_000
        visit.taking.set()
        await asyncio.sleep(1)
        assert len(visit.texts) == 100
        visit.leave()
        await visit.over()
