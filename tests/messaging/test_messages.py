"""What a server says to one user: push, notify, signal (docs/protocol.md section 4)."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, Limits, LiveError, LiveServer, PushFailed, live, public
from liverpc.testing import TestClient, TestEnv
from liverpc.transports.memory import MemorySocket

ANN, BOB = {"id": "ann"}, {"id": "bob"}


class Verdict(msgspec.Struct):
    yes: bool


@live
async def ask(ctx: Context[Any], user: str, data: Any) -> Any:
    return await ctx.push(user, "confirm", data)


@live
def tell(ctx: Context[Any], user: str, data: Any) -> None:
    ctx.notify(user, "note", data)
    ctx.signal(user, "ping", data)


@pytest.fixture
def live_server() -> LiveServer:
    functions = SimpleNamespace(ask=ask, tell=tell, _guard=public())
    return LiveServer({"test_messages": functions}, limits=Limits(requests_in_flight=2))


async def device(env: TestEnv, name: str, user: Any = ANN) -> TestClient:
    client = await env.connect(user=user).open()
    client.on_push("confirm", lambda data: {"device": name, "data": data})
    return client


# -- push


async def test_a_user_is_asked_and_answers(live_env: TestEnv) -> None:  # acceptance 133
    await device(live_env, "a")
    assert await live_env.server.push("ann", "confirm", 1) == {"device": "a", "data": 1}
    bob = live_env.connect(user=BOB)
    assert await bob.call(ask, "ann", 2) == {"device": "a", "data": 2}


async def test_an_answer_may_have_a_type(live_env: TestEnv) -> None:
    client = await live_env.connect(user=ANN).open()
    client.on_push("ok", lambda data: {"yes": data})
    assert await live_env.server.push("ann", "ok", True, returns=Verdict) == Verdict(True)
    with pytest.raises(PushFailed, match="'ok' does not fit"):
        await live_env.server.push("ann", "ok", "perhaps", returns=Verdict)


async def test_what_a_client_raises_fails_the_push(live_env: TestEnv) -> None:  # acceptance 133
    client = await live_env.connect(user=ANN).open()

    def refuse(data: Any) -> None:
        raise LiveError("CLOSED", "the dialog was closed")

    client.on_push("confirm", refuse)
    with pytest.raises(PushFailed, match="the dialog was closed"):
        await live_env.server.push("ann", "confirm")
    with pytest.raises(PushFailed):
        await live_env.server.push("ann", "no handler for this")


async def test_nobody_there_and_no_answer(live_env: TestEnv) -> None:  # acceptance 133
    with pytest.raises(LiveError) as nobody:
        await live_env.server.push("ann", "confirm")
    assert nobody.value.code == "NOT_FOUND"
    await live_env.connect(user=ANN).open()  # without handlers, it answers nothing
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LiveError) as silent:
        await live_env.server.push("ann", "confirm", timeout=2.5)
    assert silent.value.code == "TIMEOUT"
    assert loop.time() - began == pytest.approx(2.5)


@pytest.mark.parametrize("user", ["", "a\nb", 'a"b', "a\\b", "__ann", "x" * 257, 7, None])
async def test_an_id_that_no_user_has_is_refused_before_anything(user: Any, live_env: TestEnv) -> None:
    await device(live_env, "a")  # acceptance 89, 134, 138
    server = live_env.server
    with pytest.raises(LiveError) as pushed:
        await server.push(user, "confirm")
    with pytest.raises(LiveError) as told:
        server.notify(user, "note")
    with pytest.raises(LiveError) as signalled:
        server.signal(user, "ping")
    codes = [caught.value.code for caught in (pushed, told, signalled)]
    assert codes == ["VALIDATION", "VALIDATION", "INVALID_USER_ID"]


@pytest.mark.parametrize("event", ["", "a\nb", "x" * 257, None])
async def test_so_is_an_event_without_a_usable_name(event: Any, live_env: TestEnv) -> None:  # acceptance 134
    for say in (live_env.server.notify, live_env.server.signal):
        with pytest.raises(LiveError) as caught:
            say("ann", event)
        assert caught.value.code == "VALIDATION"
    with pytest.raises(LiveError) as caught:
        await live_env.server.push("ann", event)
    assert caught.value.code == "VALIDATION"


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), True, "5"])
async def test_so_is_a_timeout_that_is_none(timeout: Any, live_env: TestEnv) -> None:  # acceptance 134
    with pytest.raises(LiveError) as caught:
        await live_env.server.push("ann", "confirm", timeout=timeout)
    assert caught.value.code == "VALIDATION"


async def test_the_newest_connection_is_asked_and_the_one_before_when_it_is_gone(live_env: TestEnv) -> None:
    old, new = await device(live_env, "old"), await device(live_env, "new")
    await device(live_env, "bobs", BOB)
    assert (await live_env.server.push("ann", "confirm"))["device"] == "new"
    await new.aclose()
    assert (await live_env.server.push("ann", "confirm"))["device"] == "old"
    newest = await device(live_env, "newest")
    await old.aclose()
    assert (await live_env.server.push("ann", "confirm"))["device"] == "newest"
    await newest.aclose()
    with pytest.raises(LiveError, match="not connected"):
        await live_env.server.push("ann", "confirm")


async def test_one_that_has_too_much_to_answer_is_passed_over(live_env: TestEnv) -> None:
    await device(live_env, "old")
    busy = await live_env.connect(user=ANN).open()
    never = asyncio.Event()
    busy.on_push("confirm", lambda data: never.wait())
    waiting = [asyncio.create_task(live_env.server.push("ann", "confirm", timeout=60)) for _ in range(2)]
    await asyncio.sleep(1)
    assert (await live_env.server.push("ann", "confirm"))["device"] == "old"
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_connection_that_is_lost_midway_fails_the_push_at_once(live_env: TestEnv) -> None:  # acceptance 137
    await device(live_env, "old")
    silent = await live_env.connect(user=ANN).open()
    asked = asyncio.create_task(live_env.server.push("ann", "confirm", timeout=60))
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    silent.cut()
    with pytest.raises(PushFailed, match="the client is gone"):
        await asked
    assert asyncio.get_running_loop().time() - began < 1


async def raw(env: TestEnv, user: Any) -> MemorySocket:
    client = await env.connect(user=user).open()
    assert client.socket is not None
    return client.socket


async def test_an_answer_on_another_connection_means_nothing(live_env: TestEnv) -> None:  # acceptance 139
    await live_env.connect(user=ANN).open()
    asked = asyncio.create_task(live_env.server.push("ann", "confirm", timeout=3))
    await asyncio.sleep(0.5)
    mallory = await raw(live_env, BOB)
    for ref in range(10):
        await mallory.send(json.dumps({"type": "reply", "ref": ref, "data": "forged"}))
    with pytest.raises(LiveError) as caught:
        await asked
    assert caught.value.code == "TIMEOUT"


# -- notify


def _hear(heard: list[Any], name: str, data: Any) -> None:
    heard.append((name, data))


async def test_a_note_reaches_the_newest_connection_and_waits_for_nothing(live_env: TestEnv) -> None:
    heard: list[Any] = []  # acceptance 138
    for name in ("old", "new"):
        client = await live_env.connect(user=ANN).open()
        client.on_push("note", partial(_hear, heard, name))
    live_env.server.notify("ann", "note", 1)
    live_env.server.notify("nobody", "note", 2)
    await asyncio.sleep(1)
    assert heard == [("new", 1)]
    assert len(live_env.server._hub.requests) == 0


# -- signals


async def test_signals_reach_all_connections_of_the_user_and_nobody_else(live_env: TestEnv) -> None:  # acceptance 89
    heard: dict[str, list[Any]] = {"one": [], "two": [], "muted": [], "bob": []}
    clients = {
        "one": await live_env.connect(user=ANN).open(),
        "two": await live_env.connect(user=ANN).open(),
        "muted": await live_env.connect(user=ANN).open(),
        "bob": await live_env.connect(user=BOB).open(),
    }
    for name, client in clients.items():
        client.on_signal("ping", heard[name].append)
    newest = live_env.server._hub.people.connections("ann")[0]
    newest.signals = False
    await clients["bob"].call(tell, "ann", {"n": 1})
    live_env.server.signal("ann", "ping", {"n": 2})
    live_env.server.signal("nobody", "ping")
    await asyncio.sleep(1)
    assert heard == {"one": [{"n": 1}, {"n": 2}], "two": [{"n": 1}, {"n": 2}], "muted": [], "bob": []}


async def test_a_callback_may_be_one_of_several_and_may_leave(live_env: TestEnv) -> None:
    client = await live_env.connect(user=ANN).open()
    heard: list[Any] = []
    stop = client.on_signal("ping", lambda data: heard.append(("first", data)))
    client.on_signal("ping", lambda data: heard.append(("second", data)))
    live_env.server.signal("ann", "ping", 1)
    live_env.server.signal("ann", "pong", 2)
    await asyncio.sleep(1)
    stop()
    live_env.server.signal("ann", "ping", 3)
    await asyncio.sleep(1)
    assert heard == [("first", 1), ("second", 1), ("second", 3)]


async def test_nothing_is_kept_of_users_who_are_gone(live_env: TestEnv) -> None:
    people = live_env.server._hub.people
    clients = [await live_env.connect(user=user).open() for user in (ANN, ANN, BOB, None)]
    assert len(people) == 2
    for client in clients:
        await client.aclose()
    await asyncio.sleep(10)
    assert len(people) == 0
