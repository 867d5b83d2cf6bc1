"""The commands about recordings, and those that help: ``replay``, ``record``, ``demo``, ``locate`` and ``doctor``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from liverpc.errors import ConfigError
from liverpc_devtools.cli import options
from liverpc_devtools.cli.screen import add_display, on_screen
from liverpc_devtools.core import lrec
from liverpc_devtools.core.attach import Link, Want
from liverpc_devtools.core.filter import Filter, FilterError, parse
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.recording import Rotation
from liverpc_devtools.core.replaying import Player
from liverpc_devtools.core.settings import read_settings
from liverpc_devtools.core.store import config_dir, state_dir
from liverpc_devtools.core.target import find_target
from liverpc_devtools.headless.demo import demo_server
from liverpc_devtools.headless.doctor import doctor
from liverpc_devtools.headless.record import record
from liverpc_devtools.headless.replay import replay
from liverpc_devtools.headless.tail import Wish

__all__ = ["add_to"]

_EPILOG = "Recordings hold what the server told, with its redactions, and no token; only you can read them."


def add_to(commands: Any) -> None:
    """Add the commands."""
    record = options.command(commands, "record", _record, "write everything a server tells into a recording")
    record.epilog = _EPILOG
    record.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: a new one; `locate recordings` says where"
    )
    record.add_argument(
        "--rotate", type=options.some_bytes, metavar="SIZE", help="go on in a new file after SIZE, such as 64MB"
    )
    record.add_argument(
        "--keep",
        type=options.some_seconds,
        metavar="TIME",
        help="with --rotate: remove files older than TIME, such as 48h",
    )
    record.add_argument("--for", dest="seconds", type=options.some_seconds, metavar="TIME", help="stop after TIME")

    text = "show a recording as if it were a server"
    replay = commands.add_parser("replay", help=text, description=text, epilog=_EPILOG)
    replay.add_argument(
        "file", type=Path, metavar="FILE", help="a recording; `liverpc-tui locate recordings` says where they are"
    )
    replay.add_argument("--speed", type=_speed, default=1.0, metavar="N", help="4x: four seconds in one")
    replay.add_argument("--from", dest="begin", default="", metavar="TIME", help="begin at 12:03:30, or +2m")
    replay.add_argument("--json", action="store_true", help="draw nothing; write the events as tail does")
    add_display(replay, "record")
    replay.set_defaults(run=_replay)

    text = "start a demo server of our own, and watch it on a screen"
    demo = commands.add_parser("demo", help=text, description=text, epilog="The demo ends with the program.")
    demo.add_argument("--rate", type=options.count, metavar="N", help="prices that change a second; default 4")
    demo.add_argument("--seed", type=int, default=7, metavar="N", help="what its visitors do depends on it; default 7")
    demo.add_argument("--chaos", action="store_true", help="ask for the right to inject faults")
    add_display(demo, "overview")
    demo.set_defaults(run=_demo)

    text = "say where a file or folder of the devtools is"
    locate = commands.add_parser("locate", help=text, description=text)
    locate.add_argument("what", choices=("config", "state", "recordings"))
    locate.set_defaults(run=_locate)

    doctor = options.command(
        commands, "doctor", _doctor, "check whether a server can be looked into, and say what is wrong"
    )
    doctor.add_argument("--chaos", action="store_true", help="... and whether faults can be injected")
    doctor.add_argument("--admin", action="store_true", help="... and whether connections can be closed")


def _record(given: argparse.Namespace) -> int:
    if given.keep is not None and given.rotate is None:
        raise ConfigError("--keep is about the files that --rotate makes; give a size, such as --rotate 64MB")
    rotation = Rotation(given.rotate, given.keep) if given.rotate is not None else Rotation(size=1 << 60)
    model = Model()
    link = Link(lambda: options.target(given), "observe", model)
    return options.run(record(link, model, given.output, rotation=rotation, seconds=given.seconds))


def _replay(given: argparse.Namespace) -> int:
    if given.json:
        recording = Recording(given.file)
        begin = Player(recording).starting(given.begin)
        return replay(recording, Wish(filter=_filter(given.filter)), begin)
    from liverpc_devtools.taping import played

    return on_screen(given, read_settings(), lambda: [played(given.file, speed=given.speed, begin=given.begin)])


def _demo(given: argparse.Namespace) -> int:
    from liverpc_devtools.screens.server import Served

    with demo_server(rate=given.rate, seed=given.seed) as url:

        def served() -> list[Served]:
            model = Model()
            # The token of the environment is for another server.
            link = Link(lambda: find_target(url, environ={}), "chaos" if given.chaos else "observe", model)
            return [Served(model, link, link.url)]

        return on_screen(given, read_settings(), served)


def _locate(given: argparse.Namespace) -> int:
    places = {"config": config_dir() / "tui.toml", "state": state_dir(), "recordings": lrec.directory()}
    sys.stdout.write(f"{places[given.what]}\n")
    return 0


def _doctor(given: argparse.Namespace) -> int:
    want: Want = "admin" if given.admin else "chaos" if given.chaos else "observe"
    return options.run(doctor(options.target(given), want, options.version()))


def _speed(text: str) -> float:
    try:
        speed = float(text.lower().removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"a speed is a number from 0.01 to 1000, such as 4x; not {text!r}")
    return speed


def _filter(text: str) -> Filter:
    try:
        return parse(text)
    except FilterError as error:
        raise ConfigError(f"--filter: {error}") from None
