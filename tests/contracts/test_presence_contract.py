from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from liverpc.backends.ports import PresenceChange

Start = Callable[[str], Awaitable[Any]]


def kinds(*changes: PresenceChange | None) -> list[str | None]:
    return [None if change is None else change.kind for change in changes]


async def test_entering_and_leaving_make_one_change_each(start: Start) -> None:
    presence = (await start("a")).cluster.presence
    joined = await presence.enter("r", "ann", b'{"n":1}')
    left = await presence.leave("r", "ann")
    assert joined == PresenceChange("r", "join", "ann", b'{"n":1}', joined.version)
    assert left == PresenceChange("r", "leave", "ann", b"null", joined.version + 1)


async def test_repeating_a_call_changes_nothing(start: Start) -> None:
    presence = (await start("a")).cluster.presence
    await presence.enter("r", "ann", b"1")
    assert await presence.enter("r", "ann", b"1") is None
    await presence.leave("r", "ann")
    assert await presence.leave("r", "ann") is None
    assert await presence.leave("never used", "ann") is None


async def test_a_user_on_two_nodes_joins_once_and_leaves_once(start: Start) -> None:
    a, b = await start("a"), await start("b")
    assert kinds(
        await a.cluster.presence.enter("r", "ann", b"1"),
        await b.cluster.presence.enter("r", "ann", b"1"),
        await a.cluster.presence.leave("r", "ann"),
        await b.cluster.presence.leave("r", "ann"),
    ) == ["join", None, None, "leave"]


async def test_a_user_shows_what_was_entered_last_and_falls_back_when_that_leaves(start: Start) -> None:
    a, b = await start("a"), await start("b")
    await a.cluster.presence.enter("r", "ann", b'"phone"')
    newer = await b.cluster.presence.enter("r", "ann", b'"laptop"')
    assert (newer.kind, newer.meta) == ("update", b'"laptop"')
    assert (await a.cluster.presence.roster("r")).users == {"ann": b'"laptop"'}
    older = await b.cluster.presence.leave("r", "ann")
    assert (older.kind, older.meta) == ("update", b'"phone"')
    assert (await a.cluster.presence.roster("r")).users == {"ann": b'"phone"'}


async def test_entering_with_other_meta_is_an_update(start: Start) -> None:
    presence = (await start("a")).cluster.presence
    await presence.enter("r", "ann", b"1")
    change = await presence.enter("r", "ann", b"2")
    assert (change.kind, change.meta) == ("update", b"2")


async def test_versions_grow_by_one_and_the_roster_carries_the_last(start: Start) -> None:
    a, b = await start("a"), await start("b")
    before = (await a.cluster.presence.roster("r")).version
    changes = [
        await a.cluster.presence.enter("r", "ann", b"1"),
        await b.cluster.presence.enter("r", "bob", b"1"),
        await b.cluster.presence.enter("r", "ann", b"2"),
        await a.cluster.presence.leave("r", "ann"),
        await b.cluster.presence.leave("r", "bob"),
    ]
    versions = [change.version for change in changes if change is not None]
    assert versions == list(range(before + 1, before + 5))
    assert (await b.cluster.presence.roster("r")).version == versions[-1]


async def test_versions_never_fall_even_after_everybody_left(start: Start) -> None:
    presence = (await start("a")).cluster.presence
    for topic in ("r", "s", "r", "s"):
        versions = [(await presence.roster(topic)).version]
        changes = [
            await presence.enter(topic, "ann", b"1"),
            await presence.enter(topic, "bob", b"1"),
            await presence.leave(topic, "ann"),
            await presence.leave(topic, "bob"),
        ]
        versions += [change.version for change in changes]
        assert versions == sorted(set(versions))
        empty = await presence.roster(topic)
        assert empty.users == {}
        assert empty.version >= versions[-1]


async def test_topics_are_independent(start: Start) -> None:
    presence = (await start("a")).cluster.presence
    await presence.enter("r", "ann", b"1")
    await presence.enter("s", "bob", b"2")
    assert (await presence.roster("r")).users == {"ann": b"1"}
    assert (await presence.roster("s")).users == {"bob": b"2"}


async def test_evicting_a_node_makes_one_leave_per_user_that_is_nowhere_else(start: Start) -> None:
    a, b, c = await start("a"), await start("b"), await start("c")
    await a.cluster.presence.enter("r", "ann", b"1")
    await b.cluster.presence.enter("r", "ann", b"2")
    await b.cluster.presence.enter("r", "bob", b"1")
    await b.cluster.presence.enter("s", "bob", b"1")
    results = await asyncio.gather(a.cluster.presence.evict("b"), c.cluster.presence.evict("b"))
    changes = sorted((x.topic, x.kind, x.user, x.meta) for result in results for x in result)
    assert changes == [
        ("r", "leave", "bob", b"null"),
        ("r", "update", "ann", b"1"),
        ("s", "leave", "bob", b"null"),
    ]
    assert (await c.cluster.presence.roster("r")).users == {"ann": b"1"}
