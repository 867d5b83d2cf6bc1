"""Several servers at once, themes, and terminals that can do little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import ChaosChanged, ChaosClear, ClientFrame, ServerInfo
from liverpc_devtools.core.model import Model
from liverpc_devtools.screens.server import Served
from liverpc_devtools.widgets import themes
from liverpc_devtools.widgets.palette import style
from liverpc_devtools.widgets.themes import THEMES
from tests.devtools.attach_frames import WALL, Hand, full, welcome
from tests.devtools.conftest import TOPICS, Bench, OpenBench, fed
from tests.devtools.test_devtools_app import rule
from tests.devtools.test_shell_keys import say

pytestmark = pytest.mark.realtime


@pytest.fixture(autouse=True)
def same_theme_after() -> Iterator[None]:
    yield
    themes.wear("dark")


class Other:
    """Another server beside the one of the bench."""

    def __init__(self, name: str = "prod-b") -> None:
        self.hand, self.sent = Hand(), list[ClientFrame]()
        self.model = Model(monotonic=self.hand)
        self.name = name

    def attach(self, **changes: Any) -> None:
        info = ServerInfo(self.name, "0.2.0", 2, WALL - 60)
        self.model.attached(welcome(server=info, **changes), self.sent.append)

    def served(self, **changes: Any) -> Served:
        return Served(self.model, None, f"ws://{self.name}:1", **changes)


async def test_each_server_has_a_tab_with_its_state_in_words(bench: OpenBench) -> None:
    other = Other()
    async with bench(more=[other.served()]) as it:
        await fed(it, full(topics=TOPICS))
        tabs = (await it.text()).splitlines()[0]
        assert "[1 prod-a]● live" in tabs
        assert "2 ws://prod-b:1 ○ connecting" in tabs
        assert "All" in tabs
        other.attach()
        other.model.detached("connection refused", 3.0)
        assert "2 prod-b ◐ reconnecting in 3.0s" in (await it.text()).splitlines()[0]


async def test_servers_of_one_name_are_told_apart_by_where_they_are(bench: OpenBench) -> None:
    other = Other("prod-a")
    other.attach()
    async with bench(more=[other.served()], size=(80, 24)) as it:
        await fed(it, full(topics=TOPICS))
        tabs = (await it.text()).splitlines()[0]
        assert "[1 localhost:1]● live  2 prod-a:1 ● live" in tabs
        text = await it.press("ctrl+b")
        assert all(f" {each} " in text for each in ("localhost:1", "prod-a:1"))


async def test_one_server_has_no_tabs(bench: OpenBench) -> None:
    async with bench() as it:
        assert "prod-a  ● live" in (await it.text()).splitlines()[0]
        before = await it.text()
        assert await it.press("ctrl+n", "alt+1", "ctrl+b") == before


async def test_keys_go_from_server_to_server_and_to_all(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(more=[other.served()]) as it:
        text = await fed(it, full(topics=TOPICS))
        other.model.apply(full(topics=("only:b",)))
        for keys, here in (
            (("ctrl+n",), "b"),
            (("ctrl+n",), "all"),
            (("ctrl+n",), "a"),
            (("ctrl+b",), "all"),
            (("alt+2",), "b"),
            (("alt+1",), "a"),
            (("alt+3",), "all"),
            (("3",), "a"),
        ):
            text = await it.press(*keys)
            marks = {"a": "[1 prod-a]", "b": "[2 prod-b]", "all": "[All]"}
            assert [name for name, mark in marks.items() if mark in text] == [here]
        assert "[3 RPC]" in text
        await it.press("2", "alt+2")
        assert "only:b" in await it.text()
        assert "chat:general" not in await it.text()


async def test_alt_and_a_digit_lead_to_each_of_nine_servers(bench: OpenBench) -> None:
    others = [Other() for _ in range(8)]
    async with bench(more=[each.served() for each in others]) as it:
        for number in range(9, 0, -1):
            await it.press(f"alt+{number}")
            assert it.app.here is it.app.panes[number - 1]


async def test_a_click_on_a_tab_shows_the_server(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(more=[other.served()]) as it:
        line = await it.line("2 prod-b")
        await it.pilot.click("#servers-tabs", offset=(line.index("prod-b"), 0))
        assert "[2 prod-b]" in await it.text()


async def test_all_servers_are_rows_with_totals_of_those_that_live(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(size=(200, 40), more=[other.served()]) as it:
        await fed(it, full(topics=TOPICS))
        other.model.apply(full(topics=("only:b",)))
        text = await it.press("alt+3")
        assert "[All servers] 2" in text
        assert " 2 live  conns 2  streams 4 " in text
        other.model.gone("the token was refused")
        text = await it.text()
        assert " 1 live  without 1 that is not live  conns 1  streams 3 " in text
        row = next(line for line in text.splitlines() if "prod-b" in line and "gone" in line and "observe" in line)
        assert "the token was" in row
        await it.press("j")
        assert "[2 prod-b]" in await it.press("enter")


async def test_keys_that_come_before_a_server_is_drawn_are_taken(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(more=[other.served()]) as it:
        it.app.action_next_server(1)
        it.app.action_view("rpc")
        await it.pilot.pause()
        assert "[3 RPC]" in await it.text()
        assert "[2 prod-b]" in await it.text()


async def test_x_disarms_on_every_server_and_the_bar_names_the_other(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(more=[other.served()]) as it:
        other.model.apply(ChaosChanged(active=[rule()], text="armed"))
        assert "prod-b:" in await it.line("CHAOS")
        await it.press("X")
        assert [each for each in other.sent if isinstance(each, ChaosClear)]
        assert it.of(ChaosClear) == []


async def test_a_readonly_server_offers_nothing_that_changes_it(bench: OpenBench) -> None:
    async with bench(granted="admin", readonly=True) as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("4")
        assert "admin read only" in text
        assert "x chaos" not in text
        assert "D kick" not in text
        await it.press("x", "D")
        assert len(it.app.screen_stack) == 1
        assert "redact add" in await say(it, "redact add iban")
        assert "level admin" in await it.text()


def opened(other: Other) -> Any:
    def open_it(word: str) -> Served:
        if word == "@none":
            raise ConfigError("no context @none \x1b[31m")
        return other.served()

    return open_it


async def until(it: Bench, part: str) -> str:
    text = ""
    for _ in range(200):
        text = await it.text()
        if part in text:
            return text
    raise AssertionError(f"{part!r} did not come:\n{text}")


async def test_another_server_can_be_attached_while_it_runs(bench: OpenBench) -> None:
    other = Other()
    other.attach()
    async with bench(attach=opened(other)) as it:
        await fed(it, full(topics=TOPICS))
        await say(it, "attach @none")
        assert r"no context @none \x1b[31m" in await until(it, "no context")
        await say(it, "attach ws://prod-b:1")
        await until(it, "[2 prod-b]")
        await say(it, "attach ws://prod-b:1")
        await until(it, "is attached already")
        assert "[All]" in await say(it, "server All")
        assert "[1 prod-a]" in await say(it, "server prod-a")
        assert "[2 prod-b]" in await say(it, "server 2")


async def test_hostile_names_of_servers_are_harmless(bench: OpenBench) -> None:
    other = Other("evil\x1b]0;x\u202e[red]")
    other.attach()
    async with bench(more=[other.served()]) as it:
        for keys in ("alt+2", "alt+3", "at", "escape", "ctrl+p", "escape"):
            text = await it.press(keys)
            assert "\x1b" not in text
            assert "\u202e" not in text
        await it.pilot.press("colon", *"server ev", "tab")
        assert "\x1b" not in await it.text()
        await it.press("enter")
        assert "[2 evil" in await it.text()


# -- saved views


async def test_a_saved_view_brings_everything_back(
    bench: OpenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        for line in ("filter board:", "sort subs", "column merge", "save view as mine"):
            await say(it, line)
        for line in ("filter", "column merge", "go rpc"):
            await say(it, line)
        text = await say(it, "view mine")
        assert "subs ▼" in text
        assert "merge" not in next(line for line in text.splitlines() if "topic" in line and "subs" in line)
        assert "chat:general" not in text
        assert "no view 'other'" in await say(it, "view other")
        await it.press("escape")
        await say(it, "save view remove mine")
        assert "no view 'mine'" in await say(it, "view mine")


async def test_diagnostics_hold_no_names_and_no_token(
    bench: OpenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVERPC_ATTACH_TOKEN", "secret-of-a-test")
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        target = tmp_path / "d.json"
        assert "written to" in await say(it, f"dump diagnostics {target}")
        text = target.read_text()
        assert '"phase": "live"' in text
        assert "secret-of-a-test" not in text
        assert "board:1" not in text
        assert "cannot write" in await say(it, f"dump diagnostics {target}/x")


# -- themes


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", [each.name for each in THEMES.values() if not each.plain])
def test_texts_stand_out_from_what_they_stand_on(name: str) -> None:
    theme = THEMES[name]
    for ground in ("base", "zebra", "bar", "head", "cursor", "cursor-idle"):
        for colour in theme.colours:
            if colour == "alarm" or (colour in ("dim", "error") and ground.startswith("cursor")):
                continue
            lights = sorted(_luminance(each[-7:]) for each in (theme.colours[colour], theme.grounds[ground]))
            contrast = (lights[1] + 0.05) / (lights[0] + 0.05)
            assert contrast >= (7 if name == "contrast" else 3.4), (colour, ground, round(contrast, 1))


async def test_themes_change_what_is_drawn_at_once(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        seen = set()
        for name in THEMES:
            await say(it, f"theme {name}")
            strips = it.app.screen._compositor.render_strips()
            found = {str(segment.style.color) for strip in strips for segment in strip if segment.style is not None}
            if name == "mono":
                assert found <= {"None", "Color('default', ColorType.DEFAULT)"}
                assert style("error").underline
            seen.add(frozenset(found))
        assert len(seen) == len(THEMES)


async def test_nothing_moves_when_that_is_asked(bench: OpenBench) -> None:
    async with bench(still=True) as it:
        await it.pilot.press("colon")
        await it.pilot.pause()
        assert it.app.focused is not None
        assert it.app.focused.cursor_blink is False  # type: ignore[attr-defined]  # an input
        assert len(it.app.glyphs.spinner) == 1


async def test_no_color_in_the_environment_means_no_colours(bench: OpenBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        styles = [each.style for strip in it.app.screen._compositor.render_strips() for each in strip if each.style]
        assert all(each.color is None or each.color.is_default for each in styles)
        assert all(each.bgcolor is None or each.bgcolor.is_default for each in styles)
