"""Every screen at three sizes and in five states, and the pictures of the manual.

``LIVERPC_PICTURES=write pytest tests/devtools/test_pictures.py`` draws them anew; look at the difference before you
commit it.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc.inspector.protocol import Get, Got
from tests.devtools.conftest import Bench, OpenBench
from tests.devtools.scene import AT, DECLARED, SECONDS, frames, later

HERE = Path(__file__).parent / "pictures"
MANUAL = Path(__file__).parents[2] / "docs" / "screens"
WRITE = os.environ.get("LIVERPC_PICTURES") == "write"
SIZES = ((80, 24), (120, 35), (200, 60))
SCREENS = {
    "1": "overview",
    "2": "streams",
    "3": "rpc",
    "4": "connections",
    "5": "events",
    "6": "rooms",
    "7": "uploads",
    "9": "chaos",
    "0": "record",
    "E": "explorer",
}


@pytest.fixture(autouse=True)
def _the_same_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    time.tzset()
    monkeypatch.setattr("liverpc_devtools.screens.calls.time", SimpleNamespace(monotonic=lambda: 0.0))
    yield
    monkeypatch.undo()
    time.tzset()


async def feed(bench: Bench) -> None:
    for frame in frames():
        at = getattr(frame, "at", None)
        if at is not None:
            bench.hand.now = max(bench.hand.now, at - 1000.0)
        bench.model.heard(1000.0)
        bench.model.apply(frame)
    bench.hand.now = AT + SECONDS - 1000.0
    await bench.text()


def same(name: str, drawn: str) -> None:
    """Compare with what was drawn before."""
    file = HERE / f"{name}.txt"
    drawn = "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(drawn)
    before = file.read_text()
    difference = difflib.unified_diff(before.splitlines(), drawn.splitlines(), "before", "now", lineterm="", n=1)
    assert drawn == before, "\n".join(difference)


async def all_screens(bench: Bench, *keys: str) -> str:
    drawn = []
    for digit, name in SCREENS.items():
        text = await bench.press(digit, *keys)
        for asked in bench.of(Get):
            if asked.ref == ["declared"]:
                bench.model.apply(Got(asked.id, [], declared=DECLARED))
                text = await bench.text()
        drawn.append(f"=== {digit} {name}\n{text}")
        await bench.press(*keys)
    return "\n".join(drawn)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_screens_look_as_they_did(bench: OpenBench, size: tuple[int, int]) -> None:
    shape = f"{size[0]}x{size[1]}"
    async with bench(size, granted="admin") as opened:
        await feed(opened)
        same(f"connected-{shape}", await all_screens(opened))
        same(f"paused-{shape}", await all_screens(opened, "space"))
        opened.hand.now += 4
        same(f"stale-{shape}", await all_screens(opened))
        opened.model.heard(1000.0)
        opened.model.apply(later(chaos=True))
        opened.hand.now = AT + SECONDS + 0.25 - 1000.0
        text = await all_screens(opened)
        assert text.count("CHAOS ARMED") == len(SCREENS)
        same(f"chaos-{shape}", text)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_without_colours_the_screens_say_the_same(bench: OpenBench, size: tuple[int, int]) -> None:
    shape = f"{size[0]}x{size[1]}"
    async with bench(size, granted="admin", colour=False) as opened:
        await feed(opened)
        opened.model.apply(later(chaos=True))
        opened.hand.now = AT + SECONDS + 0.25 - 1000.0
        same(f"chaos-{shape}", await all_screens(opened))
        assert not colours(opened), "a terminal without colours was given some"


def colours(bench: Bench) -> set[Any]:
    """Those of the screen as it is now."""
    strips = bench.app.screen._compositor.render_strips()
    return {each.style.color for strip in strips for each in strip if each.style is not None} - {None}


async def test_the_pictures_of_the_manual_are_of_this_program(bench: OpenBench) -> None:
    async with bench((132, 36), granted="admin") as opened:
        await feed(opened)
        await all_screens(opened)
        for digit, name in SCREENS.items():
            await opened.press(digit)
            picture(name, opened.app.export_screenshot(title=f"liverpc-tui: {name}"))


def picture(name: str, svg: str) -> None:
    """Compare with the manual's."""
    svg = re.sub(r"terminal-\d+-", f"{name}-", svg)
    file = MANUAL / f"{name}.svg"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(svg)
    assert file.read_text() == svg, f"{file.name} shows another program; LIVERPC_PICTURES=write draws it anew"
