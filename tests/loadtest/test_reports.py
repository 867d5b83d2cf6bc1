"""A run as text, as histograms, as a page and as a file for CI."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.contrib.locust.histogram import Histogram
from loadtest._compare import compare
from loadtest._hgrm import hgrm, points
from loadtest._html import page
from loadtest._junit import junit
from loadtest._knee import knee
from loadtest._markup import as_xml, element, printable
from loadtest._report import above_floor, grid, heading, markdown, series, table
from loadtest._result import Event, Result, Series
from tests.loadtest.results_kit import BOX, ECHO, result_of, row, seconds, series_of

MILLISECONDS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300)
TEXTS = st.text(min_size=1, max_size=20)
VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Notes what a browser would: open elements, text, and everything that would be loaded or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.elements: list[str] = []
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.active += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href") or name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read_page(result: Result, old: Result | None = None) -> Reader:
    reader = Reader()
    reader.feed(page(result, knee(result), compare(old, result) if old else None))
    reader.close()
    assert reader.open == []
    return reader


def full(text: str = "x") -> Result:
    """With everything there is, and the text everywhere."""
    return result_of(
        scenario=text,
        profile=text,
        options={"users": 1, text: text},
        started=text,
        verdict=text,
        error=text,
        rows=[row("a", 1, metric=text, value=text, limit=text, mark="FAIL"), row("b", 2, metric=text)],
        headline=text,
        latencies={text: series_of([1.0, 2.0, 3.0], {text: 1})},
        floor={text: series_of([0.5])},
        seconds=seconds([2.0] * 20),
        events=[Event(3.0, text)],
        details={"recovery": [[0, 0], [1.5, 1]], text: text},
        box=BOX,
    )


# -- latencies


def test_a_series_holds_what_its_histogram_says() -> None:
    histogram = Histogram()
    for ms in range(1, 1001):
        histogram.add(ms / 1000)
    made = series(histogram, {"TIMEOUT": 2})
    assert (made.count, made.min, made.max, made.failures) == (1000, 1.0, 1000.0, {"TIMEOUT": 2})
    assert made.mean == pytest.approx(500.5)
    assert [made.p50, made.p90, made.p95, made.p99, made.p999] == pytest.approx([500, 900, 950, 990, 999], rel=0.01)
    assert sum(count for _, count in made.buckets) == 1000


def test_a_series_without_samples_is_all_zeros() -> None:
    made = series(Histogram(), {})
    assert (made.count, made.mean, made.min, made.max, made.p99, made.buckets) == (0, 0, 0, 0, 0, [])


def test_the_floor_is_taken_off_and_never_leaves_less_than_nothing() -> None:
    result = result_of(latencies={ECHO: series_of([2.0] * 10)}, floor={ECHO: series_of([0.5] * 9 + [9.0])})
    rest = above_floor(result, ECHO)
    assert rest is not None
    assert rest["p50"] == pytest.approx(1.5, rel=0.02)
    assert rest["max"] == 0.0
    assert above_floor(result_of(), ECHO) is None


# -- the table


def test_the_table_shows_rows_latencies_floor_and_verdict() -> None:
    text = table(result_of(floor={ECHO: series_of([0.5])}, exit_code=3, verdict="FAIL", error="why"))
    lines = text.splitlines()
    assert lines[1] == "rpc: 50 users, 1000/s constant"
    assert any(line.split() == ["p99_ms", "2.00", "ms", "<=", "20", "ok"] for line in lines)
    assert any(line.startswith(ECHO) and line.endswith("(3)") for line in lines)
    assert any("server = total − floor, estimated" in line for line in lines)
    assert lines[-1] == "verdict: FAIL: why (exit code 3)"


def test_failures_stand_beside_the_samples() -> None:
    result = result_of(latencies={ECHO: series_of([1.0], {"TIMEOUT": 2, "RATE_LIMITED": 1})})
    assert "(1, failed: 2 TIMEOUT, 1 RATE_LIMITED)" in table(result)
    assert "failed: 2 TIMEOUT, 1 RATE_LIMITED" in " ".join(read_page(result).texts)


def test_columns_are_as_wide_as_their_widest_cell_and_every_line_is_one_line() -> None:
    assert grid([("a", "b"), ("long\nname", "x")]).splitlines()[2] == "long name  x"


# -- HdrHistogram's text


@given(MILLISECONDS)
def test_percentiles_in_the_file_are_those_of_the_histogram(milliseconds: list[float]) -> None:
    histogram = Histogram()
    for each in milliseconds:
        histogram.add(each / 1000)
    made = series(histogram, {})
    *inner, last = points(made)
    for ms, share, seen in inner:
        assert ms == pytest.approx(histogram.percentile(share) * 1000, abs=1e-3)
        assert seen >= share * len(milliseconds) * (1 - 1e-12)
    assert last == (made.max, 1.0, len(milliseconds))


@given(MILLISECONDS)
def test_the_file_is_read_as_its_plotting_tools_do(milliseconds: list[float]) -> None:
    header, empty, *lines = hgrm(series_of(milliseconds)).splitlines()
    assert header.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert empty == ""
    body = [line.split() for line in lines if not line.startswith("#")]
    *plotted, last = body
    assert [len(line) for line in plotted] == [4] * len(plotted)
    assert len(last) == 3  # at 100 % the fourth column would be infinite
    for one, other in pairwise(body):
        assert float(one[0]) <= float(other[0])
        assert float(one[1]) < float(other[1])
        assert int(one[2]) <= int(other[2])
    for _, share, _, inverse in plotted:
        assert float(inverse) == pytest.approx(1 / (1 - float(share)), rel=0.01)
    footer = [line for line in lines if line.startswith("#")]
    assert [line.split("=")[0].strip() for line in footer] == ["#[Mean", "#[Max", "#[Buckets"]
    assert f"Total count    = {len(milliseconds):12d}]" in footer[1]


def test_a_million_samples_are_few_lines() -> None:
    made = Series(10**6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, [(10**6 * n, 1000) for n in range(1, 1001)])
    assert len(points(made)) < 5 * math.log2(10**6) + 10


# -- the page


def test_the_page_needs_nothing_else_and_has_every_plot() -> None:
    reader = read_page(full("fanout"), full("fanout"))
    assert reader.active == []
    assert not {"script", "link", "img", "iframe"} & set(reader.elements)
    titles = {"Wanted and done", "What moved first", "Memory and files", "Percentiles of fanout", "Recovery"}
    assert titles <= set(reader.texts)
    assert {"no worse (exit code 0)", "fanout, at 3.0 s"} <= set(reader.texts)


@settings(max_examples=25)
@given(TEXTS)
def test_any_text_is_text_in_the_page_and_in_the_file_for_ci(text: str) -> None:
    reader = read_page(full(text))
    shown = printable(text).replace("\r\n", "\n").replace("\r", "\n")
    assert shown in "".join(reader.texts).replace("\r\n", "\n").replace("\r", "\n")
    assert set(reader.elements) == set(read_page(full("x")).elements)
    suite = ElementTree.fromstring(junit(full(text)).encode())
    assert len(suite.findall("testsuite/testcase")) == 2


@given(st.text(st.characters()))
def test_any_text_makes_well_formed_xml(text: str) -> None:
    read = ElementTree.fromstring(as_xml(element("a", text, element("b", class_=text), text)).encode())
    assert (read.text or "") == printable(text).replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    "result",
    [
        result_of(latencies={}, rows=[], headline="", box=None),
        result_of(latencies={ECHO: series(Histogram(), {})}),
        result_of(seconds=seconds([None])),
        result_of(seconds=seconds([None, 1.0, None], server=lambda at: None, generator=lambda at: None)),
        result_of(seconds=seconds([0.0]), latencies={ECHO: series_of([0.0])}),
        result_of(details={"recovery": "none"}),
        result_of(details={"recovery": []}),
    ],
    ids=["nothing", "no samples", "a second without", "gaps", "zeros", "odd recovery", "no recovery"],
)
def test_a_page_of_little_is_a_page(result: Result) -> None:
    assert "verdict" not in read_page(result).open
    assert result.verdict in table(result)
    assert "Traceback" not in markdown(result, "")


# -- Markdown


def test_figures_are_shown_with_the_keys_that_limits_need() -> None:
    result = result_of(rows=[row("rate_ratio", 0.9, metric="done of wanted")])
    comment = markdown(result, "")
    assert "|done of wanted|0.9|rate&#95;ratio|" in comment
    assert "rate_ratio" in page(result, knee(result))


def test_a_run_of_a_recording_has_no_rate_of_its_own() -> None:
    assert heading(result_of(options={"rate": 50.0, "arrivals": "poisson"})).endswith("users, 50/s poisson")
    assert heading(result_of(options={"rate": 50.0, "recording": "x.lrec.gz"})).endswith("users")


def test_the_comment_leads_with_what_decides() -> None:
    text = markdown(full("x"), "It was the server.")
    assert text.index("**verdict: x: x (exit code 0)**") < text.index("|x|x|x|FAIL|") < text.index("<details>")
    assert "It was the server." in text


@settings(max_examples=25)
@given(TEXTS)
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    plain = markdown(full("x"), "x")
    assert sorted(markdown(full(text), text).count(sign) for sign in "|`*[<@") == sorted(
        plain.count(sign) for sign in "|`*[<@"
    )


# -- JUnit


def test_every_row_with_a_limit_is_a_test() -> None:
    rows = [
        row("told", 1),
        row("lost", 2, value="2", limit="0", mark="FAIL", kind="must"),
        row("fine", 0, limit="0", mark="ok", kind="must"),
        row("cpu", 0.9, limit="< 0.75", mark="INVALID", kind="health"),
        row("lag", 9, limit="< 5", mark="high", kind="health"),
    ]
    root = ElementTree.fromstring(junit(result_of(rows=rows, exit_code=3, verdict="FAIL")).encode())
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "1", "1")
    failed, invalid = suite.find("testcase/failure"), suite.find("testcase/error")
    assert failed is not None and failed.get("message") == "lost: 2, limit 0"
    assert invalid is not None and "not up to it" in invalid.get("message", "")


@pytest.mark.parametrize(("code", "errors"), [(0, "0"), (1, "1"), (3, "0"), (5, "1")])
def test_a_run_that_broke_is_an_error(code: int, errors: str) -> None:
    (suite,) = ElementTree.fromstring(junit(result_of(exit_code=code, verdict="ERROR", error="no server")).encode())
    assert suite.get("errors") == errors
