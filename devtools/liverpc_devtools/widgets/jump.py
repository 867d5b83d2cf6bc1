"""Letters over the panes, to go to one with two keys."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Label

__all__ = ["Jump", "panes"]

LETTERS = "asdfjklghqwertyuiopzxcvbnm"


def panes(root: Widget) -> list[Widget]:
    """What can be focused and is visible, from the top, and there from the left."""
    found = [each for each in root.query("*") if each.focusable and each.region and not each.has_class("-beside")]
    return sorted(found, key=lambda each: (each.region.y, each.region.x))[: len(LETTERS)]


class Jump(ModalScreen[Widget | None]):
    """Shows a letter at the corner of each pane; the result is the pane whose letter was typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+o", "dismiss", "stay here", id="jump.close")]

    def __init__(self, targets: list[Widget]) -> None:
        super().__init__()
        self._targets = dict(zip(LETTERS, targets, strict=False))

    def compose(self) -> ComposeResult:
        for letter, target in self._targets.items():
            label = Label(f" {letter} ", classes="jump")
            label.styles.offset = (target.region.x, target.region.y)
            yield label

    def on_key(self, event: Key) -> None:
        if event.key in self._targets:
            event.stop()
            self.dismiss(self._targets[event.key])
        elif event.key not in ("escape", "ctrl+o"):
            event.stop()  # no letter of a pane: nothing is done by mistake
            self.dismiss(None)

    def on_click(self) -> None:
        self.dismiss(None)
