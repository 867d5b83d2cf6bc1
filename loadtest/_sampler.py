"""What the server is like in each second of a run, seen from inside and from its machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
import psutil  # type: ignore[import-untyped]  # it has no types

from liverpc.contrib.locust.attach import Attachment
from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import FoundToken, find_token
from loadtest._gate import told
from loadtest._inside import Inside
from loadtest._result import Row, ServerSecond

__all__ = ["Sampler"]

log = logging.getLogger("loadtest")

_AGAIN_SECONDS = 0.25
# A server that has refused five tokens in a minute refuses the sixth, whoever it is from; one without devtools may have
# been about to end.
_REST_SECONDS = {"refused": 15.0, "absent": 1.0, "version": 15.0}


class Sampler:
    """Looks at the server all the time, through its devtools and as a process, whatever happens to it.

    The devtools tell four times a second what changed, and once a second the figures of all connections; they are
    not asked. Without devtools, or on another machine, less is known. A server that is gone is waited for.

    Args:
        devtools: Their address, as of :func:`~liverpc.contrib.locust.target.devtools_url`.
        token_file: As of ``--attach-token-file``.
        pid: The process to look at now; None: the one that the devtools name, if it is of this user and machine.

    Attributes:
        trouble: Why nothing is seen from inside now; empty: something is.
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

    def rows(self) -> list[Row]:
        """What looking at the server cost it; nothing when it was not seen from inside."""
        if not self._inside.busy:
            return []
        share = self._inside.busy * 100
        return [told("server_watched_percent", "server: time spent on being looked at", share, "%")]

    def _run(self) -> None:
        while True:
            token = FoundToken("", renewable=False)
            try:
                token = find_token(self._url, file=self._token_file)
                attachment = Attachment.open(self._url, token.secret, want="metrics", on_state=self._inside.take)
            except (AttachError, ConfigError) as error:
                self._rest(error, token.secret)
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
            gevent.sleep(_AGAIN_SECONDS)

    def _rest(self, error: AttachError | ConfigError, secret: str) -> None:
        """Wait until it makes sense to try again."""
        if not self.trouble:
            log.info("the server is not seen from inside: %s", error)
        self.trouble = str(error)
        kind = error.kind if isinstance(error, AttachError) else "refused"
        until = time.perf_counter() + _REST_SECONDS.get(kind, _AGAIN_SECONDS)
        gevent.sleep(_AGAIN_SECONDS)
        while time.perf_counter() < until and (kind != "refused" or self._token() == secret):
            gevent.sleep(_AGAIN_SECONDS)

    def _token(self) -> str:
        """The token as it is now: that of a server which starts is there a moment after it listens."""
        try:
            return find_token(self._url, file=self._token_file).secret
        except ConfigError:
            return ""


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
        except (psutil.Error, OSError, ValueError, OverflowError):  # it is gone, or the devtools told nonsense
            return None, None, None
        now, used = time.perf_counter(), times.user + times.system
        cpu = round((used - self._used) / (now - self._at), 4) if self._used is not None else None
        self._at, self._used = now, used
        return rss, cpu, fds


def _open_files(pid: int) -> int:
    """What Linux says without listing them, which takes milliseconds when there are thousands; 0: it does not."""
    try:
        return os.stat(f"/proc/{pid}/fd").st_size
    except OSError:
        return 0
