"""A server whose functions take bytes, and clients that send binary messages as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from liverpc import Context, Limits, LiveServer, UploadContext, live, public
from liverpc import guard as guarded
from liverpc.wire.binary import binary_call, upload_cancel, upload_chunk, upload_header
from tests.attack.attack_kit import Peer, what_is_left

__all__ = ["Sender", "World", "keep", "serving", "turns"]

Outcome = tuple[int, Any]  # the number of an upload, and its result, or its code


class Sender(Peer):
    """A client that uploads."""

    def begin(
        self,
        stream: int,
        path: str = "m/keep",
        *args: Any,
        data: bytes = b"",
        last: bool = False,
        size: int | None = None,
    ) -> None:
        """Send a first chunk."""
        header = upload_header(path, list(args), size)
        self.feed(upload_chunk(stream, 0, data, last=last, header=header), text=False)

    def more(self, stream: int, seq: int, data: bytes = b"", *, last: bool = False) -> None:
        """Send a later chunk."""
        self.feed(upload_chunk(stream, seq, data, last=last), text=False)

    def give_up(self, stream: int) -> None:
        self.feed(upload_cancel(stream), text=False)

    def binary(self, path: str, data: bytes, *args: Any, call: str = "b") -> None:
        self.feed(binary_call(path, call, list(args), data), text=False)

    def say(self, **frame: Any) -> None:
        self.feed(json.dumps(frame).encode())

    @property
    def answers(self) -> list[tuple[int, dict[str, Any]]]:
        """To uploads, as they came."""
        found = [(int(frame["event"], 16), frame) for frame in self.log if frame.get("topic") == "__upload"]
        assert all(frame.keys() == {"topic", "event", "data"} for _, frame in found)
        assert all(frame["event"] == f"{stream:08x}" for stream, frame in found)
        return [(stream, frame["data"]) for stream, frame in found]

    @property
    def outcomes(self) -> list[Outcome]:
        """The same in short."""
        return [(stream, short(answer)) for stream, answer in self.answers]

    @property
    def replies(self) -> list[tuple[str, Any]]:
        """To calls, as they came and in short."""
        return [(frame["event"], short(frame["data"])) for frame in self.log if frame.get("topic") == "__rpc"]

    def credit(self, stream: int) -> list[int]:
        """How many bytes of an upload the server allowed, as it said so."""
        return [
            frame["bytes"]
            for frame in self.log
            if frame.get("type") == "upload-credit" and frame["stream"] == f"{stream:08x}"
        ]

    @property
    def held(self) -> bool:
        """The server does not read."""
        return self._held


def short(answer: dict[str, Any]) -> Any:
    if answer["ok"]:
        assert answer.keys() - {"__cap", "id"} == {"ok", "data"}
        return answer["data"]
    assert {"ok", "code", "error"} <= answer.keys()
    assert isinstance(answer["error"], str)
    return answer["code"]


class World:
    """A running server and its clients."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.senders: list[Sender] = []

    def connect(self, *, paces: bool = False) -> Sender:
        """A new client; ``paces``: it says that it paces its uploads."""
        sender = Sender(self.server)
        if paces:
            sender.say(type="hello", caps=["upload"])
            [limits] = sender.log
            assert limits["type"] == "upload-limits"
        self.senders.append(sender)
        return sender

    @property
    def states(self) -> list[str]:
        """Of the uploads that run, oldest first."""
        return [upload.state for upload in self.server.uploads.running]

    def count(self, name: str) -> int:
        found = getattr(self.server.counters, name)
        assert isinstance(found, int)
        return found

    def is_idle(self) -> None:
        """Assert that there are no uploads, no waiting bytes, nobody who is not read from."""
        assert self.server.uploads.running == []
        assert self.server.uploads.buffered == 0
        assert not any(sender.held for sender in self.senders)


@live.upload()
async def keep(ctx: UploadContext[Any]) -> Any:
    """Read to the end, and tell what it was."""
    return [chunk.decode("latin-1") async for chunk in ctx.upload]


@live
def echo(ctx: Context[Any], value: Any = None) -> Any:
    return value


@asynccontextmanager
async def serving(
    *,
    limits: dict[str, Any] | None = None,
    guard: Callable[[Context[Any]], object] | None = None,
    middlewares: Sequence[Any] = (),
    before_execute: Any = None,
    on_unhandled: Any = None,
    on_error: Any = None,
    **functions: Any,
) -> AsyncIterator[World]:
    """A server of the module ``m``. When its clients have left, nothing may be left of them."""
    module = SimpleNamespace(**{"keep": keep, "echo": echo} | functions, _guard=guarded(guard) if guard else public())
    server = LiveServer(
        {"m": module},
        limits=Limits(**limits or {}),
        before_execute=before_execute,
        on_unhandled=on_unhandled,
        on_error=on_error,
    )
    for middleware in middlewares:
        server.middleware(middleware)
    async with server.lifespan():
        world = World(server)
        yield world
        for sender in world.senders:
            sender.leave()
        await asyncio.sleep(60)
        world.is_idle()
        assert not what_is_left(server)


async def turns(number: int = 5) -> None:
    """Let everybody do what can be done now."""
    for _ in range(number):
        await asyncio.sleep(0)
