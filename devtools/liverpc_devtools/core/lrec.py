"""The format of recordings, ``.lrec.gz``: which lines there are, and how a reader finds its way.

A recording is gzip of JSON lines. The first line is a :class:`Header`, every other one an :class:`Entry`, and near the
end stands an :class:`Index`. Each part of about 30 seconds is a gzip member of its own that begins with the whole
state, so that a reader can begin at any of them. The file ends with an empty member of fixed length that says where the
index is; without it, after a crash, the index is made again by reading everything.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec

from liverpc.inspector.protocol import ServerFrame, ServerInfo
from liverpc_devtools.core.store import state_dir

__all__ = [
    "FOOTER",
    "GZIP",
    "SCHEMA",
    "SUFFIX",
    "Entry",
    "Header",
    "Index",
    "Mark",
    "directory",
    "footer",
    "index_at",
    "packed",
]

SCHEMA = 1
SUFFIX = ".lrec.gz"
GZIP = 31  #: for zlib: with a gzip header
FOOTER = 34  #: bytes

_HEAD = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", 12, b"LR", 8)
_TAIL = b"\x03\0" + bytes(8)  # nothing, deflated; its checksum and length


class Header(msgspec.Struct, tag="liverpc.recording", tag_field="t", frozen=True):
    """The first line."""

    schema: int
    program: str  #: version of the program that recorded
    protocol: int  #: version of the attach protocol
    server: ServerInfo
    granted: str  #: the level of the observer that recorded
    redacted: list[str]  #: keys whose values were never told
    wall: float  #: when it began
    part: int = 1  #: of recordings that begin a new file now and then


class Mark(msgspec.Struct, frozen=True):
    """A bookmark."""

    at: float
    text: str


class Entry(msgspec.Struct, omit_defaults=True, frozen=True):
    """Something that arrived, was lost, or was marked."""

    at: float  #: seconds since the recording began
    frame: ServerFrame | None = None
    lost: int = 0  #: frames that were not written, because the disk was too slow
    mark: str = ""
    again: bool = False  #: tells at the beginning of a part what the parts before it have told; for who begins here


class Index(msgspec.Struct, tag="index", tag_field="t", frozen=True):
    """Where to begin reading."""

    members: list[tuple[int, float]]  #: offset of each part, and when it begins
    until: float
    events: int
    lost: int = 0
    marks: list[Mark] = []


def directory() -> Path:
    """Where recordings without a name are kept: ``$XDG_STATE_HOME/liverpc/recordings``."""
    return state_dir() / "recordings"


def packed(*lines: bytes) -> bytes:
    """A member with these lines."""
    squeezer = zlib.compressobj(wbits=GZIP)
    return squeezer.compress(b"".join(line + b"\n" for line in lines)) + squeezer.flush()


def footer(index: int) -> bytes:
    """The end of a file whose index is at this offset."""
    return _HEAD + struct.pack("<Q", index) + _TAIL


def index_at(end: bytes) -> int | None:
    """The offset of the index, told by the last bytes of a file; None when they do not."""
    if len(end) != FOOTER or not end.startswith(_HEAD) or not end.endswith(_TAIL):
        return None
    offset: int = struct.unpack("<Q", end[len(_HEAD) : -len(_TAIL)])[0]
    return offset
