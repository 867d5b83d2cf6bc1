"""Callbacks that must not disturb whoever calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Listeners", "guarded"]

log = logging.getLogger("liverpc.client")

V = TypeVar("V")


def guarded(callback: Callable[[Any], object], argument: Any) -> None:
    """Call back; what it raises is logged, for it must not disturb the connection."""
    try:
        callback(argument)
    except Exception:
        log.exception("a callback raised")


class Listeners(Generic[V]):
    """Who wants to know of one kind of change, in the order in which they asked."""

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[V], object]] = {}

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[[V], object]) -> Callable[[], None]:
        """Tell it of every change from now on. Returns what ends that, and is harmless when called again."""
        key = object()
        self._callbacks[key] = callback

        def stop() -> None:
            self._callbacks.pop(key, None)

        return stop

    def tell(self, value: V) -> None:
        for callback in tuple(self._callbacks.values()):
            guarded(callback, value)
