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

from liverpc.inspector.protocol import ClientFrame
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recording import Recorder
from liverpc_devtools.core.replaying import Player
from liverpc_devtools.taping import played
from tests.devtools.attach_frames import WALL, Hand, welcome
from tests.devtools.conftest import Bench, OpenBench
from tests.devtools.scene import AT, SECONDS, answer, frames, later

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
#: The others differ from state to state in the frame only, which is the same everywhere.
IN_EVERY_STATE = {digit: SCREENS[digit] for digit in "1239"}


@pytest.fixture(autouse=True)
def _the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    for each in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{each}_HOME", "/nowhere")
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


def same(name: str, now: str) -> None:
    """Compare with what was drawn before."""
    file = HERE / f"{name}.txt"
    now = "\n".join(line.rstrip() for line in now.splitlines()) + "\n"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(now)
    before = file.read_text()
    difference = difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", lineterm="", n=1)
    assert now == before, "\n".join(difference)


async def drawn(bench: Bench, screens: dict[str, str], *keys: str) -> str:
    """Screens after these keys on each, which undo what they did when they are pressed again."""
    texts = []
    for digit, name in screens.items():
        await bench.pilot.press(digit, *keys)
        text = await served(bench)
        texts.append(f"=== {digit} {name}\n{text}")
        if keys:
            await bench.pilot.press(*keys)
    return "\n".join(texts)


async def served(bench: Bench) -> str:
    """The screen when the server has answered all that it was asked."""
    text = await bench.text()
    while bench.sent:
        asked = list(bench.sent)
        bench.sent.clear()
        for each in asked:
            if (told := answer(each)) is not None:
                bench.model.apply(told)
        text = await bench.text()
    return text


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_screens_look_as_they_did(bench: OpenBench, size: tuple[int, int]) -> None:
    shape = f"{size[0]}x{size[1]}"
    async with bench(size, granted="admin") as opened:
        await feed(opened)
        same(f"connected-{shape}", await drawn(opened, SCREENS))
        same(f"paused-{shape}", await drawn(opened, IN_EVERY_STATE, "space"))
        opened.hand.now += 4
        same(f"stale-{shape}", await drawn(opened, IN_EVERY_STATE))
        opened.model.heard(1000.0)
        opened.model.apply(later(chaos=True))
        opened.hand.now = AT + SECONDS + 0.25 - 1000.0
        text = await drawn(opened, IN_EVERY_STATE)
        assert text.count("CHAOS ARMED") == len(IN_EVERY_STATE)
        same(f"chaos-{shape}", text)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_without_colours_the_screens_say_the_same(bench: OpenBench, size: tuple[int, int]) -> None:
    shape = f"{size[0]}x{size[1]}"
    async with bench(size, granted="admin", theme="mono") as opened:
        await feed(opened)
        opened.model.apply(later(chaos=True))
        opened.hand.now = AT + SECONDS + 0.25 - 1000.0
        same(f"mono-{shape}", await drawn(opened, IN_EVERY_STATE))
        assert not colours(opened), "a terminal without colours was given some"


def colours(bench: Bench) -> set[Any]:
    """Those of the screen as it is now."""
    strips = bench.app.screen._compositor.render_strips()
    found = {each.style.color for strip in strips for each in strip if each.style is not None}
    return {each for each in found if each is not None and not each.is_default}


#: Pressed before the picture is taken, so that it shows something worth showing.
POSED = {"streams": ("j", "j"), "rpc": ("j",), "events": ("j", "j"), "rooms": ("enter",)}


async def test_the_pictures_of_the_manual_are_of_this_program(bench: OpenBench) -> None:
    async with bench((132, 36), granted="admin") as opened:
        await feed(opened)
        for digit, name in SCREENS.items():
            if name == "chaos":
                opened.model.apply(later(chaos=True))
            if name != "record":
                await opened.pilot.press(digit, *POSED.get(name, ()))
                await served(opened)
                picture(name, opened.app.export_screenshot(title=f"liverpc-tui: {name}"))
        await opened.pilot.press("5", "g", "j", "j", "enter")
        await served(opened)
        picture("chain", opened.app.export_screenshot(title="liverpc-tui: what a call led to"))


async def test_the_picture_of_a_recording_is_of_this_program(
    bench: OpenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hand = Hand()
    model = Model(monotonic=hand)
    model.attached(welcome(), list[ClientFrame]().append)
    recorder = Recorder(model, folder=Path("recordings"), monotonic=hand, wall=lambda: WALL)
    path = recorder.start()
    for frame in frames():
        hand.now = max(hand.now, getattr(frame, "at", 0.0) - 1000.0)
        model.heard(1000.0)
        model.apply(frame)
    recorder.stop()
    replayed = played(path)
    player = replayed.feed
    assert isinstance(player, Player)
    player._clock = Hand()
    player.seek(12)
    async with bench((132, 36), replayed=replayed) as opened:
        await opened.press("0", "b")
        picture("record", opened.app.export_screenshot(title="liverpc-tui: record"))


def picture(name: str, svg: str) -> None:
    """Compare with the manual's."""
    svg = re.sub(r"terminal-\d+-", f"{name}-", svg)
    file = MANUAL / f"{name}.svg"
    if WRITE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(svg)
    assert file.read_text() == svg, f"{file.name} shows another program; LIVERPC_PICTURES=write draws it anew"
