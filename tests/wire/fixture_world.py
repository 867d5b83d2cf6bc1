"""What the fixture application remembers, and who calls it. One world per server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from liverpc import LiveServer

Row: TypeAlias = dict[str, Any]  # rows keep whatever fields a client sends

REPLAYED = "demo:replayed"


def first_todos() -> list[Row]:
    return [{"id": "t1", "text": "first", "done": False}, {"id": "t2", "text": "second", "done": False}]


@dataclass
class State:
    """Everything ``demo/reset`` restores."""

    todos: list[Row] = field(default_factory=first_todos)
    feed: list[Row] = field(default_factory=lambda: [{"n": 1}, {"n": 2}, {"n": 3}])
    counter: int = 0
    rooms: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    boards: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    slow_list: list[Row] = field(default_factory=list[Row])
    replayed: list[Row] = field(default_factory=lambda: [{"id": "r0"}])
    replayed_feed: list[Row] = field(default_factory=list[Row])
    delta_version: int = 1
    delta_rows: dict[str, Row] = field(default_factory=lambda: {"a": {"id": "a", "v": 1}, "b": {"id": "b", "v": 1}})
    delta_changes: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])
    ticks: int = 0
    once: int = 0
    uploads: dict[str | None, Row] = field(default_factory=dict[str | None, Row])


@dataclass
class World:
    """The state of one server, and the server itself for the handlers that look at all its connections.

    Attributes:
    """

    state: State = field(default_factory=State)
    server: LiveServer = field(init=False, repr=False)


@dataclass(frozen=True)
class Caller:
    """``ctx.user``: who opened the connection. Anonymous callers have neither id, name nor role."""

    world: World = field(repr=False)
    id: str | None = None
    name: str | None = None
    role: str | None = None
