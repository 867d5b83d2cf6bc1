"""The filter language: ``topic:board:* (event:created or event:deleted) -is:fault``.

docs/devtools.md explains it to people. :func:`parse` makes one closure of a text; what it is asked about is a
:class:`Subject`. A part of each filter can be evaluated by the server: :meth:`Filter.capture`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from liverpc.inspector.protocol import Match, glob
from liverpc_devtools.core.capture import SLOW_MS, Area, area
from liverpc_devtools.core.patterns import Unsafe, regex
from liverpc_devtools.core.terms import All, Any_, Node, Not, Pattern, Term, Text, number, show

__all__ = ["FIELDS", "MACROS", "SLOW_MS", "Filter", "FilterError", "Subject", "everything", "parse"]

#: those of events; tables have some of these and others
FIELDS = (
    *("kind", "topic", "event", "path", "user", "conn", "code", "ok", "ms", "wait", "bytes", "subs", "seq", "age"),
    *("merge", "tag", "mark", "is", "data", "args", "published", "fault"),
)
MACROS = ("error", "slow", "dropped", "volatile", "fault", "pending", "marked")
_MAX_TEXT, _MAX_DEPTH = 1000, 32
_EXACT_CASE = ("topic", "path", "event", "published")  # as the server compares them
_OPERATOR = re.compile(r"([A-Za-z_]\w*(?:\.[^\s()\"/:=<>!~]+)*)(!=|>=|<=|[:=<>~])")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_REGEX = re.compile(r"/((?:[^/\\]|\\.)*)/(?=[\s()]|$)", re.DOTALL)
_WORD = re.compile(r"[^\s()]+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JOIN = re.compile(r"(\|\||&&)|(or|and|not)(?=[\s()]|$)", re.IGNORECASE)


class FilterError(ValueError):
    """A filter that cannot be understood.

    Attributes:
        message: What is wrong, for people.
        column: Where, from 0 on.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} (column {column + 1})")
        self.message = message
        self.column = column


class Subject(Protocol):
    """What a filter is asked about."""

    def field(self, name: str) -> object | None:
        """The value of a field, None when there is none; of several values each is looked at.

        Of ``data.author.id`` the name asked for is ``data``. Durations are in milliseconds.
        """
        ...

    def text(self) -> str:
        """What words are looked for in."""
        ...


Test = Callable[[Subject], bool]


class Filter:
    """A filter that was understood. ``str`` gives a text that means the same.

    Attributes:
        fields: The names of the fields it looks at.
        textual: Whether it looks at nothing but text.
        exact: Whether :meth:`capture` is all of it.
        rest: What of it is not, as texts.
        unknown: What looks like the name of a field, and is text because there is none.
    """

    def __init__(self, node: Node, unknown: Sequence[str] = ()) -> None:
        self._node = node
        self.unknown = tuple(unknown)
        self.fields = frozenset(_names(node))
        self.textual = not self.fields
        self.matches: Test = _test(node)
        self._area: Area = area(node, _value_test)
        self.exact = self._area.exact
        parts = node.parts if isinstance(node, All) else (node,)
        self.rest = [] if self.exact else [show(each) for each in parts if not area(each, _value_test).exact]

    def __str__(self) -> str:
        return show(self._node)

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return self._node != All(())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self._node == other._node

    def __hash__(self) -> int:
        return hash(self._node)

    def capture(self) -> Match:
        """What the server can do of it: lets everything through that this filter does, and maybe more."""
        return self._area.match()


def parse(text: str, fields: Collection[str] = ()) -> Filter:
    """Understand a filter; an empty one lets everything through.

    Args:
        text: At most 1,000 characters.
        fields: Further names of fields. What looks like a field with any other name is text.

    Raises:
        FilterError: It cannot be understood.
    """
    if len(text) > _MAX_TEXT:
        raise FilterError(f"longer than {_MAX_TEXT:,} characters", _MAX_TEXT)
    parser = _Parser(text, frozenset((*FIELDS, *fields)))
    return Filter(parser.whole(), parser.unknown)


class _Parser:
    def __init__(self, text: str, fields: Collection[str]) -> None:
        self._text = text
        self._fields = fields
        self._at = 0
        self._depth = 0
        self.unknown: list[str] = []
        self._skip()

    def whole(self) -> Node:
        if self._at == len(self._text):
            return All(())
        node = self._or()
        if self._at < len(self._text):
            raise FilterError("this ) closes nothing", self._at)
        return node

    def _or(self) -> Node:
        parts = [self._and()]
        while self._join("or", "||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Any_(tuple(parts))

    def _and(self) -> Node:
        parts = [self._unary()]
        while self._at < len(self._text) and self._text[self._at] != ")":
            if not self._join("and", "&&") and self._peek("or", "||"):
                break
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise FilterError(f"more than {_MAX_DEPTH} within each other", self._at)
        node = self._inner()
        self._depth -= 1
        return node

    def _inner(self) -> Node:
        start = self._at
        if start == len(self._text):
            raise FilterError("something is missing at the end", start)
        if self._text[start] in "-!":
            self._move(start + 1)
            return Not(self._unary())
        if self._join("not"):
            return Not(self._unary())
        if self._text[start] == "(":
            self._move(start + 1)
            node = self._or()
            if not self._text.startswith(")", self._at):
                raise FilterError("this ( is not closed", start)
            self._move(self._at + 1)
            return node
        if self._text[start] == ")":
            raise FilterError("something is missing before this )", start)
        if self._peek("or", "||", "and", "&&"):
            raise FilterError("something is missing before this word; put it in quotes to look for it", start)
        return self._term()

    def _term(self) -> Node:
        found = _OPERATOR.match(self._text, self._at)
        if found is not None and found[1].partition(".")[0] in self._fields:
            return self._field(found[1], found[2], found.end())
        if found is not None:
            self.unknown.append(found[1])
        start = self._at
        value, form = self._value()
        if form != "regex":
            return Text(value)
        self._checked(value, start)
        return Pattern(value)

    def _field(self, name: str, operator: str, value_at: int) -> Node:
        self._at = value_at
        value, form = self._value(empty=True)
        operator = ":" if operator == "=" else operator
        if form == "regex" and operator in (":", "~"):
            operator = "~"
        elif operator == "!=":
            return Not(self._compared(name, "~" if form == "regex" else ":", value, form, value_at))
        return self._compared(name, operator, value, form, value_at)

    def _compared(self, name: str, operator: str, value: str, form: str, at: int) -> Term:
        if operator == "~":
            value = _ESCAPE.sub(_unslashed, value)
            self._checked(value, at)
        elif operator != ":":
            if number(value) is None:
                raise FilterError(f"{name}{operator} needs a number such as 100, 1.5s, 20ms or 3MB", at)
        elif name == "is" and value.casefold() not in MACROS:
            raise FilterError(f"is: knows {', '.join(MACROS)}", at)
        return Term(name, operator, value, wild=operator == ":" and form == "word" and "*" in value)

    def _value(self, *, empty: bool = False) -> tuple[str, str]:
        """A text, and in which form it was written: ``word``, ``quoted`` or ``regex``."""
        start = self._at
        for form, pattern in (("quoted", _QUOTED), ("regex", _REGEX)):
            if found := pattern.match(self._text, start):
                self._move(found.end())
                if form == "quoted":
                    return _ESCAPE.sub(r"\1", found[1]), form
                return _ESCAPE.sub(_unslashed, found[1]), form
        opening = self._text[start : start + 1]
        if opening == '"' or (opening == "/" and not empty):
            raise FilterError(f"this {opening} is not closed", start)
        if found := _WORD.match(self._text, start):
            self._move(found.end())
            return found[0], "word"
        if not empty:
            raise FilterError("something is missing here", start)
        raise FilterError('a value is missing here; "" is an empty one', start)

    def _checked(self, pattern: str, at: int) -> None:
        try:
            regex(pattern)
        except Unsafe as error:
            raise FilterError(f"/{pattern[:20]}/: {error}", at) from None

    def _join(self, *words: str) -> bool:
        """Take one of these words if it comes next."""
        if (found := self._peek(*words)) is None:
            return False
        self._move(found.end())
        return True

    def _peek(self, *words: str) -> re.Match[str] | None:
        found = _JOIN.match(self._text, self._at)
        return found if found is not None and found[0].casefold() in words else None

    def _move(self, to: int) -> None:
        self._at = to
        self._skip()

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1


def _unslashed(found: re.Match[str]) -> str:
    return "/" if found[1] == "/" else found[0]


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Term):
        yield node.root
    elif isinstance(node, Not):
        yield from _names(node.part)
    elif isinstance(node, All | Any_):
        for each in node.parts:
            yield from _names(each)


# -- what a filter does -----------------------------------------------------------------------------------


def _test(node: Node) -> Test:
    if isinstance(node, Text):
        wanted = node.value.casefold()
        return lambda subject: wanted in subject.text().casefold()
    if isinstance(node, Pattern):
        search = regex(node.value)
        return lambda subject: search(subject.text())
    if isinstance(node, Term):
        return _field_test(node)
    if isinstance(node, Not):
        inner = _test(node.part)
        return lambda subject: not inner(subject)
    tests = [_test(each) for each in node.parts]
    if len(tests) == 2:  # so common, and twice as fast
        first, second = tests
        if isinstance(node, All):
            return lambda subject: first(subject) and second(subject)
        return lambda subject: first(subject) or second(subject)
    if isinstance(node, All):
        return lambda subject: all(test(subject) for test in tests)
    return lambda subject: any(test(subject) for test in tests)


def _field_test(node: Term) -> Test:
    root, *way = node.name.split(".")
    test = _value_test(node)
    if not way:
        return lambda subject: test(subject.field(root))
    return lambda subject: test(_inside(subject.field(root), way))


def _inside(value: object, way: list[str]) -> object:
    """What lies inside a value; None when nothing does."""
    for name in way:
        if isinstance(value, dict):
            inner = value.get(name)
            if inner is None and name.isdecimal() and int(name) < len(value) and name not in value:
                inner = list(value.values())[int(name)]
            value = inner
        elif isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _value_test(node: Term) -> Callable[[object], bool]:
    """A test for a field's value; of several values one has to pass."""
    test = _single_test(node)

    def passes(value: object) -> bool:
        if isinstance(value, list | tuple | frozenset):
            return any(test(each) for each in value)
        return test(value)

    return passes


def _single_test(node: Term) -> Callable[[object], bool]:
    operator, wanted = node.operator, node.value
    if operator == "~":
        search = regex(wanted)
        return lambda value: search(_text_of(value))
    amount = number(wanted)
    if operator != ":":
        assert amount is not None  # the parser saw to it
        return _comparison(operator, amount)
    exact = node.root in _EXACT_CASE
    same: Callable[[str], bool] = (glob if node.wild else _equal)(wanted if exact else wanted.casefold())

    def equals(value: object) -> bool:
        if type(value) is str:
            return same(value if exact else value.casefold())
        if amount is not None and isinstance(value, int | float) and not isinstance(value, bool):
            return value == amount
        text = _text_of(value)
        return same(text if exact else text.casefold())

    return equals


def _equal(wanted: str) -> Callable[[str], bool]:
    return wanted.__eq__


def _comparison(operator: str, amount: float) -> Callable[[object], bool]:
    compare: Callable[[float], bool] = {
        ">": amount.__lt__,
        ">=": amount.__le__,
        "<": amount.__gt__,
        "<=": amount.__ge__,
    }[operator]

    def passes(value: object) -> bool:
        if isinstance(value, str):
            parsed = number(value)
            return parsed is not None and compare(parsed)
        return isinstance(value, int | float) and not isinstance(value, bool) and compare(float(value))

    return passes


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)[:_MAX_TEXT]


#: lets everything through
everything: Filter = parse("")
