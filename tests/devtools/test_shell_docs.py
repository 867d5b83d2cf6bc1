"""The manual lists the keys and the commands there are."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from textual.binding import Binding
from textual.dom import DOMNode

import liverpc_devtools
from liverpc_devtools.core.commands import COMMANDS, SCREENS
from liverpc_devtools.core.keymap import shown
from liverpc_devtools.known_keys import known_keys
from liverpc_devtools.screens.server import ServerPane
from liverpc_devtools.widgets.themes import THEMES
from tests.devtools.pressed import PRESSED

MANUAL = Path(__file__).parents[2] / "docs" / "devtools.md"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def keys_table() -> list[str]:
    rows = [f"| `{cell(shown(each.keys))}` | `{each.id}` | {cell(each.description)} |" for each in known_keys()]
    return ["| key | id | what it does |", "|---|---|---|", *rows]


def commands_table() -> list[str]:
    rows = [f"| `{f'{each.name} {each.arguments}'.strip()}` | {cell(each.description)} |" for each in COMMANDS]
    return ["| command | what it does |", "|---|---|", *rows]


def told(heading: str) -> list[str]:
    """The first table after a heading."""
    lines = MANUAL.read_text(encoding="utf-8").splitlines()
    start = next(n for n in range(lines.index(heading), len(lines)) if lines[n].startswith("|"))
    end = next(n for n in range(start, len(lines) + 1) if n == len(lines) or not lines[n].startswith("|"))
    return lines[start:end]


def test_the_manual_lists_every_key() -> None:
    assert told("## Keys") == keys_table()


def test_the_manual_lists_every_command() -> None:
    assert told("### Commands") == commands_table()


def test_every_screen_has_a_name_to_go_to() -> None:
    assert set(ServerPane.VIEWS) == set(SCREENS)


def test_the_command_line_offers_every_theme() -> None:
    from liverpc_devtools.cli import screen

    assert tuple(THEMES) == screen._THEMES


def test_every_key_is_pressed_by_a_test() -> None:
    """And every binding has an id, so that it can be found here and changed by people."""
    pressed = [each for ids in PRESSED.values() for each in ids.split()]
    assert sorted(pressed) == sorted(each.id for each in known_keys())
    bindings = [each for kind in widgets() for each in kind.__dict__.get("BINDINGS", ())]
    assert [each for each in bindings if not isinstance(each, Binding) or not each.id] == []
    assert {each.id for each in bindings} == {each.id for each in known_keys()}
    for name in PRESSED:
        file, _, test = name.partition(".")
        code = (Path(__file__).parent / f"test_{file}.py").read_text(encoding="utf-8")
        assert f"async def test_{test}(bench: OpenBench" in code, name


def widgets() -> list[type[DOMNode]]:
    """All of this program."""
    modules = [each.name for each in pkgutil.walk_packages(liverpc_devtools.__path__, "liverpc_devtools.")]
    loaded = [importlib.import_module(each) for each in modules if not each.endswith("__main__")]
    kinds = [each for module in loaded for each in vars(module).values() if isinstance(each, type)]
    return [each for each in dict.fromkeys(kinds) if issubclass(each, DOMNode) and each.__module__ in modules]
