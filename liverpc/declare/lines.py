"""The lines that stand above or below ``@live``: who may call, with what, how often, and what if it fails.

What they do comes in the order of docs/policies.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Never, TypeAlias

from liverpc._types import R
from liverpc.declare.context import Context
from liverpc.declare.decorators import Draft, Policy, PredicatePolicy, SchemaPolicy, SettingPolicy, needs_parentheses
from liverpc.declare.functions import Declaration
from liverpc.policies.declared import NO_FALLBACK, Breaking, Idempotency, Locking, RateLimit

__all__ = ["PolicyLines", "Predicate", "TopicFn"]

Ctx: TypeAlias = Context[Any]

# A lambda in a decorator is checked before the function below it is seen. Only a union over the number of
# parameters gives its parameters Any; Callable[..., R] gives Unknown in strict checkers.
KeyFn: TypeAlias = (
    Callable[[Ctx], R]
    | Callable[[Ctx, Any], R]
    | Callable[[Ctx, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any, Any], R]
    | Callable[[Ctx, Any, Any, Any, Any, Any], R]
)
TopicFn: TypeAlias = KeyFn[str]
Predicate: TypeAlias = KeyFn[bool | Awaitable[bool]]
LockKey: TypeAlias = KeyFn[str | None]


class PolicyLines:
    """The lines of ``live``."""

    def scoped(self, predicate: Predicate) -> Policy:
        """Let only those call whom ``predicate`` lets pass; to stand above or below ``@live``.

        ``@live.scoped(access.user())`` refuses with ``FORBIDDEN``, or ``UNAUTHENTICATED`` when there is no user.
        The function does not run then. On a stream it comes on top of ``access=``.

        Args:
            predicate: ``(ctx, *arguments) -> bool``, sync or async; sees validated arguments. ``access`` has
                ready-made ones.

        Raises:
            DeclarationError: ``predicate`` is no function, or there is one already.
        """
        return PredicatePolicy("scoped", predicate)

    def validated(self, schema: Any) -> Policy:
        """Read the first argument by a schema that is no annotation: ``@live.validated(NewTodo)``.

        The function gets what the schema makes of the argument, defaults and conversions included; a default of the
        function itself is taken as it is. The other arguments keep their annotations. When the value does not fit,
        callers get ``VALIDATION`` and nothing else runs. In an action of a room the first argument is the first
        behind those of the room.

        Args:
            schema: A type that msgspec reads, a pydantic model or ``TypeAdapter``, or a plain function of the value as
                plain JSON, whose result the function gets. When that one raises ``ValueError`` or ``TypeError``, the
                caller gets its text; a ``LiveError`` as it is.

        Raises:
            DeclarationError: The schema is nothing of this or async, the function has no argument, it is a room or
                one of its streams, or there is a schema already.
        """
        return SchemaPolicy(schema)

    def gate(self, predicate: Predicate) -> Policy:
        """Let a stream begin only while ``predicate`` holds; to stand above or below ``@live.stream``.

        The same as its option ``gate=``: when it does not hold, the client is connected and has no value, which is no
        error, nothing is loaded or subscribed, and the client asks again when it reconnects.

        Args:
            predicate: ``(ctx, *arguments) -> bool``, sync or async; sees validated arguments.

        Raises:
            DeclarationError: ``predicate`` is no function, what it decorates is no stream, or has a gate already.
        """
        return PredicatePolicy("gate", predicate)

    def rate_limit(self, *, points: int, per: float, key: Callable[[Ctx], str | None] | None = None) -> Policy:
        """Limit how often one caller may call this: ``@live.rate_limit(points=5, per=60.0)``.

        ``points`` calls may come at once; after that they become possible again evenly, ``points`` in ``per`` seconds.
        Further ones get ``RATE_LIMITED`` with ``retry_after``, and do not count. Calls count after the guard let them
        pass, whatever becomes of them. On a stream, requests for it count; on an upload, its beginning.

        Args:
            points: At least 1.
            per: Seconds.
            key: ``(ctx) -> str | None``, at once: who is counted, for this path. None, or no function: the user, on
                all connections together; an anonymous caller by its connection, and besides all anonymous ones of an
                address (of a /64 network with IPv6) together with ten times as many ``points``.

        Raises:
            DeclarationError: A value cannot be what it is.
        """
        return SettingPolicy("rate_limit", lambda: RateLimit(points, per, key))

    def lock(self, key: str | LockKey, *, max_wait: float | None = 30.0) -> Policy:
        """Let only one call at a time run for each key: ``@live.lock(lambda ctx, order: f"account:{ctx.user.id}")``.

        The others wait in the order of their coming and then run themselves. Names are those of the server: functions
        with one name exclude each other. A lock is not re-entrant: who holds it and waits for somebody who needs it,
        such as a client it asks something, waits in vain.

        Args:
            key: The name, or ``(ctx, *arguments) -> str | None``, at once; sees validated arguments. None or ``""``:
                this call needs no lock. At most 256 characters.
            max_wait: Seconds after which a caller that still waits gets ``LOCK_TIMEOUT``; 0: at once when somebody
                holds it; None: it waits as long as it takes. ``limits.lock_waiters`` may wait for one key.

        Raises:
            DeclarationError: A value cannot be what it is.
        """
        if isinstance(key, Declaration | Draft):  # which can be called, too
            needs_parentheses("lock", (key.handler,))
        return SettingPolicy("lock", lambda: Locking(key, max_wait))

    def idempotent(
        self, *misplaced: Never, key: LockKey | None = None, ttl: float = 172_800.0, max_wait: float = 10.0
    ) -> Policy:
        """Run a request once, however often it arrives: a repetition gets the result of the first.

        A request is recognised by its key: what ``key`` gives, else the caller's own, ``client.using(
        idempotency_key=...)``; without either it is an ordinary call. Callers' keys belong to the user, those of
        anonymous callers to their connection, and all to the path. A repetition while the first still runs waits for
        it. Only successes are kept: what fails runs again. The same key with other arguments gets ``CONFLICT``.

        Args:
            *misplaced: Nothing; catches the missing parentheses.
            key: ``(ctx, *arguments) -> str | None``, at once; sees validated arguments. It is not the caller's own:
                all for whom it gives the same get the same result. 1 to 256 characters.
            ttl: Seconds for which a result is kept; 0: not at all, but requests with one key never run together.
            max_wait: Seconds after which one that waits gets ``CONFLICT``.

        Raises:
            DeclarationError: A value cannot be what it is.
        """
        needs_parentheses("idempotent", misplaced)
        return SettingPolicy("idempotent", lambda: Idempotency(key, ttl, max_wait))

    def breaker(
        self,
        name: str | None = None,
        *,
        failures: int = 5,
        reset_after: float = 30.0,
        fallback: Any = NO_FALLBACK,
    ) -> Policy:
        """Do not call what fails anyway: ``@live.breaker(failures=5, reset_after=30.0, fallback=[])``.

        After so many failures in a row nothing is called for ``reset_after`` seconds; then one call is tried, which
        decides. Failures are exceptions that nobody expected: neither a ``LiveError`` nor a cancellation counts.
        Meanwhile callers get the fallback, or ``SERVICE_UNAVAILABLE`` with ``retry_after`` when there is none. On a
        stream the fallback stands for what the loader would give; a reload keeps the value that is there.

        Args:
            name: Functions with one name share a breaker, and its ``failures`` and ``reset_after``. Default: its path.
            failures: In a row.
            reset_after: Seconds.
            fallback: A value, None and ``[]`` included, or a function ``(ctx, *arguments)``, sync or async.

        Raises:
            DeclarationError: A value cannot be what it is.
        """
        return SettingPolicy("breaker", lambda: Breaking(name, failures, reset_after, fallback))
