"""A server to observe, and the real attach client over the in-memory transport."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from liverpc import Context, Inspect, LiveError, LiveServer, Token, live, public
from liverpc.inspector.protocol import (
    ATTACH_PATH,
    SUBPROTOCOL,
    AttachSession,
    Err,
    Event,
    Events,
    Got,
    Match,
    Ok,
    ServerFrame,
    State,
    Watch,
    Welcome,
)
from liverpc.transports.memory import MemorySocket

SECRETS = {level: f"token-for-{level}-level" for level in ("metrics", "observe", "chaos", "admin", "scoped")}
F = TypeVar("F")


def make_server(**options: Any) -> LiveServer:
    @live.stream("room:{room}")
    async def room(ctx: Context[Any], room: str) -> list[Any]:
        return []

    @live
    async def say(ctx: Context[Any], room: str, text: Any) -> None:
        ctx.publish(f"room:{room}", "created", {"id": 1, "text": text, "token": "s3cret-token"})

    @live
    async def login(ctx: Context[Any], email: str, password: str) -> str:
        raise LiveError("WRONG", "no such account")

    @live
    async def wait(ctx: Context[Any]) -> None:
        await asyncio.Event().wait()

    tokens = (
        Token(secret=SECRETS["metrics"], level="metrics"),
        Token(secret=SECRETS["observe"]),
        Token(secret=SECRETS["chaos"], level="chaos"),
        Token(secret=SECRETS["admin"], level="admin"),
        Token(secret=SECRETS["scoped"], level="chaos", topics=("room:red",)),
    )
    inspect = {"enabled": True, "tokens": tokens, "chaos": True, **options}
    functions = {"room": room, "say": say, "login": login, "wait": wait}
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())}, inspect=Inspect(**inspect))


async def knock(env: Any, token: str = SECRETS["observe"], **headers: str) -> MemorySocket:
    given = {"Host": "localhost:8000", "Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": SUBPROTOCOL}
    socket: MemorySocket = await env.transport.connect(ATTACH_PATH, headers={**given, **headers})
    return socket


class Observer:
    """An attach client in a test."""

    def __init__(self, socket: MemorySocket, session: AttachSession) -> None:
        self.socket = socket
        self.session = session
        self.events: list[Event] = []
        self.lost = 0

    @classmethod
    async def attach(cls, env: Any, level: Any = "observe", *, token: str = "") -> "Observer":
        want: Any = "chaos" if level == "scoped" else level
        session = AttachSession(client="tests", want=want, monotonic=asyncio.get_running_loop().time)
        observer = cls(await knock(env, token or SECRETS[level]), session)
        await observer.wait(Welcome)
        await observer.wait(State)
        return observer

    async def send(self, *frames: Any) -> None:
        for frame in frames:
            self.session.send(frame)
        for text in self.session.outgoing():
            await self.socket.send(text.decode())

    async def next(self) -> ServerFrame | None:
        self.session.tick()
        await self.send()
        frame = self.session.receive(await asyncio.wait_for(self.socket.recv(), 5))
        if isinstance(frame, Events):
            self.events += frame.items
            self.lost += frame.lost
        return frame

    async def wait(self, kind: type[F], when: Callable[[F], object] = lambda frame: True) -> F:
        async with asyncio.timeout(30):
            while True:
                frame = await self.next()
                if isinstance(frame, kind) and when(frame):
                    return frame

    async def ask(self, frame: Any) -> Ok | Err | Got:
        await self.send(frame)
        async with asyncio.timeout(30):
            while True:
                answer = await self.next()
                if isinstance(answer, Ok | Err | Got) and answer.id == frame.id:
                    return answer

    async def watch(self, **match: Any) -> None:
        await self.send(Watch(id=self.session.new_id(), match=Match(**match)))
        await self.wait(State)
