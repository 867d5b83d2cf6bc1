"""What is told and counted of uploads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveError, UploadContext, live
from liverpc.telemetry import CallFinished
from tests.uploads.upload_kit import Sender, World, serving, turns


@live.upload(max_size=10)
async def work(ctx: UploadContext[Any], name: str = "") -> int:
    await asyncio.sleep(1)
    if name == "fail":
        raise LiveError("NO", "as always")
    return len([chunk async for chunk in ctx.upload])


async def told(world: World) -> list[CallFinished]:
    finished: list[CallFinished] = []
    world.server.telemetry.call_finished.append(finished.append)
    return finished


async def test_an_upload_that_is_answered_is_told_once() -> None:
    async with serving(work=work) as world:
        finished = await told(world)
        sender = world.connect()
        sender.begin(0xAB, "m/work", "ann", data=b"abc")
        sender.more(0xAB, 1, b"de", last=True)
        await asyncio.sleep(2)
        [event] = finished
        assert (event.path, event.kind, event.call, event.received) == ("m/work", "upload", "000000ab", 5)
        assert (event.code, event.result, event.seconds) == (None, 2, 1)
        assert (event.parameters, event.args) == (("name",), b'["ann"]')
        assert event.connection == sender.connection.id


def finish(sender: Sender) -> None:
    sender.more(1, 1, b"x", last=True)


def give_up(sender: Sender) -> None:
    sender.give_up(1)


def leave(sender: Sender) -> None:
    sender.leave()


def skip(sender: Sender) -> None:
    sender.more(1, 2)


def exceed(sender: Sender) -> None:
    sender.more(1, 1, bytes(10))


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (finish, "NO"),
        (give_up, "CANCELLED"),
        (leave, "DISCONNECTED"),
        (skip, "INVALID_REQUEST"),
        (exceed, "PAYLOAD_TOO_LARGE"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_one_that_fails_is_told_once_with_its_code(end: Any, code: str, begun: bool) -> None:
    async with serving(work=work) as world:
        finished = await told(world)
        sender = world.connect()
        sender.begin(1, "m/work", "fail", data=b"abc")
        if begun:
            await turns()
        end(sender)
        await asyncio.sleep(30)
        [event] = finished
        assert (event.path, event.kind, event.call, event.code) == ("m/work", "upload", "00000001", code)
        assert 3 <= event.received <= 4
        assert world.count("uploads_started") == 1
        assert world.count("uploads_aborted") == (code != "NO")
        assert world.count("uploads_refused") == 0
        assert world.count("calls") == world.count("call_errors") == 1


async def test_refused_uploads_are_told_too() -> None:
    async with serving(work=work, limits={"uploads_per_connection": 1}) as world:
        finished = await told(world)
        sender = world.connect()
        sender.begin(1, "m/none", data=b"abc")
        sender.begin(2, "m/echo")
        sender.begin(3, "m/work", size=11)
        sender.begin(4, "m/work")
        sender.begin(5, "m/work")
        assert [(event.path, event.call, event.code) for event in finished] == [
            ("__unknown__", "00000001", "NOT_FOUND"),
            ("__invalid__", "00000002", "INVALID_REQUEST"),
            ("m/work", "00000003", "PAYLOAD_TOO_LARGE"),
            ("m/work", "00000005", "TOO_MANY_UPLOADS"),
        ]
        assert {event.kind for event in finished[2:]} == {"upload"}
        assert world.count("uploads_started") == world.count("uploads_refused") == 1
        sender.more(4, 1, last=True)
        await asyncio.sleep(2)
        assert len(finished) == 5


async def test_bytes_are_counted_as_they_come() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.begin(1, data=b"abc")
        sender.more(1, 1, b"de")
        assert world.count("upload_bytes") == 5
        sender.give_up(1)
        sender.more(1, 2, b"late")
        sender.binary("m/none", b"no upload")
        assert world.count("upload_bytes") == 5


async def test_running_uploads_can_be_looked_at() -> None:
    async with serving(work=work) as world:
        sender = world.connect()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        sender.begin(7, "m/work", size=9, data=b"abc")
        [upload] = world.server.uploads.running
        assert (upload.id, upload.path, upload.size, upload.state) == ("00000007", "m/work", 9, "waiting")
        assert upload.connection is sender.connection
        assert upload.started_at == begin
        await turns()
        assert upload.state == "receiving"
        assert (upload.buffer.received, upload.buffer.buffered, upload.buffer.taken) == (3, 3, 0)
        assert world.server.uploads.buffered == 3
        sender.more(7, 1, b"d", last=True)
        assert (upload.state, upload.buffer.complete) == ("complete", True)
        await asyncio.sleep(2)
        assert (upload.buffer.received, upload.buffer.taken) == (4, 4)
        world.is_idle()


async def test_a_call_that_ends_an_upload_is_none_that_runs() -> None:
    """What a connection still has to answer at a shutdown are calls and uploads that have arrived."""

    @live
    async def wait(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)

    async with serving(work=work, wait=wait) as world:
        sender = world.connect()
        sender.begin(1, "m/work")
        sender.say(rpc="m/wait", id="1")
        assert sender.session.running == 1
        sender.more(1, 1, last=True)
        assert sender.session.running == 2
        await asyncio.sleep(2)
        assert sender.session.running == 0
