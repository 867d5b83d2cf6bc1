"""Which call a record of the log belongs to, for ``logging``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from liverpc.declare.context import Context
from liverpc.dispatch.outcome import call_fields
from liverpc.server import LiveServer

__all__ = ["CallFields", "bind_calls"]

_FIELDS: ContextVar[dict[str, str | None]] = ContextVar("liverpc_call")
_NONE: dict[str, str | None] = dict.fromkeys(("connection", "request_id", "path", "user"))


def bind_calls(server: LiveServer) -> CallFields:
    """Know of every record that is logged during a call which one it is: ``handler.addFilter(bind_calls(server))``.

    Call it before the server starts, and before other middlewares are added.

    Returns:
        A filter for handlers; on a logger it would miss the records of those below it.

    Raises:
        RuntimeError: The server runs already.
    """
    server.middleware(_bound)
    return CallFields()


class CallFields(logging.Filter):
    """Gives records the attributes ``connection``, ``request_id``, ``path`` and ``user``, and keeps them all.

    They are None outside calls, and so is ``user``, which is an id, in those of anonymous clients. Records that have
    them keep theirs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them; always true."""
        for name, value in _FIELDS.get(_NONE).items():
            record.__dict__.setdefault(name, value)
        return True


async def _bound(ctx: Context[Any], proceed: Callable[[], Awaitable[Any]]) -> Any:
    token = _FIELDS.set(call_fields(ctx))
    try:
        return await proceed()
    finally:
        _FIELDS.reset(token)
