"""Calls that observers try."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConnectRequest, Context, Inspect, LiveError, LiveServer, Reject, Token, guard, live
from liverpc.inspector.protocol import Err, Get, Got, Ok, Try
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import SECRETS, Observer

NASTY = "eve\x1b[2J"
USERS = {"ann": "name=ann", "mallory": "name=mallory", "late": "name=late", NASTY: "name=eve"}


def make(**options: Any) -> LiveServer:
    @live
    async def whoami(ctx: Context[Any], token: str = "") -> dict[str, Any]:
        return {"name": ctx.user and ctx.user["id"], "token": token}

    @live
    async def add(ctx: Context[Any], a: int, b: int) -> int:
        return a + b

    @live
    async def hang(ctx: Context[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    @live
    async def slow(ctx: Context[Any]) -> str:
        await asyncio.sleep(3)
        return "done"

    @live
    async def fail(ctx: Context[Any]) -> None:
        raise RuntimeError("a detail nobody should see")

    @live
    async def refuse(ctx: Context[Any]) -> None:
        raise LiveError("WRONG", "not like this")

    @live
    async def close(ctx: Context[Any]) -> None:
        ctx.connection.close(4403, "go")
        await asyncio.sleep(1)

    @live
    async def flood(ctx: Context[Any]) -> str:
        for number in range(200):
            ctx.connection.send_event("mine", "e", {"x": "y" * 1000, "n": number})
        return "ok"

    @live.stream("rows:{of}")
    async def rows(ctx: Context[Any], of: str) -> list[dict[str, Any]]:
        return [{"id": 1, "of": of}]

    @live.binary()
    async def avatar(ctx: Context[Any], data: bytes) -> None:
        pass

    async def on_connect(request: ConnectRequest) -> Any:
        name = request.query.get("name")
        if name == "mallory":
            raise Reject("FORBIDDEN", "not you")
        if name == "late":
            await asyncio.Event().wait()
        return {"id": name} if name else None

    seen: list[str] = []
    functions = (whoami, add, hang, slow, fail, refuse, close, flood, rows, avatar)
    named: dict[str, Any] = {each.__name__: each for each in functions}
    tokens = (
        Token(secret=SECRETS["admin"], level="admin"),
        Token(secret=SECRETS["observe"]),
        Token(secret=SECRETS["scoped"], level="admin", topics=("rows:*",)),
    )
    server = LiveServer(
        {"demo": SimpleNamespace(**named, _guard=guard(lambda ctx: None))},
        on_connect=on_connect,
        inspect=Inspect(enabled=True, tokens=tokens, test_users=USERS),
        **{"dev": True, **options},
    )
    server.seen = seen  # type: ignore[attr-defined]  # the test's own attribute
    return server


@pytest.fixture
def live_server() -> LiveServer:
    return make()


async def tried(observer: Observer, path: str, *args: Any, user: str = "ann") -> Any:
    return await observer.ask(Try(id=observer.session.new_id(), path=path, args=list(args), user=user))


def nobody_is_left(env: TestEnv) -> bool:
    return not env.server.connections and not [t for t in asyncio.all_tasks() if "trial" in t.get_name()]


async def test_a_call_is_made_as_the_test_user_and_its_secrets_are_not_told(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    answer = await tried(observer, "demo/whoami", "s3cret")
    assert isinstance(answer, Ok)
    assert answer.call is not None
    assert (answer.call.ok, answer.call.user, answer.call.path) == (True, "ann", "demo/whoami")
    assert answer.call.args == {"token": "[REDACTED]"}
    assert answer.call.result == {"name": "ann", "token": "[REDACTED]"}
    nobody = await tried(observer, "demo/whoami", user="")
    assert nobody.call.result["name"] is None
    assert nobody_is_left(live_env)


async def test_what_goes_wrong_is_told_as_any_client_is_told(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    wrong = (await tried(observer, "demo/add", "one")).call
    assert (wrong.ok, wrong.code) == (False, "VALIDATION")
    assert "b" in str(wrong.result["issues"])
    refused = (await tried(observer, "demo/refuse")).call
    assert (refused.code, refused.result) == ("WRONG", "not like this")
    failed = (await tried(observer, "demo/fail")).call
    assert failed.code == "INTERNAL_ERROR"
    assert "detail" not in repr(failed)
    assert nobody_is_left(live_env)


async def test_the_first_value_of_a_stream_is_told_and_it_is_left(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    answer = await tried(observer, "demo/rows", "b1")
    assert answer.call.stream
    assert answer.call.result == [{"id": 1, "of": "b1"}]
    assert live_env.server.subscribers("rows:b1") == 0


async def test_what_cannot_be_tried_is_refused_with_the_cure(live_env: TestEnv) -> None:
    admin = await Observer.attach(live_env, "admin")
    assert "bytes" in (await tried(admin, "demo/avatar")).text
    assert "no function" in (await tried(admin, "demo/nothing")).text
    assert "ann" in (await tried(admin, "demo/add", user="bob")).text
    assert "--admin" in (await tried(await Observer.attach(live_env, "observe"), "demo/add", 1, 2)).text
    scoped = await Observer.attach(live_env, "scoped", token=SECRETS["scoped"])
    assert isinstance(await tried(scoped, "demo/add", 1, 2), Err)


async def test_a_server_in_production_lets_nobody_try() -> None:
    async with TestEnv(make(dev=False)) as env:
        observer = await Observer.attach(env, "admin")
        answer = await tried(observer, "demo/add", 1, 2)
        assert isinstance(answer, Err)
        assert "LIVERPC_DEV=1" in answer.text
        got = await observer.ask(Get(id=99, ref=["declared"]))
        assert isinstance(got, Got)
        assert got.declared is not None
        assert got.declared.users == []


async def test_test_users_are_told_to_those_who_may_try_and_never_their_queries(live_env: TestEnv) -> None:
    for level, users in (("admin", ["", *USERS]), ("observe", [])):
        got = await (await Observer.attach(live_env, level)).ask(Get(id=99, ref=["declared"]))
        assert isinstance(got, Got)
        assert got.declared is not None
        assert got.declared.users == users
        assert "name=" not in repr(got.declared)


async def test_a_user_who_is_not_let_in(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    answer = await tried(observer, "demo/add", 1, 2, user="mallory")
    assert isinstance(answer, Err)
    assert "not let in" in answer.text
    assert nobody_is_left(live_env)


async def test_a_handler_that_closes_its_connection(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    answer = await tried(observer, "demo/close")
    assert isinstance(answer, Err)
    assert "4403 go" in answer.text
    assert nobody_is_left(live_env)


async def test_a_handler_that_hangs_is_cancelled_after_ten_seconds(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    began = asyncio.get_running_loop().time()
    answer = await tried(observer, "demo/hang")
    assert 10 <= asyncio.get_running_loop().time() - began < 11
    assert isinstance(answer, Err)
    assert "10 s" in answer.text
    assert live_env.server.seen == ["cancelled"]  # type: ignore[attr-defined]  # the test's own attribute
    assert nobody_is_left(live_env)


@pytest.mark.parametrize(("path", "user"), [("demo/hang", "ann"), ("demo/hang", "late")])
async def test_nothing_survives_the_observer(live_env: TestEnv, path: str, user: str) -> None:
    observer = await Observer.attach(live_env, "admin")
    await observer.send(Try(id=5, path=path, user=user))
    await asyncio.sleep(1)
    observer.socket.cut()
    await asyncio.sleep(1)
    assert nobody_is_left(live_env)


async def test_a_server_that_stops_waits_for_no_trial() -> None:
    async with TestEnv(make()) as env:
        observer = await Observer.attach(env, "admin")
        await observer.send(Try(id=5, path="demo/hang", user="ann"))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5
    assert env.server.seen == ["cancelled"]  # type: ignore[attr-defined]  # the test's own attribute


async def test_one_at_a_time_for_each_observer(live_env: TestEnv) -> None:
    first, second = await Observer.attach(live_env, "admin"), await Observer.attach(live_env, "admin")
    await first.send(Try(id=5, path="demo/slow", user="ann"))
    refused = await tried(first, "demo/add", 1, 2)
    assert isinstance(refused, Err)
    assert "already" in refused.text
    assert (await tried(second, "demo/add", 1, 2)).call.result == 3
    done = await first.wait(Ok, lambda frame: frame.id == 5)
    assert done.call is not None
    assert done.call.result == "done"
    assert (await tried(first, "demo/add", 1, 2)).call.result == 3


async def test_arguments_that_are_too_large_or_too_deep(live_env: TestEnv) -> None:
    observer = await Observer.attach(live_env, "admin")
    limit = live_env.server.limits.message_bytes
    huge = await tried(observer, "demo/whoami", "x" * (limit - 100))
    assert isinstance(huge, Ok)  # Try itself has more around it, so whatever arrives can be sent on
    assert huge.call is not None
    deep: Any = 1
    for _ in range(80):
        deep = [deep]
    answer = (await tried(observer, "demo/whoami", deep)).call
    assert answer.code == "INVALID_REQUEST"
    assert len(str((await tried(observer, "demo/whoami", {"k": "v" * 100_000})).call)) < 10_000
    assert (await tried(observer, "demo/flood")).call.result == "ok"


async def test_who_tried_what_is_logged_without_arguments(live_env: TestEnv, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    observer = await Observer.attach(live_env, "admin")
    answer = await tried(observer, "demo/whoami", "s3cret", user=NASTY)
    assert answer.call.user == "eve"
    assert "tests calls demo/whoami as the test user 'eve\\x1b[2J'" in caplog.text
    assert "s3cret" not in caplog.text
    assert "\x1b" not in caplog.text


async def test_the_token_a_server_makes_itself_opens_admin_in_development_mode_only() -> None:
    for dev, level in ((True, "admin"), (False, "observe")):
        async with TestEnv(LiveServer((), inspect=Inspect(enabled=True), dev=dev)) as env:
            inspector = env.server._inspector
            assert inspector is not None
            assert inspector.tokens[0].level == level
