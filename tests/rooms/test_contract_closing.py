"""Closing a contract while something of it is under way, and opening it again behind that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveError
from tests.rooms.contract_kit import NOT_FOUND, App, Page, serve

NULL = {"ok": True, "data": None}
OPENED = {"ok": True, "data": {"joined": ["chat"], "refused": []}}
P1 = {"project_id": "p1"}


def slow_to(paths: str, refuses: bool = False) -> Any:
    async def waiting(ctx: Context[Any]) -> None:
        if ctx.path == paths:
            await asyncio.sleep(1)
            if refuses:
                raise LiveError("NO", "not closed")

    return waiting


@pytest.mark.parametrize("slow", ["", "chat/__close", "chat/__open"])
@pytest.mark.parametrize("then", ["a", "b"])
async def test_an_opening_behind_a_close_opens_anew_and_calls_behind_it_are_for_that(slow: str, then: str) -> None:
    app = App()
    async with serve(app.Chat, guards=[slow_to(slow)] if slow else []) as env:
        page = await Page.open(env, "/ws")
        await page.call("chat/__open", {"room_id": "a"})
        late = await page.ask("chat/__event/in_turn", {"text": "of the first"})
        calls = [
            await page.ask("chat/__close"),
            await page.ask("chat/__open", {"room_id": then}),
            await page.ask("chat/__open", {"room_id": then}),
            await page.ask("chat/__event/send", {"text": "hi"}),
        ]
        answers = [await page.answer(call) for call in calls]
        assert answers == [NULL, OPENED, OPENED, {"ok": True, "data": {"text": "hi"}}]
        assert await page.answer(late) == NULL  # it had begun
        assert [instance.params.room_id for instance in app.instances] == ["a", then]
        assert len(env.server._hub.topics) == 1


async def test_several_closes_and_openings_in_one_turn_are_taken_in_order() -> None:
    app = App()
    async with serve(app.Chat, guards=[slow_to("chat/__close")]) as env:
        page = await Page.open(env, "/rooms/a")
        calls = []
        for room_id in ("b", "c", "d"):
            calls += [await page.ask("chat/__close"), await page.ask("chat/__open", {"room_id": room_id})]
        answers = [await page.answer(call) for call in calls]
        assert answers[-1] == OPENED
        assert await page.call("chat/__open", {"room_id": "d"}) == OPENED
        assert len(env.server._hub.topics) == 1


async def test_what_a_guard_does_not_let_close_stays_open_and_nothing_else_is_opened() -> None:
    app = App()
    async with serve(app.Chat, guards=[slow_to("chat/__close", refuses=True)]) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        calls = [
            await page.ask("chat/__close"),
            await page.ask("chat/__open", {"room_id": "b"}),
            await page.ask("chat/__event/whisper"),
        ]
        assert [(await page.answer(call))["code"] for call in calls] == ["NO", "INVALID_REQUEST", "NOT_FOUND"]
        assert await page.call("chat/__open", {"room_id": "a"}) == OPENED
        assert await page.call("chat/__event/whisper") == NULL
        assert len(app.instances) == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_connection_lost_between_a_close_and_an_opening_leaves_nothing(refuses: bool) -> None:
    async with serve(App().Chat, guards=[slow_to("chat/__close", refuses=refuses)]) as env:
        page = await Page.open(env, "/rooms/a")
        await page.ask("chat/__close")
        await page.ask("chat/__open", {"room_id": "b"})
        await env.settle()
        await page.leave()
        await asyncio.sleep(2)
        assert not env.server._contracts
        assert not env.server._hub.topics


@pytest.mark.parametrize(("what", "answer"), [("__close", NOT_FOUND), ("__leave/project", NULL)])
async def test_a_join_that_is_being_decided_joins_nothing_when_it_is_overtaken(what: str, answer: Any) -> None:
    app = App()
    app.authorise = lambda contract, data: "p"
    app.gates["project"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        joining = await page.ask("chat/__join/project", P1)
        await env.settle()
        assert await page.call(f"chat/{what}", *([P1] if "leave" in what else [])) == NULL
        app.gates["project"].set()
        assert await page.answer(joining) == answer
        assert not [name for name in env.server._hub.topics.values() if name.wire == "chat/project"]
