"""Which groups a contract of a connection may join: what its methods say (docs/protocol.md section 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.contract import Contract
from liverpc.declare.keys import room_key
from liverpc.declare.members import Room
from liverpc.errors import LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import passes
from liverpc.rooms.groups import Group, group_of
from liverpc.rooms.refusals import Refusals
from liverpc.schema.incoming import split_args
from liverpc.wire.codec import encode

__all__ = ["Selectors"]

_NOTHING: Final = msgspec.Raw(b"[]")


class Selectors:
    """Asks the methods of one contract of one connection for the keys of its rooms.

    Args:
        declared: The contract.
        connection: Whose it is.
        seconds: In which keys of private rooms have to be there.
        refusals: Told of who may not join.

    Attributes:
        own: Of the private rooms that were asked for; None: the connection has none.
        failed: The rooms of which it was not found out whether it may join.
    """

    def __init__(
        self, declared: type[Contract[Any, Any, Any]], connection: Connection, seconds: float, refusals: Refusals
    ) -> None:
        self.own: dict[str, Group | None] = {}
        self.failed: set[str] = set()
        self._declared = declared
        self._connection = connection
        self._seconds = seconds
        self._refusals = refusals

    def forget(self) -> None:
        """What was found is not true any more."""
        self.own.clear()
        self.failed.clear()

    async def select(
        self, ctx: Context[Any], contract: Contract[Any, Any, Any], rooms: Iterable[Room[Any, Any]]
    ) -> None:
        """Ask for the keys of private rooms; those that are not there in time count as refused."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        rooms = tuple(rooms)
        if not any(iscoroutinefunction(room.method.fn) for room in rooms):
            for room in rooms:
                await self._decide(ctx, room, contract, deadline)
            return
        async with asyncio.TaskGroup() as together:  # a slow one must not take the time of the others
            for room in rooms:
                together.create_task(self._decide(ctx, room, contract, deadline))

    async def _decide(
        self, ctx: Context[Any], room: Room[Any, Any], contract: Contract[Any, Any, Any], deadline: float
    ) -> None:
        group = None
        try:
            # For each its own: one that makes another error of its cancellation must not take it from the others.
            async with asyncio.timeout_at(deadline):
                group = await self.group(ctx, room, contract)
        except TimeoutError:
            self.failed.add(room.name)
            self.refuse(ctx, room, f"the keys were not there within {self._seconds:g} s")
        self.own[room.name] = group

    async def group(
        self,
        ctx: Context[Any],
        room: Room[Any, Any],
        contract: Contract[Any, Any, Any],
        *payload: Any,
        asked: msgspec.Raw = _NOTHING,
    ) -> Group | None:
        """The group that the application names; None when it names none, and then it was told why."""
        try:
            key = room.method.fn(contract, *payload)
            if isawaitable(key):
                key = await key
        except BaseException as error:
            if passes(error, gone=self._connection.closed):
                raise
            if not isinstance(error, LiveError):
                self.failed.add(room.name)
            self.refuse(ctx, room, error, asked)
            return None
        try:
            if key is not None and key is not False:
                return group_of(self._declared, room, room_key(key))
            self.refuse(ctx, room, "refused", asked)
        except Exception as error:
            self.refuse(ctx, room, f"no usable key: {error}", asked)
        return None

    def refuse(
        self, ctx: Context[Any], room: Room[Any, Any], why: str | BaseException, args: msgspec.Raw = _NOTHING
    ) -> None:
        """Tell of somebody who may not join."""
        given = zip(room.method.signature.parameters, split_args(args), strict=False)
        asked = {parameter.name: sent for parameter, sent in given}
        self._refusals.add(ctx, f"{self._declared.name}/{room.name}", why, encode(asked) if asked else b"")
