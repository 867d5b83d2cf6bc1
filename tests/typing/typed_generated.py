"""What the type checkers must infer and refuse of a generated client. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from liverpc.client import RpcError, connect
from liverpc.testing import TestEnv
from tests.typing.generated_client import (
    Board,
    Dog,
    Everything,
    Fox,
    FromBoard,
    MailChat,
    Model,
    Names,
    OpenProject,
    RoomsChat,
    RoomsChatToClient,
    SchemaAppMessage,
    SchemaOtherMessage,
    Send,
    Sent,
    Toy,
    Tree,
    Zone,
)


def heard(message: SchemaAppMessage) -> None: ...


def seen(pet: Dog | Fox) -> None: ...


async def page_of_a_room(url: str) -> None:
    async with connect(RoomsChat, url, room_id="general") as page:
        assert_type(await page.call(RoomsChat.send, Send("hi")), Sent)
        assert_type(await page.call(RoomsChat.tell_project, Send("hi")), None)
        await page.join(RoomsChat.project, OpenProject("p1"))
        await page.join(RoomsChat.tenant)
        page.on(RoomsChatToClient.message, heard)
        async for note in page.events(RoomsChatToClient.note):
            assert_type(note, str)

        await page.call(RoomsChat.send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.call(RoomsChat.send, "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await page.call(RoomsChat.send, OpenProject("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await page.call(MailChat.send, SchemaOtherMessage("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await page.call(RoomsChat.shout, Send("hi"))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        await page.join(RoomsChat.project)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.join(RoomsChat.tenant, "mine")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await page.join(RoomsChat.send)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def page_of_a_board(env: TestEnv) -> None:
    page = env.open(Board, board_id=5, rest="a/b")
    assert_type(await page.call(Board.model, Model(the_id=1, thing=Toy())), list[Model])
    assert_type(await page.call(Board.delete_it), dict[str, int])
    assert_type(await page.call(Board.delete_it, "x"), dict[str, int])
    page.on(FromBoard.pet, seen)
    page.on(FromBoard.cleared, lambda: None)
    await page.join(Board.asked, Tree(zone=Zone.THERE))
    Tree(zone="there")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def names_that_the_module_uses(env: TestEnv) -> None:
    page = env.open(Names)
    assert_type(await page.call(Names.list), list[int])
    assert_type(await page.call(Names.tuple), tuple[int, ...])
    assert_type(await page.call(Names.name2), str)
    await page.join(Names.str, "s")


def lost(room: str, payload: Any, error: RpcError) -> None:
    assert_type(error.code, str)


def shapes(everything: Everything) -> None:
    assert_type(everything.by_number, dict[int, list[Dog | Fox]])
    assert_type(everything.tree.zone, Zone)
    everything.share = 0.5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
