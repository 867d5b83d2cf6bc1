"""Types shared by both halves: what a client needs to know of a declaration, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeAlias, cast, overload

import msgspec

if TYPE_CHECKING:  # defaults (PEP 696) exist for checkers only: no run-time dependency
    from typing_extensions import TypeVar

    User = TypeVar("User", default=Any)
else:
    from typing import TypeVar

    User = TypeVar("User")

__all__ = [
    "Binary",
    "Created",
    "Deleted",
    "Json",
    "ListMerge",
    "Locals",
    "Merge",
    "P",
    "Page",
    "PartialEvent",
    "Present",
    "R",
    "Reachable",
    "Remote",
    "Row",
    "RowChange",
    "Rpc",
    "Stream",
    "T",
    "Topic",
    "Updated",
    "Upload",
    "User",
    "remote",
]

Json: TypeAlias = Any  # None, bool, int, float, str, list of Json, dict of str to Json

P = ParamSpec("P")  # what a client passes: the handler's parameters without ctx
R = TypeVar("R")  # what a client gets back
T = TypeVar("T")  # the value of a stream
# Declarations only produce them, and a caller may want something wider: print(await client.call(count)).
R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
Row = TypeVar("Row")  # one element of a list stream
D = TypeVar("D")
Row_co = TypeVar("Row_co", covariant=True)

ListMerge = Literal["crud", "latest", "presence", "cursor"]
Merge = ListMerge | Literal["set"]


PartialEvent = Literal["deleted", "leave", "remove", "refreshed"]
"""Events that carry no whole row: of the first three the key is enough, the last one has the whole value."""


class Topic(Generic[D]):
    """A resolved topic that knows what its events carry; made by ``stream.topic(...)``.

    It is no string, so that type checkers compare what is published on it with what it carries.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topic) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """What a loader returns that does not give everything at once: ``Page(rows, has_more=True, cursor=rows[-1].id)``.

    Clients ask for the next one with ``load_more()``, and the loader gets ``cursor`` back as ``ctx.cursor``, which
    is None for the first page.

    Raises:
        TypeError: ``data`` is no list, or ``has_more`` is neither True nor False.
        ValueError: There is more, and no cursor that says where.
    """

    data: list[Row]
    has_more: bool = False
    cursor: Json = None  #: where the next page begins; anything with a JSON form, and it comes back as plain JSON

    def __post_init__(self) -> None:
        given: Any = self.data
        if not isinstance(given, list | tuple):
            raise TypeError(f"Page() takes a list of rows, not {type(given).__name__}")
        if not isinstance(cast("Any", self.has_more), bool):
            raise TypeError(f"Page(has_more=) is True or False, not {self.has_more!r}")
        if self.has_more and self.cursor is None:
            raise ValueError("Page(has_more=True) needs cursor=, which the client sends back for the next page")


@dataclass(frozen=True, slots=True)
class Created(Generic[Row_co]):
    """A row that a client expects to be added, or replaced when its key is there already.

    Under ``presence`` it joins, under ``cursor`` it moves, under ``latest`` it is appended.
    """

    row: Row_co


@dataclass(frozen=True, slots=True)
class Updated(Generic[Row_co]):
    """A row that a client expects to replace the one with the same key; without that one nothing happens.

    Under ``presence`` and ``cursor``, which know no difference, the same as :class:`Created`.
    """

    row: Row_co


@dataclass(frozen=True, slots=True)
class Deleted:
    """The key of a row that a client expects to go."""

    key: Any


class Locals(msgspec.Struct, frozen=True):
    """Base of what ``on_connect`` returns when handlers are to know more than the user.

    ``class Known(Locals, frozen=True)``, with the fields you like. Contracts have the whole object as ``self.locals``,
    other handlers as ``ctx.locals``; ``ctx.user`` is its ``user``, or None when it has no such field.
    """


class Present(msgspec.Struct, Generic[D], frozen=True):
    """A row of a room's presence: who is there, and what is shown of them."""

    key: str  #: the user's id, or ``__guest_`` and a number
    data: D


RowChange = Created[Row] | Updated[Row] | Deleted


class Reachable:
    """Something with a path on the wire."""

    @property
    def path(self) -> str:
        """Where a server answers for it, such as ``chat/send_message``."""
        raise NotImplementedError

    @property
    def result_type(self) -> Any:
        """What the answer is converted to; ``Any`` leaves the decoded JSON as it is."""
        raise NotImplementedError

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arguments in wire order.

        Raises:
            TypeError: They do not fit the declared parameters.
        """
        raise NotImplementedError


class Rpc(Reachable, Generic[P, R_co]):
    """What a client may call."""


class Stream(Reachable, Generic[P, T_co]):
    """What a client may subscribe to."""


class Binary(Reachable, Generic[P, R_co]):
    """What a client may call with bytes."""


class Upload(Reachable, Generic[P, R_co]):
    """What a client may upload to."""


class Remote(Rpc[..., R], Stream[..., R], Binary[..., R], Upload[..., R]):
    """A live function known by its path only; made by :func:`remote`."""

    def __init__(self, path: str, returns: Any = Any) -> None:
        self._path = path
        self._returns = returns

    @property
    def path(self) -> str:
        return self._path

    @property
    def result_type(self) -> Any:
        return self._returns

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        if kwargs:
            raise TypeError(
                f"{self._path} is known by its path only, so its parameters have no names here: "
                f"pass {', '.join(kwargs)} by position"
            )
        return list(args)

    def __repr__(self) -> str:
        return f"remote({self._path!r})"


@overload
def remote(path: str, /) -> Remote[Any]: ...
@overload
def remote(path: str, /, *, returns: type[R]) -> Remote[R]: ...
def remote(path: str, /, *, returns: Any = Any) -> Any:
    """A declaration for a function of which only the path is known.

    Args:
        path: For example ``"legacy/send"``.
        returns: Convert the result, or a stream's value, to this type. Default: the decoded JSON.
    """
    if "/" not in path:
        raise ValueError(f"remote() takes a path such as 'chat/send', not {path!r}")
    return Remote(path, returns)
