"""What a client uploads, without I/O: chunks, their size and pace, and their ends (docs/protocol.md section 11)."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from liverpc.client.calls import outcome_of
from liverpc.client.convert import read_result
from liverpc.client.listeners import guarded
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.binary import CHUNK_HEAD, upload_cancel, upload_chunk, upload_header
from liverpc.wire.frames import Reply, UploadCredit, UploadLimits

__all__ = ["Upload", "Uploads"]

_LANE_BYTES = 262_144  # of all uploads that wait for the socket, each a fair share
_SHARE_MIN = 4_096  # of one upload, however many there are
_UNANNOUNCED = 12_288  # bytes of a message to a server that does not say what it takes
_ANNOUNCE_SECONDS = 1.0  # for a server to say it, before the first chunk on a connection is sent anyway
_DATA_MIN = 1_024  # bytes of data in a chunk, for which messages grow when a header leaves less
_NUMBERS = 0xFFFF_FFFF

OnChange = Callable[["Upload"], object]


class Upload:
    """One upload of a client; made by :meth:`Uploads.start`.

    Attributes:
        stream: Its number on the wire.
        path: What is called.
        size: Bytes it will have in all, as announced; None: unknown.
        sent: Bytes of data the socket was given. Only grows.
        outcome: The answer or the error it ended with; None before. It ends once.
    """

    __slots__ = (
        "_on_change",
        "complete",
        "credit",
        "header",
        "outcome",
        "path",
        "sent",
        "seq",
        "size",
        "stream",
        "unsent",
    )

    def __init__(self, stream: int, path: str, header: bytes, size: int | None, on_change: OnChange | None) -> None:
        self.stream = stream
        self.path = path
        self.size = size
        self.sent = 0
        self.outcome: Reply | RpcError | None = None
        self.header = header
        self.seq = 0  # of the next chunk; 0: it has not begun
        self.unsent = bytearray()
        self.complete = False  # nothing comes behind what is unsent
        self.credit = 0  # bytes the server let it send in all; the window is not in it
        self._on_change = on_change

    @property
    def done(self) -> bool:
        return self.outcome is not None

    def result(self, result_type: Any = Any) -> Any:
        """What the server returned, converted; another object each time.

        Raises:
            RpcError: The upload failed, or the result does not fit (``INVALID_RESULT``).
            RuntimeError: It is not done.
        """
        if isinstance(self.outcome, RpcError):
            raise self.outcome
        if self.outcome is None:
            raise RuntimeError(f"the upload to {self.path} is not done")
        return read_result(self.path, self.outcome.data, result_type)

    def changed(self) -> None:
        """For :class:`Uploads`: tell who wants to know."""
        if self._on_change is not None:
            guarded(self._on_change, self)

    def end(self, outcome: Reply | RpcError) -> None:
        """For :class:`Uploads`: it is over."""
        self.outcome = outcome
        self.header, self.unsent = b"", bytearray()
        self.changed()
        self._on_change = None


class Uploads:
    """All unfinished uploads of a client.

    Uploads that wait for a connection begin when there is one; those that have begun end with it. The first chunk
    on a connection waits for the server to say what it takes, at most a second: servers that say nothing get
    messages of 12 288 bytes until an answer says more, as fast as the socket takes them, and full ones only.

    Data waits here until the socket asks for it, 256 KiB of all uploads together, or one full message of each, so that
    other frames pass it: none is ever behind more than one chunk.

    Attributes:
        refused: Uploads that failed because too many requests waited for a connection already.
        announced: The largest message the server takes, where it has said so.

    Args:
        frame_bytes: Of one message at most, whatever the server takes.
        now: The clock of the deadlines.
        admit: Why there can be no further upload; None: there can.
    """

    def __init__(
        self, frame_bytes: int, now: Callable[[], float], admit: Callable[[], tuple[ErrorCode, str] | None]
    ) -> None:
        self.refused = 0
        self.announced: int | None = None
        self._frame_bytes = frame_bytes
        self._now = now
        self._admit = admit
        self._window: int | None = None  # bytes of each upload before the first credit; None: the server does not count
        self._ready = False  # chunks may be sent
        self._ready_at = math.inf  # when they may, even if the server says nothing
        self._number = 0  # of the last upload
        self._running: dict[int, Upload] = {}
        self._unanswered: set[int] = set()  # numbers that the server knows; some belong to uploads given up
        self._lane: deque[Upload] = deque()  # those that have something to send, and may, in turns
        self._cancels: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._running)

    @property
    def has_messages(self) -> bool:
        """Whether :meth:`take` may have a message."""
        return bool(self._cancels) or (self._ready and bool(self._lane))

    # -- for those who upload

    def start(
        self, path: str, args: list[Any], *, size: int | None = None, on_change: OnChange | None = None
    ) -> Upload:
        """An upload. It begins with the first data; without a connection it waits for one.

        Args:
            path: For example ``files/put``.
            args: Anything with a JSON form.
            size: Bytes to come in all, if known.
            on_change: Called when there may be more room, and when the upload is done; perhaps before this returns.

        Raises:
            TypeError: An argument has no JSON form.
        """
        header, error = b"", None
        try:
            header = upload_header(path, args, size)
        except ValueError as too_long:
            error = RpcError(ErrorCode.PAYLOAD_TOO_LARGE, f"{path}: {too_long}")
        upload = Upload(self._next_number(), path, header, size, on_change)
        if error is None and (reason := self._admit()) is not None:
            error = RpcError(*reason)
            self.refused += error.code == ErrorCode.DISCONNECTED
        if error is None:
            self._running[upload.stream] = upload
        else:
            upload.end(error)
        return upload

    def room(self, upload: Upload) -> int:
        """How many bytes :meth:`put` takes now. 0: wait for ``on_change``, or it is done."""
        if upload.outcome is not None or upload.complete or not self._ready:
            return 0
        share = max(_LANE_BYTES // len(self._running), _SHARE_MIN)
        room = max(share, self._takes(upload)) if self._window is None else min(share, self._allowed(upload))
        return max(room - len(upload.unsent), 0)

    def put(self, upload: Upload, data: bytes | bytearray | memoryview, *, last: bool = False) -> None:
        """Send the next bytes, which are copied. Does nothing when it is done.

        Args:
            upload: Which one.
            data: At most :meth:`room` bytes, perhaps none.
            last: Nothing comes behind them. An upload that has not had this goes on.

        Raises:
            ValueError: There is no room for so much, or the last bytes were put already.
        """
        if upload.done:
            return
        with memoryview(data) as view:
            if upload.complete:
                raise ValueError(f"{upload.path}: the last bytes of this upload were put already")
            if view.nbytes > (room := self.room(upload)):
                raise ValueError(f"{upload.path}: there is room for {room} bytes, not for {view.nbytes}")
            upload.unsent += view
        upload.complete = last
        if upload.unsent or last:
            self._queue(upload)

    def offer(self, upload: Upload, data: bytes) -> bool:
        """:meth:`put` for small amounts: they are sent if there is room for all of them. Returns whether there is."""
        if len(data) > self.room(upload):
            return False
        if data:
            upload.unsent += data
            self._queue(upload)
        return True

    def cancel(self, upload: Upload) -> None:
        """Give an upload up: it ends with ``CANCELLED`` now, and its handler as soon as it hears of it."""
        self.fail(upload, RpcError(ErrorCode.CANCELLED, f"the upload to {upload.path} was cancelled"))

    def fail(self, upload: Upload, error: RpcError) -> None:
        """The same, with another error. Harmless when it is done."""
        if upload.done:
            return
        if upload.stream in self._unanswered:
            self._cancels.append(upload_cancel(upload.stream))
        self._end(upload, error)

    # -- for the core

    def connection_opened(self) -> None:
        self._ready_at = self._now() + _ANNOUNCE_SECONDS

    def connection_lost(self, error: Callable[[Upload], RpcError]) -> None:
        """Nothing can be sent any more. Uploads that have begun end with ``error``, the others wait."""
        self._cancels.clear()
        self._leave((upload for upload in self._running.values() if upload.seq), error)

    def close(self, error: Callable[[Upload], RpcError], *, lost: bool) -> None:
        """All end with ``error``. Unless the connection is lost, others that were given up before can still be."""
        if lost:
            self._cancels.clear()
        self._leave(self._running.values(), error)

    def next_deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        return self._ready_at if self._running and self._ready_at != math.inf else None

    def expire(self) -> None:
        """Do not wait any longer for what the server takes."""
        if self._now() >= self._ready_at:
            self._begin()

    def take_limits(self, limits: UploadLimits) -> None:
        """The server has said what it takes."""
        if limits.frame_bytes > 0 and limits.window_bytes > 0:
            self.announced = limits.frame_bytes
            self._window = limits.window_bytes
            self._begin()

    def take_credit(self, credit: UploadCredit) -> None:
        """The handler of an upload has taken some of it."""
        upload = self._running.get(_number(credit.stream))
        if upload is not None and upload.seq and credit.bytes > upload.credit:
            upload.credit = credit.bytes
            self._more(upload)

    def take_answer(self, name: str, reply: Reply | None) -> None:
        """An upload has ended, perhaps before its last chunk. What is not known (any more) is ignored."""
        if self.announced is None and reply is not None and type(reply.frame_bytes) is int and reply.frame_bytes > 0:
            self.announced = reply.frame_bytes
            for each in tuple(self._running.values()):
                self._more(each)  # there is more room
        number = _number(name)
        if number in self._unanswered:
            self._unanswered.discard(number)
            upload = self._running.get(number)
            if upload is not None:
                self._end(upload, outcome_of(upload.path, reply))

    def take(self) -> bytes:
        """The next message for the socket; empty: there is none. Uploads take turns."""
        while not self._cancels:
            if not (self._ready and self._lane):
                return b""
            upload = self._lane.popleft()
            takes, allowed = self._takes(upload), self._allowed(upload)
            if takes > 0:
                if self._window is None and not upload.complete and len(upload.unsent) < takes:
                    continue  # see _takes(); it comes back with more bytes, or the end
                if allowed > 0 or not upload.unsent:
                    return self._chunk(upload, min(takes, allowed))
                continue  # put before the server said how much it takes; it comes back when there may be more
            why = f"{upload.path}: its arguments leave no room for data in the largest message the server takes"
            self.fail(upload, RpcError(ErrorCode.PAYLOAD_TOO_LARGE, why))
        return self._cancels.popleft()

    # -- inside

    def _begin(self) -> None:
        self._ready, self._ready_at = True, math.inf
        for upload in tuple(self._running.values()):
            self._more(upload)

    def _more(self, upload: Upload) -> None:
        """The server may take more of it now."""
        if upload.unsent:
            self._queue(upload)
        upload.changed()

    def _queue(self, upload: Upload) -> None:
        if upload not in self._lane:
            self._lane.append(upload)

    def _leave(self, uploads: Iterable[Upload], error: Callable[[Upload], RpcError]) -> None:
        """Forget what the server said and knows, and end these."""
        self._ready, self._ready_at = False, math.inf
        self._window = self.announced = None
        self._unanswered.clear()
        for upload in tuple(uploads):
            if not upload.done:  # callbacks may end others
                self._end(upload, error(upload))

    def _end(self, upload: Upload, outcome: Reply | RpcError) -> None:
        del self._running[upload.stream]
        with suppress(ValueError):
            self._lane.remove(upload)
        upload.end(outcome)

    def _allowed(self, upload: Upload) -> int:
        """Bytes that the server lets it send now: any number, if it does not count."""
        return sys.maxsize if self._window is None else max(self._window, upload.credit) - upload.sent

    def _takes(self, upload: Upload) -> int:
        """Bytes of data in each of its chunks.

        Servers that do not count bytes count chunks, and fail uploads with too many unread ones: there they are as
        large as the server takes them, and full but for the last one.
        """
        head = CHUNK_HEAD + len(upload.header)
        most = (self.announced or _UNANNOUNCED) - head
        return most if self._window is None else min(max(self._frame_bytes - head, _DATA_MIN), most)

    def _chunk(self, upload: Upload, takes: int) -> bytes:
        with memoryview(upload.unsent) as unsent, unsent[:takes] as data:
            size = len(data)
            last = upload.complete and size == len(unsent)
            header = b"" if upload.seq else upload.header
            message = upload_chunk(upload.stream, upload.seq, data, last=last, header=header)
        del upload.unsent[:size]
        self._unanswered.add(upload.stream)
        upload.seq += 1
        upload.sent += size
        if upload.unsent:
            self._lane.append(upload)
        upload.changed()
        return message

    def _next_number(self) -> int:
        while True:
            self._number = self._number % _NUMBERS + 1
            if self._number not in self._running and self._number not in self._unanswered:
                return self._number


def _number(name: str) -> int:
    """The number of the upload with this id; 0, which no upload has, for anything else."""
    try:
        number = int(name, 16)
    except ValueError:
        return 0
    return number if name == f"{number:08x}" else 0
