"""The demo's server, and the simulated visitors that keep it busy."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liverpc import ConnectRequest, Inspect, Limits, Listening, LiveServer, Reject, RpcError
from liverpc.client import UploadHandle, connect
from liverpc.demo import board, chat, files, load, ticker
from liverpc.demo.world import Visitor, World
from liverpc.hub.tasks import Background

__all__ = ["demo", "make_server"]

ROOMS = ("general", "random", "help")
LINES = (
    "hello",
    "anyone else seeing this?",
    "deploy is through",
    "looks good to me",
    "lunch?",
    "who broke the build",
    "never mind, it was me",
)
FILES = ("holiday.jpg", "minutes.pdf", "backup.tar", "demo.mp4")
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(2_000)
CARDS = ("write the docs", "water the plants", "fix the flaky test", "review the change", "call the bank")


def make_server(world: World, *, limits: Limits | None = None, inspect: Inspect | None = None) -> LiveServer:
    """The demo's server; ``?user=NAME`` says who connects. Guests, who gave no name, may not use the board."""
    guests = 0

    def on_connect(request: ConnectRequest) -> Visitor:
        nonlocal guests
        name = request.query.get("user", "")
        if len(name) > 64 or not name.isprintable():
            raise Reject("FORBIDDEN", "user= takes at most 64 printable characters")
        guests += not name
        return Visitor(name or f"guest-{guests}", world, guest=not name)

    return LiveServer(
        [chat, board, files, ticker, load],
        on_connect=on_connect,
        limits=limits,
        inspect=inspect or Inspect(enabled=True, chaos=True),
        name="liverpc demo",
        dev=True,
    )


@asynccontextmanager
async def demo(
    *, host: str = "127.0.0.1", port: int = 8000, users: int = 6, seed: int = 7, limits: Limits | None = None
) -> AsyncIterator[Listening]:
    """The demo, while the block runs: server, ticker and ``users`` simulated visitors on real sockets."""
    world = World()
    server = make_server(world, limits=limits)
    rng = random.Random(seed)
    async with server.serve(host, port) as listening:
        busy = Background()
        busy.start(ticker.run(server, world, rng), name="the demo's ticker")
        for n in range(1, users + 1):
            name = f"visitor-{n}"
            busy.start(_visit(listening.url, name, random.Random(f"{seed}/{n}")), name=f"the demo's {name}")
        try:
            yield listening
        finally:
            await busy.aclose()


async def _visit(url: str, name: str, rng: random.Random) -> None:
    """One simulated visitor: reads along, chats, moves cards, uploads, and now and then does something wrong."""
    room = rng.choice(ROOMS)
    async with (
        connect(f"{url}?user={name}") as client,
        client.stream(chat.messages, room),
        client.stream(board.todos) as todos,
        client.stream(board.progress),
        client.stream(ticker.prices),
        client.stream(ticker.headline),
        client.stream(files.recent),
    ):
        upload: UploadHandle[files.Stored] | None = None
        while True:
            await asyncio.sleep(rng.expovariate(1.0))
            # What goes wrong is part of the show: the devtools have failed calls to look at.
            with contextlib.suppress(RpcError):
                match rng.randrange(16):
                    case 0 | 1 | 2 | 3:
                        await client.call(chat.send, room, rng.choice(LINES))
                    case 4 | 5 | 6:
                        await client.call(board.add, rng.choice(CARDS))
                    case 7 | 8 if todos.value:
                        await client.call(board.toggle, rng.choice(todos.value).id)
                    case 9 if len(todos.value) > 8:
                        await client.call(board.remove, todos.value[0].id)
                        await client.call(board.archive)
                    case 10:
                        await client.call(chat.send, room, "")
                    case 11:
                        await client.call(board.toggle, -1)
                    case 12:
                        await client.binary(files.avatar, PICTURE)
                    case 13 | 14 if upload is None or upload.done:
                        upload = client.upload(files.store, _SlowFile(rng), rng.choice(FILES))
                    case 15 if upload is not None and rng.random() < 0.3:
                        upload.cancel()


class _SlowFile(io.BytesIO):
    """A file that is read for some seconds, so that there is something to see."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng.randbytes(rng.randrange(200_000, 2_000_000)))

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.1)  # on a thread of its upload
        return super().read(16_384)
