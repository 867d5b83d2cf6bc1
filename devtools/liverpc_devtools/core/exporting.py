"""Rows written to files of their own, which only their user can read.

Nothing in them acts on whoever opens them: JSON is ASCII, and cells that a spreadsheet would take for formulas begin
with an apostrophe.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent, ConnectionEvent, PublishEvent
from liverpc_devtools.core import records
from liverpc_devtools.core.store import replace_file, state_dir
from liverpc_devtools.core.text import clean

__all__ = ["FORMS", "Sheet", "forms", "harmless", "name", "record", "save", "text", "write"]

FORMS = {"JSON lines": "jsonl", "CSV": "csv", "HAR (calls)": "har"}  #: titles, and endings of files
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last ones are wide


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Rows of a table as they are shown.

    Args:
        rows: In their order.
        cells: Of each row, the columns' titles and the texts; for CSV.
        comments: Of each row, what was noted about it; None: nothing.
        wall: Seconds since the epoch of the server's monotonic ones.
    """

    rows: Sequence[Any]
    cells: Sequence[Sequence[tuple[str, str]]]
    comments: Sequence[str | None]
    wall: Callable[[float], float]


def forms(rows: Sequence[Any]) -> list[str]:
    """In which forms these rows can be written."""
    return [title for title, ending in FORMS.items() if ending != "har" or any(isinstance(r, CallEvent) for r in rows)]


def text(form: str, sheet: Sheet) -> str:
    """The file."""
    return {"JSON lines": _json_lines, "CSV": _csv, "HAR (calls)": _har}[form](sheet)


def save(kind: str, form: str, sheet: Sheet) -> Path:
    """Write rows; where they are."""
    return write(name(kind, FORMS[form]), text(form, sheet))


def name(kind: str, ending: str) -> str:
    """A name that is not taken, such as ``calls-20260314-120431.csv``."""
    begin = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain((begin,), (f"{begin}-{number}" for number in itertools.count(2)))
    return next(each for name in names if not (_folder() / (each := f"{name}.{ending}")).exists())


def write(name: str, text: str) -> Path:
    """Write a file among the exports, mode 0600; where it is.

    Raises:
        OSError: It could not be written.
    """
    path = _folder() / name
    replace_file(path, text)
    return path


def _folder() -> Path:
    return state_dir() / "exports"


def record(row: Any) -> dict[str, Any]:
    """A row with the names of its fields."""
    if isinstance(row, PublishEvent | CallEvent | ConnectionEvent):
        return records.event(row)
    if isinstance(row, msgspec.Struct):
        return msgspec.structs.asdict(row)
    if not dataclasses.is_dataclass(row):
        return {"value": str(row)}
    found: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, msgspec.Struct):
            found |= record(value)
        elif value is None or isinstance(value, str | int | float | list | dict):
            found[field.name] = value
    return found


def _json_lines(sheet: Sheet) -> str:
    lines = []
    for row, comment in zip(sheet.rows, sheet.comments, strict=True):
        noted = {} if comment is None else {"mark": comment}
        lines.append(json.dumps({**record(row), **noted}, default=str) + "\n")
    return "".join(lines)


def _csv(sheet: Sheet) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if sheet.cells:
        writer.writerow([*(harmless(title) for title, _ in sheet.cells[0]), "mark"])
    for cells, comment in zip(sheet.cells, sheet.comments, strict=True):
        noted = "" if comment is None else comment or "marked"
        writer.writerow([harmless(each) for each in (*(text for _, text in cells), noted)])
    return file.getvalue()


def harmless(text: str) -> str:
    text = clean(text)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _har(sheet: Sheet) -> str:
    """Calls in the form in which browsers export requests, as far as it fits: a call has no method and no headers."""
    pairs = zip(sheet.rows, sheet.comments, strict=True)
    entries = [_entry(row, comment, sheet.wall) for row, comment in pairs if isinstance(row, CallEvent)]
    log = {"version": "1.2", "creator": {"name": "liverpc-tui", "version": "1"}, "entries": entries}
    return json.dumps({"log": log}, indent=1, default=str)


def _date(wall: float) -> str:
    """As in ISO 8601; empty for a time no calendar has."""
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return ""


def _entry(call: CallEvent, comment: str | None, wall: Callable[[float], float]) -> dict[str, Any]:
    body = {} if call.result is msgspec.UNSET else {"text": json.dumps(call.result, default=str)}
    given = {} if call.args is msgspec.UNSET else {"text": json.dumps(call.args, default=str)}
    sizes = {"headersSize": -1, "bodySize": -1, "headers": [], "cookies": [], "httpVersion": "liverpc"}
    return {
        "startedDateTime": _date(wall(call.at - call.ms / 1000)),
        "time": call.ms,
        "request": {
            "method": "CALL",
            "url": call.path,
            "queryString": [],
            "postData": {"mimeType": "application/json", **given},
            **sizes,
        },
        "response": {
            "status": 200 if call.ok else 500,
            "statusText": call.code or "OK",
            "redirectURL": "",
            "content": {"size": -1, "mimeType": "application/json", **body},
            **sizes,
        },
        "cache": {},
        "timings": {"send": 0, "wait": call.ms, "receive": 0},
        "connection": call.connection,
        "comment": comment or "",
        "_call": records.event(call),
    }
