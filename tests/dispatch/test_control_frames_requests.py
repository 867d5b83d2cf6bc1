"""The server asks a client: request and reply."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Connection, Context, Limits, LiveError, LiveServer, PushFailed, live, public
from liverpc.testing import TestEnv, create_test_context
from tests.streams.raw_client import Raw


def make_server(**options: Any) -> LiveServer:
    @live
    async def ask(ctx: Context[Any], event: str) -> Any:
        return await ctx.connection.ask(event, {"n": 1})

    @live
    async def sleep(ctx: Context[Any], seconds: float) -> None:
        await asyncio.sleep(seconds)

    @live
    async def ask_and_sleep(ctx: Context[Any], seconds: float) -> None:
        await ctx.connection.ask("name")
        await asyncio.sleep(seconds)

    functions = {"ask": ask, "sleep": sleep, "ask_and_sleep": ask_and_sleep}
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())}, **options)


@pytest.fixture
def live_server() -> LiveServer:
    return make_server(limits=Limits(requests_in_flight=3))


def connection_of(env: TestEnv, raw: Raw) -> Connection:
    return next(connection for connection in env.server.connections if connection.id == raw.session)


async def asked(env: TestEnv, raw: Raw, **options: Any) -> tuple["asyncio.Task[Any]", Any]:
    """A request under way, and its ref."""
    task = asyncio.create_task(connection_of(env, raw).ask("confirm", {"item": 42}, **options))
    frame = await raw.recv()
    assert frame == {"type": "request", "ref": frame["ref"], "event": "confirm", "data": {"item": 42}}
    return task, frame["ref"]


@pytest.mark.parametrize(
    ("members", "value"), [({"data": {"ok": True}}, {"ok": True}), ({"data": None}, None), ({}, None)]
)
async def test_a_request_returns_what_the_client_answers(live_env: TestEnv, members: Any, value: Any) -> None:
    raw = await Raw.open(live_env)
    task, ref = await asked(live_env, raw)
    await raw.send(type="reply", ref=ref, **members)
    assert await task == value


async def test_a_handler_may_ask_its_own_caller(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/ask", id="1", args=["name"])
    await raw.send(type="reply", ref=(await raw.recv())["ref"], data="ann")
    assert (await raw.recv())["data"] == {"id": "1", "ok": True, "data": "ann"}


async def test_an_error_text_fails_the_request_with_that_text(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    task, ref = await asked(live_env, raw)
    await raw.send(type="reply", ref=ref, error="user closed the dialog", data=1)
    with pytest.raises(PushFailed, match="user closed the dialog"):
        await task


async def test_what_a_client_says_reaches_no_other_client(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/ask", id="1", args=["name"])
    await raw.send(type="reply", ref=(await raw.recv())["ref"], error="made up")
    assert (await raw.recv())["data"] == {
        "id": "1",
        "ok": False,
        "code": "INTERNAL_ERROR",
        "error": "Internal server error",
    }


async def test_no_answer_in_time_is_a_timeout_and_a_late_one_is_ignored(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    loop = asyncio.get_running_loop()
    began = loop.time()
    task, ref = await asked(live_env, raw)
    with pytest.raises(LiveError) as caught:
        await task
    assert caught.value.code == "TIMEOUT"
    assert loop.time() - began == pytest.approx(5)
    await raw.send(type="reply", ref=ref, data=1)
    task, ref = await asked(live_env, raw, timeout=1)
    with pytest.raises(LiveError, match="TIMEOUT"):
        await task
    assert loop.time() - began == pytest.approx(6)
    assert len(live_env.server._hub.requests) == 0


@pytest.mark.parametrize("ref", [0, 999, None, "1", [1], {"a": 1}, True, 1.5])
async def test_replies_to_unknown_refs_are_ignored(live_env: TestEnv, ref: Any) -> None:
    raw = await Raw.open(live_env)
    task, real = await asked(live_env, raw)
    await raw.send(type="reply", ref=ref, data="wrong")
    await live_env.settle()
    assert not task.done()
    await raw.send(type="reply", ref=real, data="right")
    await raw.send(type="reply", ref=real, data="twice")
    assert await task == "right"


async def test_139_a_reply_of_another_connection_is_ignored(live_env: TestEnv) -> None:
    # acceptance 139
    raw, other = await Raw.open(live_env), await Raw.open(live_env)
    task, ref = await asked(live_env, raw)
    theirs, their_ref = await asked(live_env, other)
    await other.send(type="reply", ref=ref, data="forged")
    await live_env.settle()
    assert not task.done()
    await raw.send(type="reply", ref=ref, data="real")
    await other.send(type="reply", ref=their_ref, data="theirs")
    assert [await task, await theirs] == ["real", "theirs"]


async def test_137_the_end_of_the_connection_fails_the_request_at_once(live_env: TestEnv) -> None:
    # acceptance 137
    raw = await Raw.open(live_env)
    connection = connection_of(live_env, raw)
    task, _ = await asked(live_env, raw)
    began = asyncio.get_running_loop().time()
    raw.socket.cut()
    with pytest.raises(PushFailed, match="gone"):
        await task
    with pytest.raises(PushFailed, match="gone"):
        await connection.ask("confirm")
    assert asyncio.get_running_loop().time() == began
    assert len(live_env.server._hub.requests) == 0


async def test_a_closing_connection_cannot_be_asked(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    connection = connection_of(live_env, raw)
    connection.close(4000)
    with pytest.raises(PushFailed):
        await connection.ask("confirm")


async def test_a_cancelled_request_leaves_nothing(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    task, ref = await asked(live_env, raw)
    task.cancel()
    await live_env.settle()
    assert task.cancelled()
    assert len(live_env.server._hub.requests) == 0
    await raw.send(type="reply", ref=ref, data=1)
    await live_env.settle()


async def test_a_client_has_at_most_so_many_requests_to_answer(live_env: TestEnv) -> None:
    raw, other = await Raw.open(live_env), await Raw.open(live_env)
    open_ones = [await asked(live_env, raw) for _ in range(3)]
    with pytest.raises(LiveError) as caught:
        await connection_of(live_env, raw).ask("confirm")
    assert caught.value.code == "OVERLOADED"
    assert live_env.counters.requests_refused == 1
    task, ref = await asked(live_env, other)
    await other.send(type="reply", ref=ref)
    await task
    for task, ref in open_ones:
        await raw.send(type="reply", ref=ref, data=ref)
        assert await task == ref
    task, ref = await asked(live_env, raw)
    await raw.send(type="reply", ref=ref)
    await task


async def test_handlers_that_ask_their_callers_do_not_keep_the_answers_from_being_read() -> None:
    limits = Limits(calls_in_flight=4, requests_in_flight=2)
    async with TestEnv(make_server(limits=limits)) as env:
        raw = await Raw.open(env)
        for number in range(6):
            await raw.send(rpc="demo/ask", id=str(number), args=["name"])
        got = 0
        while got < 6:
            frame = await raw.recv()
            if frame.get("type") == "request":
                await raw.send(type="reply", ref=frame["ref"])
            else:
                got += 1


@pytest.mark.parametrize("calls_in_flight", [1, 2, 4])
async def test_a_call_that_asks_its_own_client_leaves_its_place_to_others(calls_in_flight: int) -> None:
    async with TestEnv(make_server(limits=Limits(calls_in_flight=calls_in_flight, requests_in_flight=20))) as env:
        raw = await Raw.open(env)
        began = asyncio.get_running_loop().time()
        for number in range(10):
            await raw.send(rpc="demo/ask", id=str(number), args=["name"])
        refs = [(await raw.recv())["ref"] for _ in range(10)]
        for ref in refs:
            await raw.send(type="reply", ref=ref, data=ref)
        assert [(await raw.recv())["data"]["data"] for _ in refs] == refs
        assert asyncio.get_running_loop().time() == began


@pytest.mark.parametrize("calls_in_flight", [1, 2, 4])
async def test_calls_that_do_not_ask_are_limited_while_others_do(calls_in_flight: int) -> None:
    async with TestEnv(make_server(limits=Limits(calls_in_flight=calls_in_flight))) as env:
        raw = await Raw.open(env)
        calls = connection_of(env, raw).calls
        for number in range(2):
            await raw.send(rpc="demo/ask", id=str(number), args=["name"])
        refs = [(await raw.recv())["ref"] for _ in range(2)]
        for number in range(2, 20):
            await raw.send(rpc="demo/sleep", id=str(number), args=[0.1])
        await env.settle()
        assert len(calls.of) == 2 + calls_in_flight
        for _ in range(18):
            assert (await raw.recv())["data"]["ok"]
        for ref in refs:
            await raw.send(type="reply", ref=ref)
            assert (await raw.recv())["data"]["ok"]
        await env.settle()
        assert not calls.of


async def test_calls_that_were_answered_are_limited_again() -> None:
    async with TestEnv(make_server(limits=Limits(calls_in_flight=2))) as env:
        raw = await Raw.open(env)
        calls = connection_of(env, raw).calls
        for number in range(4):
            await raw.send(rpc="demo/ask_and_sleep", id=str(number), args=[1.0])
        for ref in [(await raw.recv())["ref"] for _ in range(4)]:
            await raw.send(type="reply", ref=ref)
        await env.settle()
        assert len(calls.of) == 4
        await raw.send(rpc="demo/sleep", id="last", args=[0.0])
        await env.settle()
        assert len(calls.of) == 4  # it is not read yet
        assert [(await raw.recv())["event"] for _ in range(5)] == ["0", "1", "2", "3", "last"]


async def test_data_without_json_form_is_the_askers_error(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    with pytest.raises(TypeError):
        await connection_of(live_env, raw).ask("confirm", object())
    await raw.silent()


async def test_a_context_without_client_cannot_ask() -> None:
    with pytest.raises(PushFailed):
        await create_test_context().connection.ask("confirm")
