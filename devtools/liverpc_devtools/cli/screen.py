"""The commands that draw: ``attach``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liverpc.errors import ConfigError
from liverpc_devtools.cli import options
from liverpc_devtools.cli.keys import all_keys
from liverpc_devtools.core.address import Address
from liverpc_devtools.core.attach import Link, Want
from liverpc_devtools.core.commands import SCREENS
from liverpc_devtools.core.keymap import check
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.settings import Settings, read_settings
from liverpc_devtools.headless.output import narrate

if TYPE_CHECKING:
    from liverpc_devtools.screens.server import Served

__all__ = ["add_display", "add_to", "on_screen"]

_THEMES = ("dark", "light", "contrast", "colourblind", "mono")


def add_to(commands: Any) -> None:
    """Add the commands."""
    attach = options.command(commands, "attach", _attach, "watch servers on a screen", several=True)
    attach.add_argument("--observe", action="store_true", help="ask for the right to watch only; the default")
    attach.add_argument("--chaos", action="store_true", help="ask for the right to inject faults")
    attach.add_argument("--admin", action="store_true", help="ask for the right to close connections, too")
    attach.add_argument(
        "--when",
        action="append",
        default=[],
        metavar="FILTER",
        help="tell when such an event comes, and record the 30 s before and after; may be repeated",
    )
    attach.add_argument("--record", type=Path, metavar="FILE", help="record from the beginning")
    add_display(attach, SCREENS[0])


def add_display(parser: argparse.ArgumentParser, screen: str) -> None:
    """Add the options of everything that draws; ``screen`` is shown first."""
    attach = parser
    attach.add_argument("--screen", choices=SCREENS, default=screen, help=f"shown first; default: {screen}")
    attach.add_argument("--filter", default="", metavar="FILTER", help="show rows that match, at first")
    attach.add_argument("--theme", choices=_THEMES, help="the colours")
    attach.add_argument("--no-color", action="store_true", help="no colours at all; NO_COLOR in the environment, too")
    attach.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    attach.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    attach.add_argument("--reduced-motion", action="store_true", help="nothing turns or blinks")
    attach.add_argument("--no-bell", action="store_true", help="the terminal does not call you")


def _attach(given: argparse.Namespace) -> int:
    settings = read_settings()
    words = list(dict.fromkeys(given.url)) or [None]
    addresses = [_address(given, settings, each) for each in words]
    return on_screen(
        given,
        settings,
        lambda: [_served(given, each) for each in addresses],
        theme=addresses[0].context.theme if addresses[0].context is not None else "",
        attach=lambda word: _served(given, _address(given, settings, word)),
    )


def on_screen(
    given: argparse.Namespace,
    settings: Settings,
    open_all: Callable[[], list[Served]],
    *,
    theme: str = "",
    attach: Callable[[str], Served] | None = None,
) -> int:
    """Show servers, or recordings, until somebody has seen enough; returns the exit code.

    Args:
        given: With the options of :func:`add_display`.
        settings: Of the user.
        open_all: Gives what is shown.
        theme: Of the first one's context; empty: it has none.
        attach: As in :class:`~liverpc_devtools.app.DevtoolsApp`.
    """
    # Textual reads keys from the one and draws on the other; standard output may be anything.
    for name, file in (("standard input", sys.stdin), ("standard error", sys.stderr)):
        if file is None or not file.isatty():
            raise ConfigError(
                f"{given.command} needs a terminal, and {name} is none; tail and snapshot do not need one"
            )
    keymap, problems = check(all_keys(), settings)
    colours = _theme(given, settings, theme)
    # With thousands of rows a full collection stops the screen for a quarter of a second.
    gc.set_threshold(200_000, 50, 1000)

    async def show() -> int:
        from liverpc_devtools.app import DevtoolsApp
        from liverpc_devtools.running import run

        servers = open_all()
        first = servers[0]
        link = first.feed
        try:
            if len(servers) == 1 and isinstance(link, Link):  # of several, those that are there are shown
                await link.connect()
            app = DevtoolsApp(
                first.model,
                link=link,
                url=first.url,
                name=first.name,
                readonly=first.readonly,
                more=servers[1:],
                attach=attach,
                screen=given.screen,
                ascii_only=given.ascii,
                filter_text=given.filter,
                settings=settings,
                keymap=keymap,
                theme=colours,
                still=given.reduced_motion,
                notes=problems,
                when=getattr(given, "when", ()),
                record=getattr(given, "record", None),
                bell=not given.no_bell,
            )
            code = await run(app, mouse=not given.no_mouse)
        finally:
            if isinstance(link, Link):
                await link.close()
        for each in app.farewell():
            narrate(each)
        return code

    return asyncio.run(show())


def _address(given: argparse.Namespace, settings: Settings, word: str | None) -> Address:
    return Address.of(word, settings, token_file=given.token_file, insecure=given.insecure)


def _served(given: argparse.Namespace, address: Address) -> Served:
    from liverpc_devtools.screens.server import Served

    model = Model()
    link = Link(address.find, "observe" if address.readonly else _want(given), model)
    name = address.word if address.context is not None and address.word else ""
    return Served(model, link, link.url, name, address.readonly)


def _theme(given: argparse.Namespace, settings: Settings, context: str) -> str:
    """What the command line says, else the context, else the settings."""
    if given.no_color or (not given.theme and os.environ.get("NO_COLOR")):
        return "mono"
    wished = given.theme or context or settings.theme or _THEMES[0]
    if wished not in _THEMES:
        raise ConfigError(f"{settings.path}: no theme {wished!r}; there are {', '.join(_THEMES)}")
    return str(wished)


def _want(given: argparse.Namespace) -> Want:
    if given.admin:
        return "admin"
    return "chaos" if given.chaos else "observe"
