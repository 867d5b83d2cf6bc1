"""What the load tests drive: rooms where it is known what everybody has said."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from liverpc import LiveError
from liverpc.demo import load
from liverpc.demo.app import make_server
from liverpc.demo.world import Said, Visitor, World
from liverpc.testing import TestEnv, create_test_context


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(make_server(World())) as env:
        yield env


async def test_who_comes_to_a_room_gets_the_last_word_of_each(env: TestEnv) -> None:
    ann, bob = env.connect(query={"user": "ann"}), env.connect(query={"user": "bob"})
    assert [await ann.call(load.say, "g-1", n, 1.0, 2.0, "pad") for n in (0, 1)] == [0, 1]
    assert await bob.call(load.say, "g-2", 0, 3.0, 4.0) == 2  # one count for all rooms of a group
    assert await bob.call(load.say, "h-1", 0, 3.0, 4.0) == 0
    rows = await bob.subscribe(load.room, "g-1")
    assert rows.value == [Said("ann", 1, 1, 1.0, 2.0)]
    await ann.call(load.say, "g-1", 2, 5.0, 6.0, "pad")
    await rows.wait_for(lambda value: value == [Said("ann", 2, 3, 5.0, 6.0, "pad")])
    assert await ann.call(load.heard, "g-1") == {"ann": 3}
    assert await ann.call(load.said, "g") == 4


async def test_who_misses_something_in_a_room_with_replay_gets_it(env: TestEnv) -> None:
    ann, bob = env.connect(query={"user": "ann"}), env.connect(query={"user": "bob"})
    rows = await bob.subscribe(load.kept, "g-1")
    bob.cut()
    await ann.call(load.say_kept, "g-1", 0, 1.0, 2.0)
    await rows.wait_for(lambda value: value == [Said("ann", 0, 0, 1.0, 2.0)])


async def test_others_see_when_somebody_came_by_his_own_clock(env: TestEnv) -> None:
    ann, bob = env.connect(query={"user": "ann"}), env.connect(query={"user": "bob"})
    await ann.subscribe(load.room, "g-1")
    there = await ann.subscribe(load.present, "g-1")
    await bob.call(load.arrive, 12.5)
    await bob.subscribe(load.room, "g-1")
    await there.wait_for(lambda value: [(row.key, row.data.at) for row in value] == [("ann", 0.0), ("bob", 12.5)])


@pytest.mark.parametrize(
    ("limit", "full"), [("MAX_ROOMS", ("g-3", "ann")), ("MAX_SPEAKERS", ("g-1", "eve"))], ids=["rooms", "speakers"]
)
def test_rooms_are_not_without_end(limit: str, full: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, limit, 2)
    world = World()

    def say(room: str, who: str) -> None:
        load.say_kept(create_test_context(user=Visitor(who, world)), room, 0, 0.0, 0.0)

    for room, who in (("g-1", "ann"), ("g-1", "bob"), ("g-2", "ann"), ("g-1", "ann")):
        say(room, who)
    with pytest.raises(LiveError, match=r"rooms in this group|have spoken"):
        say(*full)


def test_the_oldest_group_and_arrival_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_GROUPS", 2)
    monkeypatch.setattr(load, "MAX_ARRIVALS", 2)
    world = World()
    for name in ("a", "b", "c"):
        ctx = create_test_context(user=Visitor(name, world))
        load.say_kept(ctx, f"{name}-1", 0, 0.0, 0.0)
        load.arrive(ctx, 1.0)
    assert [*world.groups] == [*world.arrivals] == ["b", "c"]
