"""Binary messages: a call with bytes, the chunks of an upload, and its end (docs/protocol.md section 11). Both ends."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from liverpc.wire.codec import UNREADABLE, Ignored, encode
from liverpc.wire.frames import CallFrame

__all__ = [
    "BINARY_CALL",
    "BYTES_MIN",
    "CHUNK_HEAD",
    "HEADER_MAX",
    "UPLOAD_CHUNK",
    "UPLOAD_CONTROL",
    "BinaryCall",
    "UploadCancel",
    "UploadChunk",
    "binary_call",
    "decode_binary_call",
    "decode_upload",
    "upload_cancel",
    "upload_chunk",
    "upload_header",
    "upload_name",
    "upload_reply",
]

BINARY_CALL, UPLOAD_CHUNK, UPLOAD_CONTROL = 0, 1, 2  # the first byte of a message
BYTES_MIN = 4  # of these messages; shorter ones are no frames of ours
HEADER_MAX = 65_535  # bytes of the JSON in a message: its length has two of them

_LENGTH = struct.Struct(">H")
_CHUNK = struct.Struct(">BBII")  # kind, flags, stream, seq
_CONTROL = struct.Struct(">BBI")  # kind, what, stream
CHUNK_HEAD = _CHUNK.size + _LENGTH.size  # bytes of a first chunk besides its JSON and its data
_HAS_HEADER, _LAST = 1, 2
_CANCELS = 0x10

H = TypeVar("H")


class _CallHeader(msgspec.Struct, gc=False):
    rpc: str
    id: str
    args: msgspec.Raw = msgspec.Raw(b"[]")


class _UploadHeader(msgspec.Struct, gc=False):
    """What is wrong with it is answered, so nothing is required."""

    rpc: Any = None
    args: msgspec.Raw = msgspec.Raw(b"[]")
    size: Any = None


_decode_call_header = msgspec.json.Decoder(_CallHeader).decode
_decode_upload_header = msgspec.json.Decoder(_UploadHeader).decode


class BinaryCall(CallFrame, gc=False):
    """A call that carries bytes."""

    data: bytes = b""


class UploadChunk(msgspec.Struct, gc=False):
    """A part of an upload."""

    stream: int  #: the client's number of the upload, unique on its connection; never 0
    seq: int  #: from 0, without gaps
    last: bool
    data: bytes
    frame: CallFrame | None = None  #: of the first one: what is called; without ``rpc`` it says nothing usable
    size: int | None = None  #: of the first one: bytes the client means to send in all, if it says so


class UploadCancel(msgspec.Struct, gc=False):
    """The client gives an upload up."""

    stream: int


# -- server: in


def decode_binary_call(message: bytes) -> BinaryCall:
    """The call in a message whose first byte is ``BINARY_CALL``; Ignored when it is none."""
    if len(message) < 1 + _LENGTH.size:
        raise Ignored("malformed")
    start = 1 + _LENGTH.size
    end = start + _LENGTH.unpack_from(message, 1)[0]
    header = _header(message, start, end, _decode_call_header)
    return BinaryCall(rpc=header.rpc, id=header.id, args=header.args, data=message[end:])


def decode_upload(message: bytes) -> UploadChunk | UploadCancel:
    """What a message says about an upload, whose first byte promises that; Ignored when it says nothing."""
    if message[0] == UPLOAD_CONTROL:
        if len(message) < _CONTROL.size:
            raise Ignored("malformed")
        _, what, stream = _CONTROL.unpack_from(message)
        if what != _CANCELS:
            raise Ignored("not_ours")
        return UploadCancel(stream)
    if len(message) < _CHUNK.size:
        raise Ignored("malformed")
    _, flags, stream, seq = _CHUNK.unpack_from(message)
    if stream == 0 or flags & ~(_HAS_HEADER | _LAST) or bool(flags & _HAS_HEADER) != (seq == 0):
        raise Ignored("malformed")
    last = flags & _LAST != 0
    if seq:
        return UploadChunk(stream, seq, last, message[_CHUNK.size :])
    if len(message) < CHUNK_HEAD:
        raise Ignored("malformed")
    end = CHUNK_HEAD + _LENGTH.unpack_from(message, _CHUNK.size)[0]
    header = _header(message, CHUNK_HEAD, end, _decode_upload_header)
    frame = CallFrame(args=header.args)
    if isinstance(header.rpc, str):
        frame.rpc = header.rpc
    size = header.size if type(header.size) is int and header.size >= 0 else None
    return UploadChunk(stream, seq, last, message[end:], frame, size)


def _header(message: bytes, start: int, end: int, decode: Callable[[bytes], H]) -> H:
    if not start < end <= len(message):
        raise Ignored("malformed")
    header = message[start:end]
    try:
        header.decode()  # nothing else looks at the UTF-8 of the arguments
        return decode(header)
    except UNREADABLE:
        raise Ignored("malformed") from None


# -- server: out


def upload_name(stream: int) -> str:
    """The id of an upload, which is also the event that answers it."""
    return f"{stream:08x}"


def upload_reply(name: str, members: bytes, frame_bytes: int | None) -> bytes:
    """The payload that answers an upload.

    Args:
        name: Its id, from :func:`upload_name`.
        members: The answer, from ``codec.ok_members`` or ``codec.error_members``.
        frame_bytes: The largest message the server takes, in the first answer on a connection.
    """
    cap = b"" if frame_bytes is None else b',"__cap":%d' % frame_bytes
    return b'{"topic":"__upload","event":"%b","data":{%b%b}}' % (name.encode(), members, cap)


# -- client: out


def binary_call(path: str, call: str, args: list[Any], data: bytes | bytearray | memoryview) -> bytes:
    """A call with bytes as a message.

    Raises:
        TypeError: An argument has no JSON form.
        ValueError: Path and arguments have more than ``HEADER_MAX`` bytes.
    """
    header = _encoded_header({"rpc": path, "id": call}, args)
    return b"".join((b"\x00", _LENGTH.pack(len(header)), header, data))


def upload_header(path: str, args: list[Any], size: int | None) -> bytes:
    """What a first chunk says of the upload; ``size`` is the number of bytes to come, if known.

    Raises as :func:`binary_call`.
    """
    return _encoded_header({"rpc": path}, args, {} if size is None else {"size": size})


def upload_chunk(
    stream: int, seq: int, data: bytes | bytearray | memoryview, *, last: bool, header: bytes = b""
) -> bytes:
    """A part of an upload as a message; ``header``, from :func:`upload_header`, belongs to the first one only."""
    flags = (_LAST if last else 0) | (_HAS_HEADER if header else 0)
    head = _CHUNK.pack(UPLOAD_CHUNK, flags, stream, seq)
    return b"".join((head, _LENGTH.pack(len(header)), header, data)) if header else b"".join((head, data))


def upload_cancel(stream: int) -> bytes:
    """The message that gives an upload up."""
    return _CONTROL.pack(UPLOAD_CONTROL, _CANCELS, stream)


def _encoded_header(members: dict[str, Any], args: list[Any], more: dict[str, Any] | None = None) -> bytes:
    if args:
        members["args"] = args
    try:
        header = encode(members | (more or {}))
    except (ValueError, RecursionError) as error:  # half a surrogate pair, a list that contains itself
        raise TypeError(f"it has no JSON form: {error}") from None
    if len(header) > HEADER_MAX:
        raise ValueError(f"path and arguments have {len(header)} bytes, and at most {HEADER_MAX} fit beside the data")
    return header
