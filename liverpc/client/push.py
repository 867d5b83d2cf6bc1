"""Questions of the server, and the handlers that answer them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from liverpc.client.convert import read_json
from liverpc.client.core import ClientCore
from liverpc.client.inbox import Push
from liverpc.errors import LiveError, RpcError

__all__ = ["PUSHES_MAX", "PushHandler", "PushHandlers"]

log = logging.getLogger("liverpc.client")

PUSHES_MAX = 64  # handlers that run at the same time; questions beyond are answered with an error

PushHandler = Callable[[Any], Any]  # gets the question's data; returns the answer, or a coroutine of it


class PushHandlers:
    """Answers the server's questions, each in a task that it owns.

    Attributes:
        refused: Questions that were not handled because too many were.

    Args:
        core: Whose questions.
        settle: Called when there is something to send.
    """

    def __init__(self, core: ClientCore, settle: Callable[[], None]) -> None:
        self._core = core
        self._settle = settle
        self._handlers: dict[str, PushHandler] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.refused = 0

    def on(self, event: str, handler: PushHandler) -> Callable[[], None]:
        """Let ``handler`` answer ``event`` from now on, instead of another one. Returns what ends that."""
        registered = partial(handler)  # tells two registrations of one function apart
        self._handlers[event] = registered
        self._core.inbox.on_push = self._take

        def stop() -> None:
            if self._handlers.get(event) is registered:
                del self._handlers[event]
                if not self._handlers:
                    self._core.inbox.on_push = None

        return stop

    async def close(self) -> None:
        """Cancel the handlers that run, and wait for their end."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _take(self, push: Push) -> None:
        handler = self._handlers.get(push.request.event)
        if handler is None:
            self._core.inbox.answer(push, error=f"this client has no handler for {push.request.event!r}")
        elif len(self._running) >= PUSHES_MAX:
            self.refused += 1
            self._core.inbox.answer(push, error=f"this client is busy with {PUSHES_MAX} requests already")
        else:
            name = f"liverpc push {push.request.event}"
            task = asyncio.get_running_loop().create_task(self._answer(push, handler), name=name)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, push: Push, handler: PushHandler) -> None:
        try:
            result = handler(read_json(push.request.data))
            if inspect.isawaitable(result):
                result = await result
        except (LiveError, RpcError) as error:
            self._core.inbox.answer(push, error=f"{type(error).__name__}: {error}")
        except Exception:
            log.exception("the handler for %r failed", push.request.event)
            self._core.inbox.answer(push, error="the handler failed")
        else:
            self._core.inbox.answer(push, data=result)
        self._settle()
