"""The options that the load tests add to Locust's own."""

from __future__ import annotations

import argparse
import math
import secrets
from typing import Any, Literal

import msgspec

__all__ = ["SCENARIOS", "Chaos", "Options", "Size", "add_options", "parse_chaos", "parse_sizes"]

SCENARIOS = ("connect", "rpc", "fanout", "upload")

_UNITS = {"B": 1, "kB": 1000, "MB": 1_000_000}


class Chaos(msgspec.Struct, frozen=True):
    """A fault to inject while the test runs."""

    rate: float
    seed: str
    topic: str = "load:*"  #: glob


class Size(msgspec.Struct, frozen=True):
    """Uploads of one size."""

    name: str  #: as it was given, such as ``10MB``
    bytes: int
    weight: float  #: how often, in relation to the others


class Options(msgspec.Struct, frozen=True):
    """What was asked for."""

    scenario: str | None  #: None: the user class was named on the command line instead
    rate: float  #: operations per second, of all users together
    arrivals: Literal["constant", "poisson"]
    size: int  #: bytes of padding in each message
    seed: str
    upload_sizes: list[Size]
    uploads_per_user: int  #: at once, on one connection
    bandwidth: float  #: bytes per second, of all uploads together
    cancelled: float  #: share of the uploads
    killed: float  #: likewise
    chaos: Chaos | None
    attach_token_file: str | None
    report: str | None

    @property
    def random_arrivals(self) -> str | None:
        """The seed of ``due_times``: None for a constant rate."""
        return self.seed if self.arrivals == "poisson" else None


def add_options(parser: argparse.ArgumentParser, **_: Any) -> None:
    """Locust's hook ``init_command_line_parser``."""
    group = parser.add_argument_group("liverpc load tests")
    group.add_argument("--scenario", choices=SCENARIOS, help="what to do; -u tells the number of connections")
    group.add_argument(
        "--rate",
        type=_positive,
        default=50.0,
        help="connects, calls or publishes per second, of all users together (default: %(default)g)",
    )
    group.add_argument(
        "--arrivals",
        choices=("constant", "poisson"),
        default="constant",
        help="evenly spaced, or at random as independent users would (default: %(default)s)",
    )
    group.add_argument("--size", type=_size, default=0, help="bytes of padding per message (default: %(default)s)")
    group.add_argument(
        "--upload-sizes",
        type=parse_sizes,
        default="1MB=16,10MB=3,100MB=1",
        metavar="SIZE=WEIGHT,...",
        help="of uploads, in B, kB or MB, and how often each (default: %(default)s)",
    )
    group.add_argument(
        "--uploads-per-user", type=_count, default=1, metavar="N", help="at the same time (default: %(default)s)"
    )
    group.add_argument(
        "--bandwidth",
        type=_bandwidth,
        default="50",
        metavar="MBPS",
        help="megabytes per second of all uploads together; max: as many as the server takes (default: %(default)s)",
    )
    group.add_argument(
        "--cancelled", type=_share, default=0.1, help="share of uploads given up midway (default: %(default)s)"
    )
    group.add_argument(
        "--killed", type=_share, default=0.05, help="share of uploads whose connection is cut (default: %(default)s)"
    )
    group.add_argument("--seed", default="1", help="of everything random here (default: %(default)s)")
    group.add_argument(
        "--chaos",
        type=parse_chaos,
        metavar="drop=RATE[,seed=S][,topic=GLOB]",
        help="let the server drop publishes for the time of the run, and check the losses against the seed",
    )
    group.add_argument(
        "--attach-token-file",
        metavar="FILE",
        help="holds the devtools token; default: LIVERPC_ATTACH_TOKEN, or a local server's own",
    )
    group.add_argument("--report", metavar="FILE", help="write the table and the latencies as JSON")


def parse_chaos(text: str) -> Chaos:
    """``drop=0.2,seed=s,topic=load:*``; a missing seed is made up.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not value or name not in ("drop", "seed", "topic") or name in given:
            raise argparse.ArgumentTypeError(f"{text!r} is not like drop=0.2,seed=s,topic=load:*")
        given[name] = value
    try:
        rate = float(given.get("drop", ""))
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: drop takes a rate from 0 to 1")
    return Chaos(rate, given.get("seed", secrets.token_hex(4)), given.get("topic", "load:*"))


def parse_sizes(text: str) -> list[Size]:
    """``1MB=3,10MB`` and the like; a missing weight is 1.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    sizes = []
    for part in text.split(","):
        name, equals, weight = part.partition("=")
        number = name.rstrip("kMB")
        unit = _UNITS.get(name[len(number) :] or "B", 0)
        if not number.isdecimal() or not 0 < int(number) * unit <= 10**12:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not like 1MB=3,10MB=1: {part!r} has no size from 1B to 1000000MB, in B, kB or MB"
            )
        sizes.append(Size(name, int(number) * unit, _positive(weight) if equals else 1.0))
    return sizes


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def _bandwidth(text: str) -> float:
    return math.inf if text == "max" else _positive(text, "a positive number of megabytes per second, or max") * 1e6


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def _positive(text: str, what: str = "a positive number") -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes up to 1000000")
    return int(text)
