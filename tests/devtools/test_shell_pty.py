"""Contexts, several servers and the way out, on a real terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devtools.fake_attach import TOKEN, fake_server
from tests.devtools.test_devtools_pty import NORMAL, Terminal

pytestmark = pytest.mark.realtime


async def test_a_context_and_a_server_that_is_not_there_are_attached_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "liverpc").mkdir()
    (tmp_path / "token").write_text(TOKEN)
    async with fake_server() as server:
        (tmp_path / "liverpc" / "tui.toml").write_text(
            f'[keys]\n"view.freeze" = "B"\n"no.such" = "x"\n'
            f'[context.here]\nurl = "{server.url}"\ntoken_file = "{tmp_path / "token"}"\nreadonly = true\n'
        )
        arguments = ("attach", "@here", "ws://127.0.0.1:1", "--screen", "streams", "--no-color")
        terminal = Terminal(*arguments, size=(200, 40), token="")
        try:
            text = await terminal.until(lambda text: "cursors:b12" in text and "reconnecting" in text)
            assert "read only" in text
            await terminal.until(lambda text: "'no.such';" in text)
            terminal.type("B")
            await terminal.shows("frozen")
            terminal.type(":server All\r")
            await terminal.shows("1 live")
            terminal.type(":quit\r")
            assert await terminal.ended() == 0
            assert NORMAL in terminal.drawn
            assert "38;2;" not in terminal.drawn
        finally:
            terminal.close()


async def test_the_first_screen_is_the_overview() -> None:
    async with fake_server() as server:
        terminal = Terminal("attach", server.url)
        try:
            await terminal.until(lambda text: "[1 Overview]" in text and "live" in text)
            terminal.type("q")
            assert await terminal.ended() == 0
        finally:
            terminal.close()
