"""The tutorial's page on rooms, checkpoint by checkpoint, through every door; and ``live.room`` on sockets."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, LiveError, LiveServer, RoomContext, RpcError, live, public
from liverpc.client import connect
from tests.e2e.doors import DOORS, Door
from tests.e2e.tutorial_kit import Chat, Note, OpenProject, Send, ToClient, cookie, make_server, raw

pytestmark = pytest.mark.realtime

REFUSED = {
    "not allowed": ("cleo's", "apollo"),
    "not there": ("cleo's", "no-such-project"),
    "the authoriser failed": ("cleo's", "broken"),
    "no session": (None, "apollo"),
    "an unknown session": ("made up", "apollo"),
    "no session, not there": (None, "no-such-project"),
}


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_two_urls_do_not_mix(door: Door) -> None:  # acceptance 241
    async with (
        door.serve(make_server(**door.options)) as at,
        raw(at, "/rooms/general") as general,
        raw(at, "/rooms/random") as random,
    ):
        assert await random.heard() == []  # it is there
        assert await general.code("chat/__event/send", {"text": "hi"}) is None
        assert await general.heard() == [("chat/chat", "message")]
        assert await random.heard() == []


@pytest.mark.parametrize("door", DOORS, ids=repr)
@pytest.mark.parametrize("session", [None, "made up"])
async def test_without_a_session_the_tenant_room_is_refused_and_nothing_else(door: Door, session: str | None) -> None:
    async with door.serve(make_server(**door.options)) as at, raw(at, session=session) as page:
        assert await page.code("chat/__join/tenant") == "JOIN_REJECTED"
        for forged in ({"tenant_id": "acme"}, "acme", ["tenant", "acme"]):
            assert await page.code("chat/__join/tenant", forged) == "NOT_FOUND"
        async with connect(Chat, at.base, headers=cookie("ann's"), room_id="general") as ann:
            notes: asyncio.Queue[Note] = asyncio.Queue()
            ann.on(ToClient.note, notes.put_nowait)
            await ann.join(Chat.tenant)
            await ann.call(Chat.tell_tenant, Send("for acme"))
            assert await asyncio.wait_for(notes.get(), 10) == Note("tenant", "for acme")
        assert await page.code("chat/__event/tell_tenant", {"text": "from nobody"}) == "JOIN_REJECTED"
        assert await page.code("chat/__event/send", {"text": "still here"}) is None
        assert await page.heard() == [("chat/chat", "message")]


async def test_tenants_are_told_apart_by_their_sessions_whatever_the_url() -> None:
    async with (
        DOORS[0].serve(make_server()) as at,
        raw(at, "/rooms/general", "ann's") as ann,
        raw(at, "/rooms/random", "ben's") as ben,
        raw(at, "/rooms/general", "cleo's") as cleo,
    ):
        for page in (ann, ben, cleo):
            assert await page.code("chat/__join/tenant") is None
        assert await ann.code("chat/__event/tell_tenant", {"text": "for acme"}) is None
        assert await ann.heard() == await ben.heard() == [("chat/tenant", "note")]
        assert await cleo.heard() == []


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_a_refused_project_says_the_same_byte_for_byte_whatever_the_reason(door: Door) -> None:
    # acceptance 246
    answers: dict[str, str] = {}
    async with door.serve(make_server(**door.options)) as at, raw(at, session="ann's") as member:
        assert await member.code("chat/__join/project", {"project_id": "apollo"}) is None
        for reason, (session, project) in REFUSED.items():
            async with raw(at, session=session) as page:
                answers[reason] = await page.ask("chat/__join/project", {"project_id": project})
                assert await member.code("chat/__event/tell_project", {"text": "internal"}) is None
                assert await page.heard() == []
        assert json.loads(answers["not allowed"])["data"]["code"] == "JOIN_REJECTED"
        assert len(set(answers.values())) == 1, answers
        # Of all those attempts the member heard nothing: only what it said itself.
        assert await member.heard() == [("chat/project", "note")] * len(REFUSED)


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_a_project_is_joined_and_left_as_the_page_asks(door: Door) -> None:  # acceptance 246
    async with (
        door.serve(make_server(**door.options)) as at,
        connect(Chat, at.base, headers=cookie("ann's"), room_id="general") as ann,
        connect(Chat, at.base, headers=cookie("ben's"), room_id="random") as ben,
    ):
        notes: list[Note] = []
        ben.on(ToClient.note, notes.append)
        await ann.join(Chat.project, OpenProject("apollo"))
        await ben.join(Chat.project, OpenProject("apollo"))
        await ann.call(Chat.tell_project, Send("one"))
        await ben.call(Chat.whoami)
        await ben.leave(Chat.project, OpenProject("apollo"))
        await ann.call(Chat.tell_project, Send("two"))
        await ben.call(Chat.whoami)
        assert notes == [Note("project", "one")]
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            await ben.join(Chat.project, OpenProject("zeus"))
        await ben.call(Chat.whoami)


# -- live.room


def collab() -> Any:
    """The board of the manual's page on rooms."""
    cards: list[dict[str, Any]] = []

    @live.room("board:{board_id}", cursors=True, path="collab/board")
    async def board(ctx: Context[Any], board_id: str) -> list[dict[str, Any]]:
        return list(cards)

    @board.presence
    def who(ctx: Context[Any], board_id: str) -> dict[str, str]:
        return {"name": str(ctx.user).title()}

    @board.guard
    async def signed_in(ctx: Context[Any], board_id: str) -> None:
        if ctx.user is None:
            raise LiveError("UNAUTHORIZED")

    @board.action
    async def add_card(ctx: RoomContext[Any], board_id: str, title: str) -> dict[str, Any]:
        card = {"id": len(cards) + 1, "title": title}
        cards.append(card)
        ctx.room.publish("created", card)
        return card

    return SimpleNamespace(board=board, who=who, add_card=add_card, _guard=public())


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_a_board_has_rows_people_cursors_and_actions(door: Door) -> None:  # acceptance 141, 146, 147
    app = collab()
    server = LiveServer(
        {"collab": app},
        on_connect=lambda request: (name := request.query.get("user")) and {"id": name, "name": name},
        limits=Limits(presence_grace_seconds=0.2),
        **door.options,
    )
    async with (
        door.serve(server) as at,
        connect(at.url + "?user=bob") as bob,
        bob.stream(app.board, "b1") as rows,
        bob.stream(app.who, "b1") as there,
        bob.stream(app.board.cursors, "b1") as cursors,
    ):
        async with connect(at.url + "?user=ann") as ann, ann.stream(app.board, "b1"):
            await ann.call(app.add_card, "b1", "Milk")
            assert await rows.wait_for(bool) == [{"id": 1, "title": "Milk"}]
            await there.wait_for(lambda value: [row.key for row in value] == ["bob", "ann"])
            await ann.call(app.board.move_cursor, "b1", {"x": 1, "y": 2})
            await cursors.wait_for(lambda value: value == [{"x": 1, "y": 2, "key": "ann"}])
        await cursors.wait_for(lambda value: value == [])
        await there.wait_for(lambda value: [row.key for row in value] == ["bob"])
        async with connect(at.url) as nobody:
            for stream in (app.board, app.who, app.board.cursors):
                with pytest.raises(RpcError, match="UNAUTHORIZED"):
                    async with nobody.stream(stream, "b1"):
                        pass
            for action, argument in ((app.add_card, "Milk"), (app.board.move_cursor, {})):
                with pytest.raises(RpcError, match="UNAUTHORIZED"):
                    await nobody.call(action, "b1", argument)
        assert [row.key for row in there.value] == ["bob"]
