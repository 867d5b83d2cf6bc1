"""Calls that observers try as a test user: each on a connection of its own, through all that any call goes through."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from liverpc.client.socket import HandshakeRefused, Socket, SocketClosed
from liverpc.declare.registry import Entry
from liverpc.inspector.protocol import Err, Ok, Try
from liverpc.inspector.protocol.frames import CARRIERS
from liverpc.inspector.recorded import call_event
from liverpc.inspector.redact import Redactor
from liverpc.inspector.view import Source
from liverpc.telemetry import CallFinished, Telemetry
from liverpc.wire.codec import call_text

__all__ = ["OpenClient", "Trials"]

OpenClient: TypeAlias = Callable[[str], Awaitable[Socket]]
"""Opens a connection to this server, as a client with that query does."""

log = logging.getLogger("liverpc.inspector")

_SECONDS = 10.0  # for a call, from the handshake to its answer
_MAX_TEXT = 200  # characters of what a refusal says


class Trials:
    """The calls that are tried on one server, at most one for each observer.

    Args:
        connect: None: the server is not in development mode, and nothing can be tried.
        users: The test users, each with the query of its URL.
        source: Of the server.
        telemetry: Tells how a call ended.
        redactor: For what is told of it.
    """

    def __init__(
        self,
        connect: OpenClient | None,
        users: Mapping[str, str],
        source: Source,
        telemetry: Telemetry,
        redactor: Redactor,
    ) -> None:
        self._connect = connect
        self._users = {"": "", **users}
        self._source = source
        self._telemetry = telemetry
        self._redactor = redactor
        self._running: dict[object, asyncio.Task[None]] = {}

    @property
    def users(self) -> list[str]:
        """As whom a call can be tried, nobody (``""``) first; none when nothing can be."""
        return [] if self._connect is None else list(self._users)

    def start(self, owner: object, by: str, wish: Try, answer: Callable[[Ok | Err], object]) -> None:
        """Try a call for an observer who may.

        Args:
            owner: The observer; :meth:`stop` ends what runs for it.
            by: Its name, for the log.
            wish: The call.
            answer: Gets what came of it, or why it was refused.
        """
        connect, found = self._connect, self._source.registry.paths.get(wish.path)
        problem = self._problem(owner, wish, found)
        if problem or connect is None or found is None:
            answer(Err(id=wish.id, text=problem))
            return
        log.warning("%s calls %s as the test user %r", by, found.path, wish.user)
        task = asyncio.get_running_loop().create_task(
            self._run(connect, wish, found, answer), name=f"a trial of {found.path}"
        )
        self._running[owner] = task
        task.add_done_callback(lambda _: self._running.pop(owner))

    def _problem(self, owner: object, wish: Try, entry: Entry | None) -> str:
        if self._connect is None:
            return "calls are tried in development mode only: LIVERPC_DEV=1 or LiveServer(dev=True)"
        if wish.user not in self._users:
            known = ", ".join(filter(None, self._users)) or "none"
            return f"there is no test user {wish.user!r:.100}; Inspect(test_users=...) has {known}"
        if entry is None:
            return "no function answers on that path; the actions of a contract need a page that has it open"
        if entry.kind in CARRIERS:
            return f"{entry.path} takes bytes besides its arguments; `liverpc upload` sends files"
        if owner in self._running:
            return "a call is being tried already; its answer comes first"
        return ""

    def stop(self, owner: object) -> None:
        """Nobody waits any more for what runs for an observer."""
        if (task := self._running.get(owner)) is not None:
            task.cancel()

    async def aclose(self) -> None:
        """End everything."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, connect: OpenClient, wish: Try, entry: Entry, answer: Callable[[Ok | Err], object]) -> None:
        try:
            outcome = await self._outcome(connect, wish, entry)
        except Exception:
            log.exception("a trial of %s failed", entry.path)
            outcome = "the trial failed in the server; its log says why"
        if isinstance(outcome, str):
            answer(Err(id=wish.id, text=outcome))
        else:
            now = self._source.hub.monotonic()
            answer(Ok(id=wish.id, call=call_event(outcome, now, self._redactor)))

    async def _outcome(self, connect: OpenClient, wish: Try, entry: Entry) -> CallFinished | str:
        """How the call ended, or why it has no end."""
        call, ended = secrets.token_hex(8), list[CallFinished]()
        try:
            text = call_text(wish.path, call, wish.args, stream=entry.is_stream)
        except (ValueError, TypeError, OverflowError) as error:
            return f"the arguments cannot be sent: {error}"
        most = self._source.hub.limits.message_bytes
        if len(text.encode()) > most:
            return f"a call has at most {most:,} bytes (Limits.message_bytes)"

        def listen(event: CallFinished) -> None:
            if event.call == call:
                ended.append(event)

        self._telemetry.call_finished.append(listen)
        socket: Socket | None = None
        greeted = False
        try:
            async with asyncio.timeout(_SECONDS):
                socket = await connect(self._users[wish.user])
                await socket.send(text)
                while not ended:
                    await socket.recv()
                    greeted = True
        except TimeoutError:
            return f"no answer within {_SECONDS:g} s; the call was cancelled"
        except HandshakeRefused as refusal:
            return f"the test user was not let in: {refusal.status} {refusal.text.strip()[:_MAX_TEXT]}"
        except SocketClosed as closed:
            if not ended:
                how = "its connection was closed before the call was answered" if greeted else "it was not let in"
                return f"the test user: {how}: {closed.code} {closed.reason}".rstrip()
        finally:
            self._telemetry.call_finished.remove(listen)
            if socket is not None:
                await socket.close()
        return ended[0]
