"""What the screens have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.widget import Widget

from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import count, rate
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Table

__all__ = ["View", "number", "per_second", "short"]

_SHORT = 8


class View(Vertical):
    """A table of the model's rows with details below it.

    When there is no room for both, the details take the table's place on ``enter`` and leave it on ``esc``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort by the next column", key_display="s sort"),
        Binding("S", "reverse", "turn the order around", show=False),
        Binding("space", "freeze", "freeze the view; capture goes on", key_display="space freeze"),
    ]
    DIGIT: ClassVar[str]
    TITLE: ClassVar[str]
    #: the least size at which table and details are both shown
    ROOM: ClassVar[tuple[int, int]] = (70, 14)

    def __init__(self, model: Model, glyphs: Glyphs, table: Table[Any], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.model = model
        self.glyphs = glyphs
        self.table = table
        self._frozen_from = 0

    class Goto(Message):
        """Somebody wants to see another view, with the rows that contain a text."""

        def __init__(self, view: str, needle: str) -> None:
            super().__init__()
            self.view = view
            self.needle = needle

    # -- for the app --------------------------------------------------------------------------------------

    def figure(self) -> str:
        """What stands beside the title on the tab."""
        raise NotImplementedError

    def happened(self) -> int:
        """A total that grows with what a frozen view does not show."""
        raise NotImplementedError

    def flush(self) -> None:
        """Draw what changed."""
        self.table.flush()

    def left(self) -> None:
        """Another view is shown from now on."""

    def target(self) -> tuple[str, str] | None:
        """Whom ``D`` disconnects: a connection and its user, either may be empty; None: nobody is selected."""
        return None

    def marks(self) -> Line:
        """What the view leaves out."""
        line: Line = []
        if self.table.frozen:
            line.append((f"frozen (+{count(max(self.happened() - self._frozen_from, 0))})  ", "warn"))
        if self.table.needle:
            line.append((f'filter "{self.table.needle}" {count(self.table.shown)} shown  ', "warn"))
        return line

    def focused(self, widget: Widget) -> bool:
        """Whether keys go to it. Its own ``has_focus`` says so some turns later, when further keys may be there."""
        return self.screen.focused is widget

    def back(self) -> bool:
        """Leave what was entered last; False when there is nothing to leave."""
        if self.has_class("-detail"):
            self.remove_class("-detail")
        elif self.focused(self.table):
            return False
        self.screen.set_focus(self.table)
        return True

    def fit_table(self, rows: int) -> None:
        """Few rows leave their room to the details."""
        lines = max(min(rows + 1, self.size.height // 2), 5)
        if not self.has_class("-small") and self.table.size.height != lines:
            self.table.styles.height = lines

    def enter_details(self) -> None:
        """Make room for the details when they are hidden."""
        if self.has_class("-small"):
            self.add_class("-detail")

    # -- keys ---------------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        self.table.sort_next()

    def action_reverse(self) -> None:
        self.table.sort_reverse()

    def action_freeze(self) -> None:
        self._frozen_from = self.happened()
        frozen = not self.table.frozen
        for each in self.query(Table):
            each.frozen = frozen

    def on_resize(self, event: Resize) -> None:
        columns, lines = self.ROOM
        small = event.size.width < columns or event.size.height < lines
        self.set_class(small, "-small")
        if not small:
            self.remove_class("-detail")


def short(identity: str) -> str:
    """Enough of a connection's id to tell it from the others."""
    return identity[:_SHORT]


def number(value: int) -> Piece:
    """A cell with a count; nothing is dim."""
    return count(value), "text" if value else "dim"


def per_second(value: float) -> Piece:
    """A cell with a rate; what rounds to nothing is dim."""
    return rate(value), "number" if value >= 0.05 else "dim"
