"""What an event was about, in lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent
from liverpc_devtools.core.chain import begin, chain
from liverpc_devtools.core.compared import before
from liverpc_devtools.core.events import EventLog, Remark
from liverpc_devtools.core.terms import All, Term, show
from liverpc_devtools.core.text import clean, count, ms, ordinal, size
from liverpc_devtools.widgets.forms import Form, written
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.waterfall import steps

__all__ = ["about", "call_lines", "causes", "headline", "only", "publish_lines"]

_MOST_LED = 20


def only(**values: str) -> str:
    """The filter for rows with these values of fields."""
    return show(All(tuple(Term(name, ":", value) for name, value in values.items() if value)))


def headline(what: Event | Remark) -> list[Line]:
    """What stands above the details."""
    if isinstance(what, Remark):
        return [[(f" {what.kind} ", "warn")]]
    if isinstance(what, CallEvent):
        state: Piece = (" OK ", "ok") if what.ok else (f" ERR {clean(what.code)} ", "error")
        return [
            [(f" {clean(what.path)} ", "strong"), state, (f" {ms(what.ms)} ", "text"), *_carried(what)],
            [(f" user {clean(what.user) or 'anonymous'} ", "dim")],
            [(f" conn {clean(what.connection)} ", "dim")],
            [(f" call {clean(what.call)} ", "dim")] if what.call else [],
        ]
    if isinstance(what, PublishEvent):
        seq = "" if what.seq is None else f"seq {ordinal(what.seq)} "
        return [
            [(f" {clean(what.topic)} ", "strong"), (f" {clean(what.event)} ", "text"), (f" {seq}", "text")],
            [(f" {size(what.size)} to {count(what.receivers)} ", "dim")],
        ]
    return [
        [(f" connection {clean(what.connection)} ", "strong"), (f" {clean(what.what)} ", "text")],
        [(f" user {clean(what.user) or 'anonymous'} ", "dim")],
    ]


def _carried(call: CallEvent) -> Line:
    return [(f" {clean(call.carries)} ", "accent"), (f"{size(call.received)} ", "text")] if call.carries else []


def about(what: Event | Remark, form: Form, events: Iterable[Event], glyphs: Glyphs) -> list[Line]:
    """Payload of a publish; arguments and result of a call; why a connection ended; a remark.

    Args:
        what: Any of them.
        form: One of :data:`~liverpc_devtools.widgets.forms.FORMS`.
        events: Among these is what ``Diff`` compares it with.
        glyphs: What is drawn with.
    """
    if isinstance(what, Remark):
        return [[(clean(what.text), "text")]]
    lines: list[Line] = []
    if what.fault:
        lines.append([(f"{glyphs.cut} a fault befell it on purpose: {clean(what.fault)}", "warn")])
    if isinstance(what, CallEvent):
        return lines + call_lines(what, form, events)
    if isinstance(what, PublishEvent):
        return lines + publish_lines(what, form, events, glyphs)
    facts = {"address": what.address, "code": str(what.code or ""), "reason": what.reason}
    return lines + [[(f"{name:<9}", "key"), (clean(value), "text")] for name, value in facts.items() if value]


def call_lines(row: CallEvent, form: Form, events: Iterable[Event] = ()) -> list[Line]:
    """What a call was about: arguments, result or error, and where it published; see :func:`about`."""
    old = before(row, events) if form == "Diff" else None
    last = old if isinstance(old, CallEvent) else None
    lines: list[Line] = [[("args", "head")]]
    lines += _value(row.args, form, None if last is None else last.args)
    if row.ok:
        lines.append([("result", "head")])
        lines += _value(row.result, form, None if last is None else last.result)
    else:
        lines.append([("error", "error")])
        lines += _error(row.result, form, None if last is None else last.result)
    if row.published:
        lines.append([("published", "head")])
        lines += [[("  ", ""), (clean(topic), "text")] for topic in row.published]
    return lines


def causes(call: CallEvent, log: EventLog, glyphs: Glyphs) -> list[Line]:
    """What a call went through, what led to it and what it led to, as far as it is kept; nothing when nothing is."""
    lines: list[Line] = []
    if call.steps:
        lines.append([("steps", "head")])
        lines += steps([(clean(name), at, took) for name, at, took in call.steps], call.ms, glyphs)
    if call.cause:
        above = log.get(call.cause)
        lines.append([("caused by", "head")])
        told = "an event that was not captured, or is not kept any more"
        if above is not None:
            found = chain(above, [above]).parts[0]
            before = ms(max(begin(call) - begin(above), 0.0) * 1000)
            told = f"{found.kind} {found.name}  {found.text}  {before} before"
        lines.append([(f"  {told}", "text" if above is not None else "dim")])
    led = [] if not call.id else [each for each in log.events() if each.cause == call.id]
    if led:
        lines.append([(f"led to {count(len(led))} event{'s' if len(led) > 1 else ''}", "head")])
        parts = [chain(each, [each]).parts[0] for each in led[:_MOST_LED]]
        lines += [[(f"  {part.kind:<4} ", "key"), (part.name, "text"), (f"  {part.text}", "dim")] for part in parts]
    return lines


def publish_lines(event: PublishEvent, form: Form, events: Iterable[Event], glyphs: Glyphs) -> list[Line]:
    """What was published, and whether it got there; see :func:`about`."""
    lines: list[Line] = []
    if event.dropped:
        lines.append([(f"{glyphs.cut} dropped by a fault: nobody received it", "warn")])
    if event.sent_ms is not None:
        lines.append([("taken by all sockets after ", "dim"), (ms(event.sent_ms), "text")])
    elif event.waiting:
        lines.append([(f"{count(event.waiting)} of {count(event.receivers)} sockets had not taken it", "warn")])
    if event.data is msgspec.UNSET:
        return [*lines, [("the payload is not told: not at this level, or it was not captured", "dim")]]
    old = before(event, events) if form == "Diff" else None
    return lines + written(event.data, form, (old.event, old.data) if isinstance(old, PublishEvent) else None)


def _error(value: Any, form: Form, old: Any) -> list[Line]:
    if form != "Pretty" or not isinstance(value, dict) or not isinstance(value.get("issues"), list):
        return _value(value, form, old)
    issues = [[("    - ", "dim"), (clean(str(each)), "text")] for each in value["issues"]]
    return [[("  ", ""), (clean(str(value.get("message", ""))), "text")], *issues]


def _value(value: Any, form: Form, old: Any) -> list[Line]:
    if value is msgspec.UNSET:
        return [[("  not recorded", "dim")]]
    compared = None if old is None or old is msgspec.UNSET else ("the call before", old)
    return [[("  ", ""), *line] for line in written(value, form, compared)]
