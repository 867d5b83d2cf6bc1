"""A span for every call of a server; needs ``pip install 'liverpc[otel]'``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from liverpc.declare.context import Context as CallContext
from liverpc.errors import ErrorCode, LiveError, MissingExtraError
from liverpc.hub.tasks import passes
from liverpc.server import LiveServer
from liverpc.telemetry import ConnectionClosed, ConnectionOpened

try:
    from opentelemetry import context
    from opentelemetry.trace import (
        Link,
        Span,
        SpanKind,
        Status,
        StatusCode,
        Tracer,
        TracerProvider,
        get_tracer,
        set_span_in_context,
    )
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise MissingExtraError("opentelemetry-api", extra="otel", what="liverpc.contrib.opentelemetry") from None

__all__ = ["trace"]

log = logging.getLogger("liverpc.tracing")


def trace(server: LiveServer, provider: TracerProvider | None = None, *, messages: bool = False) -> None:
    """Make a span of every connection, and one of every call, stream request, binary call and upload.

    The span of a call is current in guards and handler, so that what the application traces there belongs to it. It is
    linked to that of its connection. It has the call's path and error code, and neither arguments nor results. Calls
    that reach no path have none. Tracing that fails fails no call.

    Call it before the server starts, and before other middlewares are added, which are inside the span then.

    Args:
        server: Whose calls.
        provider: Default: the global one.
        messages: Of errors that nobody expected, record the text and the traceback, too, and not only the type. They
            may hold data.

    Raises:
        RuntimeError: The server runs already.
    """
    tracing = _Tracing(get_tracer("liverpc", version("liverpc"), provider), messages=messages)
    server.middleware(tracing.call)
    server.telemetry.connection_opened.append(tracing.opened)
    server.telemetry.connection_closed.append(tracing.closed)


class _Tracing:
    """The spans of one server."""

    def __init__(self, tracer: Tracer, *, messages: bool) -> None:
        self._tracer = tracer
        self._messages = messages
        self._connections: dict[str, Span] = {}  # of open ones
        self._complained = False

    async def call(self, ctx: CallContext[Any], proceed: Callable[[], Awaitable[Any]]) -> Any:
        span = self._begin(ctx)
        if span is None:
            return await proceed()
        token = context.attach(set_span_in_context(span))
        try:
            result = await proceed()
        except BaseException as error:
            self._end(span, ctx, error)
            raise
        else:
            self._end(span, ctx, None)
            return result
        finally:
            context.detach(token)

    def opened(self, event: ConnectionOpened) -> None:
        attributes = {"rpc.system": "liverpc"}
        span = self._tracer.start_span("connection", context.Context(), kind=SpanKind.SERVER, attributes=attributes)
        self._connections[event.connection] = span

    def closed(self, event: ConnectionClosed) -> None:
        span = self._connections.pop(event.connection, None)
        if span is not None:
            span.set_attribute("liverpc.close_code", event.code)
            span.end()

    def _begin(self, ctx: CallContext[Any]) -> Span | None:
        try:
            connection = self._connections.get(ctx.connection.id)
            return self._tracer.start_span(
                ctx.path,
                context.Context(),  # not that of whatever code made the socket
                kind=SpanKind.SERVER,
                attributes={
                    "rpc.system": "liverpc",
                    "rpc.method": ctx.path,
                    "liverpc.request_id": ctx.request_id,
                },
                links=() if connection is None else (Link(connection.get_span_context()),),
            )
        except Exception:
            self._complain()
            return None

    def _end(self, span: Span, ctx: CallContext[Any], error: BaseException | None) -> None:
        try:
            if error is not None:
                self._failed(span, ctx, error)
            span.end()
        except Exception:
            self._complain()

    def _failed(self, span: Span, ctx: CallContext[Any], error: BaseException) -> None:
        if isinstance(error, LiveError):  # an answer like others; the server is well
            span.set_attribute("error.type", error.code)
        elif passes(error, gone=ctx.connection.closed):
            span.set_attribute("error.type", str(ErrorCode.DISCONNECTED))
        else:
            span.set_attribute("error.type", str(ErrorCode.INTERNAL_ERROR))
            span.set_status(Status(StatusCode.ERROR))
            if self._messages:
                span.record_exception(error)
            else:
                kind = type(error)
                span.add_event("exception", {"exception.type": f"{kind.__module__}.{kind.__qualname__}"})

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.exception("tracing failed; calls go on, and further failures are not logged")
