"""``LiveServer``: the composition root. It owns every piece of state; two servers know nothing of each other."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import ssl as ssl_module
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, Never, TypeVar

from liverpc.arguments import check_guards, check_kinds, check_paths, check_proxies, look_at_sizes
from liverpc.backends.memory import memory_cluster
from liverpc.backends.ports import Cluster, Gap
from liverpc.clock import Clock
from liverpc.config import DevWarnings, Inspect, Limits, PressureThresholds
from liverpc.declare.context import Context, Services
from liverpc.declare.contract import Contract
from liverpc.declare.guards import Guard
from liverpc.declare.hooks import Hooks
from liverpc.declare.registry import Modules, Naming, Registry
from liverpc.dispatch.around import AroundCalls
from liverpc.dispatch.devwarnings import DevWarner
from liverpc.dispatch.endpoint import LiveEndpoint, OnConnect, Origins, check_origins
from liverpc.dispatch.metrics import Metrics, MetricsSink
from liverpc.dispatch.pipeline import Pipeline
from liverpc.dispatch.sessions import Sessions, UserSessions
from liverpc.dispatch.web import State, Web
from liverpc.errors import ConfigError
from liverpc.hub.connection import Connection
from liverpc.hub.gatekeeper import Gatekeeper
from liverpc.hub.hub import Hub
from liverpc.hub.link import Endpoint, HttpRequest, HttpResponse
from liverpc.hub.publisher import Publisher
from liverpc.hub.tasks import Background
from liverpc.inspector.inspector import Inspector
from liverpc.inspector.protocol import ATTACH_PATH, ServerInfo
from liverpc.policies.admission import Admission
from liverpc.policies.faults import FaultRules
from liverpc.policies.faults_injector import Injector
from liverpc.policies.pacing import Pacing
from liverpc.policies.pressure import Pressure, PressureGauge
from liverpc.policies.running import RunningPolicies
from liverpc.process import Listening, Loop, listen, run
from liverpc.rooms.census import Census
from liverpc.rooms.contracts import Contracts
from liverpc.rooms.live import LiveRooms
from liverpc.streams.inprocess import InProcess, Loader
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import Counters, Telemetry
from liverpc.transports.asgi import AsgiApp
from liverpc.transports.handshake import proxies_of
from liverpc.transports.listener import Listener
from liverpc.transports.memory import MemorySocket, MemoryTransport
from liverpc.uploads.uploads import Uploads

__all__ = ["LiveServer"]

C = TypeVar("C", bound=Contract[Any, Any, Any])

log = logging.getLogger("liverpc.server")


class LiveServer(Publisher, Loader[Never], UserSessions, AroundCalls):
    """A realtime server, to run alone or inside an application's own event loop.

    Args:
        modules: Where the live functions and contracts are: modules (a function's path is the last part of the
            module's name / its own name), or a mapping from the first part of the path to a module or namespace. Both
            may have contracts themselves, too; they keep their names and the ``_guard`` of the module they stand in.
            With a mapping, Python clients need ``@live(path=...)`` or ``remote(...)``: a declaration alone knows only
            the module it stands in.
        on_connect: ``(request) -> user``, sync or async; what it returns is ``ctx.user``, or its ``user`` is, if it
            returns a ``Locals``. Raise ``Reject`` to refuse; ``request.expires_at`` is for when the session ends. It
            runs on every connect, reconnect and refresh and has ``limits.connect_seconds``.
        on_disconnect: ``(connection, code, reason)``, called once per connection; its errors are logged.
        on_topic: ``(ctx, topic) -> bool | str``, sync or async: may this connection listen to this topic? Asked
            for every stream, and for every topic a client subscribes to without a stream; those are withheld
            silently when there is no such hook. False denies with ``FORBIDDEN``, a string with that code.
        on_resume: ``(ctx, session_id, seqs)``: a client came back and says which connection it had before and
            the last event it saw of each topic. ``ctx.connection.send_event`` resends what it missed.
        authenticate: ``(request) -> None | bool | HttpResponse``, sync or async: answers ``POST`` on
            ``auth_path``, which browser clients with ``auth: true`` ask before they connect. None and True
            answer 204, False 401; ``HttpResponse(204, cookies=("sid=1; Path=/; HttpOnly",))`` sets cookies;
            ``raise Reject(...)`` answers 401, 403 or 429.
        before_execute: ``(ctx, path, args)``, sync or async, after the guard of every call and stream request;
            ``args`` is the list as sent. Raise a ``LiveError`` to refuse.
        on_error: ``(path, error, ctx)``, sync or async: told of every exception that is no ``LiveError`` in what
            clients ask for: functions, guards, streams and their hooks, and the hooks above and below. Those that
            run for a call or frame have a ``ctx``; for others it is None, and ``path`` is ``__connect__``,
            ``__identify__``, ``__auth__`` or ``__disconnect__``. What else goes wrong is logged.
        on_unhandled: ``(connection, data)``: told of every message that is no frame of ours.
        on_json_message: ``(connection, obj)``: gets messages that are JSON but no frames of ours, instead of
            ``on_unhandled``.
        identify: ``(user) -> str | None``: who a user is, for limits, presence and the devtools; not asked about
            None. Default: its field ``id``, ``user_id`` or ``userId``. Ids are 1 to 256 characters without control
            characters, quotes and backslashes, and do not begin with ``__``; otherwise the user counts as anonymous.
        guards: Run before the guard of every module.
        origins: Which pages may connect: ``same-origin``, ``*``, or a list such as
            ``["https://app.example"]``.
        path: Of the WebSocket. Contracts are on their own paths besides.
        auth_path: Of the endpoint for ``authenticate``; without that hook it answers 204.
        limits: See :class:`Limits`; read from the environment when not given.
        trusted_proxies: Addresses or networks, such as ``10.0.0.0/8``, of proxies in front of the server; ``unix``
            stands for peers without an address, such as those on a Unix socket. From them, and from nobody else,
            ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are taken.
        inspect: The devtools' door; closed unless enabled. Read from the environment when not given.
        thresholds: From which on ``server.pressure`` names a reason. Read from the environment when not given.
        warnings: What development mode warns of. Read from the environment when not given.
        naming: ``camel`` also answers ``sendMessage`` for ``send_message``.
        cluster: Shared state with other processes; in-process when not given.
        clock: Wall time, ids and randomness.
        name: Of this server, in devtools.
        dev: Development mode: more warnings, and the devtools' history fills from the start. Default:
            the environment variable ``LIVERPC_DEV``.
        fast_path: Parse plain data frames ourselves instead of through ``websockets``; the answers are the
            same. Default: on, unless ``LIVERPC_FAST_PATH=0``.

    Raises:
        DeclarationError: Something is declared wrongly; the text names file and line.
        ConfigError: A setting has a value it cannot have.
    """

    def __init__(
        self,
        modules: Modules = (),
        *,
        on_connect: OnConnect | None = None,
        on_disconnect: Callable[[Connection, int, str], object] | None = None,
        on_topic: Callable[[Context[Any], str], Any] | None = None,
        on_resume: Callable[[Context[Any], str, dict[str, int]], object] | None = None,
        authenticate: Callable[[HttpRequest], Any] | None = None,
        before_execute: Callable[[Context[Any], str, list[Any]], object] | None = None,
        on_error: Callable[[str, BaseException, Context[Any] | None], object] | None = None,
        on_unhandled: Callable[[Connection, bytes], object] | None = None,
        on_json_message: Callable[[Connection, Any], object] | None = None,
        identify: Callable[[Any], str | None] | None = None,
        guards: Sequence[Guard | Callable[[Context[Any]], object]] = (),
        origins: Origins = "same-origin",
        path: str = "/ws",
        auth_path: str = "/__ws/auth",
        limits: Limits | None = None,
        trusted_proxies: Sequence[str] = (),
        inspect: Inspect | None = None,
        thresholds: PressureThresholds | None = None,
        warnings: DevWarnings | None = None,
        naming: Naming = "snake",
        cluster: Cluster | None = None,
        clock: Clock | None = None,
        name: str = "liverpc",
        dev: bool | None = None,
        fast_path: bool | None = None,
    ) -> None:
        check_paths({"path": path, "auth_path": auth_path})
        check_kinds({"limits": (limits, Limits), "inspect": (inspect, Inspect), "warnings": (warnings, DevWarnings)})
        check_kinds({"thresholds": (thresholds, PressureThresholds)})
        check_guards(guards)
        check_proxies(trusted_proxies)
        check_origins(origins)
        self.name = name
        self.path = path
        self.limits = limits or Limits.from_env()
        self.dev = dev if dev is not None else os.environ.get("LIVERPC_DEV", "") not in ("", "0")
        self.clock = clock or Clock()
        self.telemetry = Telemetry()
        self.counters: Counters = self.telemetry.counters
        self.registry = Registry(modules, naming=naming, guards=guards)
        look_at_sizes(self.registry.entries, self.limits)
        self._inspect = inspect or Inspect.from_env()
        self._origins = origins
        self._proxies = proxies_of(trusted_proxies)
        self.hooks = Hooks(
            on_connect=on_connect,
            on_disconnect=on_disconnect,
            on_topic=on_topic,
            on_resume=on_resume,
            authenticate=authenticate,
            before_execute=before_execute,
            on_error=on_error,
            on_unhandled=on_unhandled,
            on_json_message=on_json_message,
            identify=identify,
        )
        self.hooks.check()
        self._cluster = cluster or memory_cluster(clock=self.clock, limits=self.limits)
        self._fast_path = fast_path
        self._background = Background()
        self._hub = Hub(self.telemetry, self._cluster.bus, self._cluster.log, self.limits, monotonic=self._monotonic)
        self._streams = Streams(self._hub, self.telemetry, self._background, self.hooks)
        self._streams.declare(self.registry.entries)
        self.uploads = Uploads(self.limits, self.counters, self._monotonic)
        report = partial(self.hooks.report, self._background)
        self._pacing = Pacing(
            self._hub,
            self.counters,
            max_keys=self.limits.paced_keys,
            failed=lambda ctx, error: report(ctx.path, error, ctx),
        )
        self._gauge = PressureGauge(self._hub, self.counters, thresholds or PressureThresholds.from_env())
        self._admission = Admission(self._gauge)
        self._rooms = LiveRooms(self._hub, self._pacing, self.limits, self.counters, self._background, report)
        self._policies = RunningPolicies.of(
            self._cluster, self._background, self.limits, self.counters, self._monotonic
        )
        self._services = Services(
            self._hub,
            self._pacing,
            self._gauge,
            self._admission,
            report,
            self._rooms,
            self._policies,
            lambda connection: self._sessions.refresh(connection),
        )
        reserved = (path, "/healthz", "/readyz", "/metrics", auth_path, ATTACH_PATH)
        self._contracts = Contracts(self.registry, self._hub, self.telemetry, reserved=reserved, on_connect=on_connect)
        self._sessions = Sessions(
            self._services,
            self.hooks,
            self._streams,
            self._contracts,
            self.uploads,
            self._background,
            self.clock,
            self.counters,
        )
        self._warner = (
            DevWarner(
                warnings or DevWarnings.from_env(), self._hub, self.telemetry, self.registry, self._policies.locks
            )
            if self.dev
            else None
        )
        self._middlewares = []
        self._inprocess = InProcess(self.registry, self._services, self.hooks, self._background, self.clock, path)
        super().__init__(self._inprocess)
        self.faults = FaultRules(self._monotonic, self._faults_changed)
        self._injector = Injector(self.faults, self._hub, self.telemetry)
        self._inspector: Inspector | None = None
        self._tried: MemoryTransport | None = None  # carries the calls that observers try
        self._endpoints: dict[str, Endpoint] = {}
        self._web = Web(
            auth_path=auth_path,
            origins=origins,
            hooks=self.hooks,
            report=report,
            state=self._state,
            gatekeeper=Gatekeeper(self._inspect.tokens, self._monotonic, self.clock.wall),
        )
        self._asgi = AsgiApp(self)
        self._phase: State = "starting"
        self._listener: Listener | None = None
        self._context = contextvars.copy_context()  # what calls begin with; that of each start
        self._loop = None

    # -- looking

    def metrics(self, sink: MetricsSink) -> None:
        """Let a system that collects figures read this server's, and answer ``GET /metrics`` with what it renders.

        ``server.metrics(PrometheusSink())``, before the server starts or while it runs; from then on it also keeps
        how long calls take, by path. A sink that fails fails no call. Who may read ``/metrics``: docs/protocol.md
        section 10.

        Raises:
            ConfigError: The server has a sink.
        """
        if self._web.sink is not None:
            raise ConfigError("this server has a metrics sink; a server has one")
        sink.bind(Metrics(self._hub, self.registry, self.telemetry, self.uploads, self._policies))
        self.registry.measure()
        self._web.sink = sink

    @property
    def pressure(self) -> Pressure:
        """How hard the server works; about a second old at most. The first look starts the measuring."""
        return self._gauge.read()

    @property
    def connections(self) -> list[Connection]:
        """The open ones."""
        return list(self._hub.connections.values())

    @property
    def rooms(self) -> tuple[Census, ...]:
        """Who is in which room, of each kind; for those who look at a server from outside."""
        return self._rooms, self._contracts

    def missed(self, topic: str, seq: int) -> list[tuple[int, str, Any]] | None:
        """The events of a topic with replay after number ``seq``, each with number, name and data; for ``on_resume``.

        Whoever asks has seen to it that the caller may listen to the topic.

        Returns:
            None when some are not kept any more, the number was never reached, or the topic has no replay.
        """
        return self._hub.missed(topic, seq)

    def contract(self, contract: type[C], /) -> C:
        """An instance that belongs to no connection, to send events: ``server.contract(Chat).chat.at("x").emit...``.

        It has neither ``params`` nor ``locals``, and its ``__init__`` does not run. Rooms are reached with ``at``; it
        cannot join any.

        Raises:
            TypeError: This server does not serve the contract.
        """
        return self._contracts.without_connection(contract)

    def subscribers(self, topic: str) -> int:
        """Connections subscribed to a topic."""
        return self._hub.subscribers(topic)

    # -- life

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[dict[str, Any]]:
        """Everything but sockets: what runs between start and stop, for ``FastAPI(lifespan=server.lifespan)``.

        On the way out the sockets are closed in rounds, which cancels their calls; hooks get
        ``limits.close_seconds`` to end by themselves. Nothing of the server is left on the loop, save what
        swallows its cancellation.
        """
        if self._loop is not None:
            raise RuntimeError("this LiveServer runs already; make one per event loop")
        self._loop = asyncio.get_running_loop()
        if type(self._loop).time is asyncio.BaseEventLoop.time:
            self._hub.monotonic = time.monotonic  # what it calls, without the call: it is asked twice per call
        else:
            self._hub.monotonic = self._loop.time
        self._context = contextvars.copy_context()
        self._pacing.open()
        if self._warner is not None:
            self._warner.start()
        try:
            pipeline = Pipeline(
                self.registry,
                self._services,
                self._streams,
                self.telemetry,
                hooks=self.hooks,
                middlewares=tuple(self._middlewares),
            )
            self._endpoints = {
                self.path: LiveEndpoint(
                    services=self._services,
                    pipeline=pipeline,
                    streams=self._streams,
                    uploads=self.uploads,
                    telemetry=self.telemetry,
                    background=self._background,
                    limits=self.limits,
                    clock=self.clock,
                    context=self._context,
                    origins=self._origins,
                    hooks=self.hooks,
                    contracts=self._contracts,
                    sessions=self._sessions,
                )
            }
            self._injector.open(pipeline.runners, pipeline.failing)
            await self._cluster.start(self._hub.deliver, self._gap, lambda message: None)
            if self._inspect.enabled:
                self._start_inspector()
            self._inprocess.open(self._middlewares)
            self._phase = "ready"
            yield {"liverpc": self}
        finally:
            await self._stop()

    def _start_inspector(self) -> None:
        self._inspector = Inspector(
            self._inspect,
            hub=self._hub,
            registry=self.registry,
            telemetry=self.telemetry,
            faults=self.faults,
            uploads=self.uploads,
            policies=self._policies,
            rooms=self.rooms,
            info=ServerInfo(self.name, version("liverpc"), os.getpid(), self.clock.wall(), self.dev),
            wall=self.clock.wall,
            always=self.dev,
            connect=self._connect_tried if self.dev else None,
        )
        self._inspector.start()
        self._endpoints[ATTACH_PATH] = self._inspector.endpoint

    async def _connect_tried(self, query: str) -> MemorySocket:
        if self._tried is None:
            self._tried = MemoryTransport(self)
        return await self._tried.connect(self.path, query=query, address="devtools")

    async def _stop(self) -> None:
        self._phase = "draining"
        # Unwound from the end; a step that fails or is cancelled does not keep the others from being taken.
        async with AsyncExitStack() as stack:
            stack.callback(self._stopped)
            stack.callback(self._look_for_left_behind)
            stack.push_async_callback(self._cluster.aclose)
            stack.push_async_callback(self._background.aclose, wait=self.limits.close_seconds)
            stack.callback(self._rooms.close)
            if self._listener is not None:
                stack.push_async_callback(self._listener.aclose)
                stack.push_async_callback(self._drain, self._listener)
            if self._tried is not None:
                stack.push_async_callback(self._tried.aclose)
            stack.callback(self._injector.close)  # what it holds is sent, while there are clients to get it
            if self._inspector is not None:
                stack.push_async_callback(self._inspector.aclose)
            if self._warner is not None:
                stack.callback(self._warner.stop)
            stack.callback(self._gauge.stop)
            stack.callback(self._pacing.close)  # while there are clients to get it

    async def _drain(self, listener: Listener) -> None:
        listener.begin_drain()
        await asyncio.gather(listener.drain(), self._asgi.drain())

    def _look_for_left_behind(self) -> None:
        left = {
            "topics": 0 if self._hub.connections else len(self._hub.topics),  # those are their transports' business
            "uploads": len(self.uploads.running),
            "upload bytes": self.uploads.buffered,
            "locks": len(self._policies.locks),
        }
        for what, count in left.items():
            self.telemetry.invariant(count == 0, "shutdown", "a stopped server has %d %s", count, what)

    def _stopped(self) -> None:
        self._phase = "starting"
        self._inprocess.close()
        self._inspector = self._listener = self._tried = None
        self._endpoints = {}
        self._loop = None

    @asynccontextmanager
    async def serve(
        self, host: str = "127.0.0.1", port: int = 8000, *, ssl: ssl_module.SSLContext | None = None
    ) -> AsyncIterator[Listening]:
        """Listen while the block runs; port 0 takes a free one.

        Raises:
            ConfigError: The address cannot be listened on; the text says why.
        """
        async with self.lifespan():
            listener = self.listener
            assert listener is not None
            token = None if self._inspector is None else self._inspector.local_token
            async with listen(listener, host, port, ssl, name=self.name, path=self.path, token=token) as listening:
                yield listening

    def run(self, host: str | None = None, port: int | None = None, *, loop: Loop = "asyncio") -> None:
        """Listen until SIGINT or SIGTERM, then shut down gracefully. Blocks.

        Says on stderr where it listens, unless the logger ``liverpc.server`` does.

        Args:
            host: Default: the environment variable ``HOST``, else ``127.0.0.1``.
            port: Default: the environment variable ``PORT``, else 8000.
            loop: The event loop; ``uvloop`` needs the extra ``fast``.

        Raises:
            SystemExit: With code 2, after a line on stderr that says why: there is no such port, or the address
                cannot be listened on.
            MissingExtraError: uvloop is not installed.
        """
        run(self.serve, name=self.name, host=host, port=port, loop=loop)

    # -- behind other servers

    def asgi(self) -> AsgiApp:
        """This server as an ASGI application, to be served alone or mounted in another one; see docs/deploy.md."""
        return self._asgi

    def __call__(self, *ignored: object) -> Never:
        """Not an application; who serves it as one, or as a factory of one, is told what to serve.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("a LiveServer is not an ASGI application; serve `app = server.asgi()`")

    @property
    def listener(self) -> Listener | None:
        """For doors: the owner of the server's sockets, made when first asked for; None while it does not run."""
        if self._listener is None and self._phase == "ready":
            self._listener = Listener(self, fast=self._fast_path, context=self._context, proxies=self._proxies)
        return self._listener

    # -- hub.link.Application

    def endpoint(self, path: str) -> Endpoint | None:
        """Who answers WebSocket upgrades on ``path``; paths of contracts are percent-encoded."""
        endpoint = self._endpoints.get(path)
        if endpoint is None and self._contracts.catalogue.route(path) is not None:
            endpoint = self._endpoints.get(self.path)
        return endpoint

    async def http(self, request: HttpRequest) -> HttpResponse:
        """Plain HTTP beside the WebSockets (docs/protocol.md section 10)."""
        return await self._web.answer(request)

    # -- inside

    def _state(self) -> State:
        return "draining" if self._listener is not None and self._listener.draining else self._phase

    def _monotonic(self) -> float:
        return self._loop.time() if self._loop is not None else time.monotonic()

    def _faults_changed(self, text: str) -> None:
        if self._inspector is not None:
            self._inspector.faults_changed(text)
        self._injector.changed()

    def _gap(self, gap: Gap) -> None:
        self.counters.bus_gaps += 1
        log.warning("events of other processes may be missing (%s, from %s)", gap.reason, gap.origin or "anybody")
