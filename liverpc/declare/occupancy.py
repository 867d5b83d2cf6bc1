"""What streams, actions and contexts ask of the rooms of a server (``liverpc.rooms.live`` answers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from liverpc.declare.context import Context
    from liverpc.errors import LiveError

__all__ = ["Nobody", "Occupancy"]


class Occupancy(Protocol):
    """Who is in the rooms of a server. Topics are those of the rooms' data."""

    async def arrive(self, stream: Any, topic: str) -> None:
        """A stream of a room's data is attached and not loaded yet: its user is in the room from now on."""
        ...

    def settled(self, stream: Any, topic: str) -> None:
        """It was loaded and answered."""
        ...

    def left(self, stream: Any, topic: str, *, failed: bool = False) -> None:
        """It ended, or ``failed``: it could not be loaded, or was taken away. Harmless when it never arrived."""
        ...

    def roster(self, topic: str) -> list[dict[str, Any]]:
        """The rows of those who show something of themselves, in the order in which they came."""
        ...

    def cursors(self, topic: str) -> list[dict[str, Any]]:
        """The last positions."""
        ...

    def move_cursor(self, ctx: Context[Any], topic: str, position: Mapping[str, Any]) -> None:
        """Tell the room where the caller's cursor is.

        Raises:
            LiveError: ``INVALID_REQUEST``: the caller is not in the room. ``VALIDATION``: the position is too large.
        """
        ...

    def refuse(self, ctx: Context[Any], why: str | LiveError) -> None:
        """The caller was not let in, for the log and the devtools."""
        ...


class Nobody:
    """The rooms of a context without a server: there is never anybody in them."""

    async def arrive(self, stream: Any, topic: str) -> None: ...
    def settled(self, stream: Any, topic: str) -> None: ...
    def left(self, stream: Any, topic: str, *, failed: bool = False) -> None: ...
    def refuse(self, ctx: Any, why: Any) -> None: ...
    def move_cursor(self, ctx: Any, topic: str, position: Mapping[str, Any]) -> None: ...

    def roster(self, topic: str) -> list[dict[str, Any]]:
        return []

    def cursors(self, topic: str) -> list[dict[str, Any]]:
        return []
