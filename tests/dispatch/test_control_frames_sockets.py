"""Control frames, batches and binary messages over real sockets."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect

from liverpc import LiveServer, live, public

pytestmark = pytest.mark.realtime


async def test_a_client_without_streams_listens_gets_batches_answers_and_talks_binary() -> None:
    messages: list[Any] = []
    news = asyncio.Event()

    def keep(connection: Any, message: Any) -> None:
        messages.append(message)
        news.set()

    module = SimpleNamespace(rows=live.channel("rows", merge="latest", item=int, path="demo/rows"), _guard=public())
    server = LiveServer(
        {"demo": module},
        on_topic=lambda ctx, topic: topic != "closed" or "CLOSED",
        on_unhandled=keep,
        on_json_message=keep,
        on_resume=lambda ctx, session, seqs: ctx.connection.send_event("__replay:rows", "end", None),
    )
    async with asyncio.timeout(10), server.serve(port=0) as where, connect(where.url) as socket:

        async def recv() -> Any:
            return json.loads(await socket.recv())

        async def send(**frame: Any) -> None:
            await socket.send(json.dumps(frame))

        assert (await recv())["type"] == "welcome"
        await send(type="hello", caps=["batch"])
        await send(type="resume", sessionId="before", lastSeenSeqs={"rows": 4})
        assert [await recv(), await recv()] == [
            {"topic": "__replay:rows", "event": "end", "data": None},
            {"type": "resumed"},
        ]
        await send(type="subscribe-batch", topics=["closed", "rows", "free"], ref=1)
        assert [(await recv())["type"] for _ in range(3)] == ["subscribe-denied", "subscribed", "subscribed"]
        server._hub.publish_batch([("rows", "set", 1), ("free", "set", 2)])
        assert await recv() == {
            "type": "batch",
            "events": [
                {"topic": "rows", "event": "set", "data": 1, "seq": 1},
                {"topic": "free", "event": "set", "data": 2, "seq": 1},
            ],
        }
        [connection] = server.connections
        asking = asyncio.create_task(connection.ask("confirm", 1))
        ref = (await recv())["ref"]
        await send(type="reply", ref=ref, data="yes")
        assert await asking == "yes"
        for payload in (b"\x00\x00\x02{}", b"\x07ours", b'{"mine":1}', b'{"type":"unsubscribe","topic":"rows"}'):
            await socket.send(payload)
        await send(type="unsubscribe", topic="free")
        await send(last=True)
        while {"last": True} not in messages:
            news.clear()
            await news.wait()
        assert messages[:2] == [b"\x07ours", {"mine": 1}]
        assert messages[2] == {"type": "unsubscribe", "topic": "rows"}, "a control frame is text"
        assert (server.subscribers("rows"), server.subscribers("free")) == (1, 0)
