"""The terminal program."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher, Input

from liverpc.inspector.protocol import ChaosRule, Kick, Match
from liverpc_devtools.core.attach import Link
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.calls import CallsView
from liverpc_devtools.screens.connections import ConnectionsView
from liverpc_devtools.screens.rooms import RoomsView
from liverpc_devtools.screens.streams import StreamsView
from liverpc_devtools.screens.uploads import UploadsView
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets import bars
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.dialogs import ChaosForm, Help, KickForm
from liverpc_devtools.widgets.palette import ASCII, UNICODE, Line, width
from liverpc_devtools.widgets.table import Table

__all__ = ["DevtoolsApp", "run"]

_FLUSH_HZ = 20
_SECONDS_TO_END = 3.0  # after a signal
_NOTE_SECONDS = 8
_BARS_EVERY = 5  # flushes; figures that change faster cannot be read


class DevtoolsApp(App[None]):
    """Shows a model. With a link it keeps the model attached; without, whoever feeds the model may.

    Args:
        model: What is shown.
        link: Feeds the model while the program runs.
        url: Shown beside the server's name.
        screen: The view shown first: ``streams``, ``rpc``, ``connections``, ``rooms`` or ``uploads``.
        ascii_only: Draw with ASCII characters only. Other people's text stays as it is.
        filter_text: The first view's filter.
    """

    CSS_PATH = "liverpc.tcss"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    TITLE = "liverpc"
    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority, so that keys typed right after them go to where they lead.
        Binding("2", "view('streams')", "streams", show=False, priority=True),
        Binding("3", "view('rpc')", "RPC", show=False, priority=True),
        Binding("4", "view('connections')", "connections", show=False, priority=True),
        Binding("6", "view('rooms')", "rooms", show=False, priority=True),
        Binding("7", "view('uploads')", "uploads", show=False, priority=True),
        Binding("slash", "filter", "show rows that contain a text", key_display="/ filter", priority=True),
        Binding("escape", "leave", "leave the details, clear the filter", show=False),
        Binding("x", "chaos", "inject a fault", key_display="x chaos"),
        Binding("X", "disarm", "remove every fault at once", show=False),
        Binding("D", "kick", "close a connection, or all of a user", key_display="D kick"),
        Binding("question_mark", "help", "this help", key_display="? help"),
        Binding("q", "quit_or_back", "back, then quit", key_display="q quit"),
        Binding("ctrl+c", "quit", "quit at once", show=False, priority=True),
    ]

    def __init__(
        self,
        model: Model,
        *,
        link: Link | None = None,
        url: str = "",
        screen: str = "streams",
        ascii_only: bool = False,
        filter_text: str = "",
    ) -> None:
        super().__init__()
        self._model = model
        self._link = link
        self._url = url
        self._glyphs = ASCII if ascii_only else UNICODE
        self._views: dict[str, View] = {
            "streams": StreamsView(model, self._glyphs),
            "rpc": CallsView(model, self._glyphs),
            "connections": ConnectionsView(model, self._glyphs),
            "rooms": RoomsView(model, self._glyphs),
            "uploads": UploadsView(model, self._glyphs),
        }
        self._current = screen
        self._first_filter = filter_text
        self._bars = {
            "status": Bar("bar", id="status"),
            "health": Bar("head", id="health"),
            "chaos": Bar("chaos", id="chaos"),
            "tabs": Bar("base", id="tabs"),
            "keys": Bar("bar", id="keys"),
        }
        self._flushes = 0
        self.animation_level = "none"
        if ascii_only:
            self.add_class("-ascii")

    def compose(self) -> ComposeResult:
        for name in ("status", "health", "chaos", "tabs"):
            yield self._bars[name]
        with ContentSwitcher(initial=self._current, id="views"):
            yield from self._views.values()
        yield Input(id="filter", placeholder="rows that contain…", compact=True)
        yield self._bars["keys"]

    def on_mount(self) -> None:
        self._model.watch(Match(kind=["rpc", "conn"]))
        self.set_focus(self.view.table)
        self.view.table.needle = self._first_filter
        self.flush()
        self.set_interval(1 / _FLUSH_HZ, self.flush)
        if self._link is not None:
            self.run_worker(self._link.run(), name="link", exclusive=True)

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self._views[self._current]

    # -- drawing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring the screen up to date with the model."""
        self.view.flush()
        if self._flushes % _BARS_EVERY == 0:
            self._show_bars()
        self._flushes += 1
        while self._model.notes:
            self.notify(clean(self._model.notes.popleft()), markup=False, timeout=_NOTE_SECONDS)

    def _show_bars(self) -> None:
        model = self._model
        self._bars["status"].show(*bars.status(model, self._url, self._glyphs))
        self._bars["health"].show(*bars.health(model))
        self._bars["chaos"].display = bool(model.chaos)
        if model.chaos:
            self._bars["chaos"].show(*bars.chaos(model), {"  X disarm ": "app.disarm"})
        self._show_tabs()
        self._show_keys()

    def _show_tabs(self) -> None:
        left: list[Line] = []
        actions: dict[str, str] = {}
        marks = self.view.marks()
        for name, view in self._views.items():
            here = name == self._current
            text = f"[{view.DIGIT} {view.TITLE}]" if here else f" {view.DIGIT} {view.TITLE} "
            actions[text] = f"app.view('{name}')"
            left.append([(text, "accent" if here else "head"), (f" {view.figure()}  ", "text" if here else "dim")])
        for own in (True, False):  # where there is no room for all figures, those of the other tabs go first
            if sum(map(width, left)) + width(marks) > self.size.width:
                left = [line if own and line[0][1] == "accent" else line[:1] for line in left]
        if sum(map(width, left)) + width(marks) > self.size.width:  # then their names
            left = [line if line[0][1] == "accent" else [(line[0][0][:3], "head")] for line in left]
            actions |= {text[:3]: action for text, action in actions.items()}
        self._bars["tabs"].show(left, marks, actions)

    def _show_keys(self) -> None:
        lines: dict[bool, list[Line]] = {True: [], False: []}
        for each in (*self._own_bindings(), *self.BINDINGS, *View.BINDINGS):
            if isinstance(each, Binding) and each.show and self.check_action(each.action, ()):
                key, _, word = (each.key_display or "").partition(" ")
                at_end = each.action in ("chaos", "help", "quit_or_back")  # shown however narrow it is
                lines[at_end].append([(f" {key}", "accent"), (f" {word} ", "dim")])
        self._bars["keys"].show(lines[False], [piece for line in lines[True] for piece in line])

    def _own_bindings(self) -> list[Binding]:
        """The view's, as far as they do something now."""
        own = type(self.view).BINDINGS
        return [each for each in own if isinstance(each, Binding) and self.view.check_action(each.action, ())]

    # -- keys ---------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("filter", "view"):
            return len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
        if action == "chaos":
            return self._model.may_arm
        if action == "disarm":
            return bool(self._model.chaos)
        if action == "kick":
            return self._model.may_kick and self.view.target() is not None
        return True

    def action_view(self, name: str) -> None:
        if name != self._current:
            self.view.left()
        self._current = name
        self.query_one("#views", ContentSwitcher).current = name
        self._close_filter()
        self.view.table.reload()
        self.view.flush()
        self._show_bars()

    def on_view_goto(self, event: View.Goto) -> None:
        self._views[event.view].table.needle = event.needle
        self.action_view(event.view)

    def action_filter(self) -> None:
        line = self.query_one("#filter", Input)
        line.display = True
        line.value = self.view.table.needle
        self.set_focus(line)

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter" and event.input.display:
            self.view.table.needle = event.value
            self._show_tabs()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.set_focus(self.view.table)

    def action_leave(self) -> None:
        if self.query_one("#filter", Input).display:
            self.view.table.needle = ""
            self._close_filter()
        elif not self.view.back():
            self.view.table.needle = ""
        self._show_tabs()

    def action_quit_or_back(self) -> None:
        if not self.view.back():
            self.exit()

    def action_help(self) -> None:
        views = [(each.DIGIT, each.TITLE) for each in self._views.values()]
        self.push_screen(
            Help(
                {
                    self.view.TITLE: _explained(self._own_bindings()),
                    "Rows": [*_explained(View.BINDINGS), *_explained(Table.BINDINGS)],
                    "Everywhere": [*views, *self._explained_here()],
                }
            )
        )

    def _explained_here(self) -> Iterable[tuple[str, str]]:
        usable = [
            each
            for each in self.BINDINGS
            if isinstance(each, Binding) and not each.key.isdigit() and self.check_action(each.action, ())
        ]
        return _explained(usable)

    def action_chaos(self) -> None:
        topic = self._model.topic if self._current == "streams" else None
        self.push_screen(ChaosForm(topic or ""), self._arm)

    def _arm(self, wish: tuple[ChaosRule, float] | None) -> None:
        if wish is not None:
            self._model.arm(*wish)

    def action_kick(self) -> None:
        if (target := self.view.target()) is not None:
            self.push_screen(KickForm(*target), self._kick)

    def _kick(self, wish: Kick | None) -> None:
        if wish is not None:
            self._model.kick(wish)

    def action_disarm(self) -> None:
        self._model.disarm()


def _explained(bindings: Iterable[BindingType]) -> list[tuple[str, str]]:
    names = {
        "question_mark": "?",
        "slash": "/",
        "escape": "esc",
        "pagedown": "page down",
        "pageup": "page up",
    }
    return [
        (" ".join(names.get(key, key) for key in each.key.split(",")), each.description)
        for each in bindings
        if isinstance(each, Binding)
    ]


def _end_with_the_terminal() -> None:
    """Wait until nobody is at the other end of the terminal, then end the process.

    No signal tells that reliably, and what the application still draws can block it for ever.
    """
    poller = select.poll()
    poller.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, 0)  # 0: errors and hang-ups only
    poller.poll()
    time.sleep(_SECONDS_TO_END)
    os._exit(130)


async def run(app: DevtoolsApp) -> int:
    """Run ``app`` until it is quit; 0, or 130 when a signal asked the process to end."""
    code = 0
    # A terminal that is gone, or takes nothing any more, blocks the thread that draws, and so the way out.
    last_resort = threading.Timer(_SECONDS_TO_END, os._exit, (130,))
    last_resort.daemon = True

    def interrupted() -> None:
        nonlocal code
        if not code:
            last_resort.start()
        code = 130
        app.exit()

    threading.Thread(target=_end_with_the_terminal, daemon=True).start()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, interrupted)
    await app.run_async()
    last_resort.cancel()
    return code or app.return_code or 0
