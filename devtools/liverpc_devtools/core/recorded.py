"""Read a recording. Whatever is in the file, reading it is safe: lines and lengths are bounded, damage is told."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import VERSION
from liverpc_devtools.core import lrec
from liverpc_devtools.core.lrec import Entry, Header, Index, Mark
from liverpc_devtools.core.text import clean

__all__ = ["Recording", "Summary", "recordings"]

_CHUNK = 1 << 16
_LINE_BYTES = 16 << 20
_UNPACKED_BYTES = 4 << 30  # in one reading; more is a bomb rather than a recording
_PROBLEMS = 20
_MAX_SECONDS = 1e9  # of a recording
_MAX_WALL = 1e11  # seconds since the epoch
_MAX_ODD = 1000  # lines that cannot be read, in one reading; more are no accident


class _Brief(msgspec.Struct):
    """As much of a frame as counting needs."""

    t: str = ""
    items: list[msgspec.Raw] = []


class _Line(msgspec.Struct):
    """As much of an entry as an index needs."""

    at: float
    frame: _Brief | None = None
    lost: int = 0
    mark: str = ""


_NOT_READ = (msgspec.MsgspecError, RecursionError)  # the latter for what is nested too deeply
_entry = msgspec.json.Decoder(Entry).decode
_line = msgspec.json.Decoder(_Line).decode
_header = msgspec.json.Decoder(Header).decode
_index = msgspec.json.Decoder(Index).decode


class _Damaged(Exception):
    """What follows cannot be read; the text says why."""


class Summary(msgspec.Struct, frozen=True):
    """A recording in a list. Without an index only the header is known."""

    path: Path
    size: int
    header: Header | None
    index: Index | None
    problem: str = ""


class Recording:
    """A file of a recorder.

    Attributes:
        path: Of the file.
        header: What it says about itself.
        index: Where its parts are; made by reading all of it when the file has none.
        complete: Whether the recorder ended it.
        problems: What could not be read, and why; at most 20 sentences.
    """

    def __init__(self, path: Path) -> None:
        """Open a recording.

        Raises:
            ConfigError: It cannot be read, is no recording, or one of a newer program.
        """
        self.path = path
        self.problems: list[str] = []
        try:
            with path.open("rb") as file:
                self.header = _read_header(file)
                index = _read_index(file)
                self.complete = index is not None
                self.index = index or self._made_index(file)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except (_Damaged, *_NOT_READ, zlib.error):
            raise ConfigError(f"{path} is no recording of liverpc-tui") from None
        if self.header.schema > lrec.SCHEMA or self.header.protocol > VERSION:
            raise ConfigError(
                f"{path} was recorded by liverpc-tui {clean(self.header.program)}, which is newer than this one"
            )
        if not self.index.members:
            raise ConfigError(f"{path} has no complete part; the recorder was ended before it could write one")

    @property
    def begin(self) -> float:
        """When its first part begins: 0.0 but for the further files of a recording."""
        return self.index.members[0][1]

    @property
    def until(self) -> float:
        """When its last entry arrived."""
        return self.index.until

    def member_at(self, at: float) -> int:
        """The part in which the moment ``at`` is."""
        members = self.index.members
        return max((number for number, (_, begin) in enumerate(members) if begin <= at), default=0)

    def entries(self, member: int = 0) -> Iterator[Entry]:
        """Everything from the beginning of a part on, in order.

        What cannot be read is left out, and added to :attr:`problems`.
        """
        odd = 0
        with self.path.open("rb") as file:
            try:
                for line, _ in _lines(file, self.index.members[member][0]):
                    try:
                        entry = _entry(line)
                    except _NOT_READ as error:
                        if not _is_other(line):
                            odd = _counted(odd)
                            self._problem(f"a line cannot be read: {error}")
                        continue
                    if not 0 <= entry.at <= _MAX_SECONDS:
                        odd = _counted(odd)
                        self._problem("a line is of a time at which nothing was recorded")
                        continue
                    yield entry
            except _Damaged as error:
                self._problem(str(error))

    def add_mark(self, at: float, text: str) -> None:
        """Set a bookmark, in the file, too.

        Raises:
            ConfigError: The file cannot be written, or it is not complete; then the mark is kept in memory only.
        """
        marks = sorted([*self.index.marks, Mark(at, text)], key=lambda each: each.at)
        self.index = msgspec.structs.replace(self.index, marks=marks)
        if not self.complete:
            raise ConfigError("the recording was cut off: bookmarks are kept only until you leave it")
        try:
            # Appended: whoever is interrupted here leaves a file that can be read as before.
            with self.path.open("r+b") as file:
                at_end = file.seek(0, os.SEEK_END)
                file.write(lrec.packed(msgspec.json.encode(self.index)) + lrec.footer(at_end))
        except OSError as error:
            raise ConfigError(f"cannot write to {self.path}: {error.strerror}") from None

    def _made_index(self, file: BinaryIO) -> Index:
        members: list[tuple[int, float]] = []
        marks: list[Mark] = []
        until, events, lost, seen, odd = 0.0, 0, 0, -1, 0
        try:
            for line, offset in _lines(file, 0):
                try:
                    each = _line(line)
                except _NOT_READ:
                    if not _is_other(line):
                        odd = _counted(odd)
                    continue
                if not 0 <= each.at <= _MAX_SECONDS:
                    odd = _counted(odd)
                    continue
                if offset != seen:
                    seen = offset
                    members.append((offset, each.at))
                until = max(until, each.at)
                lost += each.lost
                events += len(each.frame.items) if each.frame is not None and each.frame.t == "ev" else 0
                if each.mark:
                    marks.append(Mark(each.at, each.mark))
        except _Damaged as error:
            self._problem(str(error))
        else:
            self._problem("the recorder was ended before it could finish the file")
        return Index(members, until, events, lost, marks)

    def _problem(self, text: str) -> None:
        if text not in self.problems and len(self.problems) < _PROBLEMS:
            self.problems.append(text)


def recordings(folder: Path) -> list[Summary]:
    """The recordings in a folder, newest first."""
    found = []
    for path in folder.glob(f"*{lrec.SUFFIX}") if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # removed meanwhile
            if stat.S_ISREG((about := path.stat()).st_mode):
                found.append(_summary(path, about.st_mtime_ns, about.st_size))
    return sorted(found, key=lambda each: -each.header.wall if each.header else 0.0)


@lru_cache(maxsize=1000)  # a list of them is looked at again and again, and opening hundreds of files takes long
def _summary(path: Path, changed: int, length: int) -> Summary:
    header = index = None
    size, problem = 0, ""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            header = _read_header(file)
            index = _read_index(file)
    except OSError as error:
        problem = error.strerror or "unreadable"
    except (_Damaged, *_NOT_READ, zlib.error):
        problem = "no recording"
    return Summary(path, size, header, index, problem or ("" if index else "not finished"))


def _read_header(file: BinaryIO) -> Header:
    line, _ = next(_lines(file, 0), (b"", 0))
    header = _header(line)
    if not 0 <= header.wall <= _MAX_WALL:
        raise _Damaged("it is of a time no calendar has")
    return header


def _read_index(file: BinaryIO) -> Index | None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - lrec.FOOTER, 0))
    at = lrec.index_at(file.read(lrec.FOOTER))
    if at is None or at >= size:
        return None
    try:
        line, _ = next(_lines(file, at), (b"", 0))
        index = _index(line)
    except (_Damaged, *_NOT_READ):
        return None
    # An index that leads elsewhere than into the file and its time would make readers trip.
    times = [index.until, *(begin for _, begin in index.members), *(mark.at for mark in index.marks)]
    inside = all(0 <= offset < size for offset, _ in index.members)
    return index if inside and all(0 <= each <= _MAX_SECONDS for each in times) else None


def _counted(odd: int) -> int:
    """One more line that cannot be read."""
    if odd >= _MAX_ODD:
        raise _Damaged(f"more than {_MAX_ODD:,} lines of the recording cannot be read; the rest is not looked at")
    return odd + 1


def _is_other(line: bytes) -> bool:
    """Whether a line is a header or an index, which stand between entries."""
    for decode in (_header, _index):
        try:
            decode(line)
        except _NOT_READ:
            continue
        return True
    return False


def _lines(file: BinaryIO, offset: int) -> Iterator[tuple[bytes, int]]:
    """Lines from a member on, each with the offset of its member.

    Raises:
        _Damaged: It goes no further.
    """
    file.seek(offset)
    squeezed, rest, member, unpacked = b"", bytearray(), offset, 0
    unpacker = zlib.decompressobj(wbits=lrec.GZIP)
    while True:
        if unpacker.eof:
            member = file.tell() - len(unpacker.unused_data)
            squeezed = unpacker.unused_data
            rest.clear()
            unpacker = zlib.decompressobj(wbits=lrec.GZIP)
        if not squeezed:
            squeezed = file.read(_CHUNK)
            if not squeezed:
                if rest or file.tell() != member:
                    raise _Damaged("the recording breaks off in the middle of a part")
                return
        try:
            data = unpacker.decompress(squeezed, _CHUNK)
        except zlib.error:
            raise _Damaged("a part of the recording is damaged; nothing after it can be read") from None
        squeezed = unpacker.unconsumed_tail
        unpacked += len(data)
        if unpacked > _UNPACKED_BYTES:
            raise _Damaged(f"the recording is longer than {_UNPACKED_BYTES >> 30} GiB; the rest is not read")
        *lines, last = data.split(b"\n")
        for line in lines:
            yield bytes(rest) + line, member
            rest.clear()
        rest += last
        if len(rest) > _LINE_BYTES:
            raise _Damaged("the recording has a line that is longer than any that liverpc-tui writes")
