"""Finding things by some of their letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["ranked", "score"]

T = TypeVar("T")


def score(needle: str, text: str) -> int | None:
    """How well the letters of ``needle`` fit, in their order, into ``text``; None: they are not all there.

    Letters at the beginning of words and letters that stand together count most; spaces do not count.
    """
    wanted, within = needle.casefold().replace(" ", ""), text.casefold()
    found, total = -1, 0
    for letter in wanted:
        here = within.find(letter, found + 1)
        if here < 0:
            return None
        total += 8 if here == found + 1 else 6 if within[here - 1 : here] in (" ", ".", "-", "") else 0
        total -= min(here - found - 1, 5)
        found = here
    return total


def ranked(needle: str, things: Iterable[T], text: Callable[[T], str]) -> list[T]:
    """Those that contain the letters, the best first; all of them, in their order, for an empty ``needle``."""
    scored = [(points, each) for each in things if (points := score(needle, text(each))) is not None]
    return [each for _, each in sorted(scored, key=lambda pair: -pair[0])]
