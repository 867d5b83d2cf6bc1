"""The commands that write data: ``tail``, ``snapshot`` and ``top``."""

from __future__ import annotations

import argparse
from typing import Any

from liverpc.inspector.protocol import Match
from liverpc_devtools.cli import options
from liverpc_devtools.headless.snapshot import snapshot
from liverpc_devtools.headless.tail import Wish, tail
from liverpc_devtools.headless.top import top

__all__ = ["add_to"]

_KINDS = ("pub", "rpc", "binary", "upload", "conn")


def add_to(commands: Any) -> None:
    """Add the commands."""
    tail = options.command(commands, "tail", _tail, "write events as they happen, one JSON object a line")
    tail.add_argument(
        "--kind", type=_kinds, default=[], metavar="KIND,...", help=f"kinds of events: {', '.join(_KINDS)}"
    )
    tail.add_argument("--topic", action="append", default=[], metavar="GLOB", help="publishes on these topics")
    tail.add_argument("--path", action="append", default=[], metavar="GLOB", help="calls of these paths")
    tail.add_argument("--failed", action="store_true", help="only calls that failed")
    tail.add_argument(
        "--filter", type=options.some_filter, metavar="FILTER", help="only what passes, such as 'ms>100 -path:report/*'"
    )
    tail.add_argument(
        "--until",
        type=options.some_filter,
        metavar="FILTER",
        help="stop after the first such event, whatever else is asked",
    )
    tail.add_argument(
        "--fail-on",
        type=options.some_filter,
        metavar="FILTER",
        help="stop after the first such event, with exit code 5",
    )
    tail.add_argument("--format", choices=("json", "pretty", "csv"), default="json", help="default json, for programs")
    tail.add_argument("--count", type=options.count, metavar="N", help="stop after N events")
    tail.add_argument(
        "--for", dest="seconds", type=options.some_seconds, metavar="TIME", help="stop after TIME, such as 30s"
    )

    snapshot = options.command(commands, "snapshot", _snapshot, "write what the server knows now as a JSON object")
    snapshot.add_argument("--wait-live", action="store_true", help="wait for a publish and a call first")
    snapshot.add_argument("--timeout", type=options.some_seconds, default=10.0, metavar="TIME", help="default 10s")

    top = options.command(commands, "top", _top, "write rates and figures again and again, one JSON object a line")
    top.add_argument("--interval", type=options.some_seconds, default=1.0, metavar="TIME", help="default 1s")
    how_often = top.add_mutually_exclusive_group()
    how_often.add_argument("--count", type=options.count, metavar="N", help="stop after N objects")
    how_often.add_argument("--once", dest="count", action="store_const", const=1, help="stop after one")
    top.add_argument("--format", choices=("json", "table"), default="json", help="default json, for programs")


def _snapshot(given: argparse.Namespace) -> int:
    return options.run(snapshot(options.target(given), wait_live=given.wait_live, timeout=given.timeout))


def _top(given: argparse.Namespace) -> int:
    target = options.target(given)
    return options.run(top(target, interval=given.interval, number=given.count, form=given.format))


def _tail(given: argparse.Namespace) -> int:
    match = Match(
        kind=given.kind or _implied_kinds(given),
        topic=given.topic,
        path=given.path,
        ok=False if given.failed else None,
    )
    wish = Wish(match, given.filter, given.until, given.fail_on, given.count, given.seconds, given.format)
    return options.run(tail(options.target(given), wish))


def _implied_kinds(given: argparse.Namespace) -> list[str]:
    """A topic means publishes, a path or failure means calls; nothing said means everything."""
    wanted = {"pub": bool(given.topic), "rpc": bool(given.path or given.failed)}
    return [kind for kind, implied in wanted.items() if implied]


def _kinds(text: str) -> list[str]:
    kinds = [each for each in text.split(",") if each]
    if unknown := [each for each in kinds if each not in _KINDS]:
        raise argparse.ArgumentTypeError(f"kinds are {', '.join(_KINDS)}; not {', '.join(unknown)}")
    return kinds
