"""A todo board: rows that are created, updated and deleted, guarded against guests."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta

from liverpc import Context, LiveError, Page, guard, live
from liverpc.demo.world import Todo, Visitor


def named(ctx: Context[Visitor]) -> None:
    """Guests are refused."""
    if ctx.user.guest:
        raise LiveError("FORBIDDEN", "The board is for visitors with a name: connect with ?user=NAME")


_guard = guard(named)

MAX_CARDS = 200
PAGE = 10
Title = Annotated[str, Meta(min_length=1, max_length=200)]


@live.stream("todos", merge="crud", key="id")
async def todos(ctx: Context[Visitor]) -> list[Todo]:
    """All cards."""
    return list(ctx.user.world.todos.values())


@live.stream("todos:progress", merge="set", invalidate_on="todos")
async def progress(ctx: Context[Visitor]) -> dict[str, int]:
    """How many cards there are and how many are done, counted anew after each change."""
    cards = ctx.user.world.todos.values()
    return {"cards": len(cards), "done": sum(card.done for card in cards)}


@live.stream("todos", merge="crud", key="id")
async def pages(ctx: Context[Visitor]) -> Page[Todo]:
    """The cards, ten at a time; the cursor is the last id of a page."""
    after = ctx.cursor if isinstance(ctx.cursor, int) else 0
    cards = sorted((card for card in ctx.user.world.todos.values() if card.id > after), key=lambda card: card.id)
    return Page(cards[:PAGE], has_more=len(cards) > PAGE, cursor=cards[PAGE - 1].id if len(cards) > PAGE else None)


@live
async def add(ctx: Context[Visitor], title: Title) -> Todo:
    """Put a card on the board."""
    if len(ctx.user.world.todos) >= MAX_CARDS:
        raise LiveError("FULL", f"the board has {MAX_CARDS} cards; archive some first")
    todo = Todo(ctx.user.world.next_id(), title)
    ctx.user.world.todos[todo.id] = todo
    ctx.publish(todos.topic(), "created", todo)
    return todo


@live
async def toggle(ctx: Context[Visitor], id: int) -> Todo:  # noqa: A002 - the field's name
    """Mark a card as done, or not done."""
    todo = _find(ctx, id)
    todo.done = not todo.done
    ctx.publish(todos.topic(), "updated", todo)
    return todo


@live
async def remove(ctx: Context[Visitor], id: int) -> None:  # noqa: A002 - the field's name
    """Take a card off the board."""
    todo = _find(ctx, id)
    del ctx.user.world.todos[id]
    ctx.publish(todos.topic(), "deleted", todo)


@live
async def archive(ctx: Context[Visitor]) -> int:
    """Take all finished cards off the board, after asking a slow archive; returns how many there were."""
    await asyncio.sleep(2)
    world = ctx.user.world
    done = [todo for todo in world.todos.values() if todo.done]
    for todo in done:
        del world.todos[todo.id]
        ctx.publish(todos.topic(), "deleted", todo)
    return len(done)


def _find(ctx: Context[Visitor], number: int) -> Todo:
    todo = ctx.user.world.todos.get(number)
    if todo is None:
        raise LiveError("NOT_FOUND", f"there is no card {number}")
    return todo
