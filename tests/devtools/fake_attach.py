"""A small server of the attach protocol with an invented world behind it.

``python -m tests.devtools.fake_attach --port 8765`` lets it run for looking at it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import http
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from liverpc.config import Level
from liverpc.inspector.protocol import (
    ATTACH_PATH,
    SUBPROTOCOL,
    Awaited,
    Blast,
    BreakerInfo,
    CallEvent,
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRule,
    ClientFrame,
    ConnectionEvent,
    ConnectionInfo,
    ConnectionStats,
    Err,
    Event,
    Events,
    Get,
    Got,
    Hello,
    Kick,
    LockInfo,
    Look,
    Ok,
    PathInfo,
    PathStats,
    PendingCall,
    Ping,
    Pong,
    PublishEvent,
    RefusedJoin,
    Resync,
    RoomInfo,
    RoomMember,
    Rooms,
    RoomTotals,
    ServerInfo,
    State,
    Step,
    StreamInfo,
    StreamStats,
    Unwatch,
    UploadInfo,
    UploadTotals,
    Watch,
    Welcome,
)

_decode = msgspec.json.Decoder(ClientFrame).decode
_encode = msgspec.json.Encoder().encode

TOKEN = "a-token-of-the-tests"
TOPICS = [
    ("board:12", "crud", "board/list"),
    ("board:7", "crud", "board/list"),
    ("board:9", "crud", "board/list"),
    ("chat:general", "latest", "chat/messages"),
    ("chat:設計-レビュー", "latest", "chat/messages"),
    ("cursors:b12", "cursor", "board/cursors"),
    ("presence:b12", "presence", "board/presence"),
    ("ticker:BTC", "set", "ticker/price"),
    ("evil:\x1b[31m[red]\u202e", "set", "evil/topic"),
]


class World:
    """What the server knows; ``step`` lets time pass."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        now = time.monotonic()
        self.streams = [StreamInfo(i, *each) for i, each in enumerate(TOPICS, 1)]
        self.stats = {each.id: StreamStats(each.id, 3 * each.id, 0, 0, 0, 0, "", 0.0, 0, "") for each in self.streams}
        self.stats[3] = msgspec.structs.replace(self.stats[3], error="LOADER_FAILED", held=12, reloads=3)
        self.stats[6] = msgspec.structs.replace(self.stats[6], coalesced=4_120, volatile_drops=91_233)
        self.connections = [
            ConnectionInfo(f"c{i:02}f{i:05x}-7a21", "" if i % 5 == 4 else f"u_{10 + i}", f"10.0.0.{i}", now - 37 * i)
            for i in range(1, 9)
        ]
        self.connection_stats = {
            each.id: ConnectionStats(each.id, 2 + i, 10 * i, 4 * i, 0, 0) for i, each in enumerate(self.connections)
        }
        self.paths = [PathInfo(i, p) for i, p in enumerate(("chat/send", "board/move", "report/build"), 1)]
        self.path_stats = {each.id: PathStats(each.id, 0, 0, 0.0, 0.0) for each in self.paths}
        self.pending: list[PendingCall] = [PendingCall(self.connections[1].id, "c-long", "report/build", "u_11", now)]
        of = ("board/move", self.connections[1].id, "k17", "u_11")
        self.locks = [
            LockInfo("account:7", *of, now - 3, 4, now - 2.5),
            LockInfo("evil:\x1b[31m[red]\u202e", *of, now - 1, 0, 0.0),
        ]
        self.breakers = [
            BreakerInfo("bank", "open", 5, 12.0, ["chat/send", "board/move"]),
            BreakerInfo("evil\x1b[2J", "closed", 0, None, ["report/build"]),
        ]
        self.uploads = [self._upload(number) for number in (1, 2, 3)]
        self.received = 0
        self.rooms = [
            RoomInfo("room", 1, "board:12", "", "board/list", 6, 1, 6, 2, now - 4),
            RoomInfo("room", 2, "board:7", "", "board/list", 1, 0, 1, 0, now - 400),
            RoomInfo("contract", 1, "chat/chat", '["設計-レビュー"]', "/rooms/{room_id}", 3, 0, 3, 0, now - 31),
            RoomInfo("contract", 2, "chat/tenant", '["evil\x1b[31m"]', "/rooms/{room_id}", 2, 0, 2, 0, now - 90),
        ]
        self.refused = [
            RefusedJoin(now - 12, "chat/project", self.connections[2].id, "u_13", "may not: no key was given"),
            RefusedJoin(now - 3, "chat/project", self.connections[3].id, "", "raised Unavailable\x1b[31m"),
        ]
        self.rings: dict[str, deque[Event]] = {each.topic: deque(maxlen=20) for each in self.streams}
        self.calls: deque[Event] = deque(maxlen=500)
        self.chaos: list[ChaosRule] = []
        self.chaos_ends = 0.0
        self.detached = False
        self.number = 0

    def _upload(self, number: int) -> UploadInfo:
        owner, now = self.connections[number % len(self.connections)], time.monotonic()
        who = owner.id, f"{number:08x}", "files/store", owner.user, owner.address
        return UploadInfo(*who, now, None if number % 3 == 0 else 4_000_000 * number, 0, 0, 0, "receiving")

    def upload(self) -> list[Event]:
        """Bytes arrive; who has sent all is answered, and the next begins."""
        answers: list[Event] = []
        for index, old in enumerate(self.uploads):
            more = self.random.randint(0, 400_000)
            self.received += more
            waiting = self.random.choice([0, 0, 65_536, 4_500_000])
            received = old.received + more
            self.uploads[index] = msgspec.structs.replace(
                old,
                received=received,
                taken=max(received - waiting, 0),
                buffered=min(waiting, received),
                state="held" if waiting > 4_000_000 else "receiving",
            )
            if received >= (old.size or 8_000_000):
                ok = self.random.random() > 0.4
                answers.append(
                    CallEvent(
                        at=time.monotonic(),
                        path=old.path,
                        connection=old.connection,
                        ms=(time.monotonic() - old.started_at) * 1000,
                        ok=ok,
                        call=old.id,
                        user=old.user,
                        code="" if ok else self.random.choice(["CANCELLED", "FLOW_BACKPRESSURE"]),
                        args={"name": "holiday.mp4"},
                        result={"bytes": received} if ok else "the client gave the upload up",
                        carries="upload",
                        received=received,
                    )
                )
                self.number += 1
                self.uploads[index] = self._upload(int(old.id, 16) + 3)
        self.calls.extend(answers)
        return answers

    def publish(self, stream: StreamInfo) -> Event:
        stats, self.number = self.stats[stream.id], self.number + 1
        rule = next((each for each in self.chaos if fnmatch.fnmatchcase(stream.topic, each.topic)), None)
        dropped = rule is not None and self.random.random() < rule.rate
        if rule is not None:
            self.chaos = [msgspec.structs.replace(rule, seen=rule.seen + 1, hits=rule.hits + dropped)]
        event = PublishEvent(
            at=time.monotonic(),
            topic=stream.topic,
            event=self.random.choice(["created", "updated", "updated", "deleted"]),
            size=self.random.randint(60, 900),
            receivers=0 if dropped else stats.subscribers,
            seq=stats.seq + 1,
            dropped=dropped,
            data={
                "id": f"card-{self.number}",
                "title": "Ship it — 出荷する",
                "position": {"column": "doing", "index": self.number % 7},
                "author": {"id": 3, "name": "Ana", "token": "[REDACTED]"},
                "tags": ["urgent", "q3"],
                "done": self.number % 2 == 0,
                "estimate": None,
            },
        )
        self.stats[stream.id] = msgspec.structs.replace(
            stats,
            published=stats.published + 1,
            delivered=stats.delivered + event.receivers,
            dropped=stats.dropped + dropped,
            bytes=stats.bytes + event.size,
            event=event.event,
            at=event.at,
            seq=stats.seq + 1,
            replay_depth=min(stats.seq + 1, 1000),
        )
        self.rings[stream.topic].append(event)
        return event

    def call(self) -> Event:
        self.number += 1
        path, connection = self.random.choice(self.paths[:2]), self.random.choice(self.connections)
        ok = self.random.random() > 0.12
        ms = self.random.lognormvariate(0.5, 1.2)
        event = CallEvent(
            at=time.monotonic(),
            path=path.path,
            connection=connection.id,
            ms=ms,
            ok=ok,
            call=f"k{self.number}",
            user=connection.user,
            code="" if ok else self.random.choice(["RATE_LIMITED", "VALIDATION", "INTERNAL_ERROR"]),
            args={"text": "hello [bold]world[/]", "room": "general", "password": "[REDACTED]"},
            result={"id": self.number, "ok": True} if ok else "try again in 2 seconds",
            published=["chat:general"] if ok else [],
        )
        old, own = self.path_stats[path.id], self.connection_stats[connection.id]
        codes = dict(old.codes)
        if not ok:
            codes[event.code] = codes.get(event.code, 0) + 1
        self.path_stats[path.id] = PathStats(
            path.id,
            old.calls + 1,
            old.errors + (not ok),
            old.total + ms / 1e3,
            max(old.max, ms / 1e3),
            0.0017,
            0.0118,
            0.812,
            sorted(codes.items(), key=lambda each: -each[1]),
            codes.get("RATE_LIMITED", 0),
            2,
        )
        self.connection_stats[connection.id] = ConnectionStats(
            own.id, own.topics, own.frames_in + 1, own.calls + 1, own.pending, own.buffered
        )
        self.calls.append(event)
        return event

    def told(self, look: Look, *, full: bool) -> Rooms:
        """What is told of the rooms."""
        room = next((each for each in self.rooms if (each.kind, each.number) == (look.kind, look.number)), None)
        return Rooms(
            at=time.monotonic(),
            totals=RoomTotals(5204, sum(each.members for each in self.rooms), 17),
            full=full,
            rows=self.rooms if full else [],
            of=None if room is None else (room.kind, room.number),
            members=[] if room is None else self._members(room),
            refused=self.refused if full else [],
        )

    def _members(self, room: RoomInfo) -> list[RoomMember]:
        how, now = "stream" if room.kind == "room" else "asked", time.monotonic()
        return [
            RoomMember(
                one.user or f"__guest_{index}",
                [] if index < room.away else [one.id],
                how,
                now - 60 * index,
                {"name": f"User {index} — 出荷", "token": "[REDACTED]"},
                {"x": self.random.randint(0, 800), "y": 40, "key": one.user} if index < room.cursors else None,
            )
            for index, one in enumerate(self.connections[: room.members])
        ]

    def rules(self) -> list[ChaosRule]:
        left = self.chaos_ends - time.monotonic()
        self.chaos = [each for each in self.chaos if left > 0 and (not each.limit or each.hits < each.limit)]
        return [msgspec.structs.replace(each, left=left) for each in self.chaos]

    def state(self, rev: int, *, full: bool) -> State:
        return State(
            rev=rev,
            at=time.monotonic(),
            full=full,
            streams=self.streams if full else [],
            stream_stats=list(self.stats.values()),
            connections=self.connections if full else [],
            connection_stats=list(self.connection_stats.values()),
            paths=self.paths if full else [],
            path_stats=list(self.path_stats.values()),
            pending=self.pending,
            pending_total=len(self.pending),
            uploads=self.uploads,
            upload_totals=UploadTotals(3, 1000, sum(each.buffered for each in self.uploads), 64 << 20),
            counters={
                "published": sum(each.published for each in self.stats.values()),
                "upload_bytes": self.received,
                "uploads_started": self.number,
                "upload_holds": 17,
            },
            chaos=self.rules(),
            busy=0.004,
            locks=self.locks,
            locks_total=len(self.locks),
            breakers=self.breakers,
        )


class FakeServer:
    """Speaks the server's side. ``frames`` keeps what clients sent, ``sockets`` who is attached."""

    def __init__(
        self, world: World | None = None, *, chaos: bool = True, interval: float = 0.05, rate: int = 3
    ) -> None:
        self.world = world or World()
        self.frames: list[Any] = []
        self.sockets: list[ServerConnection] = []
        self.url = ""
        self.version = 1
        self.pid = 4242
        self.may_arm = True  #: the token may inject faults
        self.away = False  #: nobody is let in
        self.may_kick = True  #: ... close connections
        self.knows_rooms = True  #: False: it is older
        self.left_out = 0  #: older calls that its answers lack
        self.silent = False  #: sends nothing more
        self.lose = 0  #: the next events frame tells of so many lost events
        self.arrived = asyncio.Event()  #: set at each frame of a client
        self._chaos = chaos
        self._interval = interval
        self._rate = rate
        self._server: Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            port,
            process_request=self._process,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def sent(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.frames if isinstance(each, kind)]

    async def until_sent(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Wait until clients have sent so many frames of a kind."""
        async with asyncio.timeout(10):
            while len(found := self.sent(kind)) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return found

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != ATTACH_PATH:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "no such path\n")
        if request.headers.get("Origin") is not None:
            return connection.respond(http.HTTPStatus.FORBIDDEN, "no browsers\n")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "wrong token\n")
        if self.away:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "away\n")
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        hello = _decode(await socket.recv())
        assert isinstance(hello, Hello)
        self._note(hello)
        armed = hello.want == "chaos" and self._chaos and self.may_arm
        granted: Level = "chaos" if armed else "observe"
        if hello.want == "admin" and self.may_kick:
            granted, armed = "admin", True
        why = "the token opens observe" if self._chaos else "the server was not started with chaos"
        now = time.monotonic()
        await self._send(
            socket,
            Welcome(
                v=self.version,
                session="s1",
                granted=granted,
                denied=[] if granted == hello.want else [f"{hello.want}: {why}"],
                server=ServerInfo("prod-a", "0.1.0", self.pid, 1_700_000_000.0),
                at=now,
                wall=time.time(),
                redacted=["password", "token"],
                ring=20,
                history=500,
                chaos=self._chaos,
            ),
        )
        self.sockets.append(socket)
        watches: dict[int, Watch] = {}
        looks: list[Look] = []
        pump = asyncio.create_task(self._pump(socket, watches, looks))
        try:
            async for data in socket:
                frame = _decode(data)
                self._note(frame)
                if isinstance(frame, Look):
                    await self._look(socket, frame, looks)
                else:
                    await self._answer(socket, frame, watches, hello.client)
        except ConnectionClosed:
            pass
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            self.sockets.remove(socket)
            if not self.world.detached:
                self.world.chaos = []

    def _note(self, frame: Any) -> None:
        self.frames.append(frame)
        self.arrived.set()

    async def _send(self, socket: ServerConnection, frame: Any) -> None:
        if not self.silent:
            await socket.send(_encode(frame), text=True)

    async def _look(self, socket: ServerConnection, look: Look, looks: list[Look]) -> None:
        full, looks[:] = not looks, [look] if look.rooms else []
        if looks and self.knows_rooms:
            await self._send(socket, self.world.told(look, full=full))

    async def _pump(self, socket: ServerConnection, watches: dict[int, Watch], looks: list[Look]) -> None:
        rev, world = 1, self.world
        with contextlib.suppress(ConnectionClosed):
            await self._send(socket, world.state(rev, full=True))
            while True:
                await asyncio.sleep(self._interval)
                events: list[Event] = world.upload()
                for _ in range(self._rate):
                    weight = world.random.choices(world.streams, weights=[9, 1, 2, 3, 2, 20, 1, 12, 1])[0]
                    events.append(world.publish(weight))
                if world.random.random() < 0.7:
                    events.append(world.call())
                if world.random.random() < 0.03:
                    one = world.random.choice(world.connections)
                    events.append(ConnectionEvent(time.monotonic(), one.id, "open", one.user, one.address))
                wanted = [each for each in events if any(_wants(watch, each) for watch in watches.values())]
                if wanted or self.lose:
                    lost, self.lose = self.lose, 0
                    await self._send(socket, Events(items=wanted, lost=lost, sample=0.5 if lost else 1.0))
                if looks and self.knows_rooms:
                    await self._send(socket, world.told(looks[0], full=False))
                rev += 1
                await self._send(socket, world.state(rev, full=False))

    async def _answer(
        self, socket: ServerConnection, frame: ClientFrame, watches: dict[int, Watch], client: str
    ) -> None:
        world = self.world
        if isinstance(frame, Watch):
            watches[frame.id] = frame
        elif isinstance(frame, Unwatch):
            watches.pop(frame.id, None)
        elif isinstance(frame, Get) and frame.ref[0] == "call":
            steps = [Step("build", "app/reports.py", 41), Step("Pool.acquire", "pool/core.py", 7)]
            told = Awaited("the lock account:7, held by board/move of u_11 for 3.2 s", steps)
            await self._send(socket, Got(frame.id, [], awaited=told))
        elif isinstance(frame, Get):
            items = world.calls if frame.ref == ["calls"] else world.rings.get(frame.ref[-1], deque())
            await self._send(socket, Got(id=frame.id, items=list(items), left_out=self.left_out))
        elif isinstance(frame, Ping):
            await self._send(socket, Pong(at=frame.at, server_at=time.monotonic()))
        elif isinstance(frame, ChaosArm) and frame.rule.topic.startswith("forbidden"):
            await self._send(socket, Err(id=frame.id, text="that topic is outside your scope"))
        elif isinstance(frame, ChaosArm) and frame.dry:
            await self._send(socket, Ok(id=frame.id, blast=Blast(31, 156, 4, 40, 1, 9, 2, 8)))
        elif isinstance(frame, ChaosArm):
            rule = msgspec.structs.replace(frame.rule, id=1, by=client, seed=frame.rule.seed or "made-seed")
            world.chaos, world.chaos_ends, world.detached = [rule], time.monotonic() + frame.ttl, frame.detach
            await self._send(socket, Ok(id=frame.id, rule=1))
            await self._send(socket, ChaosChanged(active=world.rules(), text=f"{client} armed drop {rule.topic}"))
        elif isinstance(frame, Kick):
            of = [
                each
                for each in world.connections
                if (frame.user and frame.user == each.user) or frame.connection == each.id
            ]
            await self._send(socket, Ok(frame.id, closed=len(of)) if of else Err(frame.id, "nobody is connected"))
        elif isinstance(frame, ChaosClear):
            world.chaos = []
            await self._send(socket, Ok(id=frame.id))
            await self._send(socket, ChaosChanged(active=[], text=f"{client} removed the faults"))
        elif isinstance(frame, Resync):
            raise AssertionError("no delta was left out")


def _wants(watch: Watch, event: Event) -> bool:
    match = watch.match
    kinds = {event.__struct_config__.tag, event.carries if isinstance(event, CallEvent) else None}
    if match.kind and not kinds & set(match.kind):
        return False
    if isinstance(event, PublishEvent):
        return not match.topic or any(fnmatch.fnmatchcase(event.topic, each) for each in match.topic)
    if isinstance(event, CallEvent):
        fits = not match.path or any(fnmatch.fnmatchcase(event.path, each) for each in match.path)
        return fits and (match.ok is None or match.ok == event.ok)
    return True


@contextlib.asynccontextmanager
async def fake_server(**options: Any) -> AsyncIterator[FakeServer]:
    server = FakeServer(**options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--rate", type=int, default=3)
    given = parser.parse_args()
    server = FakeServer(rate=given.rate, interval=0.25)
    await server.start(given.port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
