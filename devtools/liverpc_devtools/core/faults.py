"""What a fault may be, checked before the server is asked; no screen and no I/O."""

from __future__ import annotations

import math

from liverpc.inspector.protocol.frames import ChaosRule, Limits

__all__ = ["FaultError", "fault_limit", "fault_rate", "fault_seconds", "fault_topic", "make_rule", "seconds"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class FaultError(ValueError):
    """A wish that cannot be; the text says what is allowed.

    Attributes:
        field: What of the fault is wrong: ``topic``, ``rate``, ``seconds`` or ``limit``.
    """

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        super().__init__(text)


def seconds(text: str) -> float:
    """``30s``, ``500ms``, ``2m``, ``1h`` or a number of seconds; more than 0."""
    number = text.strip().lower()
    unit = next((each for each in ("ms", "s", "m", "h") if number.endswith(each)), "")
    try:
        value = float(number.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise FaultError("seconds", f"a time is a number above 0 with s, m, h or ms, such as 30s; not {text!r}")
    return value


def fault_rate(text: str) -> float:
    """A probability: ``0.2`` or ``20%``."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise FaultError("rate", f"a rate is a number from 0 to 1, or 0% to 100%; not {text!r}")
    return value


def fault_seconds(text: str, *, detached: bool = False) -> float:
    """How long a fault lives."""
    value = seconds(text)
    most = Limits.MAX_DETACHED_TTL if detached else Limits.MAX_TTL
    if value > most:
        kind = "a detached fault" if detached else "a fault"
        raise FaultError("seconds", f"{kind} lives at most {most:.0f} seconds; not {text!r}")
    return value


def fault_limit(text: str) -> int:
    """After how many drops a fault ends; 0 for no limit."""
    number = text.strip() or "0"
    if not (number.isascii() and number.isdigit()):
        raise FaultError("limit", f"a hit limit is a whole number, 0 for none; not {text!r}")
    return int(number)


def fault_topic(text: str) -> str:
    """The glob a fault applies to."""
    topic = text.strip()
    if not topic:
        raise FaultError("topic", "name a topic, or * for all")
    return topic


def make_rule(topic: str, rate: str, *, seed: str = "", limit: str = "") -> ChaosRule:
    """The fault these texts describe.

    Raises:
        FaultError: One of them cannot be.
    """
    return ChaosRule(
        action="drop",
        topic=fault_topic(topic),
        rate=fault_rate(rate),
        seed=seed.strip(),
        limit=fault_limit(limit),
    )
