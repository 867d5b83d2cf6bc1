"""What the demo remembers, and who visits it. One world per server; nothing outlives it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

__all__ = ["File", "Message", "Price", "Todo", "Visitor", "World"]


class Message(msgspec.Struct, frozen=True):
    """A line in a chat room."""

    id: int
    author: str
    text: str


class Todo(msgspec.Struct):
    """A card on the board."""

    id: int
    title: str
    done: bool = False


class Price(msgspec.Struct, frozen=True):
    """The last price of one symbol."""

    id: str
    price: float
    change: float  #: since the start, in percent


class File(msgspec.Struct, frozen=True):
    """An upload that runs or has ended; of the file itself nothing is kept."""

    key: str
    name: str
    owner: str
    size: int | None  #: announced
    bytes: int = 0  #: so far
    state: str = "running"  #: then ``stored`` or ``ended early``


@dataclass
class World:
    """The demo's data."""

    rooms: dict[str, deque[Message]] = field(default_factory=dict[str, deque[Message]])
    todos: dict[int, Todo] = field(default_factory=dict[int, Todo])
    prices: dict[str, Price] = field(default_factory=dict[str, Price])
    files: dict[str, File] = field(default_factory=dict[str, File])  #: the last ones
    ids: int = 0

    def next_id(self) -> int:
        """1, 2, 3…"""
        self.ids += 1
        return self.ids


@dataclass(frozen=True)
class Visitor:
    """Who is connected: ``ctx.user`` of the demo's handlers."""

    id: str
    world: World = field(repr=False)
    guest: bool = False  #: connected without a name
