"""The lines of a recording, however long it is and wherever it breaks off."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["Damaged", "lines_of"]

_CHUNK = 1 << 18
_LINE_BYTES = 16 << 20
_MAGIC = b"\x1f\x8b"
_GZIP = 31  # for zlib: with a gzip header


class Damaged(Exception):
    """What follows cannot be read; the text says why."""


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Each line without its end, of a file that is gzip, of one or several members, or not packed.

    Memory does not depend on the file's length. A last line without an end is left out.

    Raises:
        Damaged: It goes no further.
    """
    packed = file.read(len(_MAGIC)) == _MAGIC
    file.seek(0)
    rest = bytearray()
    for data in _unpacked(file) if packed else iter(lambda: file.read(_CHUNK), b""):
        end, *begun = data.split(b"\n")
        rest += end
        if begun:
            yield bytes(rest)
            *whole, last = begun
            yield from whole
            rest = bytearray(last)
        if len(rest) > _LINE_BYTES:
            raise Damaged("it has a line that is longer than any that liverpc-tui writes")
    if rest:
        raise Damaged("it breaks off in the middle of a line")


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    unpacker, packed = zlib.decompressobj(wbits=_GZIP), b""
    while packed := packed or file.read(_CHUNK):
        if unpacker.eof:
            unpacker = zlib.decompressobj(wbits=_GZIP)
        try:
            yield unpacker.decompress(packed, _CHUNK)
        except zlib.error:
            raise Damaged("a part of it is damaged; nothing after it is read") from None
        packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        raise Damaged("it breaks off in the middle of a part")
