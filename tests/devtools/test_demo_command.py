"""``demo`` and ``replay`` on a real terminal, and the demo that ends with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from liverpc.errors import AttachError
from liverpc_devtools.headless.demo import demo_server
from tests.devtools.test_devtools_pty import NORMAL, Terminal
from tests.devtools.test_recording import Studio, recorded

pytestmark = pytest.mark.realtime


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(15):
        while alive(pid):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["quit", "killed"])
async def test_the_demo_ends_with_the_program(how: str, tmp_path: Path) -> None:
    # The token of the environment is of another server; the demo's own one is found.
    terminal = Terminal("demo", "--rate", "50", "--screen", "streams", XDG_RUNTIME_DIR=str(tmp_path))
    try:
        await terminal.until(lambda text: "liverpc demo" in text and "board:everybody" in text)
        (child,) = children(terminal.pid)
        if how == "quit":
            terminal.type("\x03")
            assert await terminal.ended() == 0
        else:
            os.kill(terminal.pid, signal.SIGKILL)
            await terminal.ended()
        await until_gone(child)
    finally:
        terminal.close()


async def test_a_recording_on_a_real_terminal(tmp_path: Path) -> None:
    path = recorded(Studio(tmp_path), 70)
    terminal = Terminal("replay", str(path), "--from", "+30s", "--speed", "2x")
    try:
        await terminal.until(lambda text: "00:00:3" in text and "00:01:10" in text)
        terminal.type(" ")
        await terminal.shows("paused")
        terminal.type("q")
        assert await terminal.ended() == 0
        assert NORMAL in terminal.drawn
    finally:
        terminal.close()


def test_a_demo_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AttachError, match="did not start"), demo_server(rate=None, seed=1):
        pass
