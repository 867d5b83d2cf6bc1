"""Several calls in one frame."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Generic, Self

from liverpc._types import P, R, Rpc
from liverpc.client.calls import Call
from liverpc.client.connection import Connection
from liverpc.client.options import CallOptions, check_target
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.frames import BATCH_MAX

__all__ = ["Batch", "Reply"]


class Reply(Generic[R]):
    """The answer to one call of a batch, there when the batch's block has ended: ``await`` it or ask :meth:`result`.

    Nothing is reported when it is an error that nobody asks for.
    """

    def __init__(self, path: str, args: list[Any], result_type: Any) -> None:
        self._path = path
        self._args = args
        self._result_type = result_type
        self._call: Call | None = None

    def result(self) -> R:
        """What the function returned, converted.

        Raises:
            RpcError: The call failed, as one made with ``client.call`` would.
            RuntimeError: The batch's block has not ended, or was left by an exception.
        """
        if self._call is None:
            raise RuntimeError(f"{self._path} was not sent: a batch is sent when its block ends without an exception")
        value: R = self._call.result(self._result_type)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        return self.result()
        yield  # makes this a generator


class Batch:
    """Calls that are sent together when the block ends; made by :meth:`Client.batch`."""

    def __init__(self, connection: Connection, options: CallOptions, *, sequential: bool) -> None:
        if options.idempotency_key is not None:
            raise ValueError("an idempotency key belongs to one call, not to a batch of them")
        self._connection = connection
        self._options = options
        self._sequential = sequential
        self._replies: list[Reply[Any]] = []
        self._ended = False

    def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Reply[R]:
        """Add a call.

        Raises:
            RpcError: ``INVALID_REQUEST``: there are 50 already, which is as many as one batch takes.
            TypeError: The arguments do not fit the function.
            RuntimeError: The block has ended.
        """
        check_target(fn, Rpc, "call()")
        if self._ended:
            raise RuntimeError("the batch was sent already: client.batch() makes another")
        if len(self._replies) >= BATCH_MAX:
            text = f"a batch takes {BATCH_MAX} calls at most: spread them over several; nothing was sent"
            raise RpcError(ErrorCode.INVALID_REQUEST, text)
        reply: Reply[R] = Reply(fn.path, fn.bind(args, kwargs), fn.result_type)
        self._replies.append(reply)
        return reply

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the calls and wait for the answers; after an exception in the block, send nothing.

        Raises:
            TypeError: An argument has no JSON form; nothing was sent.
        """
        self._ended = True
        replies = tuple(self._replies)
        if error is None and replies:
            requests = [(reply._path, reply._args) for reply in replies]
            calls = await self._connection.batch(requests, sequential=self._sequential, timeout=self._options.timeout)
            for reply, call in zip(replies, calls, strict=True):
                reply._call = call
