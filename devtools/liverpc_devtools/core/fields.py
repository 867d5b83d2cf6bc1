"""The fields of what can be filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Event, PendingCall, PublishEvent
from liverpc_devtools.core.filter import SLOW_MS

__all__ = ["CALL_FIELDS", "CONNECTION_FIELDS", "EVENT_FIELDS", "PUBLISH_FIELDS", "EventSubject", "Fields", "RowSubject"]

R = TypeVar("R")
Fields = Mapping[str, Callable[[R], object]]
_MAX_TEXT = 4000  # characters of an event that words are looked for in


def _set(value: Any) -> object:
    return None if value is msgspec.UNSET else value


def _about_publish(event: PublishEvent) -> tuple[str, ...]:
    words = [word for word, given in (("dropped", event.dropped), ("fault", event.dropped or event.fault)) if given]
    return (*words, "volatile") if event.seq is None else tuple(words)


def _about_call(call: CallEvent | PendingCall) -> tuple[str, ...]:
    if isinstance(call, PendingCall):
        return ("pending",)
    given = {"error": not call.ok, "slow": call.ms >= SLOW_MS, "fault": call.fault}
    return tuple(word for word, holds in given.items() if holds)


def _waited(call: CallEvent) -> float | None:
    """Milliseconds until its handler began."""
    return next((begin for name, begin, _ in call.steps if name == "handler"), None)


PUBLISH_FIELDS: Fields[PublishEvent] = {
    "kind": lambda _: "pub",
    "topic": lambda event: event.topic,
    "event": lambda event: event.event,
    "bytes": lambda event: event.size,
    "subs": lambda event: event.receivers,
    "seq": lambda event: event.seq,
    "wait": lambda event: event.sent_ms,
    "fault": lambda event: event.fault,
    "data": lambda event: _set(event.data),
    "is": _about_publish,
}

CALL_FIELDS: Fields[CallEvent] = {
    "kind": lambda call: ("rpc", call.carries) if call.carries else "rpc",
    "path": lambda call: call.path,
    "user": lambda call: call.user,
    "conn": lambda call: call.connection,
    "code": lambda call: call.code,
    "ok": lambda call: call.ok,
    "ms": lambda call: call.ms,
    "wait": _waited,
    "bytes": lambda call: call.received,
    "published": lambda call: call.published,
    "fault": lambda call: call.fault,
    "data": lambda call: _set(call.result),
    "args": lambda call: _set(call.args),
    "is": _about_call,
}

CONNECTION_FIELDS: Fields[ConnectionEvent] = {
    "kind": lambda _: "conn",
    "event": lambda event: event.what,
    "user": lambda event: event.user,
    "conn": lambda event: event.connection,
    "code": lambda event: event.code,
    "fault": lambda event: event.fault,
    "is": lambda event: ("fault",) if event.fault else (),
}

_OF: dict[type[Any], Fields[Any]] = {
    PublishEvent: PUBLISH_FIELDS,
    CallEvent: CALL_FIELDS,
    ConnectionEvent: CONNECTION_FIELDS,
}


def _of_event(name: str) -> Callable[[Event], object]:
    def value(event: Event) -> object:
        getter = _OF[type(event)].get(name)
        return None if getter is None else getter(event)

    return value


#: those of all kinds of events, for tables in which several kinds stand
EVENT_FIELDS: Fields[Event] = {name: _of_event(name) for each in _OF.values() for name in each}


class RowSubject(Generic[R]):
    """A row of a table.

    Args:
        row: What the fields are of.
        fields: By name.
        text: What words are looked for in.
    """

    __slots__ = ("_fields", "_row", "_text")

    def __init__(self, row: R, fields: Fields[R], text: Callable[[], str]) -> None:
        self._row = row
        self._fields = fields
        self._text = text

    def field(self, name: str) -> object | None:
        getter = self._fields.get(name)
        return None if getter is None else getter(self._row)

    def text(self) -> str:
        return self._text()


class EventSubject(RowSubject[Any]):
    """An event. Words are looked for in its names and in the JSON of its payload, 4,000 characters in all."""

    __slots__ = ()

    def __init__(self, event: Event) -> None:
        self._row = event
        self._fields = _OF[type(event)]

    def text(self) -> str:
        return _text(self._row)


def _text(event: Event) -> str:
    if isinstance(event, PublishEvent):
        names, values = [event.topic, event.event], [event.data]
    elif isinstance(event, CallEvent):
        names, values = (
            [event.path, event.code, event.user, event.connection, *event.published],
            [
                event.args,
                event.result,
            ],
        )
    else:
        names, values = [event.what, event.user, event.connection, event.address, event.reason], []
    known = (each for each in values if each is not msgspec.UNSET)
    return " ".join([*names, *(msgspec.json.encode(each).decode() for each in known)])[:_MAX_TEXT]
