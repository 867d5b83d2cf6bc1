"""What moved first when the clients' latencies left their usual level."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from loadtest._result import Result, Second

__all__ = ["SIGNALS", "Knee", "Moved", "Signal", "headline", "knee", "of_server", "seconds_of"]

_HELD = 3  # seconds in a row that the client's p99 is up before it counts
_HELD_CAUSE = 2  # the same of everything else, beside it
_BASELINE_MIN = 5  # seconds without which there is no usual level
_AFTERMATH = 5.0  # seconds after the client's p99 in which something still belongs to it
_CLIENT_RISE = 1.0  # milliseconds
_PRECISION = 1.05  # seconds: server and load generator are looked at once a second, not at the same moment


Kind = Literal["short", "steady", "server", "generator", "unclear", "unexplained", "blind"]


class Signal(NamedTuple):
    """Something measured each second that may explain what clients notice."""

    name: str
    panel: str  #: of the plot it is drawn in
    unit: str
    owner: Literal["server", "generator"]
    of: Callable[[Second], float | None]
    rise: float = 0.0  #: above the usual level, at least
    level: float | None = None  #: where it means trouble, whatever is usual; then ``rise`` is not looked at


class Moved(NamedTuple):
    """A signal that left its usual level."""

    signal: Signal
    lead: float  #: seconds before the client's p99; negative: after it


class Knee(NamedTuple):
    """When the client's p99 left its usual level, and why."""

    kind: Kind
    text: str  #: for people
    at: float | None = None
    moved: tuple[Moved, ...] = ()  #: the first one first


def of_server(name: str) -> Callable[[Second], float | None]:
    """A field of :class:`ServerSecond`."""
    return lambda second: None if second.server is None else getattr(second.server, name)


def _generator(name: str) -> Callable[[Second], float | None]:
    return lambda second: None if second.generator is None else getattr(second.generator, name)


# Where CPU is concerned, more load means more of it: it is a cause only when there is hardly any left.
SIGNALS = (
    Signal("the server's loop lag", "server: loop lag", "ms", "server", of_server("lag_ms"), rise=1.0),
    Signal("handler time", "server: handler p99", "ms", "server", of_server("handler_ms"), rise=1.0),
    Signal("the outbox", "server: outbox", "bytes", "server", of_server("outbox_bytes"), rise=65536.0),
    Signal("the server's CPU", "CPU, of one core", "%", "server", of_server("cpu"), level=0.9),
    Signal("the load generator's CPU", "CPU, of one core", "%", "generator", _generator("cpu"), level=0.75),
    Signal(
        "the load generator's schedule",
        "load generator: lag p99",
        "ms",
        "generator",
        _generator("schedule_lag_ms"),
        rise=2.0,
    ),
    Signal(
        "the load generator's timers", "load generator: lag p99", "ms", "generator", _generator("loop_lag_ms"), rise=2.0
    ),
)


def headline(result: Result) -> str:
    """The series that stands for what clients notice: the scenario's own, else the largest; empty without any."""
    if result.headline in result.latencies or not result.latencies:
        return result.headline
    return max(result.latencies, key=lambda name: result.latencies[name].count)


def seconds_of(result: Result) -> list[Second]:
    """The seconds that count: those after the warm-up."""
    return [second for second in result.seconds if second.at >= result.warmup]


def knee(result: Result) -> Knee:
    """Look for the moment when the client's p99 left its usual level, and for what moved first.

    The usual level of anything is its median in the first third of the measured time. It has left that level where
    it is above the largest of twice the median, the median and five times the median deviation from it, and a least
    rise (1 ms for the client's p99). The client's p99 must be up for three seconds in a row, what is looked at beside
    it for two; of CPU only a level counts (90 % of a core for the server, 75 % for the load generator). What is up
    at that moment, or within five seconds after it, moved; since when, decides which was first. A second without a
    sample is skipped. What moved in the same second is named together; where the server and the load generator moved
    within a second of each other, it is not said which of them was first.
    """
    name = headline(result)
    seconds = seconds_of(result)
    client = [(second.at, second.p99.get(name)) for second in seconds]
    quiet = seconds[: len(seconds) // 3]
    usual = _level([second.p99.get(name) for second in quiet], _CLIENT_RISE)
    if usual is None:
        return Knee("short", f"Too short to say what latencies follow: fewer than {3 * _BASELINE_MIN} seconds of them.")
    median, threshold = usual
    start = next((begin for begin, _, held in _excursions(client, threshold) if held >= _HELD), None)
    if start is None:
        worst = max(ms for _, ms in client if ms is not None)
        return Knee(
            "steady",
            f"The client's p99 stayed at its usual level: {_ms(median)} in the first third, "
            f"{_ms(worst)} in its worst second.",
        )
    moved: list[Moved] = []
    unknown: list[Signal] = []
    always: list[Signal] = []
    for signal in SIGNALS:
        level = _level([signal.of(second) for second in quiet], signal.rise)
        if level is None:
            unknown.append(signal)
            continue
        if signal.level is not None and level[0] >= signal.level:
            always.append(signal)
            continue
        over = level[1] if signal.level is None else math.nextafter(signal.level, 0)
        for begin, end, held in _excursions([(second.at, signal.of(second)) for second in seconds], over):
            if held >= _HELD_CAUSE and end >= start and begin <= start + _AFTERMATH:
                moved.append(Moved(signal, start - begin))
                break
    moved.sort(key=lambda each: -each.lead)
    kind = _kind(moved, unknown)
    rate = next((second.wanted for second in seconds if second.at == start), 0.0)
    said = [_found(start, rate, median), *_reasons(kind, moved, unknown)]
    if always:
        said.append(f"Used up from the beginning: {_names(always)}.")
    if kind != "blind" and unknown:
        said.append(f"Too little is known of {_names(unknown)}.")
    if nearby := [event.text for event in result.events if start - 2 <= event.at <= start + 1]:
        said.append(f"At that time: {', '.join(nearby)}.")
    return Knee(kind, " ".join(said), start, tuple(moved))


def _level(values: Sequence[float | None], rise: float) -> tuple[float, float] | None:
    """The usual value, and above which it is not usual any more; None when too few are known."""
    known = [value for value in values if value is not None]
    if len(known) < _BASELINE_MIN:
        return None
    median = statistics.median(known)
    deviation = statistics.median(abs(value - median) for value in known)
    return median, max(2 * median, median + 5 * deviation, median + rise)


def _excursions(points: Sequence[tuple[float, float | None]], over: float) -> list[tuple[float, float, int]]:
    """First second, last second and number of seconds of each stretch above that value."""
    known = [(at, value > over) for at, value in points if value is not None]
    stretches = [(up, [at for at, _ in group]) for up, group in groupby(known, key=lambda point: point[1])]
    return [(ats[0], ats[-1], len(ats)) for up, ats in stretches if up]


def _kind(moved: Sequence[Moved], unknown: Sequence[Signal]) -> Kind:
    causes = [each for each in moved if each.lead >= 0]
    first = {each.signal.owner for each in causes if each.lead >= causes[0].lead - _PRECISION}
    if len(first) == 2:
        return "unclear"
    if first == {"server"}:
        return "server"
    if first == {"generator"}:
        return "generator"
    blind = {signal.name for signal in SIGNALS if signal.owner == "server"} <= {signal.name for signal in unknown}
    return "blind" if blind else "unexplained"


def _found(start: float, rate: float, median: float) -> str:
    at_rate = f", {rate:,.0f}/s" if rate else ""
    return f"At {start:.0f} s{at_rate}, the client's p99 left its usual {_ms(median)}."


def _reasons(kind: Kind, moved: Sequence[Moved], unknown: Sequence[Signal]) -> list[str]:
    groups = [
        (lead, " and ".join(each.signal.name for each in group))
        for lead, group in groupby(moved, key=lambda each: each.lead)
    ]
    if kind in ("blind", "unexplained"):
        reason = "Nothing that was measured had moved before."
        if kind == "blind":
            reason = "The load generator had not moved, and the server could not be looked at."
        if len(unknown) == len(SIGNALS):
            reason = "Neither the server nor the load generator could be looked at."
        return [reason, *(f"{_capital(names)} followed {-lead:.0f} s later." for lead, names in groups)]
    (lead, names), *later = groups
    said = [f"{_capital(names)} moved {f'first, {_when(lead)}' if lead else _when(lead)}."]
    if later:
        said.append(f"Then: {', '.join(f'{names} {_when(lead)}' for lead, names in later)}.")
    if kind == "generator":
        said.append("So it is the load generator: use fewer users, a lower rate, or more processes.")
    if kind == "unclear":
        said.append(
            "The load generator moved within a second of the server, so they cannot be told apart: give it cores of "
            "its own."
        )
    return said


def _names(signals: Sequence[Signal]) -> str:
    return ", ".join(signal.name for signal in signals)


def _when(lead: float) -> str:
    if not lead:
        return "in the same second"
    return f"{abs(lead):.0f} s {'before' if lead > 0 else 'after'} it"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"
