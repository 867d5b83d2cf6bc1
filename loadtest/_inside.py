"""The server as it sees itself, second by second, from what its devtools tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from liverpc.inspector.protocol import BUCKETS, State
from loadtest._result import ServerSecond

__all__ = ["Inside", "quantile"]

_MOST = 1e12  # of anything that a server tells; above, no plot could show it


class Inside:
    """Makes seconds of the states that a server sends unasked, a few in each.

    Attributes:
        busy: The share of its time that the server spends on being watched lately, by its own count, 0..1.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self.forget()

    def forget(self) -> None:
        """The server is gone; what comes next is another one's."""
        self._last: State | None = None  # of this second
        self._partial = False  # between the parts of a full state
        self._buffered: dict[str, int] = {}  # by connection
        self._calls: dict[int, int] | None = None  # so far, by how long they took
        self._ended: Counter[int] = Counter()  # likewise, of those that ended in this second

    def take(self, state: State) -> None:
        """Take a state: all parts of a full one, then every change, in their order."""
        if state.full and not self._partial:
            self._buffered.clear()
        self._partial = state.more
        for row in state.connection_stats:
            self._buffered[row.id] = row.buffered
        for gone in state.connections_gone:
            self._buffered.pop(gone, None)
        self.busy = min(max(state.busy, 0.0), 1.0)
        if state.latencies or state.full:  # the other states do not tell
            calls = dict(state.latencies)
            if self._calls is not None:
                self._ended.update({bucket: count - self._calls.get(bucket, 0) for bucket, count in calls.items()})
            self._calls = calls
        self._last = state

    def second(self) -> ServerSecond:
        """The second until now, and begin the next one. Without a state in it nothing is known."""
        state, ended = self._last, +self._ended
        self._last, self._ended = None, Counter()
        if state is None:
            return ServerSecond()
        scoped = state.upload_totals is None
        return ServerSecond(
            lag_ms=None if scoped else round(min(max(state.lag, 0.0), _MOST) * 1000, 1),
            handler_ms=round(quantile(ended, 0.99) * 1000, 3) if ended else None,
            outbox_bytes=None if scoped else int(min(sum(self._buffered.values()), _MOST)),
            connections=None if scoped else len(self._buffered),
        )


def quantile(counts: Mapping[int, int], share: float) -> float:
    """Seconds that ``share`` of the calls did not exceed, to about 6 %.

    Args:
        counts: Calls in buckets of :data:`~liverpc.inspector.protocol.BUCKETS`, at least one.
        share: 0 to 1.
    """
    wanted = share * sum(counts.values())
    reached = 0
    index = 0
    for index in sorted(counts):
        reached += counts[index]
        if reached >= wanted:
            break
    last = len(BUCKETS) - 1  # servers that are newer may have more
    return (BUCKETS[min(max(0, index - 1), last)] + BUCKETS[min(max(0, index), last)]) / 2
