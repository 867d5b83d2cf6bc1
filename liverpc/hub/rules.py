"""What streams ask of the topics they stand on: how the events of each are shaped, delivered and kept."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from liverpc.errors import DeclarationError
from liverpc.wire.names import is_reserved

__all__ = ["RuleBook", "TopicRules"]


class TopicRules(msgspec.Struct, frozen=True):
    """How the events of a topic are treated; a topic without rules has none of this."""

    volatile: bool = False  #: events have no number, and a client whose socket is full misses them
    coalesce_by: Callable[[Any], object] | None = None  #: ... gets of those with one key the last only
    transform: Callable[[str, Any], object] | None = None  #: (event, data): what clients get of it
    replay: bool = False  #: events are numbered by the log and kept there
    failed: Callable[[BaseException, str], object] | None = None  #: (error, topic), instead of the publisher

    def joined(self, other: TopicRules | None, name: str) -> TopicRules:
        """These and those of another stream on the same topic, which does not contradict them option by option.

        Raises:
            DeclarationError: Together they do.
        """
        if other is None:
            return self
        rules = TopicRules(
            self.volatile or other.volatile,
            self.coalesce_by or other.coalesce_by,
            self.transform or other.transform,
            self.replay or other.replay,
            self.failed or other.failed,
        )
        if rules.volatile + (rules.coalesce_by is not None) + rules.replay > 1:
            raise DeclarationError(f"the streams on {name!r} want more than one of volatile, coalesce_by, replay")
        return rules

    def shape(self, name: str, event: str, data: Any, *, here: bool) -> tuple[object, Any]:
        """The slot in which an event waits for a full socket, and what clients get.

        There is no slot without ``coalesce_by``, nor when nobody listens ``here``.

        Raises:
            TypeError: The key cannot be compared, being a list or the like.
            Exception: What the application's functions raise.
        """
        slot = None
        if here and self.coalesce_by is not None:
            slot = (name, self.coalesce_by(data))
            hash(slot)
        return slot, data if self.transform is None else self.transform(event, data)


class RuleBook:
    """The rules of all topics, also of those without subscribers: what is published there may be kept, too.

    Args:
        most: Topics without a pattern and without subscribers that are remembered; the one longest unused is forgotten
            for a further one.
        forget: Called with its name.
    """

    def __init__(self, most: int, forget: Callable[[str], object]) -> None:
        self._empty = True
        self._fixed: dict[str, TopicRules] = {}
        self._patterns: dict[re.Pattern[str], TopicRules] = {}
        self._learnt: OrderedDict[str, TopicRules] = OrderedDict()
        self._most = most
        self._forget = forget

    def fix(self, name: str, rules: TopicRules) -> None:
        """The rules of one topic, besides those that were said of it before.

        Raises:
            DeclarationError: They contradict each other.
        """
        self._fixed[name] = rules.joined(self._fixed.get(name), name)
        self._empty = False

    def match(self, pattern: re.Pattern[str], rules: TopicRules, template: str) -> None:
        """The rules of all topics that fully match a pattern, likewise; of several patterns the first counts.

        A pattern says nothing of reserved names, however much it matches: no stream is ever on those.

        Args:
            pattern: Of the template.
            rules: Of its topics.
            template: For people.
        """
        self._patterns[pattern] = rules.joined(self._patterns.get(pattern), template)
        self._empty = False

    def learn(self, name: str, rules: TopicRules) -> None:
        """Remember the rules of a topic that has no subscribers any more, if anything is kept of it."""
        if not rules.replay or self.find(name) is not None:
            return
        self._learnt[name] = rules
        self._empty = False
        if len(self._learnt) > self._most:
            self._forget(self._learnt.popitem(last=False)[0])

    def take(self, name: str) -> TopicRules | None:
        """The rules of a topic that has a subscriber now; whoever takes them learns them again at its end."""
        return self._learnt.pop(name, None) or self.find(name)

    def find(self, name: str) -> TopicRules | None:
        """The rules of a topic, if it has any; those of a topic with subscribers it has itself."""
        if self._empty:  # as in most servers
            return None
        rules = self._fixed.get(name)
        if rules is None and (rules := self._learnt.get(name)) is not None:
            self._learnt.move_to_end(name)
        if rules is not None:
            return rules
        if is_reserved(name):
            return None
        for pattern, candidate in self._patterns.items():
            if pattern.fullmatch(name):
                return candidate
        return None
