"""Which call a line of the log belongs to, for structlog; needs ``pip install 'liverpc[structlog]'``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from liverpc.declare.context import Context
from liverpc.dispatch.outcome import call_fields
from liverpc.errors import MissingExtraError
from liverpc.server import LiveServer

try:
    from structlog.contextvars import bound_contextvars
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "structlog":
        raise
    raise MissingExtraError("structlog", extra="structlog", what="liverpc.contrib.structlog") from None

__all__ = ["bind_calls"]


def bind_calls(server: LiveServer) -> None:
    """Bind ``connection``, ``request_id``, ``path`` and ``user`` (its id, or None) during every call.

    They are in what is logged by guards, handlers and what these call, where ``merge_contextvars`` is among structlog's
    processors, as it is by default. Call it before the server starts, and before other middlewares are added.

    Raises:
        RuntimeError: The server runs already.
    """
    server.middleware(_bound)


async def _bound(ctx: Context[Any], proceed: Callable[[], Awaitable[Any]]) -> Any:
    with bound_contextvars(**call_fields(ctx)):
        return await proceed()
