"""Every key there is: the bindings of the program, its screens and its widgets."""

from __future__ import annotations

from textual.binding import Binding
from textual.dom import DOMNode

from liverpc_devtools.app import DevtoolsApp
from liverpc_devtools.core.keymap import Key
from liverpc_devtools.screens.server import ServerPane
from liverpc_devtools.screens.servers import ServersView
from liverpc_devtools.screens.unfold import Unfold
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.chaosform import ChaosForm, Choice, PresetMenu
from liverpc_devtools.widgets.commandlog import LogScreen
from liverpc_devtools.widgets.composer import Composer
from liverpc_devtools.widgets.dialogs import KickForm
from liverpc_devtools.widgets.filterline import FilterLine
from liverpc_devtools.widgets.finder import Finder
from liverpc_devtools.widgets.help import Help
from liverpc_devtools.widgets.jump import Jump
from liverpc_devtools.widgets.menus import Ask, Choices, Menu
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.prompt import CommandLine
from liverpc_devtools.widgets.table import Table

__all__ = ["known_keys"]

_OVER: tuple[type[DOMNode], ...] = (  # what opens over a screen
    *(Unfold, LogScreen, FilterLine, CommandLine.LINE, Finder, Menu, Choices, Ask),
    *(ChaosForm, Choice, PresetMenu, KickForm, Composer, Jump, Help),
)


def known_keys() -> list[Key]:
    """All bindings, those that work everywhere first."""
    views = ServerPane.VIEWS.values()
    classes: list[type[DOMNode]] = [DevtoolsApp, View, Table, Payload, *views, ServersView, *_OVER]
    keys: dict[str, tuple[list[str], str]] = {}
    for each in classes:
        for binding in each.BINDINGS:
            if isinstance(binding, Binding) and binding.id is not None:
                names, _ = keys.setdefault(binding.id, ([], binding.description))
                names += [name for name in binding.key.split(",") if name not in names]
    return [Key(name, tuple(found), description) for name, (found, description) in keys.items()]
