"""Frames between nodes of one process."""

from __future__ import annotations

import asyncio
import logging

from liverpc.backends.ports import Frame, Gap, OnDirect, OnFrames, OnGap

__all__ = ["MemoryBus"]

log = logging.getLogger("liverpc.backends")

INBOX_FRAMES = 10_000


class MemoryBus:
    """A :class:`~liverpc.backends.ports.Bus` over a dict of started buses.

    Frames wait in the receiver's inbox until the next loop turn, so that a publisher never runs a
    receiver's code. An inbox holds 10,000 of them; what comes on top is dropped, counted in ``dropped`` and
    followed by a gap.
    """

    def __init__(self, node: str, peers: dict[str, MemoryBus]) -> None:
        self._node = node
        self._peers = peers
        self._inbox: list[Frame] = []
        self._overflowed = False
        self._turn: asyncio.Handle | None = None
        self.dropped = 0

    @property
    def node(self) -> str:
        return self._node

    async def start(self, on_frames: OnFrames, on_gap: OnGap, on_direct: OnDirect) -> None:
        if self._peers.setdefault(self._node, self) is not self:
            raise ValueError(f"a node named {self._node!r} has started already; each start needs a new id")
        self._loop = asyncio.get_running_loop()
        self._on_frames = on_frames
        self._on_gap = on_gap
        self._on_direct = on_direct

    def publish(self, frame: Frame) -> None:
        if len(self._peers) < 2:  # alone, as nearly always
            return
        if self._peers.get(self._node) is not self:
            return
        for bus in self._peers.values():
            if bus is not self:
                bus._receive(frame)

    def announce(self, frame: Frame) -> None:
        """Deliver a logged frame now, after what is waiting already."""
        self._receive(frame)
        self._flush()

    async def direct(self, node: str, message: bytes) -> bool:
        bus = self._peers.get(node)
        if bus is None:
            return False
        bus._loop.call_soon(bus._deliver_direct, message)
        return True

    async def aclose(self) -> None:
        if self._peers.get(self._node) is self:
            del self._peers[self._node]
        self._inbox.clear()
        self._overflowed = False

    def _receive(self, frame: Frame) -> None:
        if len(self._inbox) >= INBOX_FRAMES:
            self.dropped += 1
            self._overflowed = True
            return
        self._inbox.append(frame)
        if self._turn is None:
            self._turn = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        frames, self._inbox = self._inbox, []
        overflowed, self._overflowed = self._overflowed, False
        try:
            if frames:
                self._on_frames(frames)
        except Exception:
            log.exception("delivering %d frames of other nodes failed", len(frames))
        try:
            if overflowed:
                self._on_gap(Gap("overflow"))
        except Exception:
            log.exception("reporting a gap failed")

    def _deliver_direct(self, message: bytes) -> None:
        if self._peers.get(self._node) is self:
            try:
                self._on_direct(message)
            except Exception:
                log.exception("delivering a message of another node failed")
