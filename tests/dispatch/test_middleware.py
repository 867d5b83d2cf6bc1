"""Middleware around calls and streams. Numbers in names are acceptance cases."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveError, LiveServer, RpcError, guard, live, remote
from liverpc.declare.middleware import compose
from liverpc.testing import TestEnv, create_test_context

Next = Callable[[], Awaitable[Any]]


class Order:
    """What ran, in order."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def server(self, **options: Any) -> LiveServer:
        @live
        def call(ctx: Context[Any], value: Any = "result") -> Any:
            self.ran.append("handler")
            return value

        @live
        async def call_later(ctx: Context[Any], value: Any = "result") -> Any:
            await asyncio.sleep(1)
            self.ran.append("handler")
            return value

        @live.stream("rows")
        async def rows(ctx: Context[Any]) -> list[Any]:
            self.ran.append("loader")
            return []

        def check(ctx: Context[Any]) -> None:
            self.ran.append("guard")

        module = SimpleNamespace(call=call, call_later=call_later, rows=rows, _guard=guard(check))
        return LiveServer({"demo": module}, **options)

    def around(self, name: str) -> Callable[[Context[Any], Next], Awaitable[Any]]:
        async def middleware(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
            self.ran.append(f"{name} in")
            result = await next()
            self.ran.append(f"{name} out {result}")
            return f"{name}({result})"

        return middleware


# acceptance 23
@pytest.mark.parametrize("path", ["demo/call", "demo/call_later"])
async def test_23_middlewares_run_in_order_and_end_in_reverse_with_the_result(path: str) -> None:
    order = Order()
    server = order.server()
    for name in "ab":
        server.middleware(order.around(name))
    async with TestEnv(server) as env:
        assert await env.connect().call(remote(path)) == "a(b(result))"
    assert order.ran == ["a in", "b in", "guard", "handler", "b out result", "a out b(result)"]


async def test_23_middlewares_are_around_streams(live_order: Order) -> None:
    server = live_order.server()

    @server.middleware
    async def watch(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        live_order.ran.append(ctx.path)
        return await next()

    async with TestEnv(server) as env:
        handle = await env.connect().subscribe(remote("demo/rows"))
        assert handle.value == []
    assert live_order.ran == ["demo/rows", "guard", "loader"]


@pytest.fixture
def live_order() -> Order:
    return Order()


# acceptance 25
@pytest.mark.parametrize("value", ["instead", None, 0, []])
async def test_25_without_next_its_value_is_the_result(live_order: Order, value: Any) -> None:
    server = live_order.server()

    @server.middleware
    async def instead(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        return value

    async with TestEnv(server) as env:
        assert await env.connect().call(remote("demo/call")) == value
    assert live_order.ran == []


async def test_26_a_middleware_that_refuses_refuses_calls_and_streams(live_order: Order) -> None:
    # acceptance 26
    server = live_order.server()

    @server.middleware
    async def refuse(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        raise LiveError("UNAUTHENTICATED", "Sign in first")

    async with TestEnv(server) as env:
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await env.connect().call(remote("demo/call"))
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await env.connect().subscribe(remote("demo/rows"))
        assert env.server.subscribers("rows") == 0
    assert live_order.ran == []


async def test_calling_next_twice_is_an_internal_error(live_order: Order) -> None:
    server = live_order.server()

    @server.middleware
    async def twice(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        await next()
        return await next()

    async with TestEnv(server) as env:
        with pytest.raises(RpcError, match="INTERNAL_ERROR"):
            await env.connect().call(remote("demo/call"))
    assert live_order.ran == ["guard", "handler"], "the handler ran once"


async def test_calling_next_twice_says_so() -> None:
    async def core(ctx: Context[Any]) -> str:
        return "core"

    async def twice(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        await next()
        return await next()

    with pytest.raises(RuntimeError, match=r"twice.*called next twice"):
        await compose([twice], core)(create_test_context())


async def test_an_exception_passes_through_the_middlewares(live_order: Order) -> None:
    seen: list[str] = []

    async def core(ctx: Context[Any]) -> None:
        raise LiveError("NO")

    async def watch(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        try:
            return await next()
        except LiveError as error:
            seen.append(error.code)
            raise

    with pytest.raises(LiveError, match="NO"):
        await compose([watch, watch], core)(create_test_context())
    assert seen == ["NO", "NO"]


async def test_without_middlewares_the_core_is_left_as_it_is() -> None:
    async def core(ctx: Context[Any]) -> None: ...

    assert compose([], core) is core


class Callable_:
    async def __call__(self, ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        return await next()


async def _with_option(option: str, ctx: Context[Any], next: Next) -> Any:  # noqa: A002
    return await next()


@pytest.mark.parametrize("fn", [Callable_(), partial(_with_option, "x")])
async def test_an_object_or_a_partial_may_be_a_middleware(live_order: Order, fn: Any) -> None:
    server = live_order.server()
    assert server.middleware(fn) is fn
    async with TestEnv(server) as env:
        assert await env.connect().call(remote("demo/call")) == "result"


async def _one_parameter(ctx: Context[Any]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "text"), [(lambda ctx, proceed: proceed(), "not async"), (_one_parameter, "ctx and next"), (5, "not async")]
)
def test_what_is_no_middleware_is_refused_when_it_is_added(live_order: Order, fn: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        live_order.server().middleware(fn)


async def test_a_middleware_cannot_be_added_to_a_running_server(live_order: Order) -> None:
    async with TestEnv(live_order.server()) as env:
        with pytest.raises(RuntimeError, match="before the server starts"):
            env.server.middleware(live_order.around("late"))


async def test_33_before_execute_sees_path_and_raw_arguments_after_the_guard(live_order: Order) -> None:
    # acceptance 33
    def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        live_order.ran.append(f"before {path} {args}")
        if args == ["too often"]:
            raise LiveError("RATE_LIMITED", "later", retry_after=1.0)

    async with TestEnv(live_order.server(before_execute=before)) as env:
        client = env.connect()
        await client.call(remote("demo/call"), 7)
        assert live_order.ran == ["guard", "before demo/call [7]", "handler"]
        with pytest.raises(RpcError, match="RATE_LIMITED"):
            await client.call(remote("demo/call"), "too often")
    assert live_order.ran.count("handler") == 1


async def stream_reply(env: TestEnv) -> dict[str, Any]:
    socket = await env.transport.connect("/ws")
    await socket.recv()  # the welcome
    await socket.send('{"rpc":"demo/rows","id":"k","args":[],"stream":true}')
    reply: dict[str, Any] = json.loads(await socket.recv())["data"]
    await socket.close()
    return reply


async def test_25_a_stream_whose_middleware_answers_itself_is_answered_and_not_subscribed(live_order: Order) -> None:
    server = live_order.server()

    @server.middleware
    async def instead(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        return ["instead"]

    async with TestEnv(server) as env:
        assert await stream_reply(env) == {"id": "k", "ok": True, "data": ["instead"]}
        assert env.server.subscribers("rows") == 0
    assert live_order.ran == []


async def test_a_middleware_that_refuses_after_the_loader_leaves_nothing_subscribed(live_order: Order) -> None:
    server = live_order.server()

    @server.middleware
    async def second_thoughts(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        await next()
        assert ctx.services.hub.subscribers("rows") == 1
        raise LiveError("FORBIDDEN", "not these rows")

    async with TestEnv(server) as env:
        assert (await stream_reply(env))["code"] == "FORBIDDEN"
        assert env.server.subscribers("rows") == 0
    assert live_order.ran == ["guard", "loader"]


async def test_a_middleware_may_change_what_a_stream_loaded(live_order: Order) -> None:
    server = live_order.server()

    @server.middleware
    async def more(ctx: Context[Any], next: Next) -> Any:  # noqa: A002
        return [*await next(), {"id": 7}]

    async with TestEnv(server) as env:
        handle = await env.connect().subscribe(remote("demo/rows"))
        assert handle.value == [{"id": 7}]
        assert env.server.subscribers("rows") == 1
