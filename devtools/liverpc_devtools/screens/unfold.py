"""What led to an event and what it led to, over the screen it was asked for on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent
from liverpc_devtools.core.chain import Chain, Part, named
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clock, count, ms
from liverpc_devtools.screens.details import about, only
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table
from liverpc_devtools.widgets.waterfall import bar, styled

__all__ = ["Unfold"]

_BAR = 16  # cells at least
_MARKS = {"pub": 0, "rpc": 1, "conn": 2}


class Unfold(ModalScreen[None]):
    """The chain of an event: who caused it, up to the first cause, and what followed, with times.

    Args:
        model: Knows the events, and asks the server for more.
        glyphs: Draw it.
        event: Any of the chain.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace,minus", "dismiss", "close", id="chain.close"),
        Binding("enter", "drill", "go to the stream, the calls or the connection of this part", id="chain.drill"),
        Binding("v", "form", "payload pretty, raw, as difference, as bytes", id="chain.form"),
    ]

    def __init__(self, model: Model, glyphs: Glyphs, event: Event) -> None:
        super().__init__()
        self._model = model
        self._glyphs = glyphs
        self._event = event
        self._chain: Chain | None = None
        self._version: Hashable = None
        self._form: Form = FORMS[0]
        self._title = Bar("bar", id="chain-title")
        self._missing = Bar("head", id="chain-missing")
        self._payload = Payload(id="chain-payload")

    def compose(self) -> ComposeResult:
        self._table: Table[Part] = Table(
            self._columns(max(_BAR, self.app.size.width // 5)),
            self._rows,
            _key,
            glyphs=self._glyphs,
            period=0.25,
            id="chain",
        )
        with Vertical(id="unfold"):
            yield self._title
            yield self._table
            yield self._missing
            yield self._payload

    def on_mount(self) -> None:
        self.set_focus(self._table)
        self.flush()
        self.set_interval(0.25, self.flush)

    def flush(self) -> None:
        """Draw what changed."""
        self._table.flush()
        self._show()

    def _unfolded(self) -> Chain:
        # Once a second: all that is kept is looked through.
        version = (int(self._model.now()), self._model.told.known)
        if self._chain is None or version != self._version:
            self._chain, self._version = self._model.unfold(self._event), version
        return self._chain

    def _rows(self) -> Iterator[Part]:
        yield from self._unfolded().parts

    def _show(self) -> None:
        chain = self._unfolded()
        events = sum(part.event is not None for part in chain.parts)
        when = clock(self._model.wall(chain.at))
        self._title.show(
            [[(f" Chain of {named(self._event)} ", "strong")], [(f" began {when}, took {ms(chain.length)} ", "dim")]],
            [(f"{count(events)} event{'s' if events != 1 else ''} ", "dim")],
        )
        self._missing.display = bool(chain.missing)
        self._missing.show([[(f" {'; '.join(chain.missing)}", "warn")]], [])
        part = self._table.selected
        self._payload.tell(None if part is None else _key(part), (part, self._form), lambda: self._told_of(part))

    def _told_of(self, part: Part | None) -> list[Line]:
        if part is None:
            return []
        if part.event is None:
            return [[(f"a step of the call: {part.name}", "dim")]]
        events = self._model.events.events()
        text: Line = [(part.text, "error" if part.problem else "text")]
        return [text, *about(part.event, self._form, events, self._glyphs)]

    def _columns(self, cells: int) -> list[Column[Part]]:
        glyphs = self._glyphs
        return [
            Column("what", 20, self._what, most=44),
            Column("at", 8, lambda part: (f"+{ms(part.begin)}", "dim"), right=True),
            Column("took", 7, _took, right=True),
            Column("time", cells, lambda part: (self._bar(part, cells), styled(part))),
            Column(
                "came of it", 12, lambda part: (part.text, "error" if part.problem else "text"), most=60, optional=1
            ),
            Column("", 1, lambda part: (glyphs.cursor if self._is_it(part) else "", "accent")),
        ]

    def _is_it(self, part: Part) -> bool:
        return part.event is not None and (part.event is self._event or 0 != part.event.id == self._event.id)

    def _bar(self, part: Part, cells: int) -> str:
        return bar(part.begin, part.length, self._unfolded().length, cells, self._glyphs)

    def _what(self, part: Part) -> Piece:
        branch = "  " * (part.depth - 1) + self._glyphs.branch if part.depth else ""
        if part.kind == "step":
            return f"{branch}{part.name}", "number"
        return f"{branch}{self._glyphs.marks[_MARKS[part.kind]]}{part.kind} {part.name}", "strong"

    def action_drill(self) -> None:
        part = self._table.selected
        event = None if part is None else part.event
        if event is None:
            return
        if isinstance(event, PublishEvent):
            goto = View.Goto("streams", only(topic=event.topic))
        elif isinstance(event, CallEvent):
            goto = View.Goto("rpc", only(path=event.path))
        else:
            goto = View.Goto("connections", only(conn=event.connection))
        self.dismiss()
        self.app.post_message(goto)

    def action_form(self) -> None:
        self._form = following(self._form)


def _key(part: Part) -> Hashable:
    return (part.kind, part.name, part.begin, part.event and part.event.id)


def _took(part: Part) -> Piece:
    return ("" if part.length is None else ms(part.length)), "text"
