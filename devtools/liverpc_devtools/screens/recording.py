"""Recordings: those there are, the one that is written, and the one that is played."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from liverpc.errors import ConfigError
from liverpc_devtools.core import lrec
from liverpc_devtools.core.lrec import Mark
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Summary, recordings
from liverpc_devtools.core.replaying import Player, moment
from liverpc_devtools.core.tape import tape_of
from liverpc_devtools.core.text import age, clean, clock, count, date, size
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, gauge
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["RecordView", "seek_bar"]

_LOOK_SECONDS = 2.0  # from one look into the folder to the next
_SEEK = 10.0
_FAR = 60.0


class RecordView(View):
    """Of a server, the recordings and the one that is written; of a recording, where it is and its bookmarks."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "open", "go to the bookmark, or play the recording", key_display="enter open", id="record.open"
        ),
        Binding("space", "pause", "stop playing, or go on", key_display="space pause", id="record.pause"),
        Binding("comma", "step(-1)", "the event before", key_display=", back", id="record.back"),
        Binding("full_stop", "step(1)", "the next event", key_display=". step", id="record.step"),
        Binding("left", f"seek(-{_SEEK})", "10 seconds back", show=False, id="record.earlier"),
        Binding("right", f"seek({_SEEK})", "10 seconds on", show=False, id="record.later"),
        Binding("shift+left", f"seek(-{_FAR})", "a minute back", show=False, id="record.far_earlier"),
        Binding("shift+right", f"seek({_FAR})", "a minute on", show=False, id="record.far_later"),
        Binding("plus", "speed(1)", "play faster", show=False, id="record.faster"),
        Binding("underscore", "speed(-1)", "play slower", show=False, id="record.slower"),
        Binding("t", "time", "go to a time, such as 12:03:30 or +2m", key_display="t time", id="record.time"),
        Binding("b", "bookmark", "set a bookmark", key_display="b bookmark", id="record.bookmark"),
    ]
    DIGIT = "0"
    TITLE = "Record"

    class Replay(Message):
        """Somebody wants to see a recording."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._tape = tape_of(model)
        self._list = _Folder(self)
        table: Table[Any] = self._recordings(glyphs) if self._tape.player is None else self._marks(glyphs)
        super().__init__(model, glyphs, table, id="record")
        self._bar = Bar("bar", id="seek")
        self._payload = Payload(id="recorded")
        self._shown: list[Line] | None = None

    def compose(self) -> ComposeResult:
        yield self._bar
        yield self.table
        yield Input(id="time", placeholder="12:03:30, +2m, -30s, or 90 seconds from the beginning", compact=True)
        yield self._payload

    def on_mount(self) -> None:
        self.query_one("#time", Input).display = False

    @property
    def player(self) -> Player | None:
        """What plays; None: the model is of a server."""
        return self._tape.player

    @property
    def files(self) -> list[Summary]:
        """The recordings there are."""
        return self._list()

    # -- for the app --------------------------------------------------------------------------------------

    def figure(self) -> str:
        if self.player is not None:
            return "playing" if not self.player.paused else "paused"
        recorder = self._tape.recorder
        return f"REC {size(recorder.size)}" if recorder.on else ""

    def happened(self) -> int:
        return 0

    def flush(self) -> None:
        super().flush()
        player = self.player
        if player is not None:
            self._bar.show(*seek_bar(player, self.glyphs, max(self.size.width - 60, 10)))
            lines = self._played(player)
        else:
            self._bar.show(*self._recorded())
            row = self.table.selected
            lines = _about(row) if isinstance(row, Summary) else []
        if lines != self._shown:
            self._shown = lines
            self._payload.show(lines, top=True)

    def marks(self) -> Line:
        player = self.player
        if player is None:
            return super().marks()
        word = "ended " if player.ended else "paused " if player.paused else f"x{player.speed:g} "
        return [(word, "warn"), *super().marks()]

    # -- drawing ------------------------------------------------------------------------------------------

    def _recordings(self, glyphs: Glyphs) -> Table[Any]:
        return Table(
            _COLUMNS,
            self._list,
            lambda row: row.path,
            facts=lambda row: (row.path.name, row.size),
            glyphs=glyphs,
            empty=f"no recordings in {clean(str(self._tape.folder or lrec.directory()))}; R makes one",
            id="recordings",
        )

    def _marks(self, glyphs: Glyphs) -> Table[Any]:
        player = self._tape.player
        assert player is not None
        columns: list[Column[Mark]] = [
            Column("at", 9, lambda row: (_position(row.at - player.recording.begin), "number"), right=True),
            Column("time", 8, lambda row: (clock(player.wall(row.at), millis=False), "dim"), optional=1),
            Column("bookmark", 20, lambda row: (clean(row.text), "text"), lambda row: row.text, most=200),
        ]
        return Table(
            columns,
            lambda: player.recording.index.marks,
            lambda row: (row.at, row.text),
            glyphs=glyphs,
            empty="no bookmarks; b sets one",
            id="recordings",
        )

    def _recorded(self) -> tuple[list[Line], Line]:
        recorder = self._tape.recorder
        if recorder.problem:
            return [[(f" not recording: {clean(recorder.problem)} ", "error")]], []
        if not recorder.on:
            return [[(" not recording ", "dim")], [("R begins ", "text")], self._waiting(), self._narrowed()], []
        left: list[Line] = [
            [(f" {self.glyphs.dot} REC ", "error"), (f"{size(recorder.size)} ", "text")],
            [(f" {age(recorder.seconds)} ", "text")],
            [(f" events {count(recorder.events)} ", "text")],
            [(f" {clean(str(recorder.path))} ", "dim")],
        ]
        left.insert(1, self._narrowed())
        if recorder.lost:
            left.insert(1, [(f" {count(recorder.lost)} frames not written ", "warn")])
        return left, []

    def _narrowed(self) -> Line:
        """What the server does not capture is neither recorded nor waited for."""
        captured = self.model.captured
        return [(f' only what is captured: "{clean(captured)}" ', "warn")] if captured else []

    def _waiting(self) -> Line:
        triggers = self._tape.triggers
        if not triggers.waiting:
            return []
        fired = sum(each.fired for each in triggers.waiting)
        return [(f" waiting for {len(triggers.waiting)}, came {count(fired)} times ", "text")]

    def _played(self, player: Player) -> list[Line]:
        recording = player.recording
        lines = _header(recording.header, recording.index.events, len(recording.index.marks))
        if recording.index.lost:
            lines.append([("not written  ", "key"), (f"{count(recording.index.lost)} frames", "warn")])
        lines += [[("damaged      ", "key"), (clean(each), "warn")] for each in recording.problems]
        lines.append([("", "")])
        left_out = "faults, kicks, capture, where calls wait: nothing can be changed or asked in a recording"
        lines.append([("not here     ", "key"), (left_out, "dim")])
        return lines

    # -- keys ---------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pause", "step", "seek", "speed", "time"):
            return self.player is not None and not isinstance(self.screen.focused, Input)
        if action == "bookmark":
            return self.player is not None or self._tape.recorder.on
        return True

    def action_open(self) -> None:
        row, player = self.table.selected, self.player
        if isinstance(row, Mark) and player is not None:
            self._seek(row.at)
        elif isinstance(row, Summary):
            self.post_message(self.Replay(str(row.path)))

    def action_pause(self) -> None:
        if self.player is not None:
            self.player.pause()

    def action_step(self, by: int) -> None:
        if self.player is not None:
            self.player.step(by)

    def action_seek(self, by: float) -> None:
        if self.player is not None:
            self._seek(self.player.time() + by)

    def action_speed(self, by: int) -> None:
        if self.player is not None:
            self.player.faster(by)

    def action_time(self) -> None:
        line = self.query_one("#time", Input)
        line.value = ""
        line.display = True
        self.screen.set_focus(line)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != "time" or self.player is None:
            return
        event.stop()
        at = moment(event.value, self.player)
        if at is not None:
            self._seek(at)
        elif event.value.strip():
            self.post_message(self.Say(f"no time: {event.value!r}; such as 12:03:30, +2m or 90"))
        self.back()

    def back(self) -> bool:
        line = self.query_one("#time", Input)
        if line.display:
            line.display = False
            self.screen.set_focus(self.table)
            return True
        return super().back()

    def action_bookmark(self) -> None:
        player = self.player
        if player is None:
            self._tape.recorder.mark("bookmark")
            self.post_message(self.Say("bookmark set"))
            return
        at = player.time()
        try:
            player.recording.add_mark(at, f"bookmark at {_position(at - player.recording.begin)}")
        except ConfigError as error:
            self.post_message(self.Say(str(error)))
        self.table.reload()

    def _seek(self, at: float) -> None:
        assert self.player is not None
        self.player.seek(at)


class _Folder:
    """The recordings in the folder, looked at anew now and then."""

    def __init__(self, view: RecordView) -> None:
        self._view = view
        self._looked = float("-inf")
        self._rows: list[Summary] = []

    def __call__(self) -> list[Summary]:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self.look()
        return self._rows

    def look(self) -> None:
        self._looked = time.monotonic()
        self._rows = recordings(self._view._tape.folder or lrec.directory())


def seek_bar(player: Player, glyphs: Glyphs, cells: int) -> tuple[list[Line], Line]:
    """Where a recording is, how fast it goes and how long it is."""
    recording = player.recording
    at, whole = player.time() - recording.begin, recording.until - recording.begin
    word = "ended" if player.ended else "paused" if player.paused else f"x{player.speed:g}"
    bar = gauge(min(at / whole, 1.0) if whole else 1.0, min(cells, 60), glyphs)
    left: list[Line] = [
        [(f" {_position(at)} ", "strong"), (bar, "accent"), (f" {_position(whole)} ", "text")],
        [(f" {word} ", "warn" if word in ("ended", "paused") else "ok")],
        [(f" {clock(player.wall(player.time()), millis=False)} ", "dim")],
    ]
    return left, []


def _position(seconds: float) -> str:
    whole = int(max(seconds, 0.0))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _header(header: lrec.Header, events: int | None, marks: int | None) -> list[Line]:
    server = header.server
    begun = date(header.wall)
    figures = {
        "server": f"{clean(server.name)}  v{clean(server.version)}  pid {server.pid}",
        "recorded": f"{begun}  by liverpc-tui {clean(header.program)}, level {clean(header.granted)}",
        "redacted": ", ".join(map(clean, header.redacted)) or "nothing",
    }
    if events is not None:
        figures["events"] = f"{count(events)}  bookmarks {marks}"
    return [[(f"{name:<13}", "key"), (text, "text")] for name, text in figures.items()]


def _about(row: Summary) -> list[Line]:
    lines: list[Line] = [[("file         ", "key"), (clean(str(row.path)), "text")]]
    if row.header is not None:
        index = row.index
        lines += _header(row.header, *((index.events, len(index.marks)) if index is not None else (None, None)))
    if row.problem:
        lines.append([("damage       ", "key"), (clean(row.problem), "warn")])
    lines.append([("in a shell   ", "key"), (f"liverpc-tui replay {clean(str(row.path))}", "dim")])
    return lines


def _figure(of: Callable[[lrec.Index], str], ordered: Callable[[lrec.Index], float]) -> tuple[Any, Any]:
    def cell(row: Summary) -> Piece:
        return (of(row.index), "number") if row.index is not None else ("", "")

    return cell, lambda row: ordered(row.index) if row.index is not None else -1.0


def _server(row: Summary) -> str:
    return clean(row.header.server.name) if row.header is not None else "?"


def _begun(row: Summary) -> str:
    if row.header is None:
        return ""
    return date(row.header.wall, "%m-%d %H:%M:%S")


_LONG = _figure(lambda index: age(_length(index)), lambda index: _length(index))
_EVENTS = _figure(lambda index: count(index.events), lambda index: index.events)
_MARKS = _figure(lambda index: count(len(index.marks)), lambda index: len(index.marks))


def _length(index: lrec.Index) -> float:
    return index.until - index.members[0][1] if index.members else 0.0


_COLUMNS: list[Column[Summary]] = [
    Column("server", 10, lambda row: (_server(row), "strong"), _server, most=30),
    Column("when", 14, lambda row: (_begun(row), "text"), _begun, falling=True),
    Column("length", 6, *_LONG, right=True, falling=True),
    Column("size", 7, lambda row: (size(row.size), "text"), lambda row: row.size, right=True, falling=True),
    Column("events", 8, *_EVENTS, right=True, falling=True, optional=1),
    Column("marks", 5, *_MARKS, right=True, falling=True, optional=2),
    Column("state", 12, lambda row: (clean(row.problem) or "complete", "warn" if row.problem else "dim"), optional=3),
]
