"""Deadlines of many connections on one timer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from typing import Protocol

__all__ = ["Holder", "Wheel"]

log = logging.getLogger("liverpc.transports")


class Holder(Protocol):
    """What can have a deadline on a :class:`Wheel`; at most one at a time."""

    bucket: set[Holder] | None  #: the wheel's; None without a deadline

    def on_deadline(self) -> None:
        """The time has come; the holder has no deadline any more."""
        ...


class Wheel:
    """One timer for every deadline of every connection.

    Time is counted in executed turns, not on the clock: after a stall of the process nobody's deadline has
    passed before the bytes which waited meanwhile were read. A deadline is never early and at most two
    ticks late. The timer runs only while there are deadlines.

    Args:
        loop: Where the timer runs.
        tick: Seconds per turn.
        context: What the holders are called in.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float, context: contextvars.Context) -> None:
        self.now = 0  #: turns executed; holders note it as their time
        self._loop = loop
        self._tick = tick
        self._context = context
        self._buckets: dict[int, set[Holder]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def turns(self, seconds: float) -> int:
        """How many turns ``seconds`` are, rounded up."""
        return math.ceil(seconds / self._tick)

    def set(self, holder: Holder, seconds: float) -> None:
        """Call ``holder.on_deadline()`` in ``seconds``; replaces its earlier deadline."""
        # The running turn is partly over, hence one more.
        self.at(holder, self.now + 1 + self.turns(seconds))

    def at(self, holder: Holder, turn: int) -> None:
        """Call ``holder.on_deadline()`` in ``turn``, or in the next one when that has passed."""
        self.clear(holder)
        holder.bucket = self._buckets.setdefault(max(turn, self.now + 1), set())
        holder.bucket.add(holder)
        if self._timer is None:
            self._start()

    def clear(self, holder: Holder) -> None:
        """The holder's deadline, if any, is void."""
        if holder.bucket is not None:
            holder.bucket.discard(holder)  # left in place it would keep a dead connection in memory
            holder.bucket = None

    def stop(self) -> None:
        """Void every deadline and stop the timer."""
        for bucket in self._buckets.values():
            for holder in bucket:
                holder.bucket = None
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        """How many deadlines are set."""
        return sum(map(len, self._buckets.values()))

    def _turn(self) -> None:
        self.now += 1
        due = self._buckets.pop(self.now, set())
        while due:  # a holder's call may void the deadline of another one that is due, too
            holder = due.pop()
            holder.bucket = None
            try:
                holder.on_deadline()
            except Exception:
                log.exception("a deadline of %r failed", holder)
        self._timer = None
        if any(self._buckets.values()):
            self._start()
        else:
            self._buckets.clear()

    def _start(self) -> None:
        # Whoever happens to set the first deadline must not lend its context variables to all the others.
        self._timer = self._loop.call_later(self._tick, self._turn, context=self._context)
