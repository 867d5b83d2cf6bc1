"""Reconnect storms and rolling restarts, for real and small; and the figures of recovery."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._recovery import Outage, outages
from loadtest._result import Result
from tests.loadtest.load_kit import locust, result_in

STORM = ("--scenario", "reconnect_storm", "-u", "20", "--rate", "20", "--backoff", "0.3", "--calm", "0.3", "-t", "20s")


def ran(
    folder: Path, environ: dict[str, str], *arguments: str, code: int = 0
) -> tuple[Result, dict[str, float | None]]:
    """A run: its result, and its figures by key."""
    done = locust("--headless", "--only-summary", *arguments, "--run-dir", str(folder), environ=environ)
    assert done.returncode == code, done.stdout + done.stderr
    result = result_in(folder)
    return result, {row.key: row.number for row in result.rows}


@pytest.mark.realtime
def test_nothing_is_lost_when_all_sockets_are_cut(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    arguments = ("--offline", "0.4", "--no-jitter", "--processes", "2", "--host", host)
    result, figures = ran(tmp_path, environ, *STORM, *arguments)
    assert (figures["lost"], figures["duplicates"], figures["resets"], figures["values_wrong"]) == (0, 0, 0, 0)
    assert (figures["resume_ratio"], figures["readers"], figures["loads"]) == (1.0, 20, 0)
    assert figures["attempts_network"] == figures["attempts_failed"] == 20  # once while there is no network
    assert result.latencies["RC reconnect"].count == 20
    recovered = [figures[f"recovered_{percent}_s"] for percent in (50, 95, 100)]
    assert recovered == sorted(recovered, key=lambda seconds: seconds or math.inf)
    assert 0.9 < (recovered[0] or 0) < 5  # after pauses of 0.3 and 0.66 seconds
    curve = result.details["recovery"]
    assert curve[0] == [0.0, 0.0]
    assert curve[-1] == [pytest.approx(recovered[-1], abs=0.01), 1.0]
    assert [event.text for event in result.events] == ["all sockets cut", "all are back"]


@pytest.mark.realtime
def test_everybody_is_reset_once_when_the_server_is_killed(environ: dict[str, str], tmp_path: Path) -> None:
    result, figures = ran(tmp_path, environ, *STORM, "--cut", "server", "--backoff", "0.7", "--serve")
    assert (figures["resets"], figures["resets_other"], figures["resume_ratio"]) == (20, 0, 0.0)
    assert (figures["lost"], figures["values_wrong"], figures["not_back"]) == (0, 0, 0)
    assert figures["loads"] == 20
    assert [event.text for event in result.events][:2] == ["server killed", "server started"]


@pytest.mark.realtime
def test_a_server_that_keeps_too_little_fails_the_test(environ: dict[str, str], tmp_path: Path) -> None:
    environ = environ | {"LIVERPC_LIMITS_REPLAY_EVENTS": "3"}
    _, figures = ran(tmp_path, environ, *STORM, "--offline", "0.4", "--serve", code=3)
    assert figures["resets"] == figures["resets_other"] == 20


@pytest.mark.realtime
def test_who_shall_end_the_server_must_have_started_it(host: str, environ: dict[str, str]) -> None:
    done = locust("--headless", *STORM, "--cut", "server", "--host", host, environ=environ)
    assert done.returncode == 1
    assert "--cut server ends the server: let the run start one with --serve" in done.stdout


@pytest.mark.realtime
def test_restarts_are_survived_and_what_they_cost_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    environ = environ | {"LIVERPC_LIMITS_CLOSE_SECONDS": "60"}
    arguments = ("--scenario", "rolling", "-u", "10", "--backoff", "0.3", "--every", "1.5", "--serve", "-t", "3s")
    result, figures = ran(tmp_path, environ, *arguments)
    assert figures["restarts"] == 1
    assert (figures["lost"], figures["duplicates"], figures["values_wrong"], figures["not_back"]) == (0, 0, 0, 0)
    assert 0 < (figures["availability_percent"] or 0) <= 100 > (figures["live_percent"] or 100)
    assert 0 < (figures["recovery_mean_s"] or 0) <= (figures["recovery_worst_s"] or 0)
    ended, started = (event.at for event in result.events)
    assert started - ended < 15  # nobody keeps it from ending, the devtools included


MOMENTS = st.lists(st.floats(0, 100), max_size=40)


@given(MOMENTS, st.integers(1, 50))
def test_a_curve_rises_to_the_share_that_came_back(moments: list[float], users: int) -> None:
    outage = Outage(users, sorted(moments)[:users])
    curve = outage.curve()
    assert curve == sorted(curve)
    assert curve[-1][1] == pytest.approx(len(outage.back) / users, abs=1e-3)
    for share in (0.5, 0.95, 1.0):
        seconds = outage.recovered(share)
        assert sum(moment <= seconds for moment in outage.back) >= share * users or seconds == math.inf
        assert sum(moment < seconds for moment in outage.back) < share * users


def test_a_curve_has_no_more_points_than_a_plot_shows() -> None:
    curve = Outage(1001, [float(n) for n in range(1001)]).curve()
    assert len(curve) <= 202
    assert curve[-1] == (1000.0, 1.0)


def test_each_return_belongs_to_the_last_outage_before_it() -> None:
    first, second = outages([10.0, 20.0], [21.0, 12.0, 11.0, 9.0], users=2)
    assert (first.back, second.back) == ([1.0, 2.0], [1.0])
    assert (first.recovered(1.0), second.recovered(0.5), second.recovered(1.0)) == (2.0, 1.0, math.inf)
