"""Whether faults do more harm than they were meant to."""

from __future__ import annotations

from liverpc.telemetry import Counters

__all__ = ["Effects"]

_MAX_LAG = 0.25  # seconds the event loop may be late
_MIN_CLOSES = 10  # connections that may close for other reasons,
_MIN_ERRORS = 20  # and calls that may fail; or a quarter of all
_QUARTER = 4


class Effects:
    """What happened since faults were armed, or since the last look that began anew.

    Attributes:
        expected_closes, expected_errors: Connections that faults closed, and calls they failed.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.expected_closes = self._closed = 0
        self.begin(0)

    def begin(self, connections: int) -> None:
        """Compare with what is now.

        Args:
            connections: That are open.
        """
        counters = self._counters
        closing = max(0, self.expected_closes - (counters.connections_closed - self._closed))
        self.expected_closes = closing  # a goodbye takes a moment
        self.expected_errors = 0
        self._connections = connections
        self._closed = counters.connections_closed
        self._errors = counters.call_errors
        self._calls = counters.calls

    def trouble(self, *, late: float) -> str:
        """What is too much; empty: nothing is.

        Args:
            late: Seconds by which the event loop came too late just now.
        """
        counters = self._counters
        if late > _MAX_LAG:
            return f"the event loop came {late * 1000:.0f} ms too late"
        closed = counters.connections_closed - self._closed
        if closed > 2 * self.expected_closes + max(_MIN_CLOSES, self._connections // _QUARTER):
            return f"{closed} connections closed, {self.expected_closes} of them by faults"
        errors = counters.call_errors - self._errors
        calls = counters.calls - self._calls
        if errors > 2 * self.expected_errors + max(_MIN_ERRORS, calls // _QUARTER):
            return f"{errors} calls failed, {self.expected_errors} of them by faults"
        return ""
