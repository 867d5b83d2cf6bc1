"""What can be done now: the entries of the palette and the pages of the help."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from textual.binding import Binding

from liverpc_devtools.core.commands import COMMANDS, Command
from liverpc_devtools.core.keymap import shown
from liverpc_devtools.screens.frame import key_of
from liverpc_devtools.screens.view import View
from liverpc_devtools.stage import Stage, bindings_of
from liverpc_devtools.widgets.finder import Choice
from liverpc_devtools.widgets.help import Help

__all__ = ["choices", "explained"]


def choices(app: Stage, do: Callable[[Command], None]) -> list[Choice]:
    """Every command, carried out by ``do``, and every key that does something now and is no command."""
    keys = {each.id: key_of(each, app.keymap) for each in bindings_of(app.BINDINGS)}
    found = [Choice(_usage(each), each.description, keys.get(each.key, ""), partial(do, each)) for each in COMMANDS]
    covered = {each.key for each in COMMANDS}
    keys_of: dict[str, list[str]] = {}
    presses: dict[str, tuple[str, Callable[[], object]]] = {}
    for key, (node, binding, enabled, _) in app.screen.active_bindings.items():
        name = binding.id  # what has none belongs to the toolkit
        if enabled and name and name not in covered:
            keys_of.setdefault(name, []).append(key)
            presses[name] = binding.description, partial(app.call_later, app.run_action, binding.action, node)
    found += [Choice("", text, shown(keys_of[name]), press) for name, (text, press) in presses.items()]
    return found


def explained(app: Stage) -> Help:
    """The keys of the focused pane, of the view and of the program, and the commands."""
    views = [(each.DIGIT, f"{each.TITLE}: {_about(each)}") for each in app.pane.views.values() if each is not app.view]
    here = [each for each in app.app_bindings() if not each.action.startswith(("view(", "server("))]
    return Help(
        f"{app.view.TITLE}: {_about(app.view)}",
        {
            app.view.TITLE: _keys(app, [*app.own_bindings(), *bindings_of(View.BINDINGS)]),
            "This pane": _keys(app, app.pane_bindings()),
            "Screens": views,
            "Everywhere": _keys(app, here),
            "Command line": [(f":{_usage(each)}", each.description) for each in COMMANDS],
        },
    )


def _usage(command: Command) -> str:
    return f"{command.name} {command.arguments}".strip()


def _about(view: View) -> str:
    """What a view shows, in a sentence."""
    return (type(view).__doc__ or "").strip().partition("\n")[0]


def _keys(app: Stage, bindings: Iterable[Binding]) -> list[tuple[str, str]]:
    return [(key_of(each, app.keymap), each.description) for each in bindings]
