"""Floors: what a run measures when the server does next to nothing, kept for later runs that are the same otherwise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from liverpc.errors import ConfigError
from loadtest._gate import PASS
from loadtest._result import Result, Series

__all__ = ["floor_of", "keep"]

_FOLDER = "calibration"
# They decide for how long it is measured, with which random numbers, and what is done to the server.
_OF_THE_RUN = {"seconds", "warmup", "abort_after", "seed", "chaos", "freeze"}


class _Same(msgspec.Struct, frozen=True):
    """What two runs must have in common for the floor of one to be that of the other."""

    box: str  #: fingerprint
    scenario: str
    processes: int
    options: dict[str, Any]


class _Floor(msgspec.Struct, frozen=True):
    of: _Same
    started: str
    latencies: dict[str, Series]


def keep(runs: Path, result: Result) -> Path:
    """Keep a run against the null server as the floor of all that are like it; returns the file, which is replaced.

    Args:
        runs: The folder with all runs.
        result: It says on which machine it ran.

    Raises:
        ConfigError: The run did not pass, so it is no floor; or the file cannot be written.
    """
    if result.exit_code != PASS:
        raise ConfigError(
            f"the run against the null server is no floor: {result.verdict}{': ' if result.error else ''}{result.error}"
        )
    of = _same(result)
    path = _path(runs, of)
    floor = _Floor(of, result.started, result.latencies)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(floor))
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def floor_of(runs: Path, result: Result) -> dict[str, Series]:
    """The floor of a run, by series; empty when none was measured on this machine with its options.

    How long a run was and its seed make no difference, nor do faults and freezes, which a floor does not have.

    Raises:
        ConfigError: There is one, and it cannot be read.
    """
    path = _path(runs, _same(result))
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Floor).latencies
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"the calibration {path} cannot be read ({error}): delete it, or calibrate again") from None


def _same(result: Result) -> _Same:
    options = {name: value for name, value in result.options.items() if name not in _OF_THE_RUN}
    box = "" if result.box is None else result.box.fingerprint
    return _Same(box, result.scenario, result.processes, options)


def _path(runs: Path, of: _Same) -> Path:
    digest = hashlib.sha256(msgspec.json.encode(of, order="deterministic")).hexdigest()[:12]
    return runs / _FOLDER / f"{of.scenario}-{digest}.json"
