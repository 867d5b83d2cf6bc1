"""One run, and series of them: processes, frozen servers, overloaded generators, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest._faults import predicted
from loadtest._folder import read
from loadtest._words import Chaos
from tests.loadtest.load_kit import ROOT, begun, cells, locust, result_in

pytestmark = pytest.mark.realtime

HEADLESS = ("--headless", "--only-summary")


def loadtest(*arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """``python -m loadtest``."""
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_several_processes_lose_exactly_what_the_fault_took(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = locust(
        *HEADLESS,
        *("--scenario", "fanout", "--processes", "2", "--chaos", "drop=0.02,seed=s", "-u", "7", "--rate", "200"),
        *("-t", "3s", "--run-dir", str(tmp_path), "--host", host),
        environ=environ,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    result = result_in(tmp_path)
    table = {row.key: row for row in result.rows}
    published = int(table["publishes"].number or 0)
    expected = predicted(Chaos(0.02, "s"), published)
    assert 3 <= len(expected) <= 30
    assert (result.processes, table["subscribers"].number, table["lost"].number) == (2, 7, 7 * len(expected))
    assert result.details["lost_publishes"] == sorted(expected)
    assert {row.mark for row in result.rows if row.key.startswith("fault_")} == {"ok"}
    assert sum(second.done.get("PUB deliver", 0) for second in result.seconds) > 0.5 * (table["deliveries"].number or 0)


def test_a_frozen_server_shows_in_the_time_from_due_and_hardly_in_that_from_send(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = locust(
        *HEADLESS,
        *("--scenario", "rpc", "--waiting", "-u", "1", "--rate", "200", "--freeze", "0.2/1", "--serve"),
        *("-t", "6s", "--run-dir", str(tmp_path)),
        environ=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    latencies = result_in(tmp_path).latencies
    assert latencies["RPC load/echo"].p99 >= 180
    assert latencies["RPC load/echo from send"].p99 < 100


def test_an_overloaded_generator_makes_a_run_invalid(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    profile = tmp_path / "hot.toml"
    profile.write_text(
        "[meta]\nmeasure = '3s'\n[generator]\ngate = true\n"
        "[rpc]\nusers = 10\nrate = 200000\nlimits = {p99_ms_max = 0.001}\n"
    )
    done = locust(*HEADLESS, "--scenario", "rpc", "--profile", str(profile), "--host", host, environ=environ)
    assert done.returncode == 4, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["generator: schedule lag p99"][-1] == "INVALID"
    assert table["RPC load/echo: p99"][-1] == "FAIL"  # which does not decide


def test_a_limit_that_is_broken_for_too_long_ends_the_run(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    profile = tmp_path / "slow.toml"
    profile.write_text(
        "[meta]\nmeasure = '1h'\nabort_after = '2s'\n[generator]\ngate = false\n"
        "[rpc]\nusers = 2\nrate = 50\nlimits = {p99_ms_max = 0.001}\n"
    )
    done = locust(*HEADLESS, "--scenario", "rpc", "--profile", str(profile), "--host", host, environ=environ)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "verdict: ABORTED" in done.stdout


def test_a_generator_process_that_dies_breaks_the_test(host: str, environ: dict[str, str]) -> None:
    arguments = ("--scenario", "rpc", "--processes", "2", "-u", "4", "-t", "4s")
    with begun(host, environ, *arguments) as (running, output):
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
    assert running.returncode == 1
    assert "a process of the load generator" in "".join(output)


def test_a_series_of_runs_is_judged_reported_and_compared(environ: dict[str, str], tmp_path: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text(
        "[meta]\nmeasure = '2s'\nrepeat = 2\njobs = 2\n[generator]\ngate = false\n[rpc]\nusers = 3\nrate = 50\n"
        "[connect]\nusers = 5\nrate = 10\n"
    )
    runs = tmp_path / "runs"
    done = loadtest("run", "--profile", str(profile), "--runs", str(runs), "--seed", "x", environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {name: sorted(runs.glob(f"*-{name}-*")) for name in ("rpc", "connect")}
    assert [len(each) for each in folders.values()] == [3, 3]  # two runs, and both as one
    whole = [path for path in folders["rpc"] if not path.name.endswith("-summary")]
    for name in (
        "summary.json",
        "metrics.jsonl",
        "report.html",
        "report.md",
        "junit.xml",
        "verdict.txt",
        "ledger.json",
    ):
        assert (whole[0] / name).stat().st_size > 0
    assert (whole[0] / "hist" / "RPC_load_echo.hgrm").exists()
    assert (whole[0] / "locust_stats.csv").exists()
    assert (whole[0] / "locust.html").exists()
    assert (whole[0] / "server.log").exists()
    result = read(whole[0])
    assert (result.options["seed"], result.options["rate"]) == ("x", 50)
    assert result.box is not None
    assert any(second.server is not None and second.server.rss_bytes for second in result.seconds)
    compared = loadtest("compare", str(whole[0]), str(whole[1]), environ=environ)
    assert compared.returncode in (0, 3)
    assert "RPC load/echo" in compared.stdout
    refused = loadtest("compare", str(whole[0]), str(folders["connect"][0]), environ=environ)
    assert refused.returncode == 2
    nothing = loadtest("compare", str(whole[0]), str(tmp_path / "x"), environ=environ)
    assert nothing.returncode == 1
    assert "is no folder" in nothing.stderr


def test_options_that_make_no_sense_are_a_usage_error_of_the_series(environ: dict[str, str], tmp_path: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text("[rcp]\nrate = 1\n")
    done = loadtest("run", "rpc", "--profile", str(profile), "--runs", str(tmp_path), environ=environ)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the profile p has a section [rcp], which is no scenario" in done.stderr


def test_the_options_of_a_scenario_are_told(environ: dict[str, str]) -> None:
    done = loadtest("options", "rpc_burst", environ=environ)
    assert done.returncode == 0, done.stderr
    assert "--arrivals" in done.stdout  # of all scenarios
    assert "--batch" in done.stdout
    assert "--mix" not in done.stdout  # of another one
    refused = loadtest("options", "rpc_brust", environ=environ)
    assert refused.returncode == 2
    assert refused.stderr.startswith("loadtest: there is no scenario rpc_brust: choose one of abuse, ")


def test_a_series_without_scenarios_is_a_usage_error(environ: dict[str, str]) -> None:
    done = loadtest("run", environ=environ)
    assert done.returncode == 2
    assert done.stderr == "loadtest: nothing to run: name scenarios, or a --profile that has some\n"
