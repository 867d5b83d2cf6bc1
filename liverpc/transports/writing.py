"""What one connection has to send: queued, bounded, and written once per turn of the loop."""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING

from websockets.protocol import State
from websockets.server import ServerProtocol

from liverpc.config import Limits
from liverpc.hub.link import Session, Tally
from liverpc.transports.wheel import Holder, Wheel
from liverpc.wire.close import CloseCode

if TYPE_CHECKING:
    from liverpc.transports.listener import Listener

__all__ = ["CLOSING", "DEAD", "DECIDING", "HEAD", "LINGER", "OPEN", "Phase", "Writing", "library_log"]

log = logging.getLogger("liverpc.transports")
# One line per connection opened and closed is noise at the level of a library.
library_log = logging.getLogger("liverpc.transports.websockets")
library_log.setLevel(logging.WARNING)


class Phase(enum.IntEnum):
    """Where a connection is in its life; each phase but the last has one deadline."""

    HEAD = 0  #: collecting the request's head
    DECIDING = 1  #: the endpoint decides; what the peer sends is kept
    OPEN = 2
    CLOSING = 3  #: a close frame was sent or is queued
    LINGER = 4  #: nothing more will be sent; waiting for the peer's FIN
    DEAD = 5


HEAD, DECIDING, OPEN, CLOSING, LINGER, DEAD = Phase


class Writing:
    """The outgoing half of a connection."""

    # Attribute access here is the hot path: everything a send or a frame touches is one slot away.
    __slots__ = (
        "_library",
        "backlog",
        "bucket",
        "corked",
        "eof",
        "holds",
        "latest",
        "limits",
        "listed",
        "listener",
        "out",
        "out_bytes",
        "phase",
        "room",
        "session",
        "stalled",
        "texted",
        "transport",
        "wheel",
        "write_paused",
    )

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.limits: Limits = listener.limits
        self.wheel: Wheel = listener.wheel
        self.transport: asyncio.Transport
        self._library: ServerProtocol | None = None
        self.session: Session | None = None  # from the accepted handshake until it was told of the end
        self.phase = HEAD
        self.bucket: set[Holder] | None = None
        self.out: list[bytes] = []
        self.out_bytes = 0
        # With more than this in `out` a send looks closer. A peer that takes nothing has none: what waits for
        # it is measured frame by frame, and everyone else pays for a single comparison.
        self.room = self.limits.outbox_bytes
        self.latest: dict[object, bytes] | None = None  # waits behind `out` while writing is paused, by key
        self.corked = False  # a read is in progress and flushes when it is through
        self.listed = False  # the listener flushes at the end of this turn
        self.eof = False  # half-close when `out` is empty; the library takes no more bytes
        self.write_paused = False
        self.stalled = False  # on purpose: writing stays paused although the transport has room
        self.backlog = 0  # bytes the transport held when it was last looked at
        self.texted = 0  # the wheel's turn of the last text frame
        self.holds = 0  # reasons not to read

    @property
    def library(self) -> ServerProtocol:
        """What reads and writes everything but plain data frames.

        It is half of an idle connection's memory: between two frames of an open connection it holds nothing,
        and is dropped and made again, see :meth:`forget_library`.
        """
        library = self._library
        if library is None:
            library = ServerProtocol(state=State.OPEN, max_size=self.limits.message_bytes, logger=library_log)
            self._library = library
        return library

    @library.setter
    def library(self, library: ServerProtocol) -> None:
        self._library = library

    def forget_library(self) -> None:
        """To be called on an open connection without extensions, between two messages."""
        self._library = None

    def send(self, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send`."""
        if self.phase is not OPEN:
            return False
        self.out.append(frame)
        self.out_bytes += len(frame)
        self.texted = self.wheel.now
        if not (self.corked or self.listed):
            self.listener.touch(self)
        if self.out_bytes > self.room:
            return self._fits()
        return True

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send_volatile`."""
        if not self.write_paused:
            return self.send(frame)
        if self.phase is not OPEN:
            return False
        self.listener.counters.volatile_drops += 1
        tally.volatile_drops += 1
        return True

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        """See :meth:`liverpc.hub.link.Link.send_latest`."""
        if not self.write_paused:
            return self.send(frame)
        if self.phase is not OPEN:
            return False
        if self.latest is None:
            self.latest = {}
        outdated = self.latest.get(key)
        if outdated is not None:
            self.out_bytes -= len(outdated)
            self.listener.counters.latest_replaced += 1
            tally.coalesced += 1
        self.latest[key] = frame
        self.out_bytes += len(frame)
        return self._fits()

    def close(self, code: int, reason: str = "") -> None:
        """See :meth:`liverpc.hub.link.Link.close`."""
        raise NotImplementedError

    def on_deadline(self) -> None:
        """The current phase, or the peer's silence, lasted too long."""
        raise NotImplementedError

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet taken by the operating system."""
        return self.out_bytes + self.transport.get_write_buffer_size()

    def flush(self) -> None:
        """Hand everything queued to the transport; after the last byte ever, half-close."""
        if self.write_paused or self.phase is DEAD:
            return
        out = self.out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.out_bytes = 0
            self.transport.write(data)  # may pause writing before it returns
        if self.eof and self.phase is not LINGER:
            self._linger()

    def uncork(self) -> None:
        self.corked = False
        self.flush()

    def _fits(self) -> bool:
        """Whether the outbox is within its limits when everything that can leave has left; else close."""
        self.flush()
        if not (self.out or self.latest):
            return True
        limits, counters = self.limits, self.listener.counters
        if self.buffered > limits.outbox_bytes:
            counters.outbox_overflows += 1
        elif len(self.out) + len(self.latest or ()) > limits.outbox_frames:
            counters.outbox_frame_overflows += 1
        else:
            return True
        self.out.clear()
        self.latest = None
        self.out_bytes = 0
        self.close(CloseCode.TRY_AGAIN_LATER, "too slow")
        return False

    def _fold(self) -> None:
        """What waited by key takes its place in the outbox."""
        if self.latest and self.phase is OPEN:  # nothing may follow a close frame
            self.out += self.latest.values()
        self.latest = None

    def _queue(self, frame: bytes) -> None:
        """A frame of the transport's own. Not bounded: reading stops when these are not taken."""
        self.out.append(frame)
        self.out_bytes += len(frame)
        if not (self.corked or self.listed):
            self.listener.touch(self)

    def _pump(self) -> None:
        """Queue what the library wants to send."""
        for chunk in self.library.data_to_send():
            if chunk:
                self._queue(chunk)
            else:
                self.eof = True
                self.phase = CLOSING

    def _paused(self) -> None:
        """The transport's buffer is full."""
        self.write_paused = True
        self.backlog = self.transport.get_write_buffer_size()
        self.room = -1

    def _resumed(self) -> None:
        self.write_paused = False
        self.room = self.limits.outbox_bytes
        self._fold()
        self.flush()

    def _took_bytes(self) -> bool:
        """Whether the peer took anything of a full buffer since the last look."""
        before, self.backlog = self.backlog, self.transport.get_write_buffer_size()
        return self.backlog < before

    def _linger(self) -> None:
        """Everything is written: half-close, and read on so that the peer's FIN is seen.

        With unread bytes a close would be a reset, and the peer would lose our last words.
        """
        self.phase = LINGER
        self.backlog = self.transport.get_write_buffer_size()
        self.wheel.set(self, self.limits.linger_seconds)
        if self.holds:
            self.holds = 0
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()  # TLS cannot half-close
        self._tell_session()

    def _tell_session(self) -> None:
        """The end, for the session: with the code of the close frame we sent, be it ours or the echo."""
        session, self.session = self.session, None
        if session is None:
            return
        goodbye = None if self._library is None else self._library.close_sent
        code, reason = (CloseCode.LOST, "") if goodbye is None else (int(goodbye.code), goodbye.reason)
        try:
            session.closed(code, reason)
        except Exception:
            log.exception("a session failed at its end")
