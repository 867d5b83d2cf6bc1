"""What a watch wants."""

from __future__ import annotations

from collections.abc import Sequence

from liverpc.inspector.protocol import CallEvent, Event, Match, PublishEvent
from liverpc.wire.names import glob

__all__ = ["Matcher"]


class Matcher:
    """The test a :class:`~liverpc.inspector.protocol.Match` stands for, of events and of what they are made of.

    Attributes:
        connections: Whether it wants connections to be told of.
        globs: How many there are.
    """

    __slots__ = (
        "_calls",
        "_events",
        "_kinds",
        "_min_ms",
        "_ok",
        "_paths",
        "_publishes",
        "_topics",
        "connections",
        "globs",
    )

    def __init__(self, match: Match) -> None:
        kinds = self._kinds = frozenset(match.kind)
        self._topics, self._events, self._paths = (_Globs(each) for each in (match.topic, match.event, match.path))
        self.globs = len(match.topic) + len(match.event) + len(match.path)
        self._ok = match.ok
        self._min_ms = match.min_ms
        self._publishes = not kinds or "pub" in kinds
        self._calls = not kinds or "rpc" in kinds
        self.connections = not kinds or "conn" in kinds

    def publish(self, topic: str, event: str) -> bool:
        """Whether it wants a publish."""
        return self._publishes and self._topics.match(topic) and self._events.match(event)

    def call(self, path: str, ok: bool, ms: float, carries: str) -> bool:
        """Whether it wants a call."""
        if (self._ok is not None and ok is not self._ok) or ms < self._min_ms:
            return False
        return (self._calls or carries in self._kinds) and self._paths.match(path)

    def __call__(self, event: Event) -> bool:
        """Whether it wants an event."""
        if isinstance(event, PublishEvent):
            return self.publish(event.topic, event.event)
        if isinstance(event, CallEvent):
            return self.call(event.path, event.ok, event.ms, event.carries)
        return self.connections


class _Globs:
    """Any of several; none at all match everything."""

    __slots__ = ("_tests",)

    def __init__(self, patterns: Sequence[str]) -> None:
        self._tests = [glob(pattern) for pattern in patterns]

    def match(self, text: str) -> bool:
        if not self._tests:
            return True
        return any(test(text) for test in self._tests)
