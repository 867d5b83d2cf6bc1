"""How long captured publishes took to the sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from liverpc.hub.connection import Connection
from liverpc.inspector.protocol import PublishEvent
from liverpc.telemetry import Latencies

__all__ = ["Deliveries"]

_MAX_LOOKED_AT = 64  # receivers of one publish
_MAX_PENDING = 1000  # publishes that some socket has not taken; of the oldest nothing more is found out
_TURNS = 2  # of the loop in which they are looked after; afterwards at each flush


class _Pending:
    __slots__ = ("event", "receivers")

    def __init__(self, event: PublishEvent, receivers: list[Connection]) -> None:
        self.event = event
        self.receivers = receivers


class Deliveries:
    """Looks after captured publishes until their receivers' sockets have taken them.

    Of each publish 64 receivers are looked at. A socket that has nothing unsent, and for which no fault holds anything,
    has taken the event; whether the client has read it nobody knows. While a socket is full, the time is told to about
    an eighth of a second.

    Attributes:
        latencies: From publishes to the last of their sockets.
        patient: Somebody calls :meth:`look`; else nothing is found out about sockets that do not take an event at once.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._fresh: list[_Pending] = []
        self._old: list[_Pending] = []
        self._timer: asyncio.Handle | None = None
        self.latencies = Latencies()
        self.patient = True

    def expect(self, event: PublishEvent, receivers: Iterable[Connection]) -> None:
        """An event was handed to connections, or is in this turn of the loop."""
        looked_at = list(islice(receivers, _MAX_LOOKED_AT))
        if not looked_at:
            return
        self._fresh.append(_Pending(event, looked_at))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._turn, _TURNS)

    def look(self) -> None:
        """Find out what was taken meanwhile."""
        self._old = _left(self._old, self)
        self._age(_left(self._fresh, self))
        self._fresh = []

    def forget(self) -> None:
        """Find out nothing more of what was handed out so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fresh = []
        self._old = []

    def taken(self, event: PublishEvent) -> None:
        """All of its sockets have it."""
        seconds = self._now() - event.at
        self.latencies.add(seconds)
        _tell(event, "sent_ms", round(seconds * 1000, 3))
        _tell(event, "waiting", 0)

    def _turn(self, turns: int) -> None:
        self._timer = None
        self._fresh = _left(self._fresh, self)
        if turns > 1:
            if self._fresh:
                self._timer = asyncio.get_running_loop().call_soon(self._turn, turns - 1)
        else:
            if self.patient:
                self._age(self._fresh)
            self._fresh = []

    def _age(self, pending: list[_Pending]) -> None:
        self._old += pending
        del self._old[:-_MAX_PENDING]


def _left(pending: list[_Pending], deliveries: Deliveries) -> list[_Pending]:
    """Those that some socket has not taken."""
    left: list[_Pending] = []
    for each in pending:
        there = [connection for connection in each.receivers if not connection.closed]
        each.receivers = [connection for connection in there if _waits(connection)]
        if each.receivers:
            _tell(each.event, "waiting", len(each.receivers))
            left.append(each)
        elif there:
            deliveries.taken(each.event)
        else:  # they left without it
            _tell(each.event, "waiting", 0)
    return left


def _waits(connection: Connection) -> bool:
    return connection.link.buffered > 0 or (connection.gate is not None and connection.gate.held > 0)


def _tell(event: PublishEvent, field: str, value: float) -> None:
    # The same object is in the ring of its topic and waits for the observers; each that was told has a copy.
    msgspec.structs.force_setattr(event, field, value)
