"""What stands above a function while it is being declared: ``@live(...)`` and its kin, and its policies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Concatenate, Generic, TypeAlias, TypeVar, cast, overload

from liverpc._types import P, Page, R, Row, T
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, Declaration, RpcFunction, StreamFunction
from liverpc.declare.options import StreamOptions
from liverpc.errors import ConfigError, DeclarationError
from liverpc.schema.signature import where

__all__ = [
    "ChannelDecorator",
    "Coro",
    "Draft",
    "Fn",
    "Policy",
    "PredicatePolicy",
    "RpcDecorator",
    "SchemaPolicy",
    "SettingPolicy",
    "StreamDecorator",
    "declared",
    "needs_parentheses",
]

U = TypeVar("U")
Coro: TypeAlias = Coroutine[Any, Any, R]
Fn: TypeAlias = Callable[Concatenate[Context[U], P], R]
F = TypeVar("F", bound=Callable[..., Any])


class Policy(ABC):
    """A line such as ``@live.scoped(...)`` above or below ``@live``: keeps the type of what it decorates.

    The order of such lines means nothing (docs/policies.md).

    Args:
        name: What stands behind ``@live.``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, target: F, /) -> F:
        decorated: Any = target
        if isinstance(decorated, Declaration):
            decorated = self.applied(decorated)
        elif isinstance(decorated, Draft):
            if self.name in (policy.name for policy in decorated.policies):
                raise DeclarationError(f"{where(decorated.handler)}: {self} is there twice{self._advice}")
            decorated = Draft(decorated.handler, (*decorated.policies, self))
        else:
            decorated = Draft(decorated, (self,))
        return cast("F", decorated)

    @abstractmethod
    def applied(self, declaration: Declaration[Any, Any, Any]) -> Declaration[Any, Any, Any]:
        """The same declaration with this policy.

        Raises:
            DeclarationError: It is not for this declaration, or is there already.
        """

    _advice = ""

    def __str__(self) -> str:
        return f"@live.{self.name}"


class PredicatePolicy(Policy):
    """``@live.scoped(...)`` or ``@live.gate(...)``."""

    _advice = "; join them with access.all()"

    def __init__(self, name: str, predicate: Callable[..., Any]) -> None:
        super().__init__(name)
        if not callable(predicate):
            raise DeclarationError(f"{self} takes a function of ctx and the arguments, not {predicate!r}")
        self._predicate = predicate

    def applied(self, declaration: Declaration[Any, Any, Any]) -> Declaration[Any, Any, Any]:
        if self.name == "scoped":
            return declaration.scoped(self._predicate)
        place = where(declaration.handler)
        if not isinstance(declaration, StreamFunction | Channel):
            raise DeclarationError(f"{place}: @live.gate is for streams; @live.scoped refuses calls")
        if declaration.options.gate is not None:
            raise DeclarationError(f"{place}: it has a gate already{self._advice}")
        gated = declaration.variant()
        gated.options = replace(gated.options, gate=self._predicate)
        return gated


class SettingPolicy(Policy):
    """A line that gives a declaration one of its ``Policies``.

    Args:
        name: Of the field.
        setting: Makes its value.

    Raises:
        DeclarationError: The value cannot be made.
    """

    def __init__(self, name: str, setting: Callable[[], Any]) -> None:
        super().__init__(name)
        try:
            self._setting = setting()
        except ConfigError as error:
            raise DeclarationError(str(error)) from None

    def applied(self, declaration: Declaration[Any, Any, Any]) -> Declaration[Any, Any, Any]:
        return declaration.having(self.name, self._setting)


class SchemaPolicy(Policy):
    """``@live.validated(...)``."""

    def __init__(self, schema: Any) -> None:
        super().__init__("validated")
        self._schema = schema

    def applied(self, declaration: Declaration[Any, Any, Any]) -> Declaration[Any, Any, Any]:
        return declaration.validated(self._schema)


class Draft:
    """A function with policies that still waits for the ``@live…`` line above them."""

    def __init__(self, handler: Callable[..., Any], policies: tuple[Policy, ...]) -> None:
        self.handler = handler
        self.policies = policies

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise DeclarationError(f"{where(self.handler)}: it has {self.policies[0]} and no @live above it")


def declared(target: Any, declare: Callable[[Any], Declaration[Any, Any, Any]]) -> Any:
    """The declaration of a function, with the policies that stand below it."""
    if isinstance(target, Policy):
        raise DeclarationError(f"write {target}(...) with parentheses, and its options in them")
    if not isinstance(target, Draft):
        return declare(target)
    declaration = declare(target.handler)
    for policy in target.policies:
        declaration = policy.applied(declaration)
    return declaration


def needs_parentheses(name: str, misplaced: tuple[Any, ...]) -> None:
    """Refuse the decorator where its parentheses are missing."""
    if misplaced:
        place = where(misplaced[0]) if callable(misplaced[0]) else repr(misplaced[0])
        raise DeclarationError(f"{place}: write @live.{name}() with parentheses, and its options by name in them")


class RpcDecorator:
    """``@live(...)``: waits for the function."""

    def __init__(self, *, path: str | None, thread: bool, class_of_service: str | None) -> None:
        self._path = path
        self._thread = thread
        self._class = class_of_service

    @overload
    def __call__(self, fn: Fn[U, P, Coro[R]], /) -> RpcFunction[P, Coro[R], R, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, R], /) -> RpcFunction[P, R, R, U]: ...
    def __call__(self, fn: Any, /) -> Any:
        return declared(
            fn, lambda handler: RpcFunction(handler, path=self._path, thread=self._thread).of_class(self._class)
        )


class StreamDecorator:
    """``@live.stream(...)``: waits for the loader."""

    def __init__(self, topic: str | Callable[..., str], options: StreamOptions, path: str | None) -> None:
        self._topic = topic
        self._options = options
        self._path = path

    @overload
    def __call__(self, fn: Fn[U, P, Coro[Page[Row]]], /) -> StreamFunction[P, Coro[Page[Row]], list[Row], U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, Coro[T]], /) -> StreamFunction[P, Coro[T], T, U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, Page[Row]], /) -> StreamFunction[P, Page[Row], list[Row], U]: ...
    @overload
    def __call__(self, fn: Fn[U, P, T], /) -> StreamFunction[P, T, T, U]: ...
    def __call__(self, fn: Any, /) -> Any:
        return declared(
            fn, lambda loader: StreamFunction(loader, topic=self._topic, options=self._options, path=self._path)
        )

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a stream."""
        if callable(self._topic):
            return 'is decorated with @live.stream without a topic: @live.stream("name")'
        return f"is live.stream({self._topic!r}) without a loader: decorate the function that loads its value with it"


class ChannelDecorator(Generic[T]):
    """``@live.channel(...)``: waits for the topic function."""

    def __init__(self, options: StreamOptions, item: Any, path: str | None) -> None:
        self._options = options
        self._item = item
        self._path = path

    def __call__(self, fn: Fn[U, P, str], /) -> Channel[P, T]:
        """Declare the channel; ``fn(ctx, ...)`` gives its topic."""
        channel: Channel[P, T] = declared(
            fn, lambda topic: Channel(topic, topic=topic, options=self._options, item=self._item, path=self._path)
        )
        return channel

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a channel."""
        return (
            'is live.channel(...) without a topic: live.channel("name", ...), or decorate with it the function that '
            "gives the topic"
        )
