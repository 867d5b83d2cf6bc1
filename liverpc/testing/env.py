"""``TestEnv``: a server and its clients in one process, without sockets.

Nothing is mocked but the network: calls go through the client's core, the codec, the pipeline and the hub,
exactly as over a WebSocket. On the virtual loop, waiting costs no time and a hang is an error at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from urllib.parse import urlencode

from liverpc._types import P, Stream, T, Upload
from liverpc.client.aio import Client
from liverpc.client.calls import Call
from liverpc.client.connection import Connection
from liverpc.client.contract import ContractPage
from liverpc.client.handles import StreamHandle
from liverpc.client.offline import OfflineQueue
from liverpc.client.options import CallOptions, check_target
from liverpc.client.socket import Socket
from liverpc.client.sources import Data, Source
from liverpc.client.uploading import UploadHandle
from liverpc.client.urls import parts_of, url_of
from liverpc.config import ClientConfig
from liverpc.hub.link import ConnectRequest
from liverpc.pages import PageContract
from liverpc.server import LiveServer
from liverpc.telemetry import Counters
from liverpc.testing.chaos import TestChaos
from liverpc.transports.memory import MemorySocket, MemoryTransport

__all__ = ["TestClient", "TestEnv", "TestHandle", "TestPage"]

C = TypeVar("C", bound=PageContract[Any])
C_co = TypeVar("C_co", bound=PageContract[Any], covariant=True)
D = TypeVar("D")

_AS_USER = "x-liverpc-test-user"
_NOBODY = object()  # connect() without user=: the server's own on_connect decides


class _Connection(Connection):
    """Opens itself when something is first asked of it."""

    def __init__(
        self,
        env: TestEnv,
        path: str,
        query: str,
        headers: Mapping[str, str],
        config: ClientConfig,
        offline: OfflineQueue | None,
    ) -> None:
        self.env = env
        self._query = query
        self._headers = headers
        self._opening = asyncio.Lock()
        self.socket: MemorySocket | None = None
        # No silence check: on a clock that jumps, it would reconnect for ever instead of ending a hang.
        super().__init__(self._connect, config, offline=offline, silence=None, rng=env.random, path=path)

    async def _connect(self) -> Socket:
        self.socket = await self.env.transport.connect(self._path, query=self._query, headers=self._headers)
        return self.socket

    async def open(self) -> None:
        async with self._opening:
            if self._task is None:
                await super().open()

    def check_open(self) -> None:
        if self._task is None and self.core.status != "closed":
            raise RuntimeError("the client is not open yet, and this does not wait: await client.open() before")

    async def call(self, path: str, args: list[Any], result_type: Any, options: CallOptions) -> Any:
        await self.open()
        return await super().call(path, args, result_type, options)

    async def binary(self, path: str, args: list[Any], data: Data, result_type: Any, options: CallOptions) -> Any:
        await self.open()
        return await super().binary(path, args, data, result_type, options)

    def upload(
        self, fn: Upload[..., Any], args: list[Any], source: Source, options: CallOptions, *, in_thread: bool = False
    ) -> UploadHandle[Any]:
        return UploadHandle(
            self.uploads,
            fn.path,
            args,
            source,
            fn.result_type,
            timeout=options.timeout,
            in_thread=in_thread,
            before=self._open_for_upload,
        )

    async def _open_for_upload(self) -> None:
        if self.core.status != "closed":  # then the upload ends with why
            await self.open()

    async def batch(
        self,
        requests: list[tuple[str, list[Any]]],
        *,
        sequential: bool,
        timeout: float | None,  # noqa: ASYNC109 - the core keeps the deadline
    ) -> list[Call]:
        await self.open()
        return await super().batch(requests, sequential=sequential, timeout=timeout)


class TestHandle(StreamHandle[T]):
    """A stream in a test: the real handle, which connects its client when it is opened."""

    __test__ = False
    _connection: _Connection

    async def open(self) -> Self:
        await self._connection.open()
        return await super().open()

    def simulate_publish(self, event: str, data: Any) -> None:
        """Publish on the stream's topic, as the server would: all who listen to it get the event.

        Raises:
            RuntimeError: The server has not told the topic yet.
            LiveError: The event's name is malformed.
        """
        topic = self._subscription.topic
        if topic is None:
            raise RuntimeError(f"the topic of {self._path} is not known yet: open the stream before, and its gate")
        self._connection.env.server.publish_nowait(topic, event, data)


class TestPage(ContractPage[C_co]):
    """A page in a test: the real one, which connects and opens itself when it is first used; the environment closes it.

    Events arrive once it is open: :meth:`open` sees to that when another page shall be heard first.
    """

    __test__ = False
    client: TestClient
    _connection: _Connection

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._opening = asyncio.Lock()

    async def open(self) -> Self:
        """As ``ContractPage.open``. Harmless when open."""
        async with self._opening:
            if not self._begun:
                if not self._owns:
                    await self._connection.open()
                await super().open()
        return self

    async def _ready(self) -> None:
        await self.open()
        await super()._ready()


class TestClient(Client):
    """A client in a test: the real one, which connects when it is first used; the environment closes it.

    Whatever is awaited or entered connects: calls, batches, streams, uploads. ``fire`` cannot wait, so it needs
    :meth:`open` before.
    """

    __test__ = False
    _connection: _Connection

    @overload
    def open(self, contract: Callable[[D, Any], C], params: D, /) -> TestPage[C]: ...
    @overload
    def open(self, contract: type[C], /, **parts: str | int) -> TestPage[C]: ...
    @overload
    def open(self, /) -> Coroutine[Any, Any, Self]: ...
    def open(self, contract: Any = None, params: Any = None, /, **parts: Any) -> Any:
        """Connect now; raises what ``async with connect(…)`` would. Harmless when open.

        With a contract, as ``Client.open``.
        """
        if contract is None:
            return self.__aenter__()
        return TestPage(self, self._connection, self._options, contract, parts_of(contract, params, parts))

    def using(
        self, *, timeout: float | None = None, fresh: bool | None = None, idempotency_key: str | None = None
    ) -> TestClient:
        """As ``Client.using``."""
        return TestClient(self._connection, self._options.using(timeout, fresh, idempotency_key))

    def stream(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TestHandle[T]:
        """As ``Client.stream``."""
        check_target(fn, Stream, "stream()")
        return TestHandle(self._connection, fn.path, fn.bind(args, kwargs), fn.result_type, self._options.timeout)

    async def subscribe(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TestHandle[T]:
        """Open a stream and wait for its first answer; raises ``RpcError`` when it is refused."""
        return await self.stream(fn, *args, **kwargs).open()

    async def subscribe_at(self, fn: Stream[..., T], /, *args: Any, schema_version: int = 1) -> TestHandle[T]:
        """The same, as a client that asks for rows as of this version of their schema."""
        return await self.stream(fn, *args).subscribe_at(schema_version).open()

    @property
    def socket(self) -> MemorySocket | None:
        """Of the current connection, or the last one."""
        return self._connection.socket

    def cut(self) -> None:
        """Lose the connection without goodbye; the client reconnects by itself."""
        if self.socket is not None:
            self.socket.cut()


class TestEnv:
    """A running server and the clients of one test: ``async with TestEnv(server) as env: …``.

    A violated invariant (``server.telemetry.invariant``) raises an AssertionError, at the latest on the way out.

    Attributes:
        server: The server under test.
        chaos: Faults to inject.
        random: Seeded; the clients' ids and back-off come from it.

    Args:
        server: Not started yet. Its ``on_connect`` is used for clients made without ``user=``.
        latency: Seconds every message takes in each direction.
    """

    __test__ = False

    def __init__(self, server: LiveServer, *, latency: float = 0.0) -> None:
        self.server = server
        self.chaos = TestChaos(server)
        self.random = random.Random(0)
        self._latency = latency
        self._stack = AsyncExitStack()
        self._clients: list[TestClient] = []
        self._users: list[Any] = []

    async def __aenter__(self) -> Self:
        original = self.server.hooks.on_connect
        self.server.telemetry.strict = True

        def on_connect(request: ConnectRequest) -> Any:
            given = request.headers.get(_AS_USER)
            if given is not None:
                return self._users[int(given)]
            return original(request) if original is not None else None

        self.server.hooks.on_connect = on_connect
        self._stack.callback(setattr, self.server.hooks, "on_connect", original)
        await self._stack.enter_async_context(self.server.lifespan())
        self.transport = MemoryTransport(self.server, latency=self._latency, network=self.chaos.wire)
        self._stack.push_async_callback(self.transport.aclose)
        self._stack.push_async_callback(self._leave)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        violations = self.server.telemetry.violations  # where one raised, somebody may have caught it
        assert not violations, f"violated invariants, by category: {violations}; the log says which"

    async def _leave(self) -> None:
        for client in self._clients:
            await client.aclose()

    def connect(
        self,
        *,
        user: Any = _NOBODY,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        config: ClientConfig | None = None,
        offline: OfflineQueue | None = None,
    ) -> TestClient:
        """Another client.

        Args:
            user: Becomes ``ctx.user``, without asking ``on_connect``; None: anonymous.
            query: Of the URL.
            headers: Of the handshake.
            config: Of the client.
            offline: The client's queue for the calls made without a connection.
        """
        return self._client(self.server.path, user, query, headers, config, offline)

    @overload
    def open(
        self,
        contract: Callable[[D, Any], C],
        params: D,
        /,
        *,
        user: Any = _NOBODY,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        config: ClientConfig | None = None,
        offline: OfflineQueue | None = None,
    ) -> TestPage[C]: ...
    @overload
    def open(
        self,
        contract: type[C],
        /,
        *,
        user: Any = _NOBODY,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        config: ClientConfig | None = None,
        offline: OfflineQueue | None = None,
        **parts: str | int,
    ) -> TestPage[C]: ...
    def open(
        self,
        contract: Any,
        params: Any = None,
        /,
        *,
        user: Any = _NOBODY,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        config: ClientConfig | None = None,
        offline: OfflineQueue | None = None,
        **parts: Any,
    ) -> TestPage[Any]:
        """Another client, on the URL of a contract: ``page = env.open(Chat, user="ann", room_id="general")``.

        Args:
            contract: The class.
            params: Of its URL; or its parts by name.
            user: As for :meth:`connect`, as the others.
            query: Of the URL.
            headers: Of the handshake.
            config: Of the client.
            offline: The client's queue.
            parts: As ``params``. Those that are called like an argument of this method need ``params``.

        Raises:
            TypeError: A part is missing, empty, or there is one too many.
        """
        filled = parts_of(contract, params, parts)
        client = self._client(url_of(contract, "", filled), user, query, headers, config, offline)
        return TestPage(client, client._connection, client._options, contract, filled, owns=True)

    def _client(
        self,
        path: str,
        user: Any,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        config: ClientConfig | None,
        offline: OfflineQueue | None,
    ) -> TestClient:
        given = dict(headers or {})
        if user is not _NOBODY:
            given[_AS_USER] = str(len(self._users))
            self._users.append(user)
        client = TestClient(_Connection(self, path, urlencode(query or {}), given, config or ClientConfig(), offline))
        self._clients.append(client)
        return client

    @property
    def counters(self) -> Counters:
        """The server's totals."""
        return self.server.counters

    async def settle(self) -> None:
        """Let everything that is due happen, without letting time pass."""
        for _ in range(20):
            await asyncio.sleep(0)
