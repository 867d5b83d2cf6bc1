"""A Locust process that is looked at over HTTP while it runs."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loadtest.load_kit import LOCUST, ROOT

FAKE = Path(__file__).with_name("outlets_locustfile.py")
_PATIENCE = 30.0


class Watched:
    """A Locust that runs, and what it logged until now."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""

    def until(self, pattern: str) -> str:
        """The first group of what the log shows sooner or later."""
        assert self.process.stderr is not None
        while (found := re.search(pattern, self.log)) is None:
            line = self.process.stderr.readline()
            assert line, self.log
            self.log += line
        return found[1]


@contextmanager
def watched(*arguments: str, environ: Mapping[str, str], file: Path = ROOT / "loadtest") -> Iterator[Watched]:
    """Run Locust with a block, and end it."""
    with subprocess.Popen(
        [str(LOCUST), "-f", str(file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(environ),
        cwd=ROOT,
    ) as process:
        try:
            yield Watched(process)
        finally:
            process.terminate()


def free_port() -> int:
    """One that nobody uses at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def fetch(port: int, path: str, body: str | None = None) -> tuple[int, Mapping[str, str], str]:
    """GET, or POST a form: status, headers and body of the answer; waits until somebody listens."""
    until = time.monotonic() + _PATIENCE
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        try:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("GET" if body is None else "POST", path, body, form if body is not None else {})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)
        finally:
            connection.close()


def data_when(port: int, key: str, after: int = 0, path: str = "/liverpc/data.json") -> Any:
    """What the page is told, once it is told ``key`` of a run that is not ``after``."""
    until = time.monotonic() + _PATIENCE
    while True:
        data = json.loads(fetch(port, path)[2])
        if data["run"] != after and data.get(key):
            return data
        assert time.monotonic() < until, data
        time.sleep(0.1)
