"""The way of events to one connection while faults may strike it."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from liverpc.hub.connection import Connection
from liverpc.hub.topic import TopicState
from liverpc.policies.faults import FaultRule
from liverpc.wire.names import is_reserved

__all__ = ["Gate", "Gatekeeping"]

_PATIENCE = 1.0  # seconds that a reordered event waits for another to let pass, unless the fault says how many


class _Item(NamedTuple):
    """An event on its way."""

    topic: TopicState
    due: float
    size: int
    send: Callable[..., object]
    event: tuple[Any, ...]  # the frame; on a coalesced topic its slot before it
    rule: FaultRule | None = None  # that holds it


class Gatekeeping(Protocol):
    """What all gates of a server share."""

    def decide(self, matching: list[FaultRule], topic: str) -> tuple[FaultRule, float] | None:
        """See :meth:`.faults.FaultRules.strike`."""
        ...

    def event_of(self, frame: bytes) -> str:
        """The name of the event in a frame, which goes to many connections in a row."""
        ...

    def lost(self) -> None:
        """Count an event that a connection did not get."""
        ...

    def hurried(self) -> None:
        """Count an event that was held and had to leave early."""
        ...

    def released(self, rule: FaultRule) -> None:
        """A strike that lasted is over."""
        ...

    def cut(self, rule: FaultRule, connection: Connection) -> None:
        """Close a connection, soon."""
        ...

    def stall(self, rule: FaultRule, connection: Connection) -> None:
        """Let nothing out to a connection."""
        ...

    def forget(self, gate: Gate) -> None:
        """Its connection is closed."""
        ...


class Gate:
    """Loses, holds, repeats and swaps events of one connection (``hub.faults.DeliveryGate``).

    What leaves late does so in order: nothing overtakes what was sent before it, save a reordered event's successor.
    As much is held as an outbox takes; with more, the oldest leave early. Replies, control frames and reserved topics
    do not pass here.

    Attributes:
        rules: Those that target the connection, in order.
        closing: The name of the fault that closes it.
    """

    def __init__(self, keeping: Gatekeeping, connection: Connection, most_bytes: int, most: int) -> None:
        self.connection = connection
        self.rules: list[FaultRule] = []
        self.closing = ""
        self._keeping = keeping
        self._most_bytes = most_bytes
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item] = deque()
        self._bytes = 0
        self._due: asyncio.TimerHandle | None = None
        self._late: _Item | None = None  # waits for an event to let pass
        self._patience: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """See :attr:`.hub.faults.DeliveryGate.held`."""
        return len(self._items())

    def through(self, topic: TopicState, send: Callable[..., object]) -> Callable[..., object]:
        """See :meth:`.hub.faults.DeliveryGate.through`."""
        return send if not self.rules or is_reserved(topic.wire) else partial(self._receive, topic, send)

    def loading(self, topic: TopicState) -> None:
        """See :meth:`.hub.faults.DeliveryGate.loading`. What is before it leaves, too."""
        if any(item.topic.name == topic.name for item in self._items()):
            for item in self._take():
                self._keeping.hurried()
                self._send(item)

    def gone(self) -> str:
        """See :meth:`.hub.faults.DeliveryGate.gone`."""
        for item in self._take():
            self._let_go(item)
        self._keeping.forget(self)
        return self.closing

    def set(self, rules: list[FaultRule]) -> None:
        """The rules that target the connection now. All that is held leaves when one that holds something is gone."""
        before, self.rules = self.rules, rules
        held_by = {item.rule for item in self._items()}
        if any(rule in held_by for rule in before if rule not in rules):
            for item in self._take():
                self._send(item)
        if bool(before) != bool(rules):
            for subscription in self.connection.subscriptions.values():
                subscription.route()

    def _items(self) -> list[_Item]:
        """Everything that is held, in the order in which it would leave."""
        return [*self._queue] if self._late is None else [*self._queue, self._late]

    def _take(self) -> list[_Item]:
        """The same, which is not held any more."""
        for timer in (self._due, self._patience):
            if timer is not None:
                timer.cancel()
        taken = self._items()
        self._queue.clear()
        self._bytes = 0
        self._due = self._patience = self._late = None
        return taken

    def _receive(self, topic: TopicState, send: Callable[..., object], *event: Any) -> None:
        frame: bytes = event[-1]
        item = _Item(topic, 0.0, len(frame), send, event)
        matching = [rule for rule in self.rules if rule.on(topic.wire)]
        if any(rule.fault.event != "*" for rule in matching):
            name = self._keeping.event_of(frame)
            matching = [rule for rule in matching if rule.on(topic.wire, name)]
        struck = self._keeping.decide(matching, topic.wire) if matching else None
        if struck is None:
            self._put(item)
            return
        rule, drawn = struck
        fault = rule.fault
        if fault.action in ("drop", "partition"):
            self._keeping.lost()
        elif fault.action == "delay":
            rule.lasting += 1
            self._put(item._replace(rule=rule), fault.seconds + (2 * drawn - 1) * fault.jitter)
        elif fault.action == "reorder" and self._late is None:
            rule.lasting += 1
            self._late = item._replace(rule=rule)
            self._patience = self._at(self._loop.time() + (fault.seconds or _PATIENCE), self._lose_patience)
        else:
            for _ in range(1 + (fault.copies if fault.action == "duplicate" else 0)):
                self._put(item)
            if fault.action == "disconnect":
                self._keeping.cut(rule, self.connection)
            elif fault.action == "stall":
                self._keeping.stall(rule, self.connection)
            elif fault.action == "reorder":
                rule.lasting += 1
                self._keeping.released(rule)

    def _put(self, item: _Item, delay: float = 0.0) -> None:
        if self._queue or delay > 0:
            due = self._loop.time() + delay
            if self._queue:
                due = max(due, self._queue[-1].due)
            self._queue.append(item._replace(due=due))
            self._bytes += item.size
            while self._bytes > self._most_bytes or len(self._queue) > self._most:
                self._keeping.hurried()
                self._leave()
            self._wait()
        else:
            self._send(item)
        late = self._late
        if late is not None:
            self._late = None
            if self._patience is not None:
                self._patience.cancel()
            self._put(late)

    def _lose_patience(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            self._put(late)

    def _leave(self) -> None:
        item = self._queue.popleft()
        self._bytes -= item.size
        self._send(item)

    def _send(self, item: _Item) -> None:
        item.send(*item.event)
        self._let_go(item)

    def _let_go(self, item: _Item) -> None:
        if item.rule is not None:
            self._keeping.released(item.rule)

    def _wait(self) -> None:
        """For the oldest to be due."""
        if self._due is None and self._queue:
            self._due = self._at(self._queue[0].due, self._look)

    def _look(self) -> None:
        self._due = None
        now = self._loop.time()
        while self._queue and self._queue[0].due <= now:
            self._leave()
        self._wait()

    def _at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_at(when, callback, context=contextvars.Context())
