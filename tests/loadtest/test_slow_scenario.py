"""The scenario ``slow_consumer``: what becomes of who does not read; a server that keeps too much is noticed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from liverpc.contrib.locust.histogram import Histogram
from loadtest._gate import told
from loadtest._phases import Phases, bounded, memory_rows, p99_rows, phases_of, slow_rows
from loadtest._profile import Options
from tests.loadtest.load_kit import cells, first_url, locust, process, result_in

RUN = ("--headless", "--only-summary", "--scenario", "slow_consumer", "-u", "5", "--size", "200000", "-t", "3s")


@pytest.fixture(scope="module")
def patient(environ: dict[str, str]) -> Iterator[str]:
    """A server that keeps ever so much for those who do not read."""
    lenient = environ | {"LIVERPC_LIMITS_OUTBOX_BYTES": "1000000000", "LIVERPC_LIMITS_OUTBOX_FRAMES": "1000000"}
    with process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", "--rate", "0", environ=lenient) as running:
        yield first_url(running)


# -- a run


@pytest.mark.realtime
def test_slow_ones_are_closed_and_the_others_miss_nothing(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = locust(*RUN, "--share", "0.4", "--host", host, "--run-dir", str(tmp_path), environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["slow subscribers"] == ["2"]
    assert table["subscribers"] == ["3"]
    assert table["server: connections closed as too slow"] == ["2", "2", "ok"]
    assert table["slow: lost, twice or out of order before their end"] == ["0", "0", "ok"]
    assert table["lost"] == table["server: connections left over"] == ["0", "0", "ok"]
    written = result_in(tmp_path)
    figures = {row.key: row.number for row in written.rows}
    # Those that read on in time hear why; for the others there is no way to tell them.
    assert (figures.get("slow_close_1013") or 0) + (figures.get("slow_cut") or 0) == 2
    assert 0 < (figures["slow_closed_last_s"] or 0) < 2
    assert "2 closed as too slow" in {event.text for event in written.events}


@pytest.mark.realtime
def test_server_that_keeps_too_much_for_them_fails(patient: str, environ: dict[str, str]) -> None:
    done = locust(*RUN, "--how", "trickle", "--host", patient, environ=environ)
    assert done.returncode == 3, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["slow: neither closed nor within outbox_bytes"] == ["1", "0", "FAIL"]
    assert table["slow: served late"] == ["1"]
    assert table["slow: lost, twice or out of order before their end"] == ["0", "0", "ok"]


# -- its parts


@pytest.mark.parametrize(
    ("seconds", "warmup", "quiet", "phases"),
    [
        (30, 0, 5, Phases(5, 25)),
        (30, 6, 5, Phases(11, 25)),
        (12, 0, 5, Phases(4, 8)),  # a third each
        (15, 3, 5, Phases(7, 11)),
        (0, 2, 5, Phases(7, math.inf)),  # until it is ended
    ],
)
def test_disturbance_lies_between_two_quiet_parts(seconds: float, warmup: float, quiet: float, phases: Phases) -> None:
    assert phases_of(Options(seconds=seconds, warmup=warmup), quiet) == phases


def test_moments_belong_to_the_phase_that_begins_with_them() -> None:
    phases = Phases(5, 25)
    assert [phases.of(at) for at in (-1, 4.9, 5, 24.9, 25, 99)] == [
        "before",
        "before",
        "under",
        "under",
        "after",
        "after",
    ]


def test_ratio_is_that_of_the_series_that_suffered_most() -> None:
    def took(*milliseconds: float) -> Histogram:
        histogram = Histogram()
        for each in milliseconds:
            histogram.add(each / 1000)
        return histogram

    totals = {
        ("RPC", "a before"): took(2),
        ("RPC", "a under"): took(4),
        ("PUB", "b before"): took(10),
        ("PUB", "b under"): took(10),
        ("PUB", "b after"): took(10),
    }
    rows = {row.key: row.number for row in p99_rows(totals, {"calls": ("RPC", "a"), "events": ("PUB", "b")})}
    assert rows["healthy_p99_ratio"] == pytest.approx(2, rel=0.02)
    assert rows["events_p99_after_ms"] == pytest.approx(10, rel=0.01)
    assert "calls_p99_after_ms" not in rows
    assert p99_rows({}, {"calls": ("RPC", "a")}) == []


def test_memory_is_compared_with_the_last_quiet_moment() -> None:
    looks = [(-math.inf, 40_000_000), (4.0, 50_000_000), (6.0, 90_000_000), (math.inf, 60_000_000)]
    rows = {row.key: row.number for row in memory_rows(looks, Phases(5, 10))}
    assert rows == {"server_memory_mb": 50, "server_memory_growth_mb": 40, "server_memory_kept_mb": 10}
    assert memory_rows(looks[:2], Phases(5, 10)) == memory_rows(looks[2:], Phases(5, 10)) == []


def test_slow_ones_may_be_closed_as_slow_or_silent_or_cut_and_nothing_else() -> None:
    counts = {"slow": 5, "slow_ended close 1013": 1, "slow_ended cut": 2, "slow_ended close 1001": 1, "slow_late": 1}
    rows = {row.key: (row.number, row.mark) for row in slow_rows(counts)}
    assert rows["slow_close_1013"] == (1, "")
    assert rows["slow_wrong_endings"] == (1, "FAIL")
    assert rows["slow_kept"] == rows["slow_gaps"] == (0, "ok")


def test_bound_is_kept_up_to_itself() -> None:
    assert [bounded(told("mb", "MB", value), 2.0).mark for value in (1.9, 2.0, 2.1)] == ["ok", "ok", "FAIL"]
