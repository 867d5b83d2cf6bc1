"""What the demo remembers, and who visits it. One world per server; nothing outlives it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from liverpc import Locals

__all__ = [
    "BOARDS",
    "PROJECTS",
    "TEAMS",
    "File",
    "Group",
    "Log",
    "LogRow",
    "Message",
    "Price",
    "Row",
    "Said",
    "Session",
    "Todo",
    "Visitor",
    "World",
    "team_of",
]

TEAMS = ("blue", "red")
BOARDS = ("everybody", *TEAMS)
PROJECTS = ("apollo", "gemini", "zeus")


class Message(msgspec.Struct, frozen=True):
    """A line in a chat room."""

    id: int
    author: str
    text: str


class Todo(msgspec.Struct):
    """A card on a board."""

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


class LogRow(msgspec.Struct, frozen=True):
    """What was appended to a log."""

    n: int  #: 0, 1, 2…
    value: Any


@dataclass
class Log:
    """A log of the load tests."""

    rows: deque[LogRow]  #: the last ones
    next: int = 0  #: the number of the next row
    loads: int = 0  #: how often its value was loaded


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody said in a room of the load tests; the rooms keep the last word of each."""

    id: str  #: who
    n: int  #: of what they said there: 0, 1, 2…
    k: int  #: of what everybody said in all rooms of the group, in the order in which it was published
    due: float
    ts: float
    pad: str = ""  #: not kept


@dataclass
class Group:
    """Rooms of the load tests whose names have the same beginning."""

    said: int = 0
    rooms: dict[str, dict[str, Said]] = field(default_factory=dict[str, dict[str, Said]])


class Row(msgspec.Struct, frozen=True):
    """One of many."""

    id: int  #: 0, 1, 2…
    text: str


@dataclass
class World:
    """The demo's data."""

    rooms: dict[str, deque[Message]] = field(default_factory=dict[str, deque[Message]])
    boards: dict[str, dict[int, Todo]] = field(default_factory=lambda: {name: {} for name in BOARDS})
    prices: dict[str, Price] = field(default_factory=dict[str, Price])
    files: dict[str, File] = field(default_factory=dict[str, File])  #: the last ones
    logs: dict[str, Log] = field(default_factory=dict[str, Log])  #: the last ones
    counts: dict[str, int] = field(default_factory=dict[str, int])  #: made by the load tests, the last ones
    table: list[Row] = field(default_factory=list[Row])  #: what they load; made when first asked for
    groups: dict[str, Group] = field(default_factory=dict[str, Group])  #: of rooms, the last ones
    arrivals: dict[str, float] = field(default_factory=dict[str, float])  #: by user, as they say, the last ones
    ids: int = 0
    payments: int = 0

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

    @property
    def team(self) -> str | None:
        """Guests have none."""
        return None if self.guest else team_of(self.id)

    @property
    def projects(self) -> frozenset[str]:
        """Two of three, by the name; guests have none."""
        return frozenset() if self.guest else frozenset(PROJECTS) - {PROJECTS[_lot(self.id) % len(PROJECTS)]}


class Session(Locals, frozen=True):
    """What a connection is, as the demo's contract sees it."""

    user: Visitor


def team_of(name: str) -> str:
    """One of two, by the name."""
    return TEAMS[_lot(name) % len(TEAMS)]


def _lot(name: str) -> int:
    return sum(name.encode())
