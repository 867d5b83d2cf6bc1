"""What was done, and what to type for it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from liverpc_devtools.core.commands import CommandLog, Done
from liverpc_devtools.core.text import clean, clock
from liverpc_devtools.widgets.palette import Glyphs
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["LogScreen"]


class _Lines(Table[Done]):
    """Copies what to type without asking for more."""

    def action_copy(self) -> None:
        if (row := self.selected) is not None:
            self.app.copy_to_clipboard(row.cli)
            self.notify("copied; a terminal may keep its clipboard to itself", timeout=4)


class LogScreen(ModalScreen[None]):
    """The last actions, the newest on top."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,at", "dismiss", "close the log", id="log.close"),
        Binding("enter", "copy", "copy the line", id="log.copy"),
    ]

    def __init__(self, log: CommandLog, glyphs: Glyphs) -> None:
        super().__init__()
        self._table = _Lines(
            [
                Column("time", 8, lambda row: (clock(row.wall, millis=False), "dim")),
                Column("server", 12, lambda row: (clean(row.server), "dim"), most=16, optional=1),
                Column("command", 24, lambda row: (clean(row.cli), "strong"), most=400, end=True),
            ],
            lambda: reversed(log.entries),
            lambda row: row.number,
            glyphs=glyphs,
            empty="nothing was done yet",
            id="done",
        )

    def compose(self) -> ComposeResult:
        with Vertical(id="log"):
            yield self._table
            yield Label("y copies the line; esc, q or @ closes", classes="hint")

    def on_mount(self) -> None:
        self.set_focus(self._table)
        self.call_after_refresh(self._table.reload)

    def action_copy(self) -> None:
        self._table.action_copy()
