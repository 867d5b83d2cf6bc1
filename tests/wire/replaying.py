"""Plays the clients' part of a transcript against a server, and compares what the server says."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed

from liverpc.client.socket import SocketClosed
from liverpc.transports.memory import MemorySocket, MemoryTransport
from tests.wire.recording import Expect, Leave, Message, Open, Send, Step, closing, counted, normalised, slot

SESSION = re.compile(r'^\{"type":"welcome","sessionId":"([^"]*)"')
# Of streams with replay: what publishes on their topics.
PUBLISHERS = {"demo:replayed": "demo/pushReplayed", "demo:replayed-feed": "demo/pushReplayedFeed"}
MARK = "~"  # begins the ids of the player's own calls


class Pipe(Protocol):
    """A client's end of a connection, without any knowledge of the protocol."""

    async def send(self, payload: str | bytes) -> None:
        """Send one message; into the void when the connection is closed."""
        ...

    async def receive(self) -> str | Message:
        """The next message, or the goodbye."""
        ...

    async def leave(self, lost: bool) -> None:
        """Close the connection; ``lost``: without a goodbye."""
        ...


Dial: TypeAlias = Callable[[str, str], Awaitable[Pipe]]  # from path and query


class WebSocketPipe:
    """Over a real socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def dial(cls, base: str, path: str, query: str) -> WebSocketPipe:
        """Connect to ``base``, such as ``ws://127.0.0.1:8765``."""
        return cls(await websocket(f"{base}{path}?{query}", max_size=None, compression=None, proxy=None))

    async def send(self, payload: str | bytes) -> None:
        with suppress(ConnectionClosed):
            await self._socket.send(payload)

    async def receive(self) -> str | Message:
        try:
            received = await self._socket.recv()
        except ConnectionClosed as end:
            return closing(end.rcvd.code, end.rcvd.reason) if end.rcvd else closing(1006, "")
        assert isinstance(received, str), "a server sends text frames only"
        return received

    async def leave(self, lost: bool) -> None:
        if lost:
            self._socket.transport.abort()
        await self._socket.close()


class MemoryPipe:
    """Without sockets."""

    def __init__(self, socket: MemorySocket) -> None:
        self._socket = socket

    @classmethod
    async def dial(cls, transport: MemoryTransport, path: str, query: str) -> MemoryPipe:
        return cls(await transport.connect(path, query=query))

    async def send(self, payload: str | bytes) -> None:
        with suppress(SocketClosed):
            await self._socket.send(payload)

    async def receive(self) -> str | Message:
        try:
            received = await self._socket.recv()
        except SocketClosed as end:
            return closing(end.code, end.reason)
        assert isinstance(received, str)
        return received

    async def leave(self, lost: bool) -> None:
        if lost:
            self._socket.cut()
        else:
            await self._socket.close()


class Tab:
    """One connection of the replay: collects what the server says."""

    def __init__(self, pipe: Pipe, sessions: list[str]) -> None:
        self.pipe = pipe
        self.sessions = sessions  # that this client was welcomed with, one for each of its connections
        self.received: list[Message] = []
        self.asked: list[Any] = []  # refs of the server's requests
        self._marks = 0
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            got = await self.pipe.receive()
            messages = normalised(got) if isinstance(got, str) else [got]
            if isinstance(got, str) and (welcomed := SESSION.search(got)):
                self.sessions.append(welcomed[1])
            self.received += [counted(message, self.asked) for message in messages]
            self._news.set()
            if not isinstance(got, str):
                return

    @property
    def ended(self) -> bool:
        return self._reading.done()

    async def until(self, about: str, times: int) -> None:
        """Wait for so many messages about something, or for the end of the connection."""
        while sum(slot(message) == about for message in self.received) < times and not self.ended:
            self._news.clear()
            await self._news.wait()

    async def settle(self) -> None:
        """Wait until the server has seen everything from here, and everything it sent before that has arrived."""
        self._marks += 1
        call = f"{MARK}{self._marks}"
        await self.pipe.send(f'{{"rpc":"demo/echo","id":"{call}"}}')
        await self.until(f"the reply to {call!r}", 1)

    async def leave(self, lost: bool = True) -> None:
        """Close the connection at once."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        if not self._reading.cancelled():
            self._reading.result()  # raises what the server sent that cannot be read
        await self.pipe.leave(lost)


def client_of(conn: str) -> str:
    """Whose connection it is."""
    return conn.partition("#")[0]


def naming(step: Send, sessions: Sequence[str]) -> Send:
    """A resume frame with the session of this run."""
    if step.frame.get("type") != "resume" or not sessions:
        return step
    return Send(step.conn, json.dumps({**step.frame, "sessionId": sessions[-1]}))


async def prepare(steps: Sequence[Step], dial: Dial) -> None:
    """Publish as much as had been published before the recording: clients send the numbers they were told there."""
    before = {
        step.reply["topic"]: step.reply["seq"]
        for step in reversed(steps)
        if isinstance(step, Expect) and "seq" in step.reply
    }
    if not before:
        return
    tab = Tab(await dial("/ws", "token=alice"), [])
    for topic, count in before.items():
        for number in range(count):
            await tab.pipe.send(json.dumps({"rpc": PUBLISHERS[topic], "args": [{"id": f"before-{number}"}]}))
    await tab.pipe.send('{"rpc":"demo/reset"}')
    await tab.settle()
    await tab.leave(lost=False)


async def replay(steps: Sequence[Step], dial: Dial, *, patience: float = 5.0) -> list[str]:
    """What differs, as sentences; empty when the server says what it is expected to.

    The steps are taken in their order. A client sends only after everything that stands before it has
    arrived, so the conversation cannot take another course than the recorded one.

    Args:
        steps: Of a transcript.
        dial: Opens a connection.
        patience: Seconds to wait for one message.
    """
    tabs: dict[str, Tab] = {}
    expected: defaultdict[str, list[Message]] = defaultdict(list)
    speaker: str | None = None
    faults: list[str] = []
    step: Step | None = None
    sessions: defaultdict[str, list[str]] = defaultdict(list)
    await prepare(steps, dial)
    try:
        for step in steps:
            match step:
                case Open(conn, path, query):
                    tabs[conn] = Tab(await dial(path, query), sessions[client_of(conn)])
                case Send(conn):
                    if speaker is not None and speaker != conn:
                        # Nothing else orders the frames of two connections.
                        await asyncio.wait_for(tabs[speaker].settle(), patience)
                    speaker = conn
                    asked = tabs[conn].asked
                    answer = step.answering(asked[step.frame["ref"] - 1]) if step.answers else step
                    await tabs[conn].pipe.send(naming(answer, sessions[client_of(conn)][:-1]).payload)
                case Expect(conn, message):
                    expected[conn].append(message)
                    about = slot(message)
                    times = sum(slot(other) == about for other in expected[conn])
                    await asyncio.wait_for(tabs[conn].until(about, times), patience)
                case Leave(conn, lost):
                    await asyncio.wait_for(tabs[conn].settle(), patience)
                    await tabs[conn].leave(lost)
                    speaker = None if speaker == conn else speaker
    except TimeoutError:  # going on would only blur what went wrong
        faults.append(f"waited in vain at {step}")
    finally:
        for tab in tabs.values():
            await tab.leave()
    received = {
        conn: [message for message in tab.received if not str(message.get("event")).startswith(MARK)]
        for conn, tab in tabs.items()
    }
    faults += [
        f"{conn}: {fault}"
        for conn, messages in received.items()
        for fault in (*differing(expected[conn], messages), *misplaced(messages), *misplaced(expected[conn]))
    ]
    return faults + early_replies(steps, received)


def differing(expected: Sequence[Message], received: Sequence[Message]) -> list[str]:
    """Messages that are missing, surplus or different. Only messages about one thing have an order."""
    faults: list[str] = []
    for about in dict.fromkeys(map(slot, [*expected, *received])):
        wanted = [message for message in expected if slot(message) == about]
        got = [message for message in received if slot(message) == about]
        faults += [f"{about}: expected {w}, got {g}" for w, g in zip(wanted, got, strict=False) if w != g]
        faults += [f"{about} is missing: {message}" for message in wanted[len(got) :]]
        faults += [f"{about} is surplus: {message}" for message in got[len(wanted) :]]
    return faults


def misplaced(messages: Sequence[Message]) -> list[str]:
    """Breaches of order that need no recording.

    The welcome is first, and a topic begins with its stream's reply or with the answer to a subscribe frame.
    """
    faults: list[str] = []
    begun: set[str] = set()
    for position, message in enumerate(messages):
        about = slot(message)
        if message.get("type") == "welcome" and position > 0:
            faults.append("the welcome is not the first message")
        if about.startswith("the reply") and isinstance(topic := message["data"].get("topic"), str):
            begun.add(topic)
        if message.get("type") == "subscribed":
            begun.add(message["topic"])
        if about.startswith("an event") and not message["topic"].startswith("__") and message["topic"] not in begun:
            faults.append(f"{about} came before its topic began: {message}")
    return faults


def early_replies(steps: Sequence[Step], received: Mapping[str, Sequence[Message]]) -> list[str]:
    """Replies that came before an event of their own call.

    An event that was recorded while only one call was open belongs to that call.
    """
    faults: list[str] = []
    pending: set[tuple[str, str]] = set()
    counted: defaultdict[tuple[str, str], int] = defaultdict(int)
    for step in steps:
        if isinstance(step, Send) and "rpc" in step.frame and isinstance(call := step.frame.get("id"), str):
            pending.add((step.conn, call))
        if isinstance(step, Leave):
            pending = {call for call in pending if call[0] != step.conn}
        if not isinstance(step, Expect):
            continue
        about = slot(step.message)
        pending -= {(step.conn, step.reply.get("id"))}
        if about.startswith("an event") and len(pending) == 1:
            ((caller, call),) = pending
            order = [slot(message) for message in received.get(step.conn, ())]
            reply = f"the reply to {call!r}"
            position = [i for i, other in enumerate(order) if other == about][counted[step.conn, about] :][:1]
            if caller == step.conn and reply in order and position and position[0] > order.index(reply):
                faults.append(f"{step.conn}: {reply} came before an event of its own call: {step.message}")
        counted[step.conn, about] += 1
    return faults
