"""How long a connection is somebody's: expiry, refresh, and the end that a server puts to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from liverpc.clock import Clock
from liverpc.declare.context import Services
from liverpc.declare.hooks import Hooks
from liverpc.dispatch.refreshing import Refreshes
from liverpc.hub.connection import Connection
from liverpc.hub.link import ConnectRequest
from liverpc.hub.tasks import Background
from liverpc.rooms.contracts import Contracts
from liverpc.streams.doubts import check_not_asking
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import Counters
from liverpc.uploads.uploads import Uploads
from liverpc.wire.close import CloseCode

__all__ = ["EXPIRED", "Sessions", "UserSessions"]

log = logging.getLogger("liverpc.sessions")

EXPIRED = "session expired"

_LATELY = 10_000  # what was said of users is remembered for handshakes under way
_LOOK_SECONDS = 30.0  # clocks are set, and machines sleep: the time left is computed anew so often


class _Decision:
    """One run of ``on_connect``; what it has started may live longer."""

    def __init__(self, request: ConnectRequest) -> None:
        self.request: ConnectRequest | None = request


_deciding: ContextVar[_Decision | None] = ContextVar("the run of on_connect in which something runs", default=None)


def _decided_now() -> ConnectRequest | None:
    """Whose ``on_connect`` runs this; None: none does."""
    decision = _deciding.get()
    return None if decision is None else decision.request


class _Said(NamedTuple):
    """``disconnect`` or ``refresh`` was called for a user.

    Attributes:
        number: Counts these calls.
        at: hub.monotonic.
        goodbye: Code and reason; None: it was a refresh.
        by: Whose ``on_connect`` did, for the other connections of the user.
    """

    number: int
    at: float
    goodbye: tuple[int, str] | None
    by: ConnectRequest | None

    def concerns(self, request: ConnectRequest) -> bool:
        """Whether somebody else said it while the handshake was under way."""
        return self.number > request.asked and self.by is not request


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
        self._streams = streams
        self._contracts = contracts
        self._uploads = uploads
        self._background = background
        self._clock = clock
        self._counters = counters
        self._refreshes = Refreshes(
            services,
            hooks,
            streams,
            contracts,
            background,
            counters,
            end=self.end,
            renewed=self.watch,
            deciding=self.deciding,
        )
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._said = 1
        self._forgotten = 0
        self._lately: dict[tuple[str, str], _Said] = {}  # by user and what; the last ones, oldest first

    def __len__(self) -> int:
        """Connections of which something is kept here."""
        return len(self._timers.keys() | self._refreshes.of.keys())

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
        self._refreshes.closed(connection)

    def disconnect(self, user: str, code: int, reason: str) -> int:
        """See :meth:`UserSessions.disconnect`."""
        if code != CloseCode.NORMAL and code not in range(3000, 5000):
            raise ValueError(f"a connection is closed with 1000, or a code from 3000 to 4999, not {code!r}")
        found = self._of(user)
        if found:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                raise RuntimeError(
                    "disconnect is called on the server's event loop; from a thread: loop.call_soon_threadsafe(...)"
                ) from None
        self._say(user, (code, reason))
        for connection in found:
            self.end(connection, code, reason)
        return len(found)

    def _of(self, user: str) -> list[Connection]:
        given: object = user
        if not isinstance(given, str):
            raise TypeError(f"user= takes the id that identify gives a user, a string, not {given!r}")
        asking = _decided_now()  # which says it of the others
        connections = self._hub.people.connections(user)
        return [each for each in connections if not each.closed and each.request is not asking]

    # -- refreshing

    async def refresh_user(self, user: str) -> int:
        """See :meth:`UserSessions.refresh`."""
        check_not_asking()
        found = self._of(user)
        self._say(user, None)
        outcomes = await asyncio.gather(*map(self.refresh, found), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in errors[1:]:
            log.error("a further connection of the user %r is as it was", user, exc_info=error)
        if errors:
            raise errors[0]
        return sum(map(bool, outcomes))

    async def refresh(self, connection: Connection) -> bool:
        """See :meth:`liverpc.dispatch.refreshing.Refreshes.refresh`."""
        return await self._refreshes.refresh(connection)

    # -- handshakes

    @contextmanager
    def deciding(self, request: ConnectRequest) -> Iterator[None]:
        """``on_connect`` is asked: what others say of its user from now on concerns the connection, too."""
        if not request.asked:
            request.asked = self._said
        decision = _Decision(request)
        token = _deciding.set(decision)
        try:
            yield
        finally:
            decision.request = None
            _deciding.reset(token)

    def begin(self, connection: Connection) -> None:
        """A connection is open. What was said of its user during the handshake is done now."""
        self.watch(connection)
        user, asked = connection.user_id, connection.request.asked
        if user is None or connection.closed:
            return
        end, again = self._lately.get((user, "end")), self._lately.get((user, "refresh"))
        if end is not None and end.goodbye is not None and end.concerns(connection.request):
            self.end(connection, *end.goodbye)
        elif asked < self._forgotten or (again is not None and again.concerns(connection.request)):
            connection.calls.hold()  # its client is not heard as somebody it may be no more
            self._background.start(self._late(connection), name=f"late refresh of {connection!r}")

    async def _late(self, connection: Connection) -> None:
        try:
            await self.refresh(connection)
        except Exception as error:
            log.exception("it is not known who %r is", connection)
            self._services.report("__connect__", error, None)
            self.end(connection, CloseCode.TRY_AGAIN_LATER, "not refreshed")
        finally:
            connection.calls.release()

    def _say(self, user: str, goodbye: tuple[int, str] | None) -> None:
        """Remember what was said of a user, for those whose handshakes are under way."""
        now, key = self._hub.monotonic(), (user, "refresh" if goodbye is None else "end")
        self._said += 1
        before, by = self._lately.pop(key, None), _decided_now()
        if before is not None and before.by is None and by is not None and before.concerns(by):
            by = None  # it must not hide what was said from outside
        self._lately[key] = _Said(self._said, now, goodbye, by)
        old = now - 2 * self._hub.limits.connect_seconds
        while (first := next(iter(self._lately.values()))).at < old or len(self._lately) > _LATELY:
            self._forgotten = first.number  # whose handshake began before it, is asked again whoever it is
            del self._lately[next(iter(self._lately))]


class UserSessions:
    """Has a say in the connections of a user; a ``LiveServer`` has."""

    _sessions: Sessions

    def disconnect(self, *, user: str, code: int = CloseCode.UNAUTHENTICATED, reason: str = "") -> int:
        """Close all connections of a user to this process; their calls and uploads are cancelled, the caller's too.

        One that is about to open is closed then. Where ``on_connect`` calls this, its own connection opens.

        Args:
            user: The user's id, as ``identify`` gives it.
            code: 1000, or from 3000 to 4999. After 4401 and 4403 clients stay away; docs/protocol.md section 6.
            reason: At most 123 bytes of it arrive.

        Returns:
            How many there were.

        Raises:
            ValueError: The code is another one.
            TypeError: ``user`` is no string.
            RuntimeError: This is not the thread of the server's event loop.
        """
        return self._sessions.disconnect(user, code, reason)

    async def refresh(self, *, user: str) -> int:
        """Do for all connections of a user to this process what ``ctx.refresh()`` does for one: its role has changed.

        One that is about to open is refreshed then, before its client is heard.

        Args:
            user: The user's id, as ``identify`` gives it.

        Returns:
            How many are refreshed; those that were closed do not count.

        Raises:
            Exception: What ``on_connect`` raised for one of them, which is as it was; the others are refreshed. What it
                raised for more of them is logged.
            RuntimeError: It is called by what a refresh asks, such as ``on_connect`` or a guard.
            TypeError: ``user`` is no string.
        """
        return await self._sessions.refresh_user(user)
