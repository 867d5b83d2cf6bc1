"""What becomes of calls to contracts that wait: in which order they begin, and for which opening they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveServer, guard
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import NOT_FOUND, App, Page, connected, serve

NULL = {"ok": True, "data": None}
LATE = ("__event/send", "__event/in_turn", "__join/project", "__leave/project", "__close")


async def sends(page: Page, numbers: range) -> list[str]:
    return [await page.ask("chat/__event/send", {"text": str(number)}) for number in numbers]


@pytest.mark.parametrize("soon", [False, True])
async def test_calls_that_come_in_the_turn_of_the_opening_begin_behind_those_before(soon: bool) -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        await page.ask("chat/__open", {"room_id": "a"})
        calls = await sends(page, range(3))
        await env.settle()
        if soon:
            asyncio.get_running_loop().call_soon(app.gates["chat"].set)
        else:
            app.gates["chat"].set()
        calls += await sends(page, range(3, 6))
        for call in calls:
            await page.answer(call)
        assert [each[1] for each in app.log if each[0] == "send"] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("turns", range(6))
async def test_calls_that_come_shortly_after_the_opening_begin_behind_those_before(turns: int) -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        await page.ask("chat/__open", {"room_id": "a"})
        calls = await sends(page, range(3))
        await env.settle()
        app.gates["chat"].set()
        for _ in range(turns):
            await asyncio.sleep(0)
        calls += await sends(page, range(3, 6))
        for call in calls:
            await page.answer(call)
        assert [each[1] for each in app.log if each[0] == "send"] == ["0", "1", "2", "3", "4", "5"]


async def test_a_serial_action_that_waits_does_not_run_when_the_contract_is_closed() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        await page.call("chat/__open", {"room_id": "a"})
        app.log.clear()
        calls = [await page.ask("chat/__event/in_turn", {"text": text}) for text in ("1", "2")]
        await env.settle()
        assert await page.call("chat/__close") == NULL
        assert await page.answer(calls[0]) == NULL  # it had begun
        assert await page.answer(calls[1]) == NOT_FOUND
        assert app.log == [("begin", "1"), ("end", "1")]


async def test_an_opening_that_was_closed_does_not_take_a_later_one_with_it() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        first = await page.ask("chat/__open", {"room_id": "a"})
        await env.settle()
        assert await page.call("chat/__close") == NULL
        second = await page.ask("chat/__open", {"room_id": "b"})
        await env.settle()
        app.gates["chat"].set()
        assert await page.answer(first) == NOT_FOUND
        assert (await page.answer(second))["ok"]
        assert await page.call("chat/__event/whisper") == NULL


@pytest.mark.parametrize("how", ["guard", "middleware"])
@pytest.mark.parametrize("what", LATE)
@pytest.mark.parametrize("then", ["a", "b"])
async def test_a_call_is_for_what_was_open_when_it_came_and_for_nothing_opened_since(
    how: str, what: str, then: str
) -> None:
    app = App()
    app.authorise = lambda contract, data: ("project", data.project_id)

    async def slow(ctx: Context[Any]) -> None:
        if ctx.call == "c2":  # the one under test
            await asyncio.sleep(3)

    server = LiveServer([app.Chat], on_connect=connected, guards=[guard(slow)] if how == "guard" else [])
    if how == "middleware":

        @server.middleware
        async def around(ctx: Context[Any], proceed: Any) -> Any:
            await slow(ctx)
            return await proceed()

    async with TestEnv(server) as env:
        page, other = await Page.open(env, "/ws"), await Page.open(env, f"/rooms/{then}")
        await page.call("chat/__open", {"room_id": "a"})
        payload = {"project_id": "p1"} if "project" in what else {"text": "for the first"}
        waiting = await page.ask(f"chat/{what}", payload)
        await env.settle()
        assert await page.call("chat/__close") == NULL
        assert (await page.call("chat/__open", {"room_id": then}))["ok"]
        app.log.clear()
        assert await page.answer(waiting) == NOT_FOUND
        assert app.log == []
        assert await other.heard() == []
        assert await page.call("chat/__event/whisper") == NULL  # the later one is open, and as it was
        assert len(env.server._hub.topics) == 1
