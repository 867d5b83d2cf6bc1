"""hello, and bare subscribes with and without on_topic."""

from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, LiveError, LiveServer, live, public
from liverpc.testing import TestEnv
from tests.dispatch.control_kit import App
from tests.streams.raw_client import Raw


@pytest.fixture
def app() -> App:
    return App()


def denied(topic: Any, reason: str, ref: Any = 1) -> dict[str, Any]:
    return {"type": "subscribe-denied", "topic": topic, "ref": ref, "reason": reason}


def granted(topic: str, ref: Any = 1) -> dict[str, Any]:
    return {"type": "subscribed", "topic": topic, "ref": ref}


# -- hello


@pytest.mark.parametrize(
    ("hellos", "reads_batches"),
    [
        ([], False),
        ([["batch"]], True),
        ([[5, None, ["batch"], "batch", "x"]], True),
        ([["batch"], []], False),
        ([["x"], ["batch"]], True),
        (["batch"], False),
        ([None], False),
    ],
)
async def test_the_last_hello_says_whether_a_client_reads_batches(
    app: App, hellos: list[Any], reads_batches: bool
) -> None:
    async with app.env() as env:
        raw = await Raw.open(env)
        for caps in hellos:
            await raw.send(type="hello", caps=caps)
        await env.settle()
        [connection] = env.server.connections
        assert connection.batches is reads_batches


# -- on_topic: bare subscribes


async def test_a_granted_topic_is_listened_to_at_once_and_without_a_stream(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe", topic="free", ref=1)
        assert await raw.recv() == granted("free")
        assert env.server.subscribers("free") == 1
        await env.server.publish("free", "x", 5)
        assert await raw.recv() == {"topic": "free", "event": "x", "data": 5, "seq": 1}
        await raw.send(type="unsubscribe", topic="free")
        await env.settle()
        assert env.server.subscribers("free") == 0


async def test_subscribing_twice_is_acknowledged_twice_and_asked_once(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        for ref in (1, 2):
            await raw.send(type="subscribe", topic="free", ref=ref)
            assert await raw.recv() == granted("free", ref)
        await env.server.publish("free", "x", 5)
        assert (await raw.recv())["seq"] == 1
        await raw.silent()
        assert app.log == [("asked", "free")]
        assert [connection.streams for connection in env.server.connections] == [1]


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (False, "FORBIDDEN"),
        (None, "FORBIDDEN"),
        ("", "FORBIDDEN"),
        (1, "FORBIDDEN"),
        ("KYC_PENDING", "KYC_PENDING"),
        (LiveError("NOT_NOW", "x"), "NOT_NOW"),
        (RuntimeError("the password"), "INTERNAL_ERROR"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
async def test_45_whatever_is_not_true_denies(app: App, verdict: Any, reason: str, later: bool) -> None:
    # acceptance 45
    app.verdicts = {"t": verdict}
    app.gate.set()
    reported: list[Any] = []
    async with app.env(
        on_topic=app.judge_later if later else app.judge,
        on_error=lambda path, error, ctx: reported.append((path, type(error))),
    ) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["t", "u"], ref=1)
        assert [await raw.recv(), await raw.recv()] == [denied("t", reason), granted("u")]
        assert env.server.subscribers("t") == 0
    assert reported == ([("__subscribe__", RuntimeError)] if reason == "INTERNAL_ERROR" else [])


@pytest.mark.parametrize("later", [False, True])
async def test_a_batch_is_answered_malformed_topics_first_then_in_order(app: App, later: bool) -> None:
    app.verdicts = {"no": False}
    app.gate.set()
    async with app.env(on_topic=app.judge_later if later else app.judge) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["a", 5, "no", "__x", "b", "ü", "a"], ref="r")
        got = [await raw.recv() for _ in range(7)]
        refused = [denied(topic, "INVALID_TOPIC", "r") for topic in (5, "__x", "ü")]
        assert got == [
            *refused,
            granted("a", "r"),
            denied("no", "FORBIDDEN", "r"),
            granted("b", "r"),
            granted("a", "r"),
        ]
        asked = [topic for _, topic in app.log]
        assert asked == ["a", "no", "b"], "malformed names are not asked about, nor what was granted before"


async def test_of_a_batch_256_topics_are_looked_at(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=[f"t{n}" for n in range(257)], ref=1)
        await env.settle()
        assert len(app.log) == 256
        assert env.server.subscribers("t255") == 1
        assert env.server.subscribers("t256") == 0


@pytest.mark.parametrize("ref", [None, True, [1], {"a": 1}])
async def test_without_a_usable_ref_the_work_is_done_and_nothing_answered(app: App, ref: Any) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["free", 5], ref=ref)
        await raw.silent()
        assert env.server.subscribers("free") == 1


async def test_without_the_hook_only_topics_of_streams_are_acknowledged(app: App) -> None:
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/green")
        await raw.send(type="subscribe-batch", topics=["free", "grün"], ref=1)
        assert await raw.recv() == granted("grün")
        await raw.silent()
        assert env.server.subscribers("free") == 0


async def test_without_the_hook_a_stream_that_still_loads_does_not_acknowledge_its_topic(app: App) -> None:
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.send(rpc="demo/slow", id="1", args=[], stream=True)
        await env.settle()
        await raw.send(type="subscribe", topic="slow", ref=1)
        await raw.silent()
        app.gate.set()
        assert (await raw.recv())["data"]["ok"]
        await raw.send(type="subscribe", topic="slow", ref=2)
        assert await raw.recv() == granted("slow", 2)


async def test_a_topic_held_through_a_stream_is_not_asked_about_again(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.verdicts = {"rows": False}
        await raw.send(type="subscribe", topic="rows", ref=1)
        assert await raw.recv() == granted("rows")
        assert [connection.streams for connection in env.server.connections] == [1]


async def test_leaving_a_topic_ends_the_bare_subscription_and_the_streams(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe", topic="rows", ref=1)
        await raw.recv()
        await raw.subscribe("demo/rows")
        await raw.send(type="unsubscribe", topic="rows")
        await env.settle()
        assert env.server.subscribers("rows") == 0
        [connection] = env.server.connections
        assert connection.streams == 0


async def test_a_bare_subscription_outlives_a_loader_that_fails_on_its_topic(app: App) -> None:
    @live.stream("t")
    async def broken(ctx: Context[Any]) -> list[Any]:
        await app.gate.wait()
        raise LiveError("X")

    server = LiveServer({"demo": SimpleNamespace(broken=broken, _guard=public())}, on_topic=app.judge)
    async with TestEnv(server) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe", topic="t", ref=1)
        await raw.recv()
        await raw.send(rpc="demo/broken", id="1", stream=True)
        await env.settle()
        await env.server.publish("t", "x", 1)
        app.gate.set()
        got = [await raw.recv(), await raw.recv()]
        assert sorted(frame["topic"] for frame in got) == ["__rpc", "t"]
        await env.server.publish("t", "x", 2)
        assert (await raw.recv())["data"] == 2


@pytest.mark.parametrize("leave", ["unsubscribe", "close"])
async def test_leaving_during_the_decision_wins(app: App, leave: str) -> None:
    async with app.env(on_topic=app.judge_later) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["t", "u"], ref=1)
        if leave == "unsubscribe":
            await env.settle()
            await raw.send(type="unsubscribe", topic="t")
            await env.settle()
            app.gate.set()
            assert await raw.recv() == granted("u")
        else:
            await env.settle()
            raw.socket.cut()
            await env.settle()
            app.gate.set()
        await env.settle()
        assert env.server.subscribers("t") == 0
        assert len(env.server._streams.bare) == 0


async def test_coming_back_during_the_decision_is_a_new_request(app: App) -> None:
    async with app.env(on_topic=app.judge_later) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe", topic="t", ref=1)
        await raw.send(type="unsubscribe", topic="t")
        await raw.send(type="subscribe", topic="t", ref=2)
        await env.settle()
        app.gate.set()
        assert await raw.recv() == granted("t", 2)
        assert env.server.subscribers("t") == 1


async def test_decisions_that_wait_count_as_calls_and_stop_the_reading(app: App) -> None:
    async with app.env(on_topic=app.judge_later, limits=Limits(calls_in_flight=4)) as env:
        raw = await Raw.open(env)
        for number in range(10):
            await raw.send(type="subscribe", topic=f"t{number}", ref=number)
        await env.settle()
        [connection] = env.server.connections
        assert len(connection.calls.of) == 4
        app.gate.set()
        assert [(await raw.recv())["ref"] for _ in range(10)] == list(range(10))


async def test_a_connection_listens_to_as_many_topics_as_it_may_have_streams(app: App) -> None:
    async with app.env(on_topic=app.judge, limits=Limits(streams_per_connection=2)) as env:
        raw = await Raw.open(env)
        await raw.send(type="subscribe-batch", topics=["a", "b", "c"], ref=1)
        assert [await raw.recv() for _ in range(3)] == [granted("a"), granted("b"), denied("c", "OVERLOADED")]
        await raw.send(type="unsubscribe", topic="a")
        await raw.send(type="subscribe", topic="c", ref=2)
        assert await raw.recv() == granted("c", 2)


# -- on_topic: streams


@pytest.mark.parametrize(
    ("verdict", "code"), [("KYC_PENDING", "KYC_PENDING"), (False, "FORBIDDEN"), (ValueError(), "INTERNAL_ERROR")]
)
@pytest.mark.parametrize("later", [False, True])
async def test_45_the_hook_gates_streams_before_loader_and_hooks(
    app: App, verdict: Any, code: str, later: bool
) -> None:
    # acceptance 45
    app.verdicts = {"rows": verdict}
    app.gate.set()
    async with app.env(on_topic=app.judge_later if later else app.judge) as env:
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/rows")
        assert reply["code"] == code
        assert app.log == [("asked", "rows")]
        assert env.server.subscribers("rows") == 0
        app.verdicts = {}
        assert (await raw.subscribe("demo/rows"))["ok"] is True


async def test_the_hook_is_asked_after_the_access_check_and_never_about_unusable_topics(app: App) -> None:
    async with app.env(on_topic=app.judge) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/secret"))["code"] == "UNAUTHENTICATED"
        assert (await raw.subscribe("demo/reserved"))["code"] == "INVALID_REQUEST"
        assert app.log == []


async def test_a_client_that_leaves_during_the_decision_about_a_stream_leaves_nothing(app: App) -> None:
    async with app.env(on_topic=app.judge_later) as env:
        raw = await Raw.open(env)
        await raw.send(rpc="demo/rows", id="1", stream=True)
        await env.settle()
        raw.socket.cut()
        await env.settle()
        app.gate.set()
        await env.settle()
        assert env.server.subscribers("rows") == 0
        assert app.log == []


# -- nothing is left behind


async def test_a_thousand_clients_that_come_and_go_leave_nothing_behind(app: App) -> None:
    app.gate.set()
    async with app.env(on_topic=app.judge_later, on_unhandled=lambda *args: None) as env:
        server = env.server
        for number in range(1000):
            raw = await Raw.open(env, caps=["batch"])
            await raw.subscribe("demo/rows")
            await raw.send(type="subscribe-batch", topics=["rows", "free", f"t{number}"], ref=1)
            for _ in range(3):
                await raw.recv()
            if number % 2:
                await raw.send(type="unsubscribe", topic="free")
                await raw.socket.close()
            else:
                raw.socket.cut()
        await env.settle()
        assert server.connections == []
        assert server._hub.topics == {}
        assert len(server._hub.requests) == len(server._streams.bare) == len(server._background) == 0
        assert server.counters.connections_opened == server.counters.connections_closed == 1000
        assert env.transport.links == set()
