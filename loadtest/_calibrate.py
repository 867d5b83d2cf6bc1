"""Measuring a floor: the same scenario against a server that does next to nothing."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gevent import subprocess

from liverpc.errors import ConfigError
from loadtest._cores import Cores
from loadtest._floor import keep
from loadtest._folder import read
from loadtest._result import Result
from loadtest._server import NullServer

__all__ = ["SCENARIOS", "calibrate"]

SCENARIOS = ("connect", "fanout", "idle", "rpc", "rpc_burst", "steps", "subscribe")  #: of which there can be a floor
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def calibrate(scenario: str, arguments: Sequence[str], *, runs: Path, cores: Cores | None = None) -> Result:
    """Run a scenario against the null server, and keep what it measures as the floor of runs like it.

    Args:
        scenario: One of :data:`SCENARIOS`.
        arguments: Further ones of Locust's command line, such as ``-u 50 --rate 200 -t 30s``, but no host.
        runs: The folder with all runs.
        cores: The null server is kept to the first of; None: it runs where it likes.

    Raises:
        ConfigError: The run could not be made, or is no floor; the text says why.
    """
    if scenario not in SCENARIOS:
        raise ConfigError(
            f"{scenario} cannot be calibrated: the server that does nothing is enough for {', '.join(SCENARIOS)}"
        )
    with tempfile.TemporaryDirectory(prefix="liverpc-floor-") as folder:
        server = NullServer(Path(folder) / "null.log", cores=cores)
        server.start()
        try:
            command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary"]
            command += ["--scenario", scenario, "--host", server.url, "--run-dir", folder, *arguments]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        finally:
            server.kill()
        found = next(Path(folder).glob("*/summary.json"), None)
        if found is None:
            said = done.stderr.strip().rpartition("\n")[2].removeprefix("loadtest: ")
            raise ConfigError(f"{scenario} could not be calibrated: {said or f'exit code {done.returncode}'}")
        result = read(found.parent)
    keep(runs, result)
    return result
