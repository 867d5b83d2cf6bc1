"""Who is in a room, and what the others hear of it (docs/protocol.md section 12)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from liverpc import Context, RpcError, live
from tests.rooms.room_kit import ANN, BOB, Board, Who, names
from tests.streams.raw_client import Raw

GRACE = 5.0


async def test_those_who_have_the_data_are_listed_with_what_they_show() -> None:  # acceptance 141
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        assert watcher.value == []
        await board.enter(env, ANN)
        await watcher.wait_for(lambda rows: [(row.key, row.data) for row in rows] == [("ann", Who("Ann"))])


async def test_two_tabs_of_a_user_are_one_entry_until_the_grace_after_the_last_is_over() -> None:  # acceptance 142
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        first, _ = await board.enter(env)
        second, _ = await board.enter(env)
        await env.settle()
        assert names(watcher) == ["ann"]
        assert env.server.counters.published == 1
        await first.aclose()
        await asyncio.sleep(2 * GRACE)
        assert names(watcher) == ["ann"]
        await second.aclose()
        await asyncio.sleep(GRACE - 0.1)
        assert names(watcher) == ["ann"]
        await asyncio.sleep(0.2)
        assert names(watcher) == []


async def test_who_is_back_within_the_grace_was_never_away() -> None:
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        client, _ = await board.enter(env)
        client.cut()
        await asyncio.sleep(GRACE - 1)
        await env.settle()
        published = env.server.counters.published
        await asyncio.sleep(3 * GRACE)
        assert names(watcher) == ["ann"]
        assert env.server.counters.published == published == 1
        assert board.log.count("ann came to b1") == 1


async def test_late_comers_see_everybody_who_is_there() -> None:  # acceptance 144
    board = Board()
    async with board.opened() as env:
        await board.enter(env, ANN)
        await board.enter(env, BOB)
        client, _ = await board.enter(env, None)
        roster = await client.subscribe(board.who, "b1")
        assert names(roster) == ["ann", "bob", "__guest_"]
        assert roster.value[0].data == Who("Ann")


async def test_each_anonymous_connection_is_a_guest_of_its_own() -> None:
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        for _ in range(3):
            await board.enter(env, None)
        await env.settle()
        assert names(watcher) == ["__guest_"] * 3
        assert len({row.key for row in watcher.value}) == 3


async def test_what_is_shown_follows_the_newest_subscription_and_the_same_is_not_told_twice() -> None:
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        await board.enter(env)
        board.names["ann"] = "Anna"
        await board.enter(env)
        await watcher.wait_for(lambda rows: [row.data for row in rows] == [Who("Anna")])
        published = env.server.counters.published
        await board.enter(env)
        assert env.server.counters.published == published


async def test_who_shows_nothing_is_invisible_and_leaves_without_a_word() -> None:  # acceptance 152
    board = Board()
    board.names["ann"] = None
    async with board.opened() as env:
        client, _ = await board.enter(env)
        assert await client.call(board.present, "b1") == []
        await client.call(board.board.move_cursor, "b1", {"x": 1})
        await client.aclose()
        await asyncio.sleep(2 * GRACE)
        assert env.server.counters.published == 0
        assert "ann left b1" in board.log


async def test_who_hides_later_leaves_at_once_with_the_cursor() -> None:
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        client, _ = await board.enter(env)
        await client.call(board.board.move_cursor, "b1", {"x": 1})
        board.names["ann"] = None
        await board.enter(env)
        await watcher.wait_for(lambda rows: rows == [])
        cursors = await env.connect(user=BOB).subscribe(board.board.cursors, "b1")
        assert cursors.value == []


async def test_a_presence_function_that_fails_hides_the_user_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    reported: list[str] = []
    board.server.hooks.on_error = lambda path, error, ctx: reported.append(path)
    async with board.opened() as env:
        with caplog.at_level(logging.CRITICAL, "liverpc.rooms"):
            _, cards = await board.enter(env, {"id": "nameless"})
        assert cards.value == []
        assert reported == ["test/board/__presence"]


async def test_the_roster_of_a_newcomer_has_itself_whatever_the_order_of_a_batch() -> None:
    board = Board()
    async with board.opened() as env:
        client = env.connect(user=ANN)
        _, roster = await asyncio.gather(client.subscribe(board.board, "b1"), client.subscribe(board.who, "b1"))
        assert names(roster) == ["ann"]
        other = env.connect(user=BOB)
        roster, _ = await asyncio.gather(other.subscribe(board.who, "b1"), other.subscribe(board.board, "b1"))
        await roster.wait_for(lambda rows: [row.key for row in rows] == ["ann", "bob"])


async def test_a_room_that_cannot_be_loaded_is_left_at_once() -> None:  # acceptance 151
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        board.fails = True
        with pytest.raises(RpcError) as caught:
            await board.enter(env)
        assert caught.value.code == "BROKEN"
        await env.settle()
        assert names(watcher) == []
        assert env.server.counters.published == 2  # join and leave
        assert not [entry for entry in board.log if "ann" in entry]
        assert not list(env.server.rooms[0].rows())


async def test_hooks_are_called_once_for_each_user_and_leave_after_the_grace() -> None:  # acceptance 150
    board = Board()
    async with board.opened() as env:
        first, _ = await board.enter(env)
        second, _ = await board.enter(env)
        await first.aclose()
        await second.aclose()
        await asyncio.sleep(GRACE - 0.1)
        assert [entry for entry in board.log if "ann" in entry] == ["ann came to b1"]
        await asyncio.sleep(0.2)
        assert [entry for entry in board.log if "ann" in entry] == ["ann came to b1", "ann left b1"]
        assert not list(env.server.rooms[0].rows())


async def test_at_a_shutdown_everybody_leaves_at_once() -> None:
    board = Board()
    async with board.opened() as env:
        await board.enter(env)
    assert [entry for entry in board.log if "ann" in entry] == ["ann came to b1", "ann left b1"]


async def test_a_full_room_makes_place_of_those_who_left_and_then_lists_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:  # acceptance 154
    board = Board(presence_per_room=2)
    async with board.opened() as env:
        watcher = await board.watch(env)
        first, _ = await board.enter(env, {"id": "u1", "name": "One"})
        await board.enter(env, {"id": "u2", "name": "Two"})
        await first.aclose()
        await board.enter(env, {"id": "u3", "name": "Three"})
        await watcher.wait_for(lambda rows: [row.key for row in rows] == ["u2", "u3"])
        assert "u1 left b1" in board.log
        with caplog.at_level(logging.WARNING, "liverpc.rooms"):
            client, cards = await board.enter(env, {"id": "u4", "name": "Four"})
            await board.enter(env, {"id": "u5", "name": "Five"})
        assert len(caplog.records) == 1
        assert env.counters.presence_overflows == 2
        await client.call(board.add_card, "b1", "still usable")
        await cards.wait_for(lambda rows: len(rows) == 1)
        assert [row.key for row in watcher.value] == ["u2", "u3"]


async def test_those_for_whom_there_was_no_place_have_a_cursor_and_are_listed_when_there_is_one() -> None:
    board = Board(presence_per_room=1)
    async with board.opened() as env:
        watcher = await board.watch(env)
        first, _ = await board.enter(env, ANN)
        second, _ = await board.enter(env, BOB)
        third, _ = await board.enter(env, {"id": "carl", "name": "Carl"})
        await second.call(board.board.move_cursor, "b1", {"x": 1})
        cursors = await third.subscribe(board.board.cursors, "b1")
        assert cursors.value == [{"x": 1, "key": "bob"}]
        await first.aclose()
        await env.settle()
        assert [(row.key, row.data) for row in watcher.value] == [("bob", Who("Bob"))]
        board.names["bob"] = None
        await board.enter(env, BOB)
        await watcher.wait_for(lambda rows: [row.key for row in rows] == ["carl"])
        await third.aclose()
        await asyncio.sleep(2 * GRACE)
        assert names(watcher) == []


async def test_who_made_place_in_its_grace_leaves_once() -> None:
    board = Board(presence_per_room=1)
    async with board.opened() as env:
        ann, _ = await board.enter(env, ANN)
        await ann.aclose()
        await board.enter(env, BOB)
        await asyncio.sleep(3 * GRACE)
        assert [entry for entry in board.log if "ann" in entry] == ["ann came to b1", "ann left b1"]


async def test_a_user_has_a_grace_in_so_many_rooms_and_leaves_others_at_once() -> None:
    board = Board(presence_graces=2)
    async with board.opened() as env:
        client = env.connect(user=ANN)
        handles = [await client.subscribe(board.board, f"b{number}") for number in range(3)]
        other, _ = await board.enter(env, BOB, "b9")
        for handle in handles:
            await handle.aclose()
        await other.aclose()
        await env.settle()
        left = [row.name for row in env.server.rooms[0].rows()]
        assert (left, env.counters.presence_graces_cut) == (["board:b0", "board:b1", "board:b9"], 1)
        await asyncio.sleep(GRACE + 1)
        assert not list(env.server.rooms[0].rows())
        again = await client.subscribe(board.board, "b0")
        await again.aclose()
        await env.settle()
        assert env.counters.presence_graces_cut == 1


async def test_who_comes_and_goes_reloads_no_stream() -> None:
    board = Board()
    loads: list[int] = []

    @live.stream("totals", merge="set", invalidate_on="board:*", path="test/totals")
    def totals(ctx: Context[Any]) -> int:
        loads.append(1)
        return len(loads)

    @live.stream("who", merge="set", invalidate_on="board:*:presence", path="test/comings")
    def comings(ctx: Context[Any]) -> int:
        return 0

    board.add(totals=totals, comings=comings)
    async with board.opened() as env:
        watcher = env.connect(user=BOB)
        total = await watcher.subscribe(totals)
        await watcher.subscribe(comings)
        client, _ = await board.enter(env)
        await client.call(board.board.move_cursor, "b1", {"x": 1})
        await env.settle()
        assert (len(loads), env.counters.reloads) == (1, 1)
        await client.call(board.add_card, "b1", "Milk")
        await total.wait_for(lambda value: value == 2)


async def test_a_presence_function_that_meets_a_cancelled_future_hides_the_user() -> None:
    board = Board()

    async def cancelled(ctx: Any, board_id: str) -> Who:
        raise asyncio.CancelledError

    shows: Any = board.board.shows
    shows.handler = cancelled
    async with board.opened() as env:
        client, cards = await board.enter(env)
        assert cards.value == []
        assert await client.call(board.present, "b1") == []


@pytest.mark.parametrize("how", ["is cut", "says goodbye"])
async def test_a_client_that_leaves_while_it_is_being_listed_was_never_there(how: str) -> None:
    board = Board()
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(ctx: Any, board_id: str) -> Who:
        arrived.set()
        await go.wait()
        return Who("late")

    shows: Any = board.board.shows
    shows.handler = slow
    async with board.opened() as env:
        client = await Raw.open(env)
        await client.send(rpc="test/board/__data", id="1", args=["b1"], stream=True)
        await arrived.wait()
        if how == "is cut":
            client.socket.cut()
        else:
            await client.socket.close()
        await env.settle()
        go.set()
        await env.settle()
        assert env.counters.published == 0
        assert not list(env.server.rooms[0].rows())
