"""A board to meet at, for the tests of rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec

from liverpc import Context, Limits, LiveError, LiveServer, RoomContext, guard, live
from liverpc.testing import TestClient, TestEnv, TestHandle

ANN, BOB = {"id": "ann", "name": "Ann"}, {"id": "bob", "name": "Bob"}


class Card(msgspec.Struct):
    id: str
    title: str


class Who(msgspec.Struct):
    name: str


class Board:
    """A server with one room, ``test/board``, and what became of it."""

    def __init__(self, **limits: Any) -> None:
        self.cards: dict[str, list[Card]] = {}
        self.log: list[str] = []
        self.fails = False
        self.barred: set[str] = set()
        self.names: dict[str, str | None] = {}

        @live.room("board:{board_id}", cursors=True, path="test/board")
        async def board(ctx: Context[Any], board_id: str) -> list[Card]:
            if self.fails:
                raise LiveError("BROKEN", "no rows today")
            return self.cards.get(board_id, [])

        @board.presence
        def who(ctx: Context[Any], board_id: str) -> Who | None:
            name = self.names.get(ctx.connection.user_id or "", ctx.user["name"] if ctx.user else "guest")
            return None if name is None else Who(name)

        @board.guard
        async def members_only(ctx: Context[Any], board_id: str) -> None:
            self.log.append("guard")
            if board_id in self.barred:
                raise LiveError("NOT_YOURS", "this board is not yours")

        @board.on_join
        def came(ctx: Context[Any], board_id: str) -> None:
            self.log.append(f"{ctx.connection.key[:7]} came to {board_id}")

        @board.on_leave
        async def went(ctx: Context[Any], board_id: str) -> None:
            self.log.append(f"{ctx.connection.key[:7]} left {board_id}")

        @board.action
        async def add_card(ctx: RoomContext[Any], board_id: str, title: str, times: int = 1) -> Card:
            card = Card(title[:1], title * times)
            self.cards.setdefault(board_id, []).append(card)
            ctx.room.publish("created", card)
            return card

        @board.action
        def present(ctx: RoomContext[Any], board_id: str) -> list[str]:
            return [member.key for member in ctx.room.members]

        def module_guard(ctx: Context[Any]) -> None:
            self.log.append("module")

        self.board, self.who, self.add_card, self.present = board, who, add_card, present
        members = {"board": board, "who": who, "add_card": add_card, "present": present, "came": came}
        self._module = SimpleNamespace(**members, _guard=guard(module_guard))
        self._limits = Limits(**limits)
        self.serve()

    def add(self, **members: Any) -> None:
        """Declare more beside the room."""
        vars(self._module).update(members)
        self.serve()

    def serve(self) -> None:
        """Make the server, which knows what is declared until then."""
        self.server = LiveServer({"test": self._module}, limits=self._limits)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[TestEnv]:
        async with TestEnv(self.server) as env:
            yield env

    async def enter(
        self, env: TestEnv, user: Any = ANN, board_id: str = "b1"
    ) -> tuple[TestClient, TestHandle[list[Card]]]:
        """A new connection of a user that has the board."""
        client = env.connect(user=user)
        return client, await client.subscribe(self.board, board_id)

    async def watch(self, env: TestEnv, board_id: str = "b1") -> TestHandle[Any]:
        """Somebody who looks at the roster and is not in the room."""
        return await env.connect(user={"id": "eve", "name": "Eve"}).subscribe(self.who, board_id)


def names(roster: TestHandle[Any]) -> list[str]:
    """Who is listed, guests without their numbers."""
    return [row.key.rstrip("0123456789") for row in roster.value]
