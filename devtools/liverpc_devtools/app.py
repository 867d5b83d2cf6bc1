"""The terminal program."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from liverpc.inspector.protocol import ChaosRule, Kick
from liverpc_devtools import offers
from liverpc_devtools.core import commands
from liverpc_devtools.core.commands import Command, CommandError, CommandLog
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.settings import Settings
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.recording import RecordView
from liverpc_devtools.screens.server import Feed, Served
from liverpc_devtools.screens.view import View
from liverpc_devtools.shell import AppShell
from liverpc_devtools.stage import Stage
from liverpc_devtools.taping import Tapes, played
from liverpc_devtools.widgets.chaosform import ask_for_fault
from liverpc_devtools.widgets.commandlog import LogScreen
from liverpc_devtools.widgets.dialogs import KickForm
from liverpc_devtools.widgets.filterline import FilterLine
from liverpc_devtools.widgets.finder import Choice, Finder
from liverpc_devtools.widgets.jump import Jump, panes
from liverpc_devtools.widgets.palette import ASCII, UNICODE
from liverpc_devtools.widgets.prompt import CommandLine
from liverpc_devtools.widgets.table import Table

__all__ = ["DevtoolsApp"]

_FLUSH_HZ = 20


def _go(key: str, name: str, what: str) -> Binding:
    """A key of a screen. With priority, so that keys typed right after it go to where it leads."""
    return Binding(key, f"view('{name}')", what, show=False, priority=True, id=f"app.go_{name}")


class DevtoolsApp(Stage):
    """Shows one server or several. With a link it keeps a model attached; without, whoever feeds the model may.

    Args:
        model: What is shown first.
        link: Feeds the model while the program runs.
        url: Shown beside the server's name.
        name: The context of the first server, as ``@prod``; empty: there is none.
        readonly: Nothing that changes the first server is offered.
        more: Further servers.
        attach: Makes a server of what the user wrote; called in a thread, raises :class:`~liverpc.errors.ConfigError`.
            None: no further server can be attached.
        screen: The view shown first: one of :data:`~liverpc_devtools.core.commands.SCREENS`.
        ascii_only: Draw with ASCII characters only. Other people's text stays as it is.
        filter_text: The first view's filter.
        settings: Of the user.
        keymap: Keys by the id of a binding; those of ``settings`` that can be had.
        theme: One of :data:`~liverpc_devtools.widgets.themes.THEMES`.
        still: Nothing turns or blinks.
        notes: Sentences for people, shown at the beginning.
        when: Filters for what is waited for on the first server.
        record: A file that the first server is recorded to from the beginning.
        bell: Whether terminals are asked to notify their user of that.
    """

    CSS_PATH = "liverpc.tcss"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    TITLE = "liverpc"
    BINDINGS: ClassVar[list[BindingType]] = [
        _go("1,f1", "overview", "show the overview"),
        _go("2,f2", "streams", "show the streams"),
        _go("3,f3", "rpc", "show the calls, paths, locks and breakers"),
        _go("4,f4", "connections", "show the connections"),
        _go("5,f5", "events", "show the events"),
        _go("6,f6", "rooms", "show the rooms"),
        _go("7,f7", "uploads", "show the uploads"),
        _go("9,f9", "chaos", "show the faults"),
        _go("0,f10", "record", "show the recordings"),
        _go("E", "explorer", "show what is declared"),
        Binding(
            "slash", "filter", "show rows that match a filter", key_display="/ filter", priority=True, id="app.filter"
        ),
        Binding("ctrl+f", "capture", "choose what the server captures", show=False, priority=True, id="app.capture"),
        Binding("colon", "command", "command line", key_display=": command", priority=True, id="app.command"),
        Binding("ctrl+p", "palette", "everything that can be done now", show=False, priority=True, id="app.palette"),
        Binding("ctrl+o", "jump", "go to a pane by its letter", show=False, id="app.jump"),
        Binding("at", "log", "what was done, and what to type for it", show=False, id="app.log"),
        Binding("escape", "leave", "leave the details, clear the filter", show=False, id="app.leave"),
        Binding("minus,backspace", "step_back", "back to where you came from", show=False, id="app.back"),
        Binding("ctrl+n", "next_server(1)", "the next server", show=False, id="app.next_server"),
        Binding("ctrl+b", "next_server(-1)", "the server before", show=False, id="app.previous_server"),
        *(
            Binding(f"alt+{n}", f"server({n - 1})", f"the server number {n}", show=False, id=f"app.server_{n}")
            for n in range(1, 10)
        ),
        Binding("R", "record", "record this server, or stop that", show=False, id="app.record"),
        Binding("x", "chaos", "inject a fault", key_display="x chaos", id="app.chaos"),
        Binding("X", "disarm", "remove every fault at once", show=False, id="app.disarm"),
        Binding("D", "kick", "close a connection, or all of a user", key_display="D kick", id="app.kick"),
        Binding("question_mark", "help", "show the keys that work now", key_display="? help", id="app.help"),
        Binding("q", "quit_or_back", "back, then quit", key_display="q quit", id="app.quit_or_back"),
        Binding("ctrl+c,ctrl+q", "quit", "quit at once", show=False, priority=True, id="app.quit"),
    ]

    def __init__(
        self,
        model: Model,
        *,
        link: Feed | None = None,
        url: str = "",
        name: str = "",
        readonly: bool = False,
        more: Sequence[Served] = (),
        attach: Callable[[str], Served] | None = None,
        screen: str = "streams",
        ascii_only: bool = False,
        filter_text: str = "",
        settings: Settings | None = None,
        keymap: Mapping[str, str] | None = None,
        theme: str = "dark",
        still: bool = False,
        notes: Iterable[str] = (),
        when: Iterable[str] = (),
        record: Path | None = None,
        bell: bool = True,
    ) -> None:
        glyphs = ASCII if ascii_only else UNICODE
        super().__init__(
            (Served(model, link, url, name, readonly), *more),
            replace(glyphs, spinner=glyphs.spinner[0]) if still else glyphs,
            screen=screen,
            attach=attach,
            keymap=keymap or {},
            theme=theme,
        )
        self.settings = Settings.empty() if settings is None else settings
        self._first_filter = filter_text
        self._had_keys: Widget | None = None  # before the command line was opened
        self._shell = AppShell(self)
        self._line = CommandLine(partial(commands.completions, self._shell), id="prompt")
        self.log_of_commands = CommandLog()
        self.tapes = Tapes(self, bell=bell)
        self._first_waits = tuple(when)
        self._first_recording = record
        self._first_notes = tuple(notes)
        self._still = still
        self.animation_level = "none"
        if ascii_only:
            self.add_class("-ascii")

    def compose(self) -> ComposeResult:
        yield from self.frame.above
        with ContentSwitcher(initial=self.panes[0].id, id="servers"):
            yield self.panes[0]
        yield FilterLine(id="filter-line")
        yield self._line
        yield self.frame.below

    def on_mount(self) -> None:
        self.set_keymap(self.keymap)
        self.set_focus(self.view.table)
        self.view.table.needle = self._first_filter
        for pane in self.panes:
            self.follow(pane)
        self.flush()
        self.set_interval(1 / _FLUSH_HZ, self.flush)
        for each in self._first_notes:
            self.say(each)
        for each in self._first_waits:
            self.when(each)
        if self._first_recording is not None:
            self._shell_does(f"record {self._first_recording}")

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        if self._still and isinstance(event.widget, Input):
            event.widget.cursor_blink = False

    @property
    def url(self) -> str:
        """The server that is shown."""
        return self.pane.url

    def flush(self) -> None:
        super().flush()
        self.tapes.flush()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("filter", "capture", "view", "command", "palette"):
            free = len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
            return free and (action != "view" or parameters[0] in self.pane.views)
        if action in ("next_server", "server"):
            many = len(self.screen_stack) == 1 and len(self.panes) > 1
            return many and (action != "server" or parameters[0] in range(len(self.panes) + 1))
        if action == "chaos":
            return self.here is not None and not self.here.readonly
        if action == "disarm":
            return any(each.model.chaos for each in self.panes)
        if action == "kick":
            here = self.here
            return here is not None and here.model.may_kick and not here.readonly and self.view.target() is not None
        return True

    # -- going about --------------------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        self.show_view(name)
        self._did(f"go {name}")

    def on_table_done(self, event: Table.Done) -> None:
        self._note_done(f"# {event.text}")

    def on_view_did(self, event: View.Did) -> None:
        self._note_done(event.cli)

    def action_server(self, number: int) -> None:
        self.show_server(number)
        self._did(f"server {number + 1 if number < len(self.panes) else 'All'}")

    def action_quit_or_back(self) -> None:
        if not self.go_back():
            self.exit()

    def action_jump(self) -> None:
        shown: Widget = self._all if self.here is None else self.here
        self.push_screen(Jump(panes(shown)), lambda pane: self.set_focus(pane) if pane is not None else None)

    # -- recordings ---------------------------------------------------------------------------------------

    def toggle_recording(self, path: str = "") -> None:
        """Record the server that is shown, or stop that."""
        self.say(self.tapes.toggle(path))

    def replay(self, path: str) -> None:
        """Show a recording as if it were a server."""
        self.open(path, lambda word: played(Path(word).expanduser()), "record")

    def when(self, text: str) -> None:
        """Wait for what a filter lets through; with ``-`` before it no more."""
        self.say(self.tapes.when(text))

    def farewell(self) -> list[str]:
        """What to tell people when the program has left the screen."""
        lines = self.tapes.farewell()
        for pane in self.panes:
            model = pane.model
            if own := len([each for each in model.chaos if each.id in model.mine]):
                faults = f"{own} fault{'s' if own != 1 else ''} of yours on {clean(pane.title)}"
                live = model.phase in ("live", "stale")
                lines.append(f"{faults} ended with this session" if live else f"{faults} ended when it was lost")
        return lines

    def on_record_view_replay(self, event: RecordView.Replay) -> None:
        self._shell_does(f"replay {event.path}")

    def action_record(self) -> None:
        self._shell_does("record")

    # -- lines: the filter and the commands ---------------------------------------------------------------

    def action_filter(self) -> None:
        self.query_one(FilterLine).open(self.view.table, self.pane.current)

    def action_capture(self) -> None:
        if self.here is not None:
            self.query_one(FilterLine).open(self.view.table, self.pane.current, self.here.model.captured)

    def on_filter_line_changed(self) -> None:
        self.show_bars()

    def on_filter_line_kept(self, event: FilterLine.Kept) -> None:
        if event.capture is None:
            self._did(f"filter {event.text}")
        elif self.here is not None:
            self.here.model.capture(event.capture)
            url = shlex.quote(self.pane.name or self.pane.url)
            tail = f"liverpc-tui tail {url} --filter {shlex.quote(event.text)}"
            self._note_done(tail if event.text else "# everything is captured again")
        self.close_lines()

    def close_lines(self) -> None:
        self.query_one(FilterLine).close()
        self._line.close()
        self.set_focus(self.view.table)

    def action_leave(self) -> None:
        line = self.query_one(FilterLine)
        if line.is_open:
            if not line.capturing:
                self.view.table.needle = ""
            self.close_lines()
        elif not self.view.back():
            self.view.table.needle = ""
        self.show_bars()

    def action_command(self, line: str = "") -> None:
        self._had_keys = self.focused
        self._line.open(line)

    def on_command_line_closed(self) -> None:
        self.close_lines()

    def on_command_line_entered(self, event: CommandLine.Entered) -> None:
        if not event.line:
            self.close_lines()
            return
        try:
            self._close_after(event.line)
        except CommandError as error:
            self._line.wrong(str(error))

    def _close_after(self, line: str) -> None:
        command, _ = commands.find(line)
        focused, self._line.display = self.focused, False
        self.set_focus(self._had_keys or self.view.table)  # what commands are about
        try:
            commands.run(self._shell, line)
        except CommandError:
            self._line.display = True
            self.set_focus(focused)
            raise
        self._did(line)
        if command.name != "server":
            self.show_bars()

    def _shell_does(self, line: str) -> None:
        try:
            commands.run(self._shell, line)
        except CommandError as error:
            self.say(str(error))
        else:
            self._did(line)

    def _did(self, line: str) -> None:
        """Note a command as what to type in a terminal."""
        if commands.find(line)[0].logged:
            self._note_done(commands.equivalent(self.pane.name or self.pane.url, line.strip()))

    def _note_done(self, cli: str) -> None:
        self.log_of_commands.add(time.time(), self.pane.title, cli)

    # -- what can be done ---------------------------------------------------------------------------------

    def action_palette(self) -> None:
        self.push_screen(Finder(offers.choices(self, self.do), self.glyphs.ellipsis), _chosen)

    def do(self, command: Command) -> None:
        """Carry out a command, or ask for what it needs."""
        if command.arguments:
            self.action_command(f"{command.name} ")
        else:
            self._shell_does(command.name)

    def action_help(self) -> None:
        self.push_screen(offers.explained(self))

    def action_log(self) -> None:
        self.push_screen(LogScreen(self.log_of_commands, self.glyphs))

    def action_chaos(self) -> None:
        topic = self.pane.model.topic if self.pane.current == "streams" else None
        ask_for_fault(self.view, ChaosRule(topic=topic or ""))

    def action_kick(self) -> None:
        if (target := self.view.target()) is not None:
            self.push_screen(KickForm(*target), self._kick)

    def _kick(self, wish: Kick | None) -> None:
        if wish is not None:
            self.pane.model.kick(wish)
            whom = f"--user {shlex.quote(wish.user)}" if wish.user else f"--connection {shlex.quote(wish.connection)}"
            self._note_done(f"liverpc-tui kick {self.pane.url} {whom} --yes{' --for-good' if wish.for_good else ''}")

    def action_disarm(self) -> None:
        self._shell.disarm()
        self._did("chaos disarm")


def _chosen(choice: Choice | None) -> None:
    if choice is not None:
        choice.do()
