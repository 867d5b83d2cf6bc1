"""Who was not let into a room, and why: for the server's log and its devtools, never for the client."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.errors import LiveError
from liverpc.rooms.census import Refusal

__all__ = ["Refusals"]

log = logging.getLogger("liverpc.rooms")

_KEPT = 100
_KINDS = 1000
_MAX_ASKED = 1024
_SILENT_SECONDS = 60.0


class _Told(msgspec.Struct):
    """When one of a kind was logged, and how many were not since."""

    at: float
    others: int = 0


class Refusals:
    """Keeps the last refusals, and logs of each kind one a minute: anybody can cause as many as they like.

    What the application raised unexpectedly is of one kind when it comes from one line, for one room.

    Attributes:
        total: All so far.
        last: The last 100, oldest first.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.total = 0
        self.last: deque[Refusal] = deque(maxlen=_KEPT)
        self._monotonic = monotonic
        self._told: dict[tuple[str, str, int], _Told] = {}  # by room, reason and line

    def add(self, ctx: Context[Any], room: str, why: str | BaseException, asked: bytes = b"") -> None:
        """Somebody is refused.

        Args:
            ctx: Of the call that asks for the room.
            room: ``<contract>/<room>``, or the first parts of a live room's paths.
            why: What the application's method raised, or else the reason.
            asked: As ``Refusal.asked``; more than 1 KiB is not kept.
        """
        connection = ctx.connection
        unexpected = why if isinstance(why, BaseException) and not isinstance(why, LiveError) else None
        # Not the text of an exception, which may quote anything; of the first of its kind it is in the log.
        reason = why.code if isinstance(why, LiveError) else why if isinstance(why, str) else type(why).__name__
        self.total += 1
        kept = asked if len(asked) <= _MAX_ASKED else b""
        self.last.append(Refusal(self._monotonic(), room, connection.id, connection.user_id, reason, kept))
        self._log(connection.id, room, reason, unexpected)
        if unexpected is not None:
            ctx.services.report(ctx.path, unexpected, ctx)

    def _log(self, connection: str, room: str, reason: str, unexpected: BaseException | None) -> None:
        line = traceback.extract_tb(unexpected.__traceback__, -1) if unexpected is not None else None
        kind = (room, reason.partition(":")[0], line[0].lineno or 0 if line else 0)
        now = self._monotonic()
        told = self._told.get(kind)
        if told is not None and now < told.at + _SILENT_SECONDS:
            told.others += 1
            return
        if told is None and len(self._told) >= _KINDS:
            return
        self._told[kind] = _Told(now)
        others = f"; {told.others} more like it since the last one was logged" if told and told.others else ""
        level = logging.INFO if unexpected is None else logging.ERROR
        log.log(level, "connection %s may not join %s: %s%s", connection, room, reason, others, exc_info=unexpected)
