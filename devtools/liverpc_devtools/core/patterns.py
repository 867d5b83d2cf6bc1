"""Tests of text: globs, and regular expressions that cannot take for ever.

What is searched was chosen by whoever talks to the server, so a pattern must not be slow on any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

__all__ = ["MAX_PATTERN", "MAX_SEARCHED", "Unsafe", "regex"]

# How a pattern was understood can be seen nowhere else.
codes: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

MAX_PATTERN = 200  #: characters of a regular expression
MAX_SEARCHED = 500  #: characters of a text that are searched by one
_MAX_OPEN = 2  # repeats such as * and +
_MAX_FORKS = 8  # repeats such as ?, and alternatives
_MAX_STEPS = 2e6  # of a search, about: the length to the power of the repeats and one more, twice that for each fork
_MIN_SEARCHED = 100  # characters: fewer are not worth a search
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


class Unsafe(ValueError):
    """A pattern that is no regular expression, or one that some text would keep busy."""


def regex(pattern: str) -> Callable[[str], bool]:
    """A search, whatever the case, in the first :data:`MAX_SEARCHED` characters, or fewer where it would take long.

    Raises:
        Unsafe: It is none, too long, or might need more than polynomial time of low degree.
    """
    if len(pattern) > MAX_PATTERN:
        raise Unsafe(f"longer than {MAX_PATTERN} characters")
    try:
        tree = parser.parse(pattern, re.IGNORECASE)
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unsafe(str(error)) from None
    repeats = forks = 0
    for code, most, inside in _parts(tree, inside=False):
        if code in (codes.GROUPREF, codes.GROUPREF_EXISTS):
            raise Unsafe("back references are too slow")
        if inside:
            raise Unsafe("a repeat or alternative within a repeat is too slow")
        if most > 1:
            repeats += 1
        else:
            forks += 1
    if repeats > _MAX_OPEN or forks > _MAX_FORKS:
        raise Unsafe(f"more than {_MAX_OPEN} repeats, or {_MAX_FORKS} alternatives, are too slow")
    longest = min(MAX_SEARCHED, int((_MAX_STEPS / 2**forks) ** (1 / (repeats + 1))))
    if longest < _MIN_SEARCHED:
        raise Unsafe("so many repeats and alternatives together are too slow")
    search = compiled.search
    return lambda text: search(text, 0, longest) is not None


def _parts(tree: Any, *, inside: bool) -> Iterator[tuple[Any, int, bool]]:
    """What makes a search go back: its code, how often it repeats at most, and whether a repeat is around it."""
    for code, value in tree:
        if code in _REPEATS:
            least, most, body = value
            if least != most:
                yield code, int(most), inside
            yield from _parts(body, inside=inside or int(most) > 1)
        elif code is codes.BRANCH:
            for index, branch in enumerate(value[1]):
                if index:
                    yield code, 1, inside
                yield from _parts(branch, inside=inside)
        elif code in (codes.GROUPREF, codes.GROUPREF_EXISTS):
            yield code, 0, inside
        else:
            yield from _parts(_body(code, value), inside=inside)


def _body(code: Any, value: Any) -> Any:
    if code is codes.SUBPATTERN:
        return value[3]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return value[1]
    return value if code is codes.ATOMIC_GROUP else ()
