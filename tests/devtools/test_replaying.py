"""A recording played into a model: what it shows at which moment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from liverpc.inspector.protocol import ChaosRule, Events, Look, Rooms, RoomTotals, State
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.recording import Recorder
from liverpc_devtools.core.replaying import SPEEDS, Player, moment
from tests.devtools.attach_frames import WALL, Hand, call, figures, full, pub, welcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """100 seconds: an event on ``a`` each second, a call each ten; what is gone halfway; two bookmarks."""
    hand = Hand()
    model = Model(monotonic=hand)
    model.attached(welcome(granted="admin"), lambda _: None)
    model.apply(full())
    model.apply(Rooms(at=1.0, totals=RoomTotals(7, 4, 0), full=True))
    recorder = Recorder(model, monotonic=hand, wall=lambda: WALL)
    file = recorder.start(tmp_path / "r.lrec.gz")
    for second in range(1, 101):
        hand.now += 1
        at = 1100.0 + second
        model.apply(Events(items=[pub(at=at, seq=second), *([call(at=at, number=second)] if second % 10 == 0 else [])]))
        gone = [2] if second == 50 else []
        model.apply(State(rev=second, at=at, stream_stats=[figures(1, published=second)], streams_gone=gone))
        if second in (20, 80):
            recorder.mark(f"mark {second}")
    recorder.stop()
    return file


class Cinema:
    def __init__(self, path: Path) -> None:
        self.clock = Hand()
        self.player = Player(Recording(path), clock=self.clock)
        self.model = Model(monotonic=self.player.time)
        self.player.feed(self.model)

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.player.advance()

    @property
    def published(self) -> int:
        return self.model.rows.streams[1].stats.published


@pytest.fixture
def cinema(path: Path) -> Cinema:
    return Cinema(path)


def test_time_goes_on_as_it_went_then(cinema: Cinema) -> None:
    assert (cinema.published, cinema.model.phase) == (0, "live")
    cinema.passes(10.5)
    assert (cinema.published, cinema.player.time()) == (10, 10.5)
    assert cinema.model.now() == 1110.5
    assert [each.call for each in cinema.model.calls] == ["k10"]
    cinema.passes(200)
    assert (cinema.published, cinema.player.time(), cinema.player.ended) == (100, 100.0, True)


def test_it_plays_through_parts_as_if_there_were_none(cinema: Cinema) -> None:
    for _ in range(58):
        cinema.passes(0.5)
    before = cinema.model.rows.streams[1].published.rate(cinema.model.now())
    for _ in range(6):
        cinema.passes(0.5)
    assert cinema.model.rows.streams[1].published.rate(cinema.model.now()) == pytest.approx(before, rel=0.5)
    assert cinema.published == 32


def test_a_pause_stops_time(cinema: Cinema) -> None:
    cinema.passes(5)
    cinema.player.pause()
    cinema.passes(60)
    assert (cinema.published, cinema.model.phase, cinema.model.silence) == (5, "live", 0.0)
    cinema.player.pause()
    cinema.passes(1)
    assert cinema.published == 6


def test_speeds(cinema: Cinema) -> None:
    cinema.player.faster(2)
    assert cinema.player.speed == 4.0
    cinema.passes(5)
    assert cinema.published == 20
    cinema.player.faster(-1)
    cinema.passes(5)
    assert cinema.published == 30
    cinema.player.faster(100)
    assert cinema.player.speed == SPEEDS[-1]


@pytest.mark.parametrize("at", [0.0, 0.4, 29.9, 30.0, 31.5, 59.0, 75.25, 100.0, 500.0, -3.0])
def test_seeking_shows_what_playing_would(path: Path, at: float) -> None:
    sought, played = Cinema(path), Cinema(path)
    sought.passes(90)
    sought.player.seek(at)
    played.passes(min(max(at, 0.0), 100.0))
    assert sought.player.time() == pytest.approx(played.player.time())
    assert sought.published == played.published
    assert set(sought.model.rows.streams) == set(played.model.rows.streams)
    rates = [each.model.rows.totals.published.rate(each.model.now()) for each in (sought, played)]
    assert rates[0] == pytest.approx(rates[1])
    assert sought.model.now() == pytest.approx(played.model.now())
    recent = [each.at for each in played.model.calls if each.at > played.model.now() - 30]
    assert [each.at for each in sought.model.calls][-len(recent) :] == recent or not recent
    assert all(each.at <= sought.model.now() for each in sought.model.calls)


def test_steps_go_from_event_to_event(cinema: Cinema) -> None:
    cinema.passes(29.5)
    cinema.player.step(1)
    assert (cinema.player.paused, cinema.player.time(), cinema.published) == (True, 30.0, 30)
    cinema.player.step(1)
    assert (cinema.player.time(), cinema.published) == (31.0, 31)
    for _ in range(3):
        cinema.player.step(-1)
    assert (cinema.player.time(), cinema.published) == (28.0, 28)
    cinema.player.seek(100)
    cinema.player.step(1)
    assert cinema.player.time() == 100.0
    cinema.player.seek(0.5)
    cinema.player.step(-1)
    assert cinema.player.time() == 0.0


def test_at_the_end_it_begins_again(cinema: Cinema) -> None:
    cinema.player.seek(100)
    assert cinema.player.ended
    cinema.player.pause()
    assert (cinema.player.time(), cinema.player.paused, cinema.published) == (0.0, False, 0)
    cinema.passes(1)
    assert cinema.published == 1


def test_nobody_may_do_anything_to_the_past(cinema: Cinema) -> None:
    assert (cinema.model.may_arm, cinema.model.may_kick) == (False, False)
    cinema.model.arm(ChaosRule(), 1.0)
    cinema.player.advance()
    assert "this is a recording" in cinema.model.notes[-1]


def test_questions_about_a_topic_are_answered_from_the_recording(cinema: Cinema) -> None:
    cinema.passes(40)
    cinema.model.look_at("a")
    cinema.player.advance()
    assert [each.seq for each in cinema.model.ring][-1] == 40
    cinema.passes(1)
    assert [each.seq for each in cinema.model.ring][-1] == 41


def test_rooms_are_those_of_the_moment(cinema: Cinema) -> None:
    cinema.passes(1)
    cinema.model.rooms.totals = None
    cinema.model.look(Look())
    cinema.player.advance()
    assert cinema.model.rooms.totals is not None
    assert cinema.model.rooms.totals.rooms == 7


def test_moments(cinema: Cinema) -> None:
    player = cinema.player
    cinema.passes(30)
    assert moment("+20", player) == 50.0
    assert moment("-10s", player) == 20.0
    assert moment("1m30s", player) == 90.0
    assert moment("90", player) == 90.0
    of_day = time.strftime("%H:%M:%S", time.localtime(WALL + 42))
    assert moment(of_day, player) == pytest.approx(42.0)
    for text in ("", "soon", "1x", "+", "1.2.3", "1:2:3:4", "a:b"):
        assert moment(text, player) is None, text
