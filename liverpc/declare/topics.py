"""``define_topics``: the topics of an application in one place."""

from __future__ import annotations

import inspect
import keyword
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from liverpc.errors import DeclarationError
from liverpc.wire.names import topic_fault

__all__ = ["DYNAMIC", "TopicPattern", "Topics", "define_topics", "pattern_from", "placeholders", "topic_part"]

DYNAMIC = "<dynamic>"  # the pattern of a function from which none can be derived


class TopicPattern:
    """A topic with ``{placeholders}``; calling it fills them in, by position or by name: ``topics.room("r1")``.

    Attributes:
        pattern: As written, which is also what ``@live.stream`` takes.
        names: Of the placeholders, in order.
    """

    __slots__ = ("_signature", "names", "pattern")

    def __init__(self, pattern: str, names: tuple[str, ...]) -> None:
        self.pattern = pattern
        self.names = names
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self._signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """The topic for these values.

        Raises:
            TypeError: They do not fit the placeholders, or one is no string, number, date, UUID, or enum member with
                such a value.
        """
        try:
            values = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"the topic {self.pattern!r}: {error}") from None
        parts: dict[str, str] = {}
        for name, value in values.items():
            part = topic_part(value)
            if part is None:
                raise TypeError(f"{name}={value!r} cannot be part of the topic {self.pattern!r}")
            parts[name] = part
        return self.pattern.format(**parts)

    def __repr__(self) -> str:
        return f"<topic {self.pattern}>"


class Topics:
    """What :func:`define_topics` makes: an attribute for each name, and iteration over the names.

    Attributes:
        patterns: Name to pattern, for those who look at topics from outside. A function's pattern is what it gives for
            ``{parameter}`` in place of each argument, or ``<dynamic>`` when it does not give a string for that.
    """

    __slots__ = ("_members", "patterns")

    def __init__(self, members: Mapping[str, Any], patterns: Mapping[str, str]) -> None:
        self._members = members
        self.patterns = patterns

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is being copied, not even the members are there
            raise AttributeError(name)
        if name not in self._members:
            raise AttributeError(f"there is no topic {name!r}; there are {', '.join(self._members)}")
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self._members]

    def __repr__(self) -> str:
        return f"<Topics {', '.join(self._members)}>"


def define_topics(topics: Mapping[str, str | Callable[..., str]], /) -> Topics:
    """Name the topics of an application in one place.

    ``topics = define_topics({"lobby": "lobby", "room": "room:{room_id}"})`` gives ``topics.lobby``, a string, and
    ``topics.room(...)``, a function of the placeholders: ``ctx.publish(topics.room("r1"), "created", row)``. A function
    stays as it is. ``liverpc routes app:server --check-topics`` finds topics written out elsewhere that fit none.

    Raises:
        DeclarationError: ``topics`` is no mapping; a name is no identifier, begins with ``_`` or is one that the
            result uses itself; a topic is empty, malformed, or neither a string nor a plain function.
    """
    caller = sys._getframe(1)
    place = f"{caller.f_code.co_filename}, line {caller.f_lineno}"
    given: Any = topics
    if not isinstance(given, Mapping):
        raise DeclarationError(f"{place}: define_topics() takes a mapping of names to topics, not {topics!r}")
    members: dict[str, Any] = {}
    patterns: dict[str, str] = {}
    for name, topic in given.items():
        _check_name(place, name)
        if isinstance(topic, str):
            members[name] = _parsed(f"{place}: topic {name!r}:", topic)
            patterns[name] = topic
        elif callable(topic) and not inspect.iscoroutinefunction(topic):
            members[name] = topic
            patterns[name] = _derived(topic)
        else:
            raise DeclarationError(
                f"{place}: topic {name!r} is a string or a plain function that gives one, not {topic!r}"
            )
    return Topics(MappingProxyType(members), MappingProxyType(patterns))


def topic_part(value: Any) -> str | None:
    """What stands in a topic for a value; None when it is no string, number, date, UUID, or enum member with one."""
    if isinstance(value, Enum):
        value = value.value
    return str(value) if isinstance(value, str | int | float | date | UUID) else None


def placeholders(topic: str, what: str) -> tuple[str, ...]:
    """The names in the braces of a template, each once.

    Raises:
        DeclarationError: It is no template; the text begins with ``what``, then names it.
    """
    try:
        parts = list(string.Formatter().parse(topic))
    except ValueError as error:
        raise DeclarationError(f"{what} {topic!r} is no valid template: {error}") from None
    names = tuple(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise DeclarationError(f"{what} {topic!r} may only contain plain {{name}} parts")
    return names


def pattern_from(give: Callable[[Sequence[str]], object], names: Sequence[str]) -> str:
    """The pattern of what ``give`` makes of arguments, each replaced by ``{name}``; else ``<dynamic>``."""
    try:
        pattern = give([f"{{{name}}}" for name in names])
    except Exception:  # it expects something else than text
        return DYNAMIC
    return pattern if isinstance(pattern, str) and pattern else DYNAMIC


def _check_name(place: str, name: object) -> None:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise DeclarationError(
            f"{place}: {name!r} cannot be the name of a topic, because it cannot be one of an attribute"
        )
    if name.startswith("_") or hasattr(Topics, name):
        raise DeclarationError(f"{place}: the name {name!r} is reserved; take another one for this topic")


def _parsed(what: str, topic: str) -> str | TopicPattern:
    names = placeholders(topic, what)
    if not all(map(str.isidentifier, names)):
        raise DeclarationError(f"{what} {topic!r} may only contain plain {{name}} parts")
    sample = topic.format(**{name: name for name in names})
    if (fault := topic_fault(sample)) is not None:
        raise DeclarationError(f"{what} {topic!r} {fault}")
    return TopicPattern(topic, names) if names else sample


def _derived(function: Callable[..., Any]) -> str:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of some builtins
        return DYNAMIC
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return pattern_from(lambda given: function(*given), [each.name for each in parameters if each.kind in positional])
