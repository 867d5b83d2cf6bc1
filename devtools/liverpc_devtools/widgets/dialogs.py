"""What is asked before something is closed."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Label

from liverpc.inspector.protocol import Kick
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.view import short

__all__ = ["KickForm"]


class KickForm(ModalScreen[Kick | None]):
    """Asks what to close, and whether the clients may come back; the result has no id yet, or is None.

    Args:
        connection: May be closed by itself; empty: it may not.
        user: All of its connections may be closed; empty: it has no name.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "close no connection", id="kick.close"),
        Binding("j,down", "app.focus_next", "the next one", show=False, id="kick.down"),
        Binding("k,up", "app.focus_previous", "the one before", show=False, id="kick.up"),
    ]

    def __init__(self, connection: str, user: str) -> None:
        super().__init__()
        named = {f"connection {short(connection)}": Kick(id=0, connection=connection)} if connection else {}
        if user:
            named[f"all connections of {user}"] = Kick(id=0, user=user)
        self._wishes: dict[str, Kick] = {}
        for name, wish in named.items():
            self._wishes[f"{name}; it comes back by itself"] = wish
            self._wishes[f"{name}, for good: its client stops"] = msgspec.structs.replace(wish, for_good=True)

    def compose(self) -> ComposeResult:
        with Vertical(id="kick-form"):
            yield Label("Close", id="kick-title")
            yield Button("nothing", id="kick-none", compact=True)
            for number, text in enumerate(self._wishes):
                yield Button(Content(clean(text)), id=f"kick-{number}", variant="error", compact=True)
            yield Label("Nobody is locked out: who connects anew is let in as before.", classes="hint")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        wishes = {f"kick-{number}": wish for number, wish in enumerate(self._wishes.values())}
        self.dismiss(wishes.get(event.button.id or ""))
