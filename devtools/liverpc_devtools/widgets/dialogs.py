"""The screens over the screens: keys, and the form for a fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from liverpc.inspector.protocol import ChaosRule, Kick
from liverpc_devtools.core.faults import FaultError, fault_seconds, make_rule
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.view import short
from liverpc_devtools.widgets.palette import Line
from liverpc_devtools.widgets.payload import Payload

__all__ = ["ChaosForm", "Help", "KickForm"]


class Help(ModalScreen[None]):
    """The keys of a view, by topic; what does not fit is scrolled to with the keys of the tables."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "close")]

    FRAME = 4  # lines: padding, hint and the line above the hint

    def __init__(self, sections: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        with Vertical(id="help"):
            yield Payload(id="help-keys")
            yield Label("j and k scroll; esc, q or ? closes", classes="hint")

    def on_mount(self) -> None:
        lines: list[Line] = []
        for title, keys in self._sections.items():
            lines.append([(title, "accent")])
            lines += [[(f"  {key:<18}", "strong"), (what, "text")] for key, what in keys]
        self.query_one("#help").styles.height = len(lines) + self.FRAME
        shown = self.query_one(Payload)
        shown.show(lines, top=True)
        self.set_focus(shown)


class ChaosForm(ModalScreen[tuple[ChaosRule, float] | None]):
    """Asks for a fault; the result is the rule and the seconds it shall live, or None.

    Args:
        topic: Stands in the form at first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "close"),
        # Only the button arms: nobody injects a fault by finishing a field. With priority, for who types ahead.
        Binding("enter", "next", "next field", priority=True),
    ]

    FIELDS = (
        ("topic", "topic", "", "board:*, or * for all"),
        ("rate", "drop rate", "20%", "0.2 or 20%"),
        ("seed", "seed", "", "empty: the server makes one"),
        ("seconds", "for", "60s", "at most 15m"),
        ("limit", "stop after", "5000", "hits, 0 for no limit"),
    )

    def __init__(self, topic: str = "") -> None:
        super().__init__()
        self._topic = topic

    def compose(self) -> ComposeResult:
        with Vertical(id="chaos-form"):
            yield Label("Drop publishes", id="chaos-title")
            for name, title, value, hint in self.FIELDS:
                with Horizontal(classes="field"):
                    yield Label(title, classes="name")
                    yield Input(self._topic if name == "topic" else value, id=name, compact=True)
                    yield Label(hint, classes="hint")
            yield Static("", id="problem", markup=False)
            yield Label("It ends by itself: after its time, its hits, or 5 s after you leave.", classes="hint")
            with Horizontal(id="buttons"):
                yield Button("Arm", id="arm", variant="error", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#topic", Input))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return isinstance(self.focused, Input) if action == "next" else True

    def action_next(self) -> None:
        self.focus_next()

    def on_input_changed(self) -> None:
        self.query_one("#problem", Static).update("")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "arm":
            self._arm()
        else:
            self.dismiss(None)

    def _arm(self) -> None:
        text = {name: self.query_one(f"#{name}", Input).value for name, *_ in self.FIELDS}
        try:
            rule = make_rule(text["topic"], text["rate"], seed=text["seed"], limit=text["limit"])
            ttl = fault_seconds(text["seconds"])
        except FaultError as error:
            self.query_one("#problem", Static).update(str(error))
            self.query_one(f"#{error.field}", Input).focus()
            return
        self.dismiss((rule, ttl))


class KickForm(ModalScreen[Kick | None]):
    """Asks what to close, and whether the clients may come back; the result has no id yet, or is None.

    Args:
        connection: May be closed by itself; empty: it may not.
        user: All of its connections may be closed; empty: it has no name.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "close"),
        Binding("j,down", "app.focus_next", "next", show=False),
        Binding("k,up", "app.focus_previous", "previous", show=False),
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
