"""The door for clients: origin, ``on_connect``, and the session behind an accepted socket."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Awaitable, Callable, Collection
from inspect import isawaitable
from typing import Any, Literal
from urllib.parse import urlsplit

from liverpc.clock import Clock
from liverpc.config import Limits
from liverpc.declare.context import Services
from liverpc.declare.hooks import Hooks, UserIds
from liverpc.dispatch.contracts import ContractCalls
from liverpc.dispatch.control import Controls
from liverpc.dispatch.pipeline import Pipeline
from liverpc.dispatch.refreshing import user_of
from liverpc.dispatch.session import LiveSession
from liverpc.dispatch.sessions import EXPIRED, Sessions
from liverpc.dispatch.uploads import UploadCalls
from liverpc.errors import ConfigError, Reject
from liverpc.hub.connection import Connection
from liverpc.hub.link import ConnectRequest, Link, Refuse
from liverpc.hub.tasks import Background, RunningCalls
from liverpc.rooms.contracts import Contracts
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import ConnectionOpened, Telemetry
from liverpc.uploads.uploads import Uploads
from liverpc.wire.close import FIRST_APPLICATION_CODE, CloseCode
from liverpc.wire.codec import encode

__all__ = ["LiveEndpoint", "OnConnect", "Origins", "check_origins", "origin_fits"]

OnConnect = Callable[[ConnectRequest], Any]
Origins = Literal["same-origin", "*"] | Collection[str]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class LiveEndpoint:
    """Answers on the server's WebSocket path, and on the URLs of its contracts (``hub.link.Endpoint``).

    A request without an ``Origin`` does not come from a browser and carries no cookies of an unknowing
    user, so it is accepted; any other must fit ``origins``. The scheme is not compared: behind a proxy
    that ends TLS it differs for every honest page.
    """

    subprotocol: str | None = None

    def __init__(
        self,
        *,
        services: Services,
        pipeline: Pipeline,
        streams: Streams,
        uploads: Uploads,
        telemetry: Telemetry,
        background: Background,
        limits: Limits,
        clock: Clock,
        context: contextvars.Context,
        origins: Origins,
        hooks: Hooks,
        contracts: Contracts,
        sessions: Sessions,
    ) -> None:
        self._hub = services.hub
        self._catalogue = contracts.catalogue
        self._contracts = ContractCalls(contracts, pipeline)
        self._sessions = sessions
        self._report = services.report
        self._clock = clock
        self._controls = Controls(services, streams, uploads, hooks)
        self._uploads = UploadCalls(pipeline, uploads, services, background, context)
        self._pipeline = pipeline
        self._streams = streams
        self._telemetry = telemetry
        self._background = background
        self._limits = limits
        self._context = context
        self._origins = origins
        self._on_connect: OnConnect | None = hooks.on_connect
        self._user_ids = UserIds(hooks, services.report)
        self._on_disconnect = hooks.on_disconnect

    def refuses(self, request: ConnectRequest) -> Refuse | None:
        origin = request.headers.get("origin")
        if origin is None or origin_fits(self._origins, origin, request.headers.get("host", "")):
            return None
        return Refuse(403, "this Origin may not connect; list it in LiveServer(origins=[...])")

    def decide(self, request: ConnectRequest) -> Any | Refuse | Awaitable[Any | Refuse]:
        route = request.route = self._catalogue.route(request.path)
        if route is not None:
            request.params = route.parts
        if self._on_connect is None:
            return None
        try:
            with self._sessions.deciding(request):
                verdict = self._on_connect(request)
        except Exception as error:
            return self._refused(error)
        return self._decided(request, verdict) if isawaitable(verdict) else self._unless_over(request, verdict)

    async def _decided(self, request: ConnectRequest, verdict: Awaitable[Any]) -> Any | Refuse:
        try:
            with self._sessions.deciding(request):
                return self._unless_over(request, await verdict)
        except Exception as error:
            return self._refused(error)

    def _unless_over(self, request: ConnectRequest, verdict: Any) -> Any | Refuse:
        return Refuse(CloseCode.UNAUTHENTICATED, EXPIRED) if self._sessions.is_over(request.expires_at) else verdict

    def _refused(self, error: Exception) -> Refuse:
        """What ``on_connect`` raised as a refusal; what is none goes on to the transport, which logs it."""
        if isinstance(error, Reject):
            return _refusal(error)
        self._report("__connect__", error, None)
        raise error

    def opened(self, link: Link, request: ConnectRequest, verdict: Any) -> LiveSession:
        hub = self._hub
        given = request.headers.get("x-request-id", "").strip()
        unique = self._clock.new_id()
        user = user_of(verdict)
        connection = Connection(
            unique,
            link=link,
            request=request,
            user=user,
            locals=verdict,
            user_id=self._user_ids.of(user),
            request_id=given if _REQUEST_ID.fullmatch(given) else unique,
            calls=RunningCalls(self._context, link, self._limits.calls_in_flight),
            requests=hub.requests,
            opened_at=hub.monotonic(),
        )
        hub.connections[connection.id] = connection
        hub.people.add(connection)
        if hub.faults is not None:
            hub.faults.opened(connection)
        self._telemetry.counters.connections_opened += 1
        if self._telemetry.connection_opened:
            self._telemetry.connection_opened.emit(ConnectionOpened(connection.id, connection.user_id, request.address))
        connection.send(encode({"type": "welcome", "sessionId": connection.id}))
        self._sessions.begin(connection)
        if request.route is not None and not connection.closed:
            self._contracts.connected(connection, request.route)
        return LiveSession(
            connection,
            hub=hub,
            pipeline=self._pipeline,
            streams=self._streams,
            uploads=self._uploads,
            controls=self._controls,
            telemetry=self._telemetry,
            background=self._background,
            limits=self._limits,
            on_disconnect=self._disconnected,
        )

    def _disconnected(self, connection: Connection, code: int, reason: str) -> None:
        self._sessions.closed(connection)
        self._contracts.closed(connection)
        if self._on_disconnect is not None:
            self._background.hook(
                self._on_disconnect,
                connection,
                code,
                reason,
                failed=lambda error: self._report("__disconnect__", error, None),
            )


def check_origins(origins: Origins) -> None:
    """Refuse origins that would never fit any page.

    Raises:
        ConfigError: Neither ``same-origin`` nor ``*`` nor a collection of origins as browsers write them.
    """
    if isinstance(origins, str):
        if origins not in ("same-origin", "*"):
            raise ConfigError(f"origins takes 'same-origin', '*' or a list of origins, not {origins!r}")
        return
    for origin in origins:
        if origin != "null" and not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"an origin is scheme://host or scheme://host:port in lower case, not {origin!r}")


def origin_fits(origins: Origins, origin: str, host: str) -> bool:
    """Whether pages from ``origin`` may use a server that is asked as ``host`` (docs/protocol.md section 1)."""
    if origins == "*":
        return True
    return _same_host(origin, host) if origins == "same-origin" else origin in origins


def _refusal(reject: Reject) -> Refuse:
    if reject.before_upgrade:
        return Refuse(reject.close_code - FIRST_APPLICATION_CODE, reject.reason or reject.code)
    return Refuse(reject.close_code, reject.reason)


def _same_host(origin: str, host: str) -> bool:
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        return (
            default is not None
            and page.hostname is not None
            and page.hostname == here.hostname
            and (page.port or default) == (here.port or default)
        )
    except ValueError:  # a port that is no number
        return False
