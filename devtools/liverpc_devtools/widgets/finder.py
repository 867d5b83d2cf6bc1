"""The palette: everything that can be done now, found by some of its letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList

from liverpc_devtools.core.fuzzy import ranked
from liverpc_devtools.core.text import clean
from liverpc_devtools.widgets.palette import fit

__all__ = ["Choice", "Finder"]

_NAME, _KEY = 26, 10  # cells


@dataclass(frozen=True)
class Choice:
    """Something that can be done.

    Args:
        name: What to type for it; empty for what only a key does.
        description: What it does.
        key: Does the same; may be empty.
        do: Does it.
    """

    name: str
    description: str
    key: str
    do: Callable[[], object]


class Finder(ModalScreen[Choice | None]):
    """A line to type letters in, and what has them; the result is what was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "dismiss", "close the palette", id="palette.close"),
        Binding("down,ctrl+n", "move(1)", "the next one", show=False, id="palette.down"),
        Binding("up,ctrl+b", "move(-1)", "the one before", show=False, id="palette.up"),
    ]

    def __init__(self, choices: Sequence[Choice], ellipsis: str) -> None:
        super().__init__()
        self._choices = choices
        self._shown: list[Choice] = []
        self._ellipsis = ellipsis

    def compose(self) -> ComposeResult:
        with Vertical(id="finder"):
            yield Input(id="finder-text", placeholder="some letters of it", compact=True)
            yield OptionList(id="finder-list", compact=True)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.set_focus(self.query_one(Input))
        self._show("")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        place = self.query_one(OptionList).highlighted
        if place is not None:
            self.dismiss(self._shown[place])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._shown[event.option_index])

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        if by > 0:
            listed.action_cursor_down()
        else:
            listed.action_cursor_up()

    def _show(self, text: str) -> None:
        self._shown = ranked(text, self._choices, lambda each: f"{each.name} {each.description} {each.key}")
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options([self._line(each) for each in self._shown])
        listed.highlighted = 0 if self._shown else None

    def _line(self, choice: Choice) -> Content:
        name, key = clean(choice.name), clean(choice.key)
        wide = max(_NAME, cell_len(name))
        return Content.assemble(
            (fit(key, _KEY - 1, self._ellipsis) + " ", "$lp-accent"),
            (fit(name, wide, self._ellipsis) + " ", "$lp-strong"),
            clean(choice.description),
        )
