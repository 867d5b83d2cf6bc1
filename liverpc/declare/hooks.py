"""The application's hooks into one server, as given to ``LiveServer``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, cast

import msgspec

from liverpc.declare.context import Context
from liverpc.declare.guards import Guard
from liverpc.errors import ConfigError, LiveError
from liverpc.hub.connection import identify
from liverpc.hub.tasks import Background
from liverpc.wire.codec import decode_args
from liverpc.wire.names import topic_fault

__all__ = ["Hooks", "UserIds"]

log = logging.getLogger("liverpc.hooks")


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

    def check(self) -> None:
        """Refuse what cannot be called.

        Raises:
            ConfigError: A hook is no function.
        """
        for option, hook in msgspec.structs.asdict(self).items():
            if hook is not None and not callable(hook):
                raise ConfigError(f"LiveServer({option}=) takes a function, not {hook!r}")

    async def before(self, guard: Guard | None, ctx: Context[Any], raw_args: msgspec.Raw) -> None:
        """What comes before anybody looks at a call's arguments: its guard, then ``before_execute``.

        Raises:
            LiveError: One of them refused.
            Exception: One of them failed.
        """
        if guard is not None and (waiting := guard.check(ctx)) is not None:
            await waiting
        if self.before_execute is not None:
            verdict = self.before_execute(ctx, ctx.path, decode_args(raw_args))
            if isawaitable(verdict):
                await verdict

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


class UserIds:
    """Says who a user is, by ``identify`` or else by the user's own fields.

    Args:
        hooks: Of the application.
        report: Told of what goes wrong, as ``Services.report``.
    """

    def __init__(self, hooks: Hooks, report: Callable[[str, BaseException, Any], object]) -> None:
        self._identify = hooks.identify or identify
        self._report = report
        self._warned = False

    def of(self, user: Any) -> str | None:
        """The user's id; None for anonymous, and for whom there is none that is usable."""
        if user is None:
            return None
        try:
            user_id: Any = self._identify(user)
        except Exception as error:
            log.exception("identify failed; the user counts as anonymous")
            self._report("__identify__", error, None)
            return None
        # The rules of topics: there will be topics for single users.
        if user_id is not None and topic_fault(user_id) is not None:
            if not self._warned:
                self._warned = True
                log.warning(
                    "a user counts as anonymous (said once): a user's id is a string of 1 to 256 characters without "
                    "control characters, quotes and backslashes, and does not begin with __"
                )
            return None
        return cast("str | None", user_id)
