"""The log of topics with replay, as the hub uses it: at once, and never failing a publish."""

from __future__ import annotations

import logging
from typing import cast

from liverpc.backends.ports import EventLog, LocalLog, Pos, Slice
from liverpc.telemetry import Counters

__all__ = ["Logged"]

log = logging.getLogger("liverpc.log")


class Logged:
    """Appends and reads.

    An event that the log does not take is published all the same, without a number. Whoever misses it must not
    believe to have everything: until the topic's log was cleared, which gives it another epoch, nobody reads it.

    Attributes:
        usable: The log can be used; None of its methods may be called otherwise.
        appending: An append is going on, so what the log announces is our own.
    """

    def __init__(self, event_log: EventLog, counters: Counters) -> None:
        self.usable = isinstance(event_log, LocalLog)
        self.appending = False
        self._log = cast("LocalLog", event_log)  # whoever has topics with replay asks `usable` first
        self._counters = counters
        self._torn: set[str] = set()  # logs that lack an event

    def append(self, topic: str, event: str, data: bytes) -> Pos | None:
        """Keep an event; None when the log did not take it."""
        self.appending = True
        try:
            if topic in self._torn:
                self._mend(topic)
            return self._log.append_now(topic, event, data)
        except Exception:
            self._counters.log_failures += 1
            if topic not in self._torn:  # once for each time it fails
                log.exception("the log took no event of %r; it is published without being kept", topic)
            self._torn.add(topic)
            return None
        finally:
            self.appending = False

    def read(self, topic: str, after: Pos | None) -> Slice | None:
        """What is held after a position, without one nothing but the head; None when the log cannot be read."""
        try:
            if topic in self._torn:
                self._mend(topic)
            return self._log.read_now(topic, after, 0 if after is None else _ALL)
        except Exception:
            log.exception("the log of %r cannot be read; its clients load the whole value", topic)
            return None

    def forget(self, topic: str) -> None:
        """An event of a topic is not in its log: what is held is worth nothing any more."""
        try:
            self._mend(topic)
        except Exception:
            self._torn.add(topic)

    def depth(self, topic: str) -> int:
        """Events held."""
        return self._log.depth(topic)

    def _mend(self, topic: str) -> None:
        self._log.clear_now(topic)
        self._torn.discard(topic)


_ALL = 1 << 31
