"""What a fault may be: read from texts, and checked before the server is asked; no screen and no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from liverpc.inspector.protocol import FAULTS, ChaosRule
from liverpc.inspector.protocol.frames import Limits

__all__ = [
    "ACTIONS",
    "FIELDS",
    "PRESETS",
    "Action",
    "FaultError",
    "Field",
    "Preset",
    "fault_limit",
    "fault_rate",
    "fault_seconds",
    "make_rule",
    "percent",
    "period",
    "seconds",
    "texts",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_TEXT = 256  # characters of a glob, id or seed


class FaultError(ValueError):
    """A wish that cannot be; the text says what is allowed.

    Attributes:
        field: What of the fault is wrong: one of :data:`FIELDS`, ``action`` or ``ttl``.
    """

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        super().__init__(text)


# -- the texts of the fields ------------------------------------------------------------------------------


def seconds(text: str) -> float:
    """``30s``, ``500ms``, ``2m``, ``1h`` or a number of seconds; more than 0."""
    number = text.strip().lower()
    unit = next((each for each in ("ms", "s", "m", "h") if number.endswith(each)), "")
    try:
        value = float(number.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise FaultError("seconds", f"a time is a number above 0 with s, m, h or ms, such as 30s; not {text!r}")
    return value


def fault_rate(text: str) -> float:
    """A probability: ``0.2`` or ``20%``."""
    return _share("rate", text)


def fault_seconds(text: str, *, detached: bool = False) -> float:
    """How long a fault lives."""
    try:
        value = seconds(text)
    except FaultError as error:
        raise FaultError("ttl", str(error)) from None
    most = Limits.MAX_DETACHED_TTL if detached else Limits.MAX_TTL
    if value > most:
        kind = "a detached fault" if detached else "a fault"
        raise FaultError("ttl", f"{kind} lives at most {most:.0f} seconds; not {text!r}")
    return value


def fault_limit(text: str) -> int:
    """After how many hits a fault ends; 0 for no limit."""
    return _whole("limit", text, "a hit limit is a whole number, 0 for none", least=0)


def _share(field: str, text: str) -> float:
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise FaultError(field, f"a {field} is a number from 0 to 1, or 0% to 100%; not {text!r}")
    return value


def _whole(field: str, text: str, what: str, *, least: int) -> int:
    number = text.strip()
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) >= least):
        raise FaultError(field, f"{what}; not {text!r}")
    return int(number)


def _words(field: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text.strip()) > _MAX_TEXT:
            raise FaultError(field, f"at most {_MAX_TEXT} characters")
        return text.strip()

    return parse


def _time(field: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            return seconds(text)
        except FaultError as error:
            raise FaultError(field, str(error)) from None

    return parse


def _code(text: str) -> str:
    code = text.strip()
    if not (code.isascii() and code.replace("_", "").isalnum() and len(code) <= 64):
        raise FaultError("code", f"a code is made of letters, digits and _, such as RATE_LIMITED; not {text!r}")
    return code


def percent(value: float) -> str:
    """A probability or a share as it is written: ``12.5%``."""
    return f"{value * 100:.6g}%"


def period(value: float) -> str:
    """Seconds as they are written: ``1.5s``, ``300ms``."""
    return f"{value:.6g}s" if value >= 1 else f"{value * 1000:.6g}ms"


@dataclass(frozen=True)
class Field:
    """One of the things a fault can be told.

    Args:
        title: In a form.
        hint: What may stand there.
        parse: Its value, from a text that is not empty; raises :class:`FaultError`.
        show: The text for a value.
        help: On the command line.
    """

    title: str
    hint: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    help: str = ""


#: By the names that they have in :class:`ChaosRule`, in the order in which a form asks for them.
FIELDS: Mapping[str, Field] = {
    "topic": Field("topic", "board:*, or * for all", _words("topic"), help="events on these topics"),
    "path": Field("path", "chat/*, or * for all", _words("path"), help="calls of these paths"),
    "event": Field("event", "created, * for all", _words("event"), help="events of these names"),
    "connection": Field("connection", "id; empty: all", _words("connection"), help="only this one"),
    "user": Field("user", "id; empty: all", _words("user"), help="only their connections"),
    "share": Field(
        "share",
        "of connections, 10%",
        lambda text: _share("share", text),
        percent,
        help="of the connections, always the same ones: 0.1 or 10%%",
    ),
    "rate": Field("rate", "0.2 or 20%", fault_rate, percent, help="how probable it is: 0.2 or 20%%; default 100%%"),
    "seconds": Field("takes", "300ms, 2s", _time("seconds"), period, help="how long it takes, such as 300ms"),
    "jitter": Field("jitter", "200ms, give or take", _time("jitter"), period, help="by which a delay differs at most"),
    "copies": Field(
        "copies",
        "further ones",
        lambda text: _whole("copies", text, "copies are a whole number above 0", least=1),
        help="further ones of each event; default 1",
    ),
    "code": Field("code", "empty: the usual one", _code, help="of the error, or of the close frame"),
    "seed": Field("seed", "empty: the server makes one", _words("seed"), help="the same seed strikes the same events"),
    "limit": Field("stop after", "hits, 0 for no limit", fault_limit, help="end after so many hits"),
}

# -- the actions ------------------------------------------------------------------------------------------

_WHOM = ("connection", "user", "share")
_EVENTS = ("topic", "event", *_WHOM)


@dataclass(frozen=True)
class Action:
    """A kind of fault.

    Args:
        sentence: What it does.
        fields: What it looks at, of :data:`FIELDS`.
        first: What stands in a form at first.
        aim: What has to be named, unless a connection or a user is; empty: nothing has to.
    """

    sentence: str
    fields: frozenset[str]
    first: Mapping[str, str]
    aim: str = ""


def _action(sentence: str, *fields: str, aim: str = "", **first: str) -> Action:
    return Action(sentence, frozenset((*fields, "limit")), {"limit": "5000", **first}, aim)


ACTIONS: Mapping[str, Action] = {
    "drop": _action("Publishes get lost before anybody gets them.", *_EVENTS, "rate", "seed", aim="topic", rate="20%"),
    "delay": _action(
        "Events reach clients late, in their order.",
        *_EVENTS,
        *("rate", "seconds", "jitter", "seed"),
        aim="topic",
        rate="100%",
        seconds="300ms",
        jitter="200ms",
    ),
    "duplicate": _action(
        "Events reach clients more than once.", *_EVENTS, "rate", "copies", "seed", aim="topic", rate="10%", copies="1"
    ),
    "reorder": _action(
        "Events come after the next one of their connection.",
        *_EVENTS,
        *("rate", "seconds", "seed"),
        aim="topic",
        rate="10%",
        seconds="1s",
    ),
    "disconnect": _action(
        "Connections are closed, spread over a time; clients come back.",
        *_EVENTS,
        *("rate", "seconds", "code", "seed"),
        rate="1%",
    ),
    "error": _action(
        "Calls fail before their handler runs.",
        *("path", *_WHOM, "rate", "code", "seed"),
        aim="path",
        rate="10%",
    ),
    "stall": _action(
        "Nothing is read from connections or written to them for a while.",
        *_EVENTS,
        *("rate", "seconds", "seed"),
        rate="100%",
        seconds="5s",
    ),
    "partition": _action("Nothing that is published arrives.", *_EVENTS, aim="topic"),
    "loader": _action(
        "Streams cannot be loaded.", *("topic", "path", *_WHOM, "rate", "code", "seed"), aim="topic", rate="100%"
    ),
}


def make_rule(action: str, given: Mapping[str, str]) -> ChaosRule:
    """The fault these texts describe; those the action does not look at are left out.

    Args:
        action: One of :data:`ACTIONS`.
        given: Texts by field. An empty one is as if it were missing. A missing rate is 1.

    Raises:
        FaultError: One of them cannot be, or the action's aim is missing.
    """
    if action not in ACTIONS:
        raise FaultError("action", f"faults are {', '.join(FAULTS)}; not {action!r}")
    kind = ACTIONS[action]
    values = {
        name: field.parse(given[name])
        for name, field in FIELDS.items()
        if name in kind.fields and given.get(name, "").strip()
    }
    if (
        kind.aim
        and not {kind.aim, "connection", "user"} & set(values)
        and not (action == "loader" and "path" in values)
    ):
        raise FaultError(kind.aim, f"name a {kind.aim}, or * for all")
    if "rate" in kind.fields:
        values.setdefault("rate", 1.0)
    return ChaosRule(action=action, **values)


def texts(rule: ChaosRule) -> dict[str, str]:
    """The texts of :func:`make_rule` that describe ``rule``; fields that say nothing are left out."""
    nothing = ChaosRule()
    named = {name: getattr(rule, name) for name in FIELDS if name in ACTIONS[rule.action].fields}
    kept = {"rate", ACTIONS[rule.action].aim}
    return {
        name: FIELDS[name].show(value)
        for name, value in named.items()
        if name in kept or value != getattr(nothing, name)
    }


@dataclass(frozen=True)
class Preset:
    """A fault worth trying.

    Args:
        name: What it imitates.
        rule: The fault; where its aim is empty, it is asked for.
        ttl: Seconds.
    """

    name: str
    rule: ChaosRule
    ttl: float = 60.0


PRESETS = (
    Preset("packet loss 5%", ChaosRule("drop", 0.05, topic="")),
    Preset("slow mobile network 300 +-200 ms", ChaosRule("delay", 1.0, topic="", seconds=0.3, jitter=0.2)),
    Preset("flaky connections 1%", ChaosRule("disconnect", 0.01, topic="")),
    Preset("loader outage", ChaosRule("loader", 1.0, topic="")),
    Preset("error storm 30%", ChaosRule("error", 0.3, path="")),
    Preset("reconnect storm within 5 s", ChaosRule("disconnect", 1.0, seconds=5.0)),
)
