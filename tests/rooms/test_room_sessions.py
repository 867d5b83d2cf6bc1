"""What becomes of rooms when a connection's user is refreshed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from liverpc import LiveError, guard, public
from liverpc.declare.contract import Contract
from liverpc.declare.members import room
from liverpc.testing import TestEnv
from tests.rooms import contract_kit
from tests.rooms.contract_kit import App, Page, Params, ToClient, User, Who, serve
from tests.rooms.room_kit import BOB, Board, names

_guard = public()

LOST = ("chat/__client", "__lost")
BACK = ("chat/__client", "__joined", {"room": "chat"})


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> dict[str, User]:
    users = dict(contract_kit.USERS)
    monkeypatch.setattr(contract_kit, "USERS", users)
    return users


async def ann_in(env: TestEnv, *projects: str) -> Page:
    """A page of ann's that has opened the chat and asked for rooms."""
    page = await Page.open(env, "/rooms/r1", user="ann")
    for project in projects:
        assert (await page.call("chat/__join/project", {"project_id": project}))["ok"]
    assert (await page.call("chat/__join/tenant"))["ok"]
    return page


def topics(env: TestEnv) -> int:
    return len(env.server._hub.topics)


async def test_rooms_that_may_be_kept_are_kept(users: dict[str, User]) -> None:
    async with serve(App().Chat) as env:
        page = await ann_in(env, "p1", "p2")
        before = topics(env)
        assert await env.server.refresh(user="ann") == 1
        assert topics(env) == before
        assert await page.heard() == []


async def test_a_room_that_is_refused_now_is_left_and_its_client_told(users: dict[str, User]) -> None:
    async with serve(App().Chat) as env:
        page = await ann_in(env, "p1", "p2")
        before = topics(env)
        users["ann"] = User("ann", "red", ("p1",))
        assert await env.server.refresh(user="ann") == 1
        assert await page.heard() == [(*LOST, {"room": "project", "args": [{"project_id": "p2"}]})]
        assert topics(env) == before - 1
        for project in ("p1", "p2"):
            await page.call("chat/__event/to_project", {"project_id": project})
        assert await page.heard() == [("chat/project", "cleared", None)]
        assert (await page.call("chat/__join/project", {"project_id": "p2"}))["code"] == "JOIN_REJECTED"


async def test_a_room_with_another_key_now_is_another_group(users: dict[str, User]) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page, bob, cid = await ann_in(env), *[await Page.open(env, "/rooms/r1", user=user) for user in ("bob", "cid")]
        users["ann"] = User("ann", "blue", ())
        assert await env.server.refresh(user="ann") == 1
        for other in (bob, cid):
            assert (await other.call("chat/__join/tenant"))["ok"]
            await other.call("chat/__event/to_tenant")
        assert await page.heard() == [("chat/tenant", "cleared", None)]
        await page.call("chat/__event/to_tenant")
        assert [topic for topic, *_ in await bob.heard()] == ["chat/tenant"]  # its own
        assert [topic for topic, *_ in await cid.heard()] == ["chat/tenant", "chat/tenant"]


async def test_contracts_see_the_new_locals(users: dict[str, User]) -> None:
    async with serve(App().Chat) as env:
        page = await ann_in(env)
        users["ann"] = User("ann", "green")
        assert await env.server.refresh(user="ann") == 1
        connection = env.server.connections[0]
        assert connection.locals == Who(User("ann", "green"))
        (served,) = env.server._contracts._clients[connection].values()
        assert served.contract is not None and served.contract.locals is connection.locals
        assert (await page.call("chat/__event/who"))["data"] == "ann"


async def test_a_room_joined_by_itself_is_lost_and_comes_back(users: dict[str, User]) -> None:
    app = App()
    app.key = lambda contract: ("chat", contract.locals.user.tenant) if contract.locals.user.tenant else None
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        opened = {"joined": ["chat"], "refused": []}
        assert (await page.call("chat/__open", {"room_id": "r1"}))["data"] == opened
        users["ann"] = User("ann", None)
        assert await env.server.refresh(user="ann") == 1
        assert await page.heard() == [(*LOST, {"room": "chat", "args": []})]
        refused = {"joined": [], "refused": ["chat"]}
        assert (await page.call("chat/__open", {"room_id": "r1"}))["data"] == refused
        assert topics(env) == 0
        users["ann"] = User("ann", "red")
        assert await env.server.refresh(user="ann") == 1
        assert (await page.call("chat/__open", {"room_id": "r1"}))["data"] == opened
        await page.call("chat/__event/send", {"text": "hi"})
        assert await page.heard() == [BACK, ("chat/chat", "message", {"text": "hi"})]


async def test_what_a_handler_has_joined_stays(users: dict[str, User]) -> None:
    async with serve(App().Chat) as env:
        page = await ann_in(env)
        await page.call("chat/__event/enter", {"project_id": "p9"})
        users["ann"] = User("ann", "red")
        assert await env.server.refresh(user="ann") == 1
        await page.call("chat/__event/to_project", {"project_id": "p9"})
        assert await page.heard() == [("chat/project", "cleared", None)]


async def test_a_selector_that_hangs_loses_its_room_in_time(users: dict[str, User]) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await ann_in(env, "p1")
        app.gates["project"] = asyncio.Event()
        before = asyncio.get_running_loop().time()
        assert await env.server.refresh(user="ann") == 1
        assert asyncio.get_running_loop().time() == before + 10
        assert await page.heard() == [(*LOST, {"room": "project", "args": [{"project_id": "p1"}]})]


async def test_a_join_that_is_being_decided_is_asked_again(users: dict[str, User]) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await ann_in(env)
        app.gates["project"] = asyncio.Event()
        app.authorise = lambda contract, data: ("project", "p1") if app.log.count(("project", "p1")) < 2 else None
        call = await page.ask("chat/__join/project", {"project_id": "p1"})
        await env.settle()
        users["ann"] = User("ann", "red")
        assert await env.server.refresh(user="ann") == 1
        app.gates.pop("project").set()
        assert (await page.answer(call))["code"] == "JOIN_REJECTED"


async def test_an_opening_that_is_being_decided_is_asked_again(users: dict[str, User]) -> None:
    app = App()
    keys: list[Any] = []

    def key(contract: Any) -> Any:
        keys.append(contract.locals.user.tenant)
        return ("chat", contract.locals.user.tenant)

    app.key, app.gates["chat"] = key, asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        await env.settle()
        users["ann"] = User("ann", "green")
        assert await env.server.refresh(user="ann") == 1
        app.gates.pop("chat").set()
        assert (await page.call("chat/__open", {"room_id": "r1"}))["ok"]
        assert keys[-1] == "green"
        assert app.log.count("chat") == 2


async def test_a_leave_during_the_question_wins(users: dict[str, User]) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await ann_in(env, "p1")
        app.gates["project"] = asyncio.Event()
        users["ann"] = User("ann", "red")
        refreshing = asyncio.ensure_future(env.server.refresh(user="ann"))
        await env.settle()
        assert (await page.call("chat/__leave/project", {"project_id": "p1"}))["ok"]
        app.gates.pop("project").set()
        assert await refreshing == 1
        assert await page.heard() == []


@pytest.mark.parametrize("size", [8191, 8192])
async def test_what_a_room_is_asked_for_with_is_kept_and_therefore_bounded(size: int) -> None:
    app = App()
    app.authorise = lambda contract, data: "x"
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        payload = {"project_id": "p" * (size - len('[{"project_id": ""}]'))}
        answer = await page.call("chat/__join/project", payload)
        assert answer.get("code") == (None if size == 8191 else "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("how", ["refused", "failed"])
async def test_a_required_room_that_is_lost_closes_the_connection(users: dict[str, User], how: str) -> None:
    class Chat(Contract[ToClient, Params, Who], path="/rooms/{room_id}", name="needy"):
        @room.private(auto_join=True, required=True)
        def chat(self) -> Any:
            tenant = self.locals.user and self.locals.user.tenant
            if tenant == "bad":
                raise OSError("the database is away")
            return tenant

    async with serve(Chat) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        await env.settle()
        users["ann"] = User("ann", None if how == "refused" else "bad")
        await env.server.refresh(user="ann")
        assert await page.closed() == (4403 if how == "refused" else 1013)


async def test_a_guard_that_refuses_now_takes_all_rooms(users: dict[str, User]) -> None:
    def members(ctx: Any) -> None:
        if ctx.user.tenant is None:
            raise LiveError("NOT_YOU", "members only")

    app = App()
    async with serve(app.Chat, guards=[guard(members)]) as env:
        page = await ann_in(env, "p1")
        await page.call("chat/__event/enter", {"project_id": "p9"})
        users["ann"] = User("ann", None, ("p1",))
        assert await env.server.refresh(user="ann") == 1
        lost = [data for topic, event, data in await page.heard() if (topic, event) == LOST]
        assert sorted(each["room"] for each in lost) == ["chat", "project", "tenant"]
        assert topics(env) == 0
        assert (await page.call("chat/__event/who"))["code"] == "NOT_YOU"
        users["ann"] = User("ann", "red")
        assert await env.server.refresh(user="ann") == 1
        await page.call("chat/__event/send", {"text": "back"})
        assert await page.heard() == [BACK, ("chat/chat", "message", {"text": "back"})]


async def test_a_guard_is_asked_as_when_the_contract_opens(users: dict[str, User]) -> None:
    paths: list[str] = []

    def members(ctx: Any) -> None:
        paths.append(ctx.path)

    async with serve(App().Chat, guards=[guard(members)]) as env:
        page = await ann_in(env)
        paths.clear()
        assert await env.server.refresh(user="ann") == 1
        assert paths == ["chat/__open"]
        assert await page.heard() == []


async def test_rooms_that_are_lost_are_counted(users: dict[str, User]) -> None:
    async with serve(App().Chat) as env:
        await ann_in(env, "p1", "p2")
        users["ann"] = User("ann", "red", ("p1",))
        assert await env.server.refresh(user="ann") == 1
        assert env.server.counters.streams_revoked == 1


async def test_a_payload_that_cannot_be_read_any_more_keeps_no_other_room(users: dict[str, User]) -> None:
    bad = False

    class Named(msgspec.Struct):
        name: str

        def __post_init__(self) -> None:
            if bad:
                raise OSError("the database is away")

    class Numbered(msgspec.Struct):
        number: int

    class Talk(Contract[ToClient, Params, Who], path="/rooms/{room_id}", name="talk"):
        @room.expose
        async def named(self, data: Named) -> Any:
            return data.name

        @room.expose
        async def numbered(self, data: Numbered) -> Any:
            await asyncio.sleep(0.1)
            return None if bad else str(data.number)

    async with serve(Talk) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        assert (await page.call("talk/__join/named", {"name": "x"}))["ok"]
        for number in range(20):
            assert (await page.call("talk/__join/numbered", {"number": number}))["ok"]
        bad = True
        assert await env.server.refresh(user="ann") == 1
        assert topics(env) == 0
        assert env.server.counters.streams_revoked == 21


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_guard_closes_as_refused_whatever_failed_before(users: dict[str, User], hangs: bool) -> None:
    barred = False

    class Chat(Contract[ToClient, Params, Who], path="/rooms/{room_id}", name="needy"):
        @room.private(auto_join=True, required=True)
        def chat(self) -> Any:
            return "all"

    async def checked(ctx: Any) -> bool:
        await asyncio.sleep(1000 if barred and hangs else 0)
        return not barred

    async with serve(Chat, guards=[guard(checked)]) as env:
        page = await Page.open(env, "/rooms/r1", user="ann")
        await env.settle()
        (served,) = env.server._contracts._clients[env.server.connections[0]].values()
        served.selectors.failed.add("chat")
        barred = True
        await env.server.refresh(user="ann")
        assert await page.closed() == (1013 if hangs else 4403)


# -- the client


async def test_a_page_hears_that_it_is_in_a_room_again(users: dict[str, User]) -> None:
    app = App()
    app.key = lambda contract: contract.locals.user.tenant
    users["ann"] = User("ann", None)
    async with serve(app.Chat) as env:
        page = await env.open(app.Chat, query={"user": "ann"}, room_id="r1").open()
        assert (page.joined, page.refused) == ((), ("chat",))
        for tenant, joined in (("red", True), ("blue", True), (None, False), ("red", True)):
            users["ann"] = User("ann", tenant)
            assert await env.server.refresh(user="ann") == 1
            await env.settle()
            assert (page.joined, page.refused) == ((("chat",), ()) if joined else ((), ("chat",)))


async def test_a_page_hears_which_room_it_has_lost(users: dict[str, User]) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await env.open(app.Chat, query={"user": "ann"}, room_id="r1").open()
        lost: list[Any] = []
        page.on_join_lost(lambda name, payload, error: lost.append((name, payload, error.code)))
        for project in ("p1", "p2"):
            await page.join(app.Chat.project, contract_kit.OpenProject(project))
        users["ann"] = User("ann", "red", ("p2",))
        assert await env.server.refresh(user="ann") == 1
        await env.settle()
        assert lost == [("project", contract_kit.OpenProject("p1"), "JOIN_REJECTED")]
        app.key = lambda contract: None
        assert await env.server.refresh(user="ann") == 1
        await env.settle()
        assert [name for name, *_ in lost] == ["project", "chat"]
        assert "chat" not in page.joined
        page.client.cut()
        await asyncio.sleep(60)
        assert [name for name, *_ in lost] == ["project", "chat"]  # neither is asked for again


# -- live.room


async def test_a_user_who_is_put_out_of_a_room_is_gone_at_once() -> None:
    board = Board()
    async with board.opened() as env:
        client, rows = await board.enter(env)
        who, cursors = await client.subscribe(board.who, "b1"), await client.subscribe(board.board.cursors, "b1")
        roster = await board.watch(env, "b1")
        await client.call(board.board.move_cursor, "b1", {"x": 1})
        assert names(roster) == ["ann"]
        bar(board, "ann")
        assert await env.server.refresh(user="ann") == 1
        await env.settle()
        assert [each.status for each in (rows, who, cursors)] == ["error"] * 3
        assert rows.error is not None and rows.error.code == "NOT_YOURS"
        assert names(roster) == []
        assert "ann came to b1" in board.log and "ann left b1" in board.log
        assert roster.status == "connected"


async def test_the_others_see_what_is_shown_of_the_new_user() -> None:
    board = Board()
    async with board.opened() as env:
        _, rows = await board.enter(env)
        await board.enter(env, BOB)
        roster = await board.watch(env)
        board.names["ann"] = "Anna"
        assert await env.server.refresh(user="ann") == 1
        await env.settle()
        assert sorted(row.data.name for row in roster.value) == ["Anna", "Bob"]
        assert rows.status == "connected"
        assert [line for line in board.log if "ann" in line] == ["ann came to b1"]


async def test_a_presence_function_that_hangs_does_not_keep_a_refresh_from_ending() -> None:
    board = Board()
    hang = asyncio.Event()
    async with board.opened() as env:
        _, rows = await board.enter(env)

        async def slow(ctx: Any, board_id: str) -> None:
            await hang.wait()

        vars(board.who)["handler"] = slow
        before = asyncio.get_running_loop().time()
        assert await env.server.refresh(user="ann") == 1
        assert asyncio.get_running_loop().time() == before + 10
        assert rows.status == "connected"


def bar(board: Board, user: str) -> None:
    """Let the guard of the board refuse a user from now on."""

    def barred(ctx: Any, board_id: str) -> None:
        if ctx.user["id"] == user:
            raise LiveError("NOT_YOURS", "this board is not yours")

    board.board.guard(barred)
