"""Uploads that are not let in: how many there may be, and how large (docs/protocol.md sections 8 and 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, UploadContext, live
from tests.uploads.upload_kit import Sender, World, keep, serving, turns

MANY = "TOO_MANY_UPLOADS"


def codes(sender: Sender) -> list[Any]:
    return [code for _, code in sender.outcomes]


# -- how many


async def test_a_connection_has_so_many_and_no_more() -> None:  # acceptance 188: at, below, above
    async with serving(limits={"uploads_per_connection": 3}) as world:
        sender, other = world.connect(), world.connect()
        for stream in (1, 2, 3):
            sender.begin(stream)
        await turns()
        assert (sender.outcomes, len(world.states)) == ([], 3)
        sender.begin(4, data=b"x")
        assert sender.outcomes == [(4, MANY)]
        other.begin(1)
        await turns()
        assert (other.outcomes, len(world.states)) == ([], 4)
        sender.more(2, 1, last=True)
        await turns()
        sender.begin(4)
        await turns()
        assert sender.outcomes == [(4, MANY), (2, [])]
        assert world.count("uploads_refused") == 1


async def test_four_of_a_connection_are_the_default() -> None:
    async with serving() as world:
        sender = world.connect()
        for stream in range(1, 7):
            sender.begin(stream)
        assert sender.outcomes == [(5, MANY), (6, MANY)]


async def test_a_server_has_so_many_and_no_more() -> None:
    async with serving(limits={"uploads": 5, "uploads_per_connection": 4}) as world:
        one, two = world.connect(), world.connect()
        for stream in range(1, 4):
            one.begin(stream)
            two.begin(stream)
        assert (one.outcomes, two.outcomes) == ([], [(3, MANY)])
        one.leave()
        await turns(10)
        two.begin(3)
        await turns()
        assert two.outcomes == [(3, MANY)]
        assert len(world.states) == 3


async def test_a_function_has_so_many_in_all_and_of_a_connection() -> None:
    @live.upload(max_per_connection=2)
    async def two_each(ctx: UploadContext[Any]) -> int:
        return len([chunk async for chunk in ctx.upload])

    @live.upload(max_concurrent=3)
    async def three(ctx: UploadContext[Any]) -> int:
        return len([chunk async for chunk in ctx.upload])

    async with serving(two_each=two_each, three=three) as world:
        one, two = world.connect(), world.connect()
        for stream in (1, 2, 3):
            one.begin(stream, "m/two_each")
        assert one.outcomes == [(3, MANY)]
        one.begin(4)  # to another one
        two.begin(1, "m/two_each")
        assert (one.outcomes[1:], two.outcomes) == ([], [])
        for stream in (2, 3, 4):
            two.begin(stream, "m/three")
        one.begin(5, "m/three")
        assert one.outcomes[1:] == [(5, MANY)]
        two.more(2, 1, last=True)
        await turns()
        one.begin(5, "m/three")
        await turns()
        assert one.outcomes[2:] == []


async def test_a_function_cannot_take_more_of_a_connection_than_the_server_does() -> None:
    @live.upload(max_per_connection=100)
    async def many(ctx: UploadContext[Any]) -> int:
        return len([chunk async for chunk in ctx.upload])

    async with serving(many=many, limits={"uploads_per_connection": 2}) as world:
        sender = world.connect()
        for stream in (1, 2, 3):
            sender.begin(stream, "m/many")
        assert sender.outcomes == [(3, MANY)]


async def answered(world: World, sender: Sender) -> None:
    sender.more(1, 1, last=True)


async def given_up(world: World, sender: Sender) -> None:
    sender.give_up(1)
    sender.give_up(1)


async def out_of_turn(world: World, sender: Sender) -> None:
    sender.more(1, 7)
    sender.more(1, 8)


async def too_large(world: World, sender: Sender) -> None:
    sender.more(1, 1, b"x" * 101)
    sender.more(1, 2, b"x" * 101)


async def cut(world: World, sender: Sender) -> None:
    sender.leave()
    sender.leave()


async def cut_then_given_up(world: World, sender: Sender) -> None:
    sender.give_up(1)
    sender.leave()


async def complete_then_given_up(world: World, sender: Sender) -> None:
    sender.more(1, 1, last=True)
    sender.give_up(1)
    sender.more(1, 2)


ENDS = [answered, given_up, out_of_turn, too_large, cut, cut_then_given_up, complete_then_given_up]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
async def test_however_an_upload_ends_there_is_room_for_one_more_afterwards(end: Any, begun: bool) -> None:
    # acceptance 185
    @live.upload(max_concurrent=1, max_per_connection=1, max_size=100)
    async def single(ctx: UploadContext[Any]) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    async with serving(single=single) as world:
        for _ in range(3):  # a number that goes down twice shows on the second round
            sender, other = world.connect(), world.connect()
            sender.begin(1, "m/single")
            if begun:
                await turns()
            other.begin(1, "m/single")
            assert other.outcomes == [(1, MANY)]
            await end(world, sender)
            await turns(10)
            world.is_idle()
            assert len(sender.outcomes) <= 1
            assert len(sender.outcomes) == 1 or sender.closed_with
            assert world.count("uploads_started") == world.count("uploads_aborted") or end is answered


async def test_a_function_that_lingers_counts_until_it_has_ended() -> None:
    @live.upload(max_concurrent=1)
    async def lingers(ctx: UploadContext[Any]) -> None:
        try:
            async for _ in ctx.upload:
                pass
        finally:
            await asyncio.sleep(3)

    async with serving(lingers=lingers) as world:
        sender = world.connect()
        sender.begin(1, "m/lingers")
        await turns()
        sender.give_up(1)
        assert sender.outcomes == [(1, "CANCELLED")]
        await asyncio.sleep(2)
        assert world.states == ["ended early"]
        sender.begin(2, "m/lingers")
        assert sender.outcomes[1:] == [(2, MANY)]
        await asyncio.sleep(1.5)
        world.is_idle()
        sender.begin(2, "m/lingers")
        await turns()
        assert sender.outcomes[2:] == []


async def test_nobody_collects_lingering_functions_by_giving_up_again_and_again() -> None:
    @live.upload()
    async def lingers(ctx: UploadContext[Any]) -> None:
        try:
            async for _ in ctx.upload:
                pass
        finally:
            await asyncio.sleep(3)

    async with serving(lingers=lingers) as world:
        sender = world.connect()
        for stream in range(1, 100):
            sender.begin(stream, "m/lingers")
            await turns()
            sender.give_up(stream)
        assert len(world.states) <= 2 * 4
        assert len(sender.outcomes) == 99
        assert set(codes(sender)) == {"CANCELLED", MANY}


async def test_two_hundred_in_one_turn() -> None:
    async with serving() as world:
        senders = [world.connect() for _ in range(50)]
        for stream in range(1, 5):
            for sender in senders:
                sender.begin(stream, data=b"a")
        for sender in senders:
            sender.begin(5)
        assert len(world.states) == 200
        for sender in senders:
            for stream in range(1, 5):
                sender.more(stream, 1, b"b", last=True)
        await turns(10)
        for sender in senders:
            assert sorted(sender.outcomes) == [*((stream, ["a", "b"]) for stream in range(1, 5)), (5, MANY)]
        world.is_idle()


# -- how large


@live.upload(max_size=10)
async def small(ctx: UploadContext[Any]) -> int:
    return sum([len(chunk) async for chunk in ctx.upload])


@pytest.mark.parametrize(("size", "result"), [(9, 9), (10, 10), (11, "PAYLOAD_TOO_LARGE")])
@pytest.mark.parametrize("parts", [1, 2, 9])
@pytest.mark.parametrize("turn", [True, False])
async def test_a_function_takes_so_many_bytes(size: int, result: Any, parts: int, turn: bool) -> None:
    # acceptance 188: at, below, above
    async with serving(small=small) as world:
        sender = world.connect()
        sender.begin(1, "m/small", data=b"x" * (size - parts + 1), last=parts == 1)
        for number in range(1, parts):
            if turn:
                await turns()
            sender.more(1, number, b"x", last=number == parts - 1)
        await turns()
        assert sender.outcomes == [(1, result)]
        world.is_idle()


@pytest.mark.parametrize(
    ("size", "result"), [(9, 1), (10, 1), (11, "PAYLOAD_TOO_LARGE"), (2**64 - 1, "PAYLOAD_TOO_LARGE")]
)
async def test_an_announced_size_is_refused_at_once(size: int, result: Any) -> None:
    ran: list[str] = []

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        ran.append(ctx.path)
        return await following()

    async with serving(small=small, middlewares=[middleware]) as world:
        sender = world.connect()
        sender.begin(1, "m/small", data=b"x", last=True, size=size)
        if result != 1:
            assert sender.outcomes == [(1, result)]
        await turns()
        assert sender.outcomes == [(1, result)]
        assert bool(ran) is (result == 1)


async def test_without_a_word_it_takes_a_hundred_mebibytes() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, size=104_857_600)
        sender.begin(2, size=104_857_601)
        await turns()
        assert sender.outcomes == [(2, "PAYLOAD_TOO_LARGE")]


# -- in which order


async def test_the_checks_have_an_order() -> None:
    ran: list[str] = []

    @live.upload(max_concurrent=1, max_size=10)
    async def strict(ctx: UploadContext[Any], count: int) -> int:
        return len([chunk async for chunk in ctx.upload])

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        ran.append(f"middleware {ctx.call}")
        return await following()

    async with serving(
        strict=strict, keep=keep, middlewares=[middleware], limits={"uploads_buffer_bytes": 8, "upload_buffer_bytes": 8}
    ) as world:
        sender, full = world.connect(), world.connect()
        sender.begin(1, "m/strict", 1)
        await turns()
        ran.clear()
        # everything is wrong at once: what comes first in the order is answered
        sender.begin(1, "m", size=99)  # the number is in use
        sender.begin(2, "m", size=99)
        sender.begin(3, "m/none", size=99)
        sender.begin(4, "m/echo", size=99)
        sender.begin(5, "m/strict", "x", size=99)
        sender.more(1, 1, last=True)
        await turns()
        assert sender.outcomes == [
            (1, "INVALID_REQUEST"),
            (2, "INVALID_REQUEST"),
            (3, "NOT_FOUND"),
            (4, "INVALID_REQUEST"),
            (5, MANY),
            (1, 0),
        ]
        assert ran == []
        full.begin(1, data=b"123456789")  # before its function runs, there is no more room
        sender.begin(6, "m/strict", "x", size=99)
        assert sender.outcomes[6:] == [(6, "OVERLOADED")]
        await turns()
        sender.begin(7, "m/strict", "x", size=99)
        assert sender.outcomes[7:] == [(7, "PAYLOAD_TOO_LARGE")]
        await turns()
        assert ran == ["middleware 00000001"]


async def test_refused_uploads_further_chunks_are_ignored() -> None:
    async with serving(small=small) as world:
        sender = world.connect()
        sender.begin(1, "m/none", data=b"x")
        sender.begin(2, "m/small", size=11)
        for stream in (1, 2, 3):
            sender.more(stream, 1, b"x")
            sender.give_up(stream)
            sender.more(stream, 2, b"x", last=True)
        await turns()
        assert sender.outcomes == [(1, "NOT_FOUND"), (2, "PAYLOAD_TOO_LARGE")]
        assert world.count("uploads_started") == 0
        assert sender.closed_with is None
