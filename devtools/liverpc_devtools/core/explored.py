"""What a server declares, as far as it was asked, and the calls that were tried on it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent, Declarations, Declared, Welcome
from liverpc.inspector.protocol.frames import CARRIERS
from liverpc_devtools.core.schemas import Schemas, dump
from liverpc_devtools.core.text import clean

__all__ = ["PAGE", "Explored", "Sent", "Unreadable", "arguments", "faults", "first_lines", "forbidden", "signature"]

PAGE = "of a page"  #: the policy that says to which URLs a part of a contract belongs
_SENT = 100
Outcome = Callable[[CallEvent | str], None]


@dataclass(frozen=True)
class Sent:
    """A call that was tried."""

    path: str
    lines: tuple[str, ...]  #: as they were written
    user: str


class Unreadable(Exception):
    """A line is no JSON, or must not be empty.

    Attributes:
        line: Its number.
    """

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class Explored:
    """One server, explored.

    Attributes:
        declared: What it declares; None: it did not answer yet.
        problem: Why it did not tell.
        asked: Whether it was asked in this session, or has answered before.
        sent: Calls that were tried, oldest first. They outlive the server.
    """

    def __init__(self) -> None:
        self.sent: deque[Sent] = deque(maxlen=_SENT)
        self._waiting: tuple[int, Outcome] | None = None
        self.forget()

    def forget(self) -> None:
        """The server is another one."""
        self.declared: Declarations | None = None
        self.problem = ""
        self.asked = False

    def lost(self) -> None:
        """The session is another one: what was asked will not be answered."""
        self.asked = self.declared is not None
        if self._waiting is not None:
            self.answered(self._waiting[0], "the connection to the server was lost before it told what came of it")

    def tried(self, number: int, told: Outcome) -> None:
        """A call was sent; ``told`` is called with what came of it, or why nothing did."""
        self._waiting = (number, told)

    def answered(self, number: int, outcome: CallEvent | str) -> None:
        """What came of a call."""
        if self._waiting is not None and self._waiting[0] == number:
            (_, told), self._waiting = self._waiting, None
            told(outcome)


def forbidden(welcome: Welcome | None, declared: Declarations | None, row: Declared | None) -> str:
    """Why this observer cannot try a call, and how it could; empty when it can."""
    if row is None:
        return "no path is selected"
    if row.kind in CARRIERS:
        return "it takes bytes besides its arguments; `liverpc upload` sends files"
    if PAGE in dict(row.policies):
        return "it is part of a contract, and only pages that have that open can call it"
    if welcome is None:
        return "calls can be tried once a server is attached"
    if not welcome.server.dev:
        return "calls are tried in development mode only: start the server with LIVERPC_DEV=1"
    if welcome.granted != "admin":
        return "calls are tried at level admin: attach with --admin"
    if declared is None:
        return "the server has not told what it declares"
    return "" if declared.users else "calls are tried with a token for all topics only"


def signature(row: Declared, schemas: Schemas) -> str:
    """How a path is called, and what it gives: ``chat/send(room: text, text: text) -> Message``."""
    parts = []
    for name, schema, required in row.parameters:
        default = f" = {clean(dump(schema['default']))}" if "default" in schema else "" if required else " = …"
        parts.append(f"{clean(name)}: {schemas.within(schema).words(schema)}{default}")
    return f"{clean(row.path)}({', '.join(parts)}) -> {schemas.within(row.result).words(row.result)}"


def first_lines(row: Declared, schemas: Schemas) -> list[str]:
    """A line of JSON for each parameter to begin with; empty for those that may be left out."""
    return [dump(schemas.within(schema).example(schema)) if required else "" for _, schema, required in row.parameters]


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def arguments(row: Declared, lines: list[str]) -> list[Any]:
    """The arguments out of a line of JSON for each parameter. Those that may be left out may be empty.

    Raises:
        Unreadable: Of the first line that is wrong.
    """
    found: list[Any] = []
    last = max((index for index, line in enumerate(lines) if line.strip()), default=-1)
    for index, (name, schema, required) in enumerate(row.parameters):
        text = lines[index].strip()
        if not text and (index > last and not required):
            continue
        if not text and (required or "default" not in schema):
            why = "it must be given" if required else "the server needs it for those behind it: they go by position"
            raise Unreadable(index, f"{clean(name)}: {why}")
        try:
            value = json.loads(text, parse_constant=_no_number) if text else schema["default"]
            msgspec.json.encode(value)  # not all that can be read can be sent, such as half of a surrogate pair
        except json.JSONDecodeError as error:
            cure = ' (text stands in quotes: "…")' if text[0].isalpha() else ""
            raise Unreadable(index, f"{clean(name)}: no JSON from {error.pos + 1} on: {error.msg}{cure}") from None
        except (ValueError, OverflowError, RecursionError) as error:
            raise Unreadable(index, f"{clean(name)}: it cannot be sent: {clean(str(error))}") from None
        if name.startswith("*"):
            if not isinstance(value, list):
                raise Unreadable(index, f"{clean(name)}: it takes a list")
            found += value
        else:
            found.append(value)
    return found


def faults(row: Declared, lines: list[str], schemas: Schemas) -> dict[int, list[str]]:
    """What of the lines does not fit its schema, by their number. Lines that are no JSON are left out."""
    found: dict[int, list[str]] = {}
    for index, (name, schema, _) in enumerate(row.parameters):
        with suppress(ValueError, RecursionError):
            value = json.loads(lines[index])
            if problems := schemas.within(schema).problems(value, schema):
                found[index] = [f"{clean(name)} {each}" for each in problems]
    return found
