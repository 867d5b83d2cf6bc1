"""The frozen declarations behind ``live``: importing a module registers nothing."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin, overload

import msgspec

from liverpc._types import P, Page, R, Row, Rpc, Stream, T, Topic, User
from liverpc.declare.access import access
from liverpc.declare.context import Context
from liverpc.declare.options import StreamOptions
from liverpc.declare.topics import TopicPattern, placeholders, topic_part
from liverpc.errors import ConfigError, DeclarationError, ErrorCode, LiveError
from liverpc.policies.declared import Policies, asked_by, takes
from liverpc.schema.signature import Signature, where
from liverpc.schema.validated import with_schema
from liverpc.wire.names import is_path, topic_fault

__all__ = ["Channel", "Declaration", "RpcFunction", "StreamFunction", "TopicSource"]

X = TypeVar("X")  # what calling the handler returns: a coroutine, or the result itself


def declaring_locals(fn: Callable[..., Any]) -> Mapping[str, Any] | None:
    """Local names of the function in which ``fn`` is being declared, for annotations that name local types."""
    if "<locals>" not in fn.__qualname__:
        return None
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("liverpc.declare"):
        frame = frame.f_back
    return frame.f_locals


def first_part(module: str) -> str:
    """The first part of the paths in a module: the last part of its name; for a script, its file's name."""
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return Path(file).stem if file else module
    return module.rpartition(".")[2]


class Declaration(Generic[P, X, User]):
    """A live function: still callable with its original signature, and known to servers and clients by path.

    Attributes:
        handler: The function as written.
        signature: Its parameters behind ``ctx``.
        access: ``(ctx, *arguments) -> bool``, sync or async: whether this caller may do this.
        policies: What else it asks for around its calls.
    """

    takes_data: ClassVar[bool] = False  # between ctx and the arguments
    takes_policies: ClassVar[frozenset[str]] = frozenset()  # fields of Policies that mean something to its kind
    enters = False  # before access is asked, there is something to enter

    def __init__(self, handler: Callable[..., Any], *, path: str | None = None) -> None:
        if not inspect.isroutine(handler):
            raise DeclarationError(f"live declarations take a function, not {handler!r}")
        if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
            raise DeclarationError(
                f"{where(handler)} is a generator, which has no JSON form: return a value; to send several over "
                "time, publish them on the topic of a stream"
            )
        if path is not None and not is_path(path):
            raise DeclarationError(
                f"{where(handler)}: the path {path!r} is not two or more segments of letters, digits, _ and -, "
                "joined by /"
            )
        self.handler = handler
        self.signature = Signature(handler, declaring_locals(handler), data=self.takes_data)
        self.explicit_path = path
        self.access: Callable[..., Any] | None = None
        self.policies = Policies()
        self._found: tuple[object, str] | None = None  # whose path, and which
        self.is_async = inspect.iscoroutinefunction(handler)
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__
        self.__qualname__ = handler.__qualname__
        self.__module__ = handler.__module__
        self.__wrapped__ = handler

    def __call__(self, ctx: Context[User], /, *args: P.args, **kwargs: P.kwargs) -> X:
        """Call the handler directly, as a plain function; no guard and no validation runs."""
        result: X = self.handler(ctx, *args, **kwargs)
        return result

    def scoped(self, predicate: Callable[..., Any]) -> Self:
        """The same declaration for those whom ``predicate`` lets pass; this one stays as it is.

        Raises:
            DeclarationError: It has such a predicate already.
        """
        if self.access is not None:
            raise DeclarationError(f"{where(self.handler)}: @live.scoped is there twice; join them with access.all()")
        declaration = self.variant()
        declaration.access = predicate
        if isinstance(declaration, _Streaming):  # they are asked before anything is loaded, whoever declared it
            own = declaration.options.access
            both = predicate if own is None else access.all(own, predicate)
            declaration.options = dataclasses.replace(declaration.options, access=both)
        return declaration

    def validated(self, schema: Any) -> Self:
        """The same declaration, whose first argument is read by a schema; this one stays as it is.

        Raises:
            DeclarationError: See :func:`with_schema`; or it is part of a room and has the room's arguments.
        """
        signature = with_schema(self.signature, schema)
        declaration = self.variant()
        declaration.signature = signature
        return declaration

    def having(self, name: str, policy: Any) -> Self:
        """The same declaration with one of :class:`Policies`; this one stays as it is.

        Raises:
            DeclarationError: It has such a policy already, or is nothing such a policy is for.
        """
        line = f"@live.{name}"
        if name not in self.takes_policies:
            known = ", ".join(sorted(self.takes_policies)) or "none"
            raise DeclarationError(
                f"{where(self.handler)}: {line} is not for this kind of function, which takes {known}"
            )
        if getattr(self.policies, name) is not None:
            raise DeclarationError(f"{where(self.handler)}: {line} is there twice")
        for what, function, count in asked_by(name, policy, len(self.signature.names)):
            if self.signature.rest is None and not takes(function, count):
                given = ", ".join(("ctx", *self.signature.names)[:count])
                raise DeclarationError(f"{where(self.handler)}: the {what} of {line} takes ({given})")
        try:
            policies = msgspec.structs.replace(self.policies, **{name: policy})
        except ConfigError as error:
            raise DeclarationError(f"{where(self.handler)}: {error}") from None
        declaration = self.variant()
        declaration.policies = policies
        return declaration

    def of_class(self, name: str | None) -> Self:
        """The same declaration in a class of service; None: in none."""
        return self if name is None else self.having("class_of_service", name)

    async def enter(self, ctx: Any, arguments: Sequence[Any]) -> None:
        """Ask whether the caller is where the function may be called, if it ``enters``.

        Raises:
            LiveError: It is not.
        """

    def place(self, ctx: Context[Any]) -> str:
        """Where it is called, if one path is in several places: the same request elsewhere is another one."""
        return ""

    def variant(self) -> Self:
        """A copy to be changed, which takes the place of this one."""
        return copy.copy(self)

    @property
    def path(self) -> str:
        """``@live(path=…)``, else the last part of the module's name and the function's name."""
        return self.explicit_path or f"{first_part(self.__module__)}/{self.__name__}"

    @property
    def result_type(self) -> Any:
        """What the handler is annotated to return."""
        return self.signature.result

    def path_by_variable(self, kind: str) -> str:
        """The path of what has no function to take a name from: that of the variable it is assigned to.

        Args:
            kind: What it is, for people.

        Raises:
            DeclarationError: The module in which it was made has no such variable.
        """
        if self._found is None or self._found[0] is not self:  # searched once; a copy is another variable
            module = sys.modules.get(self.__module__)
            for name, value in vars(module).items() if module else ():
                if value is self:
                    self._found = self, f"{first_part(self.__module__)}/{name}"
                    break
            else:
                raise DeclarationError(
                    f"{kind} made in {self.__module__} is no variable of that module, so it has no name to be reached "
                    "by; assign it to one or pass path="
                )
        return self._found[1]

    def resolve(self) -> None:
        """Look at the annotations, now that all names in them exist.

        Raises:
            DeclarationError: A name does not exist, a type cannot be read from JSON, or ctx is not first.
        """
        first = self.signature.first
        annotation = self.signature.hints().get(first.name)
        kind = get_origin(annotation) or annotation
        if annotation is None:
            fits = first.name.strip("_") in ("", "ctx", "context")
        else:
            fits = kind is Any or (isinstance(kind, type) and issubclass(kind, Context))
        if not fits:
            raise DeclarationError(
                f"{where(self.handler)}: its first parameter is {str(first)!r}, but ctx comes first: "
                f"def {self.__name__}(ctx: Context, ...)"
            )
        self.signature.resolve()

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arguments in wire order; TypeError when they do not fit."""
        return self.signature.bind(args, kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__qualname__}>"


class RpcFunction(Declaration[P, X, User], Rpc[P, R], Generic[P, X, R, User]):
    """What ``@live`` makes of a function."""

    takes_policies = frozenset(Policies.__struct_fields__)

    def __init__(self, handler: Callable[..., Any], *, path: str | None = None, thread: bool = False) -> None:
        super().__init__(handler, path=path)
        if thread and self.is_async:
            raise DeclarationError(f"{where(handler)}: thread=True is for plain functions; async ones run on the loop")
        self.thread = thread


# -- topics -----------------------------------------------------------------------------------------------


class TopicSource:
    """Where a stream's topic comes from: a fixed name, a template over the arguments, or a function.

    A template's ``{name}`` is replaced by ``str`` of the validated argument, which must be a string, a
    number, a date or datetime, a UUID, or an enum member with such a value. Arguments are checked before any
    topic is computed, so no unvalidated text shapes a name. Different arguments make different topics: one that
    contains what stands between it and the next is refused.
    """

    def __init__(self, topic: Any, signature: Signature) -> None:
        if isinstance(topic, TopicPattern):
            topic = topic.pattern
        self._topic = topic
        self._signature = signature
        self._names: tuple[str, ...] = ()  # of the template's parameters
        self._between: dict[str, str] = {}  # what follows a parameter that is not the last
        self.text = topic if isinstance(topic, str) else repr(topic)  # for people
        self.static: str | None = None
        place = where(signature.fn)
        if callable(topic):
            if inspect.iscoroutinefunction(topic):
                raise DeclarationError(f"{place}: the topic function is async; topics are computed without waiting")
            return
        if not isinstance(topic, str):
            raise DeclarationError(
                f"{place}: a topic is a string or a function of ctx and the arguments, not {topic!r}"
            )
        self._names = placeholders(topic, f"{place}: the topic")
        for name in self._names:
            if name not in signature.names:
                known = ", ".join(signature.names) or "none"
                raise DeclarationError(
                    f"{place}: the topic {topic!r} names {name!r}, which is no parameter (parameters: {known})"
                )
        for (_, before, _, _), (text, after, _, _) in pairwise(string.Formatter().parse(topic)):
            if before and after:
                if not text:
                    raise DeclarationError(f"{place}: the topic {topic!r} has nothing between {before!r} and {after!r}")
                self._between[before] = text
        if not self._names:
            self.static = topic.format()
            if (fault := topic_fault(self.static)) is not None:
                raise DeclarationError(f"{place}: the topic {topic!r} {fault}")

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What all topics of a template fully match; None for a fixed name and for a function."""
        if not self._names:
            return None
        parts = string.Formatter().parse(self._topic)
        return re.compile("".join(re.escape(text) + (".*" if name is not None else "") for text, name, _, _ in parts))

    def resolve(self, ctx: Context[Any] | None, arguments: Sequence[Any]) -> str:
        """The topic for validated arguments.

        Raises:
            LiveError: ``INVALID_REQUEST`` when the result is not a usable name.
        """
        if self.static is not None:
            return self.static
        if callable(self._topic):
            name: Any = self._topic(ctx, *arguments)
            if not isinstance(name, str):
                raise LiveError(ErrorCode.INVALID_REQUEST, "the stream's topic function gave no string")
            return name
        values = self._signature.named(arguments)
        parts: dict[str, str] = {}
        for name in self._names:
            part = topic_part(values[name])
            if part is None:
                raise LiveError(ErrorCode.INVALID_REQUEST, f"the argument {name!r} cannot be part of a topic")
            after = self._between.get(name)
            if after is not None and (part + after).index(after) != len(part):  # it might be the next one's beginning
                raise LiveError(ErrorCode.INVALID_REQUEST, f"the argument {name!r} may not contain {after!r}")
            parts[name] = part
        return str(self._topic.format(**parts))


# -- streams ----------------------------------------------------------------------------------------------


class _Streaming(Stream[P, T]):
    """What streams and channels share."""

    options: StreamOptions
    topics: TopicSource
    signature: Signature

    @overload
    def topic(self: Stream[P, list[Row]], *args: P.args, **kwargs: P.kwargs) -> Topic[Row]: ...
    @overload
    def topic(self, *args: P.args, **kwargs: P.kwargs) -> Topic[T]: ...
    def topic(self, *args: Any, **kwargs: Any) -> Any:
        """The topic for these arguments, to publish on. A topic function gets None for ``ctx``."""
        bound = self.bind(args, kwargs)
        defaults = [p.default for p in self.signature.parameters[len(bound) :] if p.default is not p.empty]
        return Topic(self.topics.resolve(None, bound + defaults))


class StreamFunction(Declaration[P, X, User], _Streaming[P, T], Generic[P, X, T, User]):
    """What ``@live.stream`` makes of a loader."""

    takes_policies = frozenset(("rate_limit", "breaker"))

    def __init__(
        self,
        handler: Callable[..., Any],
        *,
        topic: str | Callable[..., str],
        options: StreamOptions,
        path: str | None = None,
    ) -> None:
        super().__init__(handler, path=path)
        options.check(where(handler))
        self.options = options
        self.topics = TopicSource(topic, self.signature)

    @property
    def result_type(self) -> Any:
        """The value's type, which for a loader of pages is a list of their rows."""
        result = self.signature.result
        if get_origin(result) is not Page:
            return list if result is Page else result
        rows: Any = list
        return rows[get_args(result)[0]]

    def resolve(self) -> None:
        """As for functions; and rows have the field that tells them apart."""
        super().resolve()
        result = self.signature.result
        known = _fields(next(iter(get_args(self.result_type)), None))
        if self.options.merge == "crud" and known and self.options.transform is None and self.options.key not in known:
            raise DeclarationError(
                f"{where(self.handler)}: key={self.options.key!r} is no field of its rows; they have {', '.join(known)}"
            )
        if self.options.merge == "set" and (result is Page or get_origin(result) is Page):
            raise DeclarationError(f"{where(self.handler)}: it returns a Page, but merge='set' has one value, no rows")


def _fields(row: Any) -> list[str]:
    """The names by which a row's fields travel; none where that is unknown."""
    if isinstance(row, type) and issubclass(row, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(row)]
    return [field.name for field in dataclasses.fields(row)] if dataclasses.is_dataclass(row) else []


class Channel(Declaration[P, str, Any], _Streaming[P, T], Generic[P, T]):
    """A stream without a loader: events only. What ``live.channel`` makes."""

    takes_policies = frozenset(("rate_limit",))

    def __init__(
        self,
        handler: Callable[..., str],
        *,
        topic: str | Callable[..., str],
        options: StreamOptions,
        item: Any,
        path: str | None = None,
    ) -> None:
        super().__init__(handler, path=path)
        options.check(where(handler))
        self.options = options
        self.topics = TopicSource(topic, self.signature)
        self.item = item

    @property
    def path(self) -> str:
        """As for functions; a channel with a fixed topic is named by the variable it is assigned to."""
        if self.explicit_path is None and self.topics.static is not None:
            return self.path_by_variable(f"the channel {self.topics.static!r}")
        return super().path

    @property
    def result_type(self) -> Any:
        """The value's type: the item for ``set``, else a list of items."""
        if self.options.merge == "set":
            return self.item
        rows: Any = list
        return rows[self.item]
