"""Events as lines: ``json`` for programs, ``csv`` for spreadsheets, ``pretty`` for people."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from typing import Literal

import msgspec

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent, Welcome
from liverpc_devtools.core import records
from liverpc_devtools.core.exporting import harmless
from liverpc_devtools.core.text import clean, clock, count, ms, size
from liverpc_devtools.headless.output import emit

__all__ = ["EventWriter", "Format"]

Format = Literal["json", "pretty", "csv"]

_COLUMNS = ("wall", "kind", "name", "event", "ok", "code", "ms", "user", "connection", "bytes", "seq", "id", "payload")
_MAX_PAYLOAD = 200  # characters of a payload in a pretty line


class EventWriter:
    """Writes events to standard output, after a beginning that says what of.

    Args:
        form: How.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._offset = 0.0
        self._csv = csv.writer(sys.stdout, lineterminator="\n")

    def begin(self, welcome: Welcome) -> None:
        """Say which server the events are of."""
        self.clock(welcome)
        if self._form == "json":
            emit(
                {
                    "t": "meta",
                    "schema": records.SCHEMA,
                    "server": msgspec.to_builtins(welcome.server),
                    "granted": welcome.granted,
                    "at": welcome.at,
                    "wall": welcome.wall,
                    "redacted": welcome.redacted,
                }
            )
        elif self._form == "csv":
            self._csv.writerow(_COLUMNS)

    def clock(self, welcome: Welcome) -> None:
        """Relate the server's clock to the time of day."""
        self._offset = welcome.wall - welcome.at

    def gap(self, lost: int, sample: float) -> None:
        """So many events are missing here."""
        if self._form == "json":
            emit({"t": "gap", "dropped": lost, "sample": sample})
        elif self._form == "csv":
            self._csv.writerow(["", "gap", lost])
        else:
            self._line(f"... {count(lost)} events not captured, or not sent")

    def event(self, event: Event) -> None:
        """Something that happened."""
        wall = round(event.at + self._offset, 6)
        if self._form == "json":
            emit({"t": "event", "wall": wall, **records.event(event)})
        elif self._form == "csv":
            self._csv.writerow([_cell(each) for each in (wall, *_row(event))])
            sys.stdout.flush()
        else:
            self._line(f"{clock(wall)} {_pretty(event)}")

    def _line(self, text: str) -> None:
        sys.stdout.write(f"{clean(text)}\n")
        sys.stdout.flush()


def _cell(value: object) -> object:
    return _ascii(harmless(value)) if isinstance(value, str) else value


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _row(event: Event) -> tuple[object, ...]:
    if isinstance(event, PublishEvent):
        who = "", "", event.size, event.seq, event.id, _json(event.data)
        return "pub", event.topic, event.event, "", "dropped" if event.dropped else "", event.sent_ms, *who
    if isinstance(event, CallEvent):
        said = {"args": event.args, "result": event.result}
        payload = _json({name: each for name, each in said.items() if each is not msgspec.UNSET})
        whose = event.user, event.connection, event.received or "", "", event.id, payload
        return event.carries or "rpc", event.path, "", event.ok, event.code, event.ms, *whose
    whose = event.user, event.connection, "", "", event.id, event.reason
    return "conn", event.address, event.what, "", event.code or "", "", *whose


def _pretty(event: Event) -> str:
    if isinstance(event, PublishEvent):
        figures = f"{size(event.size)} to {count(event.receivers)}"
        fault = " DROPPED by a fault" if event.dropped else ""
        return f"pub  {event.topic} {event.event} {figures}{fault} {_json(event.data)[:_MAX_PAYLOAD]}"
    if isinstance(event, CallEvent):
        result = "ok" if event.ok else f"FAILED {event.code}"
        who = event.user or "anonymous"
        return f"rpc  {event.path} {result} {ms(event.ms)} {who} {_json(event.args)[:_MAX_PAYLOAD]}"
    return f"conn {event.connection[:8]} {event.what} {event.user or 'anonymous'} {event.code or ''} {event.reason}"


def _json(value: object) -> str:
    if value is msgspec.UNSET:
        return ""
    encode: Callable[..., str] = json.dumps
    return encode(value, default=msgspec.to_builtins)
