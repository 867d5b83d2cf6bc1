"""Whatever clients send and functions do, in any order: each upload has one end, and it is the one it should have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverpc import Limits, LiveError, LiveServer, UploadContext, live, public
from tests.attack.attack_kit import running, what_is_left
from tests.uploads.upload_kit import Sender, turns

PER_CONNECTION = 2
MAX_SIZE = 20
CONCURRENT = 3
GONE = -1  # a client
LIMITS = Limits(uploads_per_connection=PER_CONNECTION, upload_buffer_bytes=1000, uploads_buffer_bytes=2000)


def collecting(seen: dict[str, list[bytes]]) -> SimpleNamespace:
    @live.upload(max_size=MAX_SIZE, max_concurrent=CONCURRENT)
    async def take(ctx: UploadContext[Any], key: str, most: int | None) -> int:
        """Read everything, or so many chunks."""
        mine = seen.setdefault(key, [])
        while most is None or len(mine) < most:
            try:
                mine.append(await anext(ctx.upload))
            except StopAsyncIteration:
                break
        return len(b"".join(mine))

    @live.upload(max_size=MAX_SIZE, max_concurrent=CONCURRENT)
    async def fail(ctx: UploadContext[Any], key: str, most: int | None) -> int:
        await take.handler(ctx, key, most)
        raise LiveError("NO", "as always")

    return SimpleNamespace(take=take, fail=fail, _guard=public())


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LiveServer, asyncio.Runner, dict[str, list[bytes]]]]:
    logging.getLogger("liverpc").setLevel(logging.CRITICAL)
    seen: dict[str, list[bytes]] = {}
    server = LiveServer({"m": collecting(seen)}, limits=LIMITS)
    with running(server) as runner:
        yield server, runner, seen
    logging.getLogger("liverpc").setLevel(logging.NOTSET)


# -- what happens


@dataclass(frozen=True)
class Begin:
    client: int
    stream: int
    path: str
    most: int | None  # chunks the function reads
    size: int | None
    data: bytes
    last: bool


@dataclass(frozen=True)
class More:
    client: int
    stream: int
    skip: int  # chunks left out, or sent again
    data: bytes
    last: bool


@dataclass(frozen=True)
class GiveUp:
    client: int
    stream: int


@dataclass(frozen=True)
class Cut:
    client: int


@dataclass(frozen=True)
class Pause:
    """Everybody does what can be done."""


Step = Begin | More | GiveUp | Cut | Pause
clients = st.integers(0, 1)
streams = st.integers(1, 3)
data = st.binary(max_size=9)
steps = st.lists(
    st.one_of(
        st.builds(
            Begin,
            clients,
            streams,
            st.sampled_from(["m/take", "m/take", "m/fail", "m/none", "m"]),
            st.sampled_from([None, None, 0, 1, 2]),
            st.sampled_from([None, None, None, 0, MAX_SIZE, MAX_SIZE + 1]),
            data,
            st.sampled_from([False, False, True]),
        ),
        st.builds(
            More, clients, streams, st.sampled_from([0] * 8 + [1, -1]), data, st.sampled_from([False, False, True])
        ),
        st.builds(More, clients, streams, st.just(0), data, st.booleans()),
        st.builds(GiveUp, clients, streams),
        st.builds(Cut, clients),
        st.builds(Pause),
        st.builds(Pause),
    ),
    max_size=25,
)


# -- what must come of it


@dataclass
class Expected:
    """An upload that runs, as the model sees it."""

    key: str
    path: str
    most: int | None
    chunks: list[bytes] = field(default_factory=list)  # not empty ones
    next: int = 0
    size: int = 0
    last: bool = False

    @property
    def done(self) -> bool:
        """Its function can return."""
        return self.last or (self.most is not None and len(self.chunks) >= self.most)

    @property
    def result(self) -> Any:
        return "NO" if self.path == "m/fail" else len(b"".join(self.chunks[: self.most]))


class Model:
    """The server of which docs/protocol.md speaks. Functions run in pauses only."""

    def __init__(self) -> None:
        self.running: dict[tuple[int, int], Expected] = {}
        self.lingering: list[tuple[int, str]] = []  # client and path of those that ended early, until the next pause
        self.outcomes: list[list[tuple[int, Any]]] = [[], []]
        self.seen: dict[str, list[bytes]] = {}  # of those that ended well: what the function must have got
        self.started = 0

    def begin(self, step: Begin, key: str) -> None:
        at = (step.client, step.stream)
        mine = [each for each in self.running if each[0] == step.client]
        lingering = [client for client, _ in self.lingering]
        to_path = [each.path for each in self.running.values()] + [path for _, path in self.lingering]
        code: str | None = None
        if at in self.running or step.path == "m":
            code = "INVALID_REQUEST"
        elif step.path == "m/none":
            code = "NOT_FOUND"
        elif max(len(mine), lingering.count(step.client)) >= PER_CONNECTION or to_path.count(step.path) >= CONCURRENT:
            code = "TOO_MANY_UPLOADS"
        elif (step.size or 0) > MAX_SIZE or len(step.data) > MAX_SIZE:
            code = "PAYLOAD_TOO_LARGE"
        if code is not None:
            self.outcomes[step.client].append((step.stream, code))
            return
        self.started += 1
        self.running[at] = Expected(key, step.path, step.most)
        self.chunk(at, 0, step.data, step.last)

    def chunk(self, at: tuple[int, int], number: int, data: bytes, last: bool) -> None:
        upload = self.running[at]
        if number != upload.next or upload.last:
            self.end(at, "INVALID_REQUEST")
        elif upload.size + len(data) > MAX_SIZE:
            self.end(at, "PAYLOAD_TOO_LARGE")
        else:
            upload.next += 1
            upload.size += len(data)
            upload.last = last
            upload.chunks += [data] if data else []

    def end(self, at: tuple[int, int], code: str) -> None:
        upload = self.running.pop(at)
        self.lingering.append((at[0], upload.path))
        if code != "DISCONNECTED":
            self.outcomes[at[0]].append((at[1], code))

    def cut(self, client: int) -> None:
        for at in [each for each in self.running if each[0] == client]:
            self.end(at, "DISCONNECTED")
        # Who comes back has another connection.
        self.lingering = [(GONE if who == client else who, path) for who, path in self.lingering]

    def pause(self) -> None:
        self.lingering.clear()
        for at, upload in list(self.running.items()):
            if upload.done:
                del self.running[at]
                self.outcomes[at[0]].append((at[1], upload.result))
                self.seen[upload.key] = upload.chunks[: upload.most]


class Play:
    """A script, acted out by the server and by the model."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.model = Model()
        self.senders = [Sender(server), Sender(server)]
        self.numbers: dict[tuple[int, int], int] = {}  # of the next chunk, as the client counts

    async def act(self, step: Step, number: int) -> None:
        model = self.model
        match step:
            case Begin(client, stream):
                at, key = (client, stream), f"{number}"
                fresh = at not in model.running
                self.senders[client].begin(
                    stream, step.path, key, step.most, data=step.data, last=step.last, size=step.size
                )
                model.begin(step, key)
                if fresh:
                    self.numbers[at] = 1
            case More(client, stream, skip, data, last):
                at = (client, stream)
                number = self.numbers.get(at, 1) + skip
                if number < 1:
                    return
                self.senders[client].more(stream, number, data, last=last)
                self.numbers[at] = number + 1
                if at in model.running:
                    model.chunk(at, number, data, last)
            case GiveUp(client, stream):
                self.senders[client].give_up(stream)
                if (client, stream) in model.running:
                    model.end((client, stream), "CANCELLED")
            case Cut(client):
                self.check(client)
                self.senders[client].leave()
                model.cut(client)
                self.senders[client] = Sender(self.server)
                model.outcomes[client] = []
            case Pause():
                await turns(40)
                model.pause()
        uploads = self.server.uploads
        assert len(uploads.running) <= len(model.running) + len(model.lingering)
        assert uploads.buffered == sum(upload.buffer.buffered for upload in uploads.running)
        for client, sender in enumerate(self.senders):  # what a shutdown would wait for
            arrived = [at for at, upload in model.running.items() if at[0] == client and upload.last]
            assert sender.session.running == len(arrived)

    def check(self, client: int) -> None:
        sender = self.senders[client]
        assert sorted(sender.outcomes, key=str) == sorted(self.model.outcomes[client], key=str)
        caps = [answer.get("__cap") for _, answer in sender.answers]
        assert caps == [LIMITS.message_bytes, *[None] * (len(caps) - 1)][: len(caps)]


@pytest.mark.timeout(300)
@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=steps)
def test_every_upload_ends_once_as_it_should(
    world: tuple[LiveServer, asyncio.Runner, dict[str, list[bytes]]], script: list[Step]
) -> None:
    server, runner, seen = world
    seen.clear()
    started = server.counters.uploads_started

    async def play() -> None:
        act = Play(server)
        for number, step in enumerate(script):
            await act.act(step, number)
        await act.act(Pause(), -1)
        for client in (0, 1):
            act.check(client)
        assert len(server.uploads.running) == len(act.model.running)
        for sender in act.senders:
            sender.leave()
        await asyncio.sleep(30)
        assert server.counters.uploads_started - started == act.model.started
        for key, chunks in act.model.seen.items():
            assert seen.get(key, []) == chunks

    runner.run(play())
    assert server.uploads.running == []
    assert server.uploads.buffered == 0
    assert not what_is_left(server)
