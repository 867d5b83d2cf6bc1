"""Binary calls at the server (docs/protocol.md section 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc import Context, LiveError, UploadContext, live
from liverpc.errors import Issue
from liverpc.telemetry import CallFinished
from tests.uploads.upload_kit import serving, turns


@live.binary()
async def measure(ctx: Context[Any], data: bytes, name: str = "nobody", times: int = 1) -> Any:
    assert type(data) is bytes
    return {"bytes": len(data), "name": name, "times": times}


@live.binary(max_size=5)
async def small(ctx: Context[Any], data: bytes) -> int:
    return len(data)


@live.stream("rows")
async def rows(ctx: Context[Any]) -> list[Any]:
    raise AssertionError("nobody subscribes")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xfe", b'{"rpc":"m/echo","id":"x"}', bytes(range(256)) * 100])
async def test_a_binary_call_gets_data_and_arguments(data: bytes) -> None:  # acceptance 181
    async with serving(measure=measure) as world:
        sender = world.connect()
        sender.binary("m/measure", data, call="1")
        sender.binary("m/measure", data, "ann", 7, call="2")
        await turns()
        assert sender.replies == [
            ("1", {"bytes": len(data), "name": "nobody", "times": 1}),
            ("2", {"bytes": len(data), "name": "ann", "times": 7}),
        ]
        assert all("id" in frame["data"] for frame in sender.log)


async def test_it_takes_at_most_its_size() -> None:  # acceptance 181: at, below, above
    ran: list[str] = []

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        ran.append("middleware")
        return await following()

    def guard(ctx: Context[Any]) -> None:
        ran.append("guard")

    async with serving(small=small, guard=guard, middlewares=[middleware]) as world:
        sender = world.connect()
        for size in (4, 5):
            sender.binary("m/small", b"x" * size, call=str(size))
            await turns()
        assert ran == ["middleware", "guard"] * 2
        sender.binary("m/small", b"x" * 6, call="6")
        await turns()
        assert sender.replies == [("4", 4), ("5", 5), ("6", "PAYLOAD_TOO_LARGE")]
        assert ran == ["middleware", "guard"] * 2


async def test_without_a_word_it_takes_ten_mebibytes() -> None:
    async with serving(measure=measure) as world:
        sender = world.connect()
        sender.binary("m/measure", bytes(10_485_760), call="1")
        sender.binary("m/measure", bytes(10_485_761), call="2")
        await turns()
        assert sorted(sender.replies) == [
            ("1", {"bytes": 10_485_760, "name": "nobody", "times": 1}),
            ("2", "PAYLOAD_TOO_LARGE"),
        ]


async def test_the_order_of_steps_is_that_of_calls() -> None:
    ran: list[str] = []

    async def middleware(ctx: Context[Any], following: Any) -> Any:
        ran.append("middleware")
        return await following()

    async def guard(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        ran.append("guard")

    def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        ran.append(f"before {path} {args}")

    def access(ctx: Context[Any], count: int) -> bool:
        ran.append(f"access {count}")
        return count != 13

    @live.scoped(access)
    @live.binary()
    async def counted(ctx: Context[Any], data: bytes, count: int) -> int:
        ran.append("handler")
        return count

    async with serving(counted=counted, guard=guard, middlewares=[middleware], before_execute=before) as world:
        sender = world.connect()
        sender.binary("m/counted", b"", 1)
        await asyncio.sleep(2)
        assert ran == ["middleware", "guard", "before m/counted [1]", "access 1", "handler"]
        ran.clear()
        sender.binary("m/counted", b"", "one")
        await asyncio.sleep(2)
        assert ran == ["middleware", "guard", "before m/counted ['one']"]
        ran.clear()
        sender.binary("m/counted", b"", 13)
        await asyncio.sleep(2)
        assert ran == ["middleware", "guard", "before m/counted [13]", "access 13"]
        assert [code for _, code in sender.replies] == [1, "VALIDATION", "UNAUTHENTICATED"]


async def test_what_was_wrong_with_the_arguments_is_told() -> None:
    async with serving(measure=measure) as world:
        sender = world.connect()
        sender.binary("m/measure", b"", 7)
        await turns()
        [frame] = sender.log
        assert frame["data"]["code"] == "VALIDATION"
        [issue] = frame["data"]["issues"]
        assert issue["path"] == ["name"]


@pytest.mark.parametrize("way", ["call", "batch", "stream", "binary", "upload"])
@pytest.mark.parametrize("path", ["m/echo", "m/rows", "m/measure", "m/keep"])
async def test_a_path_is_called_in_the_one_way_it_is_made_for(way: str, path: str) -> None:  # acceptance 181
    ran: list[str] = []

    def guard(ctx: Context[Any]) -> None:
        ran.append(ctx.path)

    async with serving(measure=measure, rows=rows, guard=guard) as world:
        made_for = {"m/echo": ("call", "batch"), "m/rows": ("stream",), "m/measure": ("binary",), "m/keep": ("upload",)}
        if way in made_for[path] or (way == "stream" and path == "m/echo"):
            return  # what a call says beside its path changes nothing for a function
        sender = world.connect()
        match way:
            case "call":
                sender.say(rpc=path, id="b", args=[])
            case "batch":
                sender.say(batch=[{"rpc": path, "id": "b", "args": []}, {"rpc": "m/echo", "id": "e"}])
            case "stream":
                sender.say(rpc=path, id="b", args=[], stream=True)
            case "binary":
                sender.binary(path, b"")
            case "upload":
                sender.begin(1, path, last=True)
        await asyncio.sleep(1)
        if way == "upload":
            assert sender.outcomes == [(1, "INVALID_REQUEST")]
            return
        [frame] = sender.log
        reply = frame["data"]["batch"][0] if way == "batch" else frame["data"]
        assert (reply["id"], reply["code"]) == ("b", "INVALID_REQUEST")
        assert set(ran) <= {"m/echo"}, "its guard has nothing to say yet"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("m/none", "NOT_FOUND"),
        ("none/none", "NOT_FOUND"),
        ("m", "INVALID_REQUEST"),
        ("", "INVALID_REQUEST"),
        ("m//keep", "INVALID_REQUEST"),
        ("m/ä", "INVALID_REQUEST"),
        ("../m", "INVALID_REQUEST"),
    ],
)
async def test_paths_without_a_function_are_refused(path: str, code: str) -> None:
    async with serving() as world:
        sender = world.connect()
        sender.binary(path, b"data")
        sender.begin(1, path, data=b"data")
        sender.more(1, 1, last=True)
        await turns()
        assert sender.replies == [("b", code)]
        assert sender.outcomes == [(1, code)]


@pytest.mark.parametrize("args", ["null", "{}", "1", '"x"', "true"])
async def test_arguments_are_a_list(args: str) -> None:
    async with serving(measure=measure) as world:
        sender = world.connect()
        for path in ("m/measure", "m/none"):
            header = f'{{"rpc":"{path}","id":"b","args":{args}}}'.encode()
            sender.feed(b"\x00" + len(header).to_bytes(2, "big") + header, text=False)
        header = f'{{"rpc":"m/keep","args":{args}}}'.encode()
        chunk = bytes.fromhex("010300000001 00000000") + len(header).to_bytes(2, "big") + header
        sender.feed(chunk, text=False)
        await turns()
        assert sender.replies == [("b", "INVALID_REQUEST")] * 2
        assert sender.outcomes == [(1, "INVALID_REQUEST")]


@pytest.mark.parametrize("levels", [62, 63, 64, 500])
async def test_arguments_nest_as_deep_as_those_of_calls(levels: int) -> None:
    @live.binary()
    async def take(ctx: Context[Any], data: bytes, value: Any) -> int:
        return 1

    @live.upload()
    async def take_up(ctx: UploadContext[Any], value: Any) -> int:
        return 1

    value: Any = 0
    for _ in range(levels):
        value = [value]
    async with serving(take=take, take_up=take_up) as world:  # the header is level 1, its list of arguments level 2
        sender = world.connect()
        sender.binary("m/take", b"", value)
        sender.begin(1, "m/take_up", value, last=True)
        sender.say(rpc="m/echo", id="c", args=[value])
        await turns()
        fits = levels <= 62
        assert [result == "INVALID_REQUEST" for _, result in sender.replies] == [not fits] * 2
        assert [result == "INVALID_REQUEST" for _, result in sender.outcomes] == [not fits]


async def test_what_fails_is_answered_as_for_calls() -> None:
    @live.binary()
    async def fail(ctx: Context[Any], data: bytes, how: str) -> Any:
        match how:
            case "live":
                raise LiveError("TAKEN", "by somebody", issues=[Issue(["a"], "b")], retry_after=2)
            case "error":
                raise ValueError("secret")
            case "stop":
                raise StopIteration
            case "cancelled":
                raise asyncio.CancelledError
            case "strange":
                return object()
            case _:
                return "x" * (1 << 20)

    async with serving(fail=fail) as world:
        sender = world.connect()
        for how in ("live", "error", "stop", "cancelled", "strange", "large"):
            sender.binary("m/fail", b"", how, call=how)
            await turns()
        codes = ["TAKEN", *["INTERNAL_ERROR"] * 4, "PAYLOAD_TOO_LARGE"]
        assert [code for _, code in sender.replies] == codes
        assert sender.log[0]["data"]["retryAfter"] == 2000
        assert sender.log[0]["data"]["issues"] == [{"path": ["a"], "message": "b"}]
        assert "secret" not in str(sender.log)


async def test_messages_that_cannot_be_read_are_counted_and_reach_no_hook() -> None:
    reached: list[bytes] = []

    async with serving(on_unhandled=lambda connection, payload: reached.append(payload)) as world:
        sender = world.connect()
        messages = [
            b"\x00\x00\x00\x00",
            b"\x00\x00\x05{}",
            b"\x01\x02\x03\x04",
            b"\x02\x10\x00\x00",
            b"\x02\x11\x00\x00\x00\x01",
        ]
        for message in messages:
            sender.feed(message, text=False)
        await turns()
        assert (sender.log, reached) == ([], [])
        assert world.count("frames_ignored") == len(messages)
        sender.feed(b"\x03\x00\x00\x00", text=False)
        sender.feed(b"\x00\x00\x00", text=False)
        assert reached == [b"\x03\x00\x00\x00", b"\x00\x00\x00"]


async def test_texts_are_never_taken_for_binary_messages() -> None:
    async with serving() as world:
        sender = world.connect()
        sender.feed(bytes.fromhex("021000000001"))
        sender.feed(b'\x00\x00\x17{"rpc":"m/echo","id":"k0"}')
        assert sender.log == []
        assert world.count("frames_ignored") == 2


async def test_telemetry_tells_kind_and_bytes() -> None:
    finished: list[CallFinished] = []
    async with serving(measure=measure, small=small) as world:
        world.server.telemetry.call_finished.append(finished.append)
        sender = world.connect()
        sender.binary("m/measure", b"data", "ann")
        sender.binary("m/small", b"too much")
        sender.binary("m/none", b"data")
        sender.say(rpc="m/echo", id="e", args=[1])
        await turns()
        found = {event.path: (event.kind, event.received, event.code) for event in finished}
        assert found["m/measure"] == ("binary", 4, None)
        assert found["m/small"][0] == "binary"
        assert found["m/small"][2] == "PAYLOAD_TOO_LARGE"
        assert found["m/echo"] == ("rpc", 0, None)
        assert found["__unknown__"][2] == "NOT_FOUND"
        assert world.count("upload_bytes") == 0


async def test_a_client_that_leaves_ends_its_calls() -> None:
    ended: list[str] = []

    @live.binary()
    async def wait(ctx: Context[Any], data: bytes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with serving(wait=wait) as world:
        sender = world.connect()
        sender.binary("m/wait", b"data")
        await turns()
        sender.leave()
        await turns()
        assert ended == ["cancelled"]
