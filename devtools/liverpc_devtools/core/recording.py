"""Record what a model is told into a file."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import re
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import VERSION, ChaosChanged, Events, Match, Rooms, ServerFrame, State, Welcome
from liverpc_devtools.core import lrec
from liverpc_devtools.core.lrec import Entry, Header, Index, Mark
from liverpc_devtools.core.model import Model

__all__ = ["Recorder", "Rotation", "new_path", "snapshot", "version"]

_MEMBER_SECONDS = 30.0
_QUEUE = 1000  # batches of frames; some ten come in a second
_FLUSH_SECONDS = 1.0  # what a crash costs at most
_MOST_BYTES = 1 << 30  # of one file
_JOIN_SECONDS = 5.0
_PAST = 2000  # events from before the recording

_KEPT = (Welcome, State, Events, Rooms, ChaosChanged)
_encode = msgspec.json.Encoder().encode


class Rotation(msgspec.Struct, frozen=True):
    """When a recording goes on in a new file, and when old ones are removed."""

    size: int = _MOST_BYTES  #: bytes of one file
    keep: float | None = None  #: seconds after which files of this recording are removed; None: never
    stop: bool = False  #: instead of going on in a new file, end


def new_path(name: str, wall: float, folder: Path | None = None) -> Path:
    """A file of this server that does not exist yet, in the folder of recordings."""
    folder = folder or lrec.directory()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40] or "server"
    stem = f"{plain}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(wall))}"
    paths = (folder / f"{stem}{'' if number == 1 else f'-{number}'}{lrec.SUFFIX}" for number in range(1, 1000))
    return next(path for path in paths if not path.exists())


def snapshot(model: Model) -> list[ServerFrame]:
    """Frames that tell all that a model knows of the present; the welcome alone while it lacks a whole state."""
    assert model.welcome is not None
    last = model.state
    if last is None or not model.rows.complete:
        return [msgspec.structs.replace(model.welcome, session="")]
    at, rows = model.now(), model.rows
    state = msgspec.structs.replace(
        last,
        full=True,
        more=False,
        streams=[each.info for each in rows.streams.values()],
        stream_stats=[each.stats for each in rows.streams.values()],
        streams_gone=[],
        connections=[each.info for each in rows.connections.values()],
        connection_stats=[each.stats for each in rows.connections.values()],
        connections_gone=[],
        paths=[each.info for each in rows.paths.values()],
        path_stats=[each.stats for each in rows.paths.values()],
    )
    # Relates the clocks anew: they may have drifted, and it is only now known well by how much.
    welcome = msgspec.structs.replace(model.welcome, session="", at=at, wall=model.wall(at))
    frames: list[ServerFrame] = [welcome, state]
    rooms = model.rooms
    if rooms.totals is not None:
        frames.append(
            Rooms(at=at, totals=rooms.totals, full=True, rows=list(rooms.rows.values()), refused=list(rooms.refused))
        )
    return frames


class Recorder:
    """Writes what a model is told, from :meth:`start` to :meth:`stop`.

    A thread of its own encodes and writes; when it cannot keep up, frames are left out, counted, and told by the file.
    When the disk is full the recording ends, which :attr:`problem` says; the program goes on.

    Args:
        model: Whose frames. While recording it watches everything.
        folder: Where files without a name go. Default: the folder of recordings.
        monotonic: Relates arrivals to each other.
        wall: The time of day.
        queue_size: Batches of frames that may wait for the disk.

    Attributes:
        path: The file that is written, or was written last.
        finished: The files of the last recording that are complete.
        made: Every file it has made.
        size: Bytes written to the current file.
        events: Events handed over.
        lost: Frames left out.
        problem: Why the recording ended by itself; empty when it did not.
    """

    def __init__(
        self,
        model: Model,
        *,
        folder: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        queue_size: int = _QUEUE,
    ) -> None:
        self.path: Path | None = None
        self.finished: list[Path] = []
        self.made: list[Path] = []
        self.size = 0
        self.events = 0
        self.lost = 0
        self.problem = ""
        self._model = model
        self._folder = folder
        self._monotonic = monotonic
        self._wall = wall
        self._queue_size = queue_size
        self._queue: queue.Queue[list[Entry] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._ended: threading.Thread | None = None  # may still be writing
        self._watch = 0
        self._began = self._member_at = 0.0
        self._told = False
        self._unwritten = 0  # lost frames that the file does not tell of yet
        model.taps.append(self._tap)

    @property
    def on(self) -> bool:
        """Whether it records."""
        return self._thread is not None and not self.problem

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return self._monotonic() - self._began if self.on else 0.0

    def start(
        self,
        path: Path | None = None,
        *,
        rotation: Rotation | None = None,
        before: Sequence[list[Entry]] = (),
        seconds: float = 0.0,
    ) -> Path:
        """Begin, with what the model knows of the past.

        Args:
            path: The file. Default: a new one in the folder of recordings.
            rotation: Default: one file, which ends at 1 GiB.
            before: What was kept of the past by somebody else, part by part, instead of what the model knows.
            seconds: How long ago that begins.

        Raises:
            ConfigError: There is no session, or the file cannot be made.
        """
        model = self._model
        if model.welcome is None:
            raise ConfigError("there is nothing to record before the server has answered")
        self.stop()
        path = path or new_path(model.welcome.server.name, self._wall(), self._folder)
        self.size = self.events = self.lost = self._unwritten = 0
        self.problem, self.finished, self._told = "", [], False
        self._began = self._monotonic() - seconds
        writer = _Writer(path, self._header(model.welcome), rotation or Rotation(stop=True), self._wall, self)
        self.path = path
        self.made.append(path)
        self._queue = queue.Queue()
        self._thread = threading.Thread(target=writer.run, args=(self._queue,), name="recorder", daemon=True)
        self._thread.start()
        self._watch = model.watch(Match())
        if before:
            for part in before:
                self._put(part)
            self._member_at = before[-1][0].at
            return path
        past = list(islice((each for each in model.events.events()), max(len(model.events) - _PAST, 0), None))
        self._begin_member([Events(items=past)] if past else [])
        return path

    def end(self) -> Path | None:
        """End, while the rest is still being written; returns the file, or None when nothing was recorded."""
        if self._thread is None:
            return None
        self._ended, self._thread = self._thread, None
        self._model.unwatch(self._watch)
        if self._unwritten:
            self._queue.put([Entry(at=self._at(), lost=self._unwritten)])
        self._queue.put(None)
        return self.path

    def stop(self) -> Path | None:
        """End, and wait until all is written, but not longer than five seconds; returns as :meth:`end`."""
        path = self.end()
        if self._ended is not None:
            self._ended.join(_JOIN_SECONDS)
            self._ended = None
        return path

    def told(self) -> str:
        """Why the recording ended by itself, told once; empty when it did not."""
        if not self.problem or self._told:
            return ""
        self._told = True
        return self.problem

    def mark(self, text: str) -> None:
        """Set a bookmark at this moment."""
        if self.on:
            self._put([Entry(at=self._at(), mark=text or "bookmark")])

    def _at(self) -> float:
        return round(self._monotonic() - self._began, 6)

    def _header(self, welcome: Welcome) -> Header:
        return Header(
            schema=lrec.SCHEMA,
            program=version(),
            protocol=VERSION,
            server=welcome.server,
            granted=welcome.granted,
            redacted=welcome.redacted,
            wall=self._wall(),
        )

    def _tap(self, frame: ServerFrame) -> None:
        if not self.on or not isinstance(frame, _KEPT):
            return
        if isinstance(frame, Events):
            self.events += len(frame.items)
        if isinstance(frame, Welcome) or self._at() - self._member_at >= _MEMBER_SECONDS:
            self._begin_member([] if isinstance(frame, State | Welcome) else [frame])
        else:
            self._put([Entry(at=self._at(), frame=frame)])

    def _begin_member(self, frames: Sequence[ServerFrame]) -> None:
        at, whole = self._at(), snapshot(self._model)
        self._member_at = at
        again = [Entry(at=at, frame=each, again=len(whole) > 1) for each in whole]
        self._put([*again, *(Entry(at=at, frame=each) for each in frames)])

    def _put(self, entries: list[Entry]) -> None:
        if self._unwritten:
            entries = [Entry(at=entries[0].at, lost=self._unwritten), *entries]
        if self._queue.qsize() >= self._queue_size:
            self._lose(sum(each.frame is not None for each in entries))
            return
        self._queue.put(entries)
        if self._unwritten:
            self._unwritten = 0
            self._member_at = float("-inf")  # what was lost may have told of the state: the next frame begins anew

    def _lose(self, frames: int) -> None:
        self.lost += frames
        self._unwritten += frames


class _Writer:
    """The file, seen from the thread that writes it."""

    def __init__(
        self, path: Path, header: Header, rotation: Rotation, wall: Callable[[], float], told: Recorder
    ) -> None:
        self._first = path
        self._header = header
        self._rotation = rotation
        self._wall = wall
        self._told = told
        self._squeezer = zlib.compressobj(wbits=lrec.GZIP)
        self._open(path, header)

    def _open(self, path: Path, header: Header) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Created with its final mode, and never through a link that somebody else has put there.
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        except OSError as error:
            raise ConfigError(f"cannot record to {path}: {error.strerror}") from None
        self._path = path
        self._members: list[tuple[int, float]] = []
        self._marks: list[Mark] = []
        self._events = self._lost = self._size = 0
        self._until = 0.0
        self._dirty = False
        try:
            self._write(lrec.packed(_encode(header)))
        except OSError as error:
            self._file.close()
            path.unlink(missing_ok=True)
            raise ConfigError(f"cannot record to {path}: {error.strerror}") from None

    def run(self, entries: queue.Queue[list[Entry] | None]) -> None:
        """Write until told to stop, or until it cannot be done."""
        due = time.monotonic() + _FLUSH_SECONDS
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    batch = entries.get(timeout=max(0.0, due - time.monotonic()))
                    if batch is None:
                        break
                    self._batch(batch)
                if time.monotonic() >= due:
                    self._flush(zlib.Z_SYNC_FLUSH)
                    due = time.monotonic() + _FLUSH_SECONDS
            self._finish()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._told.problem = "the disk is full" if full else str(error.strerror or error)
            self._file.close()
        except ConfigError as error:  # the next file
            self._told.problem = str(error)
        except _TooBig:
            self._told.problem = f"the recording has reached {self._rotation.size >> 20} MiB"

    def _batch(self, batch: list[Entry]) -> None:
        begins = any(isinstance(each.frame, Welcome) for each in batch)
        if begins:
            if self._members:
                self._flush(zlib.Z_FINISH)
                if self._size >= self._rotation.size:
                    self._next()
            self._squeezer = zlib.compressobj(wbits=lrec.GZIP)
            self._members.append((self._size, batch[0].at))
        for each in batch:
            self._until = max(self._until, each.at)
            self._lost += each.lost
            if each.mark:
                self._marks.append(Mark(each.at, each.mark))
            if isinstance(each.frame, Events):
                self._events += len(each.frame.items)
            self._write(self._squeezer.compress(_encode(each) + b"\n"))
            self._dirty = True

    def _next(self) -> None:
        self._finish()
        if self._rotation.stop:
            raise _TooBig
        number = self._header.part + 1
        self._header = msgspec.structs.replace(self._header, part=number, wall=self._header.wall)
        self._open(_numbered(self._first, number), self._header)
        self._told.path = self._path
        self._told.made.append(self._path)
        self._remove_old()

    def _remove_old(self) -> None:
        if self._rotation.keep is None:
            return
        border = self._wall() - self._rotation.keep
        for path in list(self._told.finished):
            with contextlib.suppress(FileNotFoundError):  # somebody else has removed it
                if path.stat().st_mtime >= border:
                    continue
                path.unlink()
            self._told.finished.remove(path)

    def _finish(self) -> None:
        if self._dirty:
            self._flush(zlib.Z_FINISH)
        at = self._size
        index = Index(self._members, self._until, self._events, self._lost, self._marks)
        self._write(lrec.packed(_encode(index)) + lrec.footer(at))
        self._file.close()
        self._told.finished.append(self._path)

    def _flush(self, how: int) -> None:
        if self._dirty:
            self._write(self._squeezer.flush(how))
            self._dirty = how != zlib.Z_FINISH

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._size += len(data)
        self._told.size = self._size


class _TooBig(Exception):
    """The file has its size, and there is to be no other."""


def _numbered(path: Path, number: int) -> Path:
    name = path.name.removesuffix(lrec.SUFFIX) if path.name.endswith(lrec.SUFFIX) else path.stem
    return path.with_name(f"{name}.{number}{lrec.SUFFIX}")


def version() -> str:
    """Of this program."""
    try:
        return metadata.version("liverpc")
    except metadata.PackageNotFoundError:
        return "from a source tree"
