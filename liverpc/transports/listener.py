"""The owner of a server's sockets: listens, keeps every open connection, and ends them."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import logging
import os
import socket
import ssl as tls
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from websockets.frames import Frame, Opcode

from liverpc.config import Limits
from liverpc.errors import ConfigError
from liverpc.hub.link import Application
from liverpc.transports.drain import see_off
from liverpc.transports.handshake import Admission, Proxy
from liverpc.transports.http import PlainHttp
from liverpc.transports.wheel import Wheel
from liverpc.transports.writing import OPEN, Writing
from liverpc.transports.ws import LiveProtocol

__all__ = ["Listener"]

log = logging.getLogger("liverpc.transports")

_MAX_TICK = 0.25  # seconds; how exact deadlines need to be when limits are generous
_MIN_TICK = 0.01
_LARGE_BYTES = 4 << 20


class Listener:
    """WebSockets and plain HTTP for one application, on any number of addresses.

    Made inside a running loop. Owns the connections, their deadlines and their tasks; after
    :meth:`aclose` none of them is left.

    Args:
        application: What is served.
        fast: Parse plain data frames without the WebSocket library. Default: yes, unless the environment
            variable ``LIVERPC_FAST_PATH`` is ``0`` or a self-test finds that the library in use behaves
            differently, which is logged.
        context: The context variables that sessions and requests start from. Default: those at hand.
        proxies: Peers whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` count.
    """

    def __init__(
        self,
        application: Application,
        *,
        fast: bool | None = None,
        context: contextvars.Context | None = None,
        proxies: tuple[Proxy, ...] = (),
    ) -> None:
        self.application = application
        self.limits = limits = application.limits
        self.counters = application.counters
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context() if context is None else context
        shortest = min(
            limits.connect_seconds,
            limits.ping_seconds,
            limits.pong_seconds,
            limits.idle_text_seconds,
            limits.close_seconds,
            limits.linger_seconds,
            limits.keep_alive_seconds,
        )
        self.wheel = Wheel(self.loop, min(_MAX_TICK, max(_MIN_TICK, shortest / 4)), self.context)
        self.ping_turns = self.wheel.turns(limits.ping_seconds)
        self.pong_turns = self.wheel.turns(limits.pong_seconds)
        self.idle_turns = self.wheel.turns(limits.idle_text_seconds)
        self.draining = False  #: no new WebSocket connections; readiness checks should say so
        self.admission = Admission(application, now=self.loop.time, start=self.spawn, proxies=proxies)
        self.connections: set[LiveProtocol | PlainHttp] = set()
        self._empty = asyncio.Event()  # no connections
        self._empty.set()
        self._closed = False
        self._draining: asyncio.Task[None] | None = None
        self._servers: list[asyncio.Server] = []
        self._dirty: list[Writing] = []  # to flush at the end of this turn
        self._tasks: set[asyncio.Task[Any]] = set()
        self.fast = os.environ.get("LIVERPC_FAST_PATH") != "0" if fast is None else fast
        if self.fast and not self._fast_path_works():
            log.warning(
                "the fast path disagrees with the installed websockets library and stays off: "
                "everything works, with less throughput"
            )
            self.fast = False
        # glibc returns freed memory to the system at once, until a block like this one was freed. Large messages
        # would take most of their time to get it again, page by page. The block itself is never touched.
        bytearray(_LARGE_BYTES)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listening socket, with the port the system chose for port 0."""
        return [socket.getsockname()[:2] for server in self._servers for socket in server.sockets]

    async def listen(self, host: str, port: int, *, ssl: tls.SSLContext | None = None, backlog: int = 4096) -> None:
        """Accept connections; may be called for several addresses.

        Args:
            host: Name or address of an interface; a name with several addresses listens on all of them.
            port: 0: any free one, see :attr:`addresses`.
            ssl: Serve TLS.
            backlog: Connections the system may hold until they are accepted.

        Raises:
            ConfigError: There is no such port, or the address cannot be listened on; the text says why.
        """
        if type(port) is not int or not 0 <= port <= 65535:
            raise ConfigError(f"port={port!r} is not a port number from 0 to 65535")
        serving = self.loop.create_server(
            lambda: LiveProtocol(self),
            host,
            port,
            ssl=ssl,
            backlog=backlog,
            ssl_handshake_timeout=None if ssl is None else self.limits.connect_seconds,
        )
        # Every accepted connection inherits the context variables of whoever begins to listen.
        try:
            self._servers.append(await self.loop.create_task(serving, context=self.context.copy()))
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that no name can be
            raise ConfigError(f"cannot listen on {host}:{port}: {_why_not(host, error)}") from None

    def begin_drain(self) -> None:
        """Refuse new WebSocket connections with HTTP 503; plain HTTP and open connections go on."""
        self.draining = True

    def shutdown(self) -> None:
        """Begin :meth:`drain` in a task of the listener's own; harmless when it has begun."""
        if self._draining is None and not self._closed:
            self._draining = self.spawn(self._drain())

    async def drain(self) -> None:
        """Stop accepting, let begun calls end, and say goodbye to everyone with 1001 "server going away".

        Many connections are closed in rounds over the first half of ``Limits.drain_seconds``, so that their
        clients do not all come back at once. A connection whose turn it is and whose calls still run is not
        read any more, and closed as soon as they are answered, or ``Limits.drain_seconds`` after the drain
        began. Who is there ``Limits.close_seconds`` later is dropped. Returns as soon as nobody is left;
        called again, it waits for the same.
        """
        self.shutdown()
        if self._draining is not None:
            # Who waits may be cancelled: the drain goes on until it is over, or aclose() ends it.
            await asyncio.wait({self._draining})

    async def aclose(self) -> None:
        """Drop every connection without a goodbye and release everything; see :meth:`drain` for manners."""
        self._closed = self.draining = True
        self._stop_accepting()
        await self._abort()
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.wheel.stop()

    # What connections call

    def add(self, connection: LiveProtocol | PlainHttp) -> None:
        """A socket was accepted, or changed its protocol."""
        self.connections.add(connection)
        self._empty.clear()
        if self._closed:  # accepted by the loop before the server was closed
            connection.transport.abort()

    def remove(self, connection: LiveProtocol | PlainHttp) -> None:
        """A socket is gone, or another protocol has it."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def peer(self, transport: asyncio.BaseTransport, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Address and TLS of the client at the other end, or of whom a trusted proxy there speaks for."""
        name = transport.get_extra_info("peername")
        address = str(name[0]) if isinstance(name, tuple) else ""  # a Unix socket has none
        return self.admission.peer(address, transport.get_extra_info("sslcontext") is not None, headers)

    def touch(self, connection: Writing) -> None:
        """Flush the connection once, after everything that is ready now has run."""
        connection.listed = True
        if not self._dirty:
            self.call_soon(self._flush)
        self._dirty.append(connection)

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call in the next turn, in the context variables everything here starts from."""
        self.loop.call_soon(callback, *arguments, context=self.context.copy())

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task in those context variables; cancelled by :meth:`aclose`."""
        task = self.loop.create_task(coroutine, context=self.context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Internals

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.listed = False
            connection.flush()

    def _stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _drain(self) -> None:
        self.begin_drain()
        self._stop_accepting()
        await see_off(list(self.connections), self.limits, self._empty)
        await self._abort()

    async def _abort(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()
        await self._empty.wait()

    def _fast_path_works(self) -> bool:
        """Whether both ways of reading find the same messages in a sample."""
        stream = b"".join(
            Frame(opcode, data).serialize(mask=True)
            for opcode in (Opcode.TEXT, Opcode.BINARY)
            for data in (b"", b"a", "ü€".encode(), *(b"liverpc" * times for times in (17, 18, 9_000, 9_500)))
        )
        try:
            by_library, by_us = (self._messages(stream, fast) for fast in (False, True))
        except Exception:
            log.exception("the self-test of the fast path failed")
            return False
        return by_us == by_library and len(by_us) == 14

    def _messages(self, stream: bytes, fast: bool) -> list[tuple[bytes, bool]]:
        protocol, recorder = LiveProtocol(self), _Recorder()
        protocol.phase, protocol.session, protocol.fast = OPEN, recorder, fast
        protocol.limits = Limits()  # the sample may be more than this server takes
        protocol.data_received(stream)
        return recorder.messages


class _Recorder:
    """A session that keeps what it gets, for the self-test."""

    running = 0

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []

    def receive(self, payload: bytes, text: bool) -> None:
        self.messages.append((payload, text))

    def closed(self, code: int, reason: str) -> None:
        pass


def _why_not(host: str, error: OSError | UnicodeError) -> str:
    """Why nobody can listen there, and the cure."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"host={host!r} has no address; give an address, such as 127.0.0.1, or a name this machine knows"
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use; stop the other program or choose another port"
        case errno.EACCES:
            return "this user may not use the port; choose one from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"host={host!r} is not an address of this machine; 127.0.0.1 always is, 0.0.0.0 is all it has"
    return error.strerror or str(error)
