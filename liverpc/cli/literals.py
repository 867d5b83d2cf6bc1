"""Topics that are written out in source code, as strings or f-strings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from pathlib import Path

import msgspec

from liverpc.errors import ConfigError

__all__ = ["TopicLiteral", "topics_in"]

# Method: how many arguments it has at least; with fewer it is a method of something else.
_PUBLISHING = {"publish": 3, "publish_nowait": 3, "throttle": 4, "debounce": 4}
_DECLARING = ("stream", "channel")


class TopicLiteral(msgspec.Struct, frozen=True):
    """A topic in a file; ``{…}`` in ``text`` stands for what an f-string computes."""

    file: Path
    line: int
    text: str

    def fits(self, patterns: Iterable[str]) -> bool:
        """Whether it can be a topic of one of the patterns."""
        return any(_regex(pattern).fullmatch(self.text) or _regex(self.text).fullmatch(pattern) for pattern in patterns)

    def nearest(self, patterns: Iterable[str]) -> str | None:
        """The most similar pattern; None when there is none."""
        return max(patterns, key=lambda pattern: SequenceMatcher(None, pattern, self.text).ratio(), default=None)


def topics_in(file: Path) -> Iterator[TopicLiteral]:
    """What a file publishes on and declares.

    Raises:
        ConfigError: It cannot be read, or is no Python.
    """
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} cannot be checked: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for expression in _topics_of(node, node.func):
                text = _text(expression)
                if text is not None:
                    yield TopicLiteral(file, expression.lineno, text)


def _topics_of(call: ast.Call, method: ast.Attribute) -> Iterator[ast.expr]:
    arguments = call.args
    if method.attr in _PUBLISHING:
        if len(arguments) >= _PUBLISHING[method.attr]:
            yield arguments[0]
    elif method.attr == "batch":
        yield from (pair.elts[0] for pair in _messages(arguments))
    elif method.attr in _DECLARING and _is_live(method.value):
        yield from arguments[:1]
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "topic")


def _messages(arguments: list[ast.expr]) -> Iterator[ast.Tuple]:
    """The literal ``(topic, event, data)`` in the argument of ``ctx.batch``."""
    given = arguments[0] if len(arguments) == 1 else None
    if isinstance(given, ast.List | ast.Tuple | ast.Set):
        rows = given.elts
    elif isinstance(given, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        rows = [given.elt]
    else:
        rows = []
    return (row for row in rows if isinstance(row, ast.Tuple) and len(row.elts) == 3)


def _is_live(value: ast.expr) -> bool:
    return (isinstance(value, ast.Name) and value.id == "live") or (
        isinstance(value, ast.Attribute) and value.attr == "live"
    )


def _text(expression: ast.expr) -> str | None:
    """A string as it is written, or an f-string with ``{…}`` for what it computes; None for anything else."""
    if isinstance(expression, ast.Constant):
        return expression.value if isinstance(expression.value, str) else None
    if not isinstance(expression, ast.JoinedStr):
        return None
    parts = [str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in expression.values]
    return None if all(part == "{…}" for part in parts) else "".join(parts)


def _regex(pattern: str) -> re.Pattern[str]:
    """What fits a pattern: each ``{part}`` of it stands for one or more characters."""
    parts = re.split(r"\{[^{}]*\}", pattern)
    return re.compile(".+".join(map(re.escape, parts)), re.DOTALL)
