"""The program as people start it: a process on a terminal, against a server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from liverpc.inspector.protocol import Hello, Kick
from tests.devtools.fake_attach import TOKEN, FakeServer, fake_server

pytestmark = pytest.mark.realtime

ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """The other end of a pty: collects what is drawn and types keys."""

    def __init__(self, *argv: str, size: tuple[int, int] = (100, 30), token: str = TOKEN, **environ: str) -> None:
        self.drawn = ""
        self._changed = asyncio.Event()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            own = {"LIVERPC_ATTACH_TOKEN": token, "TERM": "xterm-256color", "XDG_RUNTIME_DIR": "/nonexistent"}
            # Not execv: readline has put LINES and COLUMNS where Python does not see them.
            kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
            program = [sys.executable, "-m", "liverpc_devtools.cli", *argv]
            os.execve(sys.executable, program, kept | own | environ)
        self.resize(*size)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the process is gone
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self.drawn += data.decode(errors="replace")
        self._changed.set()

    async def until(self, condition: Callable[[str], bool]) -> str:
        """Wait until what was drawn so far, without escape sequences, fulfils ``condition``."""
        async with asyncio.timeout(40):
            while not condition(text := re.sub(r"\x1b\[[0-9;?>$]*[a-zA-Z]", "", self.drawn)):
                self._changed.clear()
                await self._changed.wait()
        return text

    async def shows(self, part: str) -> None:
        """Wait until ``part`` is drawn after this moment."""
        self.drawn = ""
        await self.until(lambda text: part in text)

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(40):
            while (done := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
                await asyncio.sleep(0.01)
        return os.waitstatus_to_exitcode(done[1])

    def freeze(self) -> None:
        """Read nothing any more."""
        asyncio.get_running_loop().remove_reader(self._fd)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)


@asynccontextmanager
async def attached(*argv: str) -> AsyncIterator[tuple[FakeServer, Terminal]]:
    async with fake_server() as server:
        terminal = Terminal("attach", server.url, "--screen", "streams", *argv)
        try:
            await terminal.until(lambda text: "cursors:b12" in text)
            yield server, terminal
        finally:
            terminal.close()


async def test_a_session_on_a_real_terminal() -> None:
    async with attached("--chaos") as (server, terminal):
        assert ALTERNATE in terminal.drawn
        assert [each.want for each in server.sent(Hello)] == ["chaos"]
        await terminal.until(lambda text: "live" in text and "card-" in text)
        terminal.type("3")
        await terminal.shows("report/build")
        terminal.type("4")
        await terminal.shows("10.0.0.1")
        terminal.type("7")
        await terminal.shows("files/store")
        terminal.type("6")
        await terminal.shows("chat/tenant")
        terminal.type("2/chat")
        await terminal.shows('filter "chat" 2 shown')
        terminal.type("\r")
        terminal.resize(160, 48)
        await terminal.shows("opened by")  # a column for which 100 have no room
        server.away = True
        terminal.drawn = ""  # before the cause: the loss may be drawn while the goodbye is awaited
        await server.sockets[0].close(1001, "restarting")
        await terminal.until(lambda text: "reconnecting" in text)
        server.away = False
        await terminal.until(lambda text: "● live" in text.rpartition("reconnecting")[2])
        terminal.type("q")
        assert await terminal.ended() == 0
        assert NORMAL in terminal.drawn
        assert "Traceback" not in terminal.drawn


async def test_a_member_is_kicked_on_a_real_terminal() -> None:
    async with attached("--admin", "--screen", "streams") as (server, terminal):
        terminal.type("6")
        await terminal.shows("chat/tenant")
        terminal.type("jj\r")
        await terminal.until(lambda text: "asked to join" in text)
        terminal.type("D")
        await terminal.shows("Nobody is locked out")
        terminal.type("jj\r")
        await server.until_sent(Kick)
        (kick,) = server.sent(Kick)
        assert (kick.user, kick.for_good) == ("u_11", True)
        await terminal.until(lambda text: "closed 1 connection" in text)
        terminal.type("\x03")
        assert await terminal.ended() == 0


async def test_keys_typed_fast_leave_the_members_and_then_the_program() -> None:
    async with attached() as (_, terminal):
        terminal.type("6")
        await terminal.shows("chat/tenant")
        terminal.type("\rqq")
        assert await terminal.ended() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_the_terminal_as_it_was(how: signal.Signals) -> None:
    async with attached() as (_, terminal):
        os.kill(terminal.pid, how)
        assert await terminal.ended() == 130
        await terminal.until(lambda _: NORMAL in terminal.drawn)
        assert "\x1b[?25h" in terminal.drawn  # the cursor is back
        assert "Traceback" not in terminal.drawn


async def test_it_ends_with_its_terminal() -> None:
    async with fake_server() as server:
        terminal = Terminal("attach", server.url, "--screen", "streams")
        await terminal.until(lambda text: "cursors:b12" in text)
        terminal.close()
        assert await terminal.ended() == 130


async def test_it_ends_though_its_terminal_takes_nothing_any_more() -> None:
    async with attached() as (_, terminal):
        terminal.freeze()
        for lines in range(30, 60):
            terminal.resize(200, lines)
        os.kill(terminal.pid, signal.SIGTERM)
        assert await terminal.ended() == 130


async def test_a_refused_token_is_told_without_drawing_a_screen() -> None:
    async with fake_server() as server:
        terminal = Terminal("attach", server.url, token="not-the-token-of-it")
        assert await terminal.ended() == 3
        text = await terminal.until(lambda text: "refused" in text)
        assert ALTERNATE not in terminal.drawn
        assert text.strip().count("\n") == 0
        terminal.close()
