"""Whether a peer gets a connection; the same questions in the same order on every transport."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from inspect import isawaitable, iscoroutine
from typing import Any, Final, Literal, TypeAlias

from liverpc.config import Limits
from liverpc.errors import ConfigError
from liverpc.hub.addresses import Address, network_of, parse_address
from liverpc.hub.link import Application, ConnectRequest, Endpoint, Refuse

__all__ = ["Admission", "Proxy", "clip", "header_map", "proxies_of", "verdict_of"]

log = logging.getLogger("liverpc.transports")

UNIX: Final = "unix"
Proxy: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network | Literal["unix"]

_MAX_REASON = 123  # bytes: what a close frame has room for
_MAX_ADDRESSES = 10_000  # remembered per window
_FAILED = Refuse(500, "internal error")  # the details are in the log, they are nobody else's business
_GOING_AWAY = Refuse(503, "server going away")
_TOO_MANY_HEADERS = Refuse(431, "too many headers")
_TOO_LONG_COOKIES = Refuse(431, "the cookies are too long")


class Admission:
    """Decides about the connections of one server, whatever they come through.

    Args:
        application: What is served.
        now: A clock that never goes back, in seconds.
        start: Runs a decision that takes time as a task.
        proxies: Peers whose word about whom they speak for is taken, see :func:`proxies_of`.
    """

    def __init__(
        self,
        application: Application,
        *,
        now: Callable[[], float],
        start: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        proxies: tuple[Proxy, ...] = (),
    ) -> None:
        self.deciding: set[asyncio.Task[Any]] = set()  #: decisions under way
        self._application = application
        self._limits = application.limits
        self._start = start
        self._proxies = [proxy for proxy in proxies if not isinstance(proxy, str)]
        self._trusts_unix = UNIX in proxies
        self._upgrades = _Upgrades(application.limits, now)
        self._warned = False

    def peer(self, address: str, secure: bool, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Address and TLS of the client, who may have come through trusted proxies.

        Of ``X-Forwarded-For`` the right-most address counts that is no trusted proxy itself: everything left
        of it may be invented. What is no address ends the search. ``X-Forwarded-Proto`` is taken from the
        nearest proxy.
        """
        if not (self._proxies and self._trusts(parse_address(address)) if address else self._trusts_unix):
            return address, secure
        if proto := headers.get("x-forwarded-proto"):
            secure = proto.rpartition(",")[2].strip().lower() in ("https", "wss")
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            parsed = parse_address(hop.strip())
            if parsed is None:
                break
            address = str(parsed)
            if not self._trusts(parsed):
                break
        return address, secure

    def admit(self, request: ConnectRequest, *, draining: bool) -> Endpoint | Refuse:
        """The endpoint for a request, or why it may not even be asked who the peer is."""
        try:
            endpoint = self._application.endpoint(request.path)
            if endpoint is None:
                return Refuse(404, "nothing answers WebSockets here")
            refusal = _GOING_AWAY if draining else self._crowded(request) or endpoint.refuses(request)
        except Exception:
            log.exception("the checks before a connection failed")
            return _FAILED
        if refusal is not None:
            return refusal
        spoken = endpoint.subprotocol
        offered = request.headers.get("sec-websocket-protocol", "").split(",")
        if spoken is not None and spoken not in (name.strip() for name in offered):
            return Refuse(400, f"this endpoint speaks {spoken}")
        return endpoint

    def decide(self, endpoint: Endpoint, request: ConnectRequest) -> Any | Refuse | asyncio.Task[Any]:
        """The endpoint's verdict, or the task that finds it: its outcome goes to :func:`verdict_of`."""
        try:
            verdict = endpoint.decide(request)
        except Exception:
            log.exception("deciding about a connection failed")
            return _FAILED
        if not isawaitable(verdict):
            return verdict
        # A coroutine is started as it is: cancelled before its first step, a wrapper would leave it unawaited.
        task = self._start(verdict if iscoroutine(verdict) else _wait(verdict))
        self.deciding.add(task)
        task.add_done_callback(self.deciding.discard)
        return task

    def _crowded(self, request: ConnectRequest) -> Refuse | None:
        counters = self._application.counters
        if len(self.deciding) >= self._limits.handshakes_in_flight:
            counters.handshake_overflows += 1
            return Refuse(503, "too many connections are being decided about", {"Retry-After": "1"})
        wait = self._upgrades.wait(request.address)
        if wait:
            counters.upgrades_limited += 1
            if "x-forwarded-for" in request.headers and not self._warned:
                self._warned = True
                log.warning(
                    "%s opens more than %d connections in %g s and speaks for others; if it is your proxy, list it in "
                    "LiveServer(trusted_proxies=[...])",
                    request.address,
                    self._limits.upgrades_per_address,
                    self._limits.upgrade_window_seconds,
                )
            return Refuse(429, "too many connections from this address", {"Retry-After": str(math.ceil(wait))})
        return None

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


class _Upgrades:
    """Upgrades per address in a window that slides.

    Only two counts per address are kept, those of the running and of the previous window: of the latter so
    much counts as the sliding window still covers, as if its upgrades had come evenly.
    """

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limit = limits.upgrades_per_address
        self._window = limits.upgrade_window_seconds
        self._now = now
        self._began = now()
        self._before: dict[str, int] = {}
        self._running: dict[str, int] = {}

    def wait(self, address: str) -> float:
        """Count an upgrade, and return 0; or, if it is one too many, the seconds until one may fit again."""
        key = network_of(address)
        if key is None:
            return 0.0
        passed = self._turn()
        count, before = self._running.get(key, 0), self._before.get(key, 0)
        room = self._limit - 1 - count
        if before * (1 - passed / self._window) > room:
            if room >= 0:  # fits when so much less of the previous window counts
                return self._window * (1 - room / before) - passed
            return self._window * (2 - (self._limit - 1) / count) - passed  # the same, when this one is the previous
        if count == 0 and len(self._running) >= _MAX_ADDRESSES:
            del self._running[next(iter(self._running))]
        self._running[key] = count + 1
        return 0.0

    def _turn(self) -> float:
        """Seconds since the running window began; begins another one when it is over."""
        passed = self._now() - self._began
        if passed >= self._window:
            self._before = self._running if passed < 2 * self._window else {}
            self._running = {}
            passed %= self._window
            self._began = self._now() - passed
        return passed


def proxies_of(texts: Iterable[str]) -> tuple[Proxy, ...]:
    """Trusted proxies: addresses such as ``10.0.0.7``, networks such as ``10.0.0.0/8``, and ``unix`` for all peers
    without an address, such as those on a Unix socket.

    Raises:
        ConfigError: One of them is none of these.
    """
    found: list[Proxy] = []
    for text in texts:
        try:
            found.append(UNIX if text == UNIX else ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ConfigError(
                "trusted_proxies takes addresses and networks such as '10.0.0.7' or '10.0.0.0/8', and 'unix', "
                f"not {text!r}"
            ) from None
    return tuple(found)


def header_map(pairs: Iterable[tuple[str, str]], limits: Limits) -> dict[str, str] | Refuse:
    """A request's headers by lower-case name, repeated ones joined; refused when they exceed the limits."""
    headers: dict[str, str] = {}
    number = 0
    for name, value in pairs:
        number += 1
        name = name.lower()
        if name in headers:
            headers[name] += ("; " if name == "cookie" else ", ") + value
        else:
            headers[name] = value
    if number > limits.headers:
        return _TOO_MANY_HEADERS
    if len(headers.get("cookie", "")) > limits.cookie_bytes:
        return _TOO_LONG_COOKIES
    return headers


async def _wait(verdict: Awaitable[Any]) -> Any:
    return await verdict


def verdict_of(task: asyncio.Task[Any]) -> Any | Refuse:
    """What a finished, uncancelled task decided; an exception is logged and becomes HTTP 500."""
    error = task.exception()
    if error is None:
        return task.result()
    log.error("deciding about a connection failed", exc_info=error)
    return _FAILED


def clip(reason: str) -> str:
    """As much of ``reason`` as fits into a close frame, cut between characters."""
    return reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore")
