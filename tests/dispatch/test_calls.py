"""Calls through the whole server, in memory. Numbers in names are acceptance cases."""

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

from liverpc import ConfigError, Context, Limits, LiveError, LiveServer, RpcError, live, public, remote
from liverpc.testing import TestEnv


class Card(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(min_length=1)]
    tags: list[str] = []


class Calls:
    """The functions under test, and what happened to them."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.gate = asyncio.Event()

    def module(self) -> SimpleNamespace:
        @live
        def echo(ctx: Context[Any], a: Any = None, b: Any = None) -> Any:
            self.ran.append((a, b))
            return [a, b]

        @live
        async def add(ctx: Context[Any], a: int, b: int) -> int:
            return a + b

        @live
        async def store(ctx: Context[Any], card: Card) -> Card:
            self.ran.append(card)
            return card

        @live
        async def fail(ctx: Context[Any], code: str, message: str = "") -> None:
            raise LiveError(code, message)

        @live
        def crash(ctx: Context[Any]) -> None:
            raise ValueError("the password is hunter2")

        @live
        async def crash_later(ctx: Context[Any]) -> None:
            await asyncio.sleep(0)
            raise ValueError("the password is hunter2")

        @live
        def unencodable(ctx: Context[Any]) -> Any:
            return object()

        @live
        async def wait(ctx: Context[Any]) -> str:
            self.ran.append("waiting")
            try:
                await self.gate.wait()
            finally:
                self.ran.append("ended")
            return "done"

        @live
        async def stubborn(ctx: Context[Any]) -> str:
            self.ran.append("waiting")
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.ran.append("told to stop")
            return "done all the same"

        @live(thread=True)
        def in_a_thread(ctx: Context[Any], n: int) -> int:
            return n + 1

        @live
        def who(ctx: Context[Any]) -> Any:
            return {"same": ctx.user is self.user, "request_id": ctx.request_id}

        self.user = {"id": "ann"}
        functions = (echo, add, store, fail, crash, crash_later, unencodable, wait, stubborn, in_a_thread, who)
        return SimpleNamespace(**{f.__name__: f for f in functions}, _guard=public())


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def live_server(calls: Calls) -> LiveServer:
    return LiveServer({"demo": calls.module(), "a/b-c_d/e": calls.module()}, limits=Limits(calls_in_flight=4))


async def raw(env: TestEnv, *frames: str) -> list[dict[str, Any]]:
    """Send frames as they are; the replies, without the welcome."""
    socket = await env.transport.connect("/ws")
    assert json.loads(await socket.recv())["type"] == "welcome"
    for frame in frames:
        await socket.send(frame)
    await env.settle()
    await socket.send('{"rpc":"demo/echo","id":"last","args":["end"]}')
    replies: list[dict[str, Any]] = []
    while True:
        reply = json.loads(await socket.recv())
        if reply.get("event") == "last":
            await socket.close()
            return replies
        replies.append(reply)


def code(reply: dict[str, Any]) -> str:
    assert reply["data"]["ok"] is False
    return str(reply["data"]["code"])


@pytest.mark.parametrize("value", [1, "x", None, True, 1.5, [1, [2, {"k": None}]], {"a": {"b": []}}, "ü€😀", ""])
async def test_1_a_result_comes_back_unchanged(live_env: TestEnv, value: Any) -> None:
    assert await live_env.connect().call(remote("demo/echo"), value, "x") == [value, "x"]


async def test_2_a_call_without_args_runs_without_arguments(live_env: TestEnv, calls: Calls) -> None:
    [reply] = await raw(live_env, '{"rpc":"demo/echo","id":"1"}')
    assert reply["data"] == {"id": "1", "ok": True, "data": [None, None]}


async def test_3_an_unknown_path_is_not_found_and_nothing_runs(live_env: TestEnv, calls: Calls) -> None:
    with pytest.raises(RpcError) as caught:
        await live_env.connect().call(remote("demo/nope"), 1)
    assert caught.value.code == "NOT_FOUND"
    assert calls.ran == []


@pytest.mark.parametrize(
    "path", ["echo", "demo/../echo", "demo/e.cho", "demo/e cho", "demo/e\\u0000", "/demo/echo", ""]
)
async def test_4_a_malformed_path_is_an_invalid_request(live_env: TestEnv, path: str) -> None:
    [reply] = await raw(live_env, f'{{"rpc":"{path}","id":"1","args":[]}}')
    assert code(reply) == "INVALID_REQUEST"


async def test_4_hyphens_underscores_and_four_segments_are_fine(live_env: TestEnv) -> None:
    assert await live_env.connect().call(remote("a/b-c_d/e/echo"), 1) == [1, None]


@pytest.mark.parametrize("args", ['{"a":1}', '"ab"', "1", "null", "true"])
async def test_5_args_that_are_no_list_are_an_invalid_request(live_env: TestEnv, calls: Calls, args: str) -> None:
    [reply] = await raw(live_env, f'{{"rpc":"demo/echo","id":"1","args":{args}}}')
    assert code(reply) == "INVALID_REQUEST"
    assert calls.ran == [("end", None)]


@pytest.mark.parametrize("path", ["demo/crash", "demo/crash_later"])
async def test_6_an_ordinary_exception_is_an_internal_error_without_its_text(
    live_env: TestEnv, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    [reply] = await raw(live_env, f'{{"rpc":"{path}","id":"1"}}')
    assert code(reply) == "INTERNAL_ERROR"
    assert "hunter2" not in json.dumps(reply)
    assert "hunter2" in caplog.text  # for those who operate the server


async def test_6_a_result_without_json_form_is_an_internal_error(live_env: TestEnv) -> None:
    [reply] = await raw(live_env, '{"rpc":"demo/unencodable","id":"1"}')
    assert code(reply) == "INTERNAL_ERROR"


async def test_7_a_live_error_arrives_with_its_code_and_message(live_env: TestEnv) -> None:
    client = live_env.connect()
    with pytest.raises(RpcError) as caught:
        await client.call(remote("demo/fail"), "CONFLICT", "taken")
    assert (caught.value.code, caught.value.message) == ("CONFLICT", "taken")
    with pytest.raises(RpcError) as caught:
        await client.call(remote("demo/fail"), "CONFLICT")
    assert caught.value.message == "CONFLICT"


async def test_15_ctx_user_is_exactly_what_on_connect_returned(live_env: TestEnv, calls: Calls) -> None:
    assert (await live_env.connect(user=calls.user).call(remote("demo/who")))["same"] is True


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("abc-1", True),
        (" trimmed ", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ("", False),
        ("é", False),
    ],
)
async def test_15_a_usable_request_id_is_kept_and_any_other_replaced(
    live_env: TestEnv, header: str, kept: bool
) -> None:
    client = live_env.connect(headers={"X-Request-ID": header})
    given = (await client.call(remote("demo/who")))["request_id"]
    assert (given == header.strip()) is kept
    assert 1 <= len(given) <= 128


async def test_arguments_are_converted_to_their_annotations(live_env: TestEnv, calls: Calls) -> None:
    await live_env.connect().call(remote("demo/store"), {"title": "x", "extra": 1})
    assert calls.ran == [Card("x", [])]


async def test_wrong_arguments_are_a_validation_error_that_says_where(live_env: TestEnv, calls: Calls) -> None:
    client = live_env.connect()
    with pytest.raises(RpcError) as caught:
        await client.call(remote("demo/store"), {"title": "x", "tags": ["a", 7]})
    assert caught.value.code == "VALIDATION"
    assert [issue.path for issue in caught.value.issues] == [["tags", "1"]]
    with pytest.raises(RpcError) as caught:
        await client.call(remote("demo/add"), "x")
    assert [(i.path, i.message) for i in caught.value.issues] == [
        (["a"], "Expected `int`, got `str`"),
        (["b"], "Missing argument"),
    ]
    assert calls.ran == []


async def test_surplus_arguments_are_dropped(live_env: TestEnv) -> None:
    assert await live_env.connect().call(remote("demo/add"), 1, 2, 3, 4) == 3


async def test_a_call_without_id_runs_and_is_never_answered(live_env: TestEnv, calls: Calls) -> None:
    replies = await raw(
        live_env,
        '{"rpc":"demo/echo","args":["fired"]}',
        '{"rpc":"demo/crash"}',
        '{"rpc":"demo/nope"}',
        '{"rpc":"demo/fail","args":["X"]}',
    )
    assert replies == []
    assert calls.ran == [("fired", None), ("end", None)]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "x",
        "[]",
        "{}",
        '"text"',
        '{"rpc":1,"id":"1"}',
        '{"rpc":"demo/echo","id":5}',
        '{"rpc":"demo/echo"',
        "\x00\x00",
    ],
)
async def test_frames_that_mean_nothing_are_ignored_and_counted(live_env: TestEnv, calls: Calls, frame: str) -> None:
    assert await raw(live_env, frame) == []
    assert calls.ran == [("end", None)]
    assert live_env.counters.frames_ignored == 1


async def test_frames_nest_as_deep_as_the_limit_and_no_deeper(live_env: TestEnv) -> None:
    def nested(levels: int) -> str:
        inner = levels - 2  # the frame and args are two levels
        return '{"rpc":"demo/echo","id":"1","args":[' + "[" * inner + "]" * inner + "]}"

    [fits] = await raw(live_env, nested(64))
    assert fits["data"]["ok"] is True
    [deeper] = await raw(live_env, nested(65))
    assert code(deeper) == "INVALID_REQUEST"


async def test_calls_of_one_connection_run_concurrently_and_answer_when_done(live_env: TestEnv, calls: Calls) -> None:
    client = await live_env.connect().open()
    slow = asyncio.create_task(client.call(remote("demo/wait")))
    assert await client.call(remote("demo/add"), 1, 2) == 3
    assert not slow.done()
    calls.gate.set()
    assert await slow == "done"


async def test_a_plain_function_may_run_in_a_thread(live_env: TestEnv) -> None:
    assert await live_env.connect().call(remote("demo/in_a_thread"), 1) == 2


async def test_a_client_that_leaves_cancels_its_calls_and_leaves_nothing(live_env: TestEnv, calls: Calls) -> None:
    client = await live_env.connect().open()
    call = asyncio.create_task(client.call(remote("demo/wait")))
    await live_env.settle()
    [connection] = live_env.server.connections
    client.cut()
    with pytest.raises(RpcError, match="DISCONNECTED"):
        await call
    await live_env.settle()
    assert calls.ran == ["waiting", "ended"]
    assert not connection.calls.of


async def test_reading_stops_while_too_many_calls_run(live_env: TestEnv, calls: Calls) -> None:
    client = await live_env.connect().open()
    waiting = [asyncio.create_task(client.call(remote("demo/wait"), n)) for n in range(4)]
    await live_env.settle()
    late = asyncio.create_task(client.call(remote("demo/add"), 1, 1))
    await live_env.settle()
    assert not late.done()
    calls.gate.set()
    assert await late == 2
    assert await asyncio.gather(*waiting) == ["done"] * 4


async def test_camel_case_paths_answer_besides_the_own_spelling() -> None:
    module = Calls().module()
    async with TestEnv(LiveServer({"demo": module}, naming="camel")) as env:
        client = env.connect()
        assert await client.call(remote("demo/inAThread"), 1) == 2
        assert await client.call(remote("demo/in_a_thread"), 1) == 2


async def test_13_a_handler_that_ends_after_its_client_has_gone_disturbs_nobody(
    live_env: TestEnv, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    client = await live_env.connect().open()
    call = asyncio.create_task(client.call(remote("demo/stubborn")))
    await live_env.settle()
    client.cut()
    with pytest.raises(RpcError, match="DISCONNECTED"):
        await call
    await live_env.settle()
    assert calls.ran == ["waiting", "told to stop"]
    assert live_env.counters.calls == 1
    assert await live_env.connect().call(remote("demo/add"), 2, 2) == 4
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "origins", ["https://app.example", ["https://app.example/"], ["app.example"], ["*"], ["HTTPS://App.example"]]
)
def test_origins_that_fit_no_page_are_refused_when_the_server_is_made(origins: Any) -> None:
    with pytest.raises(ConfigError, match="origin"):
        LiveServer(origins=origins)


@pytest.mark.parametrize("origins", [[], ["https://app.example", "http://[::1]:8000", "null", "capacitor://localhost"]])
def test_origins_as_browsers_write_them_are_taken(origins: list[str]) -> None:
    LiveServer(origins=origins)
