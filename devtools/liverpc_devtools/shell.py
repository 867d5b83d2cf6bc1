"""What the commands do to the program."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import textual

from liverpc_devtools.core.commands import CommandError, Names
from liverpc_devtools.core.filter import FilterError
from liverpc_devtools.core.fuzzy import ranked
from liverpc_devtools.core.saved import SavedView, SavedViews
from liverpc_devtools.core.store import replace_file, state_dir
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.server import ServerPane, titles
from liverpc_devtools.widgets.table import Table
from liverpc_devtools.widgets.themes import THEMES

if TYPE_CHECKING:
    from liverpc_devtools.app import DevtoolsApp

__all__ = ["AppShell"]


class AppShell:
    """:class:`~liverpc_devtools.core.commands.Shell` of the program on the screen."""

    def __init__(self, app: DevtoolsApp) -> None:
        self._app = app

    @property
    def url(self) -> str:
        return self._app.pane.url

    @property
    def _table(self) -> Table[Any]:
        """The one that has the keys, else the view's."""
        focused = self._app.focused
        return focused if isinstance(focused, Table) else self._app.view.table

    def names(self, what: Names) -> Iterable[str]:
        app = self._app
        if what == "screens":
            return list(app.pane.views)
        if what == "columns":
            return [each.title for each in self._table.columns]
        if what == "servers":
            return [*map(clean, titles(app.panes)), "All"]
        if what == "contexts":
            return [f"@{each}" for each in app.settings.contexts]
        if what == "themes":
            return list(THEMES)
        if what == "views":
            return self._views(lambda _: None).names()
        return [str(each) for each in sorted((state_dir() / "recordings").glob("*.lrec*"))]

    def _views(self, told: Any = None) -> SavedViews:
        pane = self._app.pane
        return SavedViews(pane.name or pane.url, told or self._app.say)

    def _one_of(self, what: Names, name: str, kind: str) -> str:
        known = list(self.names(what))
        for each in known:
            if each.casefold() == name.casefold():
                return each
        like = ranked(name, known, str) or known
        raise CommandError(
            f"no {kind} {name!r}; there {'is' if len(like) == 1 else 'are'} {', '.join(like[:6]) or 'none'}"
        )

    def go(self, screen: str) -> None:
        self._app.show_view(self._one_of("screens", screen, "screen"))

    def filter(self, text: str) -> None:
        sieve = self._app.view.table.sieve
        self._app.view.table.needle = text
        if sieve.problem is not None:
            raise CommandError(f"{sieve.problem}; rows with that text are shown")

    def find(self, text: str) -> None:
        try:
            if not self._table.search(text):
                raise CommandError("no row matches")
        except FilterError as error:
            raise CommandError(str(error)) from None

    def sort(self, column: str) -> None:
        table, name = self._table, self._one_of("columns", column, "column")
        index = next(n for n, each in enumerate(table.columns) if each.title == name)
        if table.columns[index].sort is None:
            raise CommandError(f"rows cannot be sorted by {name}")
        table.sort_by(index)

    def toggle_column(self, column: str) -> None:
        if not self._table.toggle(self._one_of("columns", column, "column")):
            raise CommandError("the last column stays")

    def attach(self, server: str) -> None:
        self._app.attach(server)

    def show_server(self, server: str) -> None:
        app = self._app
        if server.isdigit() and 1 <= int(server) <= len(app.panes):
            app.show_server(int(server) - 1)
            return
        names = list(self.names("servers"))
        app.show_server(names.index(self._one_of("servers", server, "server")))

    def disarm(self) -> None:
        armed = [each for each in self._app.panes if each.model.chaos]
        if not armed:
            raise CommandError("no fault is armed")
        for each in armed:
            each.model.disarm()

    def redact(self, keys: list[str]) -> None:
        pane = self._app.pane
        welcome = pane.model.welcome
        if pane.readonly or welcome is None or welcome.granted != "admin":
            raise CommandError("that takes the level admin: attach with --admin and a token that may")
        pane.model.redact(keys)

    def press(self, action: str) -> None:
        app = self._app
        for node, binding, enabled, _ in app.screen.active_bindings.values():
            if enabled and (binding.id or "").endswith(f".{action}"):
                app.call_later(app.run_action, binding.action, node)
                return
        raise CommandError(f"{action} does nothing here")

    def record(self, path: str) -> None:
        self._app.toggle_recording(path)

    def replay(self, path: str) -> None:
        self._app.replay(path)

    def when(self, text: str) -> None:
        self._app.when(text)

    def theme(self, name: str) -> None:
        self._app.wear(self._one_of("themes", name, "theme"))

    def save_view(self, name: str) -> None:
        app, table = self._app, self._app.view.table
        sort = "" if table.sort_column is None else table.columns[table.sort_column].title
        view = SavedView(app.pane.current, table.needle, sort, table.reverse, sorted(table.hidden))
        if self._views().save(name, view):
            app.say(f"kept as {name}; show it with: view {name}")

    def remove_view(self, name: str) -> None:
        if not self._views().remove(self._one_of("views", name, "view")):
            raise CommandError(f"view {name} is still there")

    def show_view(self, name: str) -> None:
        views = self._views()
        view = views.get(self._one_of("views", name, "view"))
        if view is None or view.screen not in self._app.pane.views:
            raise CommandError(f"view {name} is of a screen that this program does not have")
        self._app.show_view(view.screen)
        table = self._app.pane.views[view.screen].table
        titles = [each.title for each in table.columns]
        table.hidden = {each for each in view.hidden if each in titles}
        if view.sort in titles:
            table.sort_column, table.reverse = titles.index(view.sort), view.reverse
        table.needle = view.filter

    def dump(self, path: str) -> None:
        target = Path(path).expanduser() if path else state_dir() / f"diagnostics-{time.strftime('%Y%m%d-%H%M%S')}.json"
        try:
            replace_file(target, json.dumps(self._diagnostics(), indent=2) + "\n")
        except OSError as error:
            raise CommandError(f"cannot write {target}: {error.strerror or error}") from None
        self._app.say(f"written to {target}")

    def _diagnostics(self) -> dict[str, Any]:
        """What helps whoever looks for a fault of this program; no payload, no token."""
        app = self._app
        return {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "textual": textual.__version__,
            "terminal": {name: os.environ.get(name, "") for name in ("TERM", "COLORTERM", "TERM_PROGRAM", "LANG")},
            "size": [app.size.width, app.size.height],
            "theme": app.theme,
            "screen": app.pane.current,
            "keys": app.keymap,
            "servers": [_of_server(each) for each in app.panes],
        }

    def show_keys(self) -> None:
        self._app.action_help()

    def show_log(self) -> None:
        self._app.action_log()

    def quit(self) -> None:
        self._app.exit()


def _of_server(pane: ServerPane) -> dict[str, Any]:
    model = pane.model
    welcome = model.welcome
    return {
        "phase": model.phase,
        "reason": clean(model.reason),
        "version": "" if welcome is None else welcome.server.version,
        "granted": "" if welcome is None else welcome.granted,
        "streams": len(model.rows.streams),
        "connections": len(model.rows.connections),
        "paths": len(model.rows.paths),
        "calls": len(model.calls),
        "sample": model.sample,
        "lost": model.lost,
        "busy": model.busy,
    }
