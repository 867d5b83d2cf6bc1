"""Who the users of a load test are: the rows of a CSV file, each for one user."""

from __future__ import annotations

import csv
import heapq
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from liverpc.errors import ConfigError

__all__ = ["Numbers", "People", "Person"]

log = logging.getLogger("liverpc.contrib.locust")


class Person(Mapping[str, str]):
    """A row of the file: ``person["token"]`` is what stands in the column ``token``.

    Its ``repr`` tells the line only, so that no token gets into a log or a traceback by accident.
    """

    __slots__ = ("_cells", "_where")

    def __init__(self, cells: Mapping[str, str], where: str) -> None:
        self._cells = cells
        self._where = where

    def __getitem__(self, column: str) -> str:
        if column not in self._cells:
            # A file without a header has a person there: what its first line says is never told.
            raise KeyError(f"{self._where} has no column {column!r}; the first line names the columns")
        return self._cells[column]

    def __contains__(self, column: object) -> bool:
        return column in self._cells

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"<Person: {self._where}>"


class People:
    """The rows of a CSV file; made by :meth:`read`, given to users as ``LiveUser.people``.

    Attributes:
        path: Of the file.
        when_used_up: What happens when there are more users than rows: with ``cycle`` rows are shared, with ``stop``
            users for whom there is none do not start. The log tells it once.
    """

    def __init__(self, path: Path, rows: list[Person], when_used_up: Literal["cycle", "stop"] = "cycle") -> None:
        self.path = path
        self.when_used_up = when_used_up
        self._rows = rows
        self._told = False

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        columns: Iterable[str] = (),
        when_used_up: Literal["cycle", "stop"] = "cycle",
    ) -> People:
        """Read a file: UTF-8, commas, cells with commas or line breaks in quotes, and a first line of column names.

        Args:
            path: The file, seen from the working directory.
            columns: Those that must be there.
            when_used_up: See the class.

        Raises:
            ConfigError: It cannot be read, or something in it is wrong: the text says in which line, and nothing of
                what stands there.
        """
        path = Path(path)
        if when_used_up not in ("cycle", "stop"):
            raise ConfigError(f"when_used_up is 'cycle' or 'stop', not {when_used_up!r}")
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = _lines(csv.reader(file, strict=True), path.name)
                _, header = next(lines, (1, []))
                header = [name.strip() for name in header]
                _check(header, columns, path.name)
                rows = list(_people(lines, header, path.name))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path.name} is not UTF-8; save it as `CSV UTF-8`") from None
        if not rows:
            raise ConfigError(f"{path.name} has a header and nobody below it")
        return cls(path, rows, when_used_up)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Person]:
        return iter(self._rows)

    def person(self, number: int) -> Person | None:
        """Who the user with this number is, from 0 on; None: there are not so many, and rows are not to be shared."""
        if number >= len(self._rows) and not self._told:
            self._told = True
            what = "the others do not start" if self.when_used_up == "stop" else "rows are used by several of them"
            rows = "1 row" if len(self._rows) == 1 else f"{len(self._rows)} rows"
            log.warning("%s has %s for more users than that: %s", self.path.name, rows, what)
        if number >= len(self._rows) and self.when_used_up == "stop":
            return None
        return self._rows[number % len(self._rows)]


class Numbers:
    """Numbers from 0 on, the lowest free one first."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def take(self) -> int:
        """One that nobody has."""
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give_back(self, number: int) -> None:
        """It is free again. Whoever has taken it does this once."""
        heapq.heappush(self._free, number)


def _check(header: list[str], columns: Iterable[str], name: str) -> None:
    if not any(header):
        raise ConfigError(f"{name} is empty, or has no header: the first line names the columns, such as user,token")
    for place, column in enumerate(header):
        if not column:
            raise ConfigError(f"{name}, line 1: column {place + 1} has no name")
        if column in header[:place]:
            raise ConfigError(f"{name}, line 1: columns {header.index(column) + 1} and {place + 1} have the same name")
    missing = ", ".join(each for each in columns if each not in header)
    if missing:
        raise ConfigError(f"{name} has no column {missing}; the first line names the columns")


def _lines(reader: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Cells, with the number of the line where they begin; without empty lines."""
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:  # its text may quote a cell
        raise ConfigError(f"{name}, line {line}: a quote that is not closed, or stands where none may be") from None


def _people(lines: Iterator[tuple[int, list[str]]], header: list[str], name: str) -> Iterator[Person]:
    for line, cells in lines:
        if len(cells) != len(header):
            raise ConfigError(f"{name}, line {line} has {len(cells)} cells instead of {len(header)}")
        yield Person(dict(zip(header, cells, strict=True)), f"{name}, line {line}")
