"""How often callers may do what: the limits of a server's paths, and who is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from liverpc.backends.ports import Decision, LocalLimiter, RateLimiter
from liverpc.errors import ConfigError, ErrorCode, LiveError
from liverpc.hub.addresses import network_of
from liverpc.policies.declared import RateLimit
from liverpc.telemetry import Counters

__all__ = ["Rates"]

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

    async def hit(self, path: str, limit: RateLimit, ctx: Any) -> None:
        """Count a call.

        Raises:
            LiveError: ``RATE_LIMITED``, with the time after which it would be allowed.
            TypeError: The limit's key function gave something else than a string or None.
        """
        connection = ctx.connection
        key = None if limit.key is None else limit.key(ctx)
        guest = connection.user_id is None
        if key is not None:
            if not isinstance(key, str):
                raise TypeError(f"the key of the rate limit of {path} is {type(key).__name__}, not a string or None")
            await self._count(f"{path}\nkey\n{key}", limit, limit.points, guest)
        elif not guest:
            await self._count(f"{path}\nuser\n{connection.user_id}", limit, limit.points, guest)
        else:
            mine = f"{path}\nguest\n{connection.id}"
            network = network_of(connection.request.address)
            if network is None:
                await self._count(mine, limit, limit.points, guest)
                return
            ours, points = f"{path}\naddress\n{network}", limit.points * PER_ADDRESS
            # What is refused must count for neither: others share the address.
            if (await self._hit(ours, limit, points, guest, cost=0)).remaining:
                await self._count(mine, limit, limit.points, guest)
            await self._count(ours, limit, points, guest)

    async def _hit(self, key: str, limit: RateLimit, points: int, guest: bool, cost: int = 1) -> Decision:
        if self._local is not None:
            return self._local.hit_now(key, limit=points, per=limit.per, cost=cost, guest=guest)
        return await self._limiter.hit(key, limit=points, per=limit.per, cost=cost, guest=guest)

    async def _count(self, key: str, limit: RateLimit, points: int, guest: bool) -> None:
        decision = await self._hit(key, limit, points, guest)
        if not decision.allowed:
            self._counters.rate_limited += 1
            raise LiveError(ErrorCode.RATE_LIMITED, "Too many requests", retry_after=decision.retry_after)
