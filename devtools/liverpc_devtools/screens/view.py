"""What the screens have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.widget import Widget

from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean, count, rate
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Table

__all__ = ["View", "number", "per_second", "short"]

_SHORT = 8


class View(Vertical):
    """A table of the model's rows with details below it.

    When there is no room for both, the details take the table's place on ``enter`` and leave it on ``esc``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort by the next column", key_display="s sort", id="view.sort"),
        Binding("S", "reverse", "turn the order around", show=False, id="view.reverse"),
        Binding("space", "freeze", "freeze the view; capture goes on", key_display="space freeze", id="view.freeze"),
        Binding("w", "wrap", "wrap long lines of payloads, or cut them", show=False, id="view.wrap"),
        Binding("z", "zoom", "give the whole screen to this pane, or to all", show=False, id="view.zoom"),
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
        self.url = "URL"  # how commands name the server
        self._frozen_from = 0

    class Goto(Message):
        """Somebody wants to see another view, with the rows that contain a text."""

        def __init__(self, view: str, needle: str) -> None:
            super().__init__()
            self.view = view
            self.needle = needle

    class Say(Message):
        """Something to tell people for some seconds. Whatever it contains is shown as it is."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Did(Message):
        """Something was done that belongs into the log of commands; ``cli`` is what to type for the same."""

        def __init__(self, cli: str) -> None:
            super().__init__()
            self.cli = cli

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
            line.append((f'filter "{clean(self.table.needle)}" {count(self.table.shown)} shown  ', "warn"))
        if self.model.captured:
            line.append((f'captured only "{clean(self.model.captured)}"  ', "warn"))
        return line + self.table.notes()

    def focused(self, widget: Widget) -> bool:
        """Whether keys go to it. Its own ``has_focus`` says so some turns later, when further keys may be there."""
        return self.screen.focused is widget

    def back(self) -> bool:
        """Leave what was entered last; False when there is nothing to leave."""
        if self.zoomed:
            self.action_zoom()
            return True
        if self.has_class("-detail"):
            self.remove_class("-detail")
        elif self.focused(self.table):
            return False
        self.screen.set_focus(self.table)
        return True

    def fit_table(self, rows: int) -> None:
        """Few rows leave their room to the details."""
        lines = max(min(rows + 1, self.size.height // 2), 5)
        if not self.has_class("-small") and not self.zoomed and self.table.size.height != lines:
            self.table.styles.height = lines

    def enter_details(self) -> None:
        """Make room for the details when they are hidden."""
        if self.has_class("-small"):
            self.add_class("-detail")

    @property
    def zoomed(self) -> bool:
        """Whether one pane has the whole screen."""
        return self.has_class("-zoomed")

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

    def action_wrap(self) -> None:
        for each in self.query(Payload):
            each.wrapping = not each.wrapping

    def action_zoom(self) -> None:
        """Hide everything beside the focused pane, or bring it back."""
        pane = self.screen.focused
        if self.zoomed:
            self.remove_class("-zoomed")
            for each in self.query(".-beside, .-zoom"):
                each.remove_class("-beside", "-zoom")
            return
        if pane is None or self not in pane.ancestors:
            return
        self.add_class("-zoomed")
        self.table.styles.height = None  # what fit_table gave it
        for ancestor in pane.ancestors_with_self:
            if ancestor is self or not isinstance(ancestor, Widget):
                break
            ancestor.add_class("-zoom")
            for beside in ancestor.siblings:
                beside.add_class("-beside")

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
