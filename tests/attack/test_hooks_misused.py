"""Hooks that fail in every way: each request is answered, nothing of the failure gets out, nothing is left."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Limits, LiveError, LiveServer, PushFailed, Reject, guard, live, public, remote
from liverpc.testing import TestEnv
from tests.attack.attack_kit import Peer, what_is_left

SECRET = "secret"


class Panic(BaseException):
    """As the panics of Rust extensions are."""


class Text(str):
    """Has no JSON form."""


ERRORS = [
    ValueError(SECRET),
    Panic(SECRET),
    asyncio.CancelledError(SECRET),
    PushFailed(SECRET),
    Reject("FORBIDDEN", SECRET),
]


@live
def quick(ctx: Context[Any]) -> int:
    return 1


@live.stream("rows")
async def rows(ctx: Context[Any]) -> list[Any]:
    return []


def serve(_guard: Any = None, *, functions: dict[str, Any] | None = None, **options: Any) -> LiveServer:
    known = {"quick": quick, "rows": rows} | (functions or {})
    return LiveServer({"m": SimpleNamespace(**known, _guard=_guard or public())}, **options)


async def cancelled_inside() -> None:
    """Wait for something that is cancelled."""
    inner = asyncio.ensure_future(asyncio.sleep(10))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


async def answers(server: LiveServer, *frames: dict[str, Any]) -> list[Any]:
    """What a client gets for these frames; checks that nothing is left of it."""
    seen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))
    async with server.lifespan():
        peer = Peer(server)
        for frame in frames:
            peer.feed(json.dumps(frame).encode())
        await asyncio.sleep(60)
        got = list(peer.log)
        peer.leave()
        await asyncio.sleep(60)
        assert not what_is_left(server)
    assert not seen
    return got


BARE = {"type": "subscribe-batch", "topics": ["first", "second"], "ref": 1}
RESUME = {"type": "resume", "sessionId": "x", "lastSeenSeqs": {}}
CALL = {"rpc": "m/quick", "id": "call"}
STREAM = {"rpc": "m/rows", "id": "stream", "stream": True}


# -- on_topic


async def test_on_topic_that_waits_for_something_cancelled_denies_and_goes_on_to_the_next_topic() -> None:
    async def on_topic(ctx: Context[Any], topic: str) -> bool:
        if topic == "first":
            await cancelled_inside()
        return True

    got = await answers(serve(on_topic=on_topic), BARE)
    assert [frame.get("reason") for frame in got] == ["INTERNAL_ERROR", None]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("later", [False, True])
async def test_whatever_on_topic_raises_denies_and_stays_in_the_log(error: BaseException, later: bool) -> None:
    def now(ctx: Context[Any], topic: str) -> bool:
        raise error

    async def soon(ctx: Context[Any], topic: str) -> bool:
        raise error

    got = await answers(serve(on_topic=soon if later else now), BARE, STREAM)
    assert len(got) == 3
    assert SECRET not in json.dumps(got)
    assert all(frame.get("reason") == "INTERNAL_ERROR" for frame in got if "reason" in frame)


@pytest.mark.parametrize(
    "verdict", ["\ud800", Text("X"), LiveError("\ud800"), LiveError(Text("X")), 5, [], object], ids=repr
)
@pytest.mark.parametrize("later", [False, True])
async def test_rubbish_from_on_topic_denies(verdict: Any, later: bool) -> None:
    def now(ctx: Context[Any], topic: str) -> Any:
        if isinstance(verdict, LiveError):
            raise verdict
        return verdict

    async def soon(ctx: Context[Any], topic: str) -> Any:
        return now(ctx, topic)

    got = await answers(serve(on_topic=soon if later else now), BARE, STREAM)
    assert [frame["type"] for frame in got if "type" in frame] == ["subscribe-denied"] * 2
    assert [frame["data"]["ok"] for frame in got if "data" in frame] == [False]


async def test_coroutine_that_on_topic_returns_twice_denies_the_second_time() -> None:
    async def once() -> bool:
        return True

    coroutine = once()
    got = await answers(serve(on_topic=lambda ctx, topic: coroutine), BARE)
    assert [frame.get("reason") for frame in got] == [None, "INTERNAL_ERROR"]


# -- on_resume


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_resume_is_answered_whatever_the_hook_raises(error: BaseException) -> None:
    async def on_resume(ctx: Context[Any], session: str, seqs: dict[str, int]) -> None:
        raise error

    assert await answers(serve(on_resume=on_resume), RESUME) == [{"type": "resumed"}]


# -- around calls


async def hook_that(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_guards_tell_callers_nothing(error: BaseException) -> None:
    got = await answers(serve(guard(lambda ctx: hook_that(error))), CALL, STREAM)
    assert sorted(frame["event"] for frame in got) == ["call", "stream"]
    assert SECRET not in json.dumps(got)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_before_execute_tells_callers_nothing(error: BaseException) -> None:
    got = await answers(serve(before_execute=lambda ctx, path, args: hook_that(error)), CALL, STREAM)
    assert [frame["data"]["code"] for frame in got] == ["INTERNAL_ERROR"] * 2
    assert SECRET not in json.dumps(got)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_middleware_tells_callers_nothing(error: BaseException) -> None:
    async def middleware(ctx: Context[Any], proceed: Callable[[], Awaitable[Any]]) -> Any:
        await proceed()
        raise error

    server = serve()
    server.middleware(middleware)
    got = await answers(server, CALL, STREAM)
    assert [frame["data"]["code"] for frame in got] == ["INTERNAL_ERROR"] * 2
    assert SECRET not in json.dumps(got)


async def test_middleware_that_swallows_the_end_of_its_call_leaves_nothing() -> None:
    @live.stream("slow")
    async def slow(ctx: Context[Any]) -> list[Any]:
        await asyncio.sleep(1000)
        return []

    async def middleware(ctx: Context[Any], proceed: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await proceed()
        except asyncio.CancelledError:
            return "nothing happened"

    server = serve(functions={"slow": slow})
    server.middleware(middleware)
    assert await answers(server, {"rpc": "m/slow", "id": "1", "stream": True}) == []


# -- batches


async def test_call_of_a_batch_does_not_begin_for_a_client_that_left_in_between() -> None:
    ended: list[str] = []

    @live
    async def slow(ctx: Context[Any]) -> None:
        await asyncio.sleep(100)
        ended.append("slow")

    server = serve(functions={"slow": slow})
    async with server.lifespan():
        for turns in range(6):
            peer = Peer(server)
            calls = [{"rpc": "m/quick", "id": "1"}, {"rpc": "m/quick", "id": "2"}, {"rpc": "m/slow", "id": "3"}]
            peer.feed(json.dumps({"batch": calls, "sequential": True}).encode())
            for _ in range(turns):
                await asyncio.sleep(0)
            peer.leave()
        await asyncio.sleep(1000)
        assert not ended
        assert not what_is_left(server)


async def test_batch_with_too_many_calls_that_nests_too_deep_has_one_answer() -> None:
    server = serve()
    async with server.lifespan():
        peer = Peer(server)
        peer.feed(b'{"batch":[' + b"1," * 51 + b"[" * 70 + b"]" * 70 + b"]}")
        [reply] = peer.log
        assert [(answer["id"], answer["code"]) for answer in reply["data"]["batch"]] == [("", "INVALID_REQUEST")]
        peer.leave()


async def test_stream_whose_batch_outlasts_what_may_be_held_fails_instead_of_losing_events() -> None:
    @live
    async def slow(ctx: Context[Any]) -> None:
        await asyncio.sleep(10)

    server = serve(functions={"slow": slow}, limits=Limits(held_bytes=1000))
    async with server.lifespan():
        peer = Peer(server)
        peer.feed(json.dumps({"batch": [STREAM, {"rpc": "m/slow", "id": "slow"}]}).encode())
        await asyncio.sleep(1)
        for _ in range(20):
            server.publish_nowait("rows", "created", {"id": 1, "text": "x" * 100})
        await asyncio.sleep(20)
        [reply] = peer.log
        assert [answer.get("code") for answer in reply["data"]["batch"]] == ["OVERLOADED", None]
        peer.leave()
        assert not what_is_left(server)


# -- what handlers do


async def test_context_kept_beyond_its_connection_and_its_server_is_harmless() -> None:
    kept: list[Context[Any]] = []

    @live
    def keep(ctx: Context[Any]) -> None:
        kept.append(ctx)

    def use(ctx: Context[Any]) -> None:
        ctx.publish("t", "set", 1)
        ctx.batch([("t", "set", 1)])
        ctx.throttle("t", "set", 1, 1.0)
        ctx.debounce("t", "set", 1, 1.0)
        ctx.connection.close(4000)
        assert ctx.connection.send_event("t", "set", 1) is False

    server = serve(functions={"keep": keep})
    async with server.lifespan():
        peer = Peer(server)
        peer.feed(b'{"rpc":"m/keep","id":"1"}')
        peer.leave()
        use(kept[0])
        with pytest.raises(PushFailed):
            await kept[0].connection.ask("anything")
        await asyncio.sleep(5)
        assert not what_is_left(server)
    use(kept[0])
    assert not what_is_left(server)


async def test_answer_of_one_client_does_not_get_to_another_through_its_error() -> None:
    @live
    async def ask_the_other(ctx: Context[Any]) -> Any:
        other = next(each for each in server.connections if each is not ctx.connection)
        return await other.ask("what")

    server = serve(functions={"ask_the_other": ask_the_other})
    async with server.lifespan():
        caller, other = Peer(server), Peer(server)
        caller.feed(b'{"rpc":"m/ask_the_other","id":"1"}')
        await asyncio.sleep(0.1)
        other.feed(json.dumps({"type": "reply", "ref": other.log[0]["ref"], "error": SECRET}).encode())
        await asyncio.sleep(0.1)
        assert caller.log[0]["data"]["code"] == "INTERNAL_ERROR"
        assert SECRET not in json.dumps(caller.log)
        caller.leave()
        other.leave()


@pytest.mark.parametrize("now", ["\ud800", {1, 2}, object()], ids=["surrogate", "set", "object"])
async def test_paced_value_that_loses_its_json_form_is_published_as_it_was(now: Any) -> None:
    @live
    def publish(ctx: Context[Any]) -> None:
        data: dict[str, Any] = {"text": "before"}
        ctx.debounce("rows", "set", data, 1.0)
        data["text"] = now

    server = serve(functions={"publish": publish})
    got = await answers(server, STREAM, {"rpc": "m/publish", "id": "1"})
    assert [frame["data"] for frame in got if frame["topic"] == "rows"] == [{"text": "before"}]


# -- clients


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("", None), ([1], [True]), ({"a": 1}, {"a": 1.0}), ("1", 1)],
    ids=repr,
)
async def test_calls_with_equal_arguments_of_different_types_are_not_taken_for_the_same(one: Any, other: Any) -> None:
    @live
    def shown(ctx: Context[Any], value: Any) -> str:
        return repr(value)

    async with TestEnv(serve(functions={"shown": shown})) as env:
        client = env.connect()
        function = remote("m/shown")
        got: Any = await asyncio.gather(client.call(function, one), client.call(function, other))
    assert got == [repr(one), repr(other)]


async def test_argument_may_have_keys_that_are_numbers() -> None:
    @live
    def same(ctx: Context[Any], value: Any) -> Any:
        return value

    async with TestEnv(serve(functions={"same": same})) as env:
        assert await env.connect().call(remote("m/same"), {1: 2}) == {"1": 2}


async def test_stream_that_opens_behind_its_middlewares_back_is_ended() -> None:
    @live.stream("late")
    async def late(ctx: Context[Any]) -> list[Any]:
        await asyncio.sleep(1)
        return []

    begun: list[asyncio.Future[Any]] = []

    async def impatient(ctx: Context[Any], proceed: Any) -> None:
        begun.append(asyncio.ensure_future(proceed()))
        await asyncio.wait(begun, timeout=0.1)

    server = serve(functions={"late": late})
    server.middleware(impatient)
    async with server.lifespan():
        peer = Peer(server)
        peer.feed(b'{"rpc":"m/late","id":"1","stream":true}')
        await asyncio.sleep(5)
        assert server.subscribers("late") == 0
        with pytest.raises(RuntimeError, match="before its next"):
            await begun[0]
        peer.leave()
