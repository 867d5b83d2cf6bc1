"""Who is in which room, for people who look at a server from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import msgspec

__all__ = ["Census", "Occupant", "Refusal", "RoomRow"]

How = Literal["stream", "auto", "asked", "handler"]


class Occupant(msgspec.Struct, frozen=True):
    """One user, or one guest, in a room."""

    key: str  #: the user's id, or ``__guest_`` and a number
    connections: tuple[str, ...]  #: ids; none: the user has left and is in its grace
    how: How  #: by the data stream of a room; of a contract: joined by itself, asked for by the page, or by a handler
    since: float  #: hub.monotonic
    shown: Any = None  #: presence; plain JSON values
    cursor: Any = None  #: last position; plain JSON values


class RoomRow(msgspec.Struct, frozen=True):
    """One room with somebody in it."""

    number: int  #: unique among rooms of its kind in this server
    kind: Literal["room", "contract"]
    name: str  #: topic of a room's data; ``<contract>/<room>`` for those of contracts
    key: str  #: of a contract's room, for people; empty for others
    declared: str  #: the path ``m/x`` of a room; the URL pattern of a contract
    occupants: list[Occupant]


class Refusal(msgspec.Struct, frozen=True):
    """Somebody who was not let in, and why, which only the server knows."""

    at: float  #: hub.monotonic
    room: str  #: as ``RoomRow.name``; of a room the path, when the topic is not known
    connection: str
    user: str | None
    reason: str
    asked: bytes = b""  #: the payload as JSON, in an object under its parameter's name; empty: none, or a large one


class Census(Protocol):
    """Knows the rooms of one kind."""

    @property
    def refused(self) -> int:
        """All so far."""
        ...

    def rows(self) -> Iterator[RoomRow]:
        """The rooms that have somebody in them. Made when asked: nothing is counted for nobody."""
        ...

    def refusals(self) -> list[Refusal]:
        """The last 100, oldest first."""
        ...
