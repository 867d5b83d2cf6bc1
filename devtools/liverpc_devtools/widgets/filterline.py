"""The line in which a filter is typed: whether it is one, what it may become, and what was typed before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from liverpc_devtools.core.filter import Filter, FilterError, parse
from liverpc_devtools.core.suggest import suggestions
from liverpc_devtools.core.text import clean, count
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Line
from liverpc_devtools.widgets.table import Table

__all__ = ["FilterLine"]

_HISTORY = 50
_SHOWN = 5  # suggestions


class FilterLine(Vertical):
    """Edits the filter of a table while it is shown, or the capture filter of a session.

    The last filter that was understood stays in force while something is typed that is none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(-1)", "the filter before", show=False, id="filter.before"),
        Binding("down", "recall(1)", "the filter after", show=False, id="filter.after"),
        Binding("tab", "complete", "complete the field or the value", show=False, priority=True, id="filter.complete"),
    ]

    class Changed(Message):
        """The table shows other rows now."""

    class Kept(Message):
        """Somebody is done with the line.

        Attributes:
            text: What was typed.
            capture: The filter that the server is to use; None: the line was about a table.
        """

        def __init__(self, text: str, capture: Filter | None) -> None:
            super().__init__()
            self.text = text
            self.capture = capture

    def __init__(self, *, id: str) -> None:  # noqa: A002  Textual's name for it
        super().__init__(id=id)
        self._line = Input(id="filter", compact=True, max_length=1000, select_on_focus=False)
        self._hint = Bar("bar", id="filter-hint")
        self._table: Table[Any] | None = None
        self._capturing = False
        self._histories: dict[str, list[str]] = {}
        self._history: list[str] = []
        self._place = 0
        self._offers: list[str] = []
        self._offer = 0
        self._completed = ""

    def compose(self) -> ComposeResult:
        self._line.display = False
        yield self._hint
        yield self._line

    def open(self, table: Table[Any], screen: str, capture: str | None = None) -> None:
        """Edit the filter of a table; or, with the text it has now, the capture filter.

        Args:
            table: Whose fields are suggested.
            screen: Each has a history of its own.
            capture: The capture filter.
        """
        self._table, self._capturing = table, capture is not None
        self._history = self._histories.setdefault("capture" if self._capturing else screen, [])
        self._place = len(self._history)
        self.display = self._line.display = True
        self._line.value = clean(table.needle if capture is None else capture)  # a name of others may be in it
        self._line.cursor_position = len(self._line.value)
        self._line.placeholder = (
            "what the server captures" if self._capturing else "texts, and fields such as topic:board:*"
        )
        self._show()
        self.screen.set_focus(self._line)

    @property
    def is_open(self) -> bool:
        """Whether something is being typed."""
        return bool(self._line.display)

    @property
    def capturing(self) -> bool:
        """Whether it is about the capture filter."""
        return self._capturing

    def close(self) -> None:
        """Hide the line. What was in force stays in force."""
        self.display = self._line.display = False
        self._table = None

    # -- typing -------------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open:
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        try:
            wanted = parse(text, self._fields)
        except FilterError:
            return  # the line says why
        if text and self._history[-1:] != [text]:
            self._history.append(text)
            del self._history[:-_HISTORY]
        self.post_message(self.Kept(text, wanted if self._capturing else None))

    def action_recall(self, by: int) -> None:
        place = min(max(self._place + by, 0), len(self._history))
        if place != self._place:
            self._place = place
            self._write(self._history[place] if place < len(self._history) else "")

    def action_complete(self) -> None:
        if not self._offers:
            return
        self._completed = self._offers[self._offer % len(self._offers)]
        self._offer += 1
        self._write(self._completed)

    def _write(self, text: str) -> None:
        self._line.value = text
        self._line.cursor_position = len(text)

    # -- what stands above --------------------------------------------------------------------------------

    @property
    def _fields(self) -> Sequence[str]:
        return [] if self._table is None or self._capturing else list(self._table.sieve.fields)

    def _show(self) -> None:
        text, table = self._line.value, self._table
        if table is None:
            return
        if text != self._completed:
            self._offer, self._completed = 0, ""
            self._offers = suggestions(text, self._fields, table.values)
        try:
            wanted = parse(text, self._fields)
        except FilterError as error:
            point = f" column {error.column + 1}: "  # in one group: what is wrong is told however narrow it is
            what: Line = [(" not a filter ", "error"), (point, "error"), (clean(error.message), "text")]
            self._hint.show([what], [("the last one stays ", "dim")])
            return
        if not self._capturing:
            table.needle = text
            self.post_message(self.Changed())
        self._hint.show([[(" filter ", "ok"), *self._said(wanted)], *self._offered()], [])

    def _said(self, wanted: Filter) -> Line:
        if not self._capturing:
            number = 0 if self._table is None else self._table.shown
            line: Line = [(f"{count(number)} shown ", "dim")]
            if wanted.unknown:
                line.append((f" {clean(wanted.unknown[0])} is no field here, so that is text ", "warn"))
            return line
        if wanted.exact or not wanted:
            return [("the server does all of it ", "dim")]
        if wanted.capture() == parse("").capture():
            return [("the server can do nothing of it: ", "warn"), *self._rest(wanted)]
        return [("the server does a part; ", "dim"), *self._rest(wanted)]

    def _rest(self, wanted: Filter) -> Line:
        what = "these stay" if len(wanted.rest) > 1 else "this stays"
        return [(f"{clean('  '.join(wanted.rest))} ", "text"), (f"{what} here ", "warn")]

    def _offered(self) -> list[Line]:
        start = " tab "
        lines: list[Line] = []
        for offer in self._offers[:_SHOWN]:
            lines.append([(start, "accent"), (clean(offer.rpartition(" ")[2]), "dim")])
            start = "  "
        return lines
