"""The floor of a run: kept, found again by runs that are like it, and by no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from liverpc.errors import ConfigError
from loadtest._box import box
from loadtest._cores import pin_generator, split
from loadtest._floor import floor_of, keep
from loadtest._result import Box, Result
from tests.loadtest.load_kit import ROOT
from tests.loadtest.made_up import made_up_result


def run(**changes: Any) -> Result:
    here = Box("here", "a CPU", 2, "a kernel", "a Python")
    options = {"users": 50, "rate": 50.0, "seed": "1", "seconds": 30.0}
    made = msgspec.structs.replace(made_up_result(), exit_code=0, box=here, options=options)
    return msgspec.structs.replace(made, **changes)


def test_a_floor_is_found_by_runs_like_it(tmp_path: Path) -> None:
    assert floor_of(tmp_path, run()) == {}
    measured = run()
    path = keep(tmp_path, measured)
    assert path.parent == tmp_path / "calibration"
    # The order of the options, the length of the run and its seed make no difference.
    longer = {"seconds": 60.0, "seed": "2", "rate": 50.0, "users": 50}
    assert floor_of(tmp_path, run(options=longer, warmup=5.0, exit_code=3)) == measured.latencies


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": "rpc"},
        {"options": {"users": 51, "rate": 50.0}},
        {"processes": 2},
        {"box": Box("there", "a CPU", 2, "a kernel", "a Python")},
        {"box": None},
    ],
    ids=["scenario", "options", "processes", "machine", "unknown machine"],
)
def test_a_floor_is_not_found_by_other_runs(changes: dict[str, Any], tmp_path: Path) -> None:
    keep(tmp_path, run())
    assert floor_of(tmp_path, run(**changes)) == {}


def test_a_new_floor_replaces_the_old_one(tmp_path: Path) -> None:
    keep(tmp_path, run())
    keep(tmp_path, run(latencies={}))
    assert floor_of(tmp_path, run()) == {}
    assert len(list((tmp_path / "calibration").iterdir())) == 1


def test_a_run_that_did_not_pass_is_no_floor(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no floor: INVALID"):
        keep(tmp_path, run(exit_code=4, verdict="INVALID"))
    assert not any(tmp_path.iterdir())


def test_a_damaged_floor_is_named(tmp_path: Path) -> None:
    path = keep(tmp_path, run())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=f"{path}.*calibrate again"):
        floor_of(tmp_path, run())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "calibration").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        keep(tmp_path, run())


@pytest.mark.realtime
def test_a_scenario_is_calibrated_against_a_server_that_does_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "loadtest", "calibrate", "rpc", "--runs", str(tmp_path), "-t", "1s", "-u", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (tmp_path / "calibration").iterdir()
    assert msgspec.json.decode(kept.read_bytes())["latencies"]["RPC load/echo"]["count"] > 10


def test_a_box_knows_itself() -> None:
    here = box()
    assert here.fingerprint == box().fingerprint
    assert here.cpu
    assert here.cores >= 1
    assert here.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert {"liverpc", "locust", "gevent", "msgspec", "websockets"} == here.versions.keys()
    assert here.limits["open files"]
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    commit = here.commit.rstrip("+")
    assert known.stdout.startswith(commit)
    assert bool(commit) is (known.returncode == 0)


def test_what_cannot_be_pinned_is_said(caplog: pytest.LogCaptureFixture) -> None:
    pin_generator(None)
    assert "share their cores" in caplog.text
    cores = split()
    assert cores is None or (len(cores[0]) == 1 and cores[1] and not cores[0] & cores[1])
