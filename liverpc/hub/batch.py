"""Several publishes to each client in one frame (docs/protocol.md section 2)."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

from liverpc.hub.connection import Connection
from liverpc.hub.topic import TopicState
from liverpc.wire.codec import event_batch
from liverpc.wire.framing import payload_of, text_frame

__all__ = ["EVENT_BATCH_BYTES", "Numbered", "send_together"]

EVENT_BATCH_BYTES = 512 * 1024  # of one batch frame; a larger single event goes by itself
_ENVELOPE = 48  # bytes around the events, at most

Numbered: TypeAlias = tuple[TopicState, bytes, object]
"""A publish that got its number: topic, frame, and its slot on a coalesced topic, otherwise None."""


def send_together(events: list[Numbered]) -> int:
    """Deliver events in their order, to clients that can read batches in as few frames as possible.

    A client gets single frames when it did not say that it reads batches, when one of its topics is loading, or
    when one is volatile or coalesced: those may lose events, and batches must not.

    Returns:
        How many bytes were handed to connections.
    """
    bits = {topic: 1 << n for n, topic in enumerate(dict.fromkeys(topic for topic, _, _ in events))}
    shares: dict[Connection, int] = {}  # which of the topics it listens to
    for topic, bit in bits.items():
        for connection in topic.receivers:
            shares[connection] = shares.get(connection, 0) | bit
    plans: dict[int, _Plan] = {}  # clients with the same topics get the same frames
    handed = 0
    for connection, share in shares.items():
        plan = plans.get(share)
        if plan is None:
            topics = [topic for topic, bit in bits.items() if share & bit]
            plan = plans[share] = _Plan(topics, [event for event in events if share & bits[event[0]]])
        if connection.batches and plan.fits(connection):
            send = connection.link.send
            for frame in plan.together:
                send(frame)
            handed += plan.size_together
        else:
            plan.send_singly(connection)
            handed += plan.size
    return handed


class _Plan:
    """What clients get that listen to the same topics."""

    def __init__(self, topics: list[TopicState], events: list[Numbered]) -> None:
        self._topics = topics
        self._events = events
        self.size = sum(len(frame) for _, frame, _ in events)

    @cached_property
    def together(self) -> list[bytes]:
        return _joined([frame for _, frame, _ in self._events])

    @cached_property
    def size_together(self) -> int:
        return sum(map(len, self.together))

    def fits(self, connection: Connection) -> bool:
        """Whether a connection's events all go straight to its socket."""
        send = connection.link.send
        for topic in self._topics:  # noqa: SIM110 - once for every client, and a generator takes three times as long
            if topic.receivers[connection] != send:
                return False
        return True

    def send_singly(self, connection: Connection) -> None:
        for topic, frame, slot in self._events:
            receive = topic.receivers[connection]
            receive(frame) if slot is None else receive(slot, frame)


def _joined(frames: list[bytes]) -> list[bytes]:
    """As few frames as possible, none of several events above ``EVENT_BATCH_BYTES``."""
    parts: list[list[bytes]] = [[]]
    size = _ENVELOPE
    for frame in frames:
        if parts[-1] and size + len(frame) > EVENT_BATCH_BYTES:
            parts.append([])
            size = _ENVELOPE
        parts[-1].append(frame)
        size += len(frame)
    return [part[0] if len(part) == 1 else text_frame(event_batch(list(map(payload_of, part)))) for part in parts]
