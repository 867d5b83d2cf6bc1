"""WebSocket frames (RFC 6455) as a client reads and writes them, without I/O and without extensions."""

from __future__ import annotations

import codecs

from liverpc.contrib.locust.words import printable
from liverpc.wire.close import CloseCode

try:  # in C where there is a wheel for the platform
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "ClosedBy", "FrameReader", "client_frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_CONTROL_MAX = 125


def client_frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """One final frame, masked with ``key`` (4 random bytes)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return b"".join((head, key, apply_mask(payload, key)))


class ClosedBy(Exception):
    """Reading is over.

    Attributes:
        code: Of the server's close frame (1005 when it had none), or the one to close with because the
            server broke the protocol.
        reason: For people.
        violation: Whether the server broke the protocol.
    """

    def __init__(self, code: int, reason: str, *, violation: bool) -> None:
        self.code = code
        self.reason = reason
        self.violation = violation
        super().__init__(code, reason)


class FrameReader:
    """Makes messages of a server's bytes, however they were cut.

    Attributes:
        end: How it ended, once it did; what comes after is ignored.
        ping: Payload of the latest ping, the only one that needs an answer; whoever answers sets it to None.

    Args:
        message_max: Bytes of one message, all fragments together; above, it ends with 1009.
    """

    def __init__(self, message_max: int) -> None:
        self.end: ClosedBy | None = None
        self.ping: bytes | None = None
        self._max = message_max
        self._chunks: list[bytes] = []  # received, and not yet enough for a frame
        self._have = 0
        self._need = 2
        self._parts: list[bytes] | None = None  # the fragments of a message so far
        self._parts_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; returns the messages they complete. Text is not checked for UTF-8."""
        if self.end is not None:
            return []
        if self._chunks:
            # Joined only when they suffice, or a large frame in small pieces would be copied again and again.
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks = []
        messages: list[bytes] = []
        at = 0
        try:
            while True:
                size, start = self._head(data, at)
                if len(data) < start + size:
                    self._need = start + size - at
                    break
                self._frame(data[at], data[start : start + size], messages)
                at = start + size
        except ClosedBy as end:
            self.end = end
            return messages
        if at < len(data):
            self._chunks = [data[at:]]
            self._have = len(data) - at
        return messages

    def _head(self, data: bytes, at: int) -> tuple[int, int]:
        """Size of the payload at ``at`` and where it starts; what is missing of the head counts as present."""
        available = len(data) - at
        if available < 2:
            return 0, at + 2
        first, size = data[at], data[at + 1]
        if size & 0x80:
            raise _violation("the server masked a frame")
        if first & 0x70:
            raise _violation("the server used a reserved bit, but no extension was agreed on")
        if first & 8 and (size > _CONTROL_MAX or not first & 0x80):
            raise _violation("the server sent a control frame that is fragmented or too long")
        start = at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            start += width
            if len(data) < start:
                return 0, start
            size = int.from_bytes(data[at + 2 : start], "big")
        if not first & 8 and size + self._parts_bytes > self._max:
            raise _violation(f"the server sent a message of more than {self._max} bytes", CloseCode.TOO_BIG)
        return size, start

    def _frame(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        opcode, final = first & 15, first & 0x80
        if opcode in (TEXT, BINARY):
            if self._parts is not None:
                raise _violation("the server began a message within another")
            if final:
                messages.append(payload)
            else:
                self._parts, self._parts_bytes = [payload], len(payload)
        elif opcode == CONTINUATION:
            if self._parts is None:
                raise _violation("the server continued a message that was not begun")
            if payload:  # else they would need memory without an end
                self._parts.append(payload)
            self._parts_bytes += len(payload)
            if final:
                messages.append(b"".join(self._parts))
                self._parts, self._parts_bytes = None, 0
        elif opcode == PING:
            self.ping = payload
        elif opcode == CLOSE:
            raise _closed(payload)
        elif opcode != PONG:
            raise _violation(f"the server sent a frame of the unknown kind {opcode}")


def _violation(reason: str, code: int = CloseCode.PROTOCOL_ERROR) -> ClosedBy:
    return ClosedBy(code, reason, violation=True)


def _closed(payload: bytes) -> ClosedBy:
    if not payload:
        return ClosedBy(CloseCode.NO_STATUS, "", violation=False)
    if len(payload) == 1:
        return _violation("the server sent half a close code")
    reason = printable(codecs.decode(payload[2:], "utf-8", "replace"))
    return ClosedBy(int.from_bytes(payload[:2], "big"), reason, violation=False)
