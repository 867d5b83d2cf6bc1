"""How often callers may do what: the limits of a server's paths, and who is counted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from liverpc.backends.ports import Decision, LocalLimiter, RateLimiter
from liverpc.errors import ConfigError, ErrorCode, LiveError
from liverpc.hub.addresses import network_of
from liverpc.policies.declared import RateLimit
from liverpc.telemetry import Counters

__all__ = ["Rates"]

_LONG: Final = 256
PER_ADDRESS: Final = 10
"""So many times what one anonymous caller may do, all of one address may."""


class Rates:
    """The rate limits of one server.

    A hit is counted for a path and a caller. Callers are told apart by their user's id, all connections of a user
    together; anonymous ones by their connection, and besides by their address, which may hit ``PER_ADDRESS`` times
    as often: otherwise a new connection would be a new start.

    Args:
        limiter: Where hits are counted.
        counters: Of the server.
    """

    def __init__(self, limiter: RateLimiter, counters: Counters) -> None:
        self._limiter = limiter
        self._local = limiter if isinstance(limiter, LocalLimiter) else None
        self._counters = counters
        self._default: RateLimit | None = None
        self._overrides: Mapping[str, RateLimit] = {}
        self._exempt: frozenset[str] = frozenset()

    def configure(
        self,
        default: RateLimit | None,
        overrides: Mapping[str, RateLimit],
        exempt: Collection[str],
        known: Collection[str],
    ) -> None:
        """See ``LiveServer.rate_limits``.

        Args:
            default: For paths without another limit.
            overrides: By path.
            exempt: Paths without any limit.
            known: The paths there are.

        Raises:
            ConfigError: Something is no limit, or there is no such path.
        """
        if isinstance(exempt, str):
            raise ConfigError(f"rate_limits: exempt= takes a list of paths: [{exempt!r}]")
        known_overrides: object = overrides
        if not isinstance(known_overrides, Mapping):
            raise ConfigError(f"rate_limits: overrides= takes a mapping of paths to limits, not {overrides!r}")
        limits: list[Any] = [*overrides.values()] if default is None else [default, *overrides.values()]
        for limit in limits:
            if not isinstance(limit, RateLimit):
                raise ConfigError(f"rate_limits: a limit is RateLimit(points, per), not {limit!r}")
        for path in (*overrides, *exempt):
            if path not in known:
                raise ConfigError(f"rate_limits: there is no function on {path!r}; streams have @live.rate_limit only")
        self._default, self._overrides, self._exempt = default, dict(overrides), frozenset(exempt)

    def limit_of(self, path: str, own: RateLimit | None, *, limitable: bool) -> RateLimit | None:
        """What holds for a path: none when it is exempt, else its own, else what is configured for it or for all.

        Args:
            path: Of a function or stream.
            own: What it says itself.
            limitable: What is configured means it, too.
        """
        if path in self._exempt:
            return None
        if own is not None or not limitable:
            return own
        return self._overrides.get(path, self._default)

    @property
    def local(self) -> bool:
        """Whether hits are counted in this process, so that :meth:`hit_now` can be used."""
        return self._local is not None

    async def hit(self, path: str, limit: RateLimit, ctx: Any) -> None:
        """Count a call.

        Raises:
            LiveError: ``RATE_LIMITED``, with the time after which it would be allowed.
            TypeError: The limit's key function gave something else than a string or None.
        """
        if self._local is not None:
            self.hit_now(path, limit, ctx)
            return
        for key, points, cost in (hits := _Hits(path, limit, ctx)):
            hits.decision = await self._limiter.hit(key, limit=points, per=limit.per, cost=cost, guest=hits.guest)
        self._look_at(hits.decision)

    def hit_now(self, path: str, limit: RateLimit, ctx: Any) -> None:
        """As :meth:`hit`, with a limiter in this process."""
        assert self._local is not None
        for key, points, cost in (hits := _Hits(path, limit, ctx)):
            hits.decision = self._local.hit_now(key, limit=points, per=limit.per, cost=cost, guest=hits.guest)
        self._look_at(hits.decision)

    def _look_at(self, decision: Decision) -> None:
        if not decision.allowed:
            self._counters.rate_limited += 1
            raise LiveError(ErrorCode.RATE_LIMITED, "Too many requests", retry_after=decision.retry_after)


class _Hits:
    """What has to be counted for a call, one after the other: key, points and cost of each hit.

    Attributes:
        guest: The caller is anonymous.
        decision: About the last of them, which whoever goes through them has to set.
    """

    __slots__ = ("_ctx", "_limit", "_path", "decision", "guest")

    def __init__(self, path: str, limit: RateLimit, ctx: Any) -> None:
        self._path = path
        self._limit = limit
        self._ctx = ctx
        self.guest: bool = ctx.connection.user_id is None
        self.decision = Decision(True, 0, 0.0)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        path, limit, connection = self._path, self._limit, self._ctx.connection
        key: Any = None if limit.key is None else limit.key(self._ctx)
        if key is not None:
            if not isinstance(key, str):
                raise TypeError(f"the key of the rate limit of {path} is {type(key).__name__}, not a string or None")
            if len(key) > _LONG:  # it may be the caller's own text
                key = sha256(key.encode(errors="surrogatepass")).hexdigest()
            yield f"{path}\nkey\n{key}", limit.points, 1
            return
        if not self.guest:
            yield f"{path}\nuser\n{connection.user_id}", limit.points, 1
            return
        network = network_of(connection.request.address)
        together, points = f"{path}\naddress\n{network}", limit.points * PER_ADDRESS
        if network is not None:
            yield together, points, 0  # what is refused must count for neither: others share the address
        if network is None or self.decision.remaining:
            yield f"{path}\nguest\n{connection.id}", limit.points, 1
        if network is not None and self.decision.allowed:
            yield together, points, 1
