"""The command line at the bottom of the screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from liverpc_devtools.core.text import clean

__all__ = ["CommandLine"]

_HISTORY = 100
_HINTS = 8  # completions that are shown


class _Line(Input):
    """A line with keys for its history and its completions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(-1)", "the line before", show=False, id="command.before"),
        Binding("down", "recall(1)", "the line after", show=False, id="command.after"),
        Binding("tab", "complete(1)", "the next completion", show=False, id="command.complete"),
        Binding("shift+tab", "complete(-1)", "the completion before", show=False, id="command.complete_back"),
        Binding("escape", "close", "close the command line", show=False, id="command.close"),
    ]

    class Asked(Message):
        """A key was pressed: ``recall``, ``complete`` or ``close``."""

        def __init__(self, what: str, by: int = 0) -> None:
            super().__init__()
            self.what = what
            self.by = by

    def action_recall(self, by: int) -> None:
        self.post_message(self.Asked("recall", by))

    def action_complete(self, by: int) -> None:
        self.post_message(self.Asked("complete", by))

    def action_close(self) -> None:
        self.post_message(self.Asked("close"))


class CommandLine(Vertical):
    """Takes one line, with what it may become, or what was wrong with it, above.

    Args:
        complete: Whole lines that a line may become, the likeliest first.
    """

    LINE = _Line

    class Entered(Message):
        """A line was entered."""

        def __init__(self, line: str) -> None:
            super().__init__()
            self.line = line

    class Closed(Message):
        """The line was left."""

    def __init__(self, complete: Callable[[str], list[str]], *, id: str) -> None:  # noqa: A002  Textual's name for it
        super().__init__(id=id)
        self._complete = complete
        self._history: deque[str] = deque(maxlen=_HISTORY)
        self._place = 0  # in the history
        self._begun = ""  # what was typed before the history was gone through
        self._choices: list[str] = []
        self._choice = -1
        self._said = Static("", id="command-hint", markup=False)
        self._line = _Line(id="command", placeholder="what to do; tab completes", compact=True)

    def compose(self) -> ComposeResult:
        yield self._said
        yield self._line

    def open(self, line: str = "") -> None:
        """Begin a new line."""
        self.display = True
        self._set(line)
        self._place, self._begun = len(self._history), line
        self.screen.set_focus(self._line)
        self._hint()

    def close(self) -> None:
        """Take the line away."""
        self.display = False

    def wrong(self, text: str) -> None:
        """Keep the line, and say what is wrong with it."""
        self._said.update(clean(text))
        self._said.set_class(True, "-wrong")

    def _set(self, line: str) -> None:
        with self.prevent(Input.Changed):
            self._line.value = line
        self._line.cursor_position = len(line)
        self._choices, self._choice = [], -1

    def _hint(self) -> None:
        choices = self._complete(self._line.value)
        more = f"  +{len(choices) - _HINTS}" if len(choices) > _HINTS else ""
        self._said.update(clean("  ".join(each.strip() for each in choices[:_HINTS]) + more))
        self._said.set_class(False, "-wrong")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._choices, self._choice = [], -1
        self._place, self._begun = len(self._history), event.value
        self._hint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        line = event.value.strip()
        if line and (not self._history or self._history[-1] != line):
            self._history.append(line)
        self._place = len(self._history)
        self.post_message(self.Entered(line))

    def on__line_asked(self, event: _Line.Asked) -> None:
        event.stop()
        if event.what == "recall":
            self._recall(event.by)
        elif event.what == "complete":
            self._next(event.by)
        else:
            self.post_message(self.Closed())

    def _recall(self, by: int) -> None:
        self._place = min(max(self._place + by, 0), len(self._history))
        self._set(self._history[self._place] if self._place < len(self._history) else self._begun)
        self._hint()

    def _next(self, by: int) -> None:
        if not self._choices:
            choices, at = self._complete(self._line.value), -1 if by > 0 else 0
        else:
            choices, at = self._choices, self._choice
        if choices:
            at = (at + by) % len(choices)
            self._set(choices[at])
            self._hint()
            # The only one is taken: what comes next is completed from there.
            self._choices, self._choice = (choices, at) if len(choices) > 1 else ([], -1)
