"""Stream handles over scripted sockets, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from liverpc._types import remote
from liverpc.client import Client, RpcError, StreamHandle
from tests.client.client_kit import (
    MESSAGES,
    Pipe,
    Script,
    client_of,
    now,
    status_of,
    until,
)


class Row(msgspec.Struct):
    id: int


async def test_entering_a_stream_waits_for_its_first_value() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(remote("chat/messages", returns=list[Row]), "r1")
        assert (status_of(handle), handle.get(), handle.get(3), handle.error) == ("loading", None, 3, None)
        with pytest.raises(LookupError):
            _ = handle.value
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [{"id": 1}], topic="t")
        assert await opening is handle
        assert handle.value == handle.get(3) == [Row(1)]
        assert status_of(handle) == "connected"
        await handle.aclose()
        await until(lambda: pipe.sent)
        assert pipe.sent == [{"type": "unsubscribe", "topic": "t"}]
        assert handle.value == [Row(1)]
        with pytest.raises(RuntimeError, match="used before"):
            await handle.open()


async def test_a_refused_stream_raises_when_entered_and_leaves() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(MESSAGES)
        opening = asyncio.create_task(handle.__aenter__())
        pipe.answer(await pipe.request(), ok=False, code="FORBIDDEN", error="no")
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await opening
        assert status_of(handle) == "error"
        assert not client._connection.core.streams._requests


@pytest.mark.parametrize("how", ["cancel", "close", "timeout"])
async def test_an_unanswered_stream_can_be_given_up(how: str) -> None:
    script = Script()
    async with client_of(script) as client:
        handle = client.using(timeout=5.0).stream(MESSAGES)
        opening = asyncio.create_task(handle.open())
        await script.pipes[0].request()
        if how == "cancel":
            opening.cancel()
        elif how == "close":
            await handle.aclose()
        await asyncio.wait([opening])
        if how == "cancel":
            assert opening.cancelled()
        else:
            assert isinstance(opening.exception(), RpcError)
        assert now() == (5.0 if how == "timeout" else 0.0)
        assert not client._connection.core.streams._requests


async def open_stream(client: Client, pipe: Pipe, data: Any = ()) -> Any:
    handle = client.stream(MESSAGES)
    opening = asyncio.create_task(handle.open())
    pipe.answer(await pipe.request(), list(data), topic="t", merge="latest")
    return await opening


async def test_iterating_yields_the_current_value_and_each_new_one() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = await open_stream(client, pipe, [0])
        values = aiter(handle)
        assert await anext(values) == [0]
        pipe.event("said", 1)
        assert await anext(values) == [0, 1]
        waiting = asyncio.ensure_future(anext(values))
        await asyncio.sleep(1.0)
        assert not waiting.done()
        pipe.event("said", 2)
        assert await waiting == [0, 1, 2]


async def test_a_slow_consumer_gets_the_newest_value() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = await open_stream(client, pipe)
        values = aiter(handle)
        assert await anext(values) == []
        for n in range(40):
            pipe.event("said", n)
        await asyncio.sleep(1.0)
        assert await anext(values) == list(range(40))
        assert len(handle._waiters) == 0


@pytest.mark.parametrize("who", ["handle", "client", "server"])
async def test_iterating_ends_with_the_handle_and_the_client(who: str) -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = await open_stream(client, pipe, [1])

        async def collect() -> list[Any]:
            return [value async for value in handle]

        collecting = asyncio.create_task(collect())
        waiting = asyncio.create_task(handle.wait_for(lambda rows: False))
        await asyncio.sleep(1.0)
        if who == "handle":
            await handle.aclose()
        elif who == "client":
            await client.aclose()
        else:
            pipe.lose(4401)
        assert await collecting == [[1]]
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await waiting
        assert handle.value == [1]


async def test_a_stream_survives_a_reconnect() -> None:
    script = Script()
    async with client_of(script) as client:
        handle = await open_stream(client, script.pipes[0], [1])
        script.pipes[0].lose()
        await until(lambda: status_of(handle) == "reconnecting")
        assert handle.value == [1]
        await asyncio.sleep(3.5)
        pipe = script.pipes[1]
        pipe.answer(await pipe.request(), [1, 2], topic="t", merge="latest")
        assert await handle.wait_for(lambda rows: len(rows) == 2) == [1, 2]
        assert status_of(handle) == "connected"


async def test_waiting_for_a_value_ends_with_the_first_that_fits() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = await open_stream(client, pipe)
        waiting = asyncio.create_task(handle.wait_for(lambda rows: len(rows) >= 2))
        for n in range(3):
            pipe.event("said", n)
            await asyncio.sleep(1.0)
        assert await waiting == [0, 1]


async def test_waiting_in_vain_tells_the_last_value_and_status() -> None:
    script = Script()
    async with client_of(script) as client:
        handle = await open_stream(client, script.pipes[0], [1, 2])
        with pytest.raises(TimeoutError, match=r"within 2 s; the last value was \[1, 2\], the status is 'conn"):
            await handle.wait_for(lambda rows: False, timeout=2.0)
        assert now() == 2.0
        with pytest.raises(TimeoutError, match="there was no value, the status is 'loading'"):
            await client.stream(MESSAGES).wait_for(lambda rows: True)
        assert now() == 7.0


async def test_an_error_of_the_predicate_is_its_own() -> None:
    def predicate(_: Any) -> bool:
        raise TimeoutError("mine")

    script = Script()
    async with client_of(script) as client:
        handle = await open_stream(client, script.pipes[0])
        with pytest.raises(TimeoutError, match=r"^mine$"):
            await handle.wait_for(predicate)


# -- what handles share


async def test_two_handles_of_a_stream_share_its_value() -> None:  # acceptance 204
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        first = await open_stream(client, pipe, [1])
        second = await client.stream(MESSAGES).open()  # at once: the value is here
        pipe.event("said", 2)
        assert await second.wait_for(lambda rows: len(rows) == 2) == first.value == [1, 2]
        await first.aclose()
        pipe.event("said", 3)
        await second.wait_for(lambda rows: len(rows) == 3)
        assert first.value == [1, 2]
        assert pipe.sent == []
        await second.aclose()
        await until(lambda: pipe.sent)
        assert pipe.sent == [{"type": "unsubscribe", "topic": "t"}]


async def test_who_comes_back_shows_the_old_value_and_opens_with_the_new_one() -> None:  # acceptance 219
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await (await open_stream(client, pipe, [1])).aclose()
        await asyncio.sleep(59.0)
        handle = client.stream(MESSAGES)
        opening = asyncio.create_task(handle.open())
        name = await pipe.request()
        assert (handle.value, status_of(handle)) == ([1], "loading")
        pipe.answer(name, [1, 2], topic="t", merge="latest")
        assert (await opening).value == [1, 2]
        await handle.aclose()
        await asyncio.sleep(60.5)
        assert client._connection.core.streams._kept == {}


async def test_leaving_and_coming_back_in_one_turn_sends_nothing() -> None:  # acceptance 203
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await (await open_stream(client, pipe, [1])).aclose()
        again = await client.stream(MESSAGES).open()
        await asyncio.sleep(1.0)
        assert (pipe.sent, again.value) == ([], [1])


async def test_further_pages_are_loaded_when_asked_for() -> None:  # acceptance 215
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(remote("chat/messages", returns=list[Row]))
        with pytest.raises(RuntimeError, match="is not open: use it in its `async with` block"):
            await handle.load_more()
        with pytest.raises(LookupError, match="open it with `async with`"):
            _ = handle.value
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [{"id": 1}], topic="t", hasMore=True, cursor=1)
        await opening
        assert handle.has_more
        loading = asyncio.create_task(handle.load_more())
        name = await pipe.request()
        assert not await handle.load_more()
        loading.cancel()
        pipe.answer(name, [{"id": 2}], hasMore=True, cursor=2)
        assert await handle.wait_for(lambda rows: len(rows) == 2) == [Row(1), Row(2)]
        loading = asyncio.create_task(handle.load_more())
        pipe.answer(await pipe.request(), ok=False, code="NO", error="no")
        with pytest.raises(RpcError, match="NO: no"):
            await loading
        loading = asyncio.create_task(handle.load_more())
        pipe.answer(await pipe.request(), [{"id": 3}], hasMore=False)
        assert not await loading
        assert handle.value == [Row(1), Row(2), Row(3)]


async def test_a_closed_handle_has_no_further_pages() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(MESSAGES)
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [1], topic="t", hasMore=True, cursor=1)
        await opening
        await handle.aclose()
        assert (handle.value, handle.has_more) == ([1], False)
        with pytest.raises(RuntimeError, match="not open"):
            await handle.load_more()


async def test_asking_for_pages_in_a_loop_stops_nothing_and_ends_with_the_client() -> None:
    async def all_pages(handle: StreamHandle[list[Row]]) -> None:
        while handle.has_more:
            await handle.load_more()

    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(remote("chat/messages", returns=list[Row]))
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [{"id": 1}], topic="t", hasMore=True, cursor=1)
        await opening
        tasks = [asyncio.create_task(all_pages(handle)) for _ in range(2)]
        pipe.answer(await pipe.request(), [{"id": 2}], hasMore=True, cursor=2)
        await handle.wait_for(lambda rows: len(rows) == 2)
        await pipe.request()
        await client.aclose()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(end, "code", end) for end in ends] == ["CONNECTION_CLOSED"] * 2


async def test_a_given_value_shows_before_the_handle_opens() -> None:  # acceptance 216
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(remote("chat/messages", returns=list[Row]))
        handle.hydrate([Row(7)])
        assert handle.value == handle.get() == [Row(7)]
        opening = asyncio.create_task(handle.open())
        name = await pipe.request()
        assert (handle.value, status_of(handle)) == ([Row(7)], "loading")
        pipe.answer(name, [{"id": 1}], topic="t")
        assert (await opening).value == [Row(1)]


async def test_a_schema_version_makes_a_handle_of_its_own() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        newest = await open_stream(client, pipe, [2])
        older = newest.subscribe_at(1)
        opening = asyncio.create_task(older.open())
        await until(lambda: pipe.sent)
        assert pipe.sent[0]["schemaVersion"] == 1
        pipe.answer(await pipe.request(), [1], topic="t", merge="latest", schemaVersion=2)
        assert ((await opening).value, newest.value) == ([1], [2])


async def test_a_failed_resync_is_repeated_by_itself() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        handle = client.stream(MESSAGES)
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [1], topic="t", merge="latest", seq=1, epoch="e")
        await opening
        pipe.say(topic="t", event="said", data=3, seq=3)
        pipe.answer(await pipe.request(), ok=False, code="OVERLOADED", error="later")
        await until(lambda: status_of(handle) == "error")
        pipe.answer(await pipe.request(), [1, 2, 3], topic="t", merge="latest", seq=3, epoch="e")
        assert await handle.wait_for(lambda rows: len(rows) == 3) == [1, 2, 3]
        assert (status_of(handle), now(), client.counters.resyncs) == ("connected", 3.0, 2)
