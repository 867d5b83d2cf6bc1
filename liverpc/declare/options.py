"""The options of a stream or channel, checked when it is declared."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from liverpc._types import Merge
from liverpc.errors import DeclarationError

__all__ = ["MERGES", "Delta", "StreamOptions", "wildcard"]

MERGES = ("crud", "latest", "set", "presence", "cursor")

_FUNCTIONS = (
    "access",
    "gate",
    "on_subscribe",
    "on_unsubscribe",
    "on_error",
    "coalesce_by",
    "transform",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """How a stream's clients catch up without a full load. All functions may be async; one that raises costs a
    full load.

    Attributes:
        version: ``(ctx, *arguments)``: the value's version, anything with a JSON form. A client that has this version
            already gets nothing.
        diff: ``(ctx, since, *arguments)``: the rows changed since that version, ``{"id": …, "_deleted": True}`` for
            one that is gone; None when that is not known any more.
        from_seq: ``(ctx, seq, *arguments)``: the events after that number, as ``(seq, event, data)``, when the log of
            a stream with ``replay=True`` does not reach back so far; None when they are not known either.
    """

    version: Callable[..., Any] | None = None
    diff: Callable[..., Any] | None = None
    from_seq: Callable[..., Any] | None = None

    def check(self, place: str) -> None:
        """Raises DeclarationError for what cannot work."""
        for name in ("version", "diff", "from_seq"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise DeclarationError(f"{place}: delta=Delta({name}={value!r}) must be a function")
        if self.version is None and self.from_seq is None:
            raise DeclarationError(f"{place}: delta=Delta() needs version= or from_seq=")
        if self.diff is not None and self.version is None:
            raise DeclarationError(f"{place}: delta=Delta(diff=) needs version=, or nobody has a version to start from")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The options of a stream or channel."""

    merge: Merge = "crud"
    key: str = "id"
    prepend: bool = False
    max: int = 0  #: rows clients keep; 0: unlimited (``latest``: 50)
    access: Callable[..., Any] | None = None
    gate: Callable[..., Any] | None = None
    on_subscribe: Callable[..., Any] | None = None
    on_unsubscribe: Callable[..., Any] | None = None
    on_error: Callable[..., Any] | None = None
    volatile: bool = False
    coalesce_by: Callable[[Any], object] | None = None
    transform: Callable[[Any], object] | None = None
    replay: bool = False
    delta: Delta | None = None
    version: int | None = None
    migrate: Mapping[int, Callable[[Any], Any]] = field(default_factory=dict)
    stale_after: float | None = None  #: seconds
    invalidate_on: tuple[str, ...] = ()
    class_of_service: str | None = None

    def check(self, place: str) -> None:
        """Raises DeclarationError for values and combinations that cannot work."""
        if self.merge not in MERGES:
            raise DeclarationError(f"{place}: merge={self.merge!r} is unknown; take one of {', '.join(MERGES)}")
        if not _is_text(self.key):
            raise DeclarationError(f"{place}: key={self.key!r} must name a field of the rows")
        if not _is_count(self.max, 0):
            raise DeclarationError(f"{place}: max={self.max!r} must be a number of rows, 0 for no limit")
        for name in ("prepend", "volatile", "replay"):
            if not isinstance(getattr(self, name), bool):
                raise DeclarationError(f"{place}: {name}={getattr(self, name)!r} must be True or False")
        if self.prepend and self.merge != "crud":
            raise DeclarationError(f"{place}: prepend=True is for merge='crud', not {self.merge!r}")
        for name in _FUNCTIONS:
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise DeclarationError(f"{place}: {name}={value!r} must be a function")
        for name in ("coalesce_by", "transform"):
            if inspect.iscoroutinefunction(getattr(self, name)):
                raise DeclarationError(f"{place}: {name}= is async, but publishing does not wait")
        self._check_delivery(place)
        self._check_reloads(place)
        self._check_versions(place)
        if self.class_of_service is not None and not _is_text(self.class_of_service):
            raise DeclarationError(f"{place}: class_of_service={self.class_of_service!r} must be the name of a class")

    def _check_delivery(self, place: str) -> None:
        if self.volatile and self.coalesce_by is not None:
            raise DeclarationError(
                f"{place}: volatile=True loses events of a slow client and coalesce_by= keeps the last; take one"
            )
        if self.replay and (self.volatile or self.coalesce_by is not None):
            other = "volatile=True" if self.volatile else "coalesce_by="
            raise DeclarationError(f"{place}: replay=True numbers every event and {other} none; take one")

    def _check_reloads(self, place: str) -> None:
        seconds: Any = self.stale_after
        if seconds is not None and not (
            isinstance(seconds, int | float)
            and not isinstance(seconds, bool)
            and math.isfinite(seconds)
            and seconds > 0
        ):
            raise DeclarationError(f"{place}: stale_after={seconds!r} must be a number of seconds above 0")
        for pattern in self.invalidate_on:
            if not _is_text(pattern):
                raise DeclarationError(
                    f"{place}: invalidate_on={pattern!r} must be a topic; * stands for any part of it"
                )
            if "{" in pattern:
                raise DeclarationError(
                    f"{place}: invalidate_on={pattern!r}: arguments are not filled in here; * stands for any part of it"
                )

    def _check_versions(self, place: str) -> None:
        delta: Any = self.delta
        if delta is not None:
            if not isinstance(delta, Delta):
                raise DeclarationError(f"{place}: delta={delta!r} must be Delta(version=…, diff=…)")
            delta.check(place)
            if delta.diff is not None and self.merge != "crud":
                raise DeclarationError(f"{place}: delta=Delta(diff=) changes rows: it is for merge='crud'")
        if self.version is not None and not _is_count(self.version, 1):
            raise DeclarationError(f"{place}: version={self.version!r} must be a whole number from 1 on")
        migrate: Any = self.migrate
        if not isinstance(migrate, Mapping):
            raise DeclarationError(f"{place}: migrate={migrate!r} must map each version to a function")
        if self.migrate and self.version is None:
            raise DeclarationError(f"{place}: migrate= needs version=, the one that rows have now")
        function: Any
        for step, function in self.migrate.items():
            if not _is_count(step, 1) or step >= (self.version or 0):
                raise DeclarationError(
                    f"{place}: migrate={{{step!r}: …}} brings rows from that version to the next; with "
                    f"version={self.version} the steps are 1 to {(self.version or 1) - 1}"
                )
            if not callable(function) or inspect.iscoroutinefunction(function):
                raise DeclarationError(f"{place}: migrate={{{step}: {function!r}}} must be a plain function of a row")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def wildcard(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """The test for a text: ``*`` in ``pattern`` stands for one or more characters, all else for itself."""
    return re.compile(".+".join(map(re.escape, re.sub(r"\*+", "*", pattern).split("*"))), re.DOTALL).fullmatch
