"""The frozen declarations behind ``live``: importing a module registers nothing."""

from __future__ import annotations

import copy
import inspect
import re
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, get_args, get_origin, overload
from uuid import UUID

from liverpc._types import P, Page, R, Row, Rpc, Stream, T, Topic, User
from liverpc.declare.access import access
from liverpc.declare.context import Context
from liverpc.declare.options import StreamOptions
from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.schema.signature import Signature, where
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
    """

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
        self.signature = Signature(handler, declaring_locals(handler))
        self.explicit_path = path
        self.access: Callable[..., Any] | None = None
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
        declaration = copy.copy(self)
        declaration.access = predicate
        if isinstance(declaration, _Streaming):  # they are asked before anything is loaded, whoever declared it
            own = declaration.options.access
            both = predicate if own is None else access.all(own, predicate)
            declaration.options = replace(declaration.options, access=both)
        return declaration

    @property
    def path(self) -> str:
        """``@live(path=…)``, else the last part of the module's name and the function's name."""
        return self.explicit_path or f"{first_part(self.__module__)}/{self.__name__}"

    @property
    def result_type(self) -> Any:
        """What the handler is annotated to return."""
        return self.signature.result

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
    topic is computed, so no unvalidated text shapes a name.
    """

    def __init__(self, topic: Any, signature: Signature) -> None:
        self._topic = topic
        self._signature = signature
        self._names: list[str] = []  # of the template's parameters
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
        try:
            parts = list(string.Formatter().parse(topic))
        except ValueError as error:
            raise DeclarationError(f"{place}: the topic {topic!r} is no valid template: {error}") from None
        names = self._names = [name for _, name, _, _ in parts if name is not None]
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise DeclarationError(f"{place}: the topic {topic!r} may only contain plain {{name}} parts")
        for name in names:
            if name not in signature.names:
                known = ", ".join(signature.names) or "none"
                raise DeclarationError(
                    f"{place}: the topic {topic!r} names {name!r}, which is no parameter (parameters: {known})"
                )
        if not names:
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
        return str(self._topic.format(**{name: _topic_part(name, values[name]) for name in self._names}))


def _topic_part(name: str, value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str | int | float | date | UUID):
        raise LiveError(ErrorCode.INVALID_REQUEST, f"the argument {name!r} cannot be part of a topic")
    return str(value)


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
        """As for functions; pages are lists of rows."""
        super().resolve()
        result = self.signature.result
        if self.options.merge == "set" and (result is Page or get_origin(result) is Page):
            raise DeclarationError(f"{where(self.handler)}: it returns a Page, but merge='set' has one value, no rows")


class Channel(Declaration[P, str, Any], _Streaming[P, T], Generic[P, T]):
    """A stream without a loader: events only. What ``live.channel`` makes."""

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
        self.bound_path: str | None = None

    @property
    def path(self) -> str:
        """As for functions; a channel with a fixed topic is named by the variable it is assigned to."""
        if self.explicit_path is None and self.topics.static is not None:
            return self._path_by_name()
        return super().path

    def _path_by_name(self) -> str:
        # There is no function to take a name from, so look where the module keeps it; once.
        if self.bound_path is None:
            module = sys.modules.get(self.__module__)
            for name, value in vars(module).items() if module else ():
                if value is self:
                    self.bound_path = f"{first_part(self.__module__)}/{name}"
                    break
            else:
                raise DeclarationError(
                    f"the channel {self.topics.static!r} made in {self.__module__} is no variable of that module, so "
                    "it has no name to be reached by; assign it to one or pass path="
                )
        return self.bound_path

    @property
    def result_type(self) -> Any:
        """The value's type: the item for ``set``, else a list of items."""
        if self.options.merge == "set":
            return self.item
        rows: Any = list
        return rows[self.item]
