"""One declaration of every kind, and every kind of frame a client can send."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from liverpc import Context, LiveError, LiveServer, RoomContext, UploadContext, guard, live
from liverpc.declare.contract import Contract
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import event, room
from liverpc.pages import Events
from liverpc.wire.binary import upload_chunk
from tests.uploads.upload_kit import Sender, turns

__all__ = [
    "AS_CALL", "AS_CONTROL", "AS_STREAM", "FRAMES", "GIVES_NOTHING", "PATHS", "SECRET", "TOPICS", "UNASKED",
    "Application", "answers", "fits", "tried",
]  # fmt: skip

SECRET: Final = "what nobody may see"


class PageParams(msgspec.Struct):
    page_id: str


class Key(msgspec.Struct):
    name: str


class Closed(LiveError):
    def __init__(self) -> None:
        super().__init__("CLOSED", "the test lets nobody pass")


class Application:
    """One declaration of every kind; each leaks the secret when it runs.

    Attributes:
        guarded: How often the guard was asked about a path.
        asked: How often the predicate was.
        ran: What ran, by path; of a stream, its loader.

    Args:
        guards: The guard lets everybody pass, not only those who open the contract.
        admits: The predicates do.
        middlewares: Of the server.
        options: Likewise.
    """

    def __init__(
        self, *, guards: bool = True, admits: bool = True, middlewares: Sequence[Any] = (), **options: Any
    ) -> None:
        self.guarded: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.ran: list[str] = []

        async def check(ctx: Context[Any]) -> None:
            self.guarded[ctx.path] += 1
            await asyncio.sleep(0)
            if not guards and ctx.path != "page/__open":  # otherwise nothing of it would be there to be guarded
                raise Closed

        async def may(ctx: Context[Any], *args: Any) -> bool:
            self.asked[ctx.path] += 1
            await asyncio.sleep(0)
            return admits

        def run(ctx: Context[Any]) -> str:
            self.ran.append(ctx.path)
            return SECRET

        @live
        @live.scoped(may)
        def plain(ctx: Context[Any], name: str) -> str:
            return run(ctx)

        @live
        @live.scoped(may)
        async def waits(ctx: Context[Any], name: str) -> str:
            return run(ctx)

        @live
        def open_to_all(ctx: Context[Any], name: str) -> str:  # the shortest way: its guard is all there is
            return run(ctx)

        @live.scoped(may)
        @live(thread=True)
        def threaded(ctx: Context[Any], name: str) -> str:
            return run(ctx)

        @live.rate_limit(points=1000, per=60.0)
        @live.idempotent()
        @live.lock("one at a time")
        @live.breaker(fallback=SECRET)
        @live(class_of_service="calls")
        @live.scoped(may)
        async def policed(ctx: Context[Any], name: str) -> str:
            return run(ctx)

        @live.stream("rows:{name}", access=may)
        async def rows(ctx: Context[Any], name: str) -> list[Any]:
            return [{"id": run(ctx)}]

        @live.stream("gated:{name}", gate=may)
        async def gated(ctx: Context[Any], name: str) -> list[Any]:
            return [{"id": run(ctx)}]

        @live.scoped(may)
        @live.channel(merge="set", item=str)
        def channel(ctx: Context[Any], name: str) -> str:
            return f"channel:{name}"

        @live.room("board:{name}", cursors=True, access=may)
        async def board(ctx: Context[Any], name: str) -> list[Any]:
            return [{"id": run(ctx)}]

        @board.presence
        def who(ctx: Context[Any], name: str) -> dict[str, Any]:
            return {"name": SECRET}

        @board.action
        def act(ctx: RoomContext[Any], name: str) -> str:
            return run(ctx)

        @live.binary()
        @live.scoped(may)
        async def attach(ctx: Context[Any], data: bytes, name: str) -> str:
            return run(ctx)

        @live.upload()
        @live.scoped(may)
        async def put(ctx: UploadContext[Any], name: str) -> str:
            async for _ in ctx.upload:
                pass
            return run(ctx)

        class Page(Contract[Events, PageParams], path="/pages/{page_id}"):
            @event
            async def act(self, data: Key) -> str:
                application.ran.append("page/__event/act")
                return SECRET

            @room.expose
            async def group(self, data: Key) -> RoomKey | None:
                application.asked["page/__join/group"] += 1
                return ("group", data.name) if admits else None

        application = self
        members = {
            "plain": plain, "waits": waits, "open_to_all": open_to_all, "threaded": threaded, "policed": policed,
            "rows": rows, "gated": gated, "channel": channel, "board": board, "attach": attach, "put": put,
            "Page": Page,
        }  # fmt: skip
        self.server = LiveServer({"m": SimpleNamespace(**members, _guard=guard(check))}, **options)
        for middleware in middlewares:
            self.server.middleware(middleware)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Sender]:
        """A client that has the contract open, on a server that runs. What happened before is forgotten."""
        sender = Sender(self.server)
        sender.say(rpc="page/__open", id="open", args=[{"page_id": "x"}])
        await turns(20)
        assert sender.log[-1]["data"]["ok"] is True
        sender.log.clear()
        for each in (self.guarded, self.asked, self.ran):
            each.clear()
        yield sender
        sender.leave()
        await asyncio.sleep(60)  # the presence of the room's last client

    def publish(self) -> None:
        """On all topics there are."""
        for topic in TOPICS:
            self.server.publish_nowait(topic, "created", {"id": SECRET})


NAME, KEY = ["x"], [{"name": "x"}]
CALLS: Final = {
    "m/plain": NAME, "m/waits": NAME, "m/open_to_all": NAME, "m/threaded": NAME, "m/policed": NAME,
    "m/board/__action/act": NAME, "m/board/__action/move_cursor": ["x", {"x": 1}],
    "page/__event/act": KEY, "page/__join/group": KEY, "page/__leave/group": KEY,
}  # fmt: skip
STREAMS: Final = dict.fromkeys(
    ("m/rows", "m/gated", "m/channel", "m/board/__data", "m/board/__presence", "m/board/__cursors"), NAME
)
PATHS: Final = {**CALLS, **STREAMS, "m/attach": NAME, "m/put": NAME}
TOPICS: Final = ("rows:x", "gated:x", "channel:x", "board:x", "board:x:presence", "board:x:cursors")
UNASKED: Final = ("m/open_to_all", "page/__event/act", "page/__leave/group")
"""No predicate stands before them."""
GIVES_NOTHING: Final = (
    "m/channel", "m/board/__presence", "m/board/__cursors", "m/board/__action/move_cursor", "page/__join/group",
    "page/__leave/group",
)  # fmt: skip
"""Nothing of the application runs for them."""

Send = Callable[[Sender, str, list[Any]], None]


def text(**more: Any) -> Send:
    def send(sender: Sender, path: str, args: list[Any]) -> None:
        sender.say(rpc=path, args=args, **more)

    return send


def batch(*, sequential: bool = False, **more: Any) -> Send:
    def send(sender: Sender, path: str, args: list[Any]) -> None:
        call = {"rpc": path, "id": "k", "args": args, **more}
        sender.say(batch=[call], sequential=sequential)

    return send


def binary(**more: Any) -> Send:
    def send(sender: Sender, path: str, args: list[Any]) -> None:
        header = json.dumps({"rpc": path, "id": "k", "args": args, **more}).encode()
        sender.feed(b"\x00" + len(header).to_bytes(2, "big") + header + b"data", text=False)

    return send


def upload(*, last: bool = True, **more: Any) -> Send:
    def send(sender: Sender, path: str, args: list[Any]) -> None:
        header = json.dumps({"rpc": path, "args": args, **more}).encode()
        sender.feed(upload_chunk(7, 0, b"data", last=last, header=header), text=False)
        if not last:
            sender.feed(upload_chunk(7, 1, b"more", last=True), text=False)

    return send


def control(**frame: Any) -> Send:
    def send(sender: Sender, path: str, args: list[Any]) -> None:
        sender.say(**frame)

    return send


def topic_frames(sender: Sender, path: str, args: list[Any]) -> None:
    for topic in (path, *TOPICS):
        sender.say(type="subscribe", topic=topic, ref=1)


AS_CALL: Final[dict[str, Send]] = {
    "call": text(id="k"),
    "call that nobody waits for": text(),
    "call with stream: 1": text(id="k", stream=1),
    "call with stream: 'true'": text(id="k", stream="true"),
    "call with stream: null and what streams have": text(id="k", stream=None, cursor=1, resync=True, seq=3, version=1),
    "call with a key": text(id="k", idempotencyKey="key"),
    "in a batch": batch(),
    "in a batch with a key": batch(idempotencyKey="key"),
    "in a sequential batch": batch(sequential=True),
}
AS_STREAM: Final[dict[str, Send]] = {
    "stream": text(id="k", stream=True),
    "stream that nobody waits for": text(stream=True),
    "page": text(id="k", stream=True, cursor="c"),
    "resync": text(id="k", stream=True, resync=True, seq=3),
    "resync of another server": text(id="k", stream=True, resync=True, seq=3, epoch="e"),
    "caught up by version": text(id="k", stream=True, version=1, schemaVersion=1),
    "stream with a key": text(id="k", stream=True, idempotencyKey="key"),
    "stream in a batch": batch(stream=True),
    "stream in a sequential batch": batch(stream=True, sequential=True),
}
AS_BINARY: Final[dict[str, Send]] = {
    "binary": binary(),
    "binary with stream": binary(stream=True),
    "binary with a key": binary(idempotencyKey="key"),
}
AS_UPLOAD: Final[dict[str, Send]] = {
    "upload": upload(),
    "upload in two chunks": upload(last=False),
    "upload with stream": upload(stream=True),
}
AS_CONTROL: Final[dict[str, Send]] = {
    "subscribe": topic_frames,
    "subscribe-batch": control(type="subscribe-batch", topics=[*PATHS, *TOPICS], ref=1),
    "resume": control(type="resume", sessionId="s", lastSeenSeqs=dict.fromkeys(TOPICS, 0)),
    "hello": control(type="hello", caps=["upload", "rows:x"]),
}
FRAMES: Final = AS_CALL | AS_STREAM | AS_BINARY | AS_UPLOAD | AS_CONTROL


def fits(path: str, frame: str) -> bool:
    """Whether this is how the path is called."""
    if path in CALLS:
        return frame in AS_CALL or frame in AS_STREAM  # a function does not care about stream (section 4)
    kinds: dict[str, dict[str, Send]] = {"m/attach": AS_BINARY, "m/put": AS_UPLOAD}
    return frame in kinds.get(path, AS_STREAM)


def answers(sender: Sender) -> list[dict[str, Any]]:
    """To calls, streams and uploads."""
    found: list[dict[str, Any]] = []
    for each in sender.log:
        if each.get("topic") in ("__rpc", "__upload"):
            found += each["data"]["batch"] if each["event"] == "__batch" else [each["data"]]
    return found


async def tried(sender: Sender, path: str, frame: str) -> None:
    FRAMES[frame](sender, path, PATHS[path])
    await asyncio.sleep(0.2)  # also for the thread
    await turns(20)
