"""What an application says about the calls of a whole server."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from liverpc.declare.middleware import Middleware, check_middleware
from liverpc.declare.registry import Registry
from liverpc.dispatch.policed import class_of_service
from liverpc.errors import ConfigError
from liverpc.policies.admission import Admission, AdmissionRule
from liverpc.policies.declared import RateLimit
from liverpc.policies.running import RunningPolicies

__all__ = ["AroundCalls"]


class AroundCalls:
    """Is told what to do around calls; a ``LiveServer`` is."""

    registry: Registry
    _admission: Admission
    _policies: RunningPolicies
    _middlewares: list[Middleware]
    _loop: asyncio.AbstractEventLoop | None  # that it runs on

    def middleware(self, fn: Middleware) -> Middleware:
        """Run ``async fn(ctx, next)`` around every call and stream request; usable as a decorator.

        It is around guards and handler. ``await next()`` gives the result, which it returns, or another one
        instead; without ``next()``, nothing behind it runs. Those added first are outermost. To be added before
        the server starts; docs/handlers.md shows one.

        Raises:
            DeclarationError: ``fn`` is not async, or does not take ``(ctx, next)``.
            RuntimeError: The server runs already.
        """
        check_middleware(fn)
        if self._loop is not None:
            raise RuntimeError("add middlewares before the server starts")
        self._middlewares.append(fn)
        return fn

    def admission(self, rules: Mapping[str, AdmissionRule] | None) -> None:
        """Say which classes of service are refused under which pressure; replaces what was said before.

        ``server.admission({"reports": ["MEMORY", "SUBSCRIBERS"], "chat": lambda pressure: pressure.loop_lag > 1})``:
        calls and new subscribers of what has ``class_of_service="reports"`` get ``OVERLOADED`` while the server has one
        of these reasons. ``ctx.shed("reports")`` asks the same. Those who are subscribed already stay.

        Args:
            rules: By class, a list of reasons of :attr:`pressure` or a function of it; None: nobody is refused.

        Raises:
            ConfigError: There is no such reason, or something has a class without a rule.
        """
        for entry in self.registry.entries if rules else ():
            name = class_of_service(entry)
            if name is not None and name not in (rules or {}):
                raise ConfigError(f"admission has no rule for {name!r}, the class of service of {entry.path}")
        self._admission.configure(rules)

    def rate_limits(
        self,
        default: RateLimit | None = None,
        *,
        overrides: Mapping[str, RateLimit] | None = None,
        exempt: Collection[str] = (),
    ) -> None:
        """Limit how often callers may call functions; replaces what was said before.

        ``server.rate_limits(RateLimit(100, 10.0), overrides={"reports/make": RateLimit(2, 60.0)},
        exempt=["health/ping"])``. A function that is not exempt has the limit of its own ``@live.rate_limit``, else
        that of ``overrides``, else the default. Each function counts for itself. Streams have only limits of their
        own. Without arguments, there are no limits but those.

        Args:
            default: For functions, actions of rooms and contracts, binary calls and uploads.
            overrides: By path.
            exempt: Paths without any limit, not even their own.

        Raises:
            ConfigError: There is no such path, or something is no limit.
            RuntimeError: The server runs already.
        """
        if self._loop is not None:
            raise RuntimeError("set rate limits before the server starts")
        known = {entry.path for entry in self.registry.entries if entry.limitable}
        self._policies.rates.configure(default, overrides or {}, exempt, known)
