"""What the policies of a declaration add to its calls, in their places of the pipeline (docs/policies.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from liverpc.declare.context import Context
from liverpc.declare.registry import Entry
from liverpc.declare.replies import REPLY_ENVELOPE, check_size
from liverpc.errors import ErrorCode, LiveError
from liverpc.policies.declared import Idempotency, Locking, RateLimit
from liverpc.policies.locks import KEY_MAX
from liverpc.policies.once import Request
from liverpc.policies.running import RunningPolicies
from liverpc.wire.codec import canonical, encode

__all__ = ["Policed", "policed"]

Handler: TypeAlias = Callable[[], Awaitable[Any]]

_TOO_LARGE = b""  # kept for a result that no reply can carry, so that it is not made again
# Of numbers the text: as doubles, different ones would be the same.
_decode_exactly = msgspec.json.Decoder(float_hook=msgspec.Raw).decode


class _Instead(Exception):
    """A fallback on its way to the caller: raised, so that nobody keeps it as the request's result."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Policed:
    """The policies of one path, ready to run.

    Args:
        entry: The path.
        limit: How often callers may call.
        running: What of the server they work on.
    """

    def __init__(self, entry: Entry, limit: RateLimit | None, running: RunningPolicies) -> None:
        declared = entry.declaration.policies
        self._path = entry.path
        self._place = entry.declaration.place
        self._limit = limit
        self._running = running
        self._class = class_of_service(entry)
        self._is_stream = entry.is_stream
        self._lock = declared.lock
        self._once = declared.idempotent
        breaking = declared.breaker
        breaker = None if breaking is None else running.breakers.of(entry.path, breaking)
        self._fallback = None if breaking is None else breaking.fallback
        self._breaker = None if entry.is_stream else breaker  # a stream's is around its loader

    @property
    def reads_key(self) -> bool:
        """Whether calls may carry an idempotency key."""
        return self._once is not None

    @property
    def at_once(self) -> bool:
        """Whether :meth:`before_now` is all there is."""
        rest = self._once is None and self._lock is None and self._breaker is None
        return rest and (self._limit is None or self._running.rates.local)

    async def before(self, ctx: Context[Any]) -> None:
        """What comes before anybody looks at the arguments: class of service, rate limit.

        Raises:
            LiveError: ``OVERLOADED``, ``RATE_LIMITED``.
        """
        if self._class is not None or self._limit is not None:
            ctx.enters("admission")
        self._admit(ctx)
        if self._limit is not None:
            await self._running.rates.hit(self._path, self._limit, ctx)

    def before_now(self, ctx: Context[Any]) -> None:
        """The same where nothing has to be awaited."""
        self._admit(ctx)
        if self._limit is not None:
            self._running.rates.hit_now(self._path, self._limit, ctx)

    def _admit(self, ctx: Context[Any]) -> None:
        if self._class is not None and ctx.shed(self._class):
            if self._is_stream:
                self._running.counters.streams_shed += 1
            else:
                self._running.counters.calls_shed += 1
            raise LiveError(ErrorCode.OVERLOADED, "the server is under pressure; try again later")

    async def around(self, ctx: Context[Any], args: msgspec.Raw, arguments: Sequence[Any], handler: Handler) -> Any:
        """What comes between the caller's rights and the handler: idempotency, lock, breaker.

        Args:
            ctx: Of the call.
            args: As they came.
            arguments: Validated.
            handler: The rest of the call.

        Raises:
            LiveError: One of them refuses.
            Exception: The handler's.
        """
        if self._once is not None:
            ctx.enters("idempotency")
        request = None if self._once is None else self._request(self._once, ctx, args, arguments)
        try:
            if request is None or self._once is None:
                return await self._locked(ctx, arguments, handler)

            largest = ctx.services.hub.limits.reply_bytes - REPLY_ENVELOPE

            async def run() -> bytes:
                encoded = encode(await self._locked(ctx, arguments, handler))
                try:
                    check_size(encoded, largest)
                except LiveError:
                    return _TOO_LARGE
                return encoded

            kept = await self._running.once.run(request, self._once, run)
            if bytes(kept) == _TOO_LARGE:
                raise LiveError(ErrorCode.PAYLOAD_TOO_LARGE, f"the result has more than {largest} characters")
            return kept
        except _Instead as instead:
            return instead.value

    def _request(
        self, settings: Idempotency, ctx: Context[Any], args: msgspec.Raw, arguments: Sequence[Any]
    ) -> Request | None:
        """Which request this is; None: it has no key."""
        connection = ctx.connection
        user = connection.user_id
        caller = f"user\n{user}" if user is not None else f"guest\n{connection.id}"
        key: Any = None if settings.key is None else settings.key(ctx, *arguments)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"the key of the request of {self._path} is {type(key).__name__}, not a string or None")
        scope = "shared"
        if key is None or key == "":
            key, scope = (UNSET if ctx.asked is None else ctx.asked.idempotency_key), caller
            if key is UNSET:
                return None
        if not isinstance(key, str) or not 1 <= len(key) <= KEY_MAX:
            raise LiveError(ErrorCode.INVALID_REQUEST, f"an idempotency key is a string of 1 to {KEY_MAX} characters")
        try:
            asked = canonical(_decode_exactly(args))
        except (msgspec.MsgspecError, ValueError):  # such as numbers that no JSON text stands for twice
            asked = bytes(args)
        place = self._place(ctx)
        return Request(
            f"{self._path}\n{place}\n{scope}\n{key}", sha256(asked).hexdigest(), connection.owner, user is None
        )

    async def _locked(self, ctx: Context[Any], arguments: Sequence[Any], handler: Handler) -> Any:
        key = None if self._lock is None else _lock_key(self._lock, ctx, arguments)
        if self._lock is None or not key:
            return await self._guarded(ctx, arguments, handler)
        locks = self._running.locks
        ctx.enters("lock")
        await locks.acquire(key, ctx, self._lock.max_wait, owner=ctx.connection.owner)
        try:
            return await self._guarded(ctx, arguments, handler)
        finally:
            locks.release(key)

    async def _guarded(self, ctx: Context[Any], arguments: Sequence[Any], handler: Handler) -> Any:
        breaker = self._breaker
        if breaker is None:
            return await handler()
        ctx.enters("breaker")
        if breaker.admit():
            return await breaker.watch(handler())
        raise _Instead(await breaker.instead(self._fallback, ctx, *arguments))


def class_of_service(entry: Entry) -> str | None:
    """The class of a path."""
    options: Any = getattr(entry.declaration, "options", entry.declaration.policies)
    name: str | None = options.class_of_service
    return name


def policed(entry: Entry, running: RunningPolicies) -> Policed | None:
    """The policies of a path; None: it has none, and its calls need nothing of this."""
    declared = entry.declaration.policies
    limit = running.rates.limit_of(entry.path, declared.rate_limit, limitable=entry.limitable)
    settings = (class_of_service(entry), limit, declared.idempotent, declared.lock, declared.breaker)
    return None if all(each is None for each in settings) else Policed(entry, limit, running)


def _lock_key(settings: Locking, ctx: Context[Any], arguments: Sequence[Any]) -> str | None:
    key: Any = settings.key if isinstance(settings.key, str) else settings.key(ctx, *arguments)
    if key is not None and not isinstance(key, str):
        raise TypeError(f"the key of the lock of {ctx.path} is {type(key).__name__}, not a string or None")
    return key
