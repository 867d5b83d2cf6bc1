"""Which rows of a table are shown: filter, marks and pins."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from liverpc_devtools.core.fields import Fields, RowSubject
from liverpc_devtools.core.filter import Filter, FilterError, everything, parse

__all__ = ["Sieve"]

R = TypeVar("R")
_CHANGING = frozenset(("age", "mark", "tag", "is"))  # fields that change while the row does not


class Sieve(Generic[R]):
    """What a table leaves out, and what somebody noted about its rows.

    Args:
        fields: Of the rows, by name.
        key: What identifies a row.
        facts: What texts are made of; None: the rows never change.

    Attributes:
        marks: The marked rows, and the comment of each.
        problem: Why :attr:`needle` is no filter; then it is looked for as a text.
    """

    def __init__(
        self, fields: Fields[R], key: Callable[[R], Hashable], facts: Callable[[R], object] | None = None
    ) -> None:
        self.marks: dict[Hashable, str] = {}
        self.problem: FilterError | None = None
        self.filter: Filter = everything
        self.fields: Mapping[str, Callable[[R], object]] = {
            **fields,
            "mark": lambda row: self.marks.get(key(row)),
            "tag": lambda row: self._tags(key(row)),
            "is": lambda row: self._words(row, key(row)),
        }
        self._about = fields.get("is")
        self._facts = facts
        self._needle = ""
        self._passes: dict[Hashable, tuple[object, bool]] = {}  # what the filter said, and of which facts

    @property
    def needle(self) -> str:
        """The filter as it was typed. A text that is none is looked for as it is."""
        return self._needle

    @needle.setter
    def needle(self, text: str) -> None:
        self._needle, self.problem = text, None
        try:
            self.filter = parse(text, self.fields)
        except FilterError as error:
            self.problem = error
            self.filter = parse('"' + text[:200].replace("\\", "\\\\").replace('"', '\\"') + '"')
        self.forget()

    @property
    def tells_words(self) -> bool:
        """Whether rows say what they are, errors for example."""
        return self._about is not None

    def forget(self) -> None:
        """What the texts are made of has changed."""
        self._passes = {}

    def subject(self, row: R, text: Callable[[], str]) -> RowSubject[R]:
        """A row, as a filter sees it."""
        return RowSubject(row, self.fields, text)

    def passing(self, rows: dict[Hashable, R], text: Callable[[Hashable, R], str]) -> dict[Hashable, R]:
        """The rows that pass. A row is looked at again only when it may pass now."""
        if not self.filter:
            return rows
        matches, facts_of = self.filter.matches, self._facts
        lasting = self.filter.textual if facts_of is not None else not self.filter.fields & _CHANGING
        known = self._passes if lasting else {}
        passes: dict[Hashable, tuple[object, bool]] = {}
        for key, row in rows.items():
            facts: Any = row if facts_of is None else facts_of(row)
            before = known.get(key)
            if before is not None and (facts is before[0] or facts == before[0]):
                passes[key] = before
            else:
                passes[key] = facts, matches(RowSubject(row, self.fields, lambda key=key, row=row: text(key, row)))  # type: ignore[misc]  # a default binds the loop's value
        self._passes = passes
        return {key: row for key, row in rows.items() if passes[key][1]}

    def _tags(self, key: Hashable) -> list[str]:
        return [each[1:] for each in self.marks.get(key, "").split() if each.startswith("#")]

    def _words(self, row: R, key: Hashable) -> list[str]:
        about: Any = () if self._about is None else self._about(row)
        return [*about, "marked"] if key in self.marks else list(about)
