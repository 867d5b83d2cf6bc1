from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from liverpc.backends.ports import Frame

Start = Callable[[str], Awaitable[Any]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Quiet = Callable[[], Awaitable[None]]


def frames(count: int, topic: str = "t") -> list[Frame]:
    return [Frame(topic, "e", b"%d" % n) for n in range(count)]


async def test_a_frame_reaches_all_other_nodes_and_not_its_own(start: Start, until: Until, quiet: Quiet) -> None:
    a, b, c = await start("a"), await start("b"), await start("c")
    frame = Frame("t", "created", b'{"id":1}')
    a.cluster.bus.publish(frame)
    await until(lambda: bool(b.frames and c.frames))
    await quiet()
    assert (a.frames, b.frames, c.frames) == ([], [frame], [frame])


async def test_frames_of_one_node_arrive_in_the_order_of_publishing(start: Start, until: Until) -> None:
    a, b = await start("a"), await start("b")
    sent = frames(500)
    for frame in sent:
        a.cluster.bus.publish(frame)
    await until(lambda: len(b.frames) == 500)
    assert b.frames == sent


async def test_nothing_arrives_before_publish_returns(start: Start) -> None:
    a, b = await start("a"), await start("b")
    a.cluster.bus.publish(Frame("t", "e", b"1"))
    assert b.frames == []


async def test_an_overflowing_node_loses_frames_and_tells_of_a_gap(start: Start, until: Until) -> None:
    a, b = await start("a"), await start("b")
    for frame in frames(30_000):
        a.cluster.bus.publish(frame)
    await until(lambda: bool(b.gaps))
    assert 0 < len(b.frames) < 30_000
    assert [f.data for f in b.frames] == [b"%d" % n for n in range(len(b.frames))]


async def test_a_receiver_that_raises_disturbs_neither_the_publisher_nor_later_frames(
    start: Start, until: Until
) -> None:
    a, b = await start("a"), await start("b")
    await b.cluster.aclose()
    seen: list[bytes] = []

    def receive(batch: list[Frame]) -> None:
        seen.extend(frame.data for frame in batch)
        raise LookupError("on purpose")

    await b.cluster.start(receive, b.gaps.append, b.messages.append)
    a.cluster.bus.publish(Frame("t", "e", b"1"))
    await until(lambda: seen == [b"1"])
    a.cluster.bus.publish(Frame("t", "e", b"2"))
    await until(lambda: seen == [b"1", b"2"])


async def test_a_direct_message_reaches_one_node(start: Start, until: Until, quiet: Quiet) -> None:
    a, b, c = await start("a"), await start("b"), await start("c")
    assert await a.cluster.bus.direct("b", b"hello")
    await until(lambda: b.messages == [b"hello"])
    await quiet()
    assert a.messages == c.messages == []


async def test_a_node_can_send_to_itself(start: Start, until: Until) -> None:
    a = await start("a")
    assert await a.cluster.bus.direct(a.cluster.bus.node, b"hello")
    await until(lambda: a.messages == [b"hello"])


async def test_a_direct_message_to_nobody_is_refused_at_once(start: Start) -> None:
    a, b = await start("a"), await start("b")
    assert not await a.cluster.bus.direct("nobody", b"hello")
    await b.cluster.aclose()
    assert not await a.cluster.bus.direct("b", b"hello")


async def test_a_closed_node_hears_nothing_more(start: Start, quiet: Quiet) -> None:
    a, b = await start("a"), await start("b")
    a.cluster.bus.publish(Frame("t", "e", b"1"))
    await a.cluster.bus.direct("b", b"hello")
    await b.cluster.aclose()
    a.cluster.bus.publish(Frame("t", "e", b"2"))
    heard = (list(b.frames), list(b.messages))
    await quiet()
    assert (b.frames, b.messages) == heard


async def test_a_closed_node_sends_nothing_more(start: Start, quiet: Quiet) -> None:
    a, b, c = await start("a"), await start("b"), await start("c")
    await a.cluster.aclose()
    a.cluster.bus.publish(Frame("t", "e", b"1"))
    await quiet()
    assert b.frames == c.frames == []


async def test_closing_twice_is_harmless(start: Start) -> None:
    a = await start("a")
    await a.cluster.aclose()
    await a.cluster.aclose()
