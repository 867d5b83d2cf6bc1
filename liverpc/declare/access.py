"""``access``: ready-made predicates for ``access=`` of streams and for ``@live.scoped``."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from liverpc.declare.context import Context
from liverpc.errors import DeclarationError

__all__ = ["Access", "access", "holds"]

Verdict: TypeAlias = bool | Awaitable[bool]


class Access:
    """The type of :data:`access`.

    Fields are looked up in the user: by key in a mapping, as an attribute in any other object. Values are compared
    strictly: ``1`` is neither ``"1"`` nor ``True``, and a ``UUID`` is not its text. Who has not the field, such as an
    anonymous caller, does not pass.
    """

    def owner(self, field: str = "id") -> Callable[..., bool]:
        """Let users pass who have the field at all: it is there and not None."""

        def check(ctx: Context[Any], *args: Any) -> bool:
            return _field(ctx.user, field) is not None

        return check

    def team(self) -> Callable[..., bool]:
        """Let users pass who have a ``team_id`` (or ``teamId``)."""

        def check(ctx: Context[Any], *args: Any) -> bool:
            return _field(ctx.user, "team_id") is not None or _field(ctx.user, "teamId") is not None

        return check

    def org(self, *, from_: Callable[..., Any] | None = None, field: str = "organization_id") -> Callable[..., bool]:
        """Let users pass whose organization is the one asked for.

        Args:
            from_: ``(ctx, *arguments) -> value``, at once: which organization is asked for. Default: the first
                argument.
            field: Of the user.

        Raises:
            DeclarationError: ``from_`` is no plain function.
        """
        return _equals(from_, field)

    def user(self, *, from_: Callable[..., Any] | None = None, field: str = "user_id") -> Callable[..., bool]:
        """Let users pass who are the one asked for; as :meth:`org`."""
        return _equals(from_, field)

    def role(self, roles: Mapping[Any, Any], *, field: str = "role") -> Callable[..., Verdict]:
        """Decide by the user's role: ``access.role({"admin": True, "editor": may_edit})``.

        Args:
            roles: True lets a role pass, False does not, and a predicate decides. Other roles do not pass.
            field: Of the user.

        Raises:
            DeclarationError: A role has anything else.
        """
        given: object = roles
        if not isinstance(given, Mapping):
            raise DeclarationError(f'access.role takes a mapping such as {{"admin": True}}, not {roles!r}')
        table: dict[Any, bool | Callable[..., Verdict]] = dict(roles)
        for role, given in table.items():
            if not isinstance(given, bool) and not callable(given):
                raise DeclarationError(f"access.role: {role!r} has {given!r}; take True, False or a function")

        def check(ctx: Context[Any], *args: Any) -> Verdict:
            role = _field(ctx.user, field)
            try:
                rule = table.get(role, False) if role is not None else False
            except TypeError:  # not hashable, so none of ours
                return False
            return rule if isinstance(rule, bool) else rule(ctx, *args)

        return check

    def any(self, *predicates: Callable[..., Verdict]) -> Callable[..., Awaitable[bool]]:
        """Let those pass whom one of the predicates lets pass; asks in order. Without predicates, nobody."""
        parts = _checked("any", predicates)

        async def check(ctx: Context[Any], *args: Any) -> bool:
            for part in parts:
                if await holds(part, ctx, args):
                    return True
            return False

        return check

    def all(self, *predicates: Callable[..., Verdict]) -> Callable[..., Awaitable[bool]]:
        """Let those pass whom every predicate lets pass; asks in order. Without predicates, everybody."""
        parts = _checked("all", predicates)

        async def check(ctx: Context[Any], *args: Any) -> bool:
            for part in parts:
                if not await holds(part, ctx, args):
                    return False
            return True

        return check


def _field(user: Any, name: str) -> Any:
    return user.get(name) if isinstance(user, Mapping) else getattr(user, name, None)


def _equals(from_: Any, field: str) -> Callable[..., bool]:
    if from_ is not None and (not callable(from_) or inspect.iscoroutinefunction(from_)):
        raise DeclarationError(f"from_={from_!r} must be a function of ctx and the arguments, and not async")

    def check(ctx: Context[Any], *args: Any) -> bool:
        mine = _field(ctx.user, field)
        asked = from_(ctx, *args) if from_ is not None else args[0] if args else None
        return mine is not None and type(mine) is type(asked) and bool(mine == asked)

    return check


async def holds(predicate: Callable[..., Verdict], ctx: Context[Any], args: Sequence[Any]) -> bool:
    """Whether a predicate, sync or async, lets a caller pass."""
    verdict = predicate(ctx, *args)
    if inspect.isawaitable(verdict):  # always true: to be awaited before its truth is tested
        verdict = await verdict
    if callable(verdict):
        raise TypeError(f"a predicate returned the function {verdict!r}; access.owner() and the like need parentheses")
    return bool(verdict)


def _checked(name: str, predicates: tuple[Any, ...]) -> tuple[Any, ...]:
    for predicate in predicates:
        if not callable(predicate):
            raise DeclarationError(f"access.{name}() takes functions of ctx and the arguments, not {predicate!r}")
    return predicates


access: Final = Access()
