"""Plots of a run as SVG, for a page that has :data:`STYLE`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from loadtest._hgrm import points
from loadtest._knee import SIGNALS, headline, of_server
from loadtest._markup import Element, element
from loadtest._result import Event, Result, Second, Series

__all__ = ["STYLE", "Curve", "Panel", "Plot", "chart", "marks", "plots"]

_WIDTH, _LEFT, _RIGHT = 880.0, 70.0, 866.0
_TOP, _HEIGHT, _BOTTOM = 44.0, 120.0, 40.0  # of a panel: names above, the plot itself; of the chart: the axis below
_LETTER = 6.4  # pixels, about
_DRAWN = 500  # points of a curve at most; more cannot be told apart
_LEAST = 1e-6  # smaller differences are none
_STYLES = 6  # of curves: a colour and a dash pattern each
_EVENTS = 40  # that are marked

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #5b6470; --rule: #d5dae1; --good: #0b6b3a;
  --bad: #b3261e; --odd: #8a5300; --c0: #0b5cad; --c1: #b3470a; --c2: #0b7a53; --c3: #8431a6; --c4: #5b6470;
  --c5: #8c6d00 }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --text: #e6e9ee; --soft: #a3acb8; --rule: #363d47;
  --good: #63d297; --bad: #ff8f85; --odd: #f0b95a; --c0: #6cb4ff; --c1: #ffad73; --c2: #5fd6a4; --c3: #d5a1ff;
  --c4: #b5bdc9; --c5: #e0c65a } }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif }
svg text { fill: var(--soft) } svg text.name { fill: var(--text); font-weight: 600 }
svg text.legend { fill: var(--text) } svg .event { stroke: var(--text); stroke-dasharray: 1 3 }
svg .rule { stroke: var(--rule) } svg .edge { stroke: var(--soft) }
svg .curve { fill: none; stroke-width: 1.6; stroke-linejoin: round } svg .dot { stroke: none }
svg .s0 { stroke: var(--c0) } svg .s1 { stroke: var(--c1); stroke-dasharray: 7 3 }
svg .s2 { stroke: var(--c2); stroke-dasharray: 2 2 } svg .s3 { stroke: var(--c3); stroke-dasharray: 8 3 2 3 }
svg .s4 { stroke: var(--c4); stroke-dasharray: 12 4 } svg .s5 { stroke: var(--c5); stroke-dasharray: 4 4 }
svg .d0 { fill: var(--c0) } svg .d1 { fill: var(--c1) } svg .d2 { fill: var(--c2) } svg .d3 { fill: var(--c3) }
svg .d4 { fill: var(--c4) } svg .d5 { fill: var(--c5) }
"""


class Curve(NamedTuple):
    """A line. Where y is None, it has a gap."""

    name: str
    points: list[tuple[float, float | None]]


class Panel(NamedTuple):
    """Curves with a common y axis, which begins at 0."""

    name: str
    unit: str
    curves: list[Curve]


class Plot(NamedTuple):
    """A chart, and what must be said about it."""

    chart: Element
    caption: str


class _Axis(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    to: Callable[[float], float] = float

    def at(self, value: float) -> float:
        low, high = self.to(self.low), self.to(self.high)
        return self.start + (self.to(value) - low) / ((high - low) or 1.0) * (self.end - self.start)


def marks(result: Result, knee_at: float | None = None) -> list[Event]:
    """What is marked in the plots along time, in the order of their numbers, which begin at 1."""
    own = [] if knee_at is None else [Event(knee_at, "the client's p99 left its usual level")]
    return sorted([*own, *result.events[:_EVENTS]], key=lambda event: event.at)


def plots(result: Result, knee_at: float | None = None) -> list[Plot]:
    """All plots there are data for, with :func:`marks`."""
    every = math.ceil(len(result.seconds) / _DRAWN)
    worst = f"Of every {every} seconds, the worst." if every > 1 else ""
    seen = any(second.server is not None for second in result.seconds)
    along_time = [
        ("Wanted and done", _rates(result), f"Of every {every} seconds, the mean." if every > 1 else ""),
        ("Latency", _latencies(result), worst),
        ("What moved first", _causes(result), worst if seen else f"{worst} The server could not be looked at."),
        ("Memory and files", _resources(result), worst),
    ]
    events = marks(result, knee_at)
    found = [
        Plot(chart(title, panels, "seconds since the first operation was due", events), note.strip())
        for title, panels, note in along_time
        if panels
    ]
    others = _percentiles(result), _recovery(result.details.get("recovery"))
    return found + [plot for plot in others if plot is not None]


def chart(
    title: str,
    panels: Sequence[Panel],
    x_name: str,
    events: Sequence[Event] = (),
    *,
    x_ticks: Sequence[tuple[float, str]] = (),
    log: bool = False,
) -> Element:
    """Panels below each other over one x axis, which is as wide as the data.

    Args:
        title: For those who cannot see it.
        panels: Their curves are of at least one point altogether.
        x_name: What the axis is, with its unit.
        events: Marked in every panel, with their number from 1 on; those outside of the data are left out.
        x_ticks: Instead of round numbers.
        log: Whether the x axis is logarithmic.
    """
    xs = [x for panel in panels for curve in panel.curves for x, _ in curve.points]
    low, high = min(xs), max(xs)
    x_axis = _Axis(low, high if high - low > _LEAST else low + 1, _LEFT, _RIGHT, math.log10 if log else float)
    ticks = x_ticks or [(value, _short(value)) for value in _round_values(x_axis.low, x_axis.high, 10)]
    bottom = len(panels) * (_TOP + _HEIGHT)
    shapes: list[Element] = []
    for value, text in ticks:
        if x_axis.low <= value <= x_axis.high:
            x = x_axis.at(value)
            shapes.append(element("text", text, x=x, y=bottom + 15, text_anchor="middle"))
            shapes += _uprights("rule", x, panels)
    shapes.append(element("text", x_name, x=(_LEFT + _RIGHT) / 2, y=bottom + 32, text_anchor="middle"))
    for top, panel in zip(_tops(panels), panels, strict=True):
        shapes += _panel(panel, x_axis, top)
    for number, event in enumerate(events, 1):
        if x_axis.low <= event.at <= x_axis.high:
            x = x_axis.at(event.at)
            shapes += _uprights("event", x, panels)
            mark = element("text", str(number), element("title", event.text), x=x, y=_TOP - 4, text_anchor="middle")
            shapes.append(mark)
    box = f"0 0 {_WIDTH:.0f} {bottom + _BOTTOM:.0f}"
    return element("svg", element("title", title), *shapes, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img")


def _uprights(kind: str, x: float, panels: Sequence[Panel]) -> list[Element]:
    return [element("line", class_=kind, x1=x, x2=x, y1=top + _TOP, y2=top + _TOP + _HEIGHT) for top in _tops(panels)]


def _panel(panel: Panel, x_axis: _Axis, top: float) -> list[Element]:
    values = [y for curve in panel.curves for _, y in curve.points if y is not None]
    most = max([_LEAST, *values])
    step = _round_values(0.0, most if most > _LEAST else 1.0, 4)[1]
    y_axis = _Axis(0.0, math.ceil(most / step) * step, top + _TOP + _HEIGHT, top + _TOP)
    name = f"{panel.name} ({panel.unit})"
    shapes = [element("text", name, class_="name", x=4.0, y=top + 24)]
    for value in _round_values(0.0, y_axis.high, 4):
        y = y_axis.at(value)
        shapes.append(element("line", class_="edge" if not value else "rule", x1=_LEFT, x2=_RIGHT, y1=y, y2=y))
        shapes.append(element("text", _short(value), x=_LEFT - 6, y=y + 4, text_anchor="end"))
    legend = 24 + _LETTER * len(name)
    for number, curve in enumerate(panel.curves):
        style = number % _STYLES
        if len(panel.curves) > 1 or curve.name:
            y = top + 20
            shapes.append(element("line", class_=f"curve s{style}", x1=legend, x2=legend + 26, y1=y, y2=y))
            shapes.append(element("text", curve.name, class_="legend", x=legend + 31, y=y + 4))
            legend += 49 + _LETTER * len(curve.name)
        shapes += _curve(curve, x_axis, y_axis, style)
    return shapes


def _curve(curve: Curve, x_axis: _Axis, y_axis: _Axis, style: int) -> list[Element]:
    """A path through the points; a point between two gaps is a dot."""
    shapes: list[Element] = []
    stretch: list[tuple[float, float]] = []
    for x, y in [*curve.points, (0.0, None)]:
        if y is not None:
            stretch.append((x_axis.at(x), y_axis.at(y)))
            continue
        if len(stretch) == 1:
            ((cx, cy),) = stretch
            shapes.append(element("circle", class_=f"dot d{style}", cx=cx, cy=cy, r=2.5))
        elif stretch:
            path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in stretch)
            shapes.append(element("path", class_=f"curve s{style}", d=path))
        stretch = []
    return shapes


def _rates(result: Result) -> list[Panel]:
    """What was due beside what was done. Series of another magnitude, such as deliveries, have a panel of their own.

    A series whose name begins with that of another one has the same operations, measured otherwise, or some of them.
    """
    seconds = result.seconds
    wanted = sum(second.wanted for second in seconds)
    totals = {name: sum(second.done.get(name, 0) for second in seconds) for name in result.latencies}
    main = headline(result)
    parts = {name for name in totals for other in totals if name.startswith((f"{other} ", f"{other}."))}
    whole = sorted(totals.keys() - parts)
    beside = [name for name in whole if wanted * 0.02 <= totals[name] <= wanted * 1.5]
    curves = [_over_time(seconds, "wanted", lambda second: second.wanted, _mean)] if wanted else []
    if not wanted:
        beside = [main] if main in totals else []
    curves += [_over_time(seconds, name, _done(name), _mean) for name in beside[: _STYLES - 2]]
    if any(second.failed for second in seconds):
        curves.append(_over_time(seconds, "failed", lambda second: second.failed, _mean))
    panels = [Panel("Operations", "per second", curves)] if any(curve.points for curve in curves) else []
    if panels and main in totals and main not in beside:
        panels.append(Panel(main, "per second", [_over_time(seconds, "", _done(main), _mean)]))
    return panels


def _latencies(result: Result) -> list[Panel]:
    name = headline(result)
    curves = [
        _over_time(result.seconds, "p99", lambda second: second.p99.get(name)),
        _over_time(result.seconds, "p50", lambda second: second.p50.get(name)),
    ]
    return [Panel(name, "ms", curves)] if _known(curves) else []


def _causes(result: Result) -> list[Panel]:
    """The client's p99, and below it everything that may explain it."""
    panels = [
        Panel(f"client: p99 of {panel.name}", panel.unit, [Curve("", panel.curves[0].points)])
        for panel in _latencies(result)
    ]
    for name in dict.fromkeys(signal.panel for signal in SIGNALS):
        signals = [signal for signal in SIGNALS if signal.panel == name]
        factor = 100.0 if signals[0].unit == "%" else 1.0
        curves = [
            _over_time(result.seconds, signal.name if len(signals) > 1 else "", _times(signal.of, factor))
            for signal in signals
        ]
        curves = [curve for curve in curves if _known([curve])]
        if curves and panels:
            panels.append(_bytes(Panel(name, signals[0].unit, curves)))
    return panels if len(panels) > 1 else []


def _resources(result: Result) -> list[Panel]:
    files = _over_time(result.seconds, "file descriptors", of_server("fds"))
    links = _over_time(result.seconds, "connections", of_server("connections"))
    memory = _over_time(result.seconds, "", of_server("rss_bytes"))
    counted = [curve for curve in (files, links) if _known([curve])]
    panels = [_bytes(Panel("server: memory, RSS", "bytes", [memory]))] if _known([memory]) else []
    return [*panels, *([Panel("server: open", "number", counted)] if counted else [])]


def _percentiles(result: Result) -> Plot | None:
    name = headline(result)
    total, floor = result.latencies.get(name), result.floor.get(name)
    curves = [
        Curve(what, _by_rarity(series))
        for what, series in (("measured", total), ("floor: a server that does nothing", floor))
        if series is not None and series.buckets
    ]
    if not curves:
        return None
    nines = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %")]
    nines += [(10.0**digits, f"99{'.' if digits > 2 else ''}{'9' * (digits - 2)} %") for digits in range(2, 9)]
    drawn = chart(
        f"Percentiles of {name}", [Panel(name, "ms", curves)], "percentile of operations", x_ticks=nines, log=True
    )
    return Plot(drawn, "From 90 % on, each step is ten times rarer than the one before. The curve ends at the maximum.")


def _by_rarity(series: Series) -> list[tuple[float, float | None]]:
    found: list[tuple[float, float | None]] = [
        (1 / (1 - share), ms) for ms, share, _ in points(series) if share < 1 - 1 / series.count
    ]
    return [*found, (max(float(series.count), 2.0), series.max)]


def _recovery(given: Any) -> Plot | None:
    """``details["recovery"]``: seconds and share of the clients that have recovered by then."""
    try:
        curve = Curve("", [(at, 100 * share) for at, share in msgspec.convert(given, list[tuple[float, float]])])
    except msgspec.ValidationError:
        return None
    if not curve.points:
        return None
    drawn = chart("Recovery", [Panel("recovered clients", "%", [curve])], "seconds since they were cut off")
    return Plot(drawn, "")


def _over_time(
    seconds: Sequence[Second],
    name: str,
    of: Callable[[Second], float | None],
    summed_up: Callable[[Sequence[float]], float] = max,
) -> Curve:
    every = math.ceil(len(seconds) / _DRAWN) or 1
    found: list[tuple[float, float | None]] = []
    for start in range(0, len(seconds), every):
        known = [value for second in seconds[start : start + every] if (value := of(second)) is not None]
        found.append((seconds[start].at, summed_up(known) if known else None))
    return Curve(name, found)


def _bytes(panel: Panel) -> Panel:
    """In the largest unit that fits."""
    if panel.unit != "bytes":
        return panel
    most = max((y for curve in panel.curves for _, y in curve.points if y is not None), default=0.0)
    factor, unit = next(
        each for each in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")) if most >= each[0] or each[0] == 1
    )
    curves = [
        Curve(curve.name, [(x, y if y is None else y / factor) for x, y in curve.points]) for curve in panel.curves
    ]
    return Panel(panel.name, unit, curves)


def _times(of: Callable[[Second], float | None], factor: float) -> Callable[[Second], float | None]:
    def scaled(second: Second) -> float | None:
        value = of(second)
        return None if value is None else value * factor

    return scaled


def _done(name: str) -> Callable[[Second], float | None]:
    return lambda second: second.done.get(name, 0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _known(curves: Sequence[Curve]) -> bool:
    return any(y is not None for curve in curves for _, y in curve.points)


def _tops(panels: Sequence[Panel]) -> list[float]:
    return [number * (_TOP + _HEIGHT) for number in range(len(panels))]


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between the two, about so many."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{round(value, 6):,}".removesuffix(".0")
