"""Asking again who a connection belongs to, and what it may have (docs/protocol.md section 6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from inspect import isawaitable
from typing import Any, TypeAlias

from liverpc._types import Locals
from liverpc.declare.context import Context, Services
from liverpc.declare.hooks import Hooks, UserIds
from liverpc.errors import Reject
from liverpc.hub.connection import Connection
from liverpc.hub.link import ConnectRequest
from liverpc.hub.tasks import Background, passes
from liverpc.rooms.contracts import Contracts
from liverpc.streams.doubts import Doubt, ask_all, asking, check_not_asking
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import Counters
from liverpc.wire.close import CloseCode

__all__ = ["Refreshes", "user_of"]

log = logging.getLogger("liverpc.sessions")

Answers: TypeAlias = list[asyncio.Future[bool]]


def user_of(verdict: Any) -> Any:
    """The user in what ``on_connect`` returned."""
    return getattr(verdict, "user", None) if isinstance(verdict, Locals) else verdict


class _Refresh:
    """What is asked about one connection.

    Two tasks at most: one asks who it is, one at the same time what it may have, about the user known last. Who waits
    goes from ``wanted`` to ``asked`` to ``known``, and is answered then.

    Attributes:
        wanted: Wait for ``on_connect`` to be asked.
        asked: For them it is being asked.
        known: Wait until all is settled that the connection has.
        who: Asks ``on_connect``.
        what: Settles the rest.
        deadline: Of that; it stays when all is asked once more, lest a client puts off what it is about to lose.
    """

    __slots__ = ("asked", "deadline", "known", "wanted", "what", "who")

    def __init__(self) -> None:
        self.wanted: Answers = []
        self.asked: Answers = []
        self.known: Answers = []
        self.who: asyncio.Task[None] | None = None
        self.what: asyncio.Task[None] | None = None
        self.deadline: float | None = None


class Refreshes:
    """The refreshes of a server's connections.

    Args:
        services: Of the server, for contexts.
        hooks: Of the application.
        streams: Are asked about.
        contracts: Likewise.
        background: Owns the tasks.
        counters: Of the server.
        end: Closes a connection: code, reason.
        renewed: Told of a connection whose session has another time now.
        deciding: Is around ``on_connect``.
    """

    def __init__(
        self,
        services: Services,
        hooks: Hooks,
        streams: Streams,
        contracts: Contracts,
        background: Background,
        counters: Counters,
        *,
        end: Callable[[Connection, int, str], object],
        renewed: Callable[[Connection], object],
        deciding: Callable[[ConnectRequest], AbstractContextManager[None]],
    ) -> None:
        self._services = services
        self._hub = services.hub
        self._hooks = hooks
        self._streams = streams
        self._contracts = contracts
        self._background = background
        self._counters = counters
        self._end = end
        self._renewed = renewed
        self._deciding = deciding
        self._user_ids = UserIds(hooks, services.report)
        self.of: dict[Connection, _Refresh] = {}

    async def refresh(self, connection: Connection) -> bool:
        """See :meth:`liverpc.declare.context.Context.refresh`. False: the connection is closed.

        Those who ask before ``on_connect`` is asked share its answer; who comes later gets the next one, because what
        it was asked for may have happened too late for the first. All that the connection has is asked about anew then.
        """
        check_not_asking()
        if connection.closed:
            return False
        if self._hub.connections.get(connection.id) is not connection:
            raise RuntimeError("there is no client here whose session could be refreshed")
        of = self.of.setdefault(connection, _Refresh())
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        of.wanted.append(answer)
        if of.who is None:
            of.who = self._start(connection, of, self._ask_who(connection, of))
        return await answer

    def closed(self, connection: Connection) -> None:
        """A connection is gone, or is being closed."""
        of = self.of.pop(connection, None)
        if of is None:
            return
        for task in (of.who, of.what):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        of.who = of.what = None
        _tell([*of.wanted, *of.asked, *of.known], connection)

    def _start(self, connection: Connection, of: _Refresh, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        context = connection.calls.clean_context()
        task = self._background.start(work, name=f"refresh of {connection!r}", context=context)
        task.add_done_callback(partial(self._done, connection, of))
        return task

    def _done(self, connection: Connection, of: _Refresh, task: asyncio.Task[None]) -> None:
        """However a task ended, who waits is answered, or the next one begins."""
        if task is not of.who and task is not of.what:  # the connection is closed, or another task has its place
            return
        if task.cancelled():  # the server stops
            for answer in (*of.wanted, *of.asked, *of.known):
                answer.cancel()
            of.wanted, of.asked, of.known = [], [], []
        elif task.exception() is not None:  # nobody knows what it has and may not have
            self._end(connection, CloseCode.RESTART, "not refreshed")
            return
        if task is of.what:
            _tell(of.known, connection)
            of.what, of.known = None, []
        else:
            of.who = self._start(connection, of, self._ask_who(connection, of)) if of.wanted else None
        if of.who is None and of.what is None:
            del self.of[connection]

    # -- who it is

    async def _ask_who(self, connection: Connection, of: _Refresh) -> None:
        of.asked, of.wanted = of.wanted, []
        try:
            with asking(), self._deciding(connection.request):
                verdict = await self._on_connect(connection)
        except Reject as reject:
            self._end(connection, reject.close_code, reject.reason)
            return
        except BaseException as error:
            if passes(error, gone=connection.closed):
                raise
            _tell(of.asked, connection, error)
            of.asked = []
            return
        user = user_of(verdict)
        if self._user_ids.of(user) != connection.user_id:
            # Whatever is kept by the user's id, from presence to limits, would be another one's.
            self._end(connection, CloseCode.RESTART, "another user")
            return
        connection.user, connection.locals = user, verdict
        connection.refreshes += 1
        connection.refreshed_at = self._hub.monotonic()
        self._counters.sessions_refreshed += 1
        self._renewed(connection)
        if connection.closed:
            return
        of.known += of.asked
        of.asked = []
        if of.what is not None:
            of.what.cancel()
        ctx: Context[Any] = Context(self._services, connection, "__refresh__", started_at=connection.refreshed_at)
        doubts = [*self._contracts.doubts(ctx), *self._streams.doubts(ctx)]
        of.what = self._start(connection, of, self._settle(connection, of, doubts))

    async def _on_connect(self, connection: Connection) -> Any:
        """What ``on_connect`` says now; when it raises anything but a Reject, the session lasts as long as before."""
        hook, request, seconds = self._hooks.on_connect, connection.request, self._hub.limits.connect_seconds
        if hook is None:
            return connection.locals
        moment, request.expires_at = request.expires_at, None
        patience = asyncio.timeout(seconds)
        try:
            async with patience:
                verdict = hook(request)
                return await verdict if isawaitable(verdict) else verdict
        except Reject:
            raise
        except BaseException as error:
            request.expires_at = moment
            if patience.expired() and isinstance(error, TimeoutError):
                raise TimeoutError(f"on_connect did not decide within {seconds:g} s") from None
            raise

    # -- what it may have

    async def _settle(self, connection: Connection, of: _Refresh, doubts: list[Doubt]) -> None:
        loop, seconds = asyncio.get_running_loop(), self._hub.limits.connect_seconds
        if of.deadline is None:
            of.deadline = loop.time() + seconds
        await ask_all(doubts, of.deadline)
        of.deadline = None
        try:
            with asking():
                async with asyncio.timeout(seconds):
                    await self._streams.show_anew(connection)
        except TimeoutError:
            log.warning("what is shown of %r stays as it was: it takes too long", connection)


def _tell(answers: Answers, connection: Connection, error: BaseException | None = None) -> None:
    for answer in answers:
        if answer.done():  # nobody waits for it any more
            continue
        if error is None or connection.closed:
            answer.set_result(not connection.closed)
            continue
        if not isinstance(error, Exception):  # a cancellation, for one, would look like that of who waits
            error = RuntimeError(f"on_connect failed: {error!r}")
        answer.set_exception(error)
        answer.exception()  # or it would be reported when its waiter is cancelled in this turn
