"""The demo's server, and the simulated visitors that keep it busy."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liverpc import ConnectRequest, Inspect, Limits, Listening, LiveServer, Reject
from liverpc.demo import board, chat, files, load, rooms, ticker, till
from liverpc.demo.visits import visit
from liverpc.demo.world import Session, Visitor, World
from liverpc.hub.tasks import Background

__all__ = ["demo", "make_server"]

_TEST_USERS = {name: f"user={name}" for name in ("ann", "bob", "visitor-1")}


def make_server(world: World, *, limits: Limits | None = None, inspect: Inspect | None = None) -> LiveServer:
    """The demo's server; ``?user=NAME`` or a cookie ``session=NAME`` says who connects, and is believed.

    Guests, who gave no name, may not use the boards, and have neither team nor projects.
    """
    guests = 0

    def on_connect(request: ConnectRequest) -> Session:
        nonlocal guests
        name = request.query.get("user") or request.cookies.get("session", "")
        if len(name) > 64 or not name.isprintable():
            raise Reject("FORBIDDEN", "a name has at most 64 printable characters")
        guests += not name
        return Session(Visitor(name or f"guest-{guests}", world, guest=not name))

    return LiveServer(
        [chat, rooms, board, files, till, ticker, load],
        on_connect=on_connect,
        limits=limits,
        inspect=inspect or Inspect(enabled=True, chaos=True, max_observers=8, test_users=_TEST_USERS),
        name="liverpc demo",
        dev=True,
    )


@asynccontextmanager
async def demo(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    users: int = 6,
    seed: int = 7,
    rate: int = 4,
    limits: Limits | None = None,
) -> AsyncIterator[Listening]:
    """The demo, while the block runs: server, ticker and ``users`` simulated visitors on real sockets.

    The ticker moves ``rate`` prices a second, none with 0.
    """
    world = World()
    server = make_server(world, limits=limits)
    rng = random.Random(seed)
    async with server.serve(host, port) as listening:
        busy = Background()
        if rate:
            busy.start(ticker.run(server, world, rng, interval=1 / rate), name="the demo's ticker")
        for n in range(1, users + 1):
            name = f"visitor-{n}"
            busy.start(visit(listening.url, name, random.Random(f"{seed}/{n}")), name=f"the demo's {name}")
        try:
            yield listening
        finally:
            await busy.aclose()
