"""What one connection receives: bytes to messages.

Unfragmented data frames that are not too large take the fast path and never reach the library. Everything
else goes to it, exactly up to the end of its frame and as the bytes come, so that both always agree where a
frame begins.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from websockets.frames import CLOSE, CONT, PING, PONG, TEXT, Frame

from liverpc.hub.tasks import EAGER
from liverpc.transports.handshake import clip
from liverpc.transports.writing import CLOSING, DEAD, LINGER, OPEN, Writing
from liverpc.wire.close import CloseCode

try:  # in C where there is a wheel for the platform
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from liverpc.transports.listener import Listener

__all__ = ["HOLD_CALLS", "HOLD_DRAIN", "HOLD_EARLY", "HOLD_TURN", "HOLD_WRITE", "Reading"]

log = logging.getLogger("liverpc.transports")

# Reasons not to read. The socket is read again when the last one is gone.
HOLD_WRITE = 1  # the peer does not take what it is sent
HOLD_TURN = 2  # until the next turn of the loop
HOLD_CALLS = 4  # the session asked for it
HOLD_EARLY = 8  # too much arrived before the handshake was decided
HOLD_DRAIN = 16  # the server ends, and only finishes what it has begun

_VIEWED_BYTES = 4_096  # from which on a view of a payload costs less than a copy
_MAX_CONTROL = 125


class Reading(Writing):
    """The incoming half of a connection."""

    __slots__ = ("fast", "frame_left", "heard", "in_message", "need", "parts", "parts_text", "rest")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self.fast = listener.fast
        self.heard = self.wheel.now  # the wheel's turn in which bytes arrived last
        self.rest: bytearray = bytearray()  # received, not yet consumed
        self.need = 0  # `rest` is of no use before it has so many bytes
        self.frame_left = 0  # bytes of the current frame the library still has to get
        self.in_message = False  # between the fragments of a message
        self.parts = bytearray()  # not a list: empty fragments would fill it for free
        self.parts_text = False

    def hold(self) -> None:
        """See :meth:`liverpc.hub.link.Link.hold`."""
        if self.phase is OPEN:
            self._hold(HOLD_CALLS)

    def release(self) -> None:
        """See :meth:`liverpc.hub.link.Link.release`."""
        self._release(HOLD_CALLS)

    def close(self, code: int, reason: str = "") -> None:
        """See :meth:`liverpc.hub.link.Link.close`.

        The socket is dropped after ``Limits.close_seconds``, whatever the peer does.
        """
        if self.phase is not OPEN:
            return
        self._fold()
        self.library.send_close(code, clip(reason))
        self.phase = CLOSING
        self.wheel.set(self, self.limits.close_seconds)
        self._pump()
        # The session hears no more messages: only a full buffer may keep us from reading the answer.
        self._release(HOLD_TURN | HOLD_CALLS | HOLD_EARLY | HOLD_DRAIN)

    def read(self, data: bytes) -> None:
        """Consume what can be consumed; the answers to one read leave in one write."""
        session = self.session
        assert session is not None
        self.corked = True
        running = session.running
        try:
            self._frames(data)
        except Exception:
            log.exception("a session failed at a message")
            self._fail(CloseCode.INTERNAL_ERROR, "internal error")
        if not EAGER and session.running > running:
            self.listener.loop.call_soon(self.uncork)  # behind the first steps of the tasks just made
        else:
            self.uncork()

    def read_closing(self, data: bytes) -> None:
        """Let the library look for the peer's close frame."""
        if self.rest:
            data = bytes(self.rest) + data
            self.rest.clear()
        self._to_library(data)
        self.flush()

    def _frames(self, data: bytes) -> None:  # noqa: C901 - the hot path: calls would cost more than they explain
        buffer: bytes | bytearray = data
        if self.rest:
            self.rest += data
            if len(self.rest) < self.need or self.holds:
                return
            buffer, self.rest = self.rest, bytearray()
        assert self.session is not None
        receive = self.session.receive
        fast_bytes, control_max = (self.limits.message_bytes, _MAX_CONTROL) if self.fast else (-1, -1)
        pos, size, budget = 0, len(buffer), self.limits.frames_per_turn
        self.need = 0
        while pos < size and self.phase is OPEN:
            if self.frame_left:
                end = min(pos + self.frame_left, size)
                self.frame_left -= end - pos
                self._to_library(buffer[pos:end])
                pos = end
                continue
            if self.holds:
                break
            if not budget:
                self._hold(HOLD_TURN)
                self._release(HOLD_TURN)
                break
            budget -= 1
            left = size - pos
            if left < 2:
                self.need = 2
                break
            first, second = buffer[pos], buffer[pos + 1]
            length = second & 127
            start = pos + 6
            if length > 125:
                wide = 2 if length == 126 else 8
                start += wide
                if left < 2 + wide:
                    self.need = 2 + wide
                    break
                length = int.from_bytes(buffer[pos + 2 : pos + 2 + wide], "big")
            end = start + length
            if (first == 0x81 or first == 0x82) and second > 127 and length <= fast_bytes and not self.in_message:
                if end > size:
                    self.need = end - pos
                    break
                masked = (buffer if length < _VIEWED_BYTES else memoryview(buffer))[start:end]
                payload = apply_mask(masked, buffer[start - 4 : start])
                pos = end
                if first == 0x81 and not payload.isascii() and not _is_utf8(payload):
                    self._fail(CloseCode.INVALID_DATA, "invalid UTF-8")
                else:
                    receive(payload, first == 0x81)
                continue
            if (first == 0x89 or first == 0x8A) and second > 127 and length <= control_max and not self.in_message:
                if end > size:
                    self.need = end - pos
                    break
                if first == 0x89:  # through the library it would cost ten times as much, and floods are made of it
                    payload = apply_mask(buffer[start:end], buffer[start - 4 : start])
                    self._queue(bytes((0x8A, length)) + payload)
                pos = end
                continue
            opcode = first & 15
            if opcode < 8:
                self.in_message = first < 128
            elif length > _MAX_CONTROL:  # the library would collect the whole payload before it refuses
                self._fail(CloseCode.PROTOCOL_ERROR, "control frame too long")
                break
            self.frame_left = end - pos - (0 if second > 127 else 4)
        if pos < size:
            if self.phase is OPEN:
                self.rest = bytearray(buffer[pos:])
            else:
                self._to_library(buffer[pos:])

    def _to_library(self, data: bytes | bytearray) -> None:
        self.library.receive_data(data)
        for event in self.library.events_received():
            assert isinstance(event, Frame)
            if event.opcode is CLOSE:
                self.phase = CLOSING
            elif self.phase is OPEN and event.opcode is not PING and event.opcode is not PONG:
                self._fragment(event)
        self._pump()
        if self.fast and self.phase is OPEN and not (self.frame_left or self.in_message):
            self.forget_library()

    def _fragment(self, frame: Frame) -> None:
        if frame.opcode is not CONT:
            self.parts_text = frame.opcode is TEXT
        if frame.fin and not self.parts:
            payload = bytes(frame.data)
        else:
            self.parts += frame.data
            if not frame.fin:
                return
            payload, self.parts = bytes(self.parts), bytearray()
        if self.parts_text and not payload.isascii() and not _is_utf8(payload):  # the library does not look
            self._fail(CloseCode.INVALID_DATA, "invalid UTF-8")
        elif self.session is not None:
            self.session.receive(payload, self.parts_text)

    def _fail(self, code: int, reason: str) -> None:
        """Say why and close without waiting for the peer."""
        if self.phase is OPEN:
            self.library.fail(code, clip(reason))
            self._pump()

    def _hold(self, why: int) -> None:
        if not self.holds:
            self.transport.pause_reading()
        self.holds |= why

    def _release(self, why: int) -> None:
        """Some reasons not to read are gone.

        Reading goes on in the next turn and outside of the caller's context variables: they would be handed
        to the reader, and by it to every later call of this connection.
        """
        if self.holds & why:
            self.holds = self.holds & ~why | HOLD_TURN
            self.listener.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self.holds &= ~HOLD_TURN
        if self.holds or self.phase is LINGER or self.phase is DEAD:
            return
        if self.phase is OPEN:
            self.read(b"")  # what was read before the hold comes first, and may hold again
        else:
            self.read_closing(b"")
        if not self.holds:
            self.heard = self.wheel.now  # it could not be heard before
            self.transport.resume_reading()


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
