"""Several runs of one Locust with its web interface, whose form may say anything."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from loadtest._folder import read
from tests.loadtest.watch_kit import data_when, fetch, free_port, watched

pytestmark = pytest.mark.realtime

FORM = "user_count=3&spawn_rate=100&run_time=1s"


def state(port: int) -> str:
    """Of Locust."""
    return str(json.loads(fetch(port, "/stats/requests")[2])["state"])


def stopped(port: int) -> None:
    """Wait until Locust would start another run."""
    until = time.monotonic() + 10
    while state(port) != "stopped":
        assert time.monotonic() < until
        time.sleep(0.05)


def test_each_run_is_checked_attached_and_judged_anew(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--scenario", "fanout", "--chaos", "drop=0.1,seed=s", "-t", "2s", "--run-dir", str(tmp_path))
    web = ("--web-host", "127.0.0.1", "--web-port", str(port), "--host", host)
    with watched(*web, *arguments, environ=environ) as running:
        fetch(port, "/swarm", f"{FORM}&rate=100")
        first = data_when(port, "result")
        stopped(port)

        fetch(port, "/swarm", f"{FORM}&rate=many")
        running.until("(the options of fanout are wrong)")
        assert (state(port), data_when(port, "result")["run"]) == ("stopped", first["run"])

        fetch(port, "/swarm", f"{FORM}&rate=50")
        second = data_when(port, "result", after=first["run"])
        stopped(port)

        fetch(port, "/swarm", "user_count=3&spawn_rate=100")
        begun = data_when(port, "seconds", after=second["run"])
        fetch(port, "/swarm", "user_count=2&spawn_rate=100")  # others would count as lost
        running.until("(Ramping to 2 users)")
        until = time.monotonic() + 10
        while "result" not in (changed := json.loads(fetch(port, "/liverpc/data.json")[2])):
            assert time.monotonic() < until
            if changed["count"] > begun["count"] + 1:
                fetch(port, "/stop", "")
            time.sleep(0.1)
        assert "the number of users was changed" in changed["result"]["error"]
    for data, rate in ((first, 100), (second, 50)):
        rows = {row["key"]: row for row in data["result"]["rows"]}
        assert data["result"]["exit_code"] == 3  # the fault took something
        assert rows["publishes_wanted_per_s"]["number"] == rate
        assert {row["mark"] for key, row in rows.items() if key.startswith("fault_")} == {"ok"}
        assert rows["lost"]["number"] > 0
    assert sorted(read(folder).options["rate"] for folder in tmp_path.iterdir()) == [50, 50, 100]
