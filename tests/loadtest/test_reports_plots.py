"""Plots say what was measured, and nothing else."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._markup import Element
from loadtest._plots import Curve, Panel, chart, marks, plots
from loadtest._result import Event, Result
from tests.loadtest.results_kit import ECHO, result_of, seconds, series_of

POINTS = st.lists(st.tuples(st.floats(0, 1e4), st.none() | st.floats(0, 1e9)), min_size=1, max_size=50)


def drawn(*curves: Curve, events: list[Event] | None = None) -> Element:
    return chart("t", [Panel("p", "ms", list(curves))], "s", events or [])


def texts(svg: Element) -> list[str]:
    return [each.text or "" for each in svg.iter("text")]


def paths(svg: Element) -> list[list[tuple[float, float]]]:
    found = [re.findall(r"[ML]([\d.-]+) ([\d.-]+)", each.get("d", "")) for each in svg.iter("path")]
    return [[(float(x), float(y)) for x, y in path] for path in found]


def titles(result: Result) -> list[str]:
    return [plot.chart.findtext("title", "") for plot in plots(result)]


@given(POINTS)
def test_every_point_lies_inside_of_the_axes(points: list[tuple[float, float | None]]) -> None:
    known = [y for _, y in points if y is not None]
    if not known:
        return
    svg = drawn(Curve("c", sorted(points, key=lambda point: point[0])))
    _, _, width, height = (float(each) for each in svg.get("viewBox", "").split())
    for x, y in [point for path in paths(svg) for point in path]:
        assert 0 < x < width
        assert 0 < y < height
    labels = [float(text.replace(",", "")) for text in texts(svg) if re.fullmatch(r"[\d,.]+", text)]
    assert 0 in labels
    assert max(labels) >= max(known) or max(labels) >= max(x for x, _ in points)


def test_the_y_axis_begins_at_zero_and_is_linear() -> None:
    ((low, middle, high),) = paths(drawn(Curve("c", [(0, 0.0), (1, 50.0), (2, 100.0)])))
    assert low[1] - middle[1] == pytest.approx(middle[1] - high[1], abs=0.2)
    ((flat, _),) = paths(drawn(Curve("c", [(0, 100.0), (1, 100.0)])))
    assert flat[1] == high[1]


def test_what_is_not_known_is_a_gap_and_a_lonely_point_is_a_dot() -> None:
    svg = drawn(Curve("c", [(0, 1.0), (1, 1.0), (2, None), (3, 1.0), (4, None), (5, 1.0), (6, 1.0)]))
    assert [len(path) for path in paths(svg)] == [2, 2]
    assert len(list(svg.iter("circle"))) == 1


def test_curves_differ_in_more_than_colour_and_are_named() -> None:
    svg = drawn(Curve("one", [(0, 1.0), (1, 1.0)]), Curve("two", [(0, 2.0), (1, 2.0)]))
    assert len({each.get("class") for each in svg.iter("path")}) == 2
    assert {"one", "two", "p (ms)", "s"} <= set(texts(svg))


def test_events_are_marked_by_number_where_they_happened() -> None:
    events = [Event(5.0, "killed"), Event(50.0, "after the end")]
    svg = drawn(Curve("c", [(0, 1.0), (10, 1.0)]), events=events)
    (path,) = paths(svg)
    (line,) = [each for each in svg.iter("line") if each.get("class") == "event"]
    assert float(line.get("x1", "")) == pytest.approx((path[0][0] + path[1][0]) / 2, abs=0.1)
    (mark,) = [each for each in svg.iter("text") if each.find("title") is not None]
    assert (mark.text, mark.findtext("title")) == ("1", "killed")


def test_marks_are_in_the_order_of_time() -> None:
    result = result_of(events=[Event(3.0, "a"), Event(30.0, "b")])
    assert [event.at for event in marks(result, 20.0)] == [3.0, 20.0, 30.0]


def test_there_is_a_plot_for_everything_that_was_measured() -> None:
    whole = result_of(seconds=seconds([2.0] * 20), details={"recovery": [[0, 0], [1.5, 1]]})
    along_time = ["Wanted and done", "Latency", "What moved first", "Memory and files"]
    assert titles(whole) == [*along_time, f"Percentiles of {ECHO}", "Recovery"]
    blind = result_of(seconds=seconds([2.0] * 20, server=lambda at: None))
    assert titles(blind) == [*along_time[:3], f"Percentiles of {ECHO}"]
    assert any("could not be looked at" in plot.caption for plot in plots(blind))
    assert titles(result_of(latencies={})) == []


def test_causes_share_the_clients_time_axis() -> None:
    (causes,) = [
        plot.chart for plot in plots(result_of(seconds=seconds([2.0] * 20))) if "moved" in str(plot.chart[0].text)
    ]
    assert len({(path[0][0], path[-1][0]) for path in paths(causes)}) == 1
    names = [each.text for each in causes.iter("text") if each.get("class") == "name"]
    assert names[:4] == [
        f"client: p99 of {ECHO} (ms)",
        "server: loop lag (ms)",
        "server: handler p99 (ms)",
        "server: outbox (kB)",
    ]


def test_deliveries_are_not_measured_by_the_rate_of_publishes() -> None:
    result = result_of(
        latencies=dict.fromkeys(("PUB deliver", "RPC p", "RPC p from send", "RPC p before"), series_of([1.0])),
        headline="PUB deliver",
        seconds=[
            type(each)(each.at, 50, 10.0, {"PUB deliver": 500, "RPC p": 10, "RPC p from send": 10, "RPC p before": 9})
            for each in seconds([1.0] * 5)
        ],
    )
    (rates,) = [plot.chart for plot in plots(result) if plot.chart.findtext("title") == "Wanted and done"]
    legends = [each.text for each in rates.iter("text") if each.get("class") in ("name", "legend")]
    assert legends == ["Operations (per second)", "wanted", "RPC p", "PUB deliver (per second)"]


def test_long_runs_are_drawn_by_their_worst_seconds_and_say_so() -> None:
    p99 = [2.0] * 3000
    p99[1501] = 900.0
    (latency,) = [plot for plot in plots(result_of(seconds=seconds(p99))) if plot.chart.findtext("title") == "Latency"]
    assert latency.caption == "Of every 6 seconds, the worst."
    assert "1,000" in texts(latency.chart)
    assert all(len(path) <= 500 for path in paths(latency.chart))


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=200))
def test_the_percentile_curve_only_rises_and_ends_at_the_maximum(milliseconds: list[float]) -> None:
    (plot,) = plots(result_of(latencies={ECHO: series_of(milliseconds)}, details={}))
    for path in paths(plot.chart):
        for (x1, y1), (x2, y2) in pairwise(path):
            assert x1 <= x2
            assert y1 >= y2  # upwards


def test_the_floor_is_drawn_below() -> None:
    result = result_of(floor={ECHO: series_of([0.1, 0.2, 0.3])})
    (plot,) = plots(result)
    assert len(paths(plot.chart)) == 2
    assert "floor: a server that does nothing" in texts(plot.chart)
