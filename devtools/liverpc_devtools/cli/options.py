"""What the commands share: how an option is read, which server is meant, how work is run."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from liverpc_devtools.core.faults import FaultError, seconds
from liverpc_devtools.core.filter import Filter, FilterError, parse
from liverpc_devtools.core.recording import version
from liverpc_devtools.core.target import Target, find_target

__all__ = [
    "checked",
    "command",
    "count",
    "name",
    "run",
    "some_bytes",
    "some_filter",
    "some_seconds",
    "target",
    "version",
]


def command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    text: str,
    *,
    url_required: bool = False,
    several: bool = False,
) -> argparse.ArgumentParser:
    """Add a command that needs a server.

    Args:
        commands: Where to.
        name: What it is called.
        run: Does it, and returns the exit code; None: its own commands do.
        text: What it does, in one line.
        url_required: Without a URL it would be unclear which server is changed.
        several: There may be any number of them, and contexts: ``url`` is a list.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="*" if several else None if url_required else "?",
        help="a server as ws://host:port or host:port, or @NAME, a context; default: the only one on this machine"
        if several
        else "ws://host:port or host:port" + ("" if url_required else "; default: the only server on this machine"),
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a file with the token in it")
    parser.add_argument("--insecure", action="store_true", help="allow ws:// to other machines")
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def target(given: argparse.Namespace) -> Target:
    """The server that is meant."""
    return find_target(given.url, token_file=given.token_file, insecure=given.insecure)


def run(work: Coroutine[Any, Any, int | None]) -> int:
    """Do ``work`` until it ended or somebody ends it; returns the exit code."""

    async def main() -> int | None:
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: a fault in the foreground is removed before we leave.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    return asyncio.run(main()) or 0


def checked(check: Callable[[str], Any]) -> Callable[[str], str]:
    """The type of an option whose text is kept when ``check`` accepts it."""

    def keep(text: str) -> str:
        try:
            check(text)
        except FaultError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return keep


def some_seconds(text: str) -> float:
    """The type of an option such as ``30s``."""
    try:
        return seconds(text)
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def some_filter(text: str) -> Filter:
    """The type of an option that is a filter."""
    try:
        return parse(text)
    except FilterError as error:
        raise argparse.ArgumentTypeError(f"{error} in {text!r}") from None


def some_bytes(text: str) -> int:
    """The type of an option such as ``64MB``; a unit is 1,000 of the one before."""
    number = text.strip().upper().removesuffix("B")
    scale = {"K": 1_000, "M": 1_000_000, "G": 1_000_000_000}.get(number[-1:], 1)
    digits = number[:-1] if scale > 1 else number
    if not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        raise argparse.ArgumentTypeError(f"a size is a whole number with KB, MB or GB; not {text!r}")
    return int(digits) * scale


def name(text: str) -> str:
    """The type of an option that is an id."""
    if not text:
        raise argparse.ArgumentTypeError("an id is not empty")
    return text


def count(text: str) -> int:
    """The type of an option that is a whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a count is a whole number above 0; not {text!r}")
    return int(text)
