"""What is waited for: when it is told of, and what is saved of the time around it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import Events, Match, State, Unwatch, Watch, Welcome
from liverpc_devtools.core import recording, triggers
from liverpc_devtools.core.filter import FilterError
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.triggers import Triggers, desktop
from tests.devtools.attach_frames import Hand, call, figures, full, pub, welcome


class Watchman:
    def __init__(self, folder: Path, **options: Any) -> None:
        self.hand = Hand()
        self.sent: list[Any] = []
        self.model = Model(monotonic=self.hand)
        self.model.attached(welcome(), self.sent.append)
        self.model.apply(full())
        self.triggers = Triggers(self.model, folder=folder, monotonic=self.hand, **options)
        self.rev = 1

    def passes(self, seconds: float, *events: Any) -> None:
        """A second at a time, with a publish in each; at the end these events come."""
        for _ in range(int(seconds)):
            self.hand.now += 1
            self.rev += 1
            at = self.model.now()
            self.model.apply(Events(items=[pub(at=at, seq=self.rev)]))
            self.model.apply(State(rev=self.rev, at=at, stream_stats=[figures(1, published=self.rev)]))
        if events:
            self.model.apply(Events(items=list(events)))

    def failed(self, **changes: Any) -> Any:
        return call(at=self.model.now(), ok=False, number=self.rev, **changes)


@pytest.fixture
def watchman(tmp_path: Path) -> Watchman:
    return Watchman(tmp_path)


def test_the_30_seconds_before_and_after_are_saved(watchman: Watchman, tmp_path: Path) -> None:
    watchman.triggers.when("ok:false")
    watchman.passes(100)
    watchman.passes(0, watchman.failed())
    path = watchman.triggers.saving
    assert path is not None
    (alarm,) = watchman.triggers.alarms
    assert alarm.startswith("ok:false: chat/send RATE_LIMITED; saving to ")
    watchman.passes(29)
    assert watchman.triggers.saving == path
    watchman.passes(2)
    assert watchman.triggers.saving is None
    watchman.triggers.close()
    saved = Recording(path)
    assert saved.complete
    (mark,) = saved.index.marks
    assert mark.text == "ok:false"
    assert 30 <= mark.at <= 46
    assert 29 <= saved.until - mark.at <= 31
    events = [each for entry in saved.entries() if isinstance(entry.frame, Events) for each in entry.frame.items]
    times = [each.at for each in events]
    assert len(times) == len(set(times)) + 1, "the failed call came in the same moment as a publish"
    first = next(iter(saved.entries())).frame
    assert isinstance(first, Welcome)
    assert list(tmp_path.iterdir()) == [path]


def test_the_end_of_a_file_waits_for_no_disk(watchman: Watchman, monkeypatch: pytest.MonkeyPatch) -> None:
    written, slow = threading.Event(), recording._Writer._finish

    def finish(writer: recording._Writer) -> None:
        written.wait(10)
        slow(writer)

    monkeypatch.setattr(recording._Writer, "_finish", finish)
    watchman.triggers.when("ok:false")
    watchman.passes(2)
    watchman.passes(0, watchman.failed())
    path = watchman.triggers.saving
    watchman.passes(31)  # would hang here
    assert watchman.triggers.saving is None
    written.set()
    watchman.triggers.close()
    assert path is not None
    assert Recording(path).complete


def test_a_trigger_fires_once_in_10_seconds_and_counts_the_rest(watchman: Watchman) -> None:
    trigger = watchman.triggers.when("ok:false")
    watchman.passes(1)
    watchman.passes(0, watchman.failed())
    watchman.passes(9, watchman.failed())
    assert (trigger.fired, trigger.ignored, len(watchman.triggers.alarms)) == (1, 1, 1)
    watchman.passes(1, watchman.failed())
    assert (trigger.fired, trigger.ignored) == (2, 1)
    watchman.triggers.close()


def test_what_comes_while_a_file_is_written_is_a_bookmark_in_it(watchman: Watchman) -> None:
    watchman.triggers.when("ok:false")
    watchman.triggers.when("path:other")
    watchman.passes(5, watchman.failed())
    path = watchman.triggers.saving
    watchman.passes(20, watchman.failed(), call(at=watchman.model.now() + 0.5, number=9))
    watchman.passes(20)
    assert watchman.triggers.saving == path, "it goes on for 30 seconds from the last one"
    watchman.passes(20)
    assert watchman.triggers.saving is None
    watchman.triggers.close()
    assert path is not None
    assert [each.text for each in Recording(path).index.marks] == ["ok:false", "ok:false"]
    assert watchman.triggers.made == [path]


def test_there_is_an_end_to_files(watchman: Watchman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "MOST_FILES", 2)
    watchman.triggers.when("ok:false")
    for _ in range(4):
        watchman.passes(61, watchman.failed())
    watchman.passes(61)
    assert (len(watchman.triggers.made), watchman.triggers.unsaved) == (2, 2)
    assert "not saved, there are 2 files already" in watchman.triggers.alarms[-1]
    watchman.triggers.close()


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watchman = Watchman(tmp_path / "file")
    watchman.triggers.when("ok:false")
    watchman.passes(1, watchman.failed())
    assert "not saved, cannot record to" in watchman.triggers.alarms[0]
    assert watchman.triggers.unsaved == 1


def test_the_past_is_bounded(tmp_path: Path) -> None:
    watchman = Watchman(tmp_path, ring_bytes=20_000)
    watchman.triggers.when("ok:false")
    for _ in range(100):
        watchman.passes(1, pub(at=watchman.model.now(), fault="x" * 1000))
        assert sum(part.weight for part in watchman.triggers._parts) <= 22_000
    watchman.passes(0, watchman.failed())
    watchman.triggers.close()
    assert Recording(watchman.triggers.made[0]).index.events


def test_everything_is_watched_while_somebody_waits(watchman: Watchman) -> None:
    watchman.passes(40)
    assert not watchman.triggers._parts, "nothing is kept before somebody waits"
    watchman.triggers.when("a")
    watch = watchman.sent[-1]
    assert isinstance(watch, Watch)
    assert watch.match == Match()
    assert watchman.triggers.when(" a ") is watchman.triggers.waiting[0]
    assert watchman.triggers.forget("a")
    assert watchman.sent[-1] == Unwatch(id=watch.id)
    assert not watchman.triggers.forget("a")
    with pytest.raises(FilterError):
        watchman.triggers.when("(")
    with pytest.raises(ConfigError, match="say what to wait for"):
        watchman.triggers.when(" ")


def test_what_terminals_are_told_does_nothing_else_to_them() -> None:
    text = desktop("a;b\x07\x1b]0;evil\x07" + "x" * 999)
    assert text.startswith("\x1b]9;a,b\\x07\\x1b]0,evil")
    assert text.count("\x07") == text.count("\x1b") == 2
    assert len(text) < 500
