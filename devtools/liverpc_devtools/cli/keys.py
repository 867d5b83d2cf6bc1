"""``liverpc-tui keys``: which keys there are, and changing them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from liverpc.errors import ConfigError
from liverpc_devtools.core.keymap import Key, check, key_names, shown
from liverpc_devtools.core.settings import Settings, read_settings, write_keys
from liverpc_devtools.headless.output import narrate

__all__ = ["add_to", "all_keys"]


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "list the keys of attach, or change them"
    keys = commands.add_parser("keys", help=text, description=text)
    keys.add_argument("--json", action="store_true", help="a JSON object for each, one a line")
    keys.set_defaults(run=_list)
    verbs = keys.add_subparsers(metavar="set|reset")
    change = verbs.add_parser("set", help="have other keys for something")
    change.add_argument("id", metavar="ID", help="as listed, such as view.freeze")
    change.add_argument("keys", metavar="KEY[,KEY]", help="such as f, ctrl+g or space")
    change.set_defaults(run=_set)
    reset = verbs.add_parser("reset", help="have the keys of one thing, or of all, as they were")
    reset.add_argument("id", metavar="ID", nargs="?")
    reset.set_defaults(run=_reset)


def all_keys() -> list[Key]:
    """All bindings.

    Raises:
        ConfigError: The package that draws is not installed.
    """
    try:
        from liverpc_devtools.known_keys import known_keys
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"this needs the package {error.name!r}, which is not installed: pip install 'liverpc[tui]'"
        ) from None
    return known_keys()


def _list(given: argparse.Namespace) -> int:
    known = all_keys()
    good, problems = check(known, settings := read_settings())
    for each in known:
        names = good[each.id].split(",") if each.id in good else list(each.keys)
        if given.json:
            record = {"id": each.id, "keys": names, "description": each.description, "changed": each.id in good}
            sys.stdout.write(f"{json.dumps(record)}\n")
        else:
            mark = "*" if each.id in good else " "
            sys.stdout.write(f"{mark} {each.id:<28} {shown(names):<18} {each.description}\n")
    for text in problems:
        narrate(text)
    if good and not given.json:
        narrate(f"* changed in {settings.path}")
    return 1 if problems else 0


def _set(given: argparse.Namespace) -> int:
    settings = read_settings()
    try:
        keys = ",".join(key_names(given.keys))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    wished = {**settings.keys, given.id: keys}
    good, problems = check(all_keys(), Settings(settings.path, wished, lines=settings.lines))
    if given.id not in good:
        raise ConfigError(next((each for each in problems if given.id in each), f"{given.id} cannot have {keys}"))
    write_keys(settings.path, {given.id: keys})
    narrate(f"{given.id} is {shown(keys)} from the next start on ({settings.path})")
    return 0


def _reset(given: argparse.Namespace) -> int:
    settings = read_settings()
    gone = list(settings.keys) if given.id is None else [given.id]
    if given.id is not None and given.id not in settings.keys:
        raise ConfigError(f"{given.id} was not changed in {settings.path}")
    if gone:
        write_keys(settings.path, {}, forget=gone)
    narrate(f"{len(gone)} changed key{'s' if len(gone) != 1 else ''} forgotten")
    return 0
