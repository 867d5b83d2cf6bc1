"""Faults for tests: publishes get lost; a network delays, repeats and swaps events, and cuts connections."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable, Iterator

from liverpc.errors import ConfigError
from liverpc.policies.faults import Fault, draws
from liverpc.server import LiveServer
from liverpc.transports.memory_link import MemoryLink
from liverpc.transports.pipe import Close, Item, Pipe
from liverpc.wire.close import CloseCode
from liverpc.wire.codec import decode_batch, decode_server_frame
from liverpc.wire.frames import EventBatch, EventFrame
from liverpc.wire.names import glob, is_reserved

__all__ = ["TestChaos"]

_PATIENCE = 1.0  # seconds that an event waits for another to let pass
_CUT = Close(CloseCode.LOST, "")  # in a pipe: here the connection is lost


class _Network:
    """The faults of a network, as they were set."""

    def __init__(
        self, seed: str, topic: str, duplicate: float, reorder: float, disconnect: float, delay: tuple[float, float]
    ) -> None:
        self.seed = seed
        self.duplicate = duplicate
        self.reorder = reorder
        self.disconnect = disconnect
        self.delay = delay
        self._matches = glob(topic)

    def concerns(self, payload: bytes) -> bool:
        """Whether a message may suffer: an event on a matching topic, or a batch with one."""
        frame = decode_server_frame(payload)
        if isinstance(frame, EventBatch):
            return any(self._hits(event) for event in decode_batch(frame))
        return isinstance(frame, EventFrame) and self._hits(frame)

    def _hits(self, event: EventFrame) -> bool:
        return not is_reserved(event.topic) and self._matches(event.topic)


class TestChaos:
    """Faults for a test, each decided by a seeded generator: the same seed and run, the same faults.

    Attributes:
        duplicated, reordered, delayed: Events which that happened to; a batch of events counts once.
        disconnected: Connections cut.
    """

    __test__ = False

    def __init__(self, server: LiveServer) -> None:
        self.duplicated = 0
        self.reordered = 0
        self.delayed = 0
        self.disconnected = 0
        self.network: _Network | None = None
        self._server = server
        self._numbers = 0
        self._wires: dict[_Wire, None] = {}  # in the order of the connections

    def set(
        self,
        *,
        seed: str,
        drop_rate: float = 0.0,
        duplicate_rate: float = 0.0,
        reorder_rate: float = 0.0,
        disconnect_rate: float = 0.0,
        delay: float | tuple[float, float] = 0.0,
        topic: str = "*",
    ) -> None:
        """Let things go wrong on matching topics from now on; replaces what was set before.

        ``drop_rate`` loses publishes in the server, for all subscribers alike, with the rules and the generator of the
        devtools. Everything else befalls events on their way to one client, with draws of its own for each connection.
        A frame with several events counts as one event. Replies, control frames and reserved topics are never lost,
        repeated or swapped, and no event comes before what was sent before it, unless that was late itself.

        Args:
            seed: Of the generators.
            drop_rate: Of publishes, from 0 to 1; likewise the other rates.
            duplicate_rate: Of events that arrive twice. When it is also late, only the second copy is.
            reorder_rate: Of events that arrive late: after the next event of the connection, or after 1 second.
            disconnect_rate: Of events after which the connection is cut; what follows them is lost.
            delay: Seconds that an event takes longer, or the least and the most. What is sent later waits behind it.
            topic: A glob; ``*`` stands for any characters.

        Raises:
            ConfigError: A rate is outside [0, 1], a delay is negative or no number, or the topic is empty. What was set
                before still holds then.
        """
        for name, rate in (
            ("drop_rate", drop_rate),
            ("duplicate_rate", duplicate_rate),
            ("reorder_rate", reorder_rate),
            ("disconnect_rate", disconnect_rate),
        ):
            if not 0 <= rate <= 1:  # true for NaN, too
                raise ConfigError(f"{name} is a number from 0 to 1, not {rate!r}")
        least, most = delay if isinstance(delay, tuple) else (delay, delay)
        if not 0 <= least <= most < math.inf:
            raise ConfigError(f"delay is a number of seconds from 0 on, or the least and the most, not {delay!r}")
        if not topic:
            raise ConfigError("chaos needs a topic glob, such as 'board:*' or '*'")
        self.clear()
        if drop_rate:
            self._server.faults.arm(Fault(rate=drop_rate, topic=topic, seed=seed))
        if duplicate_rate or reorder_rate or disconnect_rate or most:
            self.network = _Network(seed, topic, duplicate_rate, reorder_rate, disconnect_rate, (least, most))

    def clear(self) -> None:
        """Let nothing go wrong any more. What is late is sent on at once."""
        self._server.faults.clear()
        self.network = None
        for wire in tuple(self._wires):
            wire.flush()

    def __repr__(self) -> str:
        names = ("dropped", "duplicated", "reordered", "delayed", "disconnected")
        return f"<{type(self).__name__} {' '.join(f'{name}={getattr(self, name)}' for name in names)}>"

    @property
    def dropped(self) -> int:
        """Publishes dropped since the server was made."""
        return self._server.counters.fault_drops

    def wire(self, link: MemoryLink, latency: float, context: contextvars.Context) -> Pipe:
        """For the transport: the way from the server to the client of a connection."""
        self._numbers += 1
        wire = _Wire(self, link, latency, context, number=self._numbers, ended=self._wires.pop)
        self._wires[wire] = None
        return wire


class _Wire(Pipe):
    """The way to one client, on which the faults happen."""

    def __init__(
        self,
        chaos: TestChaos,
        link: MemoryLink,
        latency: float,
        context: contextvars.Context,
        *,
        number: int,
        ended: Callable[[_Wire, None], object],
    ) -> None:
        super().__init__(self._arrived, latency, context)
        self._chaos = chaos
        self._link = link
        self._number = number
        self._ended = ended
        self._network: _Network | None = None  # the draws are of
        self._draws: Iterator[float] = iter(())
        self._late: Item | None = None  # waits for an event to let pass
        self._patience: asyncio.TimerHandle | None = None
        self._doomed = False  # a cut is under way

    def put(self, item: Item, delay: float = 0.0) -> None:
        network = self._chaos.network
        if self._doomed:
            return
        if isinstance(item, Close):
            self._send_late()
        elif network is not None and network.concerns(item):
            self._risk(item, network)
            return
        super().put(item, delay)

    def flush(self) -> None:
        """Let everything that is late arrive."""
        self._send_late()
        self.hurry()

    def stop(self) -> None:
        self._forget_late()
        self._ended(self, None)
        super().stop()

    def _risk(self, event: bytes, network: _Network) -> None:
        if network is not self._network:
            self._network = network
            self._draws = draws(f"{network.seed}/{self._number}")
        # One draw for each fault, in force or not: so that each rate by itself decides which events it hits.
        twice, late, cut, slow = (next(self._draws) for _ in range(4))
        chaos = self._chaos
        least, most = network.delay
        delay = least + (most - least) * slow
        copies = 1
        if twice < network.duplicate:
            chaos.duplicated += 1
            self._link.doubled(event)
            copies = 2
        held = late < network.reorder and self._late is None
        for _ in range(copies - held):
            super().put(event, delay)
        chaos.delayed += delay > 0 and copies > held
        if held:
            chaos.reordered += 1
            self._late = event
            self._patience = self._loop.call_later(_PATIENCE, self._send_late, context=self._context.copy())
        else:
            self._send_late()
        if cut < network.disconnect:
            chaos.disconnected += 1
            self._doomed = True
            super().put(_CUT)

    def _send_late(self) -> None:
        late = self._late
        if late is not None:
            self._forget_late()
            super().put(late)

    def _forget_late(self) -> None:
        self._late = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _arrived(self, item: Item) -> None:
        if item is _CUT:
            self._link.cut()
        else:
            self._link.delivered(item)
