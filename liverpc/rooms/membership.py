"""One contract of one connection: its opening, its actions, and the rooms it is in (docs/protocol.md section 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from inspect import isawaitable
from typing import Any, Final

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.contract import Contract
from liverpc.declare.guards import Guard
from liverpc.declare.members import EventHandler, Room
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.rooms.catalogue import wrong_params
from liverpc.rooms.groups import Group, group_of
from liverpc.rooms.places import Places, Wish
from liverpc.rooms.refusals import Refusals
from liverpc.rooms.selecting import Selectors
from liverpc.schema.incoming import split_args
from liverpc.schema.signature import UNREADABLE
from liverpc.streams.doubts import as_of_now
from liverpc.telemetry import Telemetry
from liverpc.wire.close import CloseCode
from liverpc.wire.codec import canonical, encode
from liverpc.wire.frames import JOIN_MAX_BYTES

__all__ = ["Opened", "Served", "not_there", "rooms_of", "still_open"]

_REJECTED: Final = "this room may not be joined"
_NOT_THERE: Final = "there is no such contract, action or room, or it is not open"
_REQUIRED: Final = "a room that is needed here may not be joined"
_NOT_NOW: Final = "a room that is needed here is not to be had now"
# Of numbers the text: as doubles, different ones would be the same.
_decode_exactly = msgspec.json.Decoder(float_hook=msgspec.Raw).decode

_call: ContextVar[Context[Any] | None] = ContextVar("the call in which something is emitted", default=None)


def not_there() -> LiveError:
    """What everybody gets for everything that is not there, or not open."""
    return LiveError(ErrorCode.NOT_FOUND, _NOT_THERE)


def still_open(name: str) -> LiveError:
    """What an opening gets when the connection has something else open under the name."""
    text = f"this connection has {name} open with other parameters; close it first"
    return LiveError(ErrorCode.INVALID_REQUEST, text)


def rooms_of(declared: type[Contract[Any, Any, Any]]) -> list[Room[Any, Any]]:
    """The rooms of a contract, in the order of their declaration."""
    return [room for room in declared.rooms().values() if isinstance(room, Room)]


def params_of(declared: type[Contract[Any, Any, Any]], parts: Mapping[str, str]) -> Any:
    """The declared parameters.

    Raises:
        LiveError: ``VALIDATION``: the parts do not fit.
    """
    try:
        return declared.params_from(parts)
    except ValueError as error:
        raise wrong_params(error) from None


class Opened(msgspec.Struct, frozen=True):
    """The answer to an opening: rooms that are joined without being asked for."""

    joined: list[str]
    refused: list[str]


class Served:
    """One contract of one connection (``declare.contract.Membership``).

    Calls wait until it has opened, and begin in the order in which they came.

    Args:
        declared: The contract.
        parts: Of the URL, by name.
        connection: Whose it is.
        hub: Where the rooms are topics.
        telemetry: Of the server.
        refusals: Told of who may not join.
        guard: Of its calls.
        before: What the connection had open under the name when it asked for this, and also asked to close.

    Attributes:
        openers: Calls that are about to open it.
        closers: Calls that are about to close it.
        undecided: Set while there are no such calls.
        is_open: It is open; False again when it was closed.
        contract: The instance; None until the first opening makes it.
        answer: To openings, once it is open.
        counters: Of the server.
        selectors: Say which rooms it may join.
        places: The groups it is in.
    """

    def __init__(
        self,
        declared: type[Contract[Any, Any, Any]],
        parts: Mapping[str, str],
        connection: Connection,
        *,
        hub: Hub,
        telemetry: Telemetry,
        refusals: Refusals,
        guard: Guard | None,
        before: Served | None = None,
    ) -> None:
        self.declared = declared
        self.parts = dict(parts)
        self.connection = connection
        self.guard = guard
        self.before = before
        self.openers = 0
        self.closers = 0
        self.undecided = asyncio.Event()
        self.is_open = False
        self.places = Places(connection, hub, telemetry)
        self.counters = telemetry.counters
        self._hub = hub
        self.selectors = Selectors(declared, connection, hub.limits.connect_seconds, refusals)
        self.contract: Contract[Any, Any, Any] | None = None
        self._asking: dict[object, Wish] = {}  # those that are being decided; taken out: not wanted any more
        self.answer: Opened | None = None
        self._one_opener = asyncio.Lock()
        self._settled = asyncio.Event()
        self._waiting = 0
        self._serial: dict[str, asyncio.Lock] = {}

    # -- opening and closing

    async def open(self, ctx: Context[Any]) -> Opened:
        """Compute the keys of the private rooms, and join those that are joined without being asked for.

        Once it is open, only the answer is given again. An opening that is given up goes on with the next call.

        Raises:
            LiveError: ``VALIDATION``: the parts of the URL do not fit. ``JOIN_REJECTED``: a required room may not be
                joined; the connection is being closed. ``NOT_FOUND``: it was closed meanwhile. ``INVALID_REQUEST``:
                what was open before was not closed after all.
        """
        async with self._one_opener:
            while self.before is not None:
                if self.before.closers:
                    await self.before.undecided.wait()
                if not self.before.places.ended:
                    raise still_open(self.declared.name)
                self.before = self.before.before
            if self.answer is None:
                if self.contract is None:
                    contract = self.declared(params_of(self.declared, self.parts), self.connection.locals)
                    contract.served = self
                    self.contract = contract
                await as_of_now(ctx, self.guard, partial(self._select, ctx, self.contract), self.renew)
                if self.places.ended or self.connection.closed:
                    raise not_there()
                self.answer = self._join_own(ctx)
                self.is_open = True
                self._settled.set()
        return self.answer

    async def _select(self, ctx: Context[Any], contract: Contract[Any, Any, Any]) -> None:
        rooms = [room for room in rooms_of(self.declared) if not room.exposed]
        missing = [room for room in rooms if room.name not in self.selectors.own]
        await self.selectors.select(ctx, contract, missing)

    def renew(self) -> None:
        """The connection's user was refreshed: what its rooms were asked before does not count."""
        if self.contract is not None:
            self.contract.locals = self.connection.locals
        if not self.is_open:
            self.selectors.forget()

    def _join_own(self, ctx: Context[Any]) -> Opened:
        answer = Opened([], [])
        for room in rooms_of(self.declared):
            if not room.auto_join:
                continue
            group = self.selectors.own.get(room.name)
            if group is not None:
                try:
                    self.places.enter(group, "auto")
                except LiveError as error:
                    self.selectors.failed.add(room.name)
                    self.selectors.refuse(ctx, room, error)
                    group = None
            (answer.refused if group is None else answer.joined).append(room.name)
            if group is None and room.required:
                self.end_without(room)
                raise LiveError(ErrorCode.JOIN_REJECTED, _REJECTED)
        return answer

    def end_without(self, room: Room[Any, Any]) -> None:
        """A required room may not be joined: close the connection."""
        self.end()
        if room.name in self.selectors.failed:
            self.connection.close(CloseCode.TRY_AGAIN_LATER, _NOT_NOW)
        else:
            self.connection.close(CloseCode.FORBIDDEN, _REQUIRED)

    def end(self) -> None:
        """Leave all rooms for good; calls that wait are answered that nothing is there."""
        self.is_open = False
        self.places.end()
        self._asking.clear()
        self._settled.set()

    async def _opened(self) -> Contract[Any, Any, Any]:
        """Wait for the opening; who came first goes on first.

        Raises:
            LiveError: ``NOT_FOUND``: it did not open, or is closed.
        """
        self._waiting += 1
        try:
            if not self._settled.is_set():
                await self._settled.wait()
            elif self._waiting > 1:  # those before were woken, and run in the next turn
                await asyncio.sleep(0)
        finally:
            self._waiting -= 1
        if not self.is_open or self.contract is None:
            raise not_there()
        return self.contract

    # -- what clients ask for

    async def check(self, action: EventHandler[Any, Any, Any, Any], args: msgspec.Raw) -> None:
        """Whether a handler would be called.

        Raises:
            LiveError: ``NOT_FOUND``, ``VALIDATION``.
        """
        await self._opened()
        action.decode(args)

    async def act(self, ctx: Context[Any], action: EventHandler[Any, Any, Any, Any], args: msgspec.Raw) -> Any:
        """Call a handler; the result is checked.

        Raises:
            LiveError: ``NOT_FOUND``, ``VALIDATION``, or what the handler raises for the client.
            TypeError: The result is of another type than declared.
        """
        contract = await self._opened()
        arguments = action.decode(args)
        serial = self._serial.setdefault(action.name, asyncio.Lock()) if action.serial else nullcontext()
        async with serial:
            if not self.is_open:  # closed while those before ran
                raise not_there()
            _call.set(ctx)  # for the rest of its task
            result = action.method.fn(contract, *arguments)
            if isawaitable(result):
                result = await result
        return action.checked_result(result)

    async def ask(self, ctx: Context[Any], room: Room[Any, Any], args: msgspec.Raw) -> None:
        """The client wants to join a room; harmless when it did already.

        Raises:
            LiveError: ``JOIN_REJECTED``, ``NOT_FOUND``, ``VALIDATION``, ``OVERLOADED``, ``PAYLOAD_TOO_LARGE``.
        """
        contract = await self._opened()
        if len(args) > JOIN_MAX_BYTES:  # it is kept, to ask again
            raise LiveError(ErrorCode.PAYLOAD_TOO_LARGE, f"a room is asked for with at most {JOIN_MAX_BYTES} bytes")
        wish, payload = self._wish(room, args)
        if wish in self.places.wishes:
            return
        if room.exposed:
            self.places.check_wishes(len(self._asking))
        asking = object()
        self._asking[asking] = wish
        try:
            if room.exposed:
                select = partial(self.selectors.group, ctx, room, contract, *payload, asked=args)
                group = await as_of_now(ctx, self.guard, select, self.renew)
            else:
                group = self.selectors.own.get(room.name)
            wanted = asking in self._asking
        finally:
            self._asking.pop(asking, None)
        if self.places.ended:
            raise not_there()
        # Who is full is told so whatever was decided, lest it shows, unless it is in that very group already.
        if group is None or group.topic not in self.places.members:
            self._hub.check_room(self.connection)
        if group is None:
            raise LiveError(ErrorCode.JOIN_REJECTED, _REJECTED)
        if wanted and wish not in self.places.wishes:
            self.places.enter(group, wish, bytes(args))

    async def unask(self, ctx: Context[Any], room: Room[Any, Any], args: msgspec.Raw) -> None:
        """The client does not want a room any more, or without a payload none of those it asked for by this name.

        Raises:
            LiveError: ``NOT_FOUND``, ``VALIDATION``.
        """
        await self._opened()
        if room.payload is not None and not split_args(args):
            wishes = [each for each in (*self.places.wishes, *self._asking.values()) if each[0] == room.name]
        else:
            wishes = [self._wish(room, args)[0]]
        for wish in wishes:
            for asking in [asking for asking, each in self._asking.items() if each == wish]:
                del self._asking[asking]
            self.places.give_up(wish)

    def _wish(self, room: Room[Any, Any], args: msgspec.Raw) -> tuple[Wish, Sequence[Any]]:
        if not room.exposed:
            if split_args(args):
                raise not_there()
            return (room.name, b""), ()
        payload = room.decode(args)
        # Of what was sent: not every type that can be read can be written.
        sent = split_args(args)[: len(payload)]
        whole = b"".join(map(bytes, sent))
        with suppress(*UNREADABLE, ValueError, TypeError):  # a type may read more than this; then bytes are compared
            whole = canonical([_decode_exactly(each) for each in sent])
        return (room.name, sha256(whole).digest()), payload

    # -- what handlers ask for (declare.contract.Membership)

    def emit(self, room: Room[Any, Any], key: bytes | None, event: str, payload: Any, others: bool) -> None:
        """See the protocol."""
        call = _call.get()
        groups = self._groups(room, key)
        if len(groups) > 1:
            payload = msgspec.Raw(encode(payload))
        for group in groups:
            self._hub.emit(group.topic, group.wire, event, payload, without=self.connection if others else None)
            if call is not None:
                call.remember(group.wire)

    def send(self, event: str, payload: Any) -> None:
        """See the protocol."""
        self.connection.send_event(f"{self.declared.name}/__client", event, payload)

    async def join(self, room: Room[Any, Any], key: bytes | None) -> None:
        """See the protocol."""
        if key is None and room.exposed:
            raise TypeError(f"{room.name} has many groups; say which: self.{room.name}.at(...).join()")
        for group in self._groups(room, key):
            self.places.enter(group, "handler")

    def leave(self, room: Room[Any, Any], key: bytes | None) -> None:
        """See the protocol. Whatever the connection is in the room for, it is not in it any more."""
        if key is None and not room.exposed and self.selectors.own.get(room.name) is None:
            return
        for group in self._groups(room, key):
            self.places.leave(group.topic)

    def _groups(self, room: Room[Any, Any], key: bytes | None) -> list[Group]:
        if key is not None:
            return [group_of(self.declared, room, key)]
        if room.exposed:
            return [member.group for member in self.places.members.values() if member.group.room == room.name]
        group = self.selectors.own.get(room.name)
        if group is None:
            raise LiveError(ErrorCode.JOIN_REJECTED, _REJECTED)
        return [group]
