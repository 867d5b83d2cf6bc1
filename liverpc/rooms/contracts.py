"""The contracts of a server: what answers on their paths, and who has opened which (docs/protocol.md section 12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.contract import Contract
from liverpc.declare.functions import Declaration
from liverpc.declare.members import EventHandler, Room
from liverpc.declare.registry import AnyContract, Entry, Registry
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.rooms.again import doubt
from liverpc.rooms.catalogue import Catalogue, check_locals, check_topics
from liverpc.rooms.census import Occupant, Refusal, RoomRow
from liverpc.rooms.groups import group_of
from liverpc.rooms.membership import Opened, Served, not_there, still_open
from liverpc.rooms.places import Member
from liverpc.rooms.refusals import Refusals
from liverpc.schema.signature import Signature
from liverpc.streams.doubts import Doubt
from liverpc.telemetry import Telemetry
from liverpc.wire.codec import encode

__all__ = ["Contracts"]

C = TypeVar("C", bound=Contract[Any, Any, Any])


class _AsSent(Signature):
    """Leaves the arguments to whoever answers: first it has to be seen whether the contract is open."""

    @property
    def exact(self) -> Callable[[Any], tuple[Any, ...]]:
        return self.decode

    def decode(self, raw: msgspec.Raw | bytes) -> tuple[Any, ...]:
        return (raw,)


class _Call(Declaration[..., Any, Any]):
    """What answers on one path of a contract.

    Args:
        handler: Takes the context and the arguments, not decoded.
        names: Of the arguments, for people.
    """

    def __init__(self, contract: AnyContract, handler: Callable[..., Any], names: tuple[str, ...]) -> None:
        super().__init__(handler)
        self.__module__ = contract.__module__
        self.signature = _AsSent(handler)
        self.signature.names = names


class _Action(_Call):
    takes_policies = frozenset(("rate_limit", "idempotent"))

    def __init__(
        self,
        contract: AnyContract,
        handler: Callable[..., Any],
        names: tuple[str, ...],
        action: EventHandler[Any, Any, Any, Any],
        served: Callable[[Context[Any]], Served],
    ) -> None:
        super().__init__(contract, handler, names)
        self.policies = action.policies
        self.enters = action.policies.idempotent is not None
        self._action = action
        self._served = served

    async def enter(self, ctx: Any, arguments: Sequence[Any]) -> None:
        """A kept result must not be given to whom the contract is not open, nor for what does not fit."""
        await self._served(ctx).check(self._action, *arguments)

    def place(self, ctx: Context[Any]) -> str:
        served = self._served(ctx)
        return encode([str(served.declared.pattern), dict(sorted(served.parts.items()))]).decode()


class Contracts:
    """Serves the contracts of a server (``rooms.census.Census``).

    Args:
        registry: Where they are listed; their paths are entered into it.
        hub: Where their rooms are topics.
        telemetry: Of the server.
        reserved: Paths on which something else answers.
        on_connect: Of the server.

    Attributes:
        catalogue: Where they are found.
        entries: Who answers on a path, for each contract that has it.

    Raises:
        DeclarationError: A function answers on the path of a contract, a stream is on the topic of its events, or two
            contracts cannot be told apart.
        ConfigError: One is on a reserved path, or ``on_connect`` does not return what it expects.
    """

    def __init__(
        self,
        registry: Registry,
        hub: Hub,
        telemetry: Telemetry,
        *,
        reserved: Iterable[str],
        on_connect: Callable[..., Any] | None,
    ) -> None:
        check_topics(registry.contracts, registry.entries)
        check_locals(registry.contracts, on_connect)
        self.catalogue = Catalogue(registry.contracts, reserved)
        self.entries: dict[str, dict[AnyContract, Entry]] = {}
        self._known = registry.contracts
        self._hub = hub
        hub.owned = frozenset(contract.name for contract in registry.contracts)
        self._telemetry = telemetry
        self._refusals = Refusals(lambda: hub.monotonic())
        self._clients: dict[Connection, dict[str, Served]] = {}  # by name
        for contract, guard in registry.contracts.items():
            for rest, call in self._calls(contract):
                path = f"{contract.name}/{rest}"
                self.entries.setdefault(path, {})[contract] = registry.enter(path, call, guard)

    def _calls(self, contract: AnyContract) -> Iterator[tuple[str, _Call]]:
        async def open_(ctx: Context[Any], args: msgspec.Raw) -> Opened:
            return await self._served(ctx).open(ctx)

        async def close(ctx: Context[Any], args: msgspec.Raw) -> None:
            served = self._served(ctx)
            served.end()
            self._forget(served)

        yield "__open", _Call(contract, open_, ("params", "pattern"))
        yield "__close", _Call(contract, close, ())
        for action in contract.actions().values():
            yield f"__event/{action.name}", self._member(contract, Served.act, action)
        for room in contract.rooms().values():
            yield f"__join/{room.name}", self._member(contract, Served.ask, room)
            yield f"__leave/{room.name}", self._member(contract, Served.unask, room)

    def _member(self, contract: AnyContract, answer: Callable[..., Awaitable[Any]], member: Any) -> _Call:
        @wraps(member.method.fn)  # for people: where it stands
        async def handler(ctx: Context[Any], args: msgspec.Raw) -> Any:
            return await answer(self._served(ctx), ctx, member, args)

        names = () if member.payload is None else (member.payload.name,)
        if isinstance(member, EventHandler):
            return _Action(contract, handler, names, member, self._served)
        return _Call(contract, handler, names)

    # -- who has opened what

    def of(self, connection: Connection, name: str) -> Served | None:
        """What a connection has open under a name, or is about to open."""
        client = self._clients.get(connection)
        return None if client is None else client.get(name)

    def bind(self, ctx: Context[Any], name: str) -> None:
        """A call has come: it is for what is open now, and for nothing that is opened while it waits."""
        ctx.served = self.of(ctx.connection, name)

    def _served(self, ctx: Context[Any]) -> Served:
        served = ctx.served
        if not isinstance(served, Served) or served.places.ended:  # closed while a guard or a middleware waited
            raise not_there()
        return served

    def begin(self, connection: Connection, contract: AnyContract, parts: Mapping[str, str]) -> Served:
        """A call is about to open a contract: calls behind it wait. :meth:`settled` has to follow.

        What is about to be closed is not opened again: another one waits until that is decided.

        Raises:
            LiveError: ``INVALID_REQUEST``: the connection has the name open, and it is another contract, or has other
                parts.
        """
        client = self._clients.setdefault(connection, {})
        served = client.get(contract.name)
        if served is None or served.closers:
            served = client[contract.name] = Served(
                contract,
                parts,
                connection,
                hub=self._hub,
                telemetry=self._telemetry,
                refusals=self._refusals,
                guard=self.entries[f"{contract.name}/__open"][contract].guard,
                before=served,
            )
        elif served.declared is not contract or served.parts != parts:
            raise still_open(contract.name)
        served.openers += 1
        return served

    def settled(self, served: Served) -> None:
        """That call was answered; if none has opened the contract, it is not there any more."""
        served.openers -= 1
        if not served.openers and not served.is_open:
            served.end()
            self._forget(served)

    def closing(self, served: Served) -> None:
        """A call is about to close a contract. :meth:`decided` has to follow."""
        served.closers += 1
        served.undecided.clear()

    def decided(self, served: Served) -> None:
        """That call was answered: it is closed now, or is not."""
        served.closers -= 1
        if not served.closers:
            served.undecided.set()

    def _forget(self, served: Served) -> None:
        client, name = self._clients.get(served.connection), served.declared.name
        if client is None or client.get(name) is not served:
            return
        before = served.before
        while before is not None and before.places.ended:
            before = before.before
        if before is not None:  # was not closed after all, or not yet
            client[name] = before
            return
        del client[name]
        if not client:
            del self._clients[served.connection]

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        for served in self._clients.pop(connection, {}).values():
            each: Served | None = served
            while each is not None:
                each.end()
                each = each.before

    def doubts(self, ctx: Context[Any]) -> Iterator[Doubt]:
        """What has to be asked again because a connection's user was refreshed: may it be in its rooms?"""
        for served in self._clients.get(ctx.connection, {}).values():
            each: Served | None = served
            while each is not None:
                each.renew()
                if each.is_open:
                    yield doubt(each, ctx)
                each = each.before

    def __len__(self) -> int:
        return len(self._clients)

    # -- from outside

    def without_connection(self, contract: type[C]) -> C:
        """See :meth:`LiveServer.contract`."""
        if contract not in self._known:
            raise TypeError(f"{contract.__qualname__} is no contract of this server; list its module in modules=")
        instance = contract.__new__(contract)  # its own __init__ may want what only a connection has
        instance.served = _Broadcast(contract, self._hub)
        return instance

    # -- census

    @property
    def refused(self) -> int:
        """All so far."""
        return self._refusals.total

    def refusals(self) -> list[Refusal]:
        """The last 100, oldest first."""
        return list(self._refusals.last)

    def rows(self) -> Iterator[RoomRow]:
        """The rooms that have somebody in them."""
        found: dict[str, dict[str, list[tuple[Connection, Member]]]] = {}  # topic, who
        for connection, client in self._clients.items():
            who = connection.key
            for served in client.values():
                for topic, member in served.places.members.items():
                    found.setdefault(topic, {}).setdefault(who, []).append((connection, member))
        for topic, people in found.items():
            state = self._hub.topics.get(topic)
            group = next(iter(people.values()))[0][1].group
            if state is not None:
                occupants = [_occupant(who, places) for who, places in people.items()]
                yield RoomRow(state.number, "contract", group.wire, group.key, group.pattern, occupants)


def _occupant(who: str, places: list[tuple[Connection, Member]]) -> Occupant:
    first = min((member for _, member in places), key=lambda member: member.since)
    return Occupant(who, tuple(connection.id for connection, _ in places), first.how, first.since)


class _Broadcast:
    """Serves an instance that belongs to no connection (``declare.contract.Membership``)."""

    def __init__(self, contract: AnyContract, hub: Hub) -> None:
        self._contract = contract
        self._hub = hub

    def emit(self, room: Room[Any, Any], key: bytes | None, event: str, payload: Any, others: bool) -> None:
        if key is None:
            raise TypeError(f"no connection is here whose {room.name} it could be; say which: .{room.name}.at(...)")
        group = group_of(self._contract, room, key)
        self._hub.emit(group.topic, group.wire, event, payload)

    def send(self, event: str, payload: Any) -> None:
        raise TypeError("there is no client to send to; emit to a room: .<room>.at(...).emit")

    async def join(self, room: Room[Any, Any], key: bytes | None) -> None:
        raise TypeError("there is no connection that could join")

    def leave(self, room: Room[Any, Any], key: bytes | None) -> None:
        raise TypeError("there is no connection that could leave")
