"""One upload, from its first chunk until its handler has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from liverpc.declare.bytes import UploadCaps, too_large
from liverpc.declare.uploading import UploadBuffer
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.wire.binary import UploadChunk, upload_name

__all__ = ["RunningUpload", "State"]

State = Literal["waiting", "receiving", "full", "held", "complete", "ended early"]


class RunningUpload:
    """What a server knows of an upload.

    Attributes:
        id: Eight hexadecimal digits.
        stream: The same as a number.
        connection: Whose it is.
        path: Of its function.
        size: Bytes the client means to send in all; None when it does not say.
        buffer: Its bytes on their way to the handler.
        started_at: Loop time.
        settled: It is answered; its handler may still run.
        task: Of its handler, and of what comes before that.
        held: Reading from its connection is stopped for it.
        granted: Bytes the client knows it may send; of those clients that pace uploads.
        counted: Bytes in the buffer when they were last counted.
        heard_at: Loop time at which a chunk came last.
        taken_at: Likewise, at which its handler took something last, or it was held.
        stall: The end of the server's patience with its handler, while held.
        idle: The end of its patience with the client.
    """

    __slots__ = (
        "_answer",
        "_next",
        "_patience",
        "buffer",
        "connection",
        "counted",
        "granted",
        "heard_at",
        "held",
        "id",
        "idle",
        "limits",
        "path",
        "settled",
        "size",
        "stall",
        "started_at",
        "stream",
        "taken_at",
        "task",
    )

    def __init__(
        self,
        connection: Connection,
        first: UploadChunk,
        path: str,
        limits: UploadCaps,
        *,
        taken: Callable[[RunningUpload], object],
        answer: Callable[[LiveError], object],
        granted: int,
        started_at: float,
    ) -> None:
        self.id = upload_name(first.stream)
        self.stream = first.stream
        self.connection = connection
        self.path = path
        self.limits = limits
        self.size = first.size
        self.buffer = UploadBuffer(lambda: taken(self))
        self.started_at = started_at
        self.settled = False
        self.task: asyncio.Task[None] | None = None
        self.held = False
        self.granted = granted
        self.counted = 0
        self.heard_at = self.taken_at = started_at
        self.idle: asyncio.TimerHandle | None = None
        self.stall: asyncio.TimerHandle | None = None
        self._answer = answer
        self._next = 0
        self._patience: asyncio.Timeout | None = None

    @property
    def state(self) -> State:
        """``waiting`` before its handler begins, then ``receiving``; ``full`` while the client may not send more, and
        ``held`` while it is not read from, for the handler has to take some first; ``complete`` when all bytes are
        there; ``ended early`` while its handler still runs.
        """
        if self.buffer.error is not None:
            return "ended early"
        if self.buffer.complete:
            return "complete"
        if self.held:
            return "held"
        if self.connection.paces_uploads and self.buffer.received >= self.granted:
            return "full"
        return "receiving" if self.buffer.begun else "waiting"

    def fault(self, chunk: UploadChunk) -> LiveError | None:
        """What is wrong with the next chunk; None: nothing, and it counts as received."""
        if self.buffer.complete:
            return LiveError(ErrorCode.INVALID_REQUEST, f"chunk {chunk.seq} came behind the last one")
        if chunk.seq != self._next:
            return LiveError(ErrorCode.INVALID_REQUEST, f"chunk {chunk.seq} came instead of {self._next}")
        if self.buffer.received + len(chunk.data) > self.limits.max_size:
            return too_large(self.path, self.limits.max_size)
        self._next += 1
        return None

    def until(self, patience: asyncio.Timeout | None) -> None:
        """The time limit around all that runs for it; None: nothing does any more."""
        self._patience = patience

    def abort(self, error: LiveError, grace: float) -> None:
        """End it early, with ``error`` for the client and the handler, which has ``grace`` seconds to end by itself."""
        self.buffer.abort(error)
        if self._patience is not None:
            # Guards that still run, and handlers that have not begun, have nothing to clean up.
            seconds = grace if self.buffer.begun else 0.0
            self._patience.reschedule(asyncio.get_running_loop().time() + seconds)
        self._answer(error)
