"""However fast clients send and however slowly functions read: bytes are bounded, and everybody gets on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverpc import Context, Limits, LiveServer, UploadContext, live, public
from tests.attack.attack_kit import running, what_is_left
from tests.uploads.upload_kit import Sender

ROOM, ALL, LARGEST = 20, 45, 15
LIMITS = Limits(upload_buffer_bytes=ROOM, uploads_buffer_bytes=ALL)


@live
def echo(ctx: Context[Any]) -> None: ...


@live.upload()
async def read(ctx: UploadContext[Any], first: float, pause: float) -> int:
    await asyncio.sleep(first)
    total = 0
    async for chunk in ctx.upload:
        total += len(chunk)
        await asyncio.sleep(pause)
    return total


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LiveServer, asyncio.Runner]]:
    logging.getLogger("liverpc").setLevel(logging.CRITICAL)
    server = LiveServer({"m": SimpleNamespace(read=read, echo=echo, _guard=public())}, limits=LIMITS)
    with running(server) as runner:
        yield server, runner
    logging.getLogger("liverpc").setLevel(logging.NOTSET)


seconds = st.sampled_from([0.0, 0.1, 1.0, 4.0, 9.0, 11.0])
uploads = st.tuples(
    st.integers(0, 2),  # whose
    seconds,  # until its function reads
    st.sampled_from([0.0, 0.0, 0.1, 1.0, 11.0]),  # between two chunks
    st.lists(st.binary(max_size=LARGEST), min_size=1, max_size=8),
)


def bounded(server: LiveServer) -> None:
    assert 0 <= server.uploads.buffered <= ALL + LARGEST * len(server.uploads.running)
    for upload in server.uploads.running:
        assert upload.buffer.buffered <= ROOM + LARGEST


async def send(server: LiveServer, sender: Sender, stream: int, upload: Any) -> None:
    _, first, pause, chunks = upload
    for number, data in enumerate(chunks):
        last = number == len(chunks) - 1
        if number:
            sender.more(stream, number, data, last=last)
        else:
            sender.begin(stream, "m/read", first, pause, data=data, last=last)
        bounded(server)
        await asyncio.sleep(0)


@pytest.mark.timeout(300)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(uploads, min_size=1, max_size=8))
def test_bytes_are_bounded_and_everybody_gets_on(world: tuple[LiveServer, asyncio.Runner], plan: list[Any]) -> None:
    server, runner = world

    async def play() -> None:
        senders = [Sender(server) for _ in range(3)]
        sending = [send(server, senders[upload[0]], stream, upload) for stream, upload in enumerate(plan, 1)]
        await asyncio.gather(*sending)
        for sender in senders:
            sender.say(rpc="m/echo", id="behind")
        for _ in range(40):
            await asyncio.sleep(5)
            bounded(server)
        assert server.uploads.running == []
        assert server.uploads.buffered == 0
        alone = all(first + pause * len(chunks) < 9 for _, first, pause, chunks in plan)
        for number, sender in enumerate(senders):
            assert not sender.held
            assert sender.replies == [("behind", None)]
            mine = {stream: len(b"".join(each[3])) for stream, each in enumerate(plan, 1) if each[0] == number}
            assert sorted(stream for stream, _ in sender.outcomes) == list(mine)
            refusals = {"OVERLOADED", "TOO_MANY_UPLOADS"} | (set() if alone else {"FLOW_BACKPRESSURE"})
            for stream, outcome in sender.outcomes:
                assert outcome == mine[stream] or outcome in refusals
            sender.leave()
        await asyncio.sleep(30)

    runner.run(play())
    assert not what_is_left(server)
