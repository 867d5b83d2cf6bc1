"""Scenarios that say what a server takes: each run once, for real. Several at a time, for the clock's sake."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.loadtest.load_kit import cells, locust

pytestmark = pytest.mark.realtime

Done = subprocess.CompletedProcess[str]

_SHORT = {
    "rpc_burst": ("-u", "4", "--rate", "10", "--batch", "20", "--duplicates", "0.25", "-t", "3s"),
    "subscribe": ("-u", "5", "--rate", "20", "--rows", "1000", "-t", "3s"),
    "steps": ("-u", "4", "--rate", "50", "--step", "2", "--limit", "0.001", "--arrivals", "poisson", "-t", "30s"),
    "devtools": ("-u", "4", "--rate", "50", "--of", "rpc", "--observers", "2", "-t", "12s"),
}
_OWN_SERVER = {
    "idle": ("-u", "120", "--rate", "150", "-t", "8s"),
    "soak": ("-u", "6", "--rate", "40", "--upload-bytes", "20000", "-t", "6s"),
}


@pytest.fixture(scope="module")
def runs(
    host: str, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Done]]]:
    """All of them, begun together."""
    folder = tmp_path_factory.mktemp("runs")
    commands = {name: (*knobs, "--host", host) for name, knobs in _SHORT.items()}
    commands |= {name: (*knobs, "--serve", "--run-dir", str(folder / name)) for name, knobs in _OWN_SERVER.items()}
    with ThreadPoolExecutor(len(commands)) as pool:
        yield {
            name: pool.submit(locust, "--headless", "--only-summary", "--scenario", name, *arguments, environ=environ)
            for name, arguments in commands.items()
        }


def _table(done: Done) -> dict[str, list[str]]:
    assert done.returncode == 0, done.stdout + done.stderr
    return cells(done.stdout)


def test_a_burst_runs_each_call_once_however_often_it_is_sent(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["rpc_burst"].result())
    batches = int(table["batches of 20"][0])
    assert batches > 15
    assert table["calls, repetitions included"] == [str(25 * batches)]
    assert table["calls: repeated"] == [str(5 * batches)]
    assert table["calls: executed twice"] == ["0", "0", "ok"]


def test_first_values_are_whole_and_a_reload_is_one_for_all(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["subscribe"].result())
    assert int(table["subscribes, 1000 rows each"][0]) > 30
    assert int(table["bytes of a first value"][0]) > 40_000
    assert table["values: not the rows they should be"] == ["0", "0", "ok"]
    assert table["all at once: loads per topic"] == ["5.0"]
    assert table["all at once: loads per topic when it changes"] == ["1.0", "1", "ok"]


def test_steps_end_by_themselves_when_one_does_not_hold(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["steps"].result())
    assert table["knee: the last rate that held"] == ["0.0 /s"]
    assert table["knee: what gave way at the next"][0].startswith("p99 ")
    assert "step 2" not in table
    assert float(table["measured"][0].split()[0]) < 15
    assert any(metric.startswith("RPC load/echo step 1, 50/s") for metric in table)


def test_observers_are_told_and_users_lose_nothing(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["devtools"].result())
    assert table["calls: failed"] == ["0", "0", "ok"]
    assert int(table["observers: events told"][0]) > 0
    assert table["observers: sessions that ended"] == ["0", "0", "ok"]
    assert table["observer that was stopped: thrown out"][0].startswith("not to be expected")
    assert {"server: CPU for the observers", "throughput with observers, of that without"} <= table.keys()


def test_idle_connections_stay_and_are_weighed(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["idle"].result())
    assert table["connections lost"] == ["0", "0", "ok"]
    assert table["server: open files per connection"] == ["1.00"]
    assert float(table["server: memory per connection"][0].removesuffix(" KB")) < 200
    assert {"server: CPU per 1000 idle connections", "server: memory: growth per hour"} <= table.keys()


def test_a_soak_leaves_nothing_behind(runs: Mapping[str, Future[Done]]) -> None:
    table = _table(runs["soak"].result())
    assert int(table["publishes"][0]) > 60
    assert int(table["visits: connections made and closed"][0]) > 8
    assert int(table["uploads"][0]) > 4
    for what in ("connections", "topics", "tasks", "uploads", "open files"):
        assert table[f"server: {what} left over"] == ["0", "0", "ok"]
    assert "too short to mean much" in table["server: memory: growth per hour"][0]
