"""The server as a process of the load test, and what is seen of it from second to second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.load_kit import ROOT

pytestmark = pytest.mark.realtime

PROBE = Path(__file__).with_name("server_probe.py")


def probe(action: str, folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROBE, action, folder],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(action: str, folder: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    with probe(action, folder, environ) as running:
        out, _ = running.communicate(timeout=50)
    assert running.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]


def runs(pid: int) -> bool:
    try:
        # A dead one may be kept in the list by a parent that does not ask for it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_server_is_one_process_at_most_and_keeps_its_port(tmp_path: Path, environ: dict[str, str]) -> None:
    not_started, alive, ended, refused = said("life", tmp_path, environ)
    assert not_started == {"pid": None}
    assert alive == {"starts": 2, "same": False, "gone": True}  # the third wish for a start found it running
    assert ended == {"by_itself": True, "pid": None}  # also when it was stopped
    assert refused["pid"] is None
    assert "ended at once with exit code 2" in refused["error"]
    assert "the port is in use" in refused["error"]  # its own words


def test_the_sampler_looks_through_everything_that_happens_to_a_server(tmp_path: Path, environ: dict[str, str]) -> None:
    seen, frozen, killed, again = said("watched", tmp_path, environ)  # it never waited
    assert seen == {"missing": []}
    assert frozen["late"] > 70  # its own timer is due every 125 ms: of 200 that much is late at least
    assert (frozen["stopped"], frozen["goes_on"]) == (True, True)
    assert killed["gone"]
    assert "cannot attach" in killed["trouble"]
    assert (again["again"], again["trouble"]) == (True, "")
    assert 0 < again["busy"] < 0.5


@pytest.mark.parametrize("frozen", [False, True], ids=["that runs", "that is frozen"])
def test_a_killed_load_test_leaves_no_server_behind(frozen: bool, tmp_path: Path, environ: dict[str, str]) -> None:
    if frozen:
        (tmp_path / "frozen").touch()
    with probe("parent", tmp_path, environ) as running:
        assert running.stdout is not None
        server = json.loads(running.stdout.readline())["pid"]
        assert runs(server)
        running.kill()
    deadline = time.monotonic() + 10
    while runs(server) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert not runs(server)
    finally:
        if runs(server):
            os.kill(server, signal.SIGKILL)


def test_a_servers_port_is_free_and_none_that_a_client_could_get(tmp_path: Path, environ: dict[str, str]) -> None:
    chosen, refused = said("ports", tmp_path, environ)
    assert chosen == {"below": True, "other": -1}
    assert "no free port" in refused["error"]
