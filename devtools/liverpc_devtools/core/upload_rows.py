"""Uploads: those that run, and for a while those that ended."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from liverpc.inspector.protocol import CallEvent, State, UploadInfo, UploadTotals
from liverpc_devtools.core.meter import Meter

__all__ = ["Upload", "UploadKey", "Uploads"]

UploadKey = tuple[str, str, float]  # numbers are used again, so the connection and the number are not enough

_SECONDS_KEPT = 60.0
_KEPT = 200  # that ended
_SAME = 0.5  # seconds between the beginnings that a state and an answer tell of the same upload


@dataclass(slots=True)
class Upload:
    """An upload and its figures.

    Attributes:
        received: Its bytes.
        ended_at: When it ended, or when we noticed; None while it runs.
        answer: How it ended; None while it runs, and when that was not captured.
    """

    info: UploadInfo
    received: Meter
    ended_at: float | None = None
    answer: CallEvent | None = None

    @property
    def key(self) -> UploadKey:
        """What identifies it."""
        return self.info.connection, self.info.id, self.info.started_at

    @property
    def state(self) -> str:
        """What it does now; of one that ended its code, ``done``, or ``ended`` when it is not known how."""
        if self.answer is not None:
            return "done" if self.answer.ok else self.answer.code
        return self.info.state if self.ended_at is None else "ended"

    @property
    def share(self) -> float | None:
        """What has arrived of the announced size, 0 to 1; None when none was. Clients announce what they like."""
        size, received = self.info.size, max(self.info.received, 0)
        if size is None:
            return None
        return 1.0 if received >= size else received / size

    @property
    def percent(self) -> str:
        """The same for people, ``42%``, rounded down: ``100%`` when all is there. Empty when there is no telling."""
        return "" if (share := self.share) is None else f"{int(share * 100)}%"

    def seconds(self, now: float) -> float:
        """How long it has run, or did."""
        return max((now if self.ended_at is None else self.ended_at) - self.info.started_at, 0.0)

    def rate(self, now: float) -> float:
        """Bytes per second; 0 when it ended."""
        return self.received.rate(now) if self.ended_at is None else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Until all is there at the present rate; None when there is no telling."""
        rate, size = self.rate(now), self.info.size
        if size is None or rate < 1:
            return None
        return max(size - self.info.received, 0) / rate


class Uploads:
    """Folds states and answers into rows.

    Attributes:
        totals: Of the whole server; None when this observer is told nothing of uploads.
        untold: How many run of which we are told nothing, for there are too many.
        bytes: Received by the whole server.
    """

    def __init__(self, at: float) -> None:
        self.totals: UploadTotals | None = None
        self.untold = 0
        self.bytes = Meter(at, 0)
        self._rows: dict[tuple[str, str], list[Upload]] = {}  # of each connection and number
        self._cleared = 0.0

    @property
    def rows(self) -> list[Upload]:
        """Those that run, and for a minute those that ended, at most 200 of them."""
        return [row for rows in self._rows.values() for row in rows]

    def running(self, connection: str) -> list[Upload]:
        """The running ones of a connection."""
        return [row for row in self.rows if row.ended_at is None and row.info.connection == connection]

    def apply(self, state: State) -> None:
        """Fold one state in."""
        at, met = state.at, set()
        for info in state.uploads:
            row = next((each for each in self._of(info) if each.info.started_at == info.started_at), None)
            if row is None:
                row = Upload(info, Meter(at, info.received))
                self._of(info).append(row)
            elif row.ended_at is None:
                row.info = info
                if state.full:  # what happened before we looked is no rate
                    row.received = Meter(at, info.received)
                else:
                    row.received.add(at, info.received)
            met.add(row.key)
        for row in self.rows:
            if row.ended_at is None and row.key not in met:
                row.ended_at = at
        received = state.counters.get("upload_bytes", 0)
        if state.full:
            self.bytes = Meter(at, received)
        else:
            self.bytes.add(at, received)
        self.totals = state.upload_totals
        self.untold = 0 if self.totals is None else self.totals.running - len(state.uploads)
        self._forget(at)

    def ended(self, call: CallEvent, now: float) -> None:
        """An upload was answered; it may be told more than once.

        One that was turned away at the door makes no row: it failed before we saw it, and nothing of it was received.
        """
        if call.carries != "upload" or call.at <= max(self._cleared, now - _SECONDS_KEPT):
            return
        began = call.at - call.ms / 1000
        info = UploadInfo(call.connection, call.call, call.path, call.user, "", began, None, 0, 0, 0, "")
        row = next((each for each in self._of(info) if _is_of(call, each, began)), None)
        if row is None:
            if not (call.ok or call.received):
                return
            row = Upload(info, Meter(call.at, call.received))
            self._of(info).append(row)
        row.ended_at, row.answer = call.at, call
        row.info = msgspec.structs.replace(row.info, received=max(call.received, row.info.received), buffered=0)

    def clear(self, now: float) -> None:
        """Forget those that ended."""
        self._cleared = now
        self._keep_only([row for row in self.rows if row.ended_at is None])

    def _of(self, info: UploadInfo) -> list[Upload]:
        """The rows of its connection and number."""
        return self._rows.setdefault((info.connection, info.id), [])

    def _forget(self, now: float) -> None:
        ended = sorted((row.ended_at, row.key) for row in self.rows if row.ended_at is not None)
        kept = {key for at, key in ended[-_KEPT:] if at > now - _SECONDS_KEPT}
        self._keep_only([row for row in self.rows if row.ended_at is None or row.key in kept])

    def _keep_only(self, rows: list[Upload]) -> None:
        self._rows = {}
        for row in rows:
            self._of(row.info).append(row)


def _is_of(call: CallEvent, row: Upload, began: float) -> bool:
    return abs(row.info.started_at - began) < _SAME if row.answer is None else row.answer.at == call.at
