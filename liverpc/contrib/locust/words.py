"""Texts that a server chose, on their way to a terminal, a log or a table."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, most: int = 200) -> str:
    """``text`` in one line of at most ``most`` characters, with ``?`` for what a terminal might obey."""
    if len(text) <= most and text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text[:most])
