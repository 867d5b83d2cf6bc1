"""The form for a fault, with a preview of what it would strike, and the menu of presets."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from liverpc.inspector.protocol import Blast, ChaosRule
from liverpc_devtools.core.fault_words import blast_lines, command, sweeping
from liverpc_devtools.core.faults import (
    ACTIONS,
    FIELDS,
    PRESETS,
    FaultError,
    Preset,
    fault_seconds,
    make_rule,
    texts,
)
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.palette import Line, segments, style

__all__ = ["ChaosForm", "PresetMenu", "ask_for_fault", "ask_for_preset", "forbidden"]

Wish = tuple[ChaosRule, float]

PREVIEW_AFTER = 0.3  # seconds after the last change


def forbidden(model: Model) -> str:
    """Why this observer cannot inject faults, and how it could; empty when it can."""
    welcome = model.welcome
    if model.may_arm:
        return ""
    if model.tape is not None and model.tape.player is not None:
        return "nothing can be changed in a recording"
    if welcome is None:
        return "faults can be injected once a server is attached"
    if not welcome.chaos:
        return "this server lets nobody inject faults; start it with Inspect(chaos=True)"
    why = clean("; ".join(welcome.denied))
    return f"you may observe only: attach with --chaos and a token of level chaos{why and f' ({why})'}"


def ask_for_fault(view: View, wish: ChaosRule | None = None, ttl: float = 60.0) -> None:
    """Open the form, or tell why nothing could come of it.

    Args:
        view: From where.
        wish: Stands in the form at first; what is empty there, or a rate of 0, is asked for.
        ttl: Likewise, in seconds.
    """

    def arm(wish: Wish | None) -> None:
        if wish is not None:
            view.model.arm(*wish)
            view.post_message(View.Did(command(*wish, view.url)))

    if why := forbidden(view.model):
        view.post_message(View.Say(why))
    else:
        view.app.push_screen(ChaosForm(view.model, wish, ttl, view.url), arm)


def ask_for_preset(view: View) -> None:
    """Open the menu of presets, and then the form with the chosen one."""

    def chosen(preset: Preset | None) -> None:
        if preset is not None:
            ask_for_fault(view, preset.rule, preset.ttl)

    if why := forbidden(view.model):
        view.post_message(View.Say(why))
    else:
        view.app.push_screen(PresetMenu(), chosen)


class Choice(Widget, can_focus=True):
    """Words of which one is chosen, with the arrow keys or the mouse."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,space", "move(1)", "the next choice", show=False, id="fault.next_choice"),
        Binding("left,h", "move(-1)", "the choice before", show=False, id="fault.previous_choice"),
    ]

    class Changed(Message):
        """Another word is chosen."""

    def __init__(self, words: list[str], chosen: str, *, id: str) -> None:  # noqa: A002  Textual's name for it
        super().__init__(id=id)
        self._words = words
        self._rows: list[list[str]] = [words]
        self.chosen = chosen

    def choose(self, word: str) -> None:
        """Choose a word."""
        if word != self.chosen:
            self.chosen = word
            self.refresh()
            self.post_message(self.Changed())

    def action_move(self, by: int) -> None:
        self.choose(self._words[(self._words.index(self.chosen) + by) % len(self._words)])

    def render_line(self, y: int) -> Strip:
        line: Line = []
        for word in self._rows[y] if y < len(self._rows) else ():
            here = word == self.chosen
            mark = "accent" if self.has_focus else "strong"
            line.append((f"[{word}]", mark) if here else (f" {word} ", "dim"))
        return Strip(segments(line, "bar")).adjust_cell_length(self.size.width, style("text", "bar"))

    def on_resize(self, event: Resize) -> None:
        self._rows = [[]]
        for word in self._words:
            if sum(len(each) + 2 for each in (*self._rows[-1], word)) > event.size.width and self._rows[-1]:
                self._rows.append([])
            self._rows[-1].append(word)
        self.styles.height = len(self._rows)

    def on_click(self, event: Click) -> None:
        x = 0
        for word in self._rows[event.y] if event.y < len(self._rows) else ():
            if x <= event.x < x + len(word) + 2:
                self.choose(word)
            x += len(word) + 2

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()


class ChaosForm(ModalScreen[Wish | None]):
    """Asks for a fault; the result is the rule and the seconds it shall live, or None.

    Before it arms it asks the server what the fault would strike. Whoever would strike most of the connections, or
    everything, types the server's name first.

    Args:
        model: The server's.
        wish: Stands in the form at first.
        ttl: Likewise, in seconds.
        url: How commands name the server.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "close the form", id="fault.close"),
        Binding("down", "app.focus_next", "the next field", show=False, id="fault.down"),
        Binding("up", "app.focus_previous", "the field before", show=False, id="fault.up"),
        # Only the button arms: nobody injects a fault by finishing a field. With priority, for who types ahead.
        Binding("enter", "next", "done with this field", priority=True, id="fault.next"),
    ]

    _FRAME, _SHORT_FRAME = 17, 13  # lines around the fields, messages included
    _SHORT = 24

    def __init__(self, model: Model, wish: ChaosRule | None = None, ttl: float = 60.0, url: str = "URL") -> None:
        super().__init__()
        self._model = model
        self._url = url
        wish = wish or ChaosRule(topic="")
        self._given = {**texts(wish), "ttl": f"{ttl:g}s"}
        if not wish.rate:
            self._given.pop("rate", None)
        self._first = wish.action
        self._written: set[str] = set(self._given)  # by somebody: no action's own text takes their place
        self._blast: tuple[ChaosRule, Blast] | None = None  # what the server said last, and of what
        self._then: Literal["", "arm", "dry"] = ""  # what follows its answer
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        fields = {name: (each.title, each.hint) for name, each in FIELDS.items()}
        fields["ttl"] = ("for", "at most 15m")
        with Vertical(id="chaos-form"):
            what, how = (
                Content(f"Inject a fault into {self._server}"),
                ("   left and right choose, tab goes on", "$lp-dim"),
            )
            yield Label(Content.assemble(what, how), id="chaos-title")
            yield Choice(list(ACTIONS), self._first, id="action")
            yield Static("", id="sentence", markup=False, classes="hint")
            with VerticalScroll(id="fields", can_focus=False):
                for name, (title, hint) in fields.items():
                    with Horizontal(classes="field", id=f"field-{name}"):
                        yield Label(title, classes="name")
                        yield Input(self._given.get(name, ""), id=name, compact=True)
                        yield Label(hint, classes="hint")
            yield Static("", id="preview", markup=False)
            yield Static("", id="problem", markup=False)
            with Horizontal(classes="field", id="field-server"):
                yield Label("server", classes="name")
                yield Input(id="server", compact=True)
                yield Label(Content(f"type {self._server}"), classes="hint")
            with Horizontal(id="buttons"):
                yield Button("Arm", id="arm", variant="error", compact=True)
                yield Button("Dry run", id="dry", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
            yield Label(
                "It ends by itself: after its time, its hits, or 5 s after you leave.", classes="hint", id="chaos-end"
            )

    def on_mount(self) -> None:
        self._show_fields()
        self._later()
        self.set_focus(self.query_one(Choice))

    @property
    def _server(self) -> str:
        welcome = self._model.welcome
        return (clean(welcome.server.name) if welcome is not None else "") or "server"

    @property
    def _action(self) -> str:
        return self.query_one(Choice).chosen

    def _input(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    # -- the fields ---------------------------------------------------------------------------------------

    def _show_fields(self) -> None:
        kind = ACTIONS[self._action]
        self.query_one("#sentence", Static).update(kind.sentence)
        for name in FIELDS:
            self.query_one(f"#field-{name}").display = name in kind.fields
            if name not in self._written:
                with self.prevent(Input.Changed):
                    self._input(name).value = kind.first.get(name, "")
        self.query_one("#field-server").display = False

    def on_resize(self, event: Resize) -> None:
        short = event.size.height < self._SHORT
        self.set_class(short, "-short")
        around = self._SHORT_FRAME if short else self._FRAME
        self.query_one("#fields").styles.max_height = max(event.size.height - around, 1)

    def on_choice_changed(self) -> None:
        self._show_fields()
        self._changed("")

    def on_input_changed(self, event: Input.Changed) -> None:
        name = event.input.id or ""
        if name != "server":
            self._written.add(name)
            self._changed(name)

    def _changed(self, name: str) -> None:
        self._blast, self._then = None, ""
        self.query_one("#field-server").display = False
        self._input("server").value = ""
        self._preview("")
        wrong = self._wrong()
        # Who has not come to a field yet is not told that it is empty.
        self._tell("" if wrong is None or (wrong.field != name and not self._input(wrong.field).value) else str(wrong))
        self._later()

    def _wrong(self) -> FaultError | None:
        try:
            self._read()
        except FaultError as error:
            return error
        return None

    def _read(self) -> Wish:
        rule = make_rule(self._action, {name: self._input(name).value for name in FIELDS})
        return rule, fault_seconds(self._input("ttl").value)

    def _tell(self, problem: str) -> None:
        wrong = self._wrong()
        for name in (*FIELDS, "ttl"):
            here = bool(problem) and wrong is not None and wrong.field == name
            self.query_one(f"#field-{name}").set_class(here, "-wrong")
        self.query_one("#problem", Static).update(problem)

    # -- the preview --------------------------------------------------------------------------------------

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PREVIEW_AFTER, self._look)

    def _look(self) -> None:
        """Ask the server what the fault would strike, if there is one."""
        try:
            rule, ttl = self._read()
        except FaultError:
            return
        self._model.preview(rule, ttl, lambda answer: self.call_later(self._answered, rule, answer))

    def _answered(self, rule: ChaosRule, answer: Blast | str) -> None:
        if not self.is_attached or self._wrong() is not None or self._read()[0] != rule:
            return
        then, self._then = self._then, ""
        if isinstance(answer, str):
            self._preview("")
            self._tell(f"the server would refuse it: {clean(answer)}")
            return
        self._blast = (rule, answer)
        why, ttl = sweeping(rule, answer), self._read()[1]
        lines = blast_lines(rule, answer)
        if why:
            lines.append(f"careful: {why}")
        if then == "dry":
            lines.append(command(rule, ttl, self._url))
        self._preview("\n".join(lines))
        if then == "arm":
            self._decide(rule, ttl, answer)

    def _preview(self, text: str) -> None:
        self.query_one("#preview", Static).update(text)

    # -- the buttons --------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not isinstance(self.focused, Button) if action == "next" else True

    def action_next(self) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
            return
        try:
            rule, ttl = self._read()
        except FaultError as error:
            self._tell(str(error))
            self._input(error.field).focus()
            return
        if self._model.phase not in ("live", "stale"):
            self._tell("not attached now: nothing can be armed or asked")
        elif event.button.id == "arm" and self._blast is not None:
            self._decide(rule, ttl, self._blast[1])
        else:
            self._then = "arm" if event.button.id == "arm" else "dry"
            self._preview("asking what it would strike")
            self._look()

    def _decide(self, rule: ChaosRule, ttl: float, blast: Blast) -> None:
        """Arm, unless the name of the server has to be typed first."""
        why = sweeping(rule, blast)
        if why and self._input("server").value.strip() != self._server:
            self.query_one("#field-server").display = True
            self._input("server").focus()
            self.query_one("#problem", Static).update(f"{why}: type the server's name, then press Arm")
            return
        self.dismiss((rule, ttl))


class PresetMenu(ModalScreen[Preset | None]):
    """Asks for one of the presets."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "inject nothing", id="preset.close"),
        Binding("j,down", "app.focus_next", "the next one", show=False, id="preset.down"),
        Binding("k,up", "app.focus_previous", "the one before", show=False, id="preset.up"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="presets"):
            yield Label("Inject", id="presets-title")
            for number, preset in enumerate(PRESETS):
                yield Button(Content(f"{preset.name}  ({preset.rule.action})"), id=f"preset-{number}", compact=True)
            yield Label("The form follows: nothing is armed yet.", classes="hint")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        number = (event.button.id or "").removeprefix("preset-")
        self.dismiss(PRESETS[int(number)])
