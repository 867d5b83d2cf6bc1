"""The application's hooks into one server, as given to ``LiveServer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from liverpc.errors import LiveError
from liverpc.hub.tasks import Background

__all__ = ["Hooks"]


class Hooks(msgspec.Struct):
    """What the application wants to be asked and told; ``LiveServer`` documents each. None: not at all.

    All may be plain or ``async`` functions, unless they are said to return a value at once.
    """

    on_connect: Callable[..., Any] | None = None  #: (request) -> user
    on_disconnect: Callable[..., Any] | None = None  #: (connection, code, reason)
    on_topic: Callable[..., Any] | None = None  #: (ctx, topic) -> bool | denial code
    on_resume: Callable[..., Any] | None = None  #: (ctx, session_id, seqs)
    authenticate: Callable[..., Any] | None = None  #: (request) -> see LiveServer
    before_execute: Callable[..., Any] | None = None  #: (ctx, path, raw_args)
    on_error: Callable[..., Any] | None = None  #: (path, error, ctx)
    on_unhandled: Callable[..., Any] | None = None  #: (connection, data)
    on_json_message: Callable[..., Any] | None = None  #: (connection, obj)
    identify: Callable[[Any], str | None] | None = None  #: (user) -> id, at once

    def report(self, background: Background, path: str, error: BaseException, ctx: Any) -> None:
        """Tell ``on_error`` of an exception that nobody expected, which a ``LiveError`` is not.

        Args:
            background: Owns what the hook leaves to await.
            path: Of the call it happened in, or what stands for one, such as ``__connect__``.
            error: What happened.
            ctx: Of the call; None where there is none.

        What goes wrong in telling is logged only.
        """
        if self.on_error is not None and not isinstance(error, LiveError):
            background.hook(self.on_error, path, error, ctx)
