from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from liverpc.backends.ports import EventLog, Pos

Start = Callable[[str], Awaitable[Any]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Quiet = Callable[[], Awaitable[None]]

HELD = 1000


async def fill(log: EventLog, count: int, topic: str = "t") -> list[Pos]:
    return [await log.append(topic, "e", b"%d" % n) for n in range(1, count + 1)]


async def test_events_are_numbered_from_one_per_topic(start: Start) -> None:
    log = (await start("a")).cluster.log
    assert [pos.seq for pos in await fill(log, 3, "t")] == [1, 2, 3]
    assert [pos.seq for pos in await fill(log, 2, "other")] == [1, 2]


async def test_an_event_is_read_as_it_was_appended(start: Start) -> None:
    a, b = await start("a"), await start("b")
    pos = await a.cluster.log.append("t", "created", b'{"id":1}')
    found = await b.cluster.log.read("t", None)
    assert (found.status, found.head) == ("ok", pos)
    assert [(f.topic, f.event, f.data, f.pos) for f in found.frames] == [("t", "created", b'{"id":1}', pos)]


@pytest.mark.parametrize("after", range(6))
async def test_reading_gives_what_came_after_the_position(start: Start, after: int) -> None:
    log = (await start("a")).cluster.log
    head = (await fill(log, 5))[-1]
    found = await log.read("t", Pos(head.epoch, after))
    assert (found.status, found.head) == ("ok", head)
    assert [f.data for f in found.frames] == [b"%d" % n for n in range(after + 1, 6)]


@pytest.mark.parametrize("limit", [1, 4, 5, 6])
async def test_a_limit_gives_the_oldest_of_them(start: Start, limit: int) -> None:
    log = (await start("a")).cluster.log
    positions = await fill(log, 5)
    found = await log.read("t", None, limit)
    assert [f.pos for f in found.frames] == positions[:limit]
    assert found.head == positions[-1]


async def test_the_first_event_after_reading_an_empty_log_is_no_reset(start: Start) -> None:
    a, b = await start("a"), await start("b")
    empty = await a.cluster.log.read("t", None)
    assert (empty.status, empty.frames, empty.head.seq) == ("ok", [], 0)
    await b.cluster.log.append("t", "e", b"1")
    found = await a.cluster.log.read("t", empty.head)
    assert (found.status, [f.data for f in found.frames]) == ("ok", [b"1"])


async def test_a_position_of_another_epoch_or_beyond_the_head_is_a_reset(start: Start) -> None:
    log = (await start("a")).cluster.log
    head = (await fill(log, 2))[-1]
    for after in (Pos("another", 1), Pos(head.epoch, 3), Pos(head.epoch, -1)):
        found = await log.read("t", after)
        assert (found.status, found.frames, found.head) == ("reset", [], head)


@pytest.mark.parametrize("count", [HELD - 1, HELD, HELD + 1])
async def test_a_reader_further_behind_than_the_log_holds_is_told_so(start: Start, count: int) -> None:
    log = (await start("a")).cluster.log
    head = (await fill(log, count))[-1]
    found = await log.read("t", Pos(head.epoch, 0), HELD)
    if count <= HELD:
        assert (found.status, len(found.frames)) == ("ok", count)
    else:
        assert (found.status, found.frames, found.head) == ("truncated", [], head)
    edge = await log.read("t", Pos(head.epoch, max(0, count - HELD)), HELD)
    assert edge.status == "ok"
    assert edge.frames[-1].pos == head
    assert len((await log.read("t", None, 2 * HELD)).frames) == min(count, HELD)


async def test_every_node_hears_all_appends_in_the_order_of_the_log(start: Start, until: Until) -> None:
    nodes = [await start(name) for name in "abc"]

    async def write(node: Any) -> None:
        for n in range(50):
            await node.cluster.log.append("t", "e", b"%d" % n)
            await asyncio.sleep(0)

    await asyncio.gather(*(write(node) for node in nodes))
    await until(lambda: all(len(node.frames) == 150 for node in nodes))
    for node in nodes:
        assert [frame.pos.seq for frame in node.frames] == list(range(1, 151))
        assert node.frames == nodes[0].frames


async def test_an_append_with_a_known_id_is_the_earlier_one(start: Start, quiet: Quiet) -> None:
    a, b = await start("a"), await start("b")
    first = await a.cluster.log.append("t", "e", b"1", dedupe="x")
    assert await b.cluster.log.append("t", "e", b"1", dedupe="x") == first
    assert (await a.cluster.log.append("t", "e", b"2", dedupe="y")).seq == 2
    assert (await a.cluster.log.append("other", "e", b"1", dedupe="x")).seq == 1
    await quiet()
    assert [(f.topic, f.data) for f in b.frames] == [("t", b"1"), ("t", b"2"), ("other", b"1")]
