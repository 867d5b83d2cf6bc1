"""What led to an event and what it led to, with times: the story of a call or a publish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from liverpc.inspector.protocol import CallEvent, Event, PublishEvent
from liverpc_devtools.core.text import clean, count, ms

__all__ = ["Chain", "Part", "Told", "begin", "chain", "named"]

_MOST = 400  # parts; a call may publish thousands of times


@dataclass(frozen=True, slots=True)
class Part:
    """A line of a chain.

    Attributes:
        depth: How many causes are above it.
        kind: ``rpc``, ``pub``, ``conn``, or ``step`` for a part of the call above.
        name: A path, a topic, a connection, the step.
        text: What came of it.
        begin: Milliseconds since the chain began.
        length: Milliseconds it took; None: not known, or it took none.
        event: None for a step.
        problem: It failed, or is late.
    """

    depth: int
    kind: str
    name: str
    text: str
    begin: float
    length: float | None
    event: Event | None = None
    problem: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts from the first cause on, and what is missing.

    Attributes:
        at: The server's time at which it began.
        length: Milliseconds until its last part ended.
        missing: Sentences.
    """

    at: float
    length: float
    parts: list[Part] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Told:
    """What the server said of one chain.

    Attributes:
        events: That belong to it.
        problem: Why there are none.
        known: Whether it has answered.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.problem = ""
        self.known = False
        self._event = 0

    def ask(self, event: int) -> bool:
        """Whether to ask for the chain of this event: it is another one."""
        if event == self._event:
            return False
        self.events, self.problem, self.known, self._event = [], "", False, event
        return True

    def answered(self, ref: list[str], events: list[Event], problem: str = "") -> None:
        """The server's answer to ``ref``, as in ``Get``."""
        if ref == ["chain", str(self._event)]:
            self.events, self.problem, self.known = events, problem, True


def begin(event: Event) -> float:
    """The server's time at which it began."""
    return event.at - event.ms / 1000 if isinstance(event, CallEvent) else event.at


def named(event: Event) -> str:
    """What it is about: a path, a topic, a connection."""
    if isinstance(event, CallEvent):
        return clean(event.path)
    return clean(event.topic if isinstance(event, PublishEvent) else event.connection)


def chain(event: Event, known: Iterable[Event]) -> Chain:
    """The chain of ``event`` out of all events that are known."""
    by_id = {each.id: each for each in known if each.id}
    if event.id:
        by_id.setdefault(event.id, event)
    led_to: dict[int, list[Event]] = defaultdict(list)
    for each in by_id.values():
        if each.cause and each.cause != each.id:
            led_to[each.cause].append(each)
    root, missing = _root(event, by_id)
    began = begin(root)
    parts = _parts(root, led_to, began)
    if len(parts) > _MOST:
        missing.append(f"{count(len(parts) - _MOST)} further parts are not shown")
        del parts[_MOST:]
    if not event.id:
        missing.append("this server does not tell what led to what")
    elif isinstance(root, CallEvent) and not root.steps:
        missing.append("the steps of the call were not measured")
    untold = _untold(parts)
    if untold:
        missing.append(f"{count(untold)} publish{'es' if untold > 1 else ''} of these calls not captured")
    length = max((part.begin + (part.length or 0.0) for part in parts), default=0.0)
    return Chain(began, length, parts, missing)


def _root(event: Event, by_id: dict[int, Event]) -> tuple[Event, list[str]]:
    root, seen = event, {event.id}
    while root.cause:
        above = by_id.get(root.cause)
        if above is None:
            return root, [f"what led to {named(root)} was not captured, is not kept any more, or still runs"]
        if above.id in seen:  # no server says so; but nothing may hang on what one says
            break
        seen.add(above.id)
        root = above
    return root, []


def _parts(root: Event, led_to: dict[int, list[Event]], began: float) -> list[Part]:
    parts: list[Part] = []
    seen: set[int] = set()
    waiting: list[tuple[int, Part]] = [(0, _part(root, 0, began))]
    while waiting:  # a stack: chains may be longer than Python's
        depth, part = waiting.pop()
        parts.append(part)
        event = part.event
        if event is None or event.id in seen:
            continue
        seen.add(event.id)
        below = [_part(each, depth + 1, began) for each in led_to[event.id] if each.id not in seen] if event.id else []
        if isinstance(event, CallEvent):
            start = (begin(event) - began) * 1000
            below += [Part(depth + 1, "step", clean(name), "", start + at, length) for name, at, length in event.steps]
        below.sort(key=lambda each: (each.begin, each.kind != "step"), reverse=True)
        waiting += [(depth + 1, each) for each in below]
    return parts


def _part(event: Event, depth: int, began: float) -> Part:
    start = (begin(event) - began) * 1000
    fault = f"  fault {clean(event.fault)}" if event.fault else ""
    if isinstance(event, CallEvent):
        text = "OK" if event.ok else f"ERR {clean(event.code)}"
        who = f"  {clean(event.user)}" if event.user else ""
        return Part(depth, "rpc", named(event), text + who + fault, start, event.ms, event, not event.ok)
    if isinstance(event, PublishEvent):
        late = bool(event.waiting) or event.dropped
        text = f"{clean(event.event)}  {_delivered(event)}{fault}"
        return Part(depth, "pub", named(event), text, start, event.sent_ms, event, late)
    text = f"{clean(event.what)} {event.code or ''} {clean(event.reason)}".rstrip()
    return Part(depth, "conn", named(event), text + fault, start, None, event)


def _delivered(event: PublishEvent) -> str:
    if event.dropped:
        return "dropped by a fault: nobody got it"
    to = f"to {count(event.receivers)}"
    if event.waiting:
        return f"{to}, {count(event.waiting)} had not taken it"
    return to if event.sent_ms is None else f"{to}, all took it in {ms(event.sent_ms)}"


def _untold(parts: list[Part]) -> int:
    """How many publishes the calls tell of that are not among the parts."""
    shown: defaultdict[int, set[str]] = defaultdict(set)
    for part in parts:
        if isinstance(part.event, PublishEvent):
            shown[part.event.cause].add(part.event.topic)
    calls = [part.event for part in parts if isinstance(part.event, CallEvent) and part.event.id]
    return sum(len(set(call.published) - shown[call.id]) for call in calls)
