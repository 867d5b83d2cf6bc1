"""The application's hooks into one server, as given to ``LiveServer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

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
