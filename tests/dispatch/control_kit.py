"""An application with streams and hooks that do what a test wants."""

import asyncio
from types import SimpleNamespace
from typing import Any

from liverpc import Context, LiveServer, live, public
from liverpc.testing import TestEnv

__all__ = ["App"]


class App:
    """Streams, and hooks that do what a test wants."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.gate = asyncio.Event()
        self.verdicts: dict[str, Any] = {}  # what on_topic says; otherwise True

    def module(self) -> SimpleNamespace:
        @live.stream("rows", on_subscribe=lambda ctx, topic: self.log.append("subscribed"))
        async def rows(ctx: Context[Any]) -> list[Any]:
            self.log.append("load")
            return []

        @live.stream("slow")
        async def slow(ctx: Context[Any]) -> list[Any]:
            await self.gate.wait()
            return []

        @live.stream("secret", access=lambda ctx: False)
        async def secret(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream(lambda ctx: "__reserved")
        async def reserved(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("grün")
        async def green(ctx: Context[Any]) -> list[Any]:
            return []

        @live
        async def wait(ctx: Context[Any]) -> None:
            await self.gate.wait()

        functions = {"rows": rows, "slow": slow, "secret": secret, "reserved": reserved, "green": green, "wait": wait}
        return SimpleNamespace(**functions, _guard=public())

    def judge(self, ctx: Context[Any], topic: str) -> Any:
        self.log.append(("asked", topic))
        verdict = self.verdicts.get(topic, True)
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    async def judge_later(self, ctx: Context[Any], topic: str) -> Any:
        await self.gate.wait()
        return self.judge(ctx, topic)

    def env(self, **options: Any) -> TestEnv:
        return TestEnv(LiveServer({"demo": self.module()}, **options))
