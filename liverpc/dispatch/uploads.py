"""Upload messages: which function an upload is for, its handler's task, its one answer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable
from typing import Any

import msgspec

from liverpc.declare.context import Context, Services
from liverpc.declare.guards import Guard
from liverpc.declare.registry import Entry
from liverpc.declare.replies import Follower, answer
from liverpc.declare.uploading import IncomingUpload, UploadContext
from liverpc.dispatch.outcome import Outcomes
from liverpc.dispatch.pipeline import Pipeline
from liverpc.dispatch.unanswered import DEEP
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import EXITS, Background, passes
from liverpc.telemetry import CAUSE, Trace
from liverpc.uploads.running import RunningUpload
from liverpc.uploads.uploads import Uploads
from liverpc.wire.binary import UploadCancel, UploadChunk, decode_upload, upload_name, upload_reply
from liverpc.wire.codec import json_depth_exceeds, ok_members
from liverpc.wire.frames import CallFrame

__all__ = ["UploadCalls"]

log = logging.getLogger("liverpc.calls")


class _Answer:
    """Where the answer to an upload goes (``declare.replies.Slot``)."""

    __slots__ = ("_connection", "_largest", "_name")

    def __init__(self, connection: Connection, name: str, largest: int) -> None:
        self._connection = connection
        self._name = name
        self._largest = largest

    def put(self, call: str | None, members: bytes, follower: Follower | None) -> None:
        connection = self._connection
        cap = None if connection.knows_frame_bytes else self._largest
        connection.knows_frame_bytes = True
        connection.send(upload_reply(self._name, members, cap))


class UploadCalls:
    """Answers the uploads of a server's connections.

    Args:
        pipeline: What an upload's call goes through.
        uploads: Their bytes.
        services: For contexts.
        background: Owns the handlers' tasks: they may outlive their connection for a moment, to clean up.
        context: Of the server, which tasks begin with.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        uploads: Uploads,
        services: Services,
        background: Background,
        context: contextvars.Context,
    ) -> None:
        self._pipeline = pipeline
        self._uploads = uploads
        self._services = services
        self._background = background
        self._context = context
        self._limits = services.hub.limits

    def receive(self, connection: Connection, message: bytes) -> None:
        """A message of an upload.

        Raises:
            Ignored: It says nothing.
        """
        part = decode_upload(message)
        if isinstance(part, UploadCancel):
            self._uploads.cancel(connection, part.stream)
        elif part.frame is None:
            self._uploads.chunk(connection, part)
        else:
            self._begin(connection, part, part.frame)

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""
        self._uploads.closed(connection)

    def _begin(self, connection: Connection, first: UploadChunk, frame: CallFrame) -> None:
        pipeline = self._pipeline
        frame.id = upload_name(first.stream)
        slot = _Answer(connection, frame.id, self._limits.message_bytes)
        if self._uploads.is_open(connection, first.stream):
            text = f"upload {first.stream} is not answered yet; give the next one another number"
            pipeline.refuse(connection, frame, LiveError(ErrorCode.INVALID_REQUEST, text), slot)
            return
        entry = pipeline.entry(frame, "upload")
        if isinstance(entry, LiveError):
            pipeline.refuse(connection, frame, entry, slot)
            return
        connection.calls_total += 1
        declaration: Any = entry.declaration
        try:
            if (faults := self._services.hub.faults) is not None:
                faults.call(entry.path, connection)
            if json_depth_exceeds(bytes(frame.args), self._limits.depth - 1):
                raise LiveError(ErrorCode.INVALID_REQUEST, DEEP)
            upload = self._uploads.begin(
                connection,
                first,
                entry.path,
                declaration.limits,
                lambda error: slot.put(None, pipeline.outcomes.told(entry.path, error)[1], None),
            )
        except LiveError as error:
            ctx: Context[Any] = Context(
                self._services, connection, entry.path, frame.id, slot, self._services.hub.monotonic()
            )
            pipeline.outcomes.failed(entry, ctx, frame.args, error)
            return
        uploading: UploadContext[Any] = UploadContext(
            self._services,
            connection,
            entry.path,
            frame.id,
            slot,
            self._services.hub.monotonic(),
            upload=IncomingUpload(upload.id, first.size, upload.buffer),
        )
        if (tracing := self._services.hub.tracing).active:
            uploading.trace = Trace(tracing, self._services.hub.monotonic, "turn", uploading.started_at)
        if declaration.limits.reauth_every is not None and entry.guard is not None:
            upload.buffer.before_take = _Recheck(
                self._uploads, upload, entry.guard, uploading, declaration.limits.reauth_every
            )
        task = self._background.start(
            self._run(entry, uploading, frame.args, upload), name=f"upload {upload.id}", context=self._context.copy()
        )
        upload.task = task
        # Not at the end of the task: cancelled before its first step, it would never come to it.
        task.add_done_callback(lambda _: self._uploads.ended(upload))

    async def _run(self, entry: Entry, ctx: UploadContext[Any], args: msgspec.Raw, upload: RunningUpload) -> None:
        pipeline, outcomes = self._pipeline, self._pipeline.outcomes
        failure: BaseException | None = None
        if ctx.trace is not None:
            CAUSE.set(ctx.trace)
        result: Any = None
        members = b""
        patience = asyncio.timeout(0 if upload.buffer.error else None)
        try:
            async with patience:
                upload.until(patience)
                result = await pipeline.steps.execute(entry, ctx, args)
            members = ok_members(pipeline.encoded(result))
        except EXITS:
            raise
        except BaseException as error:  # whatever it is, the upload has to be accounted for
            failure = error
        upload.until(None)
        if failure is not None and passes(failure):  # the server ends, and cancels what still runs
            self._uploads.abort(upload, LiveError(ErrorCode.DISCONNECTED, "the server has ended"))
        if (ended := upload.buffer.error) is not None:
            if patience.expired() and upload.buffer.begun:  # otherwise a guard or the like, with nothing to clean up
                where = (ctx.path, ctx.upload.id, ctx.connection.id)
                log.warning("%s did not end with its upload %s (connection %s) and was cancelled", *where)
            if not (patience.expired() and isinstance(failure, TimeoutError)):
                self._look_at(ctx, failure)
            outcomes.finished(entry, ctx, args, ended.code, ended.message, ended.issues)
            return
        self._uploads.settled(upload)
        if failure is None:
            answer(ctx, members)
            outcomes.finished(entry, ctx, args, None, result)
        else:
            outcomes.failed(entry, ctx, args, failure)

    def _look_at(self, ctx: UploadContext[Any], failure: BaseException | None) -> None:
        """What a handler made of the early end of its upload: nobody is told any more, but it may be a mistake."""
        if isinstance(failure, BaseExceptionGroup):  # of a TaskGroup in which the upload was read
            failure = failure.split((LiveError, asyncio.CancelledError))[1]
        if failure is not None and not isinstance(failure, LiveError | asyncio.CancelledError):
            log.error("%s failed when its upload ended early", ctx.path, exc_info=failure)
            ctx.services.report(ctx.path, failure, ctx)


class _Recheck:
    """Runs the guard of an upload again whenever its handler has taken so many bytes more."""

    __slots__ = ("_ctx", "_every", "_guard", "_next", "_upload", "_uploads")

    def __init__(
        self, uploads: Uploads, upload: RunningUpload, guard: Guard, ctx: UploadContext[Any], every: int
    ) -> None:
        self._uploads = uploads
        self._upload = upload
        self._guard = guard
        self._ctx = ctx
        self._every = every
        self._next = every

    def __call__(self) -> Awaitable[None] | None:
        if self._upload.buffer.taken < self._next:
            return None
        return self._check()

    async def _check(self) -> None:
        try:
            if (waiting := self._guard.check(self._ctx)) is not None:
                await waiting
        except LiveError as error:
            told, _ = Outcomes.told(self._upload.path, error)
            self._uploads.abort(self._upload, told)
            if self._upload.buffer.error is None:  # it is answered, and some task of its handler reads on
                raise
            # The reader gets what ended the upload, which may have been something else meanwhile.
        self._next = self._upload.buffer.taken + self._every  # not before: the handler may cancel the guard
