"""What exists on a server, with its figures: streams, connections, paths."""

from __future__ import annotations

from dataclasses import dataclass

from liverpc.inspector.protocol import (
    ConnectionInfo,
    ConnectionStats,
    PathInfo,
    PathStats,
    State,
    StreamInfo,
    StreamStats,
)
from liverpc_devtools.core.meter import Meter, Trend

__all__ = ["Connection", "Path", "Rows", "Stream", "Totals"]


@dataclass(slots=True)
class Stream:
    """A topic and its figures."""

    info: StreamInfo
    stats: StreamStats
    published: Meter
    delivered: Meter


@dataclass(slots=True)
class Connection:
    """An open connection and its figures."""

    info: ConnectionInfo
    stats: ConnectionStats
    frames: Meter


@dataclass(slots=True)
class Path:
    """A function that was called, and its figures."""

    info: PathInfo
    stats: PathStats
    calls: Meter
    trend: Trend  #: calls a second


@dataclass(slots=True)
class Totals:
    """Sums over everything seen since we attached."""

    published: Meter
    delivered: Meter
    calls: Meter
    errors: Meter


class Rows:
    """Folds states into rows.

    Args:
        at: The server's time from which on the totals count.

    Attributes:
        streams: By the server's id.
        connections: By id.
        paths: By the server's id.
        totals: What happened since we look.
        complete: Whether a whole state has arrived since the last :meth:`restart`.
    """

    def __init__(self, at: float) -> None:
        self.streams: dict[int, Stream] = {}
        self.connections: dict[str, Connection] = {}
        self.paths: dict[int, Path] = {}
        self.totals = Totals(*(Meter(at, 0) for _ in range(4)))
        self.complete = False
        # Ids met since a whole state began to arrive: streams, connections, paths.
        self._building: tuple[set[int], set[str], set[int]] | None = None

    def restart(self) -> None:
        """A new session: a whole state comes next. What is known stays until then."""
        self.complete = False
        self._building = None

    def apply(self, state: State) -> None:
        """Fold one state in."""
        if state.full and self._building is None:
            self._building = (set(), set(), set())
        self._streams(state)
        self._connections(state)
        self._paths(state)
        if state.full:
            self._built(state)

    def _built(self, state: State) -> None:
        assert self._building is not None
        streams, connections, paths = self._building
        streams.update(each.id for each in state.streams)
        connections.update(each.id for each in state.connections)
        paths.update(each.id for each in state.paths)
        if state.more:
            return
        self.streams = {each: row for each, row in self.streams.items() if each in streams}
        self.connections = {each: row for each, row in self.connections.items() if each in connections}
        self.paths = {each: row for each, row in self.paths.items() if each in paths}
        self._building = None
        self.complete = True

    def _streams(self, state: State) -> None:
        at = state.at
        for info in state.streams:
            known = self.streams.get(info.id)
            if known is not None and known.info.topic == info.topic:
                known.info = info
            else:
                stats = StreamStats(info.id, 0, 0, 0, 0, 0, "", 0.0, 0, "")
                self.streams[info.id] = Stream(info, stats, Meter(at, 0), Meter(at, 0))
        for stats in state.stream_stats:
            row = self.streams.get(stats.id)
            if row is None:
                continue
            if state.full:  # what happened before we looked is no rate
                row.published, row.delivered = Meter(at, stats.published), Meter(at, stats.delivered)
            else:
                _grow(self.totals.published, at, stats.published - row.stats.published)
                _grow(self.totals.delivered, at, stats.delivered - row.stats.delivered)
                row.published.add(at, stats.published)
                row.delivered.add(at, stats.delivered)
            row.stats = stats
        for gone in state.streams_gone:
            self.streams.pop(gone, None)

    def _connections(self, state: State) -> None:
        at = state.at
        for info in state.connections:
            known = self.connections.get(info.id)
            if known is None:
                stats = ConnectionStats(info.id, 0, 0, 0, 0, 0)
                self.connections[info.id] = Connection(info, stats, Meter(at, 0))
            else:
                known.info = info
        for stats in state.connection_stats:
            row = self.connections.get(stats.id)
            if row is None:
                continue
            row.stats = stats
            if state.full:
                row.frames = Meter(at, stats.frames_in)
            else:
                row.frames.add(at, stats.frames_in)
        for gone in state.connections_gone:
            self.connections.pop(gone, None)

    def _paths(self, state: State) -> None:
        at = state.at
        for info in state.paths:
            if info.id not in self.paths:
                self.paths[info.id] = Path(info, PathStats(info.id, 0, 0, 0.0, 0.0), Meter(at, 0), Trend())
        for stats in state.path_stats:
            row = self.paths.get(stats.id)
            if row is None:
                continue
            if state.full:
                row.calls = Meter(at, stats.calls)
            else:
                _grow(self.totals.calls, at, stats.calls - row.stats.calls)
                _grow(self.totals.errors, at, stats.errors - row.stats.errors)
                row.calls.add(at, stats.calls)
            row.trend.add(at, row.calls.rate(at))
            row.stats = stats


def _grow(meter: Meter, at: float, by: int) -> None:
    meter.add(at, meter.total + max(by, 0))
