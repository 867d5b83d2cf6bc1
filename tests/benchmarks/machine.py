"""Processes and tools of a benchmark run: servers on one core, the load client on another."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "BUILD",
    "CLIENT_CORE",
    "LoadFailed",
    "NotRun",
    "Server",
    "client",
    "ensure_files",
    "idle_kb",
    "need_package",
    "node_modules",
    "on_core",
    "run_load",
]

BUILD = Path(__file__).parents[2] / "build" / "bench"
START_SECONDS = 20.0
SERVER_CORE, CLIENT_CORE = 0, 1


class NotRun(Exception):
    """This machine lacks what a row needs; the text says what."""


class LoadFailed(Exception):
    """A load ended early, or a server did not start; the text says why."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep processes that are started inside on one core, where the machine has one to spare."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[core % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def ensure_files(count: int) -> None:
    """Allow ``count`` open files in this process and those it starts.

    Raises:
        NotRun: The system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard not in (resource.RLIM_INFINITY,) and hard < count:
            raise NotRun(f"needs {count} open files, and `ulimit -Hn` allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@cache
def client() -> Path:
    """The compiled load client.

    Raises:
        NotRun: There is no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotRun("needs cc")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = (BUILD / "load").resolve()
    source = Path(__file__).with_name("load.c")
    done = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, text=True)
    if done.returncode:
        raise NotRun(f"needs a cc that compiles {source.name}: {done.stderr.strip()[:200]}")
    return program


@cache
def node_modules() -> str:
    """A folder from which Node resolves the package ``ws``.

    Raises:
        NotRun: Without Node, or npm, or a registry that answers.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise NotRun(f"needs {tool}")
    home = (BUILD / "node").resolve()
    if not (home / "node_modules/ws").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), "ws@8"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            raise NotRun("npm install ws took more than a minute") from None
        if done.returncode:
            raise NotRun(f"npm install ws failed: {(done.stderr.strip().splitlines() or ['without a word'])[0]}")
    return f"{home}/"


def need_package(name: str) -> None:
    """Raises:
    NotRun: The package or module does not import.
    """
    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise NotRun(f"needs {name}")


class Server:
    """A process under measurement, on its own core; the first line it prints is a JSON object about itself."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        with on_core(SERVER_CORE):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        self.pid = self._process.pid
        try:
            self.about: dict[str, Any] = self.answer(START_SECONDS)
        except BaseException:
            self.close()
            raise

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next line of the process's output.

        Raises:
            LoadFailed: It printed none in time, or ended.
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise LoadFailed(f"{' '.join(self._process.args)}: {said[-1] if said else 'no answer'}")  # type: ignore[arg-type]
        value: dict[str, Any] = json.loads(line)
        return value

    def ask(self, line: str, seconds: float) -> dict[str, Any]:
        """Send a line to the process's input and return its answer.

        Raises:
            LoadFailed: The process ended, or did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LoadFailed("the process ended") from None
        return self.answer(seconds)

    def scheduled(self) -> tuple[int, int]:
        """Nanoseconds for which the main thread ran, and for which it could have, had its core been free."""
        ran, waited, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        return int(ran), int(waited)

    def resident_kb(self) -> int:
        """Memory in use."""
        fields = Path(f"/proc/{self.pid}/status").read_text()
        return int(fields.partition("VmRSS:")[2].split()[0])

    def settle(self) -> None:
        """Wait until the process has dealt with what the last load left behind, at most three seconds."""
        end = time.monotonic() + 3
        while time.monotonic() < end:
            before, _ = self.scheduled()
            time.sleep(0.02)
            if self.scheduled()[0] - before < 1_000_000:
                return

    def close(self) -> None:
        """End the process."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run_load(server: Server, mode: str, options: Sequence[str], seconds: float) -> dict[str, float]:
    """One load of the client on a server; the fields are those of ``load.c``.

    Another one, ``waited``, is the share of the time for which other programs kept the server from its core: above a
    few percent the load measured the neighbours.

    Raises:
        NotRun: There is no client.
        LoadFailed: The server did not do what the load expects.
    """
    command = [str(client()), mode, f"port={server.about['port']}", f"pid={server.pid}", f"seconds={seconds}", *options]
    start, (_, waited) = time.monotonic_ns(), server.scheduled()
    try:
        with on_core(CLIENT_CORE):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 + 10 * seconds
            )
    except subprocess.TimeoutExpired:
        raise LoadFailed("the load did not end") from None
    if done.returncode:
        raise LoadFailed((done.stderr.strip().splitlines() or ["the load client died"])[-1])
    figures: dict[str, float] = json.loads(done.stdout)
    # Node's main thread waits for its other threads as well, which are part of the server.
    elapsed = time.monotonic_ns() - start
    figures["waited"] = min((server.scheduled()[1] - waited) / elapsed, 1 - figures["server_busy"])
    return figures


def idle_kb(server: Server, options: Sequence[str], connections: int = 3000) -> float:
    """KB of resident memory that each of so many open and idle connections takes in a fresh server."""
    command = [str(client()), "open", f"port={server.about['port']}", f"pid={server.pid}", *options]
    # The first connections load code and fill caches that all later ones share.
    subprocess.run([*command, "connections=64"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    server.settle()
    before = server.resident_kb()
    with subprocess.Popen(
        [*command, f"connections={connections}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout is not None
        if not load.stdout.readline():
            raise LoadFailed("the connections could not be opened")
        server.settle()
        return (server.resident_kb() - before) / connections
