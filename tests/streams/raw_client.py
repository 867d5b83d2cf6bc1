"""A client that sends frames as they are."""

import asyncio
import json
from typing import Any

from liverpc.testing import TestEnv
from liverpc.transports.memory import MemorySocket


class Raw:
    """One connection of it; the welcome is read."""

    def __init__(self, socket: MemorySocket, session: str) -> None:
        self.socket = socket
        self.session = session

    @classmethod
    async def open(cls, env: TestEnv, *, caps: list[Any] | None = None) -> "Raw":
        socket = await env.transport.connect("/ws")
        raw = cls(socket, json.loads(await socket.recv())["sessionId"])
        if caps is not None:
            await raw.send(type="hello", caps=caps)
        return raw

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def recv(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 5))
        return frame

    async def silent(self) -> None:
        """Assert that nothing comes."""
        try:
            frame = await asyncio.wait_for(self.socket.recv(), 1)
        except TimeoutError:
            return
        raise AssertionError(f"nothing was to come, but {frame!r} came")

    async def subscribe(self, path: str, *args: Any, **members: Any) -> dict[str, Any]:
        await self.send(rpc=path, id="s", args=list(args), stream=True, **members)
        data: dict[str, Any] = (await self.recv())["data"]
        return data
