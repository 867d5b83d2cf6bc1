"""Several calls in one frame (docs/protocol.md section 4)."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, LiveError, LiveServer, live, public
from liverpc.testing import TestEnv
from liverpc.transports.memory import MemorySocket


class Shop:
    """The functions under test, and what happened to them."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def module(self) -> SimpleNamespace:
        @live
        def plain(ctx: Context[Any], name: str) -> str:
            self.log.append(f"plain {name}")
            return name

        @live
        async def slow(ctx: Context[Any], name: str, seconds: float) -> str:
            self.log.append(f"begin {name}")
            try:
                await asyncio.sleep(seconds)
            finally:
                self.log.append(f"end {name}")
            return name

        @live
        async def taken(ctx: Context[Any]) -> None:
            self.log.append("taken")
            raise LiveError("CONFLICT", "taken")

        @live
        def nothing(ctx: Context[Any]) -> None:
            ctx.publish("news", "set", 1)

        @live
        def big(ctx: Context[Any], characters: int) -> str:
            return "x" * characters

        @live.stream("news", merge="set")
        async def news(ctx: Context[Any]) -> int:
            await asyncio.sleep(1.0)
            return 0

        @live.stream("closed", access=lambda ctx: False)
        async def closed(ctx: Context[Any]) -> list[Any]:
            return []

        @live.stream("heavy")
        async def heavy(ctx: Context[Any]) -> list[str]:
            return ["x" * (1 << 20)]

        @live.stream("wide")
        async def wide(ctx: Context[Any], characters: int) -> list[str]:
            return ["x" * characters]

        functions = (plain, slow, taken, nothing, big, news, closed, heavy, wide)
        return SimpleNamespace(**{f.__name__: f for f in functions}, _guard=public())


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def live_server(shop: Shop) -> LiveServer:
    return LiveServer({"shop": shop.module()})


def call(number: int, name: str, *args: Any, **members: Any) -> dict[str, Any]:
    return {"rpc": f"shop/{name}", "id": f"k{number}", "args": list(args), **members}


async def opened(env: TestEnv) -> MemorySocket:
    socket = await env.transport.connect("/ws")
    assert json.loads(await socket.recv())["type"] == "welcome"
    return socket


async def frame(socket: MemorySocket) -> Any:
    return json.loads(await socket.recv())


async def ask(env: TestEnv, calls: list[Any], **members: Any) -> list[dict[str, Any]]:
    """What a batch is answered, which must be one frame."""
    socket = await opened(env)
    await socket.send(json.dumps({"batch": calls, **members}))
    reply = await frame(socket)
    assert (reply["topic"], reply["event"]) == ("__rpc", "__batch")
    await env.settle()
    await socket.send('{"rpc":"shop/plain","id":"last","args":["x"]}')
    assert (await frame(socket))["event"] == "last"
    await socket.close()
    answers: list[dict[str, Any]] = reply["data"]["batch"]
    return answers


async def test_calls_of_a_batch_run_together_and_are_answered_in_their_order(live_env: TestEnv, shop: Shop) -> None:
    began = asyncio.get_running_loop().time()
    answers = await ask(live_env, [call(0, "slow", "a", 2.0), call(1, "slow", "b", 1.0), call(2, "plain", "c")])
    assert answers == [{"id": f"k{n}", "ok": True, "data": name} for n, name in enumerate("abc")]
    assert set(shop.log[:3]) == {"begin a", "begin b", "plain c"}
    assert shop.log[3:5] == ["end b", "end a"]
    assert asyncio.get_running_loop().time() - began == 2.0


async def test_calls_of_a_sequential_batch_run_one_after_the_other(live_env: TestEnv, shop: Shop) -> None:
    calls = [call(0, "slow", "a", 2.0), call(1, "taken"), call(2, "plain", "b"), call(3, "slow", "c", 1.0)]
    answers = await ask(live_env, calls, sequential=True)
    assert [answer["ok"] for answer in answers] == [True, False, True, True]
    assert shop.log[:6] == ["begin a", "end a", "taken", "plain b", "begin c", "end c"]


async def test_each_call_fails_for_itself(live_env: TestEnv) -> None:
    calls = [call(0, "taken"), call(1, "plain", 7), call(2, "nowhere"), call(3, "news"), call(4, "plain", "ok")]
    answers = await ask(live_env, calls)
    codes = ["CONFLICT", "VALIDATION", "NOT_FOUND", "INVALID_REQUEST"]
    assert [answer.get("code") for answer in answers] == [*codes, None]
    assert answers[1]["issues"][0]["path"] == ["name"]


async def test_what_is_no_call_is_answered_in_its_place(live_env: TestEnv) -> None:
    answers = await ask(live_env, [7, {"id": "k1"}, {"rpc": "shop/plain", "args": ["x"]}, call(3, "plain", "ok")])
    assert [answer["id"] for answer in answers] == ["", "k1", "", "k3"]
    assert [answer["ok"] for answer in answers] == [False, False, False, True]
    assert {answer.get("code") for answer in answers[:3]} == {"INVALID_REQUEST"}


async def test_an_empty_batch_has_an_empty_answer(live_env: TestEnv) -> None:
    assert await ask(live_env, []) == []
    assert await ask(live_env, [], sequential=True) == []


@pytest.mark.parametrize("size", [49, 50])
async def test_a_batch_takes_fifty_calls(live_env: TestEnv, size: int) -> None:
    answers = await ask(live_env, [call(n, "plain", str(n)) for n in range(size)])
    assert [answer["data"] for answer in answers] == [str(n) for n in range(size)]


async def test_of_a_larger_batch_nothing_runs(live_env: TestEnv, shop: Shop) -> None:
    (answer,) = await ask(live_env, [call(n, "plain", str(n)) for n in range(51)])
    assert (answer["id"], answer["code"]) == ("", "INVALID_REQUEST")
    assert shop.log == ["plain x"]  # the question that ended the test's own listening


async def test_events_of_a_batch_come_before_its_answer(live_env: TestEnv) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps(call(0, "news", stream=True)))
    await frame(socket)
    await socket.send(json.dumps({"batch": [call(1, "nothing"), call(2, "slow", "a", 1.0)]}))
    assert (await frame(socket))["topic"] == "news"
    answers = (await frame(socket))["data"]["batch"]
    assert answers[0] == {"id": "k1", "ok": True, "data": None}
    await socket.close()


async def test_events_held_for_a_stream_in_a_batch_follow_the_batchs_answer(live_env: TestEnv) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps({"batch": [call(0, "news", stream=True), call(1, "slow", "a", 5.0)]}))
    await asyncio.sleep(3.0)  # the stream has loaded, its answer waits for the other call
    live_env.server.publish_nowait("news", "set", 2)
    first, second = await frame(socket), await frame(socket)
    assert [answer["ok"] for answer in first["data"]["batch"]] == [True, True]
    assert (second["topic"], second["data"]) == ("news", 2)
    await socket.close()


async def test_a_refused_stream_in_a_batch_leaves_nothing_subscribed(live_env: TestEnv) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps({"batch": [call(0, "closed", stream=True), call(1, "plain", "a")]}))
    answers = (await frame(socket))["data"]["batch"]
    assert [answer["ok"] for answer in answers] == [False, True]
    assert answers[0]["code"] == "UNAUTHENTICATED"
    assert live_env.server.subscribers("closed") == 0
    await socket.close()


async def test_a_client_that_leaves_ends_its_batch_and_nothing_more_of_it_begins(live_env: TestEnv, shop: Shop) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps({"batch": [call(0, "slow", "a", 5.0), call(1, "plain", "b")], "sequential": True}))
    await asyncio.sleep(1.0)
    await socket.close()
    await asyncio.sleep(10.0)
    assert shop.log == ["begin a", "end a"]
    assert live_env.server.connections == []


async def test_a_batch_that_nests_too_deep_is_answered_for_each_of_its_calls(live_env: TestEnv, shop: Shop) -> None:
    socket = await opened(live_env)
    deep = "[" * 62 + "]" * 62  # in the argument list of a call in the list of the frame
    await socket.send(f'{{"batch":[{{"rpc":"shop/plain","id":"k0","args":{deep}}},{{"rpc":"shop/plain","id":"k1"}}]}}')
    answers = (await frame(socket))["data"]["batch"]
    assert [(answer["id"], answer["code"]) for answer in answers] == [(k, "INVALID_REQUEST") for k in ("k0", "k1")]
    assert shop.log == []
    await socket.close()


@pytest.mark.parametrize(("characters", "code"), [((1 << 20) - 1026, None), ((1 << 20) - 1025, "PAYLOAD_TOO_LARGE")])
async def test_a_result_that_browsers_would_drop_is_an_error(
    live_env: TestEnv, characters: int, code: str | None
) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps(call(0, "big", characters)))  # two more for the quotation marks
    reply = await frame(socket)
    assert reply["data"].get("code") == code
    await socket.close()


async def test_a_stream_that_browsers_could_not_take_is_refused_and_not_subscribed(live_env: TestEnv) -> None:
    socket = await opened(live_env)
    await socket.send(json.dumps(call(0, "heavy", stream=True)))
    assert (await frame(socket))["data"]["code"] == "PAYLOAD_TOO_LARGE"
    assert live_env.server.subscribers("heavy") == 0
    await socket.close()


async def test_nothing_more_of_a_sequential_batch_begins_when_the_client_left_between_two_calls(shop: Shop) -> None:
    module = shop.module()
    sockets: list[MemorySocket] = []

    @live
    def hang_up(ctx: Context[Any]) -> None:
        sockets[0].cut()

    module.hang_up = hang_up
    async with TestEnv(LiveServer({"shop": module})) as env:
        sockets.append(await opened(env))
        calls = [call(0, "hang_up"), call(1, "slow", "a", 1.0)]
        await sockets[0].send(json.dumps({"batch": calls, "sequential": True}))
        await asyncio.sleep(5.0)
        assert shop.log == []


async def test_a_shutdown_waits_for_a_sequential_batch_that_is_between_two_calls(shop: Shop) -> None:
    module = shop.module()
    drains: list[asyncio.Task[None]] = []

    @live
    def end(ctx: Context[Any]) -> None:
        drains.append(asyncio.ensure_future(env.transport.drain()))

    module.end = end
    async with TestEnv(LiveServer({"shop": module})) as env:
        socket = await opened(env)
        calls = [call(0, "end"), call(1, "plain", "a"), call(2, "slow", "b", 1.0)]
        await socket.send(json.dumps({"batch": calls, "sequential": True}))
        answers = (await frame(socket))["data"]["batch"]
        assert [answer["ok"] for answer in answers] == [True, True, True]
        await socket.close()
        await drains[0]


@pytest.mark.parametrize(("events", "code"), [(2, None), (3, "OVERLOADED")])
async def test_a_stream_that_loses_events_while_its_batch_waits_fails(
    shop: Shop, events: int, code: str | None
) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=Limits(held_bytes=300))) as env:
        socket = await opened(env)
        await socket.send(json.dumps({"batch": [call(0, "news", stream=True), call(1, "slow", "a", 5.0)]}))
        await asyncio.sleep(3.0)  # the stream has loaded, its answer waits for the other call
        for _ in range(events):
            env.server.publish_nowait("news", "set", "x" * 90)
        answers = (await frame(socket))["data"]["batch"]
        assert [answer.get("code") for answer in answers] == [code, None]
        assert answers[0]["id"] == "k0"
        assert env.server.subscribers("news") == (0 if code else 1)
        assert env.server.counters.held_overflows == (1 if code else 0)
        for _ in range(events if code is None else 0):
            assert (await frame(socket))["topic"] == "news"
        await socket.close()


@pytest.mark.parametrize(("size", "answered"), [(50, 50), (51, 1), (100_000, 1)])
async def test_a_batch_that_nests_too_deep_is_not_answered_for_more_calls_than_it_may_have(
    live_env: TestEnv, size: int, answered: int
) -> None:
    socket = await opened(live_env)
    deep = "[" * 70 + "]" * 70
    await socket.send('{"batch":[' + ",".join([deep, *["{}"] * (size - 1)]) + "]}")
    answers = (await frame(socket))["data"]["batch"]
    assert len(answers) == answered
    assert {answer["code"] for answer in answers} == {"INVALID_REQUEST"}
    await socket.close()


SMALL = Limits(reply_bytes=4096)  # a single result has at most 3072 characters
ENVELOPE = len('{"topic":"__rpc","event":"__batch","data":{"batch":[]}}')
ANSWER = len('{"id":"k0","ok":true,"data":""}')


@pytest.mark.parametrize(
    ("surplus", "codes"), [(-1, [None, None]), (0, [None, None]), (1, [None, "PAYLOAD_TOO_LARGE"])]
)
async def test_the_longest_result_of_a_batch_that_browsers_would_drop_is_an_error(
    shop: Shop, surplus: int, codes: list[str | None]
) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=SMALL)) as env:
        first = 1000
        second = SMALL.reply_bytes - ENVELOPE - 2 * ANSWER - len(",") - first
        answers = await ask(env, [call(0, "big", first), call(1, "big", second + surplus)])
        assert [answer.get("code") for answer in answers] == codes
        assert [answer["id"] for answer in answers] == ["k0", "k1"]
        assert env.server.counters.batch_answers_replaced == codes.count("PAYLOAD_TOO_LARGE")


async def test_as_many_results_of_a_batch_are_errors_as_its_reply_needs(shop: Shop) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=SMALL)) as env:
        calls = [call(0, "big", 2800), call(1, "plain", "a"), call(2, "big", 3000), call(3, "big", 2900)]
        answers = await ask(env, calls)
        refused = [answer["id"] for answer in answers if answer.get("code") == "PAYLOAD_TOO_LARGE"]
        assert refused == ["k2", "k3"]
        assert len(answers[0]["data"]) == 2800
        assert answers[1]["data"] == "a"


async def test_the_reply_to_a_batch_is_measured_as_browsers_do(shop: Shop) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=SMALL)) as env:
        answers = await ask(env, [call(n, "plain", "ü" * 1200) for n in range(3)])  # twice as many bytes
        assert [answer["ok"] for answer in answers] == [True, True, True]
        answers = await ask(env, [call(n, "plain", "😀" * 700) for n in range(3)])  # two units each
        assert [answer["ok"] for answer in answers].count(False) == 1


async def test_a_stream_whose_batch_has_no_room_for_it_leaves_nothing_subscribed(shop: Shop) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=SMALL)) as env:
        socket = await opened(env)
        calls = [call(0, "wide", 2500, stream=True), call(1, "big", 2400)]
        await socket.send(json.dumps({"batch": calls}))
        answers = (await frame(socket))["data"]["batch"]
        assert [answer.get("code") for answer in answers] == ["PAYLOAD_TOO_LARGE", None]
        assert env.server.subscribers("wide") == 0
        assert env.server.connections[0].streams == 0
        await socket.close()


async def test_answers_that_an_error_would_not_shorten_stay(shop: Shop) -> None:
    async with TestEnv(LiveServer({"shop": shop.module()}, limits=SMALL)) as env:
        calls = [{"rpc": "shop/plain", "id": f"{n}{'i' * 2000}", "args": ["x"]} for n in range(3)]
        answers = await ask(env, calls)
        assert [answer["ok"] for answer in answers] == [True, True, True]
