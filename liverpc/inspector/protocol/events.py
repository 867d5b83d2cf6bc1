"""What happened on a server, and the faults that may have been the reason."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["FAULTS", "Blast", "CallEvent", "ChaosRule", "ConnectionEvent", "Event", "PublishEvent"]


class PublishEvent(msgspec.Struct, tag="pub", tag_field="kind", omit_defaults=True, frozen=True):
    """An event was published. What it leads to carries its ``id`` as ``cause``."""

    at: float
    topic: str
    event: str
    size: int
    receivers: int
    seq: int | None = None
    dropped: bool = False  #: by a fault rule: nobody got it
    data: Any = msgspec.UNSET  #: redacted; absent at level ``metrics``
    id: int = 0  #: unique among the events of a server; 0: unknown
    cause: int = 0  #: id of the call or publish that led to it; 0: nothing known did
    sent_ms: float | None = None  #: from the publish until the last socket had taken it; None: not known
    waiting: int = 0  #: sockets that had not taken it when this was sent
    fault: str = ""  #: what befell it on purpose, such as ``delay#3``


class CallEvent(msgspec.Struct, tag="rpc", tag_field="kind", omit_defaults=True, frozen=True):
    """A call was answered."""

    at: float  #: when it ended
    path: str
    connection: str
    ms: float
    ok: bool
    call: str = ""
    user: str = ""
    code: str = ""
    stream: bool = False
    args: Any = msgspec.UNSET  #: redacted, by parameter name; of surplus ones only the number, under ``…``
    result: Any = msgspec.UNSET  #: redacted; the message of an error
    published: list[str] = []  #: topics
    carries: str = ""  #: ``binary`` or ``upload``, for calls with data besides the arguments
    received: int = 0  #: bytes of that data, which is itself never recorded
    id: int = 0  #: unique among the events of a server; 0: unknown
    cause: int = 0  #: id of the event that led to it; 0: the client called by itself, as with all that are recorded
    steps: list[tuple[str, float, float]] = []  #: what it went through: name, begin and length in ms
    fault: str = ""  #: what befell it on purpose, such as ``error#3``


class ConnectionEvent(msgspec.Struct, tag="conn", tag_field="kind", omit_defaults=True, frozen=True):
    """A connection opened or closed."""

    at: float
    connection: str
    what: str  #: ``open`` or ``close``
    user: str = ""
    address: str = ""
    code: int = 0
    reason: str = ""
    id: int = 0  #: unique among the events of a server; 0: unknown
    cause: int = 0  #: id of the call that closed it; 0: none did
    fault: str = ""  #: what befell it on purpose, such as ``disconnect#3``


Event = PublishEvent | CallEvent | ConnectionEvent


FAULTS = ("drop", "delay", "duplicate", "reorder", "disconnect", "error", "stall", "partition", "loader")


class ChaosRule(msgspec.Struct, omit_defaults=True, frozen=True):
    """A fault in force, or the wish for one (then ``id``, ``by``, ``hits``, ``seen`` and ``left`` mean nothing).

    What each action does, and which fields it looks at, stands in docs/devtools.md. Whatever happens by chance is
    decided by one draw for each matching event, of a generator seeded with ``seed`` alone: the same seed and the same
    events, the same faults.
    """

    action: str = "drop"  #: one of :data:`FAULTS`
    rate: float = 0.0  #: probability, 0 to 1
    topic: str = "*"  #: glob
    seed: str = ""  #: empty in a wish: the server makes one
    id: int = 0
    by: str = ""  #: the observer's name
    hits: int = 0  #: how often it struck
    seen: int = 0  #: how much matched
    limit: int = 0  #: stops after that many hits; 0: no limit
    left: float = 0.0  #: seconds until it ends by itself; 0.0: never, it is a test's own
    event: str = "*"  #: glob of event names
    path: str = "*"  #: glob; ``error`` and ``loader``
    connection: str = ""  #: id; empty: every connection
    user: str = ""  #: id; empty: every user
    share: float = 1.0  #: of the connections, 0 to 1; always the same ones
    seconds: float = 0.0  #: how long a delay, a reordered event or a stall takes; the spread of ``disconnect``
    jitter: float = 0.0  #: seconds by which a delay differs, at most
    copies: int = 1  #: ``duplicate``: further ones
    code: str = ""  #: of ``error`` and ``loader``; the close code of ``disconnect``


class Blast(msgspec.Struct, frozen=True):
    """What a fault would have struck: the preview of its blast radius."""

    publishes: int  #: of the last ``of_publishes``
    of_publishes: int
    calls: int  #: of the last ``of_calls``
    of_calls: int
    topics: int  #: with subscribers, now
    of_topics: int
    connections: int  #: now
    of_connections: int

    @property
    def wide(self) -> bool:
        """Whether more than half of the connections are concerned."""
        return 2 * self.connections > self.of_connections
