"""A table whose entries have an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Expiring"]

V = TypeVar("V")

SWEEP_SECONDS = 1.0


class Expiring(Generic[V]):
    """Keys to values that are gone at their deadline.

    An expired entry is dropped when it is looked up. When an entry is added while there are ``cap`` or
    more, all expired ones are dropped, at most once a second; live ones never are.
    """

    __slots__ = ("_cap", "_entries", "_monotonic", "_next_sweep")

    def __init__(self, monotonic: Callable[[], float], cap: int) -> None:
        self._monotonic = monotonic
        self._cap = cap
        self._entries: dict[str, tuple[float, V]] = {}
        self._next_sweep = float("-inf")

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._monotonic():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: str, value: V, deadline: float) -> None:
        if key not in self._entries:
            self._make_room()
        self._entries[key] = (deadline, value)

    def pop(self, key: str) -> None:
        self._entries.pop(key, None)

    def _make_room(self) -> None:
        if len(self._entries) < self._cap:
            return
        now = self._monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_SECONDS
            self._entries = {key: entry for key, entry in self._entries.items() if entry[0] > now}
