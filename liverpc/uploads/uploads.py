"""All uploads of a server: how many there may be, how many bytes may wait, and who is not read from meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liverpc.config import Limits
from liverpc.declare.bytes import UploadCaps, too_large
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.telemetry import Counters
from liverpc.uploads.running import RunningUpload
from liverpc.wire.binary import UploadChunk
from liverpc.wire.codec import encode

__all__ = ["Uploads"]

_FIRST_WINDOW = 1 << 20  # bytes a client may send of an upload before its handler has taken any
_EARLY = 0.001  # seconds; a timer may fire so much too early, and what is left may be too little to be a time at all
_RESUME = 0.75  # of the bytes of all uploads, below which those held for want of room go on


class Uploads:
    """The running uploads of a server (docs/protocol.md section 11).

    Two bounds hold for the bytes that handlers have not taken: ``upload_buffer_bytes`` each and
    ``uploads_buffer_bytes`` for all. Where one is exceeded, its connection is not read from; a handler whose buffer is
    empty always gets one message more, so everybody gets on.

    Args:
        limits: Of the server.
        counters: Likewise.
        monotonic: Loop time.

    Attributes:
        buffered: Bytes that wait for handlers, of all uploads.
    """

    def __init__(self, limits: Limits, counters: Counters, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._counters = counters
        self._now = monotonic
        self._open: dict[Connection, dict[int, RunningUpload]] = {}  # unanswered ones
        self._running: dict[RunningUpload, None] = {}  # all whose handlers have not ended
        self._held: dict[RunningUpload, None] = {}
        self._crowded = False  # some are held because all together have too much
        self.buffered = 0

    # -- looking

    @property
    def running(self) -> list[RunningUpload]:
        """Those whose handlers have not ended, oldest first; a copy."""
        return list(self._running)

    def limits_frame(self) -> bytes:
        """The payload that tells a client what it may send."""
        return encode(
            {"type": "upload-limits", "frameBytes": self._limits.message_bytes, "windowBytes": self._first_window()}
        )

    def is_open(self, connection: Connection, stream: int) -> bool:
        """Whether there is an unanswered upload with this number."""
        return stream in self._open.get(connection, ())

    # -- chunks

    def begin(
        self,
        connection: Connection,
        first: UploadChunk,
        path: str,
        own: UploadCaps,
        answer: Callable[[LiveError], object],
    ) -> RunningUpload:
        """Let an upload in. Its handler's end must be told to :meth:`ended`.

        Args:
            connection: Whose it is.
            first: Its first chunk.
            path: Of its function.
            own: Its limits.
            answer: Told when it ends early, at most once.

        Raises:
            LiveError: There is no room for it, or it is larger than its function takes.
        """
        error = self._refusal(connection, path, own)
        if error is not None:
            self._counters.uploads_refused += 1
            raise error
        if max(first.size or 0, len(first.data)) > own.max_size:
            raise too_large(path, own.max_size)
        upload = RunningUpload(
            connection,
            first,
            path,
            own,
            taken=self._taken,
            answer=answer,
            granted=self._first_window(),
            started_at=self._now(),
        )
        self._counters.uploads_started += 1
        self._open.setdefault(connection, {})[upload.stream] = upload
        self._running[upload] = None
        self._put(upload, first)
        self._listen(upload)
        return upload

    def chunk(self, connection: Connection, chunk: UploadChunk) -> None:
        """A later chunk; one of an upload that is answered, or was never begun, is ignored."""
        upload = self._open.get(connection, {}).get(chunk.stream)
        if upload is not None:
            self._put(upload, chunk)

    def _put(self, upload: RunningUpload, chunk: UploadChunk) -> None:
        self._counters.upload_bytes += len(chunk.data)
        upload.heard_at = self._now()
        error = upload.fault(chunk)
        if error is not None:
            self.abort(upload, error)
            return
        upload.buffer.put(chunk.data, last=chunk.last)
        if chunk.last:
            upload.connection.calls.count(1)  # its handler needs nothing but time
        self._count(upload)
        waiting = upload.buffer.buffered
        if self.buffered > self._limits.uploads_buffer_bytes:
            self._crowded = True
        too_much = self._crowded or waiting > self._limits.upload_buffer_bytes
        if too_much and waiting and not chunk.last and not upload.held:
            self._hold(upload)

    def _refusal(self, connection: Connection, path: str, own: UploadCaps) -> LiveError | None:
        limits, mine = self._limits, self._open.get(connection, {}).values()
        to_path = sum(upload.path == path for upload in self._running) if own.max_concurrent is not None else 0
        # Handlers may take a moment to notice that their upload ended early; not any number of them.
        lingering = sum(upload.connection is connection for upload in self._running) - len(mine)
        for whose, count, most in (
            ("this connection", len(mine), limits.uploads_per_connection),
            (f"this connection to {path}", sum(upload.path == path for upload in mine), own.max_per_connection),
            ("this connection, with those being cleaned up,", lingering, limits.uploads_per_connection),
            (path, to_path, own.max_concurrent),
            ("this server", len(self._running), limits.uploads),
        ):
            if most is not None and count >= most:
                text = f"{whose} has {count} running uploads, and may have {most}; wait for one to end"
                return LiveError(ErrorCode.TOO_MANY_UPLOADS, text)
        if self.buffered >= limits.uploads_buffer_bytes:
            self._hold_all()
            return LiveError(ErrorCode.OVERLOADED, "too many bytes of other uploads wait; try again")
        return None

    # -- ends

    def cancel(self, connection: Connection, stream: int) -> None:
        """The client gives an upload up. Without such an upload nothing happens."""
        upload = self._open.get(connection, {}).get(stream)
        if upload is not None:
            self.abort(upload, LiveError(ErrorCode.CANCELLED, "the client gave the upload up"))

    def closed(self, connection: Connection) -> None:
        """The connection is gone, and its uploads with it."""
        for upload in list(self._open.get(connection, {}).values()):
            self.abort(upload, LiveError(ErrorCode.DISCONNECTED, "the client's connection was lost"))

    def abort(self, upload: RunningUpload, error: LiveError) -> None:
        """End an upload early, unless it is answered; its handler gets ``error``, and so does the client."""
        if upload.settled:
            return
        self._counters.uploads_aborted += 1
        self.settled(upload)
        upload.abort(error, self._limits.upload_grace_seconds)
        self._count(upload)

    def settled(self, upload: RunningUpload) -> None:
        """It is answered: further chunks are ignored, and its number may be used again. Harmless when it was."""
        if upload.settled:
            return
        upload.settled = True
        if upload.buffer.complete:
            upload.connection.calls.count(-1)
        uploads = self._open[upload.connection]
        del uploads[upload.stream]
        if not uploads:
            del self._open[upload.connection]
        if upload.idle is not None:
            upload.idle.cancel()
        self._release(upload)

    def ended(self, upload: RunningUpload) -> None:
        """Its handler has ended, if it ever began."""
        self.settled(upload)
        upload.buffer.abort(LiveError(ErrorCode.CANCELLED, "the upload is answered"))
        self._count(upload)
        del self._running[upload]

    # -- flow

    def _first_window(self) -> int:
        return min(_FIRST_WINDOW, self._limits.upload_buffer_bytes)

    def _count(self, upload: RunningUpload) -> None:
        self.buffered += upload.buffer.buffered - upload.counted
        upload.counted = upload.buffer.buffered
        if self._crowded and self.buffered <= _RESUME * self._limits.uploads_buffer_bytes:
            self._crowded = False
            for held in list(self._held):
                if self._may_resume(held):
                    self._release(held)

    def _taken(self, upload: RunningUpload) -> None:
        self._count(upload)
        upload.taken_at = self._now()
        if upload.held and self._may_resume(upload):
            self._release(upload)
        if upload.connection.paces_uploads and not upload.buffer.complete and not upload.settled:
            self._grant(upload)

    def _may_resume(self, upload: RunningUpload) -> bool:
        waiting = upload.buffer.buffered
        return not waiting or (not self._crowded and waiting <= self._limits.upload_buffer_bytes // 2)

    def _grant(self, upload: RunningUpload) -> None:
        window = min(self._limits.upload_buffer_bytes, self._limits.uploads_buffer_bytes // len(self._running) or 1)
        allowed = upload.buffer.taken + window
        if allowed - upload.granted >= max(window // 4, 1):
            upload.granted = allowed
            credit = {"type": "upload-credit", "stream": upload.id, "bytes": allowed}
            upload.connection.send(encode(credit))

    def _hold(self, upload: RunningUpload) -> None:
        self._counters.upload_holds += 1
        upload.held = True
        self._held[upload] = None
        if not upload.buffer.complete:
            upload.connection.calls.hold()
        upload.taken_at = self._now()
        self._watch(upload)

    def _hold_all(self) -> None:
        """Who takes nothing while others are turned away has ``upload_stall_seconds``, however little it has itself."""
        self._crowded = True
        for upload in self._running:
            if upload.buffer.buffered and not (upload.settled or upload.held):
                self._hold(upload)

    def _release(self, upload: RunningUpload) -> None:
        if not upload.held:
            return
        upload.held = False
        del self._held[upload]
        if upload.stall is not None:
            upload.stall.cancel()
            upload.stall = None
        others = self._open.get(upload.connection, {}).values()
        if not any(other.held and not other.buffer.complete for other in others):
            upload.connection.calls.release()

    def _watch(self, upload: RunningUpload) -> None:
        left = upload.taken_at + self._limits.upload_stall_seconds - self._now()
        if left > _EARLY:
            upload.stall = asyncio.get_running_loop().call_later(left, self._watch, upload)
            return
        self._counters.upload_stalls += 1
        text = f"{upload.path} has taken nothing for {self._limits.upload_stall_seconds:g} s, and there is no more room"
        self.abort(upload, LiveError(ErrorCode.FLOW_BACKPRESSURE, text))

    def _listen(self, upload: RunningUpload) -> None:
        """End it when its handler waits and nothing comes for ``upload_idle_seconds``."""
        if upload.settled or upload.buffer.complete:
            return
        since = max(upload.heard_at, upload.taken_at)
        if upload.buffer.buffered or upload.connection.calls.holding:  # the client may be waiting for us
            since = self._now()
        left = since + self._limits.upload_idle_seconds - self._now()
        if left > _EARLY:
            upload.idle = asyncio.get_running_loop().call_later(left, self._listen, upload)
        else:
            text = f"nothing came of the upload for {self._limits.upload_idle_seconds:g} s"
            self.abort(upload, LiveError(ErrorCode.TIMEOUT, text))
