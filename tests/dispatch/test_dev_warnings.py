"""What development mode warns of. acceptance 238"""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, LiveServer, live, public, remote
from liverpc.config import DevWarnings
from liverpc.dispatch import devwarnings
from liverpc.testing import TestEnv


class Row(msgspec.Struct):
    reqId: int


def make_server(*, dev: bool = True, warnings: DevWarnings | None = None, initial: Any = ()) -> LiveServer:
    @live.stream("rows:{name}", merge="latest")
    async def rows(ctx: Context[Any], name: str) -> list[Any]:
        return list(initial)

    @live
    def blob(ctx: Context[Any], size: int) -> str:
        return "x" * size

    module = SimpleNamespace(rows=rows, blob=blob, _guard=public())
    return LiveServer({"demo": module}, dev=dev, warnings=warnings)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "liverpc.dev"]


ROWS = remote("demo/rows")


async def test_a_topic_that_stays_silent_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server()) as env:
        client = env.connect()
        await client.subscribe(ROWS, "a")
        await asyncio.sleep(29.9)
        assert warned(caplog) == []
        await asyncio.sleep(0.2)
        [text] = warned(caplog)
        assert "'rows:a'" in text
        assert "30 s" in text
        await env.connect().subscribe(ROWS, "a")
        await asyncio.sleep(100)
        assert len(warned(caplog)) == 1


@pytest.mark.parametrize("end", ["event", "unsubscribe", "close"])
async def test_an_event_or_the_last_unsubscribe_disarms_it(caplog: pytest.LogCaptureFixture, end: str) -> None:
    async with TestEnv(make_server()) as env:
        client = env.connect()
        handle = await client.subscribe(ROWS, "a")
        await asyncio.sleep(20)
        if end == "event":
            env.server.publish_nowait("rows:a", "x", 1)
        elif end == "unsubscribe":
            await handle.aclose()
        else:
            await client.aclose()
        await asyncio.sleep(5)
        if end == "event":
            await env.connect().subscribe(ROWS, "a")  # a later subscriber does not count anew
        await asyncio.sleep(100)
    assert warned(caplog) == []


async def test_a_topic_published_on_too_often_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(warnings=DevWarnings(publish_rate=10))) as env:
        for name, count in (("at", 50), ("above", 51)):
            await env.connect().subscribe(ROWS, name)
            for _ in range(2):
                for number in range(count):
                    env.server.publish_nowait(f"rows:{name}", "x", number)
                await asyncio.sleep(5.1)
        [text] = warned(caplog)
        assert "'rows:above'" in text


@pytest.mark.parametrize("option", [{"volatile": True}, {"coalesce_by": lambda row: row["key"]}])
async def test_volatile_and_coalesced_topics_may_be_published_on_often(
    caplog: pytest.LogCaptureFixture, option: dict[str, Any]
) -> None:
    @live.stream("cursors", merge="cursor", **option)
    async def cursors(ctx: Context[Any]) -> list[Any]:
        return []

    module = SimpleNamespace(cursors=cursors, _guard=public())
    async with TestEnv(LiveServer({"demo": module}, dev=True, warnings=DevWarnings(publish_rate=1))) as env:
        await env.connect().subscribe(remote("demo/cursors"))
        for number in range(100):
            env.server.publish_nowait("cursors", "update", {"key": 1, "n": number})
        await asyncio.sleep(6)
    assert warned(caplog) == []


async def test_what_the_library_publishes_itself_is_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    @live.room("board", path="demo/board")
    def board(ctx: Context[Any]) -> list[Any]:
        return []

    @board.presence
    def who(ctx: Context[Any]) -> dict[str, Any]:
        return {"name": ctx.user["id"]}

    server = LiveServer(
        {"demo": SimpleNamespace(board=board, who=who, _guard=public())}, dev=True, warnings=DevWarnings(publish_rate=1)
    )
    async with TestEnv(server) as env:
        watcher = env.connect(user={"id": "watcher"})
        await watcher.subscribe(who)
        for number in range(20):
            await env.connect(user={"id": f"user {number}"}).subscribe(board)
        for number in range(20):
            env.server._hub.publish("__reserved", "x", number, internal=True)
        assert env.counters.published >= 40
        await asyncio.sleep(6)
    assert warned(caplog) == []


async def test_a_rate_is_quiet_when_it_is_told_to_be(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(warnings=DevWarnings(publish_rate=1, quiet=("rows:*",)))) as env:
        await env.connect().subscribe(ROWS, "a")
        for number in range(100):
            env.server.publish_nowait("rows:a", "x", number)
        await asyncio.sleep(6)
    assert warned(caplog) == []


async def test_what_nobody_listens_to_is_no_rate(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(warnings=DevWarnings(publish_rate=1))) as env:
        for number in range(100):
            env.server.publish_nowait("rows:a", "x", number)
        await asyncio.sleep(6)
    assert warned(caplog) == []


async def test_a_large_result_is_reported_once_per_path(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(warnings=DevWarnings(reply_bytes=1000))) as env:
        client = env.connect()
        await client.call(remote("demo/blob"), 998)  # and two quotes
        assert warned(caplog) == []
        await client.call(remote("demo/blob"), 999)
        await client.call(remote("demo/blob"), 2000)
    [text] = warned(caplog)
    assert "demo/blob answered with 1001 bytes" in text


@pytest.mark.parametrize("row", [{"reqId": 1}, Row(1)])
@pytest.mark.parametrize("loaded", [False, True])
async def test_a_field_that_browsers_swallow_is_reported_once(
    caplog: pytest.LogCaptureFixture, row: Any, loaded: bool
) -> None:
    async with TestEnv(make_server(initial=[row] if loaded else ())) as env:
        await env.connect().subscribe(ROWS, "a")
        for _ in range(2):
            env.server.publish_nowait("rows:a", "x", 1 if loaded else row)
        await env.settle()
    [text] = warned(caplog)
    assert "'reqId'" in text


async def test_what_is_quiet_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(warnings=DevWarnings(quiet=("rows:*", "demo/*"), reply_bytes=1))) as env:
        client = env.connect()
        await client.subscribe(ROWS, "a")
        await client.call(remote("demo/blob"), 100)
        await asyncio.sleep(100)
    assert warned(caplog) == []


async def test_production_warns_of_nothing_and_listens_to_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(make_server(dev=False)) as env:
        await env.connect().subscribe(ROWS, "a")
        telemetry = env.server.telemetry
        assert not (telemetry.published or telemetry.subscribed or telemetry.call_finished or telemetry.unsubscribed)
        await asyncio.sleep(100)
    assert warned(caplog) == []


async def test_a_stopped_server_has_no_timer_and_no_listener(caplog: pytest.LogCaptureFixture) -> None:
    loop: Any = asyncio.get_running_loop()
    server = make_server()
    async with TestEnv(server) as env:
        await env.connect().subscribe(ROWS, "a")
        env.server.publish_nowait("rows:a", "x", 1)
        await env.connect().subscribe(ROWS, "b")
    telemetry = server.telemetry
    assert not (telemetry.published or telemetry.subscribed or telemetry.call_finished or telemetry.unsubscribed)
    assert [timer for timer in loop._scheduled if not timer.cancelled() and "DevWarner" in repr(timer)] == []


async def test_what_was_said_is_remembered_up_to_a_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devwarnings, "_MAX_REMEMBERED", 3)
    caplog.set_level(logging.WARNING)
    async with TestEnv(make_server()) as env:
        for number in range(5):
            await env.connect().subscribe(ROWS, str(number))
        await asyncio.sleep(31)
        assert len(warned(caplog)) == 3
        await env.connect().subscribe(ROWS, "later")
        await asyncio.sleep(31)
        assert len(warned(caplog)) == 3


def keyed_server(result: Any = ()) -> LiveServer:
    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> Any:
        return result

    @live.stream("people", merge="presence")
    async def people(ctx: Context[Any]) -> Any:
        return []

    return LiveServer({"demo": SimpleNamespace(rows=rows, people=people, _guard=public())}, dev=True)


@pytest.mark.parametrize(
    ("path", "topic", "event", "text"),
    [
        ("rows", "rows", "create", "under merge='crud' clients know created, deleted, refreshed, updated"),
        ("people", "people", "created", "under merge='presence' clients know join, leave, refreshed, set"),
    ],
)
async def test_an_event_that_changes_nothing_is_reported_once(
    caplog: pytest.LogCaptureFixture, path: str, topic: str, event: str, text: str
) -> None:
    async with TestEnv(keyed_server([])) as env:
        await env.connect().subscribe(remote(f"demo/{path}"))
        for _ in range(2):
            env.server.publish_nowait(topic, event, {"id": 1, "key": 1})
        [told] = warned(caplog)
        assert text in told


@pytest.mark.parametrize(("event", "data"), [("created", {"uid": 1}), ("deleted", 5), ("refreshed", [{"uid": 1}])])
async def test_a_row_without_its_key_is_reported_once(caplog: pytest.LogCaptureFixture, event: str, data: Any) -> None:
    async with TestEnv(keyed_server([])) as env:
        await env.connect().subscribe(remote("demo/rows"))
        for _ in range(2):
            env.server.publish_nowait("rows", event, data)
        [told] = warned(caplog)
        assert "has no field 'id'" in told


async def test_what_is_right_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(keyed_server([])) as env:
        await env.connect().subscribe(remote("demo/rows"))
        for event, data in (
            ("created", {"id": 1}),
            ("refreshed", []),
            ("refreshed", [{"id": 1}]),
            ("deleted", {"id": 1}),
        ):
            env.server.publish_nowait("rows", event, data)
    assert warned(caplog) == []


async def test_a_list_stream_whose_loader_gives_no_list_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with TestEnv(keyed_server({"id": 1})) as env:
        await env.connect().subscribe(remote("demo/rows"))
        [told] = warned(caplog)
        assert "demo/rows gave a dict, which clients take for an empty list" in told


async def test_silence_of_presence_and_cursors_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    @live.room("board", cursors=True, path="demo/board")
    def board(ctx: Context[Any]) -> list[Any]:
        return []

    @board.presence
    def who(ctx: Context[Any]) -> None: ...

    server = LiveServer({"demo": SimpleNamespace(board=board, who=who, _guard=public())}, dev=True)
    async with TestEnv(server) as env:
        client = env.connect()
        await client.subscribe(who)
        await client.subscribe(board.cursors)
        await asyncio.sleep(100)
        assert warned(caplog) == []
        await client.subscribe(board)
        await asyncio.sleep(100)
        assert len(warned(caplog)) == 1
