"""Values that are loaded anew for everybody: when, by whom, and what becomes of those that were overtaken."""

import asyncio
import contextvars
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, Page, live, public
from liverpc.backends.ports import Frame
from liverpc.config import Limits
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw

tenant = contextvars.ContextVar("tenant", default="nobody's")


class App:
    """A stream ``demo/rows`` on the topic ``rows``, whose loads are counted and can be held."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.value: Any = [{"id": 1}]
        self.loads: list[str] = []  # connections in whose name
        self.tenants: set[str] = set()
        self.held: asyncio.Event | None = None
        self.while_loading: Callable[[], object] = lambda: None
        self.error: Exception | None = None
        self.told: list[Any] = []
        self.reported: list[Any] = []

        @live.stream("rows", on_error=lambda error, ctx, topic: self.told.append((error, topic)), **options)
        async def rows(ctx: Context[Any]) -> Any:
            self.loads.append(ctx.connection.id)
            self.tenants.add(tenant.get())
            value = self.value
            self.while_loading()
            if self.held is not None:
                await self.held.wait()
            if self.error is not None:
                raise self.error
            return value

        @live.stream("rows")
        async def plain(ctx: Context[Any]) -> list[Any]:
            if self.error is not None:
                await asyncio.sleep(1)
                raise self.error
            return []

        @live.stream("rows", stale_after=3, invalidate_on=("more",))
        async def impatient(ctx: Context[Any]) -> list[Any]:
            return ["impatient"]

        @live
        async def publish(ctx: Context[Any], topic: str, how: str) -> None:
            tenant.set("the publisher's")
            if how == "batch":
                ctx.batch([(topic, "created", {})])
            elif how == "publish":
                ctx.publish(topic, "created", {})
            else:
                getattr(ctx, how)(topic, "created", {}, 0.5)

        functions = {"rows": rows, "plain": plain, "impatient": impatient, "publish": publish}
        self.server = LiveServer(
            {"demo": SimpleNamespace(**functions, _guard=public())},
            on_error=lambda path, error, ctx: self.reported.append((path, error)),
        )

    def publish(self, topic: str, event: str = "created") -> None:
        self.server.publish_nowait(topic, event, {"id": 9})


async def next_refresh(raw: Raw) -> Any:
    frame = await wait_for_frame(raw)
    assert (frame["topic"], frame["event"]) == ("rows", "refreshed")
    return frame["data"]


async def wait_for_frame(raw: Raw) -> dict[str, Any]:
    text = await asyncio.wait_for(raw.socket.recv(), 60)
    frame: dict[str, Any] = json.loads(text)
    return frame


def now() -> float:
    return asyncio.get_running_loop().time()


# -- staleness


async def test_96_a_quiet_topic_is_reloaded_and_an_event_restarts_the_clock() -> None:
    # acceptance 96
    app = App(stale_after=10)
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        began = now()
        app.value = [{"id": 2}]
        assert await next_refresh(raw) == [{"id": 2}]
        assert now() - began == pytest.approx(10)
        await asyncio.sleep(6)
        app.publish("rows")
        assert (await wait_for_frame(raw))["event"] == "created"
        await next_refresh(raw)
        assert now() - began == pytest.approx(26)
        assert len(app.loads) == 3


async def test_96_the_last_who_leaves_ends_it() -> None:
    # acceptance 96
    app = App(stale_after=10)
    async with TestEnv(app.server) as env:
        clients = [await Raw.open(env) for _ in range(2)]
        for raw in clients:
            await raw.subscribe("demo/rows")
        await clients[0].send(type="unsubscribe", topic="rows")
        await next_refresh(clients[1])
        clients[1].socket.cut()
        await asyncio.sleep(100)
        assert len(app.loads) == 3
        await clients[0].subscribe("demo/rows")
        began = now()
        await next_refresh(clients[0])
        assert now() - began == pytest.approx(10)


async def test_98_two_subscribers_cost_one_reload_a_period() -> None:
    # acceptance 98
    app = App(stale_after=10)
    async with TestEnv(app.server) as env:
        clients = [await Raw.open(env) for _ in range(2)]
        for raw in clients:
            await raw.subscribe("demo/rows")
            await asyncio.sleep(4)
        for period in range(3):
            for raw in clients:
                await next_refresh(raw)
            assert len(app.loads) == 2 + period + 1
        assert env.counters.reloads == 3


async def test_a_stream_that_wants_no_reloads_sets_nothing_in_motion() -> None:
    app = App()
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        await asyncio.sleep(1000)
        assert env.server._hub.watch is None
        assert len(app.loads) == 1


# -- invalidation


@pytest.mark.parametrize(
    ("pattern", "topic", "triggers"),
    [
        ("todos:*", "todos:a", True),
        ("todos:*", "todos:a:b", True),
        ("todos:*", "todos:", False),
        ("todos:*", "todos", False),
        ("todos:*", "my todos:a", False),
        ("*:done", "todos:done", True),
        ("*:done", "todos:done:not", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("a.*", "axb", False),
        ("[ab]*", "[ab]c", True),
        ("todos", "todos", True),
        ("todos", "todos:a", False),
    ],
)
async def test_100_the_names_that_trigger_a_reload(pattern: str, topic: str, triggers: bool) -> None:
    # acceptance 100
    app = App(invalidate_on=("never", pattern))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.publish(topic)
        await env.settle()
        assert len(app.loads) == 1 + triggers
        app.publish(topic, "refreshed")
        await env.settle()
        assert len(app.loads) == 1 + triggers
        raw.socket.cut()
        await env.settle()
        assert env.server._hub.watch is None


async def test_100_a_pattern_that_matches_the_own_topic_does_not_loop() -> None:
    # acceptance 100
    app = App(invalidate_on=("row*",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.publish("rows")
        assert [(await raw.recv())["event"] for _ in range(2)] == ["created", "refreshed"]
        await raw.silent()
        assert len(app.loads) == 2


@pytest.mark.parametrize("how", ["publish", "batch", "throttle", "debounce"])
async def test_103_every_way_to_publish_invalidates(how: str) -> None:
    # acceptance 103
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw, other = await Raw.open(env), await Raw.open(env)
        await raw.subscribe("demo/rows")
        await other.send(rpc="demo/publish", id="1", args=["todos", how])
        await next_refresh(raw)
        assert app.tenants == {"nobody's"}  # the publisher's context is no business of the loader


async def test_103_what_another_node_publishes_invalidates() -> None:
    # acceptance 103
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        env.server._hub.deliver([Frame("todos", "created", b"{}"), Frame("todos", "refreshed", b"{}")])
        await next_refresh(raw)
        await raw.silent()


async def test_many_triggers_at_once_are_one_reload() -> None:
    app = App(invalidate_on=("todos", "tod*"))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        for _ in range(50):
            app.publish("todos")
        await next_refresh(raw)
        await raw.silent()
        assert len(app.loads) == 2


# -- what is sent


async def test_a_page_is_sent_as_one() -> None:
    app = App(invalidate_on=("todos",))
    app.value = Page([{"id": 1}], has_more=True, cursor="c1")
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.publish("todos")
        frame = await raw.recv()
        assert (frame["event"], frame["data"], frame["hasMore"], frame["cursor"]) == (
            "refreshed",
            [{"id": 1}],
            True,
            "c1",
        )


@pytest.mark.parametrize("topic", ["todos", "rows"])
async def test_what_was_overtaken_while_it_was_loaded_is_loaded_again(topic: str) -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.held = asyncio.Event()
        app.publish("todos")
        await env.settle()
        assert len(app.loads) == 2
        app.value = [{"id": 2}]
        app.publish(topic)
        await env.settle()
        assert len(app.loads) == 2  # one at a time
        app.held.set()
        if topic == "rows":
            assert (await raw.recv())["event"] == "created"
        assert await next_refresh(raw) == [{"id": 2}]
        await raw.silent()
        assert len(app.loads) == 3


async def test_a_topic_that_never_rests_is_reloaded_all_the_same_and_not_without_pause() -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.while_loading = lambda: app.publish("todos")
        began = now()
        app.publish("todos")
        await next_refresh(raw)
        assert len(app.loads) == 4
        assert now() - began == pytest.approx(0)
        app.publish("todos")
        await asyncio.sleep(0.9)
        assert len(app.loads) == 4
        await next_refresh(raw)
        assert len(app.loads) == 7
        assert now() - began == pytest.approx(1)
        app.while_loading = lambda: None
        app.value = ["the last one"]
        assert await next_refresh(raw) == ["the last one"]
        assert len(app.loads) == 8
        assert now() - began == pytest.approx(2)
        await raw.silent()


# -- who is asked


async def test_a_loader_is_asked_in_the_name_of_someone_who_is_there() -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        for raw in (first, second):
            await raw.subscribe("demo/rows")
        first.socket.cut()
        await env.settle()
        app.publish("todos")
        await next_refresh(second)
        assert app.loads == [first.session, second.session, second.session]


async def test_who_leaves_while_his_loader_runs_takes_the_value_from_nobody() -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        for raw in (first, second):
            await raw.subscribe("demo/rows")
        app.held = asyncio.Event()
        app.publish("todos")
        await env.settle()
        first.socket.cut()
        await env.settle()
        app.held.set()
        await next_refresh(second)
        assert app.loads[2:] == [first.session]


async def test_without_a_stream_that_wants_it_nothing_is_reloaded() -> None:
    app = App(stale_after=10, invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        await first.subscribe("demo/rows")
        await second.subscribe("demo/plain")
        first.socket.cut()
        await env.settle()
        app.publish("todos")
        await asyncio.sleep(100)
        assert len(app.loads) == 1
        again = await Raw.open(env)
        await again.subscribe("demo/rows")
        began = now()
        await next_refresh(second)  # which waits for it long enough
        await next_refresh(second)
        assert now() - began == pytest.approx(10)


async def test_what_several_streams_of_a_topic_want_adds_up() -> None:
    app = App(stale_after=10, invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        await first.subscribe("demo/rows")
        await second.subscribe("demo/impatient")
        began = now()
        await next_refresh(first)
        assert now() - began == pytest.approx(3)
        for topic in ("todos", "more"):
            app.publish(topic)
            await next_refresh(first)
            assert now() - began == pytest.approx(3)


# -- failures and departures


@pytest.mark.parametrize(("error", "code"), [(LiveError("NO_DATA"), "NO_DATA"), (ValueError("x"), "INTERNAL_ERROR")])
async def test_48_a_failed_reload_is_told_and_the_next_one_comes(error: Exception, code: str) -> None:
    # acceptance 48
    app = App(stale_after=10)
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.error = error
        await asyncio.sleep(11)
        assert app.told == [(error, "rows")]
        assert app.reported == ([] if code == "NO_DATA" else [("demo/rows", error)])
        assert env.server._hub.topics["rows"].last_error == code
        assert (env.counters.reloads, env.counters.reload_errors) == (0, 1)
        app.error = None
        await next_refresh(raw)
        assert len(app.loads) == 3


async def test_a_value_without_json_form_is_a_failed_reload() -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.value = [object()]
        app.publish("todos")
        await raw.silent()
        assert [type(error) for error, _ in app.told] == [TypeError]


async def test_a_trigger_during_a_load_that_fails_is_not_lost() -> None:
    app = App(invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.held, app.error = asyncio.Event(), LiveError("NO_DATA")
        app.publish("todos")
        await env.settle()
        app.publish("todos")
        app.held.set()
        await env.settle()
        assert len(app.told) == 1
        app.error = None
        began = now()
        await next_refresh(raw)
        assert now() - began == pytest.approx(1)


@pytest.mark.parametrize("steps", [0, 1, 20])
async def test_leaving_during_a_reload_stops_it(steps: int) -> None:
    app = App(stale_after=10, invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        before = len(asyncio.all_tasks())
        app.held = asyncio.Event()
        app.publish("todos")
        for _ in range(steps):
            await asyncio.sleep(0)
        env.server._streams.unsubscribe(env.server.connections[0], "rows")
        await env.settle()
        assert len(asyncio.all_tasks()) == before
        app.held = None
        await asyncio.sleep(100)
        assert len(app.loads) == 1 + (steps == 20)
        await raw.subscribe("demo/rows")
        app.publish("todos")
        await next_refresh(raw)


async def test_a_loader_that_does_not_let_itself_be_cancelled_gives_nobody_its_value() -> None:
    app = App(invalidate_on=("todos",))
    stubborn = asyncio.Event()

    class Stubborn(asyncio.Event):
        async def wait(self) -> Any:
            try:
                await super().wait()
            except asyncio.CancelledError:
                await stubborn.wait()

    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.held = Stubborn()
        app.publish("todos")
        await env.settle()
        await raw.send(type="unsubscribe", topic="rows")
        await env.settle()
        app.held = None
        await raw.subscribe("demo/rows")
        stubborn.set()
        await raw.silent()
        app.publish("todos")
        await next_refresh(raw)


async def test_a_topic_that_ends_with_a_failed_subscribe_leaves_nothing_behind() -> None:
    app = App(stale_after=10, invalidate_on=("todos",))
    async with TestEnv(app.server) as env:
        first, second = await Raw.open(env), await Raw.open(env)
        await first.subscribe("demo/rows")
        app.error = LiveError("NO_DATA")
        await second.send(rpc="demo/plain", id="s", args=[], stream=True)
        await env.settle()
        await first.send(type="unsubscribe", topic="rows")
        assert (await second.recv())["data"]["code"] == "NO_DATA"
        assert env.server._hub.watch is None
        app.error = None
        await first.subscribe("demo/rows")
        app.publish("todos")
        await next_refresh(first)


async def test_a_slow_client_of_a_coalesced_topic_gets_what_follows_a_reload_behind_it() -> None:
    app = App(invalidate_on=("todos",), coalesce_by=lambda row: row["id"])
    async with TestEnv(app.server) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        raw.socket.stall()
        app.publish("rows")
        app.publish("todos")
        await env.settle()
        app.publish("rows", "updated")
        await env.settle()
        raw.socket.resume()
        assert [(await raw.recv())["event"] for _ in range(3)] == ["created", "refreshed", "updated"]


@pytest.mark.parametrize(("topics", "delayed"), [(2, 0), (3, 0), (5, 2)])
async def test_so_many_topics_are_reloaded_at_once_and_the_others_have_their_turn(topics: int, delayed: int) -> None:
    running: set[str] = set()
    most = 0
    gate = asyncio.Event()

    @live.stream("room:{name}", invalidate_on="todos")
    async def room(ctx: Context[Any], name: str) -> list[Any]:
        nonlocal most
        running.add(name)
        most = max(most, len(running))
        await gate.wait()
        running.discard(name)
        return [name]

    server = LiveServer({"demo": SimpleNamespace(room=room, _guard=public())}, limits=Limits(reloads_at_once=3))
    async with TestEnv(server) as env:
        raw = await Raw.open(env)
        gate.set()
        for n in range(topics):
            await raw.subscribe("demo/room", str(n))
        gate.clear()
        most = 0
        for _ in range(2):  # the second finds them running or waiting
            server.publish_nowait("todos", "created", {})
            await env.settle()
        assert most == min(topics, 3)
        gate.set()
        frames = [await raw.recv() for _ in range(topics)]
        assert {frame["topic"] for frame in frames} == {f"room:{n}" for n in range(topics)}
        await raw.silent()
        assert (most, env.counters.reloads_delayed) == (min(topics, 3), delayed)


async def test_a_topic_that_is_left_while_it_waits_for_its_reload_is_not_loaded() -> None:
    loads: list[str] = []
    gate = asyncio.Event()

    @live.stream("room:{name}", invalidate_on="todos")
    async def room(ctx: Context[Any], name: str) -> list[Any]:
        loads.append(name)
        await gate.wait()
        return []

    server = LiveServer({"demo": SimpleNamespace(room=room, _guard=public())}, limits=Limits(reloads_at_once=1))
    async with TestEnv(server) as env:
        raw = await Raw.open(env)
        gate.set()
        for name in "abc":
            await raw.subscribe("demo/room", name)
        gate.clear()
        server.publish_nowait("todos", "created", {})
        await env.settle()
        for name in "ab":  # one that runs, and one that waits
            await raw.send(type="unsubscribe", topic=f"room:{name}")
        await env.settle()
        gate.set()
        assert (await raw.recv())["topic"] == "room:c"
        assert loads == ["a", "b", "c", "a", "c"]
