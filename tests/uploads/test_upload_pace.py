"""Bytes that functions have not taken yet: reading stops, or clients are told to wait (docs/protocol.md section 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, UploadContext, live
from tests.uploads.upload_kit import Sender, World, serving, turns

ROOM = 100
STALL = 10


class Slow:
    """A function that takes a chunk when it is told to."""

    def __init__(self) -> None:
        self._permits: dict[str, asyncio.Semaphore] = {}
        self.got: dict[str, int] = {}

    async def take(self, chunks: int = 1, name: str = "a") -> None:
        for _ in range(chunks):
            self._permits.setdefault(name, asyncio.Semaphore(0)).release()
        await turns(8 + 2 * chunks)

    def functions(self) -> dict[str, Any]:
        @live.upload()
        async def slow(ctx: UploadContext[Any], name: str = "a") -> int:
            self.got[name] = 0
            while True:
                await self._permits.setdefault(name, asyncio.Semaphore(0)).acquire()
                try:
                    self.got[name] += len(await anext(ctx.upload))
                except StopAsyncIteration:
                    return self.got[name]

        return {"slow": slow}


@pytest.fixture
def slow() -> Slow:
    return Slow()


def alive(sender: Sender) -> bool:
    """Whether a call is answered at once."""
    before = len(sender.replies)
    sender.say(rpc="m/echo", id="alive")
    return len(sender.replies) > before


def buffered(world: World) -> int:
    return world.server.uploads.buffered


# -- without pace


@pytest.mark.parametrize(("size", "held"), [(ROOM - 1, False), (ROOM, False), (ROOM + 1, True)])
async def test_with_more_than_there_is_room_for_reading_stops(size: int, held: bool, slow: Slow) -> None:
    # at, below, above
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow")
        await turns()
        sender.more(1, 1, bytes(size - 1))
        assert world.states == ["receiving"]
        sender.more(1, 2, b"x")
        assert (sender.held, world.states) == (held, ["held" if held else "receiving"])
        assert alive(sender) is not held
        assert world.count("upload_holds") == held
        sender.leave()


async def test_other_connections_are_read_meanwhile(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender, other = world.connect(), world.connect()
        sender.begin(1, "m/slow", data=bytes(ROOM + 1))
        assert (sender.held, other.held) == (True, False)
        assert alive(other)
        other.begin(1, data=b"a", last=True)
        await turns()
        assert other.outcomes == [(1, ["a"])]


async def test_reading_goes_on_when_half_is_taken(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(10))
        for number in range(1, 11):
            sender.more(1, number, bytes(10))
        sender.more(1, 11, b"behind")
        sender.say(rpc="m/echo", id="behind")
        assert (sender.held, buffered(world)) == (True, 110)
        await slow.take(5)
        assert (sender.held, buffered(world)) == (True, 60)
        await slow.take()
        assert (sender.held, buffered(world)) == (False, 50 + len("behind"))
        assert sender.replies == [("behind", None)]
        sender.more(1, 12, last=True)
        await slow.take(7)
        assert sender.outcomes == [(1, 116)]
        assert world.count("upload_stalls") == 0


async def test_a_chunk_may_be_larger_than_the_room(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(10 * ROOM))
        sender.more(1, 1, bytes(10 * ROOM))
        sender.more(1, 2, bytes(10 * ROOM), last=True)
        for number in (1, 2, 3):
            assert buffered(world) == 10 * ROOM
            await slow.take()
            assert slow.got["a"] == number * 10 * ROOM
        await slow.take()
        assert sender.outcomes == [(1, 30 * ROOM)]


async def test_what_has_arrived_as_a_whole_stops_nobody(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(ROOM * 2), last=True)
        assert (sender.held, world.states) == (False, ["complete"])
        await asyncio.sleep(2 * STALL)
        assert alive(sender)
        await slow.take(2)
        assert sender.outcomes == [(1, ROOM * 2)]


@pytest.mark.parametrize("end", ["returns", "cut", "cancelled by itself"])
async def test_reading_goes_on_when_the_upload_ends(end: str) -> None:
    gate = asyncio.Event()

    @live.upload()
    async def ends(ctx: UploadContext[Any]) -> int:
        await gate.wait()
        if end == "cancelled by itself":
            raise asyncio.CancelledError
        return 1

    async with serving(ends=ends, limits={"upload_buffer_bytes": ROOM}) as world:
        sender = world.connect()
        sender.begin(1, "m/ends", data=bytes(ROOM + 1))
        sender.more(1, 1, bytes(ROOM))
        sender.say(rpc="m/echo", id="behind")
        assert sender.held
        if end == "cut":
            sender.leave()
        gate.set()
        await turns(10)
        assert not sender.held
        assert sender.replies == ([("behind", None)] if end != "cut" else [])
        world.is_idle()


async def test_a_function_that_takes_nothing_loses_its_upload(slow: Slow) -> None:  # acceptance 188
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(ROOM + 1))
        sender.more(1, 1, b"more", last=True)
        sender.say(rpc="m/echo", id="behind")
        await asyncio.sleep(STALL - 0.1)
        assert sender.log == []
        await asyncio.sleep(0.2)
        assert sender.outcomes == [(1, "FLOW_BACKPRESSURE")]
        assert sender.replies == [("behind", None)]
        assert (world.count("upload_stalls"), world.count("uploads_aborted")) == (1, 1)
        assert buffered(world) == 0


async def test_a_function_that_takes_something_keeps_it(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM, "upload_stall_seconds": 2.0}, **slow.functions()) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(1))
        for number in range(1, 11):
            sender.more(1, number, bytes(10))
        for _ in range(3):
            await asyncio.sleep(1.9)
            await slow.take()
        assert sender.held
        assert sender.outcomes == []
        await asyncio.sleep(1.8)
        assert sender.outcomes == []
        await asyncio.sleep(2.3)
        assert sender.outcomes == [(1, "FLOW_BACKPRESSURE")]


async def test_a_guard_that_takes_its_time_is_no_function_that_reads() -> None:
    async def guard(ctx: Context[Any]) -> None:
        await asyncio.sleep(1e6)

    async with serving(guard=guard, limits={"upload_buffer_bytes": ROOM}) as world:
        sender = world.connect()
        sender.begin(1, data=bytes(ROOM + 1))
        assert sender.held
        await asyncio.sleep(STALL + 1)
        assert sender.outcomes == [(1, "FLOW_BACKPRESSURE")]
        world.is_idle()


@pytest.mark.parametrize("first", ["calls", "upload"])
async def test_reading_goes_on_when_neither_calls_nor_uploads_hold_it(first: str, slow: Slow) -> None:
    gate = asyncio.Event()

    @live
    async def wait(ctx: Context[Any]) -> None:
        await gate.wait()

    async with serving(
        wait=wait, limits={"upload_buffer_bytes": ROOM, "calls_in_flight": 2}, **slow.functions()
    ) as world:
        sender = world.connect()
        sender.begin(1, "m/slow", data=bytes(ROOM + 1))
        assert sender.held
        for call in ("1", "2"):  # a transport may have read more than it handed on
            sender.session.receive(b'{"rpc":"m/wait","id":"%b"}' % call.encode(), True)
        await turns()
        for end in (first, "upload" if first == "calls" else "calls"):
            assert sender.held
            if end == "calls":
                gate.set()
                await turns()
            else:
                await slow.take()
        assert not sender.held
        assert alive(sender)


# -- with pace


async def test_a_client_is_told_what_it_may_send() -> None:
    for room, window in ((ROOM, ROOM), (1 << 20, 1 << 20), (4 << 20, 1 << 20)):
        async with serving(limits={"upload_buffer_bytes": room, "message_bytes": 12345}) as world:
            sender = world.connect()
            sender.say(type="hello", caps=["batch", "upload"])
            assert sender.log == [{"type": "upload-limits", "frameBytes": 12345, "windowBytes": window}]


@pytest.mark.parametrize("caps", [[], ["batch"], ["uploads"], [["upload"]], "upload", {"upload": 1}, None])
async def test_only_who_asks_is_told(caps: Any, slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect()
        sender.say(type="hello", caps=caps)
        sender.begin(1, "m/slow", data=bytes(ROOM))
        await slow.take()
        assert sender.log == []


async def test_credit_comes_with_what_is_taken(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect(paces=True)
        sender.begin(1, "m/slow", data=bytes(ROOM // 2))
        sender.more(1, 1, bytes(ROOM // 2))
        await turns()
        assert sender.credit(1) == []
        await slow.take()
        assert sender.credit(1) == [ROOM + ROOM // 2]
        await slow.take()
        assert sender.credit(1) == [ROOM + ROOM // 2, 2 * ROOM]
        sender.more(1, 2, bytes(ROOM), last=True)
        await slow.take(2)
        assert sender.outcomes == [(1, 2 * ROOM)]
        assert sender.credit(1)[2:] == []


async def paced(sender: Sender, stream: int, path: str, total: int, chunk: int, window: int, *args: Any) -> None:
    """Upload as a client does that keeps to its credit; without credit it goes on asking: give it a timeout."""
    number, sent = 0, 0
    while True:
        allowed = max([window, *sender.credit(stream)])
        size = min(chunk, total - sent, allowed - sent)
        if size > 0 or total == sent:
            if number == 0:
                sender.begin(stream, path, *args, data=bytes(size), last=size == total)
            else:
                sender.more(stream, number, bytes(size), last=sent + size == total)
            sent, number = sent + size, number + 1
            if sent == total:
                return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("chunk", [1, 7, ROOM, 10 * ROOM])
async def test_who_keeps_to_it_is_never_stopped_and_gets_through(chunk: int) -> None:
    @live.upload()
    async def busy(ctx: UploadContext[Any]) -> int:
        total = 0
        async for data in ctx.upload:
            total += len(data)
            await asyncio.sleep(0.1)
        return total

    async with serving(busy=busy, limits={"upload_buffer_bytes": ROOM}) as world:
        sender = world.connect(paces=True)
        uploads = [paced(sender, stream, "m/busy", 1000, chunk, ROOM) for stream in (1, 2, 3, 4)]
        async with asyncio.timeout(300):
            await asyncio.gather(*uploads)
        await asyncio.sleep(200)
        assert sorted(sender.outcomes) == [(stream, 1000) for stream in (1, 2, 3, 4)]
        assert world.count("upload_holds") == 0
        for stream in (1, 2, 3, 4):
            credit = sender.credit(stream)
            assert credit == sorted(set(credit))
            assert credit[-1] <= 1000 + ROOM


async def test_a_slow_function_delays_nothing_but_its_own_upload(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect(paces=True)
        sender.begin(1, "m/slow", data=bytes(ROOM))  # all it may send
        await asyncio.sleep(100 * STALL)
        assert alive(sender)
        sender.begin(2, data=b"a")
        await turns()
        sender.more(2, 1, b"b", last=True)
        await turns()
        assert sender.outcomes == [(2, ["a", "b"])]
        await slow.take()
        assert sender.credit(1) == [2 * ROOM]


async def test_who_does_not_keep_to_it_is_stopped_as_others(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect(paces=True)
        sender.begin(1, "m/slow", data=bytes(ROOM + 1))
        assert sender.held
        await asyncio.sleep(STALL + 1)
        assert sender.outcomes == [(1, "FLOW_BACKPRESSURE")]


async def test_no_credit_follows_the_answer(slow: Slow) -> None:
    async with serving(limits={"upload_buffer_bytes": ROOM}, **slow.functions()) as world:
        sender = world.connect(paces=True)
        sender.begin(1, "m/slow", data=bytes(ROOM // 2))
        sender.more(1, 1, bytes(ROOM // 2))
        sender.give_up(1)
        await slow.take(5)
        assert sender.credit(1) == []
        assert sender.outcomes == [(1, "CANCELLED")]


# -- all of them together


@pytest.mark.parametrize(("more", "held", "refused"), [(39, False, False), (40, False, True), (41, True, True)])
async def test_all_uploads_together_have_so_much_room(more: int, held: bool, refused: bool, slow: Slow) -> None:
    # at, below, above
    limits = {"upload_buffer_bytes": 80, "uploads_buffer_bytes": ROOM}
    async with serving(limits=limits, **slow.functions()) as world:
        one, two, three = world.connect(), world.connect(), world.connect()
        one.begin(1, "m/slow", "one", data=bytes(60))
        two.begin(1, "m/slow", "two", data=bytes(more))
        assert (one.held, two.held) == (False, held)
        three.begin(1, data=b"x", last=True)
        await turns()
        assert three.outcomes == [(1, "OVERLOADED" if refused else ["x"])]
        assert world.count("uploads_refused") == refused


async def test_then_reading_stops_where_bytes_wait_and_nowhere_else(slow: Slow) -> None:
    limits = {"upload_buffer_bytes": 80, "uploads_buffer_bytes": ROOM}
    async with serving(limits=limits, **slow.functions()) as world:
        one, two, three = (world.connect() for _ in range(3))
        three.begin(1)
        await turns()
        one.begin(1, "m/slow", "one", data=bytes(60))
        two.begin(1, "m/slow", "two", data=bytes(30))
        two.more(1, 1, bytes(30))
        assert (one.held, two.held) == (False, True)
        one.more(1, 1, b"x")
        assert one.held
        three.more(1, 1, last=True)
        await turns()
        assert three.outcomes == [(1, [])]
        assert alive(three)
        await slow.take(1, "one")  # 61 of 121 are left: room for all
        await slow.take(1, "two")
        assert (one.held, two.held) == (False, False)
        for sender in (one, two):
            sender.more(1, 2, last=True)
        await slow.take(3, "one")
        await slow.take(3, "two")
        assert (one.outcomes, two.outcomes) == ([(1, 61)], [(1, 60)])


async def test_uploads_to_functions_that_read_get_through_while_others_fill_the_room(slow: Slow) -> None:
    limits = {"upload_buffer_bytes": ROOM, "uploads_buffer_bytes": ROOM, "upload_stall_seconds": 1000.0}
    async with serving(limits=limits, **slow.functions()) as world:
        reader, filler = world.connect(), world.connect()
        reader.begin(1)
        await turns()
        filler.begin(1, "m/slow", data=bytes(ROOM + 50))
        assert filler.held
        for number in range(1, 30):
            reader.more(1, number, b"x", last=number == 29)
        await asyncio.sleep(1)
        assert reader.outcomes == [(1, ["x"] * 29)]
        assert filler.held
        assert buffered(world) == ROOM + 50


async def test_what_waits_is_bounded_by_the_limit_and_a_message_each(slow: Slow) -> None:
    limits = {"upload_buffer_bytes": 100, "uploads_buffer_bytes": 300}
    async with serving(limits=limits, **slow.functions()) as world:
        senders = [world.connect() for _ in range(20)]
        for number in range(20):
            for name, sender in enumerate(senders):
                if number == 0:
                    sender.begin(1, "m/slow", str(name))
                else:
                    sender.more(1, number, bytes(50))
        await turns()
        assert 300 < buffered(world) <= 300 + 20 * 50
        assert all(sender.held for sender in senders)
        await asyncio.sleep(4 * STALL)  # there is room again after the first ones, until the others fill it
        assert [sender.outcomes for sender in senders] == [[(1, "FLOW_BACKPRESSURE")]] * 20
        assert buffered(world) == 0


async def test_together_paced_clients_share_the_room() -> None:
    @live.upload()
    async def busy(ctx: UploadContext[Any]) -> int:
        total = 0
        async for data in ctx.upload:
            total += len(data)
            await asyncio.sleep(0.1)
        return total

    limits = {"upload_buffer_bytes": ROOM, "uploads_buffer_bytes": 3 * ROOM}
    async with serving(busy=busy, limits=limits) as world:
        senders = [world.connect(paces=True) for _ in range(10)]
        async with asyncio.timeout(300):
            await asyncio.gather(*(paced(sender, 1, "m/busy", 1000, 10, ROOM) for sender in senders[:3]))
        await asyncio.sleep(100)
        assert [sender.outcomes for sender in senders[:3]] == [[(1, 1000)]] * 3
        assert world.count("upload_holds") == 0
