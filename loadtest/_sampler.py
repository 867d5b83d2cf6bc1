"""What the server is like in each second of a run, seen from inside and from its machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
import psutil  # type: ignore[import-untyped]

from liverpc.contrib.locust.attach import Attachment
from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import find_token
from loadtest._inside import Inside
from loadtest._result import ServerSecond

__all__ = ["Sampler"]

_AGAIN_SECONDS = 0.25
_REFUSED_SECONDS = 15.0  # a server that refuses five tokens in a minute refuses the sixth, whoever it is from


class Sampler:
    """Looks at the server all the time, through its devtools and as a process, whatever happens to it.

    The devtools tell four times a second what changed, and once a second the figures of all connections; they are
    not asked. Without devtools, or on another machine, less is known. A server that is gone is waited for.

    Args:
        devtools: Their address, as of :func:`~liverpc.contrib.locust.target.devtools_url`.
        token_file: As of ``--attach-token-file``.
        pid: The process to look at now; None: the one that the devtools name, if it is of this user and machine.

    Attributes:
        trouble: Why nothing is seen from inside now, or was at first; empty: something is.
    """

    def __init__(
        self, devtools: str, *, token_file: str | None = None, pid: Callable[[], int | None] | None = None
    ) -> None:
        self.trouble = ""
        self._url = devtools
        self._token_file = token_file
        self._pid = pid or (lambda: self._told_pid)
        self._told_pid: int | None = None
        self._inside = Inside()
        self._process: _Process | None = None
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin to look."""
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        """Leave the server alone. Harmless when done."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @property
    def busy(self) -> float:
        """The share of its time that the server spends on being looked at lately, 0..1, by its own count."""
        return self._inside.busy

    def second(self) -> ServerSecond | None:
        """The second since the last call, without waiting; None when nothing is known of it."""
        seen = self._inside.second()
        pid = self._pid()
        if pid is None:
            self._process = None
        else:
            if self._process is None or self._process.pid != pid:
                self._process = _Process(pid)
            rss, cpu, fds = self._process.look()
            seen = msgspec.structs.replace(seen, rss_bytes=rss, cpu=cpu, fds=fds)
        return seen if seen != ServerSecond() else None

    def _run(self) -> None:
        while True:
            try:
                token = find_token(self._url, file=self._token_file)
                attachment = Attachment.open(self._url, token.secret, want="metrics", on_state=self._inside.take)
            except (AttachError, ConfigError) as error:
                self.trouble = str(error)
                refused = isinstance(error, ConfigError) or error.kind == "refused"
                gevent.sleep(_REFUSED_SECONDS if refused else _AGAIN_SECONDS)
                continue
            self.trouble = ""
            try:
                if token.renewable and token.secret:  # a server of this user left it on this machine
                    self._told_pid = attachment.server.pid
                attachment.wait()
            finally:
                attachment.close()
                self._told_pid = None
                self._inside.forget()


class _Process:
    """A process of this machine."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process: psutil.Process | None = None
        self._at = 0.0
        self._used: float | None = None

    def look(self) -> tuple[int | None, float | None, int | None]:
        """Resident bytes, share of a core since the last look, and open files; None: not known."""
        try:
            if self._process is None:
                self._process = psutil.Process(self.pid)
            with self._process.oneshot():
                times = self._process.cpu_times()
                rss = self._process.memory_info().rss
                fds = _open_files(self.pid) or self._process.num_fds()
        except psutil.Error:  # it is gone, or none of this user's
            return None, None, None
        now, used = time.perf_counter(), times.user + times.system
        cpu = (used - self._used) / (now - self._at) if self._used is not None else None
        self._at, self._used = now, used
        return rss, cpu, fds


def _open_files(pid: int) -> int:
    """What Linux says without listing them, which takes milliseconds when there are thousands; 0: it does not."""
    try:
        return os.stat(f"/proc/{pid}/fd").st_size
    except OSError:
        return 0
