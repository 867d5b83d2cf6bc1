"""Todo boards: rows that are created, updated and deleted, who looks at them, and where their cursors are."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from liverpc import Context, LiveError, RoomContext, guard, live
from liverpc.demo.world import BOARDS, Todo, Visitor


def named(ctx: Context[Visitor]) -> None:
    """Guests are refused."""
    if ctx.user.guest:
        raise LiveError("FORBIDDEN", "The boards are for visitors with a name: connect with ?user=NAME")


_guard = guard(named)

MAX_CARDS = 200
Title = Annotated[str, Meta(min_length=1, max_length=200)]


class Who(Struct, frozen=True):
    """What others see of a visitor."""

    name: str
    team: str | None


@live.room("board:{board_id}", merge="crud", key="id", cursors=True)
async def board(ctx: Context[Visitor], board_id: str) -> list[Todo]:
    """All cards of a board."""
    return list(ctx.user.world.boards[board_id].values())


@board.guard
def own_boards_only(ctx: Context[Visitor], board_id: str) -> None:
    """Everybody's board and the team's."""
    if board_id not in ("everybody", ctx.user.team):
        raise LiveError("FORBIDDEN", f"Your boards are everybody and {ctx.user.team}")


@board.presence
def who(ctx: Context[Visitor], board_id: str) -> Who:
    """Who looks at it."""
    return Who(ctx.user.id, ctx.user.team)


@live.stream("progress", merge="set", invalidate_on=[f"board:{name}" for name in BOARDS])
async def progress(ctx: Context[Visitor]) -> dict[str, int]:
    """How many cards there are on all boards and how many are done, counted anew after each change."""
    cards = [card for cards in ctx.user.world.boards.values() for card in cards.values()]
    return {"cards": len(cards), "done": sum(card.done for card in cards)}


@board.action
async def add_card(ctx: RoomContext[Visitor], board_id: str, title: Title) -> Todo:
    """Put a card on the board."""
    cards = ctx.user.world.boards[board_id]
    if len(cards) >= MAX_CARDS:
        raise LiveError("FULL", f"the board has {MAX_CARDS} cards; archive some first")
    card = Todo(ctx.user.world.next_id(), title)
    cards[card.id] = card
    ctx.room.publish("created", card)
    return card


@board.action
async def toggle(ctx: RoomContext[Visitor], board_id: str, id: int) -> Todo:  # noqa: A002 - the field's name
    """Mark a card as done, or not done."""
    card = _find(ctx, board_id, id)
    card.done = not card.done
    ctx.room.publish("updated", card)
    return card


@board.action
async def remove(ctx: RoomContext[Visitor], board_id: str, id: int) -> None:  # noqa: A002 - the field's name
    """Take a card off the board."""
    card = _find(ctx, board_id, id)
    del ctx.user.world.boards[board_id][id]
    ctx.room.publish("deleted", card)


@board.action
async def archive(ctx: RoomContext[Visitor], board_id: str) -> int:
    """Take all finished cards off the board, after asking a slow archive; returns how many there were."""
    await asyncio.sleep(2)
    cards = ctx.user.world.boards[board_id]
    done = [card for card in cards.values() if card.done]
    for card in done:
        del cards[card.id]
        ctx.room.publish("deleted", card)
    return len(done)


def _find(ctx: Context[Visitor], board_id: str, number: int) -> Todo:
    card = ctx.user.world.boards[board_id].get(number)
    if card is None:
        raise LiveError("NOT_FOUND", f"there is no card {number}")
    return card
