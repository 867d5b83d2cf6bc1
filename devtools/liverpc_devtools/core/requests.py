"""What is asked of a server, and asked again after every reconnection."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from liverpc.inspector.protocol import (
    Awaited,
    Blast,
    CallEvent,
    ChaosArm,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    ClientFrame,
    Get,
    Kick,
    Look,
    Match,
    Redact,
    SubscriptionInfo,
    Try,
    Unwatch,
    Watch,
)
from liverpc_devtools.core.asking import Asked
from liverpc_devtools.core.chain import Told
from liverpc_devtools.core.explored import Explored
from liverpc_devtools.core.filter import Filter
from liverpc_devtools.core.room_rows import RoomRows
from liverpc_devtools.core.session import Session

__all__ = ["Requests"]


class Requests(Session):
    """Requests to the server.

    Attributes:
        rooms: Known while they are looked at.
        listeners: The subscriptions that :meth:`listen` was about.
        where: Where the call waits that :meth:`look_into` was about.
        told: What the server said of the chain that is looked at.
        explored: What it declares, and the calls that were tried.
        captured: The capture filter; empty: everything is captured.
        mine: Numbers of the faults that this observer armed.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__(monotonic)
        self._ids = itertools.count(1)
        self._watches: dict[int, Watch] = {}
        self._asked: dict[int, list[str]] = {}
        self._capture: Match | None = None
        self.captured = ""
        self._look: Look | None = None
        self._preview: tuple[int, Callable[[Blast | str], object]] | None = None
        self.explored = Explored()
        self._reset()

    def _reset(self) -> None:
        """Forget what is known of the server."""
        self.rooms = RoomRows()
        self.where = Asked[Awaited]()
        self.listeners = Asked[list[SubscriptionInfo]]()
        self.told = Told()
        self.explored.forget()
        self.mine: set[int] = set()

    @property
    def looking(self) -> bool:
        """Whether the server tells of rooms now."""
        return self._look is not None

    def watch(self, match: Match, *, payload: bool = True, sample: float = 1.0, capture: bool = False) -> int:
        """Ask for events, now and after every reconnection; returns the id for :meth:`unwatch`."""
        frame = Watch(id=next(self._ids), match=match, payload=payload, sample=sample, capture=capture)
        self._watches[frame.id] = frame
        self.send(self._narrowed(frame))
        return frame.id

    def capture(self, wanted: Filter) -> None:
        """Be told only of events that a filter lets through, as far as the server can tell, and capture no others.

        A single topic that is watched is told of all the same.
        """
        self.captured = str(wanted)
        self._capture = wanted.capture() if wanted else None
        for watch in self._watches.values():
            self.send(self._narrowed(watch))

    def _narrowed(self, watch: Watch) -> Watch | Unwatch:
        wanted, given = self._capture, watch.match
        if wanted is None:
            return watch
        if given.topic:
            return msgspec.structs.replace(watch, capture=True)
        kinds = [each for each in (given.kind or wanted.kind) if not wanted.kind or each in wanted.kind]
        if given.kind and not kinds:
            return Unwatch(id=watch.id)
        return msgspec.structs.replace(watch, match=msgspec.structs.replace(wanted, kind=kinds), capture=True)

    def unwatch(self, watch: int) -> None:
        """Undo :meth:`watch`."""
        if self._watches.pop(watch, None) is not None:
            self.send(Unwatch(id=watch))

    def get(self, *ref: str) -> int:
        """Ask for what the server keeps; the answer is folded in. Returns the id of the request."""
        return self._request(list(ref), lambda number: Get(id=number, ref=list(ref)))

    def look_into(self, *call: str) -> None:
        """Ask where a call waits, not more than once a second; to be repeated while somebody looks.

        Args:
            *call: Its connection, its id and, when it has no such id, its start, as in :class:`Get`.
        """
        if self.where.due(["call", *call], self._monotonic()):
            self.get("call", *call)

    def listen(self, kind: Literal["subscribers", "subscriptions"], name: str) -> None:
        """Ask who listens to a topic, or to what a connection does, not more than once a second."""
        if self.listeners.due([kind, name], self._monotonic()):
            self.get(kind, name)

    def arm(self, rule: ChaosRule, ttl: float) -> int:
        """Ask for a fault. A refusal becomes a note."""
        return self._request(["arm"], lambda number: ChaosArm(id=number, rule=rule, ttl=ttl))

    def preview(self, rule: ChaosRule, ttl: float, told: Callable[[Blast | str], object]) -> int:
        """Ask what a fault would strike, without arming it.

        Args:
            rule: The wish.
            ttl: Seconds it would live.
            told: Called with the answer, or with the text of a refusal, unless something else was asked meanwhile.
        """
        number = self._request(["preview"], lambda number: ChaosArm(id=number, rule=rule, ttl=ttl, dry=True))
        self._preview = (number, told)
        return number

    def renew(self, rule: int, ttl: float) -> int:
        """Let a fault live ``ttl`` seconds from now. A refusal becomes a note."""
        return self._request(["renew"], lambda number: ChaosRenew(id=number, rule=rule, ttl=ttl))

    def disarm(self, rule: int = 0) -> int:
        """Remove one fault, or every fault with 0. Anybody attached may."""
        return self._request(["clear"], lambda number: ChaosClear(id=number, rule=rule))

    def _previewed(self, number: int, answer: Blast | str) -> None:
        if self._preview is not None and self._preview[0] == number:
            (_, told), self._preview = self._preview, None
            told(answer)

    def redact(self, keys: list[str]) -> int:
        """Have the values of further keys recorded no more; needs the right to."""
        return self._request(["redact", *keys], lambda number: Redact(id=number, keys=keys))

    def kick(self, wish: Kick) -> int:
        """Close connections. What came of it becomes a note."""
        return self._request(["kick"], lambda number: msgspec.structs.replace(wish, id=number))

    def explore(self) -> None:
        """Ask what the server declares, once."""
        if not self.explored.asked:
            self.explored.asked = True
            self.get("declared")

    def try_call(self, path: str, args: list[Any], user: str, told: Callable[[CallEvent | str], None]) -> int:
        """Call a function as a test user.

        Args:
            path: Of the function.
            args: As they travel.
            user: One of those that the server has for this; empty: anonymous.
            told: Called with the answered call, or with why there is none.
        """
        number = self._request(["try"], lambda number: Try(id=number, path=path, args=args, user=user))
        self.explored.tried(number, told)
        return number

    def look(self, wish: Look | None) -> None:
        """Be told of rooms, and of the members of one, now and after every reconnection; None: no more."""
        if wish != self._look:
            self._look = wish
            self.rooms.look(wish or Look(rooms=False))
            self.send(wish or Look(rooms=False))

    def _request(self, ref: list[str], make: Callable[[int], ClientFrame]) -> int:
        number = next(self._ids)
        self._asked[number] = ref
        self.send(make(number))
        return number

    def _ask_again(self) -> None:
        """A session begins: nothing of what the last one was asked for comes by itself."""
        self._asked.clear()
        self.told = Told()
        self.explored.lost()
        for watch in self._watches.values():
            self.send(self._narrowed(watch))
        if self._look is not None:
            self.rooms.look(self._look)
            self.send(self._look)
