"""``liverpc-tui``: devtools in the terminal.

Exit codes: 0 done, 1 the server would not, 2 usage, 3 refused, 4 cannot connect or no devtools there,
6 another version of the protocol, 7 the stream ended early, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import TOKEN_VARIABLE, Kick, Match
from liverpc_devtools import headless
from liverpc_devtools.core.attach import Ended, Link, Want
from liverpc_devtools.core.faults import FaultError, fault_rate, fault_seconds, make_rule, seconds
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target, find_target

__all__ = ["main"]

_CODES = {"refused": 3, "absent": 4, "unreachable": 4, "version": 6}
_INTERRUPTED = 130
_KINDS = ("pub", "rpc", "binary", "upload", "conn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        return int(given.run(given))
    except (ConfigError, FaultError) as error:
        return _fail(2, error)
    except Ended as error:
        return _fail(7, error)
    except AttachError as error:
        return _fail(_CODES.get(error.kind, 1), error)
    except headless.Refused as error:
        return _fail(1, error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. The interpreter must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(code: int, error: Exception) -> int:
    for line in str(error).splitlines():
        headless.narrate(line)
    return code


# -- the commands -----------------------------------------------------------------------------------------


def _attach(given: argparse.Namespace) -> int:
    url = _target(given).url
    # Textual reads keys from the one and draws on the other; standard output may be anything.
    for name, file in (("standard input", sys.stdin), ("standard error", sys.stderr)):
        if file is None or not file.isatty():
            raise ConfigError(f"attach needs a terminal, and {name} is none; tail and snapshot do not need one")
    try:
        from liverpc_devtools.app import DevtoolsApp, run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"attach needs the package {error.name!r}, which is not installed: pip install 'liverpc[tui]'"
        ) from None
    # With thousands of rows a full collection stops the screen for a quarter of a second.
    gc.set_threshold(200_000, 50, 1000)

    async def show() -> int:
        model = Model()
        link = Link(lambda: _target(given), _want(given), model)
        await link.connect()
        try:
            app = DevtoolsApp(
                model,
                link=link,
                url=url,
                screen=given.screen,
                ascii_only=given.ascii,
                filter_text=given.filter,
            )
            return await run(app)
        finally:
            await link.close()

    return asyncio.run(show())


def _want(given: argparse.Namespace) -> Want:
    if given.admin:
        return "admin"
    return "chaos" if given.chaos else "observe"


def _snapshot(given: argparse.Namespace) -> int:
    return _run(headless.snapshot(_target(given), wait_live=given.wait_live, timeout=given.timeout))


def _top(given: argparse.Namespace) -> int:
    return _run(headless.top(_target(given), interval=given.interval, number=given.count))


def _tail(given: argparse.Namespace) -> int:
    match = Match(
        kind=given.kind or _implied_kinds(given),
        topic=given.topic,
        path=given.path,
        ok=False if given.failed else None,
    )
    return _run(headless.tail(_target(given), match, number=given.count, seconds=given.seconds))


def _implied_kinds(given: argparse.Namespace) -> list[str]:
    """A topic means publishes, a path or failure means calls; nothing said means everything."""
    wanted = {"pub": bool(given.topic), "rpc": bool(given.path or given.failed)}
    return [kind for kind, implied in wanted.items() if implied]


def _chaos_set(given: argparse.Namespace) -> int:
    rule = make_rule(given.topic, given.rate, seed=given.seed, limit=given.limit)
    ttl = fault_seconds(given.seconds, detached=given.detach)
    return _run(headless.chaos_set(_target(given), rule, ttl=ttl, detach=given.detach))


def _chaos_list(given: argparse.Namespace) -> int:
    return _run(headless.chaos_list(_target(given)))


def _chaos_clear(given: argparse.Namespace) -> int:
    return _run(headless.chaos_clear(_target(given)))


def _kick(given: argparse.Namespace) -> int:
    wish = Kick(id=0, connection=given.connection or "", user=given.user or "", for_good=given.for_good)
    return _run(headless.kick(_target(given), wish))


def _run(work: Coroutine[Any, Any, None]) -> int:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: a fault in the foreground is removed before we leave.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    asyncio.run(main())
    return 0


def _target(given: argparse.Namespace) -> Target:
    return find_target(given.url, token_file=given.token_file, insecure=given.insecure)


# -- the command line -------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liverpc-tui",
        description="Look into a running liverpc server.",
        epilog=f"A token comes from --token-file, from {TOKEN_VARIABLE}, or from a server of yours on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"liverpc-tui {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    attach = _command(commands, "attach", _attach, "watch a server on a screen")
    attach.add_argument("--chaos", action="store_true", help="ask for the right to inject faults")
    attach.add_argument("--admin", action="store_true", help="ask for the right to close connections, too")
    attach.add_argument("--screen", choices=("streams", "rpc", "connections", "rooms", "uploads"), default="streams")
    attach.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    attach.add_argument("--filter", default="", metavar="TEXT", help="show rows that contain TEXT")

    tail = _command(commands, "tail", _tail, "write events as they happen, one JSON object a line")
    tail.add_argument(
        "--kind", type=_kinds, default=[], metavar="KIND,...", help=f"kinds of events: {', '.join(_KINDS)}"
    )
    tail.add_argument("--topic", action="append", default=[], metavar="GLOB", help="publishes on these topics")
    tail.add_argument("--path", action="append", default=[], metavar="GLOB", help="calls of these paths")
    tail.add_argument("--failed", action="store_true", help="only calls that failed")
    tail.add_argument("--count", type=_count, metavar="N", help="stop after N events")
    tail.add_argument("--for", dest="seconds", type=_seconds, metavar="TIME", help="stop after TIME, such as 30s")

    snapshot = _command(commands, "snapshot", _snapshot, "write what the server knows now as a JSON object")
    snapshot.add_argument("--wait-live", action="store_true", help="wait for a publish and a call first")
    snapshot.add_argument("--timeout", type=_seconds, default=10.0, metavar="TIME", help="default 10s")

    top = _command(commands, "top", _top, "write rates and figures again and again, one JSON object a line")
    top.add_argument("--interval", type=_seconds, default=1.0, metavar="TIME", help="default 1s")
    top.add_argument("--count", type=_count, metavar="N", help="stop after N objects")

    chaos = _command(commands, "chaos", None, "inject faults, list or remove them", url_required=True)
    verbs = chaos.add_subparsers(required=True, metavar="set|list|clear")
    arm = verbs.add_parser("set", help="put a fault in force, and remove it on leaving")
    arm.add_argument("action", choices=("drop",), help="what happens to publishes")
    arm.add_argument("rate", metavar="RATE", type=_checked(fault_rate), help="0.2 or 20%%")
    arm.add_argument("--topic", required=True, metavar="GLOB")
    arm.add_argument("--seed", default="", help="the same seed drops the same publishes")
    arm.add_argument("--for", dest="seconds", default="60s", metavar="TIME", help="default 60s, at most 15m")
    arm.add_argument("--limit", default="0", metavar="N", help="end after N drops")
    arm.add_argument("--detach", action="store_true", help="leave it in force, for at most 5m")
    arm.set_defaults(run=_chaos_set)
    verbs.add_parser("list", help="write the faults in force").set_defaults(run=_chaos_list)
    verbs.add_parser("clear", help="remove every fault").set_defaults(run=_chaos_clear)

    kick = _command(commands, "kick", _kick, "close a connection, or all of a user", url_required=True)
    whom = kick.add_mutually_exclusive_group(required=True)
    whom.add_argument("--connection", type=_name, metavar="ID", help="as in snapshot, whole")
    whom.add_argument("--user", type=_name, metavar="ID")
    kick.add_argument("--for-good", action="store_true", help="clients stop; default: they come back by themselves")
    kick.add_argument("--yes", action="store_true", required=True, help="yes, close them: nobody is asked")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int] | None, text: str, *, url_required: bool = False
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "url",
        metavar="URL",
        nargs=None if url_required else "?",
        help="ws://host:port or host:port" + ("" if url_required else "; default: the only server on this machine"),
    )
    command.add_argument("--token-file", type=Path, metavar="FILE")
    command.add_argument("--insecure", action="store_true", help="allow ws:// to other machines")
    if run is not None:
        command.set_defaults(run=run)
    return command


def _checked(check: Callable[[str], Any]) -> Callable[[str], str]:
    def checked(text: str) -> str:
        try:
            check(text)
        except FaultError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return checked


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an id is not empty")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a count is a whole number above 0; not {text!r}")
    return int(text)


def _kinds(text: str) -> list[str]:
    kinds = [each for each in text.split(",") if each]
    if unknown := [each for each in kinds if each not in _KINDS]:
        raise argparse.ArgumentTypeError(f"kinds are {', '.join(_KINDS)}; not {', '.join(unknown)}")
    return kinds


def _version() -> str:
    try:
        return version("liverpc")
    except PackageNotFoundError:
        return "from a source tree"


if __name__ == "__main__":
    sys.exit(main())
