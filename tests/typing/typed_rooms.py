"""What the type checkers must infer and refuse of rooms. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

from liverpc import Context, Present, RoomContext, live, public
from liverpc.client import Client, StreamHandle
from liverpc.testing import create_room_context


class User(msgspec.Struct):
    id: str
    name: str


class Card(msgspec.Struct):
    id: str
    title: str


class Who(msgspec.Struct):
    name: str


_guard = public()


@live.room("board:{board_id}", merge="crud", key="id", cursors=True)
async def board(ctx: Context[User], board_id: str) -> list[Card]:
    return []


@board.presence
def who(ctx: Context[User], board_id: str) -> Who:
    return Who(ctx.user.name)


@board.guard
async def members_only(ctx: Context[User], board_id: str) -> None: ...


@board.on_join
async def came(ctx: Context[User], board_id: str) -> None: ...


@board.on_leave
def went(ctx: Context[User], board_id: str) -> None: ...


@board.action
async def add_card(ctx: RoomContext[User], board_id: str, title: str) -> Card:
    assert_type(ctx.user, User)
    assert_type(ctx.room.topic, str)
    ctx.room.publish("created", Card("1", title))
    ctx.room.publish("created")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    ctx.room.move_cursor({"x": 1})
    ctx.publish("log", "added", title)
    return Card("1", title)


@board.action
def count(ctx: RoomContext[User], board_id: str, limit: int = 10) -> int:
    return len(ctx.room.members)


@live.room("plain")
def plain(ctx: Context[User]) -> list[int]:
    return []


@plain.presence
async def hidden(ctx: Context[User]) -> Who | None:
    return None


@board.presence  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
def of_another_room(ctx: Context[User], board_id: int) -> Who:
    return Who("")


@board.guard  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
def without_board(ctx: Context[User]) -> None: ...


async def uses(client: Client) -> None:
    assert_type(client.stream(board, "b1"), StreamHandle[list[Card]])
    assert_type(client.stream(who, "b1"), StreamHandle[list[Present[Who]]])
    assert_type(client.stream(hidden), StreamHandle[list[Present[Who]]])
    assert_type(client.stream(board.cursors, "b1"), StreamHandle[list[dict[str, Any]]])
    assert_type(await client.call(add_card, "b1", "Milk"), Card)
    assert_type(await client.call(count, "b1"), int)
    assert_type(await client.call(board.move_cursor, "b1", {"x": 1}), None)
    client.stream(board)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.stream(who, 1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.stream(board.cursors, 1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.call(add_card, "b1")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.call(add_card, "b1", 7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.call(board, "b1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportCallIssue]


async def tests() -> None:
    ctx = create_room_context(board.topic("b1"), user=User("1", "Ann"))
    assert_type(await add_card(ctx, "b1", "Milk"), Card)
    board.topic(1)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
