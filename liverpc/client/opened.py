"""The contracts that a client has open and the rooms it has asked for, without I/O (docs/protocol.md section 12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec

from liverpc.client.calls import Call, Calls
from liverpc.client.failure import TRANSIENT, Backoff, Retry
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.codec import canonical, encode
from liverpc.wire.frames import ROOM_JOINED, ROOM_LOST, EventFrame, Reply

__all__ = ["Asked", "OpenContract", "OpenContracts", "PageStatus"]

log = logging.getLogger("liverpc.client")

PageStatus = Literal["connecting", "connected", "reconnecting", "error", "closed"]


class _Answer(msgspec.Struct):
    """To ``__open``: which of the rooms that are joined without being asked for were joined."""

    joined: list[str]
    refused: list[str]


class _Told(msgspec.Struct):
    """A room that the client is in no more, and with which arguments it was asked for; or one that it is in again."""

    room: str
    args: list[Any] = []


class Asked:
    """A room that a page has asked for.

    Attributes:
        name: Of the room.
        args: The payload, or nothing.
        wanted: Whether it was joined, and is to be on the next connections.
        joined: Whether it is on this one.
        lost: Why it was not joined again, while somebody else still asks for it.
    """

    __slots__ = ("args", "joined", "key", "lost", "name", "pending", "wanted")

    def __init__(self, name: str, args: list[Any], key: bytes) -> None:
        self.name = name
        self.args = args
        self.key = key
        self.wanted = False
        self.joined = False
        self.lost: RpcError | None = None
        self.pending = 0  # who waits for an answer


class OpenContract:
    """One contract, opened on every connection; used once.

    Attributes:
        name: On the wire.
        status: ``connecting`` until the first answer, ``connected`` while it is open; ``reconnecting`` after the
            connection was lost; ``error`` when the server did not open it; ``closed`` is final.
        error: Why the status is ``error``, or ``closed`` without :meth:`OpenContracts.remove`.
        joined: The rooms that the server lets it join without being asked.
        refused: Those it does not.
        calls: What whoever has it open waits for; all of it ends with it.

    Args:
        name: On the wire.
        args: Of ``__open``.
        timeout: Seconds for each answer to it.
        on_change: Called after each change of the status; as the others, it must not raise.
        on_event: Called with each event.
        on_lost: Called with a room that is lost, its payload or nothing, and why.
    """

    def __init__(
        self,
        name: str,
        args: list[Any],
        timeout: float,
        *,
        on_change: Callable[[], object],
        on_event: Callable[[EventFrame], object],
        on_lost: Callable[[str, list[Any], RpcError], object],
    ) -> None:
        self.name = name
        self.args = args
        self.timeout = timeout
        self.status: PageStatus = "connecting"
        self.error: RpcError | None = None
        self.joined: tuple[str, ...] = ()
        self.refused: tuple[str, ...] = ()
        self.calls: set[Call] = set()
        self.on_event = on_event
        self.on_lost = on_lost
        self.on_left: list[Callable[[], object]] = []
        self.rooms: dict[bytes, Asked] = {}  # in the order in which they were asked for
        self.requests: dict[Asked | None, Call] = {}  # unanswered, of this class's own; None: for the contract
        self.retry: Retry | None = None
        self._on_change = on_change

    def ask(self, room: str, args: list[Any]) -> Asked:
        """Somebody asks for a room; the end is told with :meth:`settle`. TypeError: ``args`` has no JSON form."""
        key = canonical([room, args])
        asked = self.rooms.setdefault(key, Asked(room, args, key))
        asked.pending += 1
        return asked

    def answered(self, asked: Asked, call: Call) -> None:
        """The server has said whether the room is joined; one that was left meanwhile stays left."""
        if isinstance(call.outcome, Reply) and self.rooms.get(asked.key) is asked:
            asked.wanted = asked.joined = True
            asked.lost = None

    def settle(self, asked: Asked) -> None:
        """Who asked does not wait any more."""
        asked.pending -= 1
        if not (asked.wanted or asked.pending) and self.rooms.get(asked.key) is asked:
            del self.rooms[asked.key]
            if asked.lost is not None:
                self.on_lost(asked.name, asked.args, asked.lost)

    def lose(self, room: str, args: list[Any]) -> None:
        """The server says that this connection is not in a room any more."""
        if room in self.joined and not args:
            self.joined = tuple(each for each in self.joined if each != room)
            self.refused += (room,)
        wanted = canonical(args)
        for asked in tuple(self.rooms.values()):
            if asked.name == room and canonical(msgspec.json.decode(encode(asked.args))) == wanted:
                args = asked.args  # as the page gave them
                if not asked.pending:  # else what is answered decides
                    del self.rooms[asked.key]
        self.on_lost(room, args, RpcError(ErrorCode.JOIN_REJECTED, "the server does not let this page stay in it"))

    def regain(self, room: str) -> None:
        """The server has let it join a room that it had refused."""
        if room in self.refused:
            self.refused = tuple(each for each in self.refused if each != room)
            self.joined += (room,)

    def leave(self, room: str, args: list[Any]) -> None:
        """Do not ask for a room again; without ``args``, for none of that name."""
        key = canonical([room, args])
        for asked in list(self.rooms.values()):
            if asked.key == key or (asked.name == room and not args):
                del self.rooms[asked.key]

    def become(self, status: PageStatus, error: RpcError | None = None) -> None:
        self.status, self.error = status, error
        if status == "closed":
            self.rooms.clear()
        self._on_change()


class OpenContracts:
    """All of a client.

    A connection begins with the requests to open each of them and to join its rooms once more. What follows need not be
    held back: the server lets it wait until the contract is open.

    Attributes:
        unreadable: Events whose payload did not fit its declared type.
        dropped: Events that nobody took out of their queue in time.

    Args:
        calls: Where the requests are made and waited for.
        start: Sends a request, now or when there is a connection.
        end: Ends calls for those who wait for them, also calls that are held back, and says why.
        now: The clock of the deadlines.
        backoff: Makes what tells how long to wait before a contract is asked for again.
    """

    def __init__(
        self,
        calls: Calls,
        start: Callable[[Call], object],
        end: Callable[[Collection[Call], str], object],
        *,
        now: Callable[[], float],
        backoff: Callable[[], Backoff],
    ) -> None:
        self.unreadable = 0
        self.dropped = 0
        self._calls = calls
        self._start = start
        self._end = end
        self._now = now
        self._backoff = backoff
        self._connected = False
        self._by_name: dict[str, OpenContract] = {}

    def add(self, contract: OpenContract) -> None:
        """Open it, on this connection and those to come.

        Raises:
            RuntimeError: The client has one of that name.
        """
        if contract.name in self._by_name:
            raise RuntimeError(f"this client has {contract.name!r} open already, and each contract once at a time")
        self._by_name[contract.name] = contract
        self._ask(contract)

    def remove(self, contract: OpenContract, on_done: Callable[[], object]) -> None:
        """Leave it for good. Harmless when done already.

        Args:
            contract: From now on, it gets no events. Its calls end with ``CONNECTION_CLOSED``, for they must not run in
                the next one of its name.
            on_done: Called when the server has answered, or need not; the name is free then.
        """
        contract.on_left.append(on_done)
        if contract.status != "closed":
            self._forget_requests(contract)
            self._end(tuple(contract.calls), f"the page of {contract.name} was closed")
            contract.become("closed")
            if self._connected and self._by_name.get(contract.name) is contract:
                done = partial(self._left, contract)
                contract.requests[None] = self._calls.new(f"{contract.name}/__close", [], contract.timeout, done)
                self._start(contract.requests[None])
        if None not in contract.requests:
            self._left(contract)

    def _left(self, contract: OpenContract, _: Call | None = None) -> None:
        contract.requests.clear()
        if self._by_name.get(contract.name) is contract:
            del self._by_name[contract.name]
        done, contract.on_left = contract.on_left, []
        for each in done:
            each()

    def leaving(self, name: str) -> OpenContract | None:
        """The contract that is left and has the name still; :meth:`remove` tells when it is free."""
        contract = self._by_name.get(name)
        return contract if contract is not None and contract.status == "closed" else None

    def take(self, frame: EventFrame) -> bool:
        """Whether an event is one of a contract; all below its name are."""
        if not self._by_name:
            return False
        name, slash, _ = frame.topic.partition("/")
        contract = self._by_name.get(name) if slash else None
        if contract is None:
            return False
        if contract.status != "closed":
            if frame.event in (ROOM_LOST, ROOM_JOINED) and frame.topic == f"{name}/__client":
                with suppress(msgspec.MsgspecError):
                    told = msgspec.json.decode(frame.data, type=_Told)
                    if frame.event == ROOM_LOST:
                        contract.lose(told.room, told.args)
                    else:
                        contract.regain(told.room)
            else:
                contract.on_event(frame)
        return True

    # -- requests

    def _ask(self, contract: OpenContract) -> list[Call]:
        """Request what is not requested: the contract, and each room that is wanted. Returns what is unanswered."""
        requests = contract.requests
        if None not in requests:
            path, done = f"{contract.name}/__open", partial(self._opened, contract)
            requests[None] = self._calls.new(path, contract.args, contract.timeout, done)
            self._start(requests[None])
        for asked in contract.rooms.values():
            if asked.wanted and not asked.joined and asked not in requests:
                path, done = f"{contract.name}/__join/{asked.name}", partial(self._rejoined, contract, asked)
                requests[asked] = self._calls.new(path, asked.args, contract.timeout, done)
                self._start(requests[asked])
        return list(requests.values())

    def _opened(self, contract: OpenContract, call: Call) -> None:
        del contract.requests[None]
        try:
            answer: _Answer = call.result(_Answer)
        except RpcError as error:
            if contract.status != "connecting":  # otherwise somebody waits for it, and gets the error
                log.warning("the server did not open %s again: %s", contract.name, error)
                contract.retry = (contract.retry or Retry(self._backoff(), 0.0)) if error.code in TRANSIENT else None
                if contract.retry is not None:
                    contract.retry.postpone(self._now(), error.retry_after or 0.0)
            contract.become("error", error)
        else:
            contract.retry = None
            before, contract.joined, contract.refused = contract.joined, tuple(answer.joined), tuple(answer.refused)
            contract.become("connected")
            also_asked = {asked.name for asked in contract.rooms.values()}  # their own answers say more
            for room in contract.refused:
                if room in before and room not in also_asked:
                    why = "the server does not let this page join it any more"
                    contract.on_lost(room, [], RpcError(ErrorCode.JOIN_REJECTED, why))

    def _rejoined(self, contract: OpenContract, asked: Asked, call: Call) -> None:
        del contract.requests[asked]
        contract.answered(asked, call)
        error = call.outcome
        if not isinstance(error, RpcError) or asked.joined or contract.rooms.get(asked.key) is not asked:
            return
        if contract.status == "error" or error.code == ErrorCode.DISCONNECTED:
            return  # whatever opens the contract next asks for the room, too: the retry, or the next connection
        if asked.pending:  # what the others are answered decides
            asked.wanted, asked.lost = False, error
            return
        del contract.rooms[asked.key]
        if error.code == ErrorCode.TIMEOUT:  # the server may join it yet
            path, left = f"{contract.name}/__leave/{asked.name}", partial(self._given_up, contract, asked)
            contract.requests[asked] = self._calls.new(path, asked.args, contract.timeout, left)
            self._start(contract.requests[asked])
        contract.on_lost(asked.name, asked.args, error)

    def _given_up(self, contract: OpenContract, asked: Asked, _: Call) -> None:
        del contract.requests[asked]

    def _forget_requests(self, contract: OpenContract) -> None:
        for request in contract.requests.values():
            self._calls.cancel(request)
        contract.requests.clear()
        contract.retry = None

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`expire` has something to do next."""
        return min(
            (each.retry.due for each in self._by_name.values() if each.retry and not each.requests), default=None
        )

    def expire(self) -> None:
        """Ask again for what the server did not open."""
        for contract in self._by_name.values():
            if contract.retry and contract.retry.due <= self._now():
                self._ask(contract)

    # -- the connection

    def reopen(self) -> list[Call]:
        """There is a connection: ask for everything. Returns the requests, in order."""
        self._connected = True
        return [call for contract in self._by_name.values() for call in self._ask(contract)]

    def opening(self) -> set[Call]:
        """The connection is lost. Returns the requests whose askers wait for the next one; the others are given up."""
        self._connected = False
        kept: set[Call] = set()
        for contract in tuple(self._by_name.values()):
            if contract.status == "connecting":
                kept.update(contract.requests.values())
            else:
                self._give_up(contract)
        return kept

    def suspend(self) -> None:
        """Tell every contract that the connection is lost."""
        for contract in tuple(self._by_name.values()):
            for asked in contract.rooms.values():
                asked.joined = False
            if contract.status in ("connected", "error"):
                contract.become("reconnecting")

    def drop(self) -> list[OpenContract]:
        """Forget everything. Returns the contracts, which are to be told."""
        self._connected = False
        for contract in tuple(self._by_name.values()):
            self._give_up(contract)
        contracts = list(self._by_name.values())
        self._by_name.clear()
        return contracts

    def _give_up(self, contract: OpenContract) -> None:
        """The connection of its requests is lost."""
        if contract.status == "closed":
            why = f"{contract.name}: the connection was lost"
            self._calls.answer(contract.requests[None], RpcError(ErrorCode.DISCONNECTED, why))
        else:
            self._forget_requests(contract)
