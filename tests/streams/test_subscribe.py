"""Subscribing and leaving. Numbers in names are acceptance cases."""

import asyncio
import datetime
import enum
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

from liverpc import Context, Limits, LiveError, LiveServer, RpcError, live, public, remote
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw

RoomName = Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]
ANN = {"id": "ann", "admin": False}


class App:
    """Streams under test, and a record of what ran."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.gate = asyncio.Event()
        self.rows: list[dict[str, Any]] = [{"id": 1}]

    def hook(self, name: str) -> Any:
        def record(ctx: Context[Any], topic: str, *rest: int) -> None:
            self.log.append((name, topic, *rest))

        return record

    def module(self) -> SimpleNamespace:
        hooks: Any = {"on_subscribe": self.hook("sub"), "on_unsubscribe": self.hook("unsub")}

        @live.stream("rows", **hooks)
        async def rows(ctx: Context[Any]) -> list[Any]:
            self.log.append("load")
            return list(self.rows)

        @live.stream("rows", prepend=True)
        def rows_again(ctx: Context[Any]) -> list[Any]:
            return list(self.rows)

        @live.stream("slow", **hooks)
        async def slow(ctx: Context[Any]) -> list[Any]:
            found = list(self.rows)
            await self.gate.wait()
            return found

        @live.stream("slow")
        async def slow_too(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("room:{room}", **hooks)
        async def room(ctx: Context[Any], room: RoomName) -> list[Any]:
            self.log.append(("load", room))
            return [{"id": room}]

        def by_day(ctx: Context[Any], day: datetime.date) -> str:
            self.log.append(("topic", day))
            return f"day:{day.isoformat()}"

        @live.stream(by_day)
        async def daily(ctx: Context[Any], day: datetime.date) -> list[Any]:
            self.log.append(("load", day))
            return []

        names: dict[str, Any] = {"reserved": "__x", "number": 5, "long": "x" * 257, "ok": "fine"}

        @live.stream(lambda ctx, which: names[which])
        async def odd(ctx: Context[Any], which: str) -> list[Any]:
            return []

        @live.stream("broken", **hooks)
        async def broken(ctx: Context[Any], how: str) -> list[Any]:
            if how == "live":
                raise LiveError("LOAD_FAILED", "no data")
            raise ValueError("the secret")

        async def only_admins(ctx: Context[Any]) -> bool:
            await asyncio.sleep(0)
            return bool(ctx.user and ctx.user["admin"])

        @live.stream("secret", access=only_admins, **hooks)
        async def secret(ctx: Context[Any]) -> list[Any]:
            self.log.append("load")
            return []

        @live
        def publish(ctx: Context[Any], topic: str, event: str, data: Any) -> None:
            ctx.publish(topic, event, data)

        notices = live.channel("notices", merge="set", item=str)
        members = {k: v for k, v in locals().items() if not k.startswith(("self", "hooks", "by_day", "only", "names"))}
        return SimpleNamespace(**members, _guard=public())


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def live_server(app: App) -> LiveServer:
    return LiveServer({"demo": app.module()}, limits=Limits(held_bytes=1000, streams_per_connection=3))


async def test_34_subscribing_gives_data_topic_merge_and_key_then_events(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    reply = await raw.subscribe("demo/rows")
    assert reply == {"id": "s", "ok": True, "data": [{"id": 1}], "topic": "rows", "merge": "crud", "key": "id"}
    await live_env.server.publish("rows", "created", {"id": 2})
    assert await raw.recv() == {"topic": "rows", "event": "created", "data": {"id": 2}, "seq": 1}


async def test_on_subscribe_runs_after_the_first_answer(live_env: TestEnv, app: App) -> None:
    await live_env.connect().subscribe(remote("demo/rows"))
    await live_env.settle()
    assert app.log == ["load", ("sub", "rows")]


async def test_two_streams_on_one_topic_get_each_event_once(live_env: TestEnv) -> None:  # acceptance 37
    client = live_env.connect()
    first = await client.subscribe(remote("demo/rows"))
    await live_env.server.publish("rows", "created", {"id": 2})
    second = await client.subscribe(remote("demo/rows_again"))
    await live_env.server.publish("rows", "created", {"id": 3})
    await first.wait_for(lambda rows: [row["id"] for row in rows] == [1, 2, 3])
    await second.wait_for(lambda rows: [row["id"] for row in rows] == [3, 1])
    assert live_env.counters.deliveries == 2


async def test_38_a_template_topic_keeps_arguments_apart(live_env: TestEnv, app: App) -> None:
    client = live_env.connect()
    red = await client.subscribe(remote("demo/room"), "red")
    blue = await client.subscribe(remote("demo/room"), "blue")
    await live_env.server.publish("room:red", "created", {"id": "x"})
    await red.wait_for(lambda rows: len(rows) == 2)
    assert blue.value == [{"id": "blue"}]


@pytest.mark.parametrize("which", ["reserved", "number", "long"])
async def test_39_a_topic_function_must_give_a_usable_name(live_env: TestEnv, which: str) -> None:
    with pytest.raises(RpcError, match="INVALID_REQUEST"):
        await live_env.connect().subscribe(remote("demo/odd"), which)
    assert (await live_env.connect().subscribe(remote("demo/odd"), "ok")).value == []


async def test_40_invalid_arguments_are_refused_before_the_topic_is_computed(live_env: TestEnv, app: App) -> None:
    with pytest.raises(RpcError) as caught:
        await live_env.connect().subscribe(remote("demo/daily"), "tomorrow")
    assert caught.value.code == "VALIDATION"
    assert [issue.path for issue in caught.value.issues] == [["day"]]
    assert app.log == []


async def test_41_topic_and_loader_get_the_converted_argument(live_env: TestEnv, app: App) -> None:
    await live_env.connect().subscribe(remote("demo/daily"), "2026-01-02")
    day = datetime.date(2026, 1, 2)
    assert app.log == [("topic", day), ("load", day)]


@pytest.mark.parametrize(("user", "code"), [(None, "UNAUTHENTICATED"), (ANN, "FORBIDDEN")])
async def test_42_access_refuses_before_anything_happens(live_env: TestEnv, app: App, user: Any, code: str) -> None:
    with pytest.raises(RpcError) as caught:
        await live_env.connect(user=user).subscribe(remote("demo/secret"))
    assert caught.value.code == code
    await live_env.settle()
    assert app.log == []
    assert live_env.server.subscribers("secret") == 0


async def test_42_access_lets_pass_who_may(live_env: TestEnv, app: App) -> None:
    await live_env.connect(user={"id": "root", "admin": True}).subscribe(remote("demo/secret"))
    assert live_env.server.subscribers("secret") == 1


@pytest.mark.parametrize(("how", "code"), [("live", "LOAD_FAILED"), ("crash", "INTERNAL_ERROR")])
async def test_46_a_failing_loader_leaves_nothing_behind(live_env: TestEnv, app: App, how: str, code: str) -> None:
    client = live_env.connect()
    with pytest.raises(RpcError) as caught:
        await client.subscribe(remote("demo/broken"), how)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert live_env.server.subscribers("broken") == 0
    await client.aclose()
    await live_env.settle()
    assert app.log == []


async def test_a_failing_loader_does_not_end_another_stream_on_its_topic(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/slow_too")
    await raw.send(rpc="demo/slow", id="w", args=[], stream=True)
    await live_env.settle()
    await live_env.server.publish("slow", "created", {"id": 9})
    app.rows = []
    [connection] = live_env.server.connections
    for task in list(connection.calls.of.values()):
        task.cancel()
    assert (await raw.recv())["data"] == {"id": 9}
    assert live_env.server.subscribers("slow") == 1


async def test_events_published_while_the_loader_runs_follow_its_answer(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/slow", id="s", args=[], stream=True)
    await live_env.settle()
    for number in (2, 3):
        await live_env.server.publish("slow", "created", {"id": number})
    app.gate.set()
    assert (await raw.recv())["data"]["data"] == [{"id": 1}]
    assert [(await raw.recv())["data"]["id"] for _ in range(2)] == [2, 3]


async def test_too_much_published_during_a_load_fails_it_and_only_it(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/slow", id="s", args=[], stream=True)
    await live_env.settle()
    for number in range(30):
        await live_env.server.publish("slow", "created", {"id": number})
    app.gate.set()
    assert (await raw.recv())["data"]["code"] == "OVERLOADED"
    assert live_env.counters.held_overflows == 1
    assert live_env.server.subscribers("slow") == 0
    assert (await raw.subscribe("demo/slow"))["ok"] is True
    await live_env.server.publish("slow", "created", {"id": 99})
    assert (await raw.recv())["data"] == {"id": 99}


async def test_a_live_stream_loses_nothing_when_a_load_on_its_topic_overflows(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/slow_too")
    await raw.send(rpc="demo/slow", id="s", args=[], stream=True)
    await live_env.settle()
    for number in range(30):
        await live_env.server.publish("slow", "created", {"id": number})
    app.gate.set()
    got = [await raw.recv() for _ in range(31)]
    assert [frame["data"]["id"] for frame in got if frame["topic"] == "slow"] == list(range(30))
    [reply] = [frame for frame in got if frame["topic"] == "__rpc"]
    assert reply["data"]["code"] == "OVERLOADED"


async def test_a_client_that_leaves_during_a_load_leaves_nothing(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/slow", id="s", args=[], stream=True)
    await live_env.settle()
    assert live_env.server.subscribers("slow") == 1
    raw.socket.cut()
    await live_env.settle()
    assert live_env.server.subscribers("slow") == 0
    app.gate.set()
    await live_env.settle()
    assert app.log == []


async def test_leaving_and_coming_back_during_a_load_keeps_both_subscriptions(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/slow", id="first", args=[], stream=True)
    await live_env.settle()
    await raw.send(type="unsubscribe", topic="slow")
    await raw.send(rpc="demo/slow", id="second", args=[], stream=True)
    await live_env.settle()
    await live_env.server.publish("slow", "created", {"id": 5})
    app.gate.set()
    frames = [await raw.recv() for _ in range(3)]
    assert frames[-1]["topic"] == "slow", "the event follows the answer of the load it was held for"
    assert live_env.server.subscribers("slow") == 1
    await live_env.settle()
    assert app.log == [("sub", "slow")] * 2


async def test_leaving_a_topic_for_a_live_stream_leaves_one_that_loads(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/slow_too")
    await raw.send(rpc="demo/slow", id="w", args=[], stream=True)
    await live_env.settle()
    await raw.send(type="unsubscribe", topic="slow")
    await live_env.settle()
    await live_env.server.publish("slow", "created", {"id": 5})
    app.gate.set()
    assert (await raw.recv())["data"]["ok"] is True, "the live stream is over: the event waits for the other's answer"
    assert (await raw.recv())["data"] == {"id": 5}
    await raw.send(type="unsubscribe", topic="slow")
    await live_env.settle()
    assert live_env.server.subscribers("slow") == 0
    assert app.log == [("sub", "slow"), ("unsub", "slow", 0)]
    [connection] = live_env.server.connections
    assert connection.streams == 0


async def test_leaving_a_topic_on_which_several_streams_load_ends_none_of_them(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    for call in ("a", "b"):
        await raw.send(rpc="demo/slow", id=call, args=[], stream=True)
    await live_env.settle()
    await raw.send(type="unsubscribe", topic="slow")
    app.gate.set()
    assert [(await raw.recv())["data"]["ok"] for _ in range(2)] == [True, True]
    await live_env.server.publish("slow", "created", {"id": 5})
    assert (await raw.recv())["data"] == {"id": 5}


async def test_leaving_a_topic_leaves_the_only_stream_that_loads_there(live_env: TestEnv, app: App) -> None:
    # A browser client that came back leaves its topics one by one, in the middle of asking for its streams again.
    raw = await Raw.open(live_env)
    await raw.send(rpc="demo/slow", id="s", args=[], stream=True)
    await raw.send(type="unsubscribe", topic="slow")
    await raw.subscribe("demo/slow_too")
    await live_env.server.publish("slow", "created", {"id": 4})
    await raw.send(type="unsubscribe", topic="slow")
    await live_env.settle()
    await live_env.server.publish("slow", "created", {"id": 5})
    app.gate.set()
    assert (await raw.recv())["event"] == "s"
    assert [(await raw.recv())["data"]["id"] for _ in range(2)] == [4, 5]
    await live_env.server.publish("slow", "created", {"id": 6})
    assert (await raw.recv())["data"] == {"id": 6}
    await raw.send(type="unsubscribe", topic="slow")
    await live_env.settle()
    assert live_env.server.subscribers("slow") == 0
    assert app.log == [("sub", "slow"), ("unsub", "slow", 0)]


async def test_54_leaving_fires_the_hook_once_and_closing_not_again(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/room", "red")
    await raw.send(type="unsubscribe", topic="room:red")
    await live_env.settle()
    await raw.socket.close()
    await live_env.settle()
    assert [entry for entry in app.log if entry[0] == "unsub"] == [("unsub", "room:red", 0)]


async def test_54_after_coming_back_the_hook_fires_again(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    for _ in range(2):
        await raw.subscribe("demo/room", "red")
        await raw.send(type="unsubscribe", topic="room:red")
    await live_env.settle()
    assert [entry for entry in app.log if entry[0] == "unsub"] == [("unsub", "room:red", 0)] * 2


async def test_55_closing_fires_the_hook_for_every_live_topic(live_env: TestEnv, app: App) -> None:
    raw = await Raw.open(live_env)
    await raw.subscribe("demo/rows")
    await raw.subscribe("demo/room", "red")
    raw.socket.cut()
    await live_env.settle()
    assert sorted(entry for entry in app.log if entry[0] == "unsub") == [
        ("unsub", "room:red", 0),
        ("unsub", "rows", 0),
    ]


async def test_remaining_counts_the_other_connections(live_env: TestEnv, app: App) -> None:
    clients = [await Raw.open(live_env) for _ in range(3)]
    for client in clients:
        await client.subscribe("demo/rows")
    for client in clients:
        await client.socket.close()
        await live_env.settle()
    assert [entry[2] for entry in app.log if entry[0] == "unsub"] == [2, 1, 0]


async def test_a_failing_hook_disturbs_nothing(live_env: TestEnv, app: App) -> None:
    def hook(name: str) -> Any:
        async def fail(ctx: Context[Any], topic: str, *rest: int) -> None:
            raise RuntimeError(name)

        return fail

    @live.stream("x", on_subscribe=hook("sub"), on_unsubscribe=lambda ctx, topic, n: 1 / 0)
    async def x(ctx: Context[Any]) -> list[Any]:
        return []

    async with TestEnv(LiveServer({"demo": SimpleNamespace(x=x, _guard=public())})) as env:
        client = env.connect()
        handle = await client.subscribe(remote("demo/x"))
        await handle.aclose()
        await env.settle()
        assert env.server.subscribers("x") == 0


async def test_a_stream_path_called_without_subscribing_is_refused(live_env: TestEnv, app: App) -> None:
    for path in ("demo/secret", "demo/rows", "demo/notices"):
        with pytest.raises(RpcError, match="INVALID_REQUEST"):
            await live_env.connect(user=ANN).call(remote(path))
    assert app.log == []


async def test_a_bare_subscribe_is_acknowledged_only_for_topics_held_through_a_stream(live_env: TestEnv) -> None:
    raw = await Raw.open(live_env)
    await raw.send(type="subscribe", topic="secret", ref=1)
    await raw.subscribe("demo/rows")
    await raw.send(type="subscribe-batch", topics=["secret", 5, "rows", "__x", 'q"'], ref="r")
    got = [await raw.recv() for _ in range(4)]
    denied = [frame["topic"] for frame in got if frame["type"] == "subscribe-denied"]
    assert denied == [5, "__x", 'q"']
    assert got[-1] == {"type": "subscribed", "topic": "rows", "ref": "r"}
    assert live_env.server.subscribers("secret") == 0


async def test_a_connection_has_as_many_streams_as_it_may_and_no_more(live_env: TestEnv) -> None:
    client = live_env.connect()
    handles = [await client.subscribe(remote("demo/room"), name) for name in ("a", "b", "c")]
    for name in ("d", "e"):
        with pytest.raises(RpcError, match="OVERLOADED"):
            await client.subscribe(remote("demo/room"), name)
    assert live_env.counters.streams_refused == 2
    await handles[0].aclose()
    await live_env.settle()
    await client.subscribe(remote("demo/room"), "d")


async def test_a_refused_stream_gets_nothing_of_its_topic(live_env: TestEnv, app: App) -> None:
    @live.stream("held")
    async def held(ctx: Context[Any]) -> list[Any]:
        await app.gate.wait()
        raise LiveError("FORBIDDEN", "not for you")

    async with TestEnv(LiveServer({"demo": SimpleNamespace(held=held, _guard=public())})) as env:
        raw = await Raw.open(env)
        await raw.send(rpc="demo/held", id="s", args=[], stream=True)
        await env.settle()
        await env.server.publish("held", "created", {"secret": 1})
        app.gate.set()
        assert (await raw.recv())["data"]["code"] == "FORBIDDEN"
        await env.settle()
        await env.server.publish("held", "created", {"secret": 2})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw.socket.recv(), 1)


@pytest.mark.parametrize("value", [(1, 2), None, [1], {"a": 1}])
def test_only_plain_values_become_part_of_a_topic(value: Any) -> None:
    @live.stream("p:{part}")
    async def rows(ctx: Context[Any], part: Any) -> list[Any]:
        return []

    with pytest.raises(LiveError, match="INVALID_REQUEST"):
        rows.topic(value)


def test_an_enum_member_stands_for_its_value_in_a_topic() -> None:
    class Color(enum.Enum):
        RED = "red"

    @live.stream("c:{color}")
    async def rows(ctx: Context[Any], color: Color) -> list[Any]:
        return []

    assert rows.topic(Color.RED).name == "c:red"


async def test_a_channel_starts_empty_and_keeps_its_value_over_a_reconnect(live_env: TestEnv) -> None:
    client = live_env.connect()
    handle = await client.subscribe(remote("demo/notices"))
    assert handle.value is None
    await live_env.server.publish("notices", "set", "hello")
    await handle.wait_for(lambda value: value == "hello")
    client.cut()
    await handle.wait_for(lambda _: handle.status == "connected", timeout=30)
    await asyncio.sleep(10)
    assert handle.status == "connected"
    assert handle.value == "hello"
    assert live_env.server.subscribers("notices") == 1
