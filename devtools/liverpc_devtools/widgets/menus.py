"""Small questions over the screen: one of several things, or a line of text."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from liverpc_devtools.core.text import clean

__all__ = ["Ask", "Choices", "Menu"]


class Choices(OptionList):
    """The list of a menu."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "next", show=False, id="menu.down"),
        Binding("k", "cursor_up", "previous", show=False, id="menu.up"),
        Binding("g", "first", "first", show=False, id="menu.first"),
        Binding("G", "last", "last", show=False, id="menu.last"),
    ]


class Menu(ModalScreen[int | None]):
    """One of several things: its index, or None.

    Args:
        title: What is chosen.
        choices: Other people's text is made harmless.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "choose nothing", id="menu.leave")]

    def __init__(self, title: str, choices: list[str]) -> None:
        super().__init__()
        self._title = title
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="menu"):
            yield Static(clean(self._title), classes="menu-title", markup=False)
            yield Choices(*(Option(Text(clean(each), no_wrap=True, overflow="ellipsis")) for each in self._choices))
            yield Static("enter chooses, esc leaves", classes="hint", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)

    def action_leave(self) -> None:
        self.dismiss(None)


class Ask(ModalScreen[str | None]):
    """A line of text, or None.

    Args:
        title: What is asked.
        text: To begin with.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "change nothing", id="ask.leave")]

    def __init__(self, title: str, text: str = "") -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="menu"):
            yield Static(clean(self._title), classes="menu-title", markup=False)
            yield Input(self._text, compact=True, max_length=1000)
            yield Static("enter keeps, esc leaves", classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
