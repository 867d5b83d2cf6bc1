"""What a handler can do with ``ctx`` in a running server. Numbers in names are acceptance cases."""

import asyncio
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, RpcError, guard, live, public, remote
from liverpc.testing import TestEnv, create_test_context


def make_server(**options: Any) -> LiveServer:
    @live.stream("rows", merge="latest")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    @live
    def pace(ctx: Context[Any], way: str, values: list[Any], topic: str = "rows") -> None:
        for value in values:
            getattr(ctx, way)(topic, "update", value, 1.0)

    @live
    def batch(ctx: Context[Any], messages: list[tuple[str, str, Any]]) -> None:
        ctx.batch(messages)

    @live
    def skip(ctx: Context[Any], key: Any, seconds: Any) -> bool:
        return ctx.skip(key, seconds)

    @live(path="demo/skip_elsewhere")
    def skip_elsewhere(ctx: Context[Any], key: str) -> bool:
        return ctx.skip(key, 10.0)

    @live
    async def who(ctx: Context[Any]) -> Any:
        return [ctx.request_id, ctx.user]

    functions = {
        "rows": rows,
        "pace": pace,
        "batch": batch,
        "skip": skip,
        "skip_elsewhere": skip_elsewhere,
        "who": who,
    }
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())}, **options)


@pytest.fixture
def live_server() -> LiveServer:
    return make_server()


async def test_80_a_throttled_publish_reaches_subscribers(live_env: TestEnv) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/rows"))
    await client.call(remote("demo/pace"), "throttle", [1, 2, 3])
    assert handle.value == [1]
    await handle.wait_for(lambda rows: rows == [1, 3])


async def test_84_a_debounced_publish_outlives_its_caller(live_env: TestEnv) -> None:
    handle = await live_env.connect().subscribe(remote("demo/rows"))
    caller = live_env.connect()
    await caller.call(remote("demo/pace"), "debounce", [1, 2])
    await caller.aclose()
    await handle.wait_for(lambda rows: rows == [2])


@pytest.mark.parametrize("way", ["throttle", "debounce"])
async def test_a_bad_topic_is_the_callers_error(live_env: TestEnv, way: str) -> None:
    with pytest.raises(RpcError, match="INVALID_TOPIC"):
        await live_env.connect().call(remote("demo/pace"), way, [1], "__rpc")


async def test_what_waits_is_sent_when_the_server_stops() -> None:
    async with TestEnv(make_server()) as env:
        seen: list[Any] = []
        env.server.telemetry.published.append(lambda event: seen.append(event.data))
        await env.connect().call(remote("demo/pace"), "throttle", [1, 2])
        await env.connect().call(remote("demo/pace"), "debounce", [3])
        assert seen == [1]
    assert seen == [1, 2, 3]


async def test_a_late_failure_is_told_to_the_error_observer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    async with TestEnv(make_server(on_error=lambda path, error, ctx: told.append((path, str(error))))) as env:
        await env.connect().call(remote("demo/pace"), "debounce", [1])

        def broken(*args: Any, **options: Any) -> None:
            raise RuntimeError("bus")

        monkeypatch.setattr(env.server._hub, "publish", broken)
        await asyncio.sleep(2)
        assert told == [("demo/pace", "bus")]
        assert "'rows'" in caplog.text


async def test_87_a_batch_arrives_in_order(live_env: TestEnv) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/rows"))
    await client.call(remote("demo/batch"), [["rows", "x", n] for n in range(10)])
    assert handle.value == list(range(10))


@pytest.mark.parametrize("bad", [["__rpc", "x", 1], ["rows", "", 1], ["", "x", 1]])
async def test_87_a_batch_with_a_bad_name_publishes_nothing(live_env: TestEnv, bad: Any) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/rows"))
    with pytest.raises(RpcError, match="INVALID_TOPIC"):
        await client.call(remote("demo/batch"), [["rows", "x", 1], bad])
    await live_env.settle()
    assert handle.value == []


def test_a_batch_with_data_without_json_form_publishes_nothing() -> None:
    ctx = create_test_context()
    with pytest.raises(TypeError, match="'rows'"):
        ctx.batch([("rows", "x", 1), ("rows", "x", object())])
    assert ctx.events == []


async def test_88_skip_belongs_to_the_path_and_is_shared_by_its_callers(live_env: TestEnv) -> None:
    one, two = live_env.connect(), live_env.connect()
    assert await one.call(remote("demo/skip"), "mail", 10.0) is False
    assert await two.call(remote("demo/skip"), "mail", 10.0) is True
    assert await one.call(remote("demo/skip_elsewhere"), "mail") is False
    await asyncio.sleep(10)
    assert await one.call(remote("demo/skip"), "mail", 10.0) is False
    with pytest.raises(RpcError, match="INVALID_ARG"):
        await one.call(remote("demo/skip"), "", 1.0)


# acceptance 15, 16
@pytest.mark.parametrize(
    ("given", "usable"),
    [
        ("abc-123", True),
        ("x", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("x" * 200, False),
        ("", False),
        ("a\r\nb", False),
        ("a b", False),
        ("ä", False),
        ("a\x7f", False),
    ],
)
async def test_15_the_request_id_is_that_of_the_handshake_if_it_is_usable(
    live_env: TestEnv, given: str, usable: bool
) -> None:
    client = live_env.connect(headers={"x-request-id": given})
    first, _ = await client.call(remote("demo/who"))
    assert (first == given) is usable
    assert re.fullmatch(r"[\x21-\x7e]{1,128}", first)
    assert (await client.call(remote("demo/who")))[0] == first, "one per connection"


async def test_15_the_user_is_what_on_connect_returned() -> None:
    async with TestEnv(make_server(on_connect=lambda request: {"id": "ann", "n": [1]})) as env:
        assert (await env.connect().call(remote("demo/who")))[1] == {"id": "ann", "n": [1]}


async def test_helpers_work_in_a_context_of_the_kit() -> None:
    ctx = create_test_context()
    ctx.throttle("rows", "x", 1, 5.0)
    ctx.throttle("rows", "x", 2, 5.0)
    ctx.debounce("rows", "x", 3, 1.0)
    ctx.batch([("rows", "x", 4)])
    assert [ctx.skip("k", 5.0), ctx.skip("k", 5.0)] == [False, True]
    assert ctx.pressure.reason == "NONE"
    await asyncio.sleep(6)
    assert [data for _, _, data in ctx.events] == [1, 4, 3, 2]
    assert ctx.skip("k", 5.0) is False
    assert ctx.published == ["rows"] * 4


# -- observers of errors


def failing_server(told: Any, **options: Any) -> LiveServer:
    @live
    def crash(ctx: Context[Any]) -> None:
        raise ValueError("secret")

    @live
    async def crash_later(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        raise ValueError("secret")

    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        raise ValueError("secret")

    @live
    def refuse(ctx: Context[Any]) -> None:
        raise LiveError("NO")

    module = SimpleNamespace(crash=crash, crash_later=crash_later, rows=rows, refuse=refuse, _guard=public())
    return LiveServer({"demo": module}, on_error=told, **options)


@pytest.mark.parametrize("path", ["demo/crash", "demo/crash_later", "demo/rows"])
async def test_9_an_unexpected_exception_is_told_once_with_path_and_ctx(path: str) -> None:
    told: list[Any] = []
    async with TestEnv(failing_server(lambda *args: told.append(args))) as env:
        client = env.connect(user={"id": "ann"})
        with pytest.raises(RpcError, match="INTERNAL_ERROR"):
            await (client.subscribe if path == "demo/rows" else client.call)(remote(path))
        [(where, error, ctx)] = told
        assert (where, str(error), ctx.user) == (path, "secret", {"id": "ann"})


async def test_9_an_error_meant_for_the_caller_is_told_nobody() -> None:
    told: list[Any] = []
    async with TestEnv(failing_server(lambda *args: told.append(args))) as env:
        with pytest.raises(RpcError, match="NO"):
            await env.connect().call(remote("demo/refuse"))
    assert told == []


@pytest.mark.parametrize("waits", [False, True])
async def test_10_an_observer_that_fails_disturbs_nobody(waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    def observe(path: str, error: BaseException, ctx: Any) -> None:
        raise RuntimeError("observer broke")

    async def observe_later(path: str, error: BaseException, ctx: Any) -> None:
        await asyncio.sleep(1)
        observe(path, error, ctx)

    async with TestEnv(failing_server(observe_later if waits else observe)) as env:
        client = env.connect()
        for _ in range(2):
            with pytest.raises(RpcError, match="INTERNAL_ERROR"):
                await client.call(remote("demo/crash"))
        await asyncio.sleep(2)
        with pytest.raises(RpcError, match="NO"):
            await client.call(remote("demo/refuse"))
    assert caplog.text.count("RuntimeError: observer broke") == 2


async def test_9_what_breaks_in_a_guard_is_told_although_the_caller_is_only_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "liverpc.guards")
    told: list[Any] = []

    def broken(ctx: Context[Any]) -> None:
        raise KeyError("guard")

    @live
    def call(ctx: Context[Any]) -> None: ...

    module = SimpleNamespace(call=call, _guard=guard(broken))
    async with TestEnv(LiveServer({"demo": module}, on_error=lambda *args: told.append(args))) as env:
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await env.connect().call(remote("demo/call"))
    assert [(path, type(error)) for path, error, _ in told] == [("demo/call", KeyError)]
