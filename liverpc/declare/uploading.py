"""An upload as its handler sees it, and the buffer behind it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from liverpc._types import User
from liverpc.declare.context import Context
from liverpc.errors import LiveError

__all__ = ["IncomingUpload", "UploadBuffer", "UploadContext", "begin"]

_TURN_BYTES = 262_144  # taken without waiting, before everybody else gets a turn of the loop
_APART = 64  # chunks that wait as they came; behind them small ones are joined
_JOINED_BYTES = 4_096  # of joined ones at most: each chunk costs about 50 bytes more than it has


class UploadBuffer:
    """The bytes of one upload between the socket and the handler. Neither side waits for the other in it.

    Args:
        taken: Called after each taking.

    Attributes:
        before_take: Run before each taking, and awaited when it returns something; what it raises, the handler gets.
        buffered: Bytes in it.
        received: Bytes ever put.
        taken: Bytes the handler has.
        begun: There is a handler.
        complete: The last byte was put.
        error: Why there will be no more; what was in it is gone then.
    """

    __slots__ = (
        "_chunks",
        "_on_taken",
        "_taking",
        "_waiter",
        "before_take",
        "begun",
        "buffered",
        "complete",
        "error",
        "received",
        "taken",
    )

    def __init__(self, taken: Callable[[], object]) -> None:
        self._chunks: deque[bytes] = deque()
        self._on_taken = taken
        self._taking = False
        self._waiter: asyncio.Future[None] | None = None
        self.before_take: Callable[[], Awaitable[None] | None] | None = None
        self.buffered = 0
        self.received = 0
        self.taken = 0
        self.begun = False
        self.complete = False
        self.error: LiveError | None = None

    def put(self, data: bytes, *, last: bool) -> None:
        """Bytes have arrived."""
        if data:
            chunks = self._chunks
            if len(chunks) >= _APART and len(chunks[-1]) + len(data) <= _JOINED_BYTES:
                chunks[-1] += data
            else:
                chunks.append(data)
            self.buffered += len(data)
            self.received += len(data)
        self.complete = last
        self._wake()

    def abort(self, error: LiveError) -> None:
        """Nothing more will arrive, because of ``error``, which the handler gets. The first one counts."""
        if self.error is None:
            self.error = error
            self._chunks.clear()
            self.buffered = 0
            self._wake()

    async def take(self) -> bytes | None:
        """The next bytes; None behind the last ones.

        Raises:
            LiveError: The upload ended early.
            RuntimeError: Another task waits for the next bytes already.
        """
        if self._taking:
            raise RuntimeError("two tasks read the same upload at the same time")
        self._taking = True
        try:
            if self.before_take is not None and (waiting := self.before_take()) is not None:
                await waiting
            while not self._chunks:
                if self.error is not None:
                    raise self._ended()
                if self.complete:
                    return None
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._taking = False
            self._waiter = None
        data = self._chunks.popleft()
        self.buffered -= len(data)
        self.taken += len(data)
        self._on_taken()
        return data

    def begin(self) -> None:
        """The handler begins; LiveError when the upload has ended already."""
        if self.error is not None:
            raise self._ended()
        self.begun = True

    def _ended(self) -> LiveError:
        assert self.error is not None
        return LiveError(self.error.code, self.error.message)  # a new one: exceptions collect traces

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class IncomingUpload(AsyncIterator[bytes]):
    """What a client uploads: ``async for chunk in ctx.upload``.

    Chunks are never empty and come in the order and, mostly, the sizes in which the client sent them. When the upload
    ends early the loop raises a ``LiveError`` with the code the client gets, too: ``CANCELLED`` (the client gave it
    up), ``DISCONNECTED``, ``PAYLOAD_TOO_LARGE``, ``FLOW_BACKPRESSURE`` (nothing was taken for too long),
    ``INVALID_REQUEST``, or that of a guard that was run again. Whatever the handler returns or raises then is not
    sent any more. If it has not ended after ``limits.upload_grace_seconds`` it is cancelled.

    Attributes:
        id: Eight hexadecimal digits, unique among the running uploads of the connection; for logs.
        size: Bytes the client means to send in all; unchecked, and None when it does not say.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the attribute's name
        size: int | None,
        buffer: UploadBuffer,
    ) -> None:
        self.id = id
        self.size = size
        self._buffer = buffer
        self._in_a_row = 0

    @property
    def received(self) -> int:
        """Bytes that have arrived, those included that the handler has not taken yet."""
        return self._buffer.received

    @property
    def cancelled(self) -> bool:
        """Whether the upload ended early."""
        return self._buffer.error is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._in_a_row >= _TURN_BYTES:
            self._in_a_row = 0
            await asyncio.sleep(0)
        data = await self._buffer.take()
        if data is None:
            raise StopAsyncIteration
        self._in_a_row += len(data)
        return data

    def __repr__(self) -> str:
        return f"<IncomingUpload {self.id}, {self.received} bytes>"


def begin(upload: IncomingUpload) -> None:
    """Its handler begins now; LiveError when it has ended already."""
    upload._buffer.begin()


class UploadContext(Context[User], kw_only=True):
    """The first argument of a function under ``@live.upload``.

    Attributes:
        upload: What the client sends.
    """

    upload: IncomingUpload
