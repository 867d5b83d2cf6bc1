"""``pipe``: another stream on the topic of a stream, whose loaded rows are filtered, sorted, cut and completed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast, overload

from liverpc._types import P, Page, Row, User
from liverpc.declare.context import Context
from liverpc.declare.functions import StreamFunction
from liverpc.declare.rows import joined, sorted_by
from liverpc.errors import DeclarationError

__all__ = ["Join", "Pipe", "Piped", "Step", "pipe"]

Row_contra = TypeVar("Row_contra", contravariant=True)
Ctx: TypeAlias = Context[Any]
Rows: TypeAlias = list[Any]
Work: TypeAlias = Callable[[Ctx, Rows], Awaitable[Rows]]
Resolver: TypeAlias = Callable[[Any], object] | Callable[[Ctx, Any], object]


class _Step:
    def __init__(self, work: Work) -> None:
        self.work = work


class Step(_Step, Generic[Row_contra]):
    """One step of a pipe; made by ``pipe.filter``, ``pipe.sort`` and ``pipe.limit``."""


class Join(_Step):
    """A step of a pipe that makes rows dicts; made by ``pipe.join``."""


AnyStep: TypeAlias = Step[Row] | Join
Fields: TypeAlias = dict[str, Any]
ListStream: TypeAlias = StreamFunction[P, Any, list[Row], User]
Filtered: TypeAlias = StreamFunction[P, Coroutine[Any, Any, object], list[Row], User]


class Piped(StreamFunction[P, Any, Any, User]):
    """What ``pipe`` makes of a stream. Its path has the name of the variable it is assigned to."""

    def __init__(self, stream: StreamFunction[P, Any, Any, User], steps: Sequence[_Step], path: str | None) -> None:
        vars(self).update(vars(stream))
        caller = sys._getframe(2)  # it calls pipe()
        handler: Any = _through(stream, steps)
        self.handler = self.__wrapped__ = handler
        self.is_async = True
        self.explicit_path = path
        self.joined = getattr(stream, "joined", False) or any(isinstance(step, Join) for step in steps)
        self.__module__ = handler.__module__ = caller.f_globals.get("__name__", stream.__module__)
        self.__qualname__ = handler.__qualname__ = f"pipe({stream.__qualname__})"

    @property
    def path(self) -> str:
        """``pipe(path=…)``, else the last part of the module's name and the variable's name."""
        return self.explicit_path or self.path_by_variable(f"the {self.__qualname__}")

    @property
    def result_type(self) -> Any:
        """As of the stream; behind a join, a list of dicts."""
        return list[dict[str, Any]] if self.joined else super().result_type


class Pipe:
    """The type of :data:`pipe`."""

    # A join changes the type of the rows, wherever it stands. One overload for "a step or a join" would leave it
    # open which of two applies; so these say where the first join stands, up to the fourth place.
    @overload
    def __call__(
        self, stream: ListStream[P, Row, User], /, *steps: Step[Row], path: str | None = None
    ) -> Filtered[P, Row, User]: ...
    @overload
    def __call__(
        self, stream: ListStream[P, Row, User], join: Join, /, *steps: AnyStep[Row], path: str | None = None
    ) -> Filtered[P, Fields, User]: ...
    @overload
    def __call__(
        self,
        stream: ListStream[P, Row, User],
        a: Step[Row],
        join: Join,
        /,
        *steps: AnyStep[Row],
        path: str | None = None,
    ) -> Filtered[P, Fields, User]: ...
    @overload
    def __call__(
        self,
        stream: ListStream[P, Row, User],
        a: Step[Row],
        b: Step[Row],
        join: Join,
        /,
        *steps: AnyStep[Row],
        path: str | None = None,
    ) -> Filtered[P, Fields, User]: ...
    @overload
    def __call__(
        self,
        stream: ListStream[P, Row, User],
        a: Step[Row],
        b: Step[Row],
        c: Step[Row],
        join: Join,
        /,
        *steps: AnyStep[Row],
        path: str | None = None,
    ) -> Filtered[P, Fields, User]: ...
    def __call__(self, stream: Any, /, *steps: Any, path: str | None = None) -> Any:
        """A stream with the topic, arguments and options of another one, and with changed rows.

        ``newest = pipe(messages, pipe.sort("sent_at", "desc"), pipe.limit(20))``. The steps are taken in order,
        whenever rows are loaded: at first, for each further page, and for a reload. A value that is no list is left
        as it is. Events are those of the topic, unchanged: what a filter leaves out of the loaded rows comes back when
        it is published, so a filter keeps no secrets. ``transform`` comes after the steps.

        Args:
            stream: It stays as it is, and is reached by clients only where it is a variable of a module.
            *steps: ``pipe.filter``, ``pipe.sort``, ``pipe.limit`` and ``pipe.join``.
            path: As for functions; default: the name of the variable.

        Raises:
            DeclarationError: ``stream`` has no loader, or something else is no step.
        """
        place = _caller()
        if not isinstance(stream, StreamFunction):
            raise DeclarationError(f"{place}: pipe() takes what @live.stream made, not a {type(stream).__name__}")
        for step in steps:
            if not isinstance(step, _Step):
                raise DeclarationError(f"{place}: pipe() takes steps such as pipe.limit(20), not {step!r}")
        return Piped(stream, steps, path)

    def filter(self, keep: Callable[[Ctx, Row], bool | Awaitable[bool]], /) -> Step[Row]:
        """Leave out rows for which ``keep(ctx, row)``, plain or ``async``, is not true.

        Raises:
            DeclarationError: ``keep`` is no function.
        """
        if not callable(keep):
            raise DeclarationError(f"{_caller()}: pipe.filter() takes a function of ctx and a row, not {keep!r}")

        async def work(ctx: Ctx, rows: Rows) -> Rows:
            kept: Rows = []
            for row in rows:
                verdict = keep(ctx, row)
                if inspect.isawaitable(verdict):
                    verdict = await verdict
                if verdict:
                    kept.append(row)
            return kept

        return Step(work)

    def sort(self, field: str, direction: Literal["asc", "desc"] = "asc", /) -> Step[object]:
        """Sort rows by a field; equal ones keep their order.

        Rows whose field is missing, None or NaN go last in both directions. Of values that cannot be compared,
        numbers come before all others (``desc``: behind them), and the others are grouped by type.

        Raises:
            DeclarationError: ``field`` is no name, or ``direction`` neither ``asc`` nor ``desc``.
        """
        _check_name("sort", field)
        if direction not in ("asc", "desc"):
            raise DeclarationError(f"{_caller()}: pipe.sort() takes 'asc' or 'desc', not {direction!r}")

        async def work(ctx: Ctx, rows: Rows) -> Rows:
            return sorted_by(rows, field, reverse=direction == "desc")

        return Step(work)

    def limit(self, count: int, /) -> Step[object]:
        """Keep the first ``count`` rows.

        Of a page, too, whose cursor stays as it is: rows that are cut off are on no other page.

        Raises:
            DeclarationError: ``count`` is no whole number from 1 on.
        """
        given: object = count
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise DeclarationError(f"{_caller()}: pipe.limit() takes a number of rows from 1 on, not {count!r}")

        async def work(ctx: Ctx, rows: Rows) -> Rows:
            return rows[:count]

        return Step(work)

    def join(self, field: str, resolver: Resolver, as_: str, /) -> Join:
        """Give each row the field ``as_``, with what ``resolver`` finds for the row's ``field``.

        ``pipe.join("author_id", find_user, "author")``. Each key is asked for once per load, 64 of them at the
        same time, so a ``pipe.limit`` belongs before it. A row without the field, or with None in it, gets None. Rows
        become dicts with the names and values that they have in JSON; steps behind see these dicts.

        Args:
            field: Of the row.
            resolver: ``(key) -> value``, or ``(ctx, key) -> value`` when it has two parameters without default; plain
                or ``async``. What it raises fails the load.
            as_: The new field; one that the row has is replaced.

        Raises:
            DeclarationError: ``field`` or ``as_`` is no name, or ``resolver`` no function of a key.
        """
        _check_name("join", field)
        _check_name("join", as_)
        resolve = _resolver(resolver)

        async def work(ctx: Ctx, rows: Rows) -> Rows:
            return await joined(rows, field, lambda key: resolve(ctx, key), as_)

        return Join(work)


pipe: Final = Pipe()


def _caller() -> str:
    """File and line from which this module was called."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def _check_name(step: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise DeclarationError(f"{_caller()}: pipe.{step}() takes the name of a field, not {name!r}")


def _through(stream: StreamFunction[Any, Any, Any, Any], steps: Sequence[_Step]) -> Any:
    """The loader of ``stream`` with ``steps`` behind it."""
    loader, is_async = stream.handler, stream.is_async

    async def through(ctx: Ctx, rows: Any) -> Any:
        for step in steps:
            rows = await step.work(ctx, rows)
        return rows

    @wraps(loader)
    async def load(ctx: Ctx, *arguments: Any) -> Any:
        value = loader(ctx, *arguments)
        if is_async:
            value = await value
        if isinstance(value, Page):
            return replace(value, data=await through(ctx, list(value.data)))
        return await through(ctx, list(value)) if isinstance(value, list | tuple) else value

    return load


def _resolver(resolver: Any) -> Callable[[Ctx, Any], Any]:
    """``resolver`` as a function of ctx and a key."""
    if not callable(resolver):
        raise DeclarationError(f"{_caller()}: pipe.join() takes a function of a key, not {resolver!r}")
    try:
        signature = inspect.signature(resolver)
    except ValueError:  # of some builtins
        return lambda ctx, key: resolver(key)
    if _takes(signature, None):
        return lambda ctx, key: resolver(key)
    if _takes(signature, None, None):
        return cast("Callable[[Ctx, Any], Any]", resolver)
    raise DeclarationError(f"{_caller()}: pipe.join() takes a function of a key, or of ctx and a key; not {resolver!r}")


def _takes(signature: inspect.Signature, *arguments: None) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True
