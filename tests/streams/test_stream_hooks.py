"""on_subscribe, on_unsubscribe and on_error of streams, and what their options may be."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveError, LiveServer, live, public
from liverpc.declare.options import StreamOptions
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw


class App:
    def __init__(self) -> None:
        self.log: list[Any] = []
        self.reported: list[Any] = []
        self.error: Exception | None = None

    def told(self, name: str) -> Any:
        return lambda *args: self.log.append((name, *args[1:]))

    def on_error(self, error: Exception, ctx: Context[Any], topic: str) -> None:
        self.log.append((error, ctx.path, topic))

    async def on_error_later(self, error: Exception, ctx: Context[Any], topic: str) -> None:
        await asyncio.sleep(0)
        self.on_error(error, ctx, topic)
        raise RuntimeError("the hook itself")

    def server(self, **hooks: Any) -> LiveServer:
        @live.stream("rows", **hooks)
        async def rows(ctx: Context[Any]) -> Any:
            if self.error is not None:
                raise self.error
            return []

        @live.stream("rows", **hooks)
        async def rows_again(ctx: Context[Any]) -> Any:
            return []

        @live.stream("unencodable", **hooks)
        async def unencodable(ctx: Context[Any]) -> Any:
            return [object()]

        @live.stream("secret", access=lambda ctx: False, **hooks)
        async def secret(ctx: Context[Any]) -> Any:
            return []

        @live.stream("waiting", **hooks)
        async def waiting(ctx: Context[Any]) -> Any:
            await asyncio.Event().wait()

        streams = {"rows": rows, "rows_again": rows_again, "unencodable": unencodable, "secret": secret}
        return LiveServer(
            {"demo": SimpleNamespace(**streams, waiting=waiting, _guard=public())},
            on_error=lambda path, error, ctx: self.reported.append((path, type(error))),
        )


@pytest.fixture
def app() -> App:
    return App()


# -- on_error


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(("error", "code"), [(LiveError("NO_DATA"), "NO_DATA"), (ValueError("x"), "INTERNAL_ERROR")])
async def test_48_a_failing_loader_is_told_to_its_stream(app: App, error: Exception, code: str, later: bool) -> None:
    # acceptance 48
    app.error = error
    async with TestEnv(app.server(on_error=app.on_error_later if later else app.on_error)) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/rows"))["code"] == code
        await env.settle()
        assert app.log == [(error, "demo/rows", "rows")]
    unexpected: list[Any] = [("demo/rows", ValueError)] if code == "INTERNAL_ERROR" else []
    hook = [("demo/rows", RuntimeError)] if later else []
    assert sorted(app.reported, key=str) == sorted(unexpected + hook, key=str)


async def test_48_a_hook_that_fails_leaves_the_error_as_it_is(app: App) -> None:
    # acceptance 48
    app.error = LiveError("NO_DATA")
    async with TestEnv(app.server(on_error=lambda *args: 1 / 0)) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/rows"))["code"] == "NO_DATA"
        assert app.reported == [("demo/rows", ZeroDivisionError)]


async def test_a_value_without_json_form_is_told_and_a_refusal_or_departure_is_not(app: App) -> None:
    async with TestEnv(app.server(on_error=app.on_error)) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/unencodable")
        assert [(type(error), *rest) for error, *rest in app.log] == [(TypeError, "demo/unencodable", "unencodable")]
        await raw.subscribe("demo/secret")
        await raw.send(rpc="demo/waiting", id="1", stream=True)
        await env.settle()
        raw.socket.cut()
        await env.settle()
        assert len(app.log) == 1


# -- on_subscribe and on_unsubscribe


async def test_46_a_failed_load_does_not_unbalance_the_hooks(app: App) -> None:
    # acceptance 46
    async with TestEnv(app.server(on_subscribe=app.told("sub"), on_unsubscribe=app.told("unsub"))) as env:
        raw = await Raw.open(env)
        app.error = LiveError("NO_DATA")
        await raw.subscribe("demo/rows")
        assert [connection.streams for connection in env.server.connections] == [0]
        app.error = None
        await raw.subscribe("demo/rows")
        app.error = LiveError("NO_DATA")
        await raw.subscribe("demo/rows")
        raw.socket.cut()
        await env.settle()
        assert app.log == [("sub", "rows"), ("unsub", "rows", 0)]


async def test_58_who_leaves_two_streams_of_a_topic_is_not_counted_as_remaining(app: App) -> None:
    # acceptance 58
    async with TestEnv(app.server(on_unsubscribe=app.told("unsub"))) as env:
        clients = [await Raw.open(env) for _ in range(3)]
        for raw in clients:
            await raw.subscribe("demo/rows")
        await clients[0].subscribe("demo/rows_again")
        for raw in clients:
            await raw.send(type="unsubscribe", topic="rows")
            await env.settle()
        assert app.log == [("unsub", "rows", n) for n in (2, 2, 1, 0)]
        for raw in clients:
            raw.socket.cut()
        await env.settle()
        assert len(app.log) == 4


async def test_55_bare_topics_have_no_hooks(app: App) -> None:
    # acceptance 55
    server = app.server(on_unsubscribe=app.told("unsub"))
    server.hooks.on_topic = lambda ctx, topic: True
    async with TestEnv(server) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["rows", "other"], ref=1)
        await env.settle()
        assert env.server.subscribers("rows") == 1
        raw.socket.cut()
        await env.settle()
        assert app.log == []


@pytest.mark.parametrize("later", [False, True])
async def test_59_failing_hooks_are_reported_and_disturb_nothing(app: App, later: bool) -> None:
    # acceptance 59
    def fail(*args: Any) -> None:
        raise KeyError("hook")

    async def fail_later(*args: Any) -> None:
        raise KeyError("hook")

    hook = fail_later if later else fail
    async with TestEnv(app.server(on_subscribe=hook, on_unsubscribe=hook)) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/rows"))["ok"] is True
        assert (await raw.subscribe("demo/rows_again"))["ok"] is True
        await raw.send(type="unsubscribe", topic="rows")
        await env.settle()
        assert env.server.subscribers("rows") == 0
        assert sorted(app.reported) == [("demo/rows", KeyError)] * 2 + [("demo/rows_again", KeyError)] * 2


# -- options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"coalesce_by": "id"}, "coalesce_by='id' must be a function"),
        ({"volatile": 1}, "volatile=1 must be True or False"),
        ({"volatile": True, "coalesce_by": lambda data: None}, "take one"),
        ({"on_error": 5}, "on_error=5 must be a function"),
        ({"on_subscribe": 5}, "on_subscribe=5 must be a function"),
        ({"on_unsubscribe": 5}, "on_unsubscribe=5 must be a function"),
        ({"merge": "append"}, "merge='append' is unknown"),
    ],
)
def test_50_options_that_cannot_work_fail_where_they_are_declared(options: Any, text: str) -> None:
    # acceptance 50
    with pytest.raises(DeclarationError, match="test_stream_hooks") as caught:

        @live.stream("rows", **options)
        async def rows(ctx: Context[Any]) -> Any:
            return []

    assert text in str(caught.value)


def test_50_unknown_options_and_those_of_channels_are_checked_too() -> None:
    # acceptance 50
    untyped: Any = live
    with pytest.raises(TypeError, match="colour"):
        untyped.stream("rows", colour="red")
    with pytest.raises(DeclarationError, match="take one"):
        live.channel("t", merge="set", item=int, volatile=True, coalesce_by=lambda data: None)
    assert live.channel("t", merge="set", item=int, volatile=True).options == StreamOptions(merge="set", volatile=True)


async def test_a_hook_may_return_anything_that_can_be_awaited() -> None:
    app = App()

    def later(ctx: Context[Any], topic: str) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(RuntimeError("the hook itself"))
        return future

    async with TestEnv(app.server(on_subscribe=later)) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/rows"))["ok"] is True
        await env.settle()
    assert app.reported == [("demo/rows", RuntimeError)]
