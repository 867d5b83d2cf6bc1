"""Who was not let into a room, and why: for the server's log and its devtools, never for the client."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from liverpc.declare.context import Context
from liverpc.errors import LiveError
from liverpc.rooms.census import Refusal

__all__ = ["Refusals"]

log = logging.getLogger("liverpc.rooms")

_KEPT = 100
_KINDS = 1000


class Refusals:
    """Keeps the last refusals, and logs one of each kind: anybody can cause as many as they like.

    Attributes:
        total: All so far.
        last: The last 100, oldest first.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.total = 0
        self.last: deque[Refusal] = deque(maxlen=_KEPT)
        self._monotonic = monotonic
        self._told: set[tuple[str, str]] = set()  # room and reason

    def add(self, ctx: Context[Any], room: str, why: str | BaseException) -> None:
        """Somebody is refused.

        Args:
            ctx: Of the call that asks for the room.
            room: ``<contract>/<room>``, or the first parts of a live room's paths.
            why: What the application's method raised, or else the reason.
        """
        connection = ctx.connection
        unexpected = why if isinstance(why, BaseException) and not isinstance(why, LiveError) else None
        # Not the text of an exception, which may quote anything; of the first of its kind it is in the log.
        reason = why.code if isinstance(why, LiveError) else why if isinstance(why, str) else type(why).__name__
        self.total += 1
        self.last.append(Refusal(self._monotonic(), room, connection.id, connection.user_id, reason))
        if (room, reason) not in self._told and len(self._told) < _KINDS:
            self._told.add((room, reason))
            log.log(
                logging.INFO if unexpected is None else logging.ERROR,
                "connection %s may not join %s: %s (said once)",
                connection.id,
                room,
                reason,
                exc_info=unexpected,
            )
        if unexpected is not None:
            ctx.services.report(ctx.path, unexpected, ctx)
