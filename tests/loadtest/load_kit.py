"""The demo server and Locust, each in a process of its own: Locust patches the one it is imported in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loadtest._folder import read
from loadtest._result import Result

ROOT = Path(__file__).parents[2]
LOCUST = Path(sys.executable).with_name("locust")
IMPATIENT = Path(__file__).with_name("impatient_locustfile.py")


@contextmanager
def process(*command: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with the block."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


def first_url(running: subprocess.Popen[str]) -> str:
    """The first URL a process prints, once it has printed everything it prints at its start."""
    assert running.stdout is not None
    url = ""
    for line in running.stdout:
        url = url or next((word for word in line.split() if word.startswith("ws")), "")
        if line.startswith("devtools"):
            return url
    raise AssertionError("the server did not start")


def locust(
    *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path = ROOT, file: Path = ROOT / "loadtest"
) -> subprocess.CompletedProcess[str]:
    """Run Locust to its end."""
    return subprocess.run(
        [LOCUST, "-f", file, *arguments],
        env=dict(os.environ) if environ is None else dict(environ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@contextmanager
def begun(
    host: str, environ: Mapping[str, str], *arguments: str, file: Path = ROOT / "loadtest"
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A run, once its first figures were printed, and what it prints until its end, which is waited for."""
    command = [str(LOCUST), "-f", str(file), "--headless", "--host", host, *arguments]
    with subprocess.Popen(
        command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        output: list[str] = []
        try:
            while not running.stdout.readline().startswith("RPC"):
                assert running.poll() is None
            yield running, output
            output += running.stdout
        except BaseException:
            running.kill()
            raise


def cells(output: str) -> dict[str, list[str]]:
    """The verdict table: its columns by metric."""
    lines = [line.split("  ") for line in output.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {row[0]: row[1:] for row in rows if row}


def result_in(runs: Path) -> Result:
    """The only run in a folder of runs."""
    (folder,) = runs.iterdir()
    return read(folder)
