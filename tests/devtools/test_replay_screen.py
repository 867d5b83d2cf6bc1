"""The keys of recordings: R everywhere, and those of the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from liverpc.inspector.protocol import Events, State
from liverpc_devtools.core.filter import parse
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.replaying import Player
from liverpc_devtools.core.tape import tape_of
from liverpc_devtools.taping import played
from tests.devtools.attach_frames import Hand, call, figures, full, pub
from tests.devtools.conftest import OpenBench, fed
from tests.devtools.test_recording import Studio, recorded


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "liverpc" / "recordings"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorded(Studio(tmp_path), 70)


async def test_r_records_anywhere_and_says_so(bench: OpenBench, home: Path) -> None:
    async with bench(size=(140, 36)) as app:
        await fed(app, full())
        await app.press("R")
        tape = tape_of(app.model)
        assert tape.recorder.on
        assert "REC" in await app.text()
        app.model.apply(Events(items=[pub()]))
        app.hand.now += 1
        app.model.apply(State(rev=2, at=app.model.now(), stream_stats=[figures(1, published=3)]))
        app.model.capture(parse("kind:rpc"))
        await app.press("0")
        text = await app.text()
        assert ("events 1" in text, 'only what is captured: "kind:rpc"' in text) == (True, True)
        await app.press("b")
        await app.press("R")
        assert not tape.recorder.on
        (file,) = home.iterdir()
        assert app.app.farewell() == [f"recorded to {file}"]  # waits until it is written
        index = Recording(file).index
        assert (index.events, [each.text for each in index.marks]) == (1, ["bookmark"])


async def test_a_recording_of_the_list_is_played(bench: OpenBench, home: Path) -> None:
    home.mkdir(parents=True)
    recorded(Studio(home), 5)
    async with bench() as app:
        await fed(app, full())
        assert "prod-a" in await app.press("0")
        await app.press("enter")
        assert "recording 0:0" in await app.written()
        assert len(app.app.panes) == 2


async def test_keys_for_playing_are_offered_only_while_something_is_played(bench: OpenBench, home: Path) -> None:
    async with bench(size=(120, 30)) as it:
        keys = (await it.press("0")).splitlines()[-1]
        assert (". step" in keys, "? help" in keys) == (False, True)


async def test_a_broken_file_in_the_list_is_told(bench: OpenBench, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "x.lrec.gz").write_bytes(b"hello")
    async with bench(size=(140, 36)) as app:
        await fed(app, full())
        assert "no recording" in await app.press("0")
        await app.press("enter")
        await app.written()
        assert any("is no recording" in each.message for each in app.app._notifications)  # on the screen it is wrapped
        assert len(app.app.panes) == 1


def _player(app: object) -> Player:
    player = app.app.panes[0].model.tape.player  # type: ignore[attr-defined]  # an app that replays
    assert isinstance(player, Player)
    return player


async def test_the_keys_of_a_recording(bench: OpenBench, path: Path) -> None:
    served = played(path)
    clock = Hand()
    player = served.feed
    assert isinstance(player, Player)
    player._clock = clock
    player.seek(0)
    async with bench(size=(120, 36), replayed=served) as app:
        text = await app.press("0")
        assert "00:00:00" in text
        assert "00:01:10" in text
        await app.press("space")
        assert player.paused
        assert "paused" in await app.text()
        await app.press("full_stop", "full_stop")
        assert player.time() == 2.0
        await app.press("comma")
        assert player.time() == 1.0
        await app.press("right")
        assert player.time() == 11.0
        await app.press("shift+right")
        assert player.time() == 70.0
        await app.press("shift+left", "left")
        assert player.time() == 0.0
        await app.press("plus")
        assert player.speed == 2.0
        await app.press("underscore", "underscore")
        assert player.speed == 0.5
        await app.press("t", *"+30s", "enter")
        assert player.time() == 30.0
        assert "no time" in await app.press("t", *"soon", "enter")
        assert "bookmark at 00:00:30" in await app.press("b")
        assert [each.at for each in Recording(path).index.marks] == [30.0]
        await app.press("left", "enter")
        assert player.time() == 30.0
        assert "this is a recording already" in await app.press("R")
        for key in ("x", "D", "X"):
            await app.press(key)
        assert len(app.app.screen_stack) == 1
        assert "nothing can be changed" in await app.text()


async def test_every_screen_shows_the_moment(bench: OpenBench, path: Path) -> None:
    served = played(path, begin="40")
    player = served.feed
    assert isinstance(player, Player)
    player.pause()
    async with bench(replayed=served) as app:
        assert "a" in await app.press("2")
        assert served.model.rows.streams[1].stats.published == 41
        assert await app.press("3")


async def test_it_fits_a_narrow_terminal(bench: OpenBench, path: Path) -> None:
    async with bench(size=(60, 16), replayed=played(path)) as app:
        assert "00:01:10" in await app.press("0")


async def test_when_records_what_is_waited_for(bench: OpenBench, home: Path) -> None:
    async with bench(size=(140, 36), bell=False) as app:
        await fed(app, full())
        for key in ":when ok:false":
            await app.press({":": "colon", " ": "space"}.get(key, key))
        assert "waiting for ok:false" in await app.press("enter")
        text = await fed(app, Events(items=[call(ok=False)]))
        assert "RATE_LIMITED" in text
        assert "waiting for 1, came 1 times" in await app.press("0")
        (line,) = app.app.farewell()
        assert line.startswith(f"recorded to {home}")


async def test_recording_and_waiting_can_begin_with_the_program(bench: OpenBench, tmp_path: Path) -> None:
    async with bench(size=(140, 36), record=tmp_path / "r.lrec.gz", when=["ok:false"]) as app:
        tape = tape_of(app.model)
        assert (tape.recorder.path, [each.text for each in tape.triggers.waiting]) == (
            tmp_path / "r.lrec.gz",
            ["ok:false"],
        )
        app.app.when("- ok:false")
        assert tape.triggers.waiting == []
        tape.recorder.problem = "the disk is full"
        assert "the recording ended: the disk is full" in await app.text()
        assert not tape.recorder.on
        app.app.farewell()
