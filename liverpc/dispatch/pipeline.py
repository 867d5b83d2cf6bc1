"""What happens to a call, in fixed order: guard → validation → handler → reply.

A stream's path goes through the same guard and then the subscribe plan. A call of a plain function whose guard
does not wait is answered without a task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from liverpc.declare.context import Context, Services
from liverpc.declare.registry import Entry, Registry
from liverpc.declare.replies import answer
from liverpc.errors import ErrorCode, Issue, LiveError
from liverpc.hub.connection import Connection
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import SLOW_CALL, CallFinished, Telemetry
from liverpc.wire.codec import encode, error_body, ok_body
from liverpc.wire.frames import ClientFrame
from liverpc.wire.names import is_path

__all__ = ["Pipeline"]

log = logging.getLogger("liverpc.calls")

_INTERNAL = LiveError(ErrorCode.INTERNAL_ERROR, "Internal server error")
UNKNOWN_PATH = "__unknown__"  # in telemetry: a client's own text must not become a label
INVALID_PATH = "__invalid__"


def _in_thread(handler: Any, *args: Any) -> Any:
    try:
        return handler(*args)
    except StopIteration as error:  # before Python 3.12 no future takes it, and the call would wait for ever
        raise RuntimeError("the function raised StopIteration") from error


class Pipeline:
    """Answers the calls of a server's connections."""

    def __init__(self, registry: Registry, services: Services, streams: Streams, telemetry: Telemetry) -> None:
        self._registry = registry
        self._services = services
        self._streams = streams
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._now = services.hub.monotonic

    def call(self, connection: Connection, frame: ClientFrame) -> None:
        """Begin a call; whatever comes of it is sent to the connection. Never raises.

        Calls of one connection run concurrently and are answered as they are done. A plain function runs now;
        an async one may start a turn later.
        """
        path, call = frame.rpc, frame.id
        assert path is not UNSET
        call_id = None if call is UNSET else call
        connection.calls_total += 1
        entry = self._registry.get(path)
        if entry is None or (entry.kind != "rpc" and frame.stream is not True):
            self._refuse(connection, path, call_id, frame, entry)
            return
        ctx: Context[Any] = Context(self._services, connection, entry.path, call_id)
        ctx.started_at = self._now()
        waiting: Coroutine[Any, Any, None] | None = None
        if entry.guard is not None:
            try:
                waiting = entry.guard.check(ctx)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # as below
                self._failed(entry, ctx, frame.args, error)
                return
        if entry.direct and waiting is None:
            self._answer_direct(entry, ctx, frame.args)
        else:
            connection.calls.start(self._answer(entry, ctx, frame.args, waiting), ctx)
            connection.call_started()

    def refuse(self, connection: Connection, frame: ClientFrame, error: LiveError) -> None:
        """Answer a frame that cannot be handled, if it has an id to answer to."""
        connection.calls_total += 1
        call = None if frame.id is UNSET else frame.id
        ctx: Context[Any] = Context(self._services, connection, INVALID_PATH, call)
        ctx.started_at = self._now()
        self._failed(None, ctx, b"[]", error)

    def _refuse(
        self, connection: Connection, path: str, call: str | None, frame: ClientFrame, entry: Entry | None
    ) -> None:
        if entry is not None:
            # Running a loader without its topic, access and subscription would bypass them.
            error = LiveError(ErrorCode.INVALID_REQUEST, f"{entry.path} is a stream; subscribe to it")
            label = entry.path
        elif not is_path(path):
            error = LiveError(
                ErrorCode.INVALID_REQUEST,
                "a path is two or more parts of letters, digits, _ and -, joined by /",
            )
            label = INVALID_PATH
        elif bytes(frame.args)[:1] != b"[":
            error = LiveError(ErrorCode.INVALID_REQUEST, "args must be a list")
            label = UNKNOWN_PATH
        else:
            error = LiveError(ErrorCode.NOT_FOUND, f"nothing answers on {path!r}")
            label = UNKNOWN_PATH
        ctx: Context[Any] = Context(self._services, connection, label, call)
        ctx.started_at = self._now()
        self._failed(entry, ctx, frame.args, error)

    # -- running

    def _answer_direct(self, entry: Entry, ctx: Context[Any], args: msgspec.Raw) -> None:
        try:
            declaration = entry.declaration
            result = declaration.handler(ctx, *declaration.signature.decode(args))
            body = ok_body(ctx.call or "", encode(result))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever it is, the caller waits for an answer
            self._failed(entry, ctx, args, error)
            return
        answer(ctx, body)
        self._finished(entry, ctx, args, None, result)

    async def _answer(
        self, entry: Entry, ctx: Context[Any], args: msgspec.Raw, guard: Coroutine[Any, Any, None] | None
    ) -> None:
        try:
            if guard is not None:
                await guard
            if entry.kind == "rpc":
                result = await self._run(entry, ctx, args)
                answer(ctx, ok_body(ctx.call or "", encode(result)))
            else:
                result = await self._streams.subscribe(entry, ctx, args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._ends(ctx):
                self._finished(entry, ctx, args, str(ErrorCode.DISCONNECTED), None)
                raise
            self._failed(entry, ctx, args, error)
        else:
            self._finished(entry, ctx, args, None, result)
        finally:
            ctx.connection.call_finished()

    def _ends(self, ctx: Context[Any]) -> bool:
        """Whether a cancellation is meant for the call: the client is gone, or the server stops.

        Otherwise something the handler waited for was cancelled by somebody else.
        """
        task = asyncio.current_task()
        return ctx.connection.closed or (task is not None and task.cancelling() > 0)

    async def _run(self, entry: Entry, ctx: Context[Any], args: msgspec.Raw) -> Any:
        declaration: Any = entry.declaration
        arguments = declaration.signature.decode(args)
        if declaration.is_async:
            return await declaration.handler(ctx, *arguments)
        if declaration.thread:
            return await asyncio.to_thread(_in_thread, declaration.handler, ctx, *arguments)
        return declaration.handler(ctx, *arguments)

    # -- ending

    def _failed(self, entry: Entry | None, ctx: Context[Any], args: msgspec.Raw | bytes, error: BaseException) -> None:
        if isinstance(error, LiveError):
            sent = error
        else:
            log.error(
                "%s failed (connection %s, request %s)",
                ctx.path,
                ctx.connection.id,
                ctx.request_id,
                exc_info=error,
            )
            sent = _INTERNAL
        try:
            body = error_body(ctx.call or "", sent)
        except Exception:
            log.exception("%s failed with an error that has no JSON form", ctx.path)
            sent = _INTERNAL
            body = error_body(ctx.call or "", sent)
        answer(ctx, body)
        self._finished(entry, ctx, args, sent.code, sent.message, sent.issues)

    def _finished(
        self,
        entry: Entry | None,
        ctx: Context[Any],
        args: msgspec.Raw | bytes,
        code: str | None,
        result: Any,
        issues: Sequence[Issue] = (),
    ) -> None:
        seconds = self._now() - ctx.started_at
        if entry is not None:
            entry.calls += 1
            entry.seconds += seconds
            if seconds > entry.max_seconds:
                entry.max_seconds = seconds
            if code is not None:
                entry.errors += 1
        self._counters.calls += 1
        self._counters.call_errors += code is not None
        telemetry = self._telemetry
        notable = (code is not None or seconds >= SLOW_CALL) and telemetry.call_notable
        if not (telemetry.call_finished or notable):
            return
        event = CallFinished(
            ctx.path,
            ctx.connection.id,
            ctx.connection.user_id,
            ctx.call,
            entry is not None and entry.kind != "rpc",
            seconds,
            code,
            entry.declaration.signature.names if entry is not None else (),
            bytes(args),
            result,
            issues,
            tuple(ctx.published or ()),
        )
        if notable:
            notable.emit(event)
        telemetry.call_finished.emit(event)
