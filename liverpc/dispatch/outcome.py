"""What becomes of a finished call: its error on the wire, its place in the statistics, who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.registry import Entry
from liverpc.declare.replies import answer
from liverpc.declare.uploading import UploadContext
from liverpc.errors import ErrorCode, Issue, LiveError
from liverpc.hub.faults import Injected
from liverpc.telemetry import SLOW_CALL, CallFinished, Telemetry
from liverpc.wire.codec import error_members

__all__ = ["Outcomes", "call_fields"]

log = logging.getLogger("liverpc.calls")

_INTERNAL = LiveError(ErrorCode.INTERNAL_ERROR, "Internal server error")


def call_fields(ctx: Context[Any]) -> dict[str, str | None]:
    """What log records say of the call that they are about: ``connection``, ``request_id``, ``path`` and ``user``."""
    connection = ctx.connection
    return {
        "connection": connection.id,
        "request_id": connection.request_id,
        "path": ctx.path,
        "user": connection.user_id,
    }


class Outcomes:
    """The end of every call of a server."""

    __slots__ = ("_counters", "_now", "_telemetry")

    def __init__(self, telemetry: Telemetry, monotonic: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._now = monotonic

    def failed(self, entry: Entry | None, ctx: Context[Any], args: msgspec.Raw | bytes, error: BaseException) -> None:
        """Answer with the error: as it is when it was meant for the caller, as a bare INTERNAL_ERROR otherwise."""
        if isinstance(error, LiveError):
            sent = error
        else:
            where = (ctx.path, ctx.connection.id, ctx.request_id)
            log.error("%s failed (connection %s, request %s)", *where, exc_info=error, extra=call_fields(ctx))
            sent = _INTERNAL
            ctx.services.report(ctx.path, error, ctx)
        sent, members = self.told(ctx.path, sent)
        answer(ctx, members)
        fault = sent.fault if isinstance(sent, Injected) else ""
        self.finished(entry, ctx, args, sent.code, sent.message, sent.issues, fault)

    @staticmethod
    def told(path: str, error: LiveError) -> tuple[LiveError, bytes]:
        """The error that the caller gets, and its members: another one when this one has no JSON form."""
        try:
            return error, error_members(error)
        except Exception:
            log.exception("%s failed with an error that has no JSON form", path)
            return _INTERNAL, error_members(_INTERNAL)

    def finished(
        self,
        entry: Entry | None,
        ctx: Context[Any],
        args: msgspec.Raw | bytes,
        code: str | None,
        result: Any,
        issues: Sequence[Issue] = (),
        fault: str = "",
    ) -> None:
        """Count it, and tell who listens."""
        seconds = self._now() - ctx.started_at
        telemetry = self._telemetry
        tally = telemetry.strays[ctx.path] if entry is None else entry
        tally.calls += 1
        tally.seconds += seconds
        if seconds > tally.max_seconds:
            tally.max_seconds = seconds
        if tally.latencies is not None:
            tally.latencies.add(seconds)
        self._counters.calls += 1
        if code is not None:
            self._counters.call_errors += 1
            tally.failed(code)
        if telemetry.call_finished or ((code is not None or seconds >= SLOW_CALL) and telemetry.call_notable):
            self._tell(entry, ctx, args, code, result, issues, seconds, fault)

    def _tell(
        self,
        entry: Entry | None,
        ctx: Context[Any],
        args: msgspec.Raw | bytes,
        code: str | None,
        result: Any,
        issues: Sequence[Issue],
        seconds: float,
        fault: str,
    ) -> None:
        event = CallFinished(
            ctx.path,
            ctx.connection.id,
            ctx.connection.user_id,
            ctx.call,
            "rpc" if entry is None else "stream" if entry.is_stream else entry.kind,
            ctx.upload.received if isinstance(ctx, UploadContext) else len(ctx.data),
            seconds,
            code,
            entry.declaration.signature.names if entry is not None else (),
            bytes(args),
            msgspec.json.decode(result) if isinstance(result, msgspec.Raw) else result,
            issues,
            tuple(ctx.published or ()),
            *self._traced(ctx),
            fault,
        )
        if code is not None or seconds >= SLOW_CALL:
            self._telemetry.call_notable.emit(event)
        self._telemetry.call_finished.emit(event)

    def _traced(self, ctx: Context[Any]) -> tuple[int, Sequence[tuple[str, float]]]:
        """Id and steps of a call."""
        tracing, trace = self._telemetry.tracing, ctx.trace
        if trace is None:  # refused before it began, or nobody traced then
            return tracing.number() if tracing.active else 0, ()
        return trace.id, trace.marks
