"""The form in which a call is written, checked, sent as a test user, and shown with what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus, Resize
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Button, Input, Label, Static

from liverpc.inspector.protocol import CallEvent, Declarations, Declared
from liverpc_devtools.core.completion import complete
from liverpc_devtools.core.explored import Sent, Unreadable, arguments, faults, first_lines, signature
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.schemas import Schemas
from liverpc_devtools.core.text import clean, ms
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.chaosform import Choice
from liverpc_devtools.widgets.palette import Glyphs, Line
from liverpc_devtools.widgets.payload import Payload, pretty
from liverpc_devtools.widgets.waterfall import steps

__all__ = ["Composer"]

_NOBODY = "(nobody)"
_LOW = 20  # lines below which the answer needs those of the title
_CHOICES = 5  # of a completion that are shown
_CHOICE = 40  # characters of one


class _Completion(Suggester):
    """Shows how the line may go on; the right arrow takes it."""

    def __init__(self, schema: Any, schemas: Schemas) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._schema = schema
        self._schemas = schemas

    def choices(self, line: str) -> list[str]:
        return complete(line, self._schema, self._schemas)

    async def get_suggestion(self, value: str) -> str | None:
        return next(iter(self.choices(value)), None)


class Composer(ModalScreen[None]):
    """A line of JSON for each parameter, a test user, and what came of the call.

    What does not fit the schema is said while it is written, and can be sent nevertheless.

    Args:
        model: The server's.
        glyphs: What it is drawn with.
        row: What is called.
        declared: What the server declares.
        sent: Called with path and user of each call.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "close", id="composer.close"),
        Binding("ctrl+s", "send", "send the call", priority=True, id="composer.send"),
        Binding("up", "recall(-1)", "what was sent before", id="composer.older"),
        Binding("down", "recall(1)", "what was sent after that", id="composer.newer"),
        Binding("enter", "next", "next field", priority=True, id="composer.next"),
    ]

    def __init__(
        self,
        model: Model,
        glyphs: Glyphs,
        row: Declared,
        declared: Declarations,
        sent: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self._model = model
        self._glyphs = glyphs
        self._row = row
        self._schemas = Schemas(declared.definitions)
        self._users = {clean(user) or _NOBODY: user for user in declared.users}
        self._on_sent = sent
        self._completions = [_Completion(schema, self._schemas) for _, schema, _ in row.parameters]
        self._first = first_lines(row, self._schemas)
        self._place: int | None = None  # in what was sent; None: a new one is written
        self._waiting = False

    def compose(self) -> ComposeResult:
        users = list(self._users)
        first = next((each for each in users if each != _NOBODY), _NOBODY)
        with Vertical(id="composer"):
            yield Label(Content(signature(self._row, self._schemas)), id="composer-title")
            with Horizontal(classes="field"):
                yield Label("as", classes="name")
                yield Choice(users, first, id="composer-user")
            with VerticalScroll(id="composer-lines", can_focus=False):
                for number, (name, schema, required) in enumerate(self._row.parameters):
                    words = self._schemas.within(schema).words(schema)
                    with Horizontal(classes="field", id=f"composer-field-{number}"):
                        yield Label(Content(clean(name)), classes="name")
                        yield Input(
                            self._first[number],
                            id=f"composer-line-{number}",
                            compact=True,
                            suggester=self._completions[number],
                        )
                        yield Label(Content(words if required else f"{words}, optional"), classes="hint")
            yield Static("", id="composer-choices", markup=False)
            yield Static("", id="composer-problem", markup=False)
            with Horizontal(id="composer-buttons"):
                yield Button("Send", id="composer-send", variant="primary", compact=True)
                yield Button("Close", id="composer-close", compact=True)
                yield Label("ctrl+s sends, right completes, up and down: sent before", classes="hint")
            yield Bar("bar", id="answer-title")
            yield Payload(id="answer")

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < _LOW, "-low")

    def on_mount(self) -> None:
        lines = list(self.query("#composer-lines Input").results(Input))
        self.set_focus(lines[0] if lines else self.query_one("#composer-send", Button))
        self._show([(" nothing sent yet", "dim")], [])
        self._check()

    # -- writing ------------------------------------------------------------------------------------------

    @property
    def _lines(self) -> list[str]:
        return [self.query_one(f"#composer-line-{each}", Input).value for each in range(len(self._row.parameters))]

    def on_input_changed(self) -> None:
        self._check()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        self._show_choices()

    def _check(self) -> list[Any] | None:
        """Say what is wrong; the arguments, if they can be sent."""
        lines = self._lines
        wrong = faults(self._row, lines, self._schemas)
        found, said = None, [text for texts in wrong.values() for text in texts]
        text = f"the server will refuse: {'; '.join(said)}" if said else ""
        try:
            found = arguments(self._row, lines)
        except Unreadable as error:
            wrong, text = {**wrong, error.line: [str(error)]}, str(error)
        for number in range(len(lines)):
            self.query_one(f"#composer-field-{number}").set_class(number in wrong, "-wrong")
        self.query_one("#composer-problem", Static).update(text)
        self._show_choices()
        return found

    def _show_choices(self) -> None:
        text = ""
        if isinstance(line := self.focused, Input):
            number = int((line.id or "").rpartition("-")[2])
            choices = self._completions[number].choices(line.value)
            tails = [each[len(line.value) :].strip()[:_CHOICE] for each in choices[:_CHOICES]]
            more = f"  and {len(choices) - _CHOICES} more" if len(choices) > _CHOICES else ""
            text = f"next: {'   '.join(map(clean, tails))}{more}" if tails else ""
        self.query_one("#composer-choices", Static).update(text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "next":
            return isinstance(self.focused, Input)
        return not isinstance(self.focused, Payload) if action == "recall" else True

    def action_next(self) -> None:
        self.focus_next()

    def action_recall(self, by: int) -> None:
        sent = [each for each in self._model.explored.sent if each.path == self._row.path]
        place = (len(sent) if self._place is None else self._place) + by
        if not sent or place < 0:
            return
        self._place = place if place < len(sent) else None
        lines = self._first if self._place is None else sent[self._place].lines
        for number, text in enumerate(lines[: len(self._row.parameters)]):
            self.query_one(f"#composer-line-{number}", Input).value = text
        if self._place is not None and (user := clean(sent[self._place].user) or _NOBODY) in self._users:
            self.query_one(Choice).choose(user)

    # -- sending ------------------------------------------------------------------------------------------

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "composer-send":
            self.action_send()
        else:
            self.dismiss(None)

    def action_send(self) -> None:
        found, problem = self._check(), ""
        if self._model.phase != "live":
            problem = "the server is not attached now"
        elif self._waiting:
            problem = "the answer to the last call is still to come; it takes 10 s at most"
        if problem:
            self.query_one("#composer-problem", Static).update(problem)
        if problem or found is None:
            return
        user = self._users[self.query_one(Choice).chosen]
        self._waiting, self._place = True, None
        self._model.explored.sent.append(Sent(self._row.path, tuple(self._lines), user))
        self._show([(f" sent as {clean(user) or 'nobody'}, waiting for the answer", "accent")], [])
        self._on_sent(clean(self._row.path), clean(user))
        self._model.try_call(self._row.path, found, user, self._answered)

    def _answered(self, outcome: CallEvent | str) -> None:
        self._waiting = False
        if isinstance(outcome, str):
            title: Line = [(" not answered ", "error")]
            lines: list[Line] = [[(clean(outcome), "error")]]
        else:
            title = [(" OK ", "ok") if outcome.ok else (f" ERR {clean(outcome.code)} ", "error")]
            title.append((f" {ms(outcome.ms)}  as {clean(outcome.user) or 'anonymous'} ", "text"))
            lines = _answer(outcome, self._glyphs)
        if self.is_attached:
            self._show(title, lines)
        else:
            self._model.notes.append(f"{self._row.path}:{''.join(text for text, _ in title)}")

    def _show(self, title: Line, lines: list[Line]) -> None:
        self.query_one("#answer-title", Bar).show([title], [])
        self.query_one("#answer", Payload).show(lines, top=True)


def _answer(call: CallEvent, glyphs: Glyphs) -> list[Line]:
    """What came of a call: result or error, where it published, and what took how long."""
    value = call.result
    lines: list[Line] = []
    if not call.ok and isinstance(value, dict) and isinstance(issues := value.get("issues"), list):
        lines.append([(clean(str(value.get("message", ""))), "error")])
        lines += [[("  - ", "dim"), (clean(str(each)), "text")] for each in issues]
    else:
        lines += [[("not recorded", "dim")]] if value is msgspec.UNSET else pretty(value)
    if call.published:
        lines.append([("published on ", "head"), (clean(", ".join(call.published)), "text")])
    if call.steps:
        lines.append([("took", "head")])
        lines += steps([(clean(name), begin, length) for name, begin, length in call.steps], call.ms, glyphs)
    return lines
