"""What a program holds of an upload, and what reads its source."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import msgspec

from liverpc._types import R
from liverpc.client.core import ClientCore
from liverpc.client.listeners import Listeners, guarded
from liverpc.client.sources import Blocks, Data, Source, check_source, open_source
from liverpc.client.uploads import Upload
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.codec import encode

__all__ = ["Progress", "UploadHandle", "UploadTasks"]

log = logging.getLogger("liverpc.client")

_TURN_BLOCKS = 512  # taken from a source that never waits before everybody else gets a turn of the loop
_TURN_SECONDS = 0.005  # likewise, of a source that takes long for a block
_RATE_SECONDS = 0.1  # the network buffers take the first bytes in no time, which is no rate

V = TypeVar("V")


class Progress(msgspec.Struct, frozen=True):
    """How far an upload is."""

    sent: int  #: bytes handed to the network; only grows
    total: int | None  #: bytes there are; None: the source does not say
    percent: float | None  #: 0 to 100; None: the same
    bytes_per_second: float  #: since the first byte was sent, which counts as 0.1 s ago if it was later


class UploadTasks:
    """The uploads of one connection whose source is still read.

    Args:
        core: Whose uploads.
        settle: Called when there is something to send.
    """

    def __init__(self, core: ClientCore, settle: Callable[[], None]) -> None:
        self.core = core
        self.settle = settle
        self._running: set[asyncio.Task[None]] = set()

    def start(
        self, reading: Coroutine[Any, Any, None], path: str, stopped: Callable[[asyncio.Task[None]], object]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(reading, name=f"liverpc upload {path}")
        self._running.add(task)
        task.add_done_callback(stopped)
        task.add_done_callback(self._running.discard)
        return task

    async def close(self) -> None:
        """Stop reading, and wait until the sources are closed."""
        others = self._running - {asyncio.current_task()}  # a source may close its client
        for task in others:
            if not task.cancelling():  # once: the source may be waiting for something while it closes
                task.cancel()
        if others:
            await asyncio.wait(others)


class UploadHandle(Generic[R]):
    """One upload; made by :meth:`Client.upload`, which also starts it.

    Awaiting it gives what the function returned, any number of times. It goes on when nobody awaits it, and when who
    awaits it is cancelled: it ends with its answer, with :meth:`cancel`, or with the connection.

    Callbacks are called on the loop, in the order in which they were added. The first byte is sent in the loop's next
    turn, so they miss nothing when they are added at once. Of the end, those that are added later hear in the loop's
    next turn. What they raise is logged.

    Args:
        tasks: Of the connection.
        path: Of the function.
        args: Its arguments; they are encoded now.
        source: Where the bytes come from.
        result_type: Of what the function returns.
        timeout: Seconds until it fails with ``TIMEOUT``; None: never.
        in_thread: The source may block when it is asked for bytes.
        before: Awaited before anything else.

    Raises:
        TypeError: The source is none, or an argument has no JSON form.
    """

    def __init__(
        self,
        tasks: UploadTasks,
        path: str,
        args: list[Any],
        source: Source,
        result_type: Any,
        *,
        timeout: float | None,
        in_thread: bool = False,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        check_source(source)
        try:
            encoded: list[Any] = [msgspec.Raw(encode(arg)) for arg in args]
        except (ValueError, RecursionError) as error:
            raise TypeError(f"it has no JSON form: {error}") from None
        self._loop = asyncio.get_running_loop()
        self._tasks = tasks
        self._uploads = tasks.core.uploads
        self._path = path
        self._result_type = result_type
        self._upload: Upload | None = None  # until it is known how much there is to send
        self._size = memoryview(source).nbytes if isinstance(source, bytes | bytearray | memoryview) else None
        self._told = 0  # bytes sent, of which the program knows
        self._changed = asyncio.Event()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._result: Any = None
        self._error: RpcError | None = None
        self._first_at: float | None = None  # when something was sent
        self._ended_at: float | None = None
        self._progressed: Listeners[Progress] = Listeners()
        self._completed: Listeners[R] = Listeners()
        self._cancelled: Listeners[RpcError] = Listeners()
        self._failed: Listeners[RpcError] = Listeners()
        self._timer = None if timeout is None else self._loop.call_later(timeout, self._time_out, timeout)
        # The task alone has the source, and what it holds does not outlive it.
        self._task = tasks.start(self._run(encoded, source, in_thread, before), path, self._stopped)

    # -- use

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the end.

        Raises:
            RpcError: The function failed; or ``CANCELLED``; ``SOURCE_ERROR``: the source raised what is the
                ``__cause__``, or gave something that is no bytes; ``DISCONNECTED``: the connection was lost after the
                upload had begun; ``PAYLOAD_TOO_LARGE``, ``TIMEOUT``, ``CONNECTION_CLOSED``, ``INVALID_RESULT``.
        """
        yield from asyncio.shield(self._ended).__await__()
        return self._outcome()

    def _outcome(self) -> R:
        """What it ended with; raises as :meth:`__await__`."""
        if self._error is not None:
            raise self._error
        result: R = self._result
        return result

    @property
    def done(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._ended.done()

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        sent, total = (0, self._size) if self._upload is None else (self._upload.sent, self._upload.size)
        percent = None if total is None else min(100.0, 100.0 * sent / total) if total else 100.0
        rate = 0.0
        if self._first_at is not None:
            now = self._loop.time() if self._ended_at is None else self._ended_at
            rate = sent / max(now - self._first_at, _RATE_SECONDS)
        return Progress(sent, total, percent, rate)

    def cancel(self) -> None:
        """Give it up: it ends with ``CANCELLED`` before this returns, its function soon. Harmless later."""
        self._fail(RpcError(ErrorCode.CANCELLED, f"the upload to {self._path} was cancelled"))

    def on_progress(self, callback: Callable[[Progress], object]) -> Callable[[], None]:
        """Call ``callback`` whenever more was sent. Returns a function that ends it, as the others do."""
        return self._progressed.add(callback)

    def on_complete(self, callback: Callable[[R], object]) -> Callable[[], None]:
        """Call ``callback`` with what the function returned; soon, if it has already."""
        if self.done and self._error is None:
            return self._soon(callback, self._result)
        return self._completed.add(callback)

    def on_cancel(self, callback: Callable[[RpcError], object]) -> Callable[[], None]:
        """Call ``callback`` with the error when it ends with ``CANCELLED``, before those of :meth:`on_error`."""
        if self._error is not None and self._error.code == ErrorCode.CANCELLED:
            return self._soon(callback, self._error)
        return self._cancelled.add(callback)

    def on_error(self, callback: Callable[[RpcError], object]) -> Callable[[], None]:
        """Call ``callback`` with the error when it ends with one; soon, if it has already."""
        if self._error is not None:
            return self._soon(callback, self._error)
        return self._failed.add(callback)

    def __repr__(self) -> str:
        return f"<UploadHandle {self._path}, {self.progress.sent} bytes sent{', done' if self.done else ''}>"

    def _soon(self, callback: Callable[[V], object], value: V) -> Callable[[], None]:
        """Tell who asks late."""
        if not self._loop.is_closed():
            return self._loop.call_soon(guarded, callback, value).cancel
        guarded(callback, value)
        return lambda: None

    # -- the task

    async def _run(
        self, args: list[Any], source: Source, in_thread: bool, before: Callable[[], Awaitable[object]] | None
    ) -> None:
        await asyncio.sleep(0)  # even where tasks start at once
        if before is not None:
            try:
                await before()
            except RpcError as error:  # there is no connection
                self._fail(error)
                return
        try:
            async with open_source(source, in_thread=in_thread) as (size, blocks):
                upload = self._upload = self._uploads.start(self._path, args, size=size, on_change=self._on_change)
                self._tasks.settle()
                await self._send_all(upload, blocks)
                self._uploads.put(upload, b"", last=True)
                self._tasks.settle()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._task.cancelling():
                raise  # otherwise it is the source's own
            if self.done:
                log.warning("the source of an upload to %s failed when it was closed", self._path, exc_info=True)
            else:
                failure = RpcError(
                    ErrorCode.SOURCE_ERROR, f"the source of the upload to {self._path} failed: {error!r}"
                )
                failure.__cause__ = error
                self._fail(failure)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """The source is not read any more."""
        if task.cancelled() and not self.done:  # by who closes the client or the loop, perhaps before it began
            core = self._tasks.core
            if core.status == "closed":
                self._fail(core.closed_error())
            else:
                self.cancel()

    async def _send_all(self, upload: Upload, blocks: Blocks) -> None:
        uploads = self._uploads
        count, turn = 0, self._loop.time()
        async for block in blocks:
            sending = uploads.has_messages  # then whoever sends comes to this, too
            if type(block) is bytes and uploads.offer(upload, block):  # as most are
                if not sending:
                    self._tasks.settle()
            elif isinstance(block, bytes | bytearray | memoryview):
                await self._send(upload, block)
            else:
                raise TypeError(f"it gave a {type(block).__name__}, and uploads are made of bytes")
            count += 1
            if count == _TURN_BLOCKS or self._loop.time() > turn + _TURN_SECONDS:
                await asyncio.sleep(0)
                count, turn = 0, self._loop.time()

    async def _send(self, upload: Upload, block: Data) -> None:
        if not memoryview(block).nbytes:
            return
        with memoryview(block) as given, given.cast("B") as data:
            start = 0
            while start < len(data):
                if room := self._uploads.room(upload):
                    self._uploads.put(upload, data[start : start + room])
                    self._tasks.settle()
                    start += room
                else:
                    self._changed.clear()
                    await self._changed.wait()

    # -- changes

    def _on_change(self, upload: Upload) -> None:
        self._upload = upload  # it may have ended while it was started
        self._changed.set()
        if upload.sent > self._told:
            if self._first_at is None:
                self._first_at = self._loop.time()
            self._told = upload.sent
            self._progressed.tell(self.progress)
        if upload.done:
            try:
                self._result = upload.result(self._result_type)
            except RpcError as error:
                self._end(error)
            else:
                self._end(None)

    def _time_out(self, seconds: float) -> None:
        self._fail(RpcError(ErrorCode.TIMEOUT, f"the upload to {self._path} took longer than {seconds:g} s"))

    def _fail(self, error: RpcError) -> None:
        if self._upload is None:
            self._end(error)
        else:
            self._uploads.fail(self._upload, error)
            self._tasks.settle()

    def _end(self, error: RpcError | None) -> None:
        if self.done:
            return
        self._error = error
        self._ended_at = self._loop.time()
        self._ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()  # the source is not read any further; over already when all was sent
        if error is None:
            self._completed.tell(self._result)
            return
        if error.code == ErrorCode.CANCELLED:
            self._cancelled.tell(error)
        self._failed.tell(error)
