"""Options that are more than a number: how they are written, and what they mean."""

from __future__ import annotations

import math
import re
import secrets

import msgspec

__all__ = [
    "Chaos",
    "Freeze",
    "Size",
    "parse_bandwidth",
    "parse_chaos",
    "parse_freeze",
    "parse_mix",
    "parse_sizes",
    "seconds",
]

_UNITS = {"B": 1, "kB": 1000, "MB": 1_000_000}
_KINDS = 4  # of what a mix is made of
_TIME_MAX = 1e7  # seconds
_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Chaos(msgspec.Struct, frozen=True):
    """A fault to inject while the test runs."""

    rate: float
    seed: str
    topic: str = "load:*"  #: glob


class Freeze(msgspec.Struct, frozen=True):
    """The server process is stopped again and again."""

    seconds: float
    every: float


class Size(msgspec.Struct, frozen=True):
    """Uploads of one size."""

    name: str  #: as it was given, such as ``10MB``
    bytes: int
    weight: float  #: how often, in relation to the others


def seconds(text: str | float) -> float:
    """``90``, ``1.5s``, ``200ms``, ``5m``, ``1h`` or ``1m30s`` in seconds.

    Raises:
        ValueError: It is something else, or negative.
    """
    if isinstance(text, int | float):
        value = text
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        value = float(text)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is no time: it is written like 90s, 200ms, 5m or 1h30m")
        value = sum(float(number) * _TIME[unit] for number, unit in parts)
    if not 0 <= value < _TIME_MAX:
        raise ValueError(f"{text!r} is no time from 0 to {_TIME_MAX:,.0f} s")
    return float(value)


def parse_freeze(text: str) -> Freeze:
    """``0.2`` or ``0.2/1``: seconds, and once in how many (1).

    Raises:
        ValueError: It is something else.
    """
    try:
        length, _, every = text.partition("/")
        freeze = Freeze(float(length), float(every or "1"))
    except ValueError:
        freeze = Freeze(0.0, 0.0)
    if not 0 < freeze.seconds < freeze.every <= 3600:
        raise ValueError(f"{text!r} is not like 0.2/1: seconds to stop the server, once in so many seconds")
    return freeze


def parse_chaos(text: str) -> Chaos:
    """``drop=0.2,seed=s,topic=load:*``; a missing seed is made up.

    Raises:
        ValueError: It is something else.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not value or name not in ("drop", "seed", "topic") or name in given:
            raise ValueError(f"{text!r} is not like drop=0.2,seed=s,topic=load:*")
        given[name] = value
    try:
        rate = float(given.get("drop", ""))
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise ValueError(f"{text!r}: drop takes a rate from 0 to 1")
    return Chaos(rate, given.get("seed", secrets.token_hex(4)), given.get("topic", "load:*"))


def parse_mix(text: str) -> list[float]:
    """``60/25/10/5``: four shares, which come to 1 altogether.

    Raises:
        ValueError: It is something else.
    """
    parts = text.split("/")
    try:
        weights = [float(part) for part in parts]
    except ValueError:
        weights = []
    if len(weights) != _KINDS or not all(0 < each < 1e6 for each in weights):
        raise ValueError(f"{text!r} is not like 60/25/10/5: publishes, calls, connections and uploads")
    return [each / sum(weights) for each in weights]


def parse_sizes(text: str) -> list[Size]:
    """``1MB=3,10MB`` and the like; a missing weight is 1.

    Raises:
        ValueError: It is something else.
    """
    sizes = []
    for part in text.split(","):
        name, equals, weight = part.partition("=")
        number = name.rstrip("kMB")
        unit = _UNITS.get(name[len(number) :] or "B", 0)
        if not number.isdecimal() or not 0 < int(number) * unit <= 10**12:
            raise ValueError(
                f"{text!r} is not like 1MB=3,10MB=1: {part!r} has no size from 1B to 1000000MB, in B, kB or MB"
            )
        sizes.append(Size(name, int(number) * unit, _weight(weight) if equals else 1.0))
    return sizes


def parse_bandwidth(text: str) -> float:
    """``50`` megabytes per second, or ``max``: in bytes per second.

    Raises:
        ValueError: It is something else.
    """
    try:
        value = math.inf if text == "max" else float(text) * 1e6
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(f"{text!r} is not a positive number of megabytes per second, or max")
    return value


def _weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ValueError(f"{text!r} is not a positive number")
    return value
