"""Streams with replay and pages, against our own server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType

import msgspec
import pytest

from liverpc import Context, LiveServer, live, public
from liverpc._types import Page
from liverpc.testing import TestEnv


class Line(msgspec.Struct):
    id: int


class Diary(ModuleType):
    """A module of live functions, with state of its own."""

    def __init__(self) -> None:
        super().__init__(__name__)
        lines = [Line(number) for number in range(7)]
        self.loads = 0
        self.failing = False
        self._guard = public()

        @live.stream("diary", replay=True)
        async def diary(ctx: Context) -> list[Line]:
            self.loads += 1
            return list(lines)

        @live.stream("pages")
        async def pages(ctx: Context) -> Page[Line]:
            start: int = ctx.cursor or 0
            return Page(lines[start : start + 3], has_more=start + 3 < len(lines), cursor=start + 3)

        @live.stream("logged_pages", replay=True)
        async def logged_pages(ctx: Context) -> Page[Line]:
            return await pages(ctx)

        @live.stream("fragile")
        async def fragile(ctx: Context) -> list[Line]:
            if self.failing:
                raise ValueError
            return list(lines)

        @live
        async def write(ctx: Context) -> Line:
            lines.append(Line(len(lines)))
            ctx.publish("diary", "created", lines[-1])
            return lines[-1]

        self.diary = diary
        self.pages = pages
        self.logged_pages = logged_pages
        self.fragile = fragile
        self.write = write


@pytest.fixture
def diary() -> Diary:
    return Diary()


def has(line: Line) -> Callable[[list[Line]], bool]:
    return lambda lines: line in lines


async def test_only_what_was_missed_is_sent_after_a_reconnect(diary: Diary) -> None:  # acceptance 196
    async with TestEnv(LiveServer([diary])) as env:
        reader, writer = env.connect(), env.connect()
        handle = await reader.subscribe(diary.diary)
        reader.cut()
        missed = [await writer.call(diary.write) for _ in range(3)]
        await handle.wait_for(has(missed[-1]))
        assert (handle.value, diary.loads) == ([Line(number) for number in range(10)], 1)
        later = await writer.call(diary.write)
        await handle.wait_for(has(later))
        assert len(handle.value) == 11


async def test_who_comes_back_in_time_is_sent_what_was_missed(diary: Diary) -> None:  # acceptance 219
    async with TestEnv(LiveServer([diary])) as env:
        reader, writer = env.connect(), env.connect()
        await (await reader.subscribe(diary.diary)).aclose()
        await asyncio.sleep(30.0)
        await writer.call(diary.write)
        again = await reader.subscribe(diary.diary)
        assert (len(again.value), diary.loads) == (8, 1)
        await again.aclose()
        await asyncio.sleep(61.0)
        assert len((await reader.subscribe(diary.diary)).value) == 8
        assert diary.loads == 2


async def test_a_dropped_event_is_asked_for(diary: Diary) -> None:
    async with TestEnv(LiveServer([diary])) as env:
        reader, writer = env.connect(), env.connect()
        handle = await reader.subscribe(diary.diary)
        env.chaos.set(drop_rate=1.0, seed="all")
        await writer.call(diary.write)
        env.chaos.clear()
        line = await writer.call(diary.write)
        await handle.wait_for(has(line))
        assert handle.value == [Line(number) for number in range(9)]
        assert (reader.counters.resyncs, diary.loads) == (1, 1)


async def test_pages_are_loaded_one_after_the_other(diary: Diary) -> None:  # acceptance 215
    async with TestEnv(LiveServer([diary])) as env:
        handle = await env.connect().subscribe(diary.pages)
        assert (len(handle.value), handle.has_more) == (3, True)
        assert [await handle.load_more() for _ in range(3)] == [True, False, False]
        assert handle.value == [Line(number) for number in range(7)]


async def test_a_reload_missed_by_a_paged_stream_begins_with_the_first_page(diary: Diary) -> None:
    async with TestEnv(LiveServer([diary])) as env:
        reader = env.connect()
        handle = await reader.subscribe(diary.logged_pages)
        while handle.has_more:
            await handle.load_more()
        reader.cut()
        await env.server.publish("logged_pages", "refreshed", [{"id": 0}])
        await handle.wait_for(lambda rows: len(rows) == 3)
        assert (handle.status, handle.has_more) == ("connected", True)
        assert (await handle.load_more(), len(handle.value)) == (True, 6)


async def test_a_stream_whose_loader_failed_after_a_reconnect_comes_back_by_itself(diary: Diary) -> None:
    async with TestEnv(LiveServer([diary])) as env:
        reader = env.connect()
        handle = await reader.subscribe(diary.fragile)
        diary.failing = True
        reader.cut()
        await handle.wait_for(lambda _: handle.status == "error", timeout=10.0)
        assert handle.error is not None
        assert (handle.error.code, len(handle.value)) == ("INTERNAL_ERROR", 7)
        diary.failing = False
        await handle.wait_for(lambda _: handle.status == "connected", timeout=60.0)
        assert reader.status == "connected"
