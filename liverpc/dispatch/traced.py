"""Calls of plain functions while somebody traces: as ``Pipeline`` answers them, with their steps written down."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import UNSET

from liverpc.declare.context import Context, Services
from liverpc.declare.registry import Entry
from liverpc.declare.replies import Slot, answer
from liverpc.dispatch.outcome import Outcomes
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import EXITS
from liverpc.telemetry import Trace, run_for
from liverpc.wire.codec import ok_members
from liverpc.wire.frames import CallFrame

__all__ = ["TracedAtOnce"]

InTask = Callable[[Context[Any], msgspec.Raw, Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]


class TracedAtOnce:
    """Answers on one path.

    Args:
        services: For contexts.
        entry: The path, of a plain function in whose way nothing waits but its guard.
        outcomes: Of the server.
        in_task: The rest of a call whose guard has to wait.
        before: What comes between guard and validation, if anything.
        encoded: Makes JSON of a result.
    """

    def __init__(
        self,
        services: Services,
        entry: Entry,
        outcomes: Outcomes,
        in_task: InTask,
        before: Callable[[Context[Any]], None] | None,
        encoded: Callable[[Any], bytes],
    ) -> None:
        self._services = services
        self._entry = entry
        self._outcomes = outcomes
        self._in_task = in_task
        self._before = before
        self._encoded = encoded

    def __call__(self, connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
        """Begin a call; see ``Pipeline.call``."""
        hub = self._services.hub
        connection.calls_total += 1
        call = None if frame.id is UNSET else frame.id
        ctx: Context[Any] = Context(self._services, connection, self._entry.path, call, slot, hub.monotonic())
        trace = ctx.trace = Trace(hub.tracing, hub.monotonic, "guard", ctx.started_at)
        run_for(trace, self._answer, ctx, trace, frame.args)

    def _answer(self, ctx: Context[Any], trace: Trace, args: msgspec.Raw) -> None:
        entry = self._entry
        signature = entry.declaration.signature
        try:
            if entry.guard is not None and (waiting := entry.guard.check(ctx)) is not None:
                ctx.connection.calls.start(ctx, self._in_task(ctx, args, waiting))
                return
            if self._before is not None:
                trace.enters("admission")
                self._before(ctx)
            trace.enters("arguments")
            arguments = signature.decode(args)
            trace.enters("handler")
            result = entry.declaration.handler(ctx, *arguments)
            trace.enters("reply")
            encoded = self._encoded(result)
        except EXITS:
            raise
        except BaseException as error:  # whatever it is, the caller waits for an answer
            self._outcomes.failed(entry, ctx, args, error)
        else:
            answer(ctx, ok_members(encoded))
            self._outcomes.finished(entry, ctx, args, None, result)
