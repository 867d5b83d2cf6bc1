"""What a recorder writes, and what can be read of it, whatever became of the file."""

from __future__ import annotations

import gzip
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import Events, Match, Rooms, RoomTotals, State, Unwatch, Watch, Welcome
from liverpc_devtools.core import lrec, recording
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording, recordings
from liverpc_devtools.core.recording import Recorder, Rotation, new_path
from tests.devtools.attach_frames import WALL, Hand, call, figures, full, pub, welcome

TOKEN = "a-token-that-is-in-no-file"


class Studio:
    """A model with a recorder, fed by hand."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.hand = Hand()
        self.sent: list[Any] = []
        self.model = Model(monotonic=self.hand)
        self.model.attached(welcome(redacted=["password"]), self.sent.append)
        self.model.apply(full())
        self.rev = 1
        self.recorder = Recorder(self.model, folder=folder, monotonic=self.hand, wall=lambda: WALL, **options)

    def passes(self, seconds: float, *events: Any) -> None:
        """Time passes, then events and a state arrive."""
        self.hand.now += seconds
        self.rev += 1
        if events:
            self.model.apply(Events(items=list(events)))
        self.model.apply(State(rev=self.rev, at=self.model.now(), stream_stats=[figures(1, published=self.rev)]))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def recorded(studio: Studio, seconds: int = 70) -> Path:
    path = studio.recorder.start()
    for number in range(seconds):
        studio.passes(1, pub(at=1100.0 + number, seq=number))
    studio.recorder.stop()
    return path


def frames(path: Path, member: int = 0) -> list[Any]:
    return [each.frame for each in Recording(path).entries(member)]


def test_a_recording_begins_with_a_header_and_has_a_part_for_each_30_seconds(studio: Studio) -> None:
    path = recorded(studio, 70)
    assert (path.suffix, oct(path.stat().st_mode & 0o777)) == (".gz", "0o600")
    assert path.name.startswith("prod-a-")
    played = Recording(path)
    assert (played.header.server.name, played.header.redacted, played.header.schema) == ("prod-a", ["password"], 1)
    assert played.complete
    assert played.problems == []
    assert [round(begin) for _, begin in played.index.members] == [0, 30, 60]
    assert (played.index.events, played.until) == (70, 70.0)
    for member in range(3):
        first, second, *_ = frames(path, member)
        assert isinstance(first, Welcome)
        assert isinstance(second, State)
        assert second.full
        assert [each.topic for each in second.streams] == ["a", "b"]


def test_it_is_ordinary_gzip_of_json_lines(studio: Studio) -> None:
    lines = [json.loads(line) for line in gzip.decompress(recorded(studio, 3).read_bytes()).splitlines()]
    assert lines[0]["t"] == "liverpc.recording"
    assert lines[-1]["t"] == "index"
    assert [line["frame"]["t"] for line in lines[1:3]] == ["welcome", "state"]


def test_it_begins_with_what_the_model_knows_of_the_past(studio: Studio) -> None:
    studio.model.apply(Events(items=[call(at=1050.0)]))
    path = studio.recorder.start()
    studio.recorder.stop()
    (past,) = [each for each in frames(path) if isinstance(each, Events)]
    assert [each.at for each in past.items] == [1050.0]


def test_the_later_parts_have_the_state_of_their_time(studio: Studio) -> None:
    path = recorded(studio, 35)
    state = frames(path, 1)[1]
    assert {each.id: each.published for each in state.stream_stats} == {1: 30, 2: 0}
    assert frames(path, 1)[0].at == studio.model.now() - 5


def test_rooms_are_told_anew_in_each_part(studio: Studio) -> None:
    studio.model.apply(Rooms(at=1.0, totals=RoomTotals(3, 4, 0), full=True))
    assert [each.totals.rooms for each in frames(recorded(studio, 31), 1) if isinstance(each, Rooms)] == [3]


def test_everything_is_watched_while_it_records(studio: Studio) -> None:
    studio.recorder.start()
    watch = studio.sent[-1]
    assert isinstance(watch, Watch)
    assert watch.match == Match()
    studio.recorder.stop()
    assert studio.sent[-1] == Unwatch(id=watch.id)
    assert studio.recorder.stop() is None


def test_bookmarks_are_in_the_index(studio: Studio) -> None:
    path = studio.recorder.start()
    studio.passes(2)
    studio.recorder.mark("here")
    studio.recorder.stop()
    assert [(each.at, each.text) for each in Recording(path).index.marks] == [(2.0, "here")]


def test_a_bookmark_can_be_added_later(studio: Studio) -> None:
    path = recorded(studio, 3)
    Recording(path).add_mark(1.5, "later")
    Recording(path).add_mark(0.5, "earlier")
    again = Recording(path)
    assert [each.text for each in again.index.marks] == ["earlier", "later"]
    assert len(list(again.entries())) == len([*again.entries(0)])
    assert again.problems == []
    assert gzip.decompress(path.read_bytes())


def test_what_the_disk_cannot_take_is_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = Studio(tmp_path, queue_size=3)
    monkeypatch.setattr(recording._Writer, "run", lambda self, _: self._file.close())  # it never takes anything
    path = studio.recorder.start()
    for _ in range(5):
        studio.passes(1)
    assert studio.recorder.lost == 3
    batches = studio.recorder._queue
    for _ in range(2):
        batches.get_nowait()
    studio.passes(1)
    assert [each.lost for each in list(batches.queue)[-1] if each.lost] == [3]
    studio.passes(1)
    newest = list(batches.queue)[-1]
    assert isinstance(newest[0].frame, Welcome)  # the state may have been among it
    assert path.exists()


def test_a_full_disk_ends_the_recording_and_nothing_else(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.recorder.start()
    recording_thread = studio.recorder._thread
    assert recording_thread is not None

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording._Writer, "_write", full_disk)
    studio.passes(1, pub())
    recording_thread.join(5)
    assert studio.recorder.problem == "the disk is full"
    assert not studio.recorder.on
    studio.passes(1, pub())
    studio.recorder.stop()


def test_a_disk_that_is_full_from_the_beginning_is_told(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording._Writer, "_write", full_disk)
    with pytest.raises(ConfigError, match="No space left"):
        studio.recorder.start()
    assert not studio.recorder.on
    assert not list(tmp_path.iterdir())


def test_a_next_file_that_cannot_be_made_ends_the_recording_with_a_word(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    (tmp_path / "day.2.lrec.gz").write_text("mine")
    studio.recorder.start(tmp_path / "day.lrec.gz", rotation=Rotation(size=1))
    thread = studio.recorder._thread
    for _ in range(40):
        studio.passes(1, pub())
    assert thread is not None
    thread.join(5)
    assert "File exists" in studio.recorder.problem
    assert Recording(tmp_path / "day.lrec.gz").complete
    assert (tmp_path / "day.2.lrec.gz").read_text() == "mine"


def test_an_old_file_that_somebody_else_has_removed_is_no_trouble(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    first = studio.recorder.start(tmp_path / "day.lrec.gz", rotation=Rotation(size=1, keep=60.0))
    for number in range(100):
        studio.passes(1, pub(seq=number))
        if (tmp_path / "day.2.lrec.gz").exists():
            first.unlink(missing_ok=True)
    studio.recorder.stop()
    assert not studio.recorder.problem
    assert Recording(studio.recorder.finished[-1]).complete


def test_a_recording_goes_on_in_another_file_and_old_ones_go(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    studio.recorder._wall = lambda: time.time() + 3600
    first = studio.recorder.start(tmp_path / "day.lrec.gz", rotation=Rotation(size=1, keep=60.0))
    for number in range(100):
        studio.passes(1, pub(seq=number))
    studio.recorder.stop()
    assert not first.exists()
    assert [each.name for each in studio.recorder.finished] == ["day.4.lrec.gz"]
    last = Recording(tmp_path / "day.4.lrec.gz")
    assert (last.header.part, round(last.begin), last.until) == (4, 90, 100.0)


def test_a_file_of_its_size_ends_when_there_is_to_be_no_other(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    path = studio.recorder.start(rotation=Rotation(size=1, stop=True))
    thread = studio.recorder._thread
    for _ in range(40):
        studio.passes(1)
    assert thread is not None
    thread.join(5)
    assert "has reached" in studio.recorder.problem
    assert Recording(path).complete


def test_nothing_is_overwritten(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(ConfigError, match="File exists"):
        studio.recorder.start(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="File exists"):
        studio.recorder.start(tmp_path / "link")
    one = new_path("prod/../a", WALL, tmp_path)
    one.touch()
    assert new_path("prod/../a", WALL, tmp_path).name == one.name.replace(".lrec", "-2.lrec")
    assert one.parent == tmp_path


def test_before_the_server_has_answered_there_is_nothing_to_record(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to record"):
        Recorder(Model(), folder=tmp_path).start()


# -- damaged and hostile files


def test_a_file_without_a_trailer_is_read_as_far_as_it_goes(studio: Studio) -> None:
    path = recorded(studio, 70)
    whole = path.read_bytes()
    third = Recording(path).index.members[2][0]
    path.write_bytes(whole[: third + 60])
    played = Recording(path)
    assert not played.complete
    assert len(played.index.members) >= 2
    assert "breaks off" in played.problems[0]
    assert sum(isinstance(each.frame, Events) for each in played.entries()) >= 59
    with pytest.raises(ConfigError, match="cut off"):
        played.add_mark(1.0, "x")
    assert [each.text for each in played.index.marks] == ["x"]
    path.write_bytes(whole[: -lrec.FOOTER])
    assert Recording(path).index.events == 70


def test_under_steady_traffic_what_is_old_is_in_the_file(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_FLUSH_SECONDS", 0.1)
    path = studio.recorder.start()
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 0.5:  # the writer is never idle for as long as that
        number += 1
        studio.passes(0.01, pub(at=1100.0 + number, seq=number))
        time.sleep(0.01)
    copy = path.with_name("copy.lrec.gz")  # as a program that is killed now leaves it
    copy.write_bytes(path.read_bytes())
    studio.recorder.stop()
    kept = [each for each in Recording(copy).entries(0) if isinstance(each.frame, Events)]
    assert len(kept) > number / 2


def test_a_damaged_part_ends_it_with_a_word(studio: Studio) -> None:
    path = recorded(studio, 70)
    data = bytearray(path.read_bytes())
    second = Recording(path).index.members[1][0]
    data[second + 40 : second + 90] = bytes(50)
    path.write_bytes(data)
    played = Recording(path)
    assert 0 < sum(isinstance(each.frame, Events) for each in played.entries()) < 70
    assert "damaged" in played.problems[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", gzip.compress(b"hello\n"), gzip.compress(b'{"t":"other"}\n')],
    ids=["empty", "text", "no JSON", "another kind"],  # what gzip writes tells the time
)
def test_other_files_are_no_recordings(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.lrec.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no recording"):
        Recording(path)
    (row,) = recordings(tmp_path)
    assert row.problem == "no recording"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Recording(tmp_path / "none")


def test_a_recording_of_a_newer_program_is_refused(studio: Studio) -> None:
    path = recorded(studio, 1)
    text = gzip.decompress(path.read_bytes()).replace(b'"schema":1', b'"schema":9', 1)
    path.write_bytes(gzip.compress(text))
    with pytest.raises(ConfigError, match="newer"):
        Recording(path)


def test_lines_that_are_no_frames_are_left_out(studio: Studio) -> None:
    path = recorded(studio, 2)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    hostile = [b"{", b'{"at":"now"}', b'{"at":1,"frame":{"t":"new kind"}}', b"[" * 5000, b"\xff\xfe"]
    path.write_bytes(gzip.compress(b"\n".join([*lines[:-1], *hostile, lines[-1]]) + b"\n"))
    played = Recording(path)
    assert sum(isinstance(each.frame, Events) for each in played.entries()) == 2
    assert any("cannot be read" in each for each in played.problems)


def test_a_line_without_end_is_not_read(tmp_path: Path, studio: Studio) -> None:
    path = recorded(studio, 1)
    squeezer = zlib.compressobj(wbits=lrec.GZIP)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(20)) + squeezer.flush()
    path.write_bytes(path.read_bytes()[: -lrec.FOOTER] + bomb)
    assert any("longer than any" in each for each in Recording(path).problems)


def test_an_index_that_leads_out_of_the_file_is_not_believed(studio: Studio) -> None:
    path = recorded(studio, 1)
    index = lrec.Index([(1 << 40, 0.0)], 1.0, 1)
    with path.open("ab") as file:
        at = file.tell()
        file.write(lrec.packed(recording._encode(index)) + lrec.footer(at))
    assert Recording(path).index.members[0][0] < path.stat().st_size


def test_a_list_of_recordings_has_the_newest_first(tmp_path: Path) -> None:
    for number, wall in enumerate((WALL, WALL + 60)):
        studio = Studio(tmp_path)
        studio.recorder._wall = lambda wall=wall: wall  # type: ignore[misc]  # a default binds the loop's value
        studio.recorder.start(tmp_path / f"{number}.lrec.gz")
        studio.recorder.stop()
    (tmp_path / "0.lrec.gz").write_bytes((tmp_path / "0.lrec.gz").read_bytes()[: -lrec.FOOTER])
    assert [(each.path.name, each.problem) for each in recordings(tmp_path)] == [
        ("1.lrec.gz", ""),
        ("0.lrec.gz", "not finished"),
    ]
    assert recordings(tmp_path / "none") == []
    os.chmod(tmp_path / "1.lrec.gz", 0)
