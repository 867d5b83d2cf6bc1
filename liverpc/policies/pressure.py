"""How hard the process works: what admission and handlers may ask before they take on more."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from liverpc.config import PressureThresholds
from liverpc.hub.hub import Hub
from liverpc.telemetry import Counters

__all__ = ["Pressure", "PressureGauge", "PressureReason", "resident_bytes"]

_PERIOD = 1.0  # seconds between samples
_INTEREST = 60.0  # seconds without a question after which sampling stops


class PressureReason(StrEnum):
    """What the process has too much of; of several, the first in this order."""

    MEMORY = "MEMORY"
    PUBLISH_RATE = "PUBLISH_RATE"
    SUBSCRIBERS = "SUBSCRIBERS"
    NONE = "NONE"


class Pressure(msgspec.Struct, frozen=True):
    """A snapshot, at most about a second old."""

    reason: PressureReason = PressureReason.NONE
    memory: float = 0.0  #: resident memory, as a share of what the process may use; 0.0 where that is unknown
    publish_rate: float = 0.0  #: publishes a second since the sample before; 0.0 in the first one
    subscribers: int = 0  #: subscriptions, of all connections together
    loop_lag: float = 0.0  #: seconds the event loop was late for this sample


class PressureGauge:
    """Measures once a second, but only while somebody asks: a minute after the last question it stops.

    Args:
        hub: Whose subscriptions count.
        counters: Whose publishes count.
        thresholds: From which on there is pressure.
    """

    def __init__(self, hub: Hub, counters: Counters, thresholds: PressureThresholds) -> None:
        self._hub = hub
        self._counters = counters
        self._thresholds = thresholds
        self._memory_limit: int | None = None
        self._snapshot = Pressure()
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._published = 0

    def read(self) -> Pressure:
        """The latest snapshot. To be called on the event loop."""
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        if self._timer is None:
            self._sample(0.0, 0.0)
            self._timer = loop.call_later(_PERIOD, self._tick, loop.time())
        return self._snapshot

    def stop(self) -> None:
        """Measure no more, until somebody asks again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, since: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        rate = (self._counters.published - self._published) / (now - since)
        self._sample(rate, max(0.0, now - since - _PERIOD))
        asked = now - self._asked_at < _INTEREST
        self._timer = loop.call_later(_PERIOD, self._tick, now) if asked else None

    def _sample(self, publish_rate: float, loop_lag: float) -> None:
        if self._memory_limit is None:
            self._memory_limit = _memory_limit()
        self._published = self._counters.published
        memory = resident_bytes() / self._memory_limit if self._memory_limit else 0.0
        subscribers = sum(len(connection.subscriptions) for connection in self._hub.connections.values())
        reason = self._reason(memory, publish_rate, subscribers)
        self._snapshot = Pressure(reason, memory, publish_rate, subscribers, loop_lag)

    def _reason(self, memory: float, publish_rate: float, subscribers: int) -> PressureReason:
        thresholds = self._thresholds
        if memory >= thresholds.memory:
            return PressureReason.MEMORY
        if publish_rate >= thresholds.publish_rate:
            return PressureReason.PUBLISH_RATE
        if subscribers >= thresholds.subscribers:
            return PressureReason.SUBSCRIBERS
        return PressureReason.NONE


def resident_bytes() -> int:
    """Memory of this process that is in use now; 0 where the system does not say so in ``/proc``."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _memory_limit() -> int:
    """What the process may use: the limit of its container, else the machine's memory; 0 when unknown."""
    limits: list[int] = []
    with suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # no such file, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=0)
