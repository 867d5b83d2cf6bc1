"""The keys that work now, and what is on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from liverpc_devtools.widgets.palette import Line, wrap
from liverpc_devtools.widgets.payload import Payload

__all__ = ["Help"]

_KEYS = 18  # cells
_WIDTH, _SIDES = 116, 8  # cells: of the style sheet; padding, margin and scrollbar


class Help(ModalScreen[None]):
    """Keys by topic; what does not fit is scrolled to with the keys of the tables.

    Args:
        about: A sentence: what is on the screen.
        sections: Pairs of keys and what they do, by title.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close the help", id="help.close")
    ]

    FRAME = 4  # lines: padding, hint and the line above the hint

    def __init__(self, about: str, sections: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        super().__init__()
        self._about = about
        self._sections = sections

    def compose(self) -> ComposeResult:
        with Vertical(id="help"):
            yield Payload(id="help-keys")
            yield Label("j and k scroll; esc, q or ? closes", classes="hint")

    def on_mount(self) -> None:
        lines: list[Line] = [[(self._about, "text")]]
        for title, keys in self._sections.items():
            if told := list(keys):
                wide = max(_KEYS, *(len(key) + 2 for key, _ in told))
                lines.append([(title, "accent")])
                lines += [[(f"  {key:<{wide}}", "strong"), (what, "text")] for key, what in told]
        cells = min(_WIDTH, self.size.width) - _SIDES
        self.query_one("#help").styles.height = sum(len(wrap(line, cells)) for line in lines) + self.FRAME
        shown = self.query_one(Payload)
        shown.show(lines, top=True)
        self.set_focus(shown)
