"""What can be copied of a row."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent, ChaosRule, PublishEvent
from liverpc_devtools.core import fault_words
from liverpc_devtools.core.copytest import as_test, test_of
from liverpc_devtools.core.exporting import record
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Connection, Stream
from liverpc_devtools.core.rows import Path as PathRow
from liverpc_devtools.core.terms import Term, show
from liverpc_devtools.core.text import clean

__all__ = ["Offer", "Write", "offers", "tail"]

Write = Callable[[], Path]


@dataclass(frozen=True)
class Offer:
    """Something to copy.

    Args:
        title: For people.
        text: Makes it.
    """

    title: str
    text: Callable[[], str]


def offers(row: Any, cells: Sequence[tuple[str, str]], *, url: str, model: Model | None = None) -> list[Offer]:
    """What can be copied of a row: all of it, its names, what tells of it or does it again, and each of its cells."""
    found = [
        Offer("row", lambda: "\t".join(text for _, text in cells)),
        Offer("JSON", lambda: json.dumps(record(row), indent=2, default=str)),
    ]
    about = _about(row)
    if about is not None:
        name, value = about
        found.append(Offer(f"{name} {clean(value)}", lambda: clean(value)))
    for name, payload in _payloads(row).items():
        found.append(Offer(name, lambda payload=payload: json.dumps(payload, indent=2, default=str)))  # type: ignore[misc]  # a default binds the loop's value
    if about is not None:
        found.append(Offer("as `tail` command", lambda: tail(url, Term(about[0], ":", about[1]))))
    if isinstance(row, CallEvent):
        found.append(Offer("as test", lambda: as_test(row) if model is None else test_of(model, row)))
    if isinstance(row, ChaosRule):
        found.append(Offer("as `chaos` command", lambda: fault_words.command(row, max(round(row.left), 1), url)))
    found += [Offer(f"{title}: {text}", lambda text=text: text) for title, text in cells if text]  # type: ignore[misc]  # a default binds the loop's value
    return found


def tail(url: str, wanted: Term) -> str:
    """The command that prints such events."""
    return f"liverpc-tui tail {shlex.quote(url)} --filter {shlex.quote(clean(show(wanted)))}"


def _about(row: Any) -> tuple[str, str] | None:
    """The field by which events of a row are found, and its value."""
    if isinstance(row, PublishEvent):
        return "topic", row.topic
    if isinstance(row, Stream):
        return "topic", row.info.topic
    if isinstance(row, Connection):
        return "conn", row.info.id
    if isinstance(row, PathRow):
        return "path", row.info.path
    if isinstance(row, ChaosRule):
        return None
    path = getattr(row, "path", None) or getattr(getattr(row, "info", None), "path", None)
    return ("path", path) if isinstance(path, str) and path else None


def _payloads(row: Any) -> dict[str, Any]:
    if isinstance(row, PublishEvent):
        values = {"payload": row.data}
    elif isinstance(row, CallEvent):
        values = {"arguments": row.args, "result": row.result}
    else:
        values = {}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}
