"""A server whose users come and go, and a clock for their sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from liverpc import (
    ConnectRequest,
    Context,
    Limits,
    LiveError,
    LiveServer,
    UploadContext,
    guard,
    live,
)
from liverpc.client.socket import SocketClosed
from liverpc.clock import SeededClock
from liverpc.testing import TestClient, TestEnv
from liverpc.transports.memory import MemorySocket

__all__ = ["START", "LoopClock", "Raw", "World"]

START = 1_700_000_000.0


class LoopClock(SeededClock):
    """Wall time that passes with the loop's, and can be set."""

    ahead = 0.0

    def wall(self) -> float:
        return START + asyncio.get_running_loop().time() + self.ahead


class World:
    """A server whose users and roles are in a dict, and what became of it.

    Attributes:
        users: By session: what ``on_connect`` returns, or raises.
        expires: By session: seconds from the start.
        asked: Sessions of which ``on_connect`` was asked.
        log: What the application was told.
        gates: What waits here: by name.
    """

    def __init__(self, **limits: Any) -> None:
        self.users: dict[str, Any] = {}
        self.expires: dict[str, float] = {}
        self.asked: list[str] = []
        self.log: list[Any] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.clock = LoopClock()
        self.m = self.module()
        self.server = LiveServer(
            {"session_kit": self.m},
            on_connect=self.on_connect,
            on_topic=self.on_topic,
            on_disconnect=lambda connection, code, reason: self.log.append((connection.user_id, code, reason)),
            limits=Limits(**limits),
            clock=self.clock,
        )

    async def on_connect(self, request: ConnectRequest) -> Any:
        session = request.query["s"]
        self.asked.append(session)
        if session in self.expires:
            request.expires_at = START + self.expires[session]
        await self.pause("connect")
        user = self.users[session]
        if isinstance(user, Exception):
            raise user
        return user

    async def on_topic(self, ctx: Context[Any], topic: str) -> bool | str:
        await self.pause("topic")
        allowed: bool = topic != "news" or "reads" in ctx.user
        return allowed or "NO_NEWS"

    async def pause(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].wait()

    def module(self) -> SimpleNamespace:
        async def checked(ctx: Context[Any]) -> None:
            self.log += ["asked"] if ctx.path.endswith("/numbered") else []
            await self.pause("guard")
            if ctx.user.get("breaks"):
                raise RuntimeError("the database is away")
            if ctx.user.get("barred"):
                raise LiveError("BARRED", "not today")
            ctx.state["role"] = ctx.user.get("role")

        def boss(ctx: Context[Any], *args: Any) -> bool:
            role: str | None = ctx.user.get("role")
            return role == "boss"

        def left(ctx: Context[Any], topic: str, remaining: int) -> None:
            self.log.append(("left", topic, remaining))

        @live.stream("secret", access=boss, on_unsubscribe=left)
        async def secret(ctx: Context[Any]) -> list[Any]:
            await self.pause("secret")
            return [{"id": 1}]

        @live.stream("numbered:{number}")
        def numbered(ctx: Context[Any], number: int) -> list[Any]:
            return []

        @live.stream("open", on_unsubscribe=left)
        def open_to_all(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("secret")
        def also_secret(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream(lambda ctx: f"of:{ctx.user.get('role')}")
        def by_role(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("gated", gate=boss)
        def gated(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("refreshing")
        async def refreshing(ctx: Context[Any]) -> list[Any]:
            await ctx.refresh()
            return []

        @live
        def role(ctx: Context[Any]) -> Any:
            return ctx.user.get("role")

        @live
        async def slowly(ctx: Context[Any]) -> None:
            await asyncio.sleep(5)

        @live
        async def refresh(ctx: Context[Any]) -> Any:
            await ctx.refresh()
            return [ctx.user.get("role"), ctx.locals is ctx.user]

        @live
        async def wait(ctx: Context[Any]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")

        @live
        async def tidy(ctx: Context[Any]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(2)
                self.log.append("tidied")

        @live
        def note(ctx: Context[Any], text: str) -> None:
            self.log.append(text)

        @live
        def leave(ctx: Context[Any]) -> int:
            return self.server.disconnect(user=ctx.user["id"], code=4401, reason="signed out")

        @live.upload()
        async def take(ctx: UploadContext[Any]) -> int:
            try:
                async for _ in ctx.upload:
                    pass
            except LiveError as error:
                self.log.append(error.code)
                raise
            return 1

        given = {name: each for name, each in locals().items() if name not in ("self", "checked", "boss", "left")}
        return SimpleNamespace(**given, _guard=guard(checked))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TestEnv]:
        """... and nothing is left of it when its clients are gone."""
        async with TestEnv(self.server) as env:
            self.env = env
            yield env
            for client in env._clients:
                await client.aclose()
            await env.settle()
            assert not self.server.connections
            assert len(self.server._sessions) == 0
            assert not self.server._hub.topics

    def client(self, session: str = "a", **user: Any) -> TestClient:
        self.users.setdefault(session, {"id": session, **user})
        return self.env.connect(query={"s": session})

    async def socket(self, session: str = "a", **user: Any) -> Raw:
        self.users.setdefault(session, {"id": session, **user})
        return Raw(await self.env.transport.connect(query=f"s={session}"))


class Raw:
    """A client that sends frames as they are."""

    def __init__(self, socket: MemorySocket) -> None:
        self.socket = socket
        self.frames: list[Any] = []

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def read(self) -> tuple[int, str]:
        """Everything to the end; returns the goodbye."""
        while True:
            try:
                self.frames.append(json.loads(await self.socket.recv()))
            except SocketClosed as end:
                return end.code, end.reason

    async def until(self, **wanted: Any) -> Any:
        while True:
            frame = json.loads(await self.socket.recv())
            self.frames.append(frame)
            if all(frame.get(name) == value for name, value in wanted.items()):
                return frame
