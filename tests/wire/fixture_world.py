"""What the fixture application remembers, and who calls it. One world per server."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from liverpc import LiveServer

Row: TypeAlias = dict[str, Any]  # rows keep whatever fields a client sends

REPLAYED = "demo:replayed"
KEPT = 100  # events of it


def first_todos() -> list[Row]:
    return [{"id": "t1", "text": "first", "done": False}, {"id": "t2", "text": "second", "done": False}]


@dataclass
class State:
    """Everything ``demo/reset`` restores."""

    todos: list[Row] = field(default_factory=first_todos)
    feed: list[Row] = field(default_factory=lambda: [{"n": 1}, {"n": 2}, {"n": 3}])
    counter: int = 0
    rooms: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    slow_list: list[Row] = field(default_factory=list[Row])
    replayed: list[Row] = field(default_factory=lambda: [{"id": "r0"}])
    replayed_feed: list[Row] = field(default_factory=list[Row])
    ticks: int = 0


@dataclass
class World:
    """The state of one server, and the server itself for the handlers that look at all its connections.

    Attributes:
        replay: The last events of ``demo:replayed``, numbered as in ``__replay:demo:replayed``. The numbers on
            the wire start over when the last subscriber leaves, so they are never ahead of these: who resumes may
            get an event a second time, and misses none.
        signals: How many each user got.
    """

    state: State = field(default_factory=State)
    replay: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    signals: Counter[str] = field(default_factory=Counter[str])
    server: LiveServer = field(init=False, repr=False)


@dataclass(frozen=True)
class Caller:
    """``ctx.user``: who opened the connection. Anonymous callers have neither id, name nor role."""

    world: World = field(repr=False)
    id: str | None = None
    name: str | None = None
    role: str | None = None
