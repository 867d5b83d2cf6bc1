"""The server as a process of the load test: it is started, killed, restarted, and stopped for moments."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess
from gevent.lock import BoundedSemaphore

from liverpc.errors import ConfigError
from loadtest._cores import Cores
from loadtest._words import Freeze

__all__ = ["Demo", "Freezer", "NullServer", "ServerProcess", "end_with_parent", "free_port"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_START_SECONDS = 20.0
_END_SECONDS = 15.0  # two and a half times ``Limits.drain_seconds``, for what comes besides
_LOOK_SECONDS = 0.02
_TAIL = 2000  # characters of the log in an error
_PR_SET_PDEATHSIG = 1
_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServerProcess:
    """A server in a process of its own. It never outlives this process, not even when both are killed.

    Its port stays the same over all restarts. Create and use it in one thread, which must live as long as it shall.

    Args:
        command: Of Python, such as ``-m module``. It must understand ``--port N`` and ``--until-eof``.
        log: Takes what it prints. An existing file is continued.
        ready: It prints a line that begins so when it listens.
        cores: To keep it to the first of; None: it runs where it likes.

    Attributes:
        url: Of its WebSocket.
        log: As given.
        starts: How often it was started.
    """

    def __init__(self, command: Sequence[str], *, log: Path, ready: str, cores: Cores | None = None) -> None:
        port = free_port()
        self.url = f"ws://127.0.0.1:{port}/ws"
        self.log = log
        self.starts = 0
        self._command = [sys.executable, *command, "--port", str(port), "--until-eof"]
        self._ready = f"\n{ready}".encode()
        self._cores = cores
        self._process: Any = None
        self._turn = BoundedSemaphore(1)  # whoever starts or ends it has it alone

    @property
    def pid(self) -> int | None:
        """Of the process; None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it, and wait until it listens. Does nothing when it runs.

        Raises:
            ConfigError: It ended at once, or did not listen in time; the text has the end of its log.
        """
        with self._turn:
            if self.pid is None:
                self._start()

    def terminate(self) -> bool:
        """End it as an operator would: it says goodbye. Returns whether it ended by itself, else it was killed."""
        with self._turn:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # or it would not hear of it
            try:
                if self._process is not None:
                    self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
                return False
            return True

    def kill(self) -> None:
        """End it with ``kill -9``, and wait until it is gone. Harmless when it is."""
        with self._turn:
            self._kill()

    def restart(self, *, kill: bool = False) -> None:
        """End it, with ``kill -9`` if asked for, and start it again; raises as :meth:`start`."""
        if kill:
            self.kill()
        else:
            self.terminate()
        self.start()

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it does not run."""
        if self._process is not None:
            self._process.send_signal(number)

    def _start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(b"\n")
            begin = log.tell() - 1
            log.flush()
            self._process = subprocess.Popen(
                self._command,
                cwd=_CHECKOUT,
                stdin=subprocess.PIPE,  # is closed when this process ends, which it watches
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the load test, which ends it in its time
                preexec_fn=end_with_parent,
            )
        if self._cores is not None:
            os.sched_setaffinity(self._process.pid, self._cores[0])
        deadline = time.monotonic() + _START_SECONDS
        while self._ready not in (said := self._said(begin)):
            code = self._process.poll()
            if code is None and time.monotonic() < deadline:
                gevent.sleep(_LOOK_SECONDS)
                continue
            self._kill()
            what = f"ended at once with exit code {code}"
            if code is None:
                what = f"did not listen within {_START_SECONDS:g} s"
            text = said.decode(errors="replace").strip()[-_TAIL:]
            raise ConfigError(f"the server {what}; its log {self.log} ends with:\n{text}")

    def _kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _said(self, begin: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read()


class Demo(ServerProcess):
    """``liverpc demo`` without its visitors and prices; arguments are those of :class:`ServerProcess`."""

    def __init__(self, log: Path, *, cores: Cores | None = None) -> None:
        command = ["-m", "liverpc.cli", "demo", "--users", "0", "--rate", "0"]
        super().__init__(command, log=log, ready="devtools ", cores=cores)


class NullServer(ServerProcess):
    """The server that does next to nothing (``_null.py``); arguments are those of :class:`ServerProcess`."""

    def __init__(self, log: Path, *, cores: Cores | None = None) -> None:
        super().__init__(["-m", "loadtest._null"], log=log, ready="server ", cores=cores)


class Freezer:
    """Stops a server's process for a moment, again and again, as a machine that swaps or a long pause would.

    Attributes:
        times: How often it did.

    Args:
        server: Whose process.
        freeze: For how long, and how often.
    """

    def __init__(self, server: ServerProcess, freeze: Freeze) -> None:
        self.times = 0
        self._server = server
        self._freeze = freeze
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin; the first time is after :attr:`Freeze.every` seconds."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End; the server runs afterwards. Harmless when it is over."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _run(self) -> None:
        due = time.perf_counter()
        while True:
            due += self._freeze.every
            gevent.sleep(max(0.0, due - time.perf_counter()))
            try:
                self._server.signal(signal.SIGSTOP)
                self.times += 1
                gevent.sleep(self._freeze.seconds)
            finally:
                self._server.signal(signal.SIGCONT)


def free_port(choose: Callable[[int, int], int] = random.randint) -> int:
    """A port of the loopback address that nobody listens on now, for a server that will come and go.

    It is none of those that the kernel gives to outgoing connections. On one of these, a client that tries to reach
    the server while it is down would sooner or later be connected to itself, and keep the port from the server.

    Raises:
        ConfigError: None was found.
    """
    low = _first_outgoing_port()
    for _ in range(100):
        port = choose(max(1024, low - 12_768), low - 1)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError("no free port was found for the server: start it yourself, and name it with --host")


def _first_outgoing_port() -> int:
    try:
        return max(2048, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))
    except OSError:
        return 49_152  # by RFC 6335, as macOS has it


def end_with_parent() -> None:
    """For ``preexec_fn`` of a new process: be killed when the one that started it ends, even while stopped."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
