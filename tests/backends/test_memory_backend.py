from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.backends.memory import World, memory_cluster
from liverpc.backends.ports import Cluster, Frame, Gap, Pos
from liverpc.clock import SeededClock
from liverpc.config import Limits
from liverpc.errors import ConfigError


def ignore(_: object) -> None:
    pass


async def started(name: str, world: World, on_frames: Any = ignore, on_gap: Any = ignore) -> Cluster:
    cluster = memory_cluster(name, world)
    await cluster.start(on_frames, on_gap, ignore)
    return cluster


def run(main: Any) -> Any:
    return asyncio.run(main)


# worlds and clusters


async def test_clusters_without_a_world_are_alone() -> None:
    a, b = memory_cluster(), memory_cluster()
    assert a.bus.node != b.bus.node
    await a.leases.acquire("x", 10)
    assert await b.leases.acquire("x", 10) is not None


def test_ids_come_from_the_clock() -> None:
    first, second = (memory_cluster(clock=SeededClock(1)).bus.node for _ in range(2))
    assert first == second


def test_a_world_with_clocks_takes_no_others() -> None:
    with pytest.raises(ConfigError, match="give clock, monotonic and limits to World"):
        memory_cluster("a", World(), clock=SeededClock())


async def test_time_is_the_given_function() -> None:
    now = 100.0
    cluster = memory_cluster(monotonic=lambda: now)
    grant = await cluster.leases.acquire("x", 5)
    assert grant is not None
    assert grant.deadline == 105.0
    now = 105.0
    assert await cluster.leases.acquire("x", 5) is not None


async def test_time_is_the_running_loops_by_default() -> None:
    cluster = memory_cluster()
    await cluster.leases.acquire("x", 3600)
    await asyncio.sleep(3600)
    assert await cluster.leases.acquire("x", 3600) is not None


def test_time_outside_of_a_loop_is_the_machines() -> None:
    before = time.monotonic()
    coroutine = memory_cluster().leases.acquire("x", 0)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)  # no in-process method ever waits
    assert before <= done.value.value.deadline <= time.monotonic()


async def test_an_in_process_node_lives_until_it_leaves_by_default() -> None:
    world = World()
    a, b = await started("a", world), await started("b", world)
    await b.registry.add("ann", "1")
    await asyncio.sleep(10**9)
    assert len(await a.registry.locate("ann")) == 1
    assert await a.members.reap() == []


async def test_two_running_nodes_cannot_have_one_name() -> None:
    world = World()
    a = await started("a", world)
    with pytest.raises(ValueError, match="'a' has started already"):
        await started("a", world)
    await a.aclose()
    await started("a", world)


async def test_a_node_that_cannot_join_stops_listening() -> None:
    class Broken:
        async def beat(self) -> bool:
            raise ConnectionError("away")

    world = World()
    good = memory_cluster("a", world)
    parts = {name: getattr(good, name) for name in good.__struct_fields__}
    cluster = Cluster(**parts | {"members": Broken()})
    with pytest.raises(ConnectionError):
        await cluster.start(ignore, ignore, ignore)
    assert not world.buses


async def test_a_node_that_cannot_leave_stops_listening_all_the_same() -> None:
    class Broken:
        async def beat(self) -> bool:
            return False

        async def leave(self) -> None:
            raise ConnectionError("away")

    world = World()
    good = memory_cluster("a", world)
    parts = {name: getattr(good, name) for name in good.__struct_fields__}
    cluster = Cluster(**parts | {"members": Broken()})
    await cluster.start(ignore, ignore, ignore)
    with pytest.raises(ConnectionError):
        await cluster.aclose()
    assert not world.buses


# bus


@pytest.mark.parametrize("count", [9_999, 10_000, 10_001])
async def test_an_inbox_holds_ten_thousand_frames(count: int) -> None:
    world = World()
    got: list[object] = []
    a = await started("a", world)
    b = await started("b", world, got.extend, got.append)
    for n in range(count):
        a.bus.publish(Frame("t", "e", b"%d" % n))
    await asyncio.sleep(0)
    lost = max(0, count - 10_000)
    expected: list[object] = [Frame("t", "e", b"%d" % n) for n in range(min(count, 10_000))]
    assert got == expected + [Gap("overflow")] * bool(lost)
    assert world.buses["b"].dropped == lost
    assert b.bus is world.buses["b"]


async def test_a_logged_event_has_arrived_everywhere_when_append_returns_after_earlier_frames() -> None:
    world = World()
    heard: dict[str, list[Frame]] = {"a": [], "b": []}
    a = await started("a", world, heard["a"].extend)
    await started("b", world, heard["b"].extend)
    plain = Frame("t", "e", b"1")
    a.bus.publish(plain)
    pos = await a.log.append("t", "e", b"2")
    logged = Frame("t", "e", b"2", pos)
    assert heard == {"a": [logged], "b": [plain, logged]}
    await asyncio.sleep(1)
    assert heard == {"a": [logged], "b": [plain, logged]}


async def test_callbacks_that_raise_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise LookupError("on purpose")

    world = World()
    a, b = await started("a", world), memory_cluster("b", world)
    await b.start(fail, fail, fail)
    for n in range(10_001):
        a.bus.publish(Frame("t", "e", b"%d" % n))
    await a.bus.direct("b", b"x")
    await asyncio.sleep(0)
    assert [(r.name, r.levelno) for r in caplog.records] == [("liverpc.backends", logging.ERROR)] * 3


# bounds


async def test_the_log_of_the_topic_longest_unused_is_dropped_for_a_new_one() -> None:
    cluster = memory_cluster()
    heads = [await cluster.log.append(f"t{n}", "e", b"1") for n in range(10_000)]
    assert (await cluster.log.read("t0", heads[0])).status == "ok"  # used: t1 is the oldest now
    await cluster.log.append("one more", "e", b"1")
    assert (await cluster.log.read("t0", heads[0])).status == "ok"
    assert (await cluster.log.read("t2", heads[2])).status == "ok"
    dropped = await cluster.log.read("t1", heads[1])
    assert dropped.status == "reset"
    assert dropped.head.epoch != heads[1].epoch
    # Nor is a reader deceived who compares numbers only.
    assert dropped.head.seq >= heads[1].seq


async def test_a_log_takes_no_more_bytes_than_it_may() -> None:
    log = memory_cluster(clock=SeededClock(), limits=Limits(replay_bytes=10_000)).log
    first = await log.append("first", "e", b"1" * 4000)
    second = await log.append("second", "e", b"1" * 4000)
    await log.append("second", "e", b"1" * 4000)
    assert (await log.read("first", first)).status == "reset"  # the one longest unused goes whole
    assert (await log.read("second", second)).status == "ok"
    last = [await log.append("second", "e", b"1" * 4000) for _ in range(3)][-1]
    found = await log.read("second", None)
    assert [frame.pos for frame in found.frames] == [msgspec.structs.replace(last, seq=4), last]  # the oldest go


async def test_reading_takes_no_room_and_an_empty_log_ends_with_any_other() -> None:
    cluster = memory_cluster(limits=Limits(replay_topics=2))
    await cluster.log.append("a", "created", b"1")
    heads = [(await cluster.log.read(f"t{n}", None)).head for n in range(5)]
    assert len({head.epoch for head in heads}) == 1
    assert len((await cluster.log.read("a", None)).frames) == 1
    assert (await cluster.log.append("t0", "created", b"1")).epoch == heads[0].epoch
    await cluster.log.clear("a")
    assert (await cluster.log.read("t1", heads[1])).status == "reset"
    assert (await cluster.log.read("t0", heads[0])).status == "ok"


async def test_a_cleared_log_begins_another_epoch_and_no_number_again() -> None:
    log = memory_cluster().log
    before = await log.append("t", "e", b"1")
    await log.clear("t")
    await log.clear("never there")
    assert (await log.read("t", before)).status == "reset"
    after = await log.append("t", "e", b"2")
    assert after.epoch != before.epoch
    assert after.seq > before.seq


async def test_an_id_is_known_as_long_as_its_event_is_held() -> None:
    log = memory_cluster(clock=SeededClock()).log
    first = await log.append("t", "e", b"1", dedupe="x")
    for _ in range(999):
        await log.append("t", "e", b"1")
    assert await log.append("t", "e", b"1", dedupe="x") == first
    await log.append("t", "e", b"1")
    assert (await log.append("t", "e", b"1", dedupe="x")).seq == 1002


async def test_claims_and_leases_that_nobody_ended_are_forgotten() -> None:
    world = World()
    for n in range(3000):
        await world.idempotency.begin(f"k{n}", hold=1)
        await world.leases.acquire(f"k{n}", ttl=1)
        if n % 100 == 0:
            await asyncio.sleep(1)
    assert len(world.idempotency._running._entries) <= 1100
    assert len(world.leases._held._entries) <= 1100


async def test_what_is_empty_is_not_kept() -> None:
    world = World()
    cluster = await started("a", world)
    await cluster.registry.add("ann", "1")
    await cluster.registry.remove("ann", "1")
    await cluster.presence.enter("r", "ann", b"1")
    await cluster.presence.leave("r", "ann")
    await cluster.presence.leave("s", "ann")
    assert not world.connections
    assert not world.rosters.topics


# laws


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 35), st.integers(0, 40))
def test_a_slice_continues_where_the_reader_was(writes: list[int], after: int, limit: int) -> None:
    async def main() -> None:
        log = memory_cluster(clock=SeededClock()).log
        for n in writes:
            await log.append(f"t{n}", "e", b"1")
        head = (await log.read("t0", None, 0)).head
        found = await log.read("t0", Pos(head.epoch, after), limit)
        if after > head.seq:
            assert found.status == "reset"
        else:
            seqs = [frame.pos.seq for frame in found.frames if frame.pos is not None]
            assert seqs == list(range(after + 1, min(head.seq, after + limit) + 1))

    run(main())


STEPS = st.tuples(st.sampled_from("ab"), st.sampled_from(["ann", "bob"]), st.sampled_from([None, b"1", b"2"]))


@given(st.lists(STEPS, max_size=30))
def test_presence_changes_replayed_give_the_roster(steps: list[tuple[str, str, bytes | None]]) -> None:
    async def main() -> None:
        world = World()
        nodes = {name: memory_cluster(name, world).presence for name in "ab"}
        users: dict[str, bytes] = {}
        version = 0
        for node, user, meta in steps:
            if meta is None:
                change = await nodes[node].leave("r", user)
            else:
                change = await nodes[node].enter("r", user, meta)
            if change is not None:
                version += 1
                assert change.version == version
                assert (change.kind == "join") == (user not in users)
                if change.kind == "leave":
                    del users[user]
                else:
                    users[user] = change.meta
            roster = await nodes["a"].roster("r")
            assert (roster.version, roster.users) == (version, users)

    run(main())
