"""What a path and a topic may look like (docs/protocol.md section 3)."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["MAX_TOPIC_LENGTH", "RESERVED_PREFIX", "glob", "is_path", "is_reserved", "topic_fault"]

MAX_TOPIC_LENGTH = 256  # characters
RESERVED_PREFIX = "__"

_PATH = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)+")
# Control characters, the quote and the backslash: a topic stands unescaped in frames of other servers.
_FORBIDDEN_IN_TOPIC = re.compile(r'[\x00-\x1f"\\]')


def is_path(text: str) -> bool:
    """Whether ``text`` is two or more segments of letters, digits, ``_`` and ``-``, joined by ``/``."""
    return _PATH.fullmatch(text) is not None


def is_reserved(topic: str) -> bool:
    """Whether ``topic`` belongs to the library; applications cannot publish or subscribe to it."""
    return topic.startswith(RESERVED_PREFIX)


def topic_fault(topic: object, *, reserved: bool = False) -> str | None:
    """What is wrong with a topic's name, as a sentence without subject, or ``None``.

    Args:
        topic: The name.
        reserved: Whether names that belong to the library (``__…``) are fine, too.
    """
    if not isinstance(topic, str):
        return f"must be a string, not {type(topic).__name__}"
    if not topic:
        return "is empty"
    if len(topic) > MAX_TOPIC_LENGTH:
        return f"is {len(topic)} characters long; the limit is {MAX_TOPIC_LENGTH}: put the variable part in the payload"
    if _FORBIDDEN_IN_TOPIC.search(topic):
        return "contains a control character, a quote or a backslash"
    if is_reserved(topic) and not reserved:
        return "is reserved: names beginning with __ belong to the server"
    return None


def glob(pattern: str) -> Callable[[str], bool]:
    """A test for names in which ``*`` stands for any run of characters, and everything else for itself.

    Its time is linear in the name, whatever the pattern: patterns come from observers.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    *between, last = rest
    middle = list(filter(None, between))  # of several * in a row one says it all

    def matches(name: str) -> bool:
        at, end = len(first), len(name) - len(last)
        if at > end or not name.startswith(first) or not name.endswith(last):
            return False
        for part in middle:
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return matches
