"""What the program shows: one server or several, the frame around them, and the colours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter, NoColor
from textual.theme import Theme as ToolkitTheme
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import Match
from liverpc_devtools.core.commands import CommandError
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.frame import Frame
from liverpc_devtools.screens.server import Served, ServerPane
from liverpc_devtools.screens.servers import ServersView
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.palette import Glyphs
from liverpc_devtools.widgets.themes import THEMES, Theme, wear

__all__ = ["Stage", "bindings_of"]

_NOTE_SECONDS = 8
_BARS_EVERY = 5  # flushes; figures that change faster cannot be read
_ALL = "all"


class Stage(App[None]):
    """Shows one server, or a row for each of them.

    Args:
        servers: At least one; the first is shown.
        glyphs: What is drawn with.
        screen: The view shown first.
        attach: Makes a server of what the user wrote; called in a thread, raises :class:`~liverpc.errors.ConfigError`.
            None: no further server can be attached.
        keymap: Keys by the id of a binding.
        theme: One of :data:`~liverpc_devtools.widgets.themes.THEMES`.
    """

    def __init__(
        self,
        servers: Sequence[Served],
        glyphs: Glyphs,
        *,
        screen: str,
        attach: Callable[[str], Served] | None,
        keymap: Mapping[str, str],
        theme: str,
    ) -> None:
        super().__init__()
        self.glyphs = glyphs
        self.keymap = dict(keymap)
        self.panes: list[ServerPane] = []
        for each in servers:
            self.add(each, screen)
        self._all = ServersView(self.panes, glyphs, lambda pane: self.show_server(self.panes.index(pane)))
        self.here: ServerPane | None = self.panes[0]  # None: all of them
        self._trail: list[tuple[ServerPane | None, str, str]] = []  # where drilling down came from
        self._opener = attach
        self.frame = Frame(glyphs)
        self._flushes = 0
        self._phases: list[str] = []
        for known in THEMES.values():
            self.register_theme(_for_toolkit(known))
        self._dress("mono" if self.no_color else theme)

    @property
    def pane(self) -> ServerPane:
        """The server that is shown; the first one while all of them are."""
        return self.here or self.panes[0]

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self._all if self.here is None else self.here.view

    def add(self, served: Served, screen: str) -> ServerPane:
        """Have a server among those that can be shown."""
        pane = ServerPane(served, self.glyphs, screen=screen, id=f"server-{len(self.panes)}")
        self.panes.append(pane)
        return pane

    def follow(self, pane: ServerPane) -> None:
        """Watch a server, whether it is shown or not."""
        pane.model.watch(Match(kind=["rpc", "conn"]))
        if pane.feed is not None:
            self.run_worker(pane.feed.run(), name=f"link {pane.url}")

    # -- drawing ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring the screen up to date with the models."""
        if not self.screen_stack:  # the program is about to end
            return
        if self.view.is_mounted:
            self.view.flush()
        phases: list[str] = [each.model.phase for each in self.panes]
        if self._flushes % _BARS_EVERY == 0 or phases != self._phases:  # a session may be lost for a moment only
            self._phases = phases
            self.show_bars()
        self._flushes += 1
        for pane in self.panes:
            while pane.model.notes:
                note = pane.model.notes.popleft()
                self.say(note if pane is self.here else f"{pane.title}: {note}")

    def say(self, text: str) -> None:
        """Tell people something for some seconds."""
        self.notify(clean(text), markup=False, timeout=_NOTE_SECONDS)

    def on_view_say(self, event: View.Say) -> None:
        self.say(event.text)

    def show_bars(self) -> None:
        """Bring the frame up to date."""
        frame, here = self.frame, self.here
        frame.servers(self.panes, here)
        frame.faults(self.panes, here)
        if here is None:
            frame.all_servers()
            frame.tabs({_ALL: self._all}, _ALL, self.size.width)
        else:
            frame.server(here)
            frame.tabs(here.views, here.current, self.size.width)
        covered = len(self.screen_stack) > 1  # what covers the view tells its own keys
        frame.keys([] if covered else [each for each in self._usable() if each.show], self.keymap)

    def _usable(self) -> list[Binding]:
        """The bindings of the view, the focused pane and the program, as far as they do something now."""
        return [*self.own_bindings(), *self.pane_bindings(), *self.app_bindings(), *bindings_of(View.BINDINGS)]

    def own_bindings(self) -> list[Binding]:
        """Those of the view."""
        own = bindings_of(type(self.view).BINDINGS)
        return [each for each in own if self.view.check_action(*_parsed(each.action))]

    def pane_bindings(self) -> list[Binding]:
        """Those of the focused pane."""
        pane = self.focused
        return [] if pane is None or isinstance(pane, Input) else bindings_of(type(pane).BINDINGS)

    def app_bindings(self) -> list[Binding]:
        """Those of the program."""
        return [each for each in bindings_of(self.BINDINGS) if self._does_something(each.action)]

    def _does_something(self, action: str) -> bool:
        name, parameters = _parsed(action)
        return bool(self.check_action(name, parameters))

    # -- colours ------------------------------------------------------------------------------------------

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [*filters, NoColor()] if self._theme.plain else filters

    def _dress(self, name: str) -> None:
        self._theme = wear(name)
        self.theme = f"liverpc-{name}"

    def wear(self, name: str) -> None:
        """Draw in other colours."""
        self._dress(name)
        for screen in self.screen_stack:
            for each in screen.query(Widget):
                each.refresh()
            screen.refresh(layout=True)

    # -- going about --------------------------------------------------------------------------------------

    def close_lines(self) -> None:
        """Give the keys back to the view."""
        if self.view.table.is_mounted:
            self.set_focus(self.view.table)

    def show_view(self, name: str) -> None:
        """Show a view of the server that is shown, or of the first, before any key that comes later is heard."""
        if self.here is None:
            self.show_server(0)
        self.call_next(self._open, self.pane, name)

    async def _open(self, pane: ServerPane, name: str) -> None:
        await pane.show(name)
        self.close_lines()
        self.show_bars()

    def on_view_goto(self, event: View.Goto) -> None:
        self._trail.append((self.here, self.pane.current, self.view.table.needle))
        self.pane.views[event.view].table.needle = event.needle
        self.show_view(event.view)

    def show_server(self, number: int) -> None:
        """Show a server, or all of them with a number one too high."""
        self.view.left()
        self.here = self.panes[number] if number < len(self.panes) else None
        self.call_next(self._switch)

    async def _switch(self) -> None:
        shown = self._all if self.here is None else self.here
        switcher = self.query_one("#servers", ContentSwitcher)
        if not shown.is_attached:
            await switcher.mount(shown)
        switcher.current = shown.id
        if isinstance(shown, ServerPane):
            await shown.show(shown.current)  # keys may have come meanwhile
        self.close_lines()
        self.view.table.reload()
        self.flush()
        self.show_bars()

    def action_next_server(self, by: int) -> None:
        here = len(self.panes) if self.here is None else self.panes.index(self.here)
        self.show_server((here + by) % (len(self.panes) + 1))

    def action_step_back(self) -> None:
        self.go_back()

    def go_back(self) -> bool:
        """Leave the details, or go to where drilling down began; False: neither."""
        if self.view.back():
            return True
        if not self._trail:
            return False
        place, screen, needle = self._trail.pop()
        if place is not self.here:
            self.show_server(len(self.panes) if place is None else self.panes.index(place))
        if place is not None:
            place.views[screen].table.needle = needle
            self.show_view(screen)
        return True

    def attach(self, word: str) -> None:
        """Watch another server, and show it as soon as it is found."""
        if self._opener is None:
            raise CommandError("this program shows what it was given; start liverpc-tui attach for more")
        self.open(word, self._opener, self.pane.current)

    def open(self, word: str, opener: Callable[[str], Served], screen: str) -> None:
        """Show what ``opener`` makes of a word, in a thread of its own: files and commands may take long."""
        self.run_worker(self._open_and_show(word, opener, screen), name=f"open {word}")

    async def _open_and_show(self, word: str, opener: Callable[[str], Served], screen: str) -> None:
        try:
            served = await asyncio.to_thread(opener, word)
        except ConfigError as error:
            self.say(str(error))
            return
        if any(each.url == served.url for each in self.panes):
            self.say(f"{word} is attached already")
            return
        self.follow(self.add(served, screen))
        self.show_server(len(self.panes) - 1)


def bindings_of(declared: Iterable[BindingType]) -> list[Binding]:
    """Those that say what they are."""
    return [each for each in declared if isinstance(each, Binding)]


def _parsed(action: str) -> tuple[str, tuple[Any, ...]]:
    """The name and the argument of an action of this program."""
    name, _, rest = action.partition("(")
    argument = rest.rstrip(")")
    if not argument:
        return name, ()
    return name, (argument.strip("'") if argument.startswith("'") else json.loads(argument),)


def _for_toolkit(theme: Theme) -> ToolkitTheme:
    """The colours of the style sheet. Without colours those of the dark theme are drawn, and taken out at the end."""
    from_theme = THEMES["dark"] if theme.plain else theme
    colours = {name: text.rpartition(" ")[2] for name, text in from_theme.colours.items()}
    grounds = {f"{name}-ground": colour for name, colour in from_theme.grounds.items()}
    named = {**colours, **grounds, **from_theme.edges}
    return ToolkitTheme(
        name=f"liverpc-{theme.name}",
        primary=colours["accent"],
        background=from_theme.grounds["base"],
        foreground=colours["text"],
        error=colours["error"],
        dark=from_theme.dark,
        variables={f"lp-{name}": colour for name, colour in named.items()},
    )
