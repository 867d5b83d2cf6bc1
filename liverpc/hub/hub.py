"""One process's publish path.

``publish`` is the only way an event gets out: topic rules, number, fault gate, encode and frame once, the
outbox of every local subscriber, the bus, telemetry. It never waits: a slow client costs nobody else
anything but the bytes in its own outbox.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

import msgspec

from liverpc.backends.ports import Bus, EventLog, Frame, Pos, Slice
from liverpc.config import Limits
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.batch import Numbered, send_together
from liverpc.hub.connection import Connection
from liverpc.hub.faults import FaultGate
from liverpc.hub.logged import Logged
from liverpc.hub.people import People
from liverpc.hub.requests import Requests
from liverpc.hub.rules import RuleBook, TopicRules
from liverpc.hub.subscriptions import Subscriptions
from liverpc.hub.topic import TopicState
from liverpc.telemetry import CAUSE, Published, Telemetry
from liverpc.wire.codec import encode, event_head, event_payload, event_prefix
from liverpc.wire.framing import text_frame
from liverpc.wire.names import is_reserved, topic_fault

__all__ = ["REFRESHED", "Hub"]

log = logging.getLogger("liverpc.hub")

REFRESHED = "refreshed"
TRUNCATED = b'{"reqId":"log","truncated":true}'


# A publish that can go ahead: topic, its name, rules, event, data, encoded data, slot, internal.
_Prepared: TypeAlias = tuple[TopicState | None, str, TopicRules | None, str, Any, bytes, object, bool]


class Hub(Subscriptions):
    """The topics and connections of one server.

    Attributes:
        requests: Unanswered ones of the server to its clients.
        people: Who they are.
        faults: Asked before every fan-out; None: no fault in force.
        touched: Collects the topics published on, for somebody who empties it; None: nobody does.
        watch: Called with topic, event and its id after each publish of the application, here or elsewhere; None:
            nobody is. The id is 0 while nobody traces.
        owned: Names; no stream is on a topic that begins with one of them and a slash.
        log: The last events of topics with replay.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        bus: Bus,
        log: EventLog,
        limits: Limits,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults: FaultGate | None = None
        self.touched: set[str] | None = None
        self.watch: Callable[[str, str, int], object] | None = None
        self.tracing = telemetry.tracing
        self.monotonic = monotonic
        self.owned: frozenset[str] = frozenset()
        self._bus = bus
        self.log = Logged(log, telemetry.counters)
        self.requests = Requests(limits.requests_in_flight, telemetry.counters)
        self.people = People(self.requests)
        super().__init__(telemetry, limits, RuleBook(limits.replay_topics, self.log.forget))

    # -- publish

    def publish(self, name: str, event: str, data: Any, *, internal: bool = False) -> None:
        """Send an event to every subscriber of a topic, here and on other nodes. Returns at once.

        Args:
            name: The topic.
            event: What happened, such as ``created``.
            data: Anything with a JSON form. It is encoded now; later changes to it do not matter.
            internal: Allow reserved topics.

        Raises:
            LiveError: ``INVALID_TOPIC``: the topic is reserved, or its name or the event's is malformed.
            TypeError: ``data`` has no JSON form.
        """
        prepared = self._prepared(name, event, data, internal)
        if prepared is not None:
            self._publish(prepared, None)

    def publish_batch(self, messages: Iterable[tuple[str, str, Any]]) -> None:
        """Publish several ``(topic, event, data)``, in order. Clients that can read it get one frame.

        Each counts, is numbered and may be lost to a fault as if it were published by itself.

        Raises:
            LiveError: As for :meth:`publish`, and TypeError likewise; then none of them was published.
        """
        prepared = [self._prepared(name, event, data, False) for name, event, data in messages]
        together: list[Numbered] | None = None if self.faults is not None and self.faults.singly else []
        for each in prepared:
            if each is not None:
                self._publish(each, together)
        if together:
            self._counters.delivered_bytes += send_together(together)

    def emit(self, name: str, wire: str, event: str, data: Any, *, without: Connection | None = None) -> None:
        """Send an event to a room of a contract, here and on other nodes. Returns at once.

        Args:
            name: The room's topic.
            wire: What clients know it as; faults and observers are told this name.
            event: A well-formed name.
            data: As for :meth:`publish`, or encoded already.
            without: A connection that does not get it.

        Raises:
            TypeError: ``data`` has no JSON form.
        """
        encoded = encode(data)
        if isinstance(data, msgspec.Raw):  # for those who listen, who want values
            data = msgspec.json.decode(encoded) if self._telemetry.published else None
        topic = self.topics.get(name)
        self._counters.published += 1
        dropped = "" if self.faults is None else self.faults.drops(wire, event)
        if topic is None or without is None or (receive := topic.receivers.pop(without, None)) is None:
            told = wire if topic is None else name
            self._distribute(told, topic, event, data, encoded, None, None, dropped, False, None)
        else:
            # Out of the table for a moment, so that the way of other publishes need not ask who is left out.
            try:
                self._distribute(name, topic, event, data, encoded, None, None, dropped, False, None)
            finally:
                topic.receivers[without] = receive
        if not dropped:
            self._bus.publish(Frame(name, event, encoded, None, False))

    def refresh(self, name: str, data: Any, has_more: bool | None, cursor: Any) -> None:
        """Give all subscribers of a topic here its value, loaded anew (docs/protocol.md section 5).

        Args:
            name: The topic; without subscribers nothing happens.
            data: As clients get it.
            has_more: Of a page; None: it is the whole value.
            cursor: Likewise.

        Raises:
            TypeError: The data has no JSON form.
        """
        topic = self.topics.get(name)
        if topic is None:
            return
        encoded = encode(data)
        extra = b"" if has_more is None else b',"hasMore":%b,"cursor":%b' % (encode(has_more), encode(cursor))
        topic.reloads += 1
        self._counters.reloads += 1
        dropped = "" if self.faults is None else self.faults.drops(name, REFRESHED)
        replay = topic.rules is not None and topic.rules.replay
        pos = self.log.append(name, REFRESHED, encoded) if replay else None
        slot = (name, REFRESHED) if topic.coalesces else None
        self._distribute(name, topic, REFRESHED, data, encoded + extra, slot, pos, dropped, False, None)

    def _prepared(self, name: str, event: str, data: Any, internal: bool) -> _Prepared | None:
        """Everything that can go wrong with a publish. None: it went wrong, and whose business it is was told."""
        topic = self.topics.get(name)
        if topic is None or name[:2] == "__":
            fault = topic_fault(name, reserved=internal)
            if fault is not None:
                raise LiveError(ErrorCode.INVALID_TOPIC, f"the topic {name!r} {fault}")
        if (topic is None or topic.head(event) is None) and (fault := topic_fault(event, reserved=True)) is not None:
            raise LiveError(ErrorCode.INVALID_TOPIC, f"the event {event!r} {fault}")
        rules = self.rules.find(name) if topic is None else topic.rules
        slot = None
        if rules is not None:
            try:
                slot, data = rules.shape(name, event, data, here=topic is not None)
            except Exception as error:
                if rules.failed is None:
                    raise
                rules.failed(error, name)
                return None
        try:
            encoded = encode(data)
        except TypeError as error:
            raise TypeError(f"what was published on {name!r} as {event!r} has no JSON form: {error}") from None
        return topic, name, rules, event, data, encoded, slot, internal

    def _rules(self, name: str, topic: TopicState | None) -> TopicRules | None:
        return self.rules.find(name) if topic is None else topic.rules

    def _publish(self, prepared: _Prepared, together: list[Numbered] | None) -> None:
        topic, name, rules, event, data, encoded, slot, internal = prepared
        self._counters.published += 1
        dropped = "" if self.faults is None or internal else self.faults.drops(name, event)
        pos: Pos | None = None
        if rules is not None and rules.replay and not internal:
            pos = self.log.append(name, event, encoded)
        number = self._distribute(name, topic, event, data, encoded, slot, pos, dropped, False, together)
        if not dropped and pos is None:  # the log announces what it has taken
            shaped = rules is not None and rules.transform is not None
            self._bus.publish(Frame(name, event, encoded, None, shaped))
        if self.watch is not None and not internal:
            self.watch(name, event, number)

    def deliver(self, frames: list[Frame]) -> None:
        """Hand out what other nodes published. It is neither numbered by them nor published again."""
        if self.log.appending:  # our own, which is handed out already
            return
        for frame in frames:
            topic = self.topics.get(frame.topic)
            rules = self._rules(frame.topic, topic)
            if rules is not None and rules.replay and frame.pos is None:
                self.log.forget(frame.topic)  # its node does not know that this topic has a log
            if self.faults is not None:
                self.faults.arrived()
            number = 0 if topic is None else self._deliver(topic, frame)
            if self.watch is not None and frame.event != REFRESHED and not is_reserved(frame.topic):
                self.watch(frame.topic, frame.event, number)

    def _deliver(self, topic: TopicState, frame: Frame) -> int:
        slot, encoded, rules = None, frame.data, topic.rules
        if rules is not None:
            try:
                if rules.transform is not None and not frame.shaped and frame.pos is None:
                    slot, data = rules.shape(topic.name, frame.event, msgspec.json.decode(encoded), here=True)
                    encoded = encode(data)
                elif rules.coalesce_by is not None:
                    slot = (topic.name, rules.coalesce_by(msgspec.json.decode(encoded)))
                    hash(slot)
            except Exception as error:
                log.debug("an event of %r from another node", topic.name, exc_info=True)
                if rules.transform is not None and not frame.shaped:
                    if rules.failed is not None:
                        rules.failed(error, topic.name)
                    return 0  # as it came it may hold what clients must not see
                slot = object()  # of its own: it displaces nothing
        return self._distribute(topic.name, topic, frame.event, None, encoded, slot, frame.pos, "", True, None)

    # Positional: it is called for every publish, and keywords cost.
    def _distribute(
        self,
        name: str,
        topic: TopicState | None,
        event: str,
        data: Any,
        encoded: bytes,
        slot: object,
        pos: Pos | None,
        dropped: str,
        remote: bool,
        together: list[Numbered] | None,
    ) -> int:
        """Number an event and hand it out, or into ``together``, to be handed out with others.

        Returns the id it was told with to those who trace, else 0.

        ``slot`` is None on topics that are not coalesced, ``pos`` for events that are in no log; ``dropped`` is the
        name of the fault that is to lose the event, if one is.
        """
        receivers = 0
        seq: int | None = None
        counters = self._counters
        if topic is not None:
            rules = topic.rules
            if rules is None:
                topic.seq = seq = topic.seq + 1
            else:
                seq = self._number(topic, rules, slot, pos)
            if slot is not None and topic.reloads:
                slot = (slot, topic.reloads)  # no event takes a place before the reload that it follows
            topic.published += 1
            topic.bytes += len(encoded)
            topic.last_event = event
            topic.last_at = self.monotonic()
            if self.touched is not None:
                self.touched.add(name)
            if dropped:
                topic.dropped += 1
            else:
                head = topic.head(event) or topic.new_head(event)
                frame = text_frame(event_payload(head, encoded, seq))
                receivers = len(topic.receivers)
                topic.delivered += receivers
                counters.deliveries += receivers
                if together is not None:
                    together.append((topic, frame, slot))
                else:
                    counters.delivered_bytes += receivers * len(frame)
                    # No receiver leaves the table meanwhile: a link never calls back while it is handed a frame.
                    if slot is None:
                        for receive in topic.receivers.values():
                            receive(frame)
                    else:
                        for receive in topic.receivers.values():
                            receive(slot, frame)
        if dropped:
            counters.fault_drops += 1
        if self._telemetry.published:
            return self._tell(name, topic, event, data, len(encoded), receivers, seq, dropped, remote)
        return 0

    def _tell(
        self,
        name: str,
        topic: TopicState | None,
        event: str,
        data: Any,
        size: int,
        receivers: int,
        seq: int | None,
        dropped: str,
        remote: bool,
    ) -> int:
        shown = name if topic is None else topic.wire
        tracing, number, cause = self.tracing, 0, 0
        to: Collection[Connection] = ()
        if tracing.active:
            number, cause = tracing.number(), tracing.id_of(CAUSE.get())
            if topic is not None and receivers:
                to = topic.receivers.keys()
        fault = dropped if self.faults is None else dropped or self.faults.struck(shown)
        self._telemetry.published.emit(
            Published(shown, event, data, size, receivers, seq, dropped != "", remote, number, cause, to, fault)
        )
        return number

    def _number(self, topic: TopicState, rules: TopicRules, slot: object, pos: Pos | None) -> int | None:
        if pos is not None:
            self._move(topic, pos, pos.seq - 1)
        elif slot is None and not rules.volatile and not rules.replay:
            topic.seq += 1
        else:
            return None
        return topic.seq

    def _move(self, topic: TopicState, pos: Pos, before: int) -> None:
        """A topic's log has reached a position, and was at number ``before`` until now.

        Those who listen have had every event, also when it is another log now. They are told only when its numbers are
        lower: they would take new events for such as they have had.
        """
        if topic.epoch != pos.epoch:
            if topic.epoch and before < topic.seq:
                frame = text_frame(event_payload(event_head(event_prefix(topic.name), "truncated"), TRUNCATED, None))
                for receive in topic.receivers.values():
                    receive(frame)
            topic.epoch = pos.epoch
        topic.seq = pos.seq
        topic.replay_depth = self.log.depth(topic.name)

    # -- logs

    def catch_up(self, topic: TopicState, after: Pos | None) -> Slice | None:
        """What the log holds after a position, and where it is now; None when there is no log at present.

        Args:
            topic: One with replay.
            after: None: nothing is wanted but the position.
        """
        found = self.log.read(topic.name, after)
        if found is not None:
            self._move(topic, found.head, found.head.seq)
        return found

    def missed(self, name: str, seq: int) -> list[tuple[int, str, Any]] | None:
        """The events after a number, decoded; None when they are not known."""
        rules = self._rules(name, self.topics.get(name))
        if rules is None or not rules.replay or (now := self.log.read(name, None)) is None:
            return None
        found = self.log.read(name, Pos(now.head.epoch, seq))
        if found is None or found.status != "ok":
            return None
        return [(f.pos.seq, f.event, msgspec.json.decode(f.data)) for f in found.frames if f.pos is not None]
