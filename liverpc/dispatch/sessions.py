"""How long a connection is somebody's: expiry, refresh, and the end that a server puts to it."""

from __future__ import annotations

import asyncio
from functools import partial
from inspect import isawaitable
from typing import Any

from liverpc._types import Locals
from liverpc.clock import Clock
from liverpc.declare.context import Context, Services
from liverpc.declare.hooks import Hooks, UserIds
from liverpc.errors import Reject
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import Background, a_few_at_once
from liverpc.rooms.contracts import Contracts
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import Counters
from liverpc.uploads.uploads import Uploads
from liverpc.wire.close import CloseCode

__all__ = ["EXPIRED", "Sessions", "UserSessions", "user_of"]

EXPIRED = "session expired"

_LOOK_SECONDS = 30.0  # clocks are set, and machines sleep: the time left is computed anew so often


def user_of(verdict: Any) -> Any:
    """The user in what ``on_connect`` returned."""
    return getattr(verdict, "user", None) if isinstance(verdict, Locals) else verdict


class Sessions:
    """Ends the connections of a server when their time is over, and asks again who they belong to.

    Args:
        services: Of the server, for contexts.
        hooks: Of the application.
        streams: Asked again by a refresh.
        contracts: Likewise.
        uploads: End with their connection.
        background: Owns the refreshes.
        clock: By which sessions expire.
        counters: Of the server.
    """

    def __init__(
        self,
        services: Services,
        hooks: Hooks,
        streams: Streams,
        contracts: Contracts,
        uploads: Uploads,
        background: Background,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._services = services
        self._hub = services.hub
        self._hooks = hooks
        self._streams = streams
        self._contracts = contracts
        self._uploads = uploads
        self._background = background
        self._clock = clock
        self._counters = counters
        self._user_ids = UserIds(hooks, services.report)
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._waiting: dict[Connection, list[asyncio.Future[bool]]] = {}  # for on_connect to be asked once more
        self._running: dict[Connection, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """Connections of which something is kept here."""
        return len(self._timers.keys() | self._waiting.keys() | self._running.keys())

    # -- ending

    def is_over(self, moment: float | None) -> bool:
        """Whether a session that expires then has expired."""
        return moment is not None and moment <= self._clock.wall()

    def watch(self, connection: Connection) -> None:
        """Close a connection when its session is over, by what its request says now; at once if it is."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if (moment := connection.request.expires_at) is not None:
            self._look(connection, moment)

    def _look(self, connection: Connection, moment: float) -> None:
        self._timers.pop(connection, None)
        if self.is_over(moment):
            self._counters.sessions_expired += 1
            self.end(connection, CloseCode.UNAUTHENTICATED, EXPIRED)
        elif not connection.closed:
            wait = min(moment - self._clock.wall(), _LOOK_SECONDS)
            self._timers[connection] = asyncio.get_running_loop().call_later(wait, self._look, connection, moment)

    def end(self, connection: Connection, code: int, reason: str) -> None:
        """Close a connection without waiting for its client: streams, rooms, uploads and calls end now."""
        connection.close(code, reason)
        self.closed(connection)
        self._contracts.closed(connection)
        self._streams.closed(connection)
        self._uploads.closed(connection)
        if connection.calls.of:
            self._background.start(connection.calls.aclose(), name=f"end of {connection!r}")

    def closed(self, connection: Connection) -> None:
        """A connection is gone, or is being closed."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        for answer in self._waiting.pop(connection, ()):
            _tell(answer, connection)
        running = self._running.get(connection)
        if running is not None and running is not asyncio.current_task():
            running.cancel()

    def disconnect(self, user: str, code: int, reason: str) -> int:
        """See :meth:`UserSessions.disconnect`."""
        if code != CloseCode.NORMAL and code not in range(3000, 5000):
            raise ValueError(f"a connection is closed with 1000, or a code from 3000 to 4999, not {code!r}")
        found = self._of(user)
        for connection in found:
            self.end(connection, code, reason)
        return len(found)

    def _of(self, user: str) -> list[Connection]:
        given: object = user
        if not isinstance(given, str):
            raise TypeError(f"user= takes the id that identify gives a user, a string, not {given!r}")
        return [connection for connection in self._hub.people.connections(user) if not connection.closed]

    # -- refreshing

    async def refresh_user(self, user: str) -> int:
        """See :meth:`UserSessions.refresh`."""
        found = self._of(user)
        outcomes = await asyncio.gather(*map(self.refresh, found), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(map(bool, outcomes))

    async def refresh(self, connection: Connection) -> bool:
        """See :meth:`liverpc.declare.context.Context.refresh`. False: the connection is closed.

        Those who ask before ``on_connect`` is asked share its answer; who comes later gets the next one, because what
        it was asked for may have happened too late for the first.
        """
        if connection.closed:
            return False
        if self._hub.connections.get(connection.id) is not connection:
            raise RuntimeError("there is no client here whose session could be refreshed")
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(connection, []).append(answer)
        if connection not in self._running and len(self._waiting[connection]) == 1:
            connection.calls.call_soon(partial(self._begin, connection))  # it has a clean context
        return await answer

    def _begin(self, connection: Connection) -> None:
        if connection in self._waiting:
            self._running[connection] = self._background.start(self._run(connection), name=f"refresh of {connection!r}")
            self._running[connection].add_done_callback(lambda _: self._running.pop(connection))

    async def _run(self, connection: Connection) -> None:
        while answers := self._waiting.pop(connection, None):
            error: Exception | None = None
            try:
                await self._refresh(connection)
            except Exception as raised:
                error = raised
            finally:
                for answer in answers:
                    _tell(answer, connection, error)

    async def _refresh(self, connection: Connection) -> None:
        try:
            verdict = await self._ask(connection)
        except Reject as reject:
            self.end(connection, reject.close_code, reject.reason)
            return
        user = user_of(verdict)
        if self._user_ids.of(user) != connection.user_id:
            # Whatever is kept by the user's id, from presence to limits, would be another one's.
            self.end(connection, CloseCode.RESTART, "another user")
            return
        connection.user, connection.locals = user, verdict
        connection.refreshes += 1
        connection.refreshed_at = self._hub.monotonic()
        self._counters.sessions_refreshed += 1
        self.watch(connection)
        if not connection.closed:
            ctx: Context[Any] = Context(self._services, connection, "__refresh__", started_at=connection.refreshed_at)
            await a_few_at_once([*self._contracts.doubts(ctx), *self._streams.doubts(ctx)])

    async def _ask(self, connection: Connection) -> Any:
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


def _tell(answer: asyncio.Future[bool], connection: Connection, error: Exception | None = None) -> None:
    if answer.done():  # nobody waits for it any more
        return
    if error is None or connection.closed:
        answer.set_result(not connection.closed)
    else:
        answer.set_exception(error)
        answer.exception()  # or it would be reported when its waiter is cancelled in this turn


class UserSessions:
    """Has a say in the connections of a user; a ``LiveServer`` has."""

    _sessions: Sessions

    def disconnect(self, *, user: str, code: int = CloseCode.UNAUTHENTICATED, reason: str = "") -> int:
        """Close all connections of a user; their calls and uploads are cancelled, the caller's own included.

        Args:
            user: The user's id, as ``identify`` gives it.
            code: 1000, or from 3000 to 4999. After 4401 and 4403 clients stay away; docs/protocol.md section 6.
            reason: At most 123 bytes of it arrive.

        Returns:
            How many there were.

        Raises:
            ValueError: The code is another one.
            TypeError: ``user`` is no string.
        """
        return self._sessions.disconnect(user, code, reason)

    async def refresh(self, *, user: str) -> int:
        """Do for all connections of a user what ``ctx.refresh()`` does for one, after the user's role has changed.

        Args:
            user: The user's id, as ``identify`` gives it.

        Returns:
            How many are refreshed; those that were closed do not count.

        Raises:
            Exception: What ``on_connect`` raised for one of them, which is as it was; the others are refreshed.
            TypeError: ``user`` is no string.
        """
        return await self._sessions.refresh_user(user)
