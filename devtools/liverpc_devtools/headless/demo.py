"""A demo server of our own, in a child process that ends with us."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liverpc.errors import AttachError
from liverpc_devtools.core.text import clean
from liverpc_devtools.headless.output import narrate

__all__ = ["demo_server"]

_SECONDS_TO_END = 5.0
_SAID = 500  # characters of what it complains about


@contextmanager
def demo_server(*, rate: int | None, seed: int) -> Iterator[str]:
    """Run ``liverpc demo`` on a free port while the block runs; gives the URL of its devtools.

    However this process ends, even killed, the demo ends, too: it notices that its standard input is closed.

    Args:
        rate: Prices that change a second; None: as many as the demo likes.
        seed: What its visitors do depends on it.

    Raises:
        AttachError: It did not start.
    """
    command = [sys.executable, "-m", "liverpc.cli", "demo", "--port", "0", "--seed", str(seed), "--until-eof"]
    if rate is not None:
        command += ["--rate", str(rate)]
    with tempfile.NamedTemporaryFile("w+", prefix="liverpc-demo-", suffix=".log", delete=False) as log:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter and options, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,  # the terminal belongs to the devtools
            text=True,
            start_new_session=True,  # Ctrl-C is for the devtools
        )
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = next((line.split()[3] for line in server.stdout if line.startswith("devtools")), "")
            if not url:
                log.seek(0)
                raise AttachError("unreachable", f"the demo did not start: {clean(log.read()[-_SAID:])}")
            yield url
        finally:
            server.stdin.close()
            try:
                server.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            server.stdout.close()
            log.seek(0)
            if log.read(1):
                narrate(f"what the demo logged is in {log.name}")
            else:
                Path(log.name).unlink()
