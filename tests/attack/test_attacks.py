"""What an attack on the server once achieved, and must not again."""

import asyncio
import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Inspect, LiveError, LiveServer, Token, guard, live, public
from liverpc.inspector.protocol import ATTACH_PATH, SUBPROTOCOL
from liverpc.policies.faults import Fault
from liverpc.testing import TestEnv


def serve(_guard: Any = None, *, limits: Any = None, inspect: Any = None, **functions: Any) -> LiveServer:
    return LiveServer({"m": SimpleNamespace(**functions, _guard=_guard or public())}, limits=limits, inspect=inspect)


async def answer(socket: Any, call: str) -> Any:
    async with asyncio.timeout(5):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("topic") == "__rpc" and frame["event"] == call:
                return frame["data"]


async def ask(env: TestEnv, path: str, *args: Any, stream: bool = False) -> Any:
    socket = await env.transport.connect("/ws")
    await socket.send(json.dumps({"rpc": path, "id": "1", "args": list(args), "stream": stream}))
    return await answer(socket, "1")


# -- guards and access fail open


class IsAdmin:
    async def __call__(self, ctx: Context[Any]) -> bool:
        return False


async def refuse(ctx: Context[Any]) -> bool:
    return False


@pytest.mark.parametrize("check", [IsAdmin(), lambda ctx: refuse(ctx)], ids=["object", "lambda"])
async def test_async_check_that_is_no_coroutine_function_refuses_plain_functions(check: Any) -> None:
    @live
    def secret(ctx: Context[Any]) -> str:
        return "the secret"

    async with TestEnv(serve(guard(check), secret=secret)) as env:
        assert (await ask(env, "m/secret"))["ok"] is False


class Query:
    """An awaitable that is no coroutine, as the queries of some ORMs are."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return False


async def test_access_that_gives_an_awaitable_is_awaited() -> None:
    @live.stream("t", access=lambda ctx: Query())
    async def rows(ctx: Context[Any]) -> list[Any]:
        return ["the secret"]

    async with TestEnv(serve(rows=rows)) as env:
        assert (await ask(env, "m/rows", stream=True))["ok"] is False


# -- a subscribe that outlives its connection


async def test_disconnect_in_the_turn_in_which_access_is_decided_leaves_nothing() -> None:
    gate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    left: list[Any] = []

    @live.stream("t", access=lambda ctx: gate, on_unsubscribe=lambda ctx, topic, n: left.append(topic))
    def rows(ctx: Context[Any]) -> list[Any]:
        return []

    server = serve(rows=rows)
    async with TestEnv(server) as env:
        socket = await env.transport.connect("/ws")
        await socket.send(json.dumps({"rpc": "m/rows", "id": "1", "args": [], "stream": True}))
        await env.settle()
        asyncio.get_running_loop().call_soon(gate.set_result, True)  # access is decided in the next turn ...
        socket.cut()  # ... and in that turn, too, the server hears that the client is gone
        await env.settle()
        assert not server.connections
        assert server.subscribers("t") == 0
        assert not server._hub.topics


# -- calls that are never answered


async def test_handler_whose_inner_task_was_cancelled_is_answered() -> None:
    @live
    async def shared(ctx: Context[Any]) -> None:
        inner = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async with TestEnv(serve(shared=shared)) as env:
        assert (await ask(env, "m/shared"))["code"] == "INTERNAL_ERROR"


async def test_plain_function_that_raises_cancelled_error_is_answered() -> None:
    @live
    def plain(ctx: Context[Any]) -> None:
        raise asyncio.CancelledError

    async with TestEnv(serve(plain=plain)) as env:
        assert (await ask(env, "m/plain"))["code"] == "INTERNAL_ERROR"


class Panic(BaseException):
    """As the panics of Rust extensions, and the timeouts of gevent, are."""


@pytest.mark.parametrize("kind", ["plain", "waiting", "thread"])
async def test_base_exceptions_are_answered(kind: str) -> None:
    seen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))

    @live
    def plain(ctx: Context[Any]) -> None:
        raise Panic("internal")

    @live
    async def waiting(ctx: Context[Any]) -> None:
        raise Panic("internal")

    @live(thread=True)
    def thread(ctx: Context[Any]) -> None:
        raise Panic("internal")

    async with TestEnv(serve(plain=plain, waiting=waiting, thread=thread)) as env:
        assert (await ask(env, f"m/{kind}"))["code"] == "INTERNAL_ERROR"
    assert not seen


async def test_base_exceptions_of_a_guard_are_answered_and_refuse() -> None:
    def panics(ctx: Context[Any]) -> None:
        raise Panic("internal")

    async with TestEnv(serve(guard(panics), echo=echo)) as env:
        assert (await ask(env, "m/echo", 1))["code"] == "INTERNAL_ERROR"


async def test_stop_iteration_in_a_thread_is_answered() -> None:
    @live(thread=True)
    def first(ctx: Context[Any]) -> Any:
        return next(iter([]))

    seen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))
    async with TestEnv(serve(first=first)) as env:
        assert (await ask(env, "m/first"))["code"] == "INTERNAL_ERROR"
    assert not seen


@pytest.mark.parametrize(
    "error",
    [
        LiveError("BUSY", retry_after=math.inf),
        LiveError("BAD", ValueError("x")),  # type: ignore[arg-type]  # the wrong type is the point
        LiveError("BAD", "no file \udcff"),
    ],
    ids=["retry", "message", "surrogate"],
)
@pytest.mark.parametrize("kind", ["plain", "waiting"])
async def test_live_error_that_has_no_json_form_is_answered(kind: str, error: LiveError) -> None:
    @live
    def plain(ctx: Context[Any]) -> None:
        raise error

    @live
    async def waiting(ctx: Context[Any]) -> None:
        raise error

    async with TestEnv(serve(plain=plain, waiting=waiting)) as env:
        assert (await ask(env, f"m/{kind}"))["ok"] is False


# -- devtools

OPEN = Inspect(
    enabled=True,
    chaos=True,
    tokens=(
        Token(secret="token-for-observers"),
        Token(secret="token-for-chaos-xxx", level="chaos"),
        Token(secret="token-for-scoped-xx", level="chaos", topics=("red",)),
    ),
)


async def attach(env: TestEnv, token: str = "token-for-observers", want: str = "observe", **headers: str) -> Any:
    given = {"Host": "localhost", "Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": SUBPROTOCOL}
    socket = await env.transport.connect(ATTACH_PATH, headers={**given, **headers})
    await socket.send(json.dumps({"t": "hello", "v": 1, "client": "test", "want": want}))
    return socket


@live
async def echo(ctx: Context[Any], value: Any) -> None:
    return None


async def test_long_call_ids_are_not_kept() -> None:
    server = serve(echo=echo, inspect=OPEN)
    async with TestEnv(server) as env:
        await attach(env)
        socket = await env.transport.connect("/ws")
        for n in range(10):
            await socket.send(json.dumps({"rpc": "m/echo", "id": str(n) + "x" * 200_000, "args": [1]}))
            await socket.recv()
        await asyncio.sleep(0.05)
        assert server._inspector is not None
        kept: int = sum(len(call.call) for call in server._inspector.tap.calls)
        assert kept < 100_000, kept


async def test_scoped_observer_cannot_renew_other_faults_nor_hear_of_them() -> None:
    server = serve(echo=echo, inspect=OPEN)
    async with TestEnv(server) as env:
        scoped = await attach(env, "token-for-scoped-xx", "chaos")
        await asyncio.sleep(0.1)
        rule = server.faults.arm(Fault(topic="blue-secret", seed="s"), ttl=10, by="somebody")
        await scoped.send(json.dumps({"t": "chaos.renew", "id": 1, "rule": rule.number, "ttl": 800}))
        heard = []
        try:
            async with asyncio.timeout(1):
                while True:
                    heard.append(await scoped.recv())
        except TimeoutError:
            pass
        assert not [text for text in heard if "blue-secret" in text]
        assert rule.expires_at < 100


# -- long calls


async def test_context_does_not_remember_every_publish() -> None:
    @live
    async def ticker(ctx: Context[Any]) -> int:
        for n in range(1000):
            ctx.publish("t", "set", n)
        return len(ctx.published or ())

    async with TestEnv(serve(ticker=ticker)) as env:
        assert (await ask(env, "m/ticker"))["data"] <= 100
