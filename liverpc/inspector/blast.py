"""What a fault would have struck, from what is kept of the past and who is there now."""

from __future__ import annotations

from liverpc.hub.connection import Connection
from liverpc.inspector.protocol import Blast, CallEvent, PublishEvent
from liverpc.inspector.tap import Tap
from liverpc.inspector.view import Source, View
from liverpc.policies.faults import Chance, Fault
from liverpc.wire.names import is_reserved

__all__ = ["blast"]

_MAX_DRAWS = 20_000  # about 20 ms


def blast(fault: Fault, view: View, source: Source, tap: Tap) -> Blast:
    """The preview of a fault's effect, as an observer may see it.

    The kept publishes and calls are decided upon in their order with the draws the fault would make. What goes to
    connections is drawn for as many of them as listen to the topic now.
    """
    chance = Chance(fault)
    connections = [each for each in source.hub.connections.values() if view.shows(each)]
    topics = [topic for topic in source.hub.topics.values() if not is_reserved(topic.wire) and view.covers(topic.wire)]
    publishes = [
        event for topic, ring in tap.rings.items() if not is_reserved(topic) and view.covers(topic) for event in ring
    ]
    calls = [] if view.scoped else tap.history()
    place = fault.place
    of_calls = place in ("call", "load")
    struck, of_publishes = 0, len(publishes)
    if not of_calls and place != "connection":
        struck, of_publishes = _publishes(chance, publishes, source)
    return Blast(
        publishes=struck,
        of_publishes=of_publishes,
        calls=_calls(chance, calls, connections) if of_calls else 0,
        of_calls=len(calls),
        topics=0 if place == "call" else sum(chance.on(topic.wire) for topic in topics),
        of_topics=len(topics),
        connections=sum(chance.targets(each) and (of_calls or chance.listens(each)) for each in connections),
        of_connections=len(connections),
    )


def _publishes(chance: Chance, events: list[PublishEvent], source: Source) -> tuple[int, int]:
    """How many would be struck, of how many of the newest: what can be drawn for is bounded."""
    once = chance.fault.place == "publish"
    listening: dict[str, int] = {}
    if not once:
        for topic in source.hub.topics.values():
            if chance.on(topic.wire):
                listening[topic.wire] = listening.get(topic.wire, 0) + sum(map(chance.targets, topic.subscriptions))
    draws: list[int] = []  # for each, newest first
    left = _MAX_DRAWS
    for event in sorted(events, key=lambda event: (event.at, event.id), reverse=True):
        matching = 0
        if chance.on(event.topic, event.event):
            matching = 1 if once else listening.get(event.topic, 0)
        left -= matching
        if left < 0 and draws:
            break
        draws.append(min(matching, _MAX_DRAWS))
    return sum(_strikes(chance, matching) > 0 for matching in reversed(draws)), len(draws)


def _calls(chance: Chance, calls: list[CallEvent], connections: list[Connection]) -> int:
    targeted = {each.id for each in connections if chance.targets(each)}
    streams = chance.fault.place == "load"
    struck = 0
    for call in sorted(calls, key=lambda call: (call.at, call.id)):
        if call.stream is streams and chance.of(call.path) and call.connection in targeted:
            struck += _strikes(chance, 1)
    return struck


def _strikes(chance: Chance, matching: int) -> int:
    struck = 0
    for _ in range(matching):
        if not chance.exhausted:
            struck += chance.draw() is not None
    return struck
