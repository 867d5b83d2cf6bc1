"""A server whose clients have no transport: what they send is handled at once, what they get is a list."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from liverpc import LiveServer
from liverpc.hub.connection import Connection
from liverpc.hub.link import ConnectRequest, Tally
from liverpc.testing import virtual_loop_factory
from liverpc.wire.framing import payload_of

__all__ = ["Peer", "running", "what_is_left"]


class Peer:
    """Both ends of a connection that is never full; a :class:`liverpc.hub.link.Link`.

    Attributes:
        log: What the client got, decoded, the welcome left out; a test adds marks of its own.
        closed_with: The code that the server closed with; None: it did not.
    """

    def __init__(self, server: LiveServer) -> None:
        self.log: list[Any] = []
        self.closed_with: int | None = None
        self._waiting: deque[Callable[[], object]] = deque()  # while the server does not read
        self._held = False
        self._gone = False  # the server was told
        endpoint = server.endpoint("/ws")
        assert endpoint is not None
        self.session = endpoint.opened(self, ConnectRequest("/ws"), None)
        self.connection: Connection = server.connections[-1]
        self.log.clear()

    def feed(self, payload: bytes, *, text: bool = True, before: Callable[[], object] = lambda: None) -> None:
        """Send a message; ``before`` is called when the server is about to read it."""

        def arrive() -> None:
            before()
            self.session.receive(payload, text)

        self._waiting.append(arrive)
        self._read()

    def leave(self, code: int = 1006) -> None:
        """The connection is lost, with what is on its way."""
        self._waiting.clear()
        if not self._gone:
            self._gone = True
            self.closed_with = self.closed_with or code
            self.session.closed(code, "")

    def _read(self) -> None:
        while self._waiting and not self._held:
            self._waiting.popleft()()

    # what a link is to the server

    def send(self, frame: bytes) -> bool:
        if self.closed_with is not None:
            return False
        self.log.append(json.loads(payload_of(frame)))
        return True

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        return self.send(frame)

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        return self.send(frame)

    def close(self, code: int, reason: str = "") -> None:
        self.closed_with = self.closed_with or code

    def stall(self) -> None:
        pass

    def unstall(self) -> None:
        pass

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        asyncio.get_running_loop().call_soon(self._read)

    @property
    def buffered(self) -> int:
        return 0


@contextmanager
def running(server: LiveServer) -> Iterator[asyncio.Runner]:
    """A started server on a virtual loop, for tests of many short examples."""
    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        lifespan = server.lifespan()
        runner.run(lifespan.__aenter__())
        try:
            yield runner
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


def what_is_left(server: LiveServer) -> dict[str, int]:
    """Everything a server keeps for its clients, as far as it is not empty."""
    hub, pacing = server._hub, server._pacing
    sizes = {
        "connections": len(hub.connections),
        "topics": len(hub.topics),
        "requests": len(hub.requests),
        "decisions": len(server._streams.bare),
        "background": len(server._background),
        "contracts": len(server._contracts),
        "sessions": len(server._sessions),
        "uploads": len(server.uploads.running),
        "bytes of uploads": server.uploads.buffered,
        "throttled": len(pacing._throttled),
        "debounced": len(pacing._debounced),
        "open in the counters": server.counters.connections_opened - server.counters.connections_closed,
    }
    return {name: size for name, size in sizes.items() if size}
