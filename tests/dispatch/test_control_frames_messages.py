"""resume, messages that are no frames, and who a user is."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Connection, Context, Limits, LiveError
from liverpc.hub.link import ConnectRequest
from tests.dispatch.control_kit import App
from tests.streams.raw_client import Raw


@pytest.fixture
def app() -> App:
    return App()


# -- resume


@pytest.mark.parametrize("later", [False, True])
async def test_resume_is_answered_when_the_hook_is_done(app: App, later: bool) -> None:
    def on_resume(ctx: Context[Any], session: str, seqs: dict[str, int]) -> None:
        app.log.append((session, seqs))
        ctx.connection.send_event("__replay:rows", "msg", {"seq": 42, "event": "x", "data": 1})
        ctx.connection.send_event("__replay:rows", "end", None)

    async def on_resume_later(ctx: Context[Any], session: str, seqs: dict[str, int]) -> None:
        await app.gate.wait()
        on_resume(ctx, session, seqs)

    async with app.env(on_resume=on_resume_later if later else on_resume) as env:
        raw = await Raw.open(env)
        await raw.send(type="resume", sessionId="old", lastSeenSeqs={"rows": 41, "__signal:u1": 3})
        await env.settle()
        app.gate.set()
        assert await raw.recv() == {
            "topic": "__replay:rows",
            "event": "msg",
            "data": {"seq": 42, "event": "x", "data": 1},
        }
        assert await raw.recv() == {"topic": "__replay:rows", "event": "end", "data": None}
        assert await raw.recv() == {"type": "resumed"}
        assert app.log == [("old", {"rows": 41, "__signal:u1": 3})]


@pytest.mark.parametrize("later", [False, True])
async def test_resume_is_answered_when_the_hook_fails_or_is_not_there(app: App, later: bool) -> None:
    reported: list[Any] = []

    def fail(*args: Any) -> Any:
        raise RuntimeError("no")

    async def fail_later(*args: Any) -> Any:
        raise RuntimeError("no")

    for hook, errors in ((None, []), (fail_later if later else fail, ["__resume__"])):
        async with app.env(on_resume=hook, on_error=lambda path, *_: reported.append(path)) as env:
            raw = await Raw.open(env)
            await raw.send(type="resume", sessionId="old", lastSeenSeqs={})
            assert await raw.recv() == {"type": "resumed"}
        assert reported == errors


async def test_a_hook_that_waits_for_something_cancelled_has_failed_and_the_connection_lives(app: App) -> None:
    reported: list[Any] = []

    async def wait(*args: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with app.env(on_resume=wait, on_error=lambda path, error, ctx: reported.append((path, type(error)))) as env:
        raw = await Raw.open(env)
        for _ in range(2):
            await raw.send(type="resume", sessionId="old", lastSeenSeqs={})
            assert await raw.recv() == {"type": "resumed"}
    assert reported == [("__resume__", asyncio.CancelledError)] * 2


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"sessionId": "x"},
        {"sessionId": 5, "lastSeenSeqs": {}},
        {"sessionId": "x", "lastSeenSeqs": []},
        {"sessionId": "x", "lastSeenSeqs": {"t": "1"}},
        {"sessionId": "x", "lastSeenSeqs": {"t": True}},
    ],
)
async def test_a_malformed_resume_gets_no_answer(app: App, members: dict[str, Any]) -> None:
    async with app.env(on_resume=lambda *args: app.log.append(args)) as env:
        raw = await Raw.open(env)
        await raw.send(type="resume", **members)
        await raw.silent()
        assert app.log == []


async def test_an_event_for_one_client_may_have_a_number_and_needs_good_names(app: App) -> None:
    async with app.env() as env:
        raw, other = await Raw.open(env), await Raw.open(env)
        connection = next(each for each in env.server.connections if each.id == raw.session)
        assert connection.send_event("any", "x", [1], seq=7) is True
        assert await raw.recv() == {"topic": "any", "event": "x", "data": [1], "seq": 7}
        await other.silent()
        for topic, event in (("", "x"), ("t", 'a"b'), ("x" * 257, "x")):
            with pytest.raises(LiveError, match="INVALID_TOPIC"):
                connection.send_event(topic, event, 1)
        with pytest.raises(TypeError):
            connection.send_event("t", "x", object())


# -- what is no frame of ours

DEEP = '{"a":' * 70 + "1" + "}" * 70
NO_FRAMES = [
    "hello",
    "",
    "5",
    "[]",
    '{"broken":',
    '{"chat":"hi"}',
    ' {"chat":"hi"}',
    '{"type":"mine","x":1}',
    '{"type":5}',
    '{"rpc":5}',
    DEEP,
    " " + DEEP,
    '{"batch":' + DEEP + "}",
]
FRAMES = [
    '{"rpc":"demo/nope","id":"1"}',
    '{"rpc":"demo/nope"}',
    '{"rpc":"x","id":"1"}',
    '{"batch":[]}',
    '{"rpc":"a/b","id":"1","args":[' + DEEP + "]}",
    '{"batch":[' + DEEP + "]}",
    '{"type":"hello","caps":[]}',
    '{"type":"unsubscribe","topic":"t"}',
    '{"type":"reply","ref":99}',
]


async def test_11_messages_that_are_no_frames_are_reported_and_not_answered(app: App) -> None:
    # acceptance 11
    async with app.env(on_unhandled=lambda connection, data: app.log.append((connection.id, data))) as env:
        raw = await Raw.open(env)
        for text in NO_FRAMES:
            await raw.socket.send(text)
        await raw.silent()
        assert app.log == [(raw.session, text.encode()) for text in NO_FRAMES]


async def test_11_frames_never_reach_the_hooks(app: App) -> None:
    # acceptance 11
    hook = {"on_unhandled": lambda *args: app.log.append(args), "on_json_message": lambda *args: app.log.append(args)}
    async with app.env(**hook) as env:
        raw = await Raw.open(env)
        for text in FRAMES:
            await raw.socket.send(text)
        await env.settle()
        assert app.log == []


async def test_json_objects_go_to_their_own_hook(app: App) -> None:
    async with app.env(
        on_unhandled=lambda connection, data: app.log.append(data),
        on_json_message=lambda connection, obj: app.log.append(obj),
    ) as env:
        raw = await Raw.open(env)
        for text in NO_FRAMES:
            await raw.socket.send(text)
        await env.settle()
        objects: list[Any] = [{"chat": "hi"}] * 2 + [{"type": "mine", "x": 1}, {"type": 5}, {"rpc": 5}]
        assert [each for each in app.log if isinstance(each, dict)] == objects
        rest = ["hello", "", "5", "[]", '{"broken":', DEEP, " " + DEEP, '{"batch":' + DEEP + "}"]
        assert [each for each in app.log if isinstance(each, bytes)] == [text.encode() for text in rest]


@pytest.mark.parametrize(
    ("payload", "reported"),
    [
        (b"\x00\x00\x02{}", False),
        (b"\x01abc", False),
        (b"\x02abc", False),
        (b"\x00\x00\x02", True),
        (b"\x03abc", True),
        (b"\xff", True),
        (b"", True),
    ],
)
async def test_first_bytes_0_to_2_of_binary_messages_are_reserved(app: App, payload: bytes, reported: bool) -> None:
    async with app.env(on_unhandled=lambda connection, data: app.log.append(data)) as env:
        link = SimpleNamespace(send=lambda frame: True, close=lambda *args: None)
        endpoint: Any = env.server.endpoint("/ws")
        session = endpoint.opened(link, ConnectRequest("/ws", address="x"), None)
        session.receive(payload, False)
        session.closed(1000, "")
        assert app.log == ([payload] if reported else [])


async def test_hooks_for_messages_that_wait_are_calls_of_the_connection(app: App) -> None:
    async def on_json_message(connection: Connection, message: Any) -> None:
        await app.gate.wait()
        app.log.append(message["n"])

    async with app.env(on_json_message=on_json_message, limits=Limits(calls_in_flight=4)) as env:
        raw = await Raw.open(env)
        for number in range(6):
            await raw.send(n=number)
        await env.settle()
        [connection] = env.server.connections
        assert len(connection.calls.of) == 4
        app.gate.set()
        await env.settle()
        assert app.log == list(range(6))
        app.gate.clear()
        await raw.send(n=6)
        await env.settle()
        raw.socket.cut()
        await env.settle()
        assert app.log == list(range(6)), "the end of the connection cancels them"


async def test_a_failing_message_hook_is_logged_and_reported_and_the_connection_goes_on(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("oops")

    async with app.env(on_unhandled=fail, on_error=lambda path, error, ctx: app.log.append(path)) as env:
        raw = await Raw.open(env)
        await raw.socket.send("x")
        assert (await raw.subscribe("demo/rows"))["ok"] is True
        assert app.log[0] == "__message__"
        assert any(record.levelno == logging.ERROR for record in caplog.records)


class Panic(BaseException):
    """What extensions raise when they are at their wits' end."""


async def test_a_hook_that_panics_after_waiting_is_logged_and_reported_and_its_frame_answered(app: App) -> None:
    async def panic(*args: Any) -> None:
        await asyncio.sleep(0)
        raise Panic

    app.gate.set()
    app.verdicts["rows"] = Panic()
    hooks = {"on_resume": panic, "on_topic": app.judge_later}
    async with app.env(**hooks, on_error=lambda path, error, ctx: app.log.append(path)) as env:
        raw = await Raw.open(env)
        await raw.send(type="resume", sessionId="old", lastSeenSeqs={})
        assert await raw.recv() == {"type": "resumed"}
        await raw.send(type="subscribe", topic="rows", ref=1)
        denied = {"type": "subscribe-denied", "topic": "rows", "ref": 1, "reason": "INTERNAL_ERROR"}
        assert await raw.recv() == denied
        assert app.log == ["__resume__", ("asked", "rows"), "__subscribe__"]


# -- who a user is


@pytest.mark.parametrize(
    ("user_id", "known"),
    [
        ("ann", True),
        ("x" * 256, True),
        ("x" * 257, False),
        ("", False),
        ("__ann", False),
        ('a"b', False),
        ("a\\b", False),
        ("a\nb", False),
    ],
)
async def test_an_id_that_breaks_the_rules_counts_as_anonymous_and_is_warned_of_once(
    app: App, caplog: pytest.LogCaptureFixture, user_id: str, known: bool
) -> None:
    async with app.env(on_connect=lambda request: {"name": user_id}, identify=lambda user: user["name"]) as env:
        for _ in range(2):
            await Raw.open(env)
        assert [connection.user_id for connection in env.server.connections] == [user_id if known else None] * 2
        warnings = [record for record in caplog.records if "anonymous" in record.message]
        assert len(warnings) == (0 if known else 1)


async def test_a_failing_identify_leaves_the_user_anonymous_and_connected(app: App) -> None:
    def identify(user: Any) -> str:
        raise KeyError("name")

    async with app.env(
        on_connect=lambda request: {"id": 1}, identify=identify, on_error=lambda path, *_: app.log.append(path)
    ) as env:
        await Raw.open(env)
        [connection] = env.server.connections
        assert connection.user_id is None
        assert connection.user == {"id": 1}
        assert app.log == ["__identify__"]


async def test_by_default_a_user_is_known_by_id_user_id_or_user_id_in_camel_case(app: App) -> None:
    users = iter([{"id": 7}, {"user_id": "b"}, SimpleNamespace(userId="c"), {"name": "d"}, None])
    async with app.env(on_connect=lambda request: next(users)) as env:
        for _ in range(5):
            await Raw.open(env)
        assert [connection.user_id for connection in env.server.connections] == ["7", "b", "c", None, None]
