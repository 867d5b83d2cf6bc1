"""Actions, cursors and the guard of a room (docs/protocol.md section 12)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import LiveError, LiveServer, RpcError, access, live, public
from liverpc.client import remote
from liverpc.testing import TestEnv
from tests.rooms.room_kit import ANN, BOB, Board, Card
from tests.streams.raw_client import Raw


async def refused(awaitable: Any) -> str:
    with pytest.raises(RpcError) as caught:
        await awaitable
    return caught.value.code


# -- actions


async def test_an_action_gets_the_arguments_of_the_room_and_its_own() -> None:  # acceptance 147, 149
    board = Board()
    async with board.opened() as env:
        client, cards = await board.enter(env)
        _, elsewhere = await board.enter(env, board_id="b2")
        assert await client.call(board.add_card, "b1", "Milk", times=2) == Card("M", "MilkMilk")
        await cards.wait_for(lambda rows: rows == [Card("M", "MilkMilk")])
        await env.settle()
        assert elsewhere.value == []


async def test_an_event_of_an_action_arrives_before_its_answer() -> None:
    board = Board()
    async with board.opened() as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("test/board/__data", "b1"))["topic"] == "board:b1"
        await raw.send(rpc="test/board/__action/add_card", id="a", args=["b1", "Milk"])
        frames = [await raw.recv(), await raw.recv()]
        assert [(frame["topic"], frame["event"]) for frame in frames] == [("board:b1", "created"), ("__rpc", "a")]


async def test_arguments_of_an_action_are_checked_before_the_guard_is_asked() -> None:
    board = Board()
    async with board.opened() as env:
        code = await refused(env.connect().call(remote("test/board/__action/add_card"), "b1", 7))
        assert (code, board.log) == ("VALIDATION", ["module"])


async def test_what_belongs_to_a_room_has_no_path_of_its_own() -> None:
    board = Board()
    paths = set(board.server.registry.paths)
    assert paths == {
        "test/board/__data",
        "test/board/__presence",
        "test/board/__cursors",
        "test/board/__action/move_cursor",
        "test/board/__action/add_card",
        "test/board/__action/present",
    }
    assert board.add_card.path == "test/board/__action/add_card"
    assert (board.who.path, board.board.path) == ("test/board/__presence", "test/board/__data")


async def test_a_stream_request_for_an_action_runs_nothing() -> None:
    board = Board()
    async with board.opened() as env:
        raw = await Raw.open(env)
        answer = await raw.subscribe("test/board/__action/present", "b1")
        assert answer["ok"] is True  # a call, whatever else the frame has: nothing is subscribed
        assert not env.server.subscribers("board:b1")
        await raw.send(rpc="test/board/__data", id="x", args=["b1"])
        assert (await raw.recv())["data"]["code"] == "INVALID_REQUEST"


# -- the guard


async def test_the_guard_comes_first_for_every_part_of_a_room() -> None:  # acceptance 146
    board = Board()
    board.barred = {"b1"}
    async with board.opened() as env:
        client = env.connect(user=ANN)
        for part in (board.board, board.who, board.board.cursors):
            assert await refused(client.subscribe(part, "b1")) == "NOT_YOURS"
        assert await refused(client.call(board.add_card, "b1", "Milk")) == "NOT_YOURS"
        assert await refused(client.call(board.board.move_cursor, "b1", {"x": 1})) == "NOT_YOURS"
        assert board.log == ["module", "guard"] * 5
        assert (env.counters.published, board.cards, list(env.server.rooms[0].rows())) == (0, {}, [])
        assert [refusal.room for refusal in env.server.rooms[0].refusals()] == ["test/board"] * 5
        assert env.server.rooms[0].refusals()[0].reason == "NOT_YOURS"
        assert await client.call(board.add_card, "b2", "Milk") == Card("M", "Milk")


async def test_a_guard_that_says_false_or_fails_refuses_without_detail() -> None:
    board = Board()

    @board.board.guard
    def broken(ctx: Any, board_id: str) -> bool:
        if board_id == "b1":
            return False
        raise RuntimeError("secret detail")

    async with board.opened() as env:
        for board_id in ("b1", "b2"):
            with pytest.raises(RpcError) as caught:
                await board.enter(env, board_id=board_id)
            assert caught.value.code == "FORBIDDEN"
            assert "secret" not in caught.value.message
        with pytest.raises(RpcError) as caught:
            await board.enter(env, None)
        assert caught.value.code == "UNAUTHENTICATED"
        assert not env.counters.published


async def test_access_and_scoped_hold_for_all_parts_of_a_room() -> None:
    only_ann = access.user(from_=lambda ctx, *args: "ann", field="id")

    @live.scoped(only_ann)
    @live.room("r:{name}", cursors=True, path="test/r")
    def r(ctx: Any, name: str) -> list[Card]:
        return []

    @live.room("s:{name}", cursors=True, access=only_ann, path="test/s")
    def s(ctx: Any, name: str) -> list[Card]:
        return []

    async with TestEnv(LiveServer({"test": SimpleNamespace(r=r, s=s, _guard=public())})) as env:
        ann, bob = env.connect(user=ANN), env.connect(user=BOB)
        for part in (r, s, r.cursors, s.cursors):
            await ann.subscribe(part, "x")
            assert await refused(bob.subscribe(part, "x")) == "FORBIDDEN"
        for mover in (r.move_cursor, s.move_cursor):
            await ann.call(mover, "x", {"x": 1})
            assert await refused(bob.call(mover, "x", {"x": 1})) == "FORBIDDEN"


@pytest.mark.parametrize("beside", [":presence", ":cursors"])
async def test_no_argument_reaches_what_stands_beside_another_room(beside: str) -> None:
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        stranger = env.connect(user={"id": "eve", "name": "Eve"})
        for part in (board.board, board.who, board.board.cursors):
            assert await refused(stranger.subscribe(part, "b1" + beside)) == "INVALID_REQUEST"
        assert await refused(stranger.call(board.add_card, "b1" + beside, "evil")) == "INVALID_REQUEST"
        await env.settle()
        assert (watcher.value, env.counters.published) == ([], 0)


# -- cursors


async def test_cursors_are_thinned_and_the_last_position_is_always_sent() -> None:
    board = Board()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        watcher = await env.connect(user=BOB).subscribe(board.board.cursors, "b1")
        for x in range(20):
            await client.call(board.board.move_cursor, "b1", {"x": x, "key": "somebody else"})
        await asyncio.sleep(0.2)
        assert watcher.value == [{"key": "ann", "x": 19}]
        assert env.counters.published <= 1 + 3  # the join, the first, at most one in each interval


async def test_a_late_comer_sees_where_the_cursors_are() -> None:
    board = Board()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        await client.call(board.board.move_cursor, "b1", {"x": 4, "y": 5})
        watcher = await env.connect(user=BOB).subscribe(board.board.cursors, "b1")
        assert watcher.value == [{"x": 4, "y": 5, "key": "ann"}]


async def test_who_is_in_its_grace_moves_no_cursor() -> None:
    board = Board()
    async with board.opened() as env:
        client, cards = await board.enter(env)
        await cards.aclose()
        await env.settle()
        assert await refused(client.call(board.board.move_cursor, "b1", {"x": 1})) == "INVALID_REQUEST"


async def test_a_cursor_goes_with_its_owner_even_while_a_position_waits_to_be_sent() -> None:
    board = Board()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        other, _ = await board.enter(env)
        watcher = await env.connect(user=BOB).subscribe(board.board.cursors, "b1")
        await client.call(board.board.move_cursor, "b1", {"x": 1})
        await client.call(board.board.move_cursor, "b1", {"x": 2})
        await other.aclose()
        await env.settle()
        assert len(watcher.value) == 1
        await client.aclose()
        await env.settle()
        assert watcher.value == []
        await asyncio.sleep(1)
        assert watcher.value == []
        assert not env.server._pacing._throttled


async def test_who_is_not_in_the_room_has_no_cursor_there() -> None:
    board = Board()
    async with board.opened() as env:
        assert await refused(env.connect(user=ANN).call(board.board.move_cursor, "b1", {"x": 1})) == "INVALID_REQUEST"


@pytest.mark.parametrize("arguments", [[], [{"x": 1}], ["b1"], ["b1", 7], [7, {"x": 1}], ["b1", {"x": "y" * 1100}]])
async def test_a_position_is_a_small_object_behind_the_arguments_of_the_room(arguments: list[Any]) -> None:
    board = Board()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        assert await refused(client.call(remote("test/board/__action/move_cursor"), *arguments)) == "VALIDATION"


async def test_a_position_may_have_1024_bytes() -> None:
    board = Board()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        room = 1024 - len('{"x":"","key":"ann"}')
        await client.call(board.board.move_cursor, "b1", {"x": "y" * room})
        assert await refused(client.call(board.board.move_cursor, "b1", {"x": "y" * (room + 1)})) == "VALIDATION"


async def test_an_action_may_move_the_cursor_and_take_the_place_of_the_one_that_is_there() -> None:
    board = Board()

    @board.board.action
    async def move_cursor(ctx: Any, board_id: str, x: int) -> bool:
        if x < 0:
            raise LiveError("OUTSIDE")
        ctx.room.move_cursor({"x": x})
        return True

    board.serve()
    async with board.opened() as env:
        client, _ = await board.enter(env)
        mover: Any = board.board.move_cursor
        assert await client.call(mover, "b1", 3) is True
        assert await refused(client.call(mover, "b1", -3)) == "OUTSIDE"
        cursors = await client.subscribe(board.board.cursors, "b1")
        assert cursors.value == [{"x": 3, "key": "ann"}]
