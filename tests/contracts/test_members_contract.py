from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Start = Callable[[str], Awaitable[Any]]

TTL = 1.0  # as the suite's backends are configured


async def outlive(*nodes: Any) -> None:
    """Let a lease and a bit pass, during which only these nodes beat."""
    for _ in range(4):
        await asyncio.sleep(TTL / 3)
        for node in nodes:
            assert await node.cluster.members.beat()


async def test_a_node_that_started_is_known(start: Start) -> None:
    a = await start("a")
    assert await a.cluster.members.beat()


async def test_a_node_that_beats_is_never_reaped(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await outlive(a, b)
    assert await a.cluster.members.reap() == []


async def test_a_node_that_stops_beating_is_handed_to_one_reaper(start: Start) -> None:
    a, b, _ = await start("a"), await start("b"), await start("c")
    await outlive(a, b)
    reaped = [await a.cluster.members.reap(), await b.cluster.members.reap()]
    assert sorted(reaped) == [[], ["c"]]


async def test_a_forgotten_node_is_reaped_no_more_and_an_unfinished_one_again(start: Start) -> None:
    a, b, _, _ = await start("a"), await start("b"), await start("c"), await start("d")
    await outlive(a, b)
    assert sorted(await a.cluster.members.reap()) == ["c", "d"]
    await a.cluster.members.forget("c")
    for _ in range(100):
        await outlive(a, b)
        if again := await b.cluster.members.reap():
            break
    else:
        raise AssertionError("the reaper that did not finish was not replaced")
    assert again == ["d"]


async def test_a_node_given_up_learns_of_it_and_lives_again(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await outlive(a)
    assert await a.cluster.members.reap() == ["b"]
    assert not await b.cluster.members.beat()
    for _ in range(40):
        await outlive(a, b)
        assert await a.cluster.members.reap() == []


async def test_a_node_that_left_is_reaped_at_once(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await b.cluster.aclose()
    assert await a.cluster.members.reap() == ["b"]


async def test_a_node_never_reaps_itself(start: Start) -> None:
    a = await start("a")
    await asyncio.sleep(TTL * 2)
    assert await a.cluster.members.reap() == []


async def test_a_users_connections_are_located_newest_first(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await a.cluster.registry.add("ann", "old")
    await asyncio.sleep(0.01)
    await b.cluster.registry.add("ann", "new")
    await a.cluster.registry.add("bob", "other")
    found = await a.cluster.registry.locate("ann")
    assert [(w.node, w.conn) for w in found] == [("b", "new"), ("a", "old")]
    assert found[0].since_ms >= found[1].since_ms > 0


async def test_adding_a_connection_again_makes_it_the_newest(start: Start) -> None:
    a, b = await start("a"), await start("b")
    for cluster in (a.cluster, b.cluster, a.cluster):
        await cluster.registry.add("ann", "1")
        await asyncio.sleep(0.01)
    assert [w.node for w in await b.cluster.registry.locate("ann")] == ["a", "b"]


async def test_removing_a_connection_leaves_the_users_others(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await a.cluster.registry.add("ann", "1")
    await b.cluster.registry.add("ann", "1")
    await b.cluster.registry.remove("ann", "1")
    assert [w.node for w in await b.cluster.registry.locate("ann")] == ["a"]
    await b.cluster.registry.remove("ann", "1")
    await a.cluster.registry.remove("ann", "1")
    assert await a.cluster.registry.locate("ann") == []
    await a.cluster.registry.remove("nobody", "1")


async def test_connections_of_a_dead_node_are_not_located(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await a.cluster.registry.add("ann", "1")
    await b.cluster.registry.add("ann", "2")
    await outlive(a)
    assert [w.node for w in await a.cluster.registry.locate("ann")] == ["a"]
    await b.cluster.members.beat()
    assert [w.node for w in await a.cluster.registry.locate("ann")] == ["b", "a"]


async def test_evicting_a_node_removes_its_connections_only(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await a.cluster.registry.add("ann", "1")
    await b.cluster.registry.add("ann", "2")
    await b.cluster.registry.add("bob", "3")
    await a.cluster.registry.evict("b")
    assert [w.conn for w in await a.cluster.registry.locate("ann")] == ["1"]
    assert await a.cluster.registry.locate("bob") == []
