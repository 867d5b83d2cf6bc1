"""``server.load``: what a stream gives, without a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, LiveError, LiveServer, Page, PushFailed, guard, live, pipe, public, remote
from liverpc.testing import TestEnv

ANN = {"id": "ann"}


class Row(msgspec.Struct):
    id: int
    secret: str = "s"


@dataclass
class App:
    """A server whose streams note what happens to them."""

    log: list[Any] = field(default_factory=list)
    reported: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    open: bool = True
    streams: SimpleNamespace = field(default_factory=SimpleNamespace)

    def noting(self, name: str, result: Any = None) -> Any:
        def note(ctx: Context[Any], *args: Any) -> Any:
            self.log.append((name, ctx.user, *args))
            return result

        return note

    def server(self, **options: Any) -> LiveServer:
        @live.stream(
            "rows:{room}",
            gate=lambda ctx, room: self.open,
            access=self.noting("access", True),
            transform=lambda row: {"id": row.id},
            on_subscribe=self.noting("on_subscribe"),
            on_unsubscribe=self.noting("on_unsubscribe"),
            on_error=lambda error, ctx, topic: self.log.append(("on_error", error, topic)),
        )
        async def rows(ctx: Context[Any], room: int) -> list[Row]:
            self.log.append(("load", ctx.user, room))
            if self.error is not None:
                raise self.error
            return [Row(1), Row(2), Row(3)]

        @live.stream("pages")
        async def pages(ctx: Context[Any]) -> Page[Row]:
            if ctx.cursor is not None:
                return Page([Row(ctx.cursor + 1)])
            return Page([Row(1), Row(2)], has_more=True, cursor=2)

        @live
        def call(ctx: Context[Any]) -> None: ...

        last = pipe(rows, pipe.sort("id", "desc"), pipe.limit(1))
        notices = live.channel("notices", merge="latest", item=Row)
        headline = live.channel("headline", merge="set", item=str)
        members = {"rows": rows, "last": last, "pages": pages, "notices": notices, "headline": headline, "call": call}
        self.streams = SimpleNamespace(**members, _guard=options.pop("_guard", public()))
        return LiveServer(
            {"demo": self.streams},
            on_error=lambda path, error, ctx: self.reported.append((path, type(error))),
            **options,
        )


@pytest.fixture
def app() -> App:
    return App()


async def test_it_gives_the_transformed_value_and_subscribes_to_nothing(app: App) -> None:
    # acceptance 230
    server = app.server()
    async with server.lifespan():
        assert await server.load(app.streams.rows, 7) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert await server.load(app.streams.rows, room=7) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert await server.load(app.streams.last, 7) == [{"id": 3}]
        assert server.connections == []
        assert server.subscribers("rows:7") == 0
    assert [name for name, *_ in app.log] == ["access", "load"] * 3


async def test_the_way_is_that_of_a_client(app: App) -> None:
    # acceptance 230
    async def before_execute(ctx: Context[Any], path: str, args: list[Any]) -> None:
        app.log.append(("before_execute", path, args))

    async def on_topic(ctx: Context[Any], topic: str) -> bool:
        app.log.append(("on_topic", topic))
        return True

    def checked(ctx: Context[Any]) -> None:
        app.log.append(("guard", ctx.user, ctx.connection.user_id, ctx.path, ctx.cursor))

    server = app.server(_guard=guard(checked), before_execute=before_execute, on_topic=on_topic)

    @server.middleware
    async def around(ctx: Context[Any], next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002
        app.log.append(("middleware",))
        return [*await next(), "and more"]

    async with server.lifespan():
        assert (await server.using(user=ANN).load(app.streams.rows, 7))[-1] == "and more"
        page = await server.using(user=ANN).load_page(app.streams.pages)
    assert (page.data[-1], page.has_more, page.cursor) == ("and more", True, 2)
    assert app.log[:7] == [
        ("middleware",),
        ("guard", ANN, "ann", "demo/rows", None),
        ("before_execute", "demo/rows", [7]),
        ("access", ANN, 7),
        ("on_topic", "rows:7"),
        ("load", ANN, 7),
        ("middleware",),
    ]


async def test_each_check_refuses_as_it_refuses_a_client(app: App) -> None:
    # acceptance 230
    server = app.server(_guard=guard(authenticated=True), on_topic=lambda ctx, topic: topic != "rows:8" or "CLOSED")
    async with server.lifespan():
        for user, room, code in [(None, 7, "UNAUTHENTICATED"), (ANN, "seven", "VALIDATION"), (ANN, 8, "CLOSED")]:
            with pytest.raises(LiveError) as refused:
                await server.using(user=user).load(app.streams.rows, room)
            assert refused.value.code == code
    assert not any(name == "load" for name, *_ in app.log)


async def test_access_that_does_not_hold_refuses() -> None:
    @live.stream("mine", access=lambda ctx: False)
    async def mine(ctx: Context[Any]) -> list[int]:
        return [1]

    server = LiveServer({"demo": SimpleNamespace(mine=mine, _guard=public())})
    async with server.lifespan():
        for user, code in [(None, "UNAUTHENTICATED"), (ANN, "FORBIDDEN")]:
            with pytest.raises(LiveError) as refused:
                await server.using(user=user).load(mine)
            assert refused.value.code == code


async def test_a_shut_gate_gives_none(app: App) -> None:
    # acceptance 230
    server = app.server()
    app.open = False
    async with server.lifespan():
        assert await server.load(app.streams.rows, 7) is None
        assert await server.using(fallback=[]).load(app.streams.rows, 7) is None
        assert await server.load_page(app.streams.rows, 7) is None
    assert app.log == []


async def test_behind_a_guard_a_user_must_be_given(app: App) -> None:
    # acceptance 230
    server = app.server(_guard=guard(lambda ctx: None))
    async with server.lifespan():
        loaders: list[Any] = [server, server.using(fallback=[])]
        for loader in loaders:
            with pytest.raises(TypeError, match=r"demo/rows has a guard.*using\(user=\.\.\.\).*None.*anonymous"):
                await loader.load(app.streams.rows, 7)
        assert app.log == []
        assert len(await server.using(user=None).load(app.streams.rows, 7)) == 3
    assert ("load", None, 7) in app.log


async def test_pages_have_what_follows(app: App) -> None:
    server = app.server()
    async with server.lifespan():
        assert await server.load(app.streams.pages) == [Row(1), Row(2)]
        assert await server.load_page(app.streams.pages) == Page([Row(1), Row(2)], has_more=True, cursor=2)
        assert await server.load_page(app.streams.last, 7) == Page([{"id": 3}])
        further = server.using(cursor=2)
        assert await further.load_page(app.streams.pages) == Page([Row(3)])
        assert await further.load(app.streams.pages) == [Row(3)]
        assert await further.using(cursor=None).load(app.streams.pages) == [Row(1), Row(2)]
        with pytest.raises(TypeError):
            await server.using(cursor=object()).load(app.streams.pages)


async def test_a_channel_gives_its_beginning(app: App) -> None:
    server = app.server()
    async with server.lifespan():
        assert await server.load(app.streams.notices) == []
        assert await server.load(app.streams.headline) is None


@pytest.mark.parametrize("error", [ValueError("x"), LiveError("NO_DATA"), asyncio.CancelledError()])
async def test_a_failing_loader_is_told_to_its_stream_and_raised(app: App, error: BaseException) -> None:
    # acceptance 48
    server = app.server()
    app.error = error
    async with server.lifespan():
        with pytest.raises(type(error)):
            await server.load(app.streams.rows, 7)
    assert app.log[-1] == ("on_error", error, "rows:7")
    assert app.reported == []  # the caller knows


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (ValueError("x"), [("demo/rows", ValueError)]),
        (LiveError("NO_DATA"), []),
        (asyncio.CancelledError(), [("demo/rows", asyncio.CancelledError)]),
    ],
)
async def test_a_fallback_stands_for_any_failure_which_is_reported(
    app: App, error: BaseException, reported: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    # acceptance 231
    server = app.server()
    app.error = error
    async with server.lifespan():
        loader = server.using(fallback="nothing")
        assert await loader.load(app.streams.rows, 7) == "nothing"
        assert await loader.load_page(app.streams.rows, 7) == "nothing"
        assert await server.using(fallback=None).load(app.streams.rows, 7) is None
    assert app.reported == reported * 3
    assert caplog.text.count("demo/rows is not loaded, its fallback is used") == 3


async def test_a_refusal_gives_the_fallback_too(app: App) -> None:
    # acceptance 231
    server = app.server(_guard=guard(authenticated=True))
    async with server.lifespan():
        assert await server.using(user=None, fallback=[]).load(app.streams.rows, 7) == []
        assert await server.using(user=ANN, fallback=[]).load(app.streams.rows, "seven") == []
        assert await server.using(user=None).using(fallback=[]).load(app.streams.rows, 7) == []
    assert app.reported == []


async def test_mistakes_of_the_caller_are_raised_whatever_the_fallback_is(app: App) -> None:
    server = app.server()
    loader: Any = server.using(fallback=[])
    with pytest.raises(RuntimeError, match=r"does not run.*lifespan"):
        await loader.load(app.streams.rows, 7)
    async with server.lifespan():
        other = App()
        other.server()
        for foreign in (other.streams.rows, app.streams.call, "demo/rows"):
            with pytest.raises(TypeError, match="stream of this server"):
                await loader.load(foreign)
        with pytest.raises(TypeError, match="room"):
            await loader.load(app.streams.rows)
        with pytest.raises(TypeError, match=r"JSON|serializable|unsupported"):
            await loader.load(app.streams.rows, object())
    with pytest.raises(RuntimeError, match="does not run"):
        await loader.load(app.streams.rows, 7)


async def test_a_cancelled_load_is_no_failure(app: App) -> None:
    started = asyncio.Event()

    @live.stream("slow", on_error=lambda *args: app.log.append("on_error"))
    async def slow(ctx: Context[Any]) -> list[int]:
        started.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]

    server = LiveServer({"demo": SimpleNamespace(slow=slow, _guard=public())})
    async with server.lifespan():
        loading = asyncio.create_task(server.using(fallback=[]).load(slow))
        await started.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
    assert app.log == []


async def test_its_context_publishes_to_clients_and_has_none_itself() -> None:
    @live.stream("seen", merge="latest")
    async def seen(ctx: Context[Any]) -> list[str]:
        ctx.publish("seen", "seen", "somebody looked")
        with pytest.raises(PushFailed):
            await ctx.connection.ask("who?")
        assert ctx.connection.send(b"{}") is False
        return []

    @live.stream("seen", merge="latest")
    async def watch(ctx: Context[Any]) -> list[str]:
        return []

    server = LiveServer({"demo": SimpleNamespace(seen=seen, watch=watch, _guard=public())})
    async with TestEnv(server) as env:
        handle = await env.connect().subscribe(remote("demo/watch"))
        assert await server.load(seen) == []
        await handle.wait_for(lambda rows: rows == ["somebody looked"])


async def test_a_hook_that_fails_leaves_the_error_as_it_is(app: App) -> None:
    # acceptance 48
    error = LiveError("NO_DATA")

    async def fail(error: BaseException, ctx: Context[Any], topic: str) -> None:
        await asyncio.sleep(0)
        raise KeyError("the hook itself")

    @live.stream("rows", on_error=fail)
    async def rows(ctx: Context[Any]) -> list[int]:
        raise error

    server = LiveServer(
        {"demo": SimpleNamespace(rows=rows, _guard=public())},
        on_error=lambda path, error, ctx: app.reported.append((path, type(error))),
    )
    async with server.lifespan():
        with pytest.raises(LiveError) as raised:
            await server.load(rows)
    assert raised.value is error
    assert app.reported == [("demo/rows", KeyError)]
