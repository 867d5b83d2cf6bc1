"""An application whose rows have a log, for tests of what clients catch up with."""

import asyncio
from types import SimpleNamespace
from typing import Any

from liverpc import Context, LiveServer, live, public
from liverpc.clock import SeededClock
from liverpc.testing import TestEnv

__all__ = ["App", "Row", "names", "put"]

Row = dict[str, Any]


class App:
    """Rows with a log, and whatever else the options say."""

    def __init__(self, **options: Any) -> None:
        self.rows: dict[Any, Row] = {"a": {"id": "a"}}
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.hooks: list[str] = []

        @live.stream(
            "rows",
            on_subscribe=lambda ctx, topic: self.hooks.append("on"),
            on_unsubscribe=lambda ctx, topic, remaining: self.hooks.append("off"),
            **{"replay": True, **options},
        )
        async def rows(ctx: Context[Any]) -> Any:
            self.loads += 1
            loaded = list(self.rows.values())
            await self.gate.wait()
            return loaded

        @live.stream("room:{room}", replay=True)
        async def room(ctx: Context[Any], room: str) -> Any:
            return []

        @live.stream(lambda ctx, name: f"any:{name}", replay=True)
        async def computed(ctx: Context[Any], name: str) -> Any:
            return []

        self.module = SimpleNamespace(rows=rows, room=room, computed=computed, _guard=public())

    def env(self, **options: Any) -> TestEnv:
        return TestEnv(LiveServer({"demo": self.module}, **{"clock": SeededClock(), **options}))


def put(env: TestEnv, name: Any, topic: str = "rows", event: str = "created") -> None:
    env.server.publish_nowait(topic, event, {"id": name})


def names(reply: Row) -> list[Any]:
    return [(each["seq"], each["event"], each["data"]["id"]) for each in reply["data"]]
