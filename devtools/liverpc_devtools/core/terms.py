"""What a filter consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["All", "Any_", "Node", "Not", "Pattern", "Term", "Text", "number", "show"]

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)\s*([a-zA-Zµ%]*)")
#: durations in milliseconds, sizes in bytes as they are shown: a KB has 1,000
_UNITS = {"": 1.0, "%": 1.0, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "min": 6e4, "h": 3.6e6}
_UNITS |= {"k": 1e3, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
_PLAIN = re.compile(r"[\w@#.][\w@#.*-]*")
_VALUE = re.compile(r'[^\s()"/\\][^\s()"\\]*')
_SLASH = re.compile(r"\\.|/", re.DOTALL)


@dataclass(frozen=True)
class Text:
    """Something to look for, whatever the case."""

    value: str


@dataclass(frozen=True)
class Pattern:
    """A regular expression to look for."""

    value: str


@dataclass(frozen=True)
class Term:
    """A field compared with a value. ``!=`` is the negation of ``:``, and ``=`` is ``:``."""

    name: str
    operator: str  # : ~ > >= < <=
    value: str
    wild: bool = False  # ``*`` in the value stands for anything

    @property
    def root(self) -> str:
        """The field that a subject is asked for."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Not:
    """What does not pass."""

    part: Node


@dataclass(frozen=True)
class All:
    """What passes all parts; without any, everything."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any_:
    """What passes one of the parts."""

    parts: tuple[Node, ...]


Node = Text | Pattern | Term | Not | All | Any_


def number(text: str) -> float | None:
    """``1.5s`` is 1,500, ``3MB`` is 3,000,000; None for what is no number."""
    found = _NUMBER.fullmatch(text)
    unit = None if found is None else _UNITS.get(found[2].casefold())
    return None if found is None or unit is None else float(found[1]) * unit


def show(node: Node) -> str:
    """A text that is understood as ``node``."""
    if isinstance(node, Text):
        plain = _PLAIN.fullmatch(node.value) and node.value.casefold() not in ("and", "or", "not")
        return node.value if plain else _quoted(node.value)
    if isinstance(node, Pattern):
        return _slashed(node.value)
    if isinstance(node, Term):
        return f"{node.name}{node.operator}{_value(node)}"
    if isinstance(node, Not):
        return f"-{_inner(node.part)}"
    if isinstance(node, All):
        return " ".join(map(_inner, node.parts))
    return " or ".join(show(each) if isinstance(each, All) else _inner(each) for each in node.parts)


def _inner(node: Node) -> str:
    return f"({show(node)})" if isinstance(node, All | Any_) else show(node)


def _value(node: Term) -> str:
    if node.operator == "~":
        return _slashed(node.value)
    plain = _VALUE.fullmatch(node.value) and ("*" not in node.value or node.wild)
    return node.value if plain or node.wild else _quoted(node.value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _slashed(pattern: str) -> str:
    return "/" + _SLASH.sub(lambda found: "\\/" if found[0] == "/" else found[0], pattern) + "/"
