"""Questions of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from liverpc.client import Client, ClientCounters, RpcError
from liverpc.client.core import UNSENT_MAX
from liverpc.client.inbox import Push
from liverpc.client.push import PUSHES_MAX
from liverpc.errors import LiveError
from liverpc.wire.frames import CONTROL_MAX_BYTES
from tests.client.client_kit import Pipe, Script, client_of, status_of, until
from tests.client.core_kit import opened, sent


def ask(pipe: Pipe, event: str = "confirm", data: Any = None, ref: Any = 1) -> None:
    pipe.say(type="request", ref=ref, event=event, data=data)


async def answers(pipe: Pipe, count: int = 1) -> list[Any]:
    found: list[Any] = []

    def arrived() -> bool:
        found[:] = [frame for frame in pipe.sent if frame.get("type") == "reply"]
        return len(found) >= count

    await until(arrived)
    return found


async def double(data: Any) -> Any:
    await asyncio.sleep(0)
    return data * 2


@pytest.mark.parametrize("handler", [double, lambda data: data * 2])
async def test_a_handler_answers_whether_it_is_async_or_not(handler: Callable[[Any], Any]) -> None:
    script = Script()
    async with client_of(script) as client:
        client.on_push("confirm", handler)
        ask(script.pipes[0], data=21, ref="r-1")
        assert await answers(script.pipes[0]) == [{"type": "reply", "ref": "r-1", "data": 42}]


async def test_a_handler_that_returns_nothing_answers_null() -> None:
    script = Script()
    async with client_of(script) as client:
        client.on_push("note", lambda _: None)
        script.pipes[0].say(type="request", ref=1, event="note")
        assert await answers(script.pipes[0]) == [{"type": "reply", "ref": 1, "data": None}]


def raising(error: Exception) -> Callable[[Any], Any]:
    def handler(_: Any) -> Any:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LiveError("BUSY", "not now"), "LiveError: BUSY: not now"),
        (LiveError("GONE", "no file a\udcff"), "LiveError: GONE: no file a?"),
        (RpcError("TIMEOUT", "too slow"), "RpcError: TIMEOUT: too slow"),
        (ValueError("s3cret"), "the handler failed"),
    ],
)
async def test_of_a_failure_only_what_was_meant_for_it_reaches_the_server(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    async with client_of(script) as client:
        client.on_push("confirm", raising(error))
        ask(script.pipes[0])
        assert await answers(script.pipes[0]) == [{"type": "reply", "ref": 1, "error": told}]
        assert ("the handler for 'confirm' failed" in caplog.text) == isinstance(error, ValueError)


async def test_without_any_handler_nothing_is_answered_and_with_another_one_an_error() -> None:
    script = Script()
    async with client_of(script) as client:
        ask(script.pipes[0], ref=1)
        await asyncio.sleep(1.0)
        stop = client.on_push("other", double)
        ask(script.pipes[0], ref=2)
        (answer,) = await answers(script.pipes[0])
        assert answer["ref"] == 2
        assert "no handler for 'confirm'" in answer["error"]
        stop()
        ask(script.pipes[0], ref=3)
        await asyncio.sleep(1.0)
        assert len(await answers(script.pipes[0])) == 1


async def test_a_later_handler_replaces_and_an_earlier_one_cannot_remove_it() -> None:
    script = Script()
    async with client_of(script) as client:
        stop = client.on_push("confirm", lambda _: "first")
        client.on_push("confirm", lambda _: "second")
        stop()
        stop()
        ask(script.pipes[0])
        assert (await answers(script.pipes[0]))[0]["data"] == "second"


async def test_each_registration_of_the_same_handler_is_ended_by_its_own_stop_only() -> None:
    script = Script()
    async with client_of(script) as client:
        first = client.on_push("confirm", double)
        second = client.on_push("confirm", double)
        first()
        ask(script.pipes[0], data=21)
        assert (await answers(script.pipes[0]))[0]["data"] == 42
        second()
        ask(script.pipes[0])
        await asyncio.sleep(1.0)
        assert len(await answers(script.pipes[0])) == 1


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_an_answer_fits_a_control_frame_or_is_an_error(over: int) -> None:
    text = "x" * (CONTROL_MAX_BYTES + over - len('{"type":"reply","ref":1,"data":""}'))
    script = Script()
    async with client_of(script) as client:
        client.on_push("confirm", lambda _: text)
        ask(script.pipes[0])
        (answer,) = await answers(script.pipes[0])
        assert ("error" if over > 0 else "data") in answer


@pytest.mark.parametrize(("over", "sends"), [(-1, True), (0, True), (1, False)])
def test_more_than_four_mebibytes_unsent_drop_answers(over: int, sends: bool) -> None:
    core = opened()
    questions: list[Push] = []
    core.inbox.on_push = questions.append
    core.receive('{"type":"request","ref":1,"event":"confirm"}')
    core.fire("a/b", ["x" * (UNSENT_MAX + over - len('{"rpc":"a/b","args":[""]}'))])
    core.inbox.answer(questions[0], data="yes")
    assert core.inbox.unanswered == (not sends)
    assert [frame.get("type") for frame in sent(core)][1:] == ["reply"] * sends


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("data", [object(), "\ud800", CYCLE])
async def test_an_answer_without_json_form_is_an_error(data: Any) -> None:
    script = Script()
    async with client_of(script) as client:
        client.on_push("confirm", lambda _: data)
        ask(script.pipes[0])
        (answer,) = await answers(script.pipes[0])
        assert "no JSON form" in answer["error"]


async def test_as_many_handlers_run_as_are_allowed_and_no_more() -> None:
    script = Script()
    async with client_of(script) as client:
        go = asyncio.Event()

        async def slow(_: Any) -> str:
            await go.wait()
            return "done"

        client.on_push("confirm", slow)
        for number in range(PUSHES_MAX + 1):
            ask(script.pipes[0], ref=number)
        (refused,) = await answers(script.pipes[0])
        assert refused["ref"] == PUSHES_MAX
        assert "busy" in refused["error"]
        assert client.counters == ClientCounters(questions_refused=1)
        go.set()
        assert len(await answers(script.pipes[0], PUSHES_MAX + 1)) == PUSHES_MAX + 1
        ask(script.pipes[0], ref="again")
        assert len(await answers(script.pipes[0], PUSHES_MAX + 2)) == PUSHES_MAX + 2


async def hanging(client: Client, script: Script) -> tuple[asyncio.Event, asyncio.Event]:
    go, ended = asyncio.Event(), asyncio.Event()

    async def handler(_: Any) -> None:
        try:
            await go.wait()
        finally:
            ended.set()

    client.on_push("confirm", handler)
    ask(script.pipes[0])
    await until(lambda: client._connection.pushes._running)
    await asyncio.sleep(0)
    return go, ended


@pytest.mark.parametrize("how", ["close", "refused"])
async def test_handlers_end_with_the_client(how: str) -> None:
    script = Script()
    async with client_of(script) as client:
        _, ended = await hanging(client, script)
        if how == "refused":
            script.pipes[0].lose(4401)
        else:
            await client.aclose()
        await until(ended.is_set)


async def test_an_answer_to_a_lost_connection_is_not_sent_on_the_next() -> None:
    script = Script()
    async with client_of(script) as client:
        go, ended = await hanging(client, script)
        script.pipes[0].lose()
        await asyncio.sleep(3.5)
        assert status_of(client) == "connected"
        go.set()
        await ended.wait()
        await asyncio.sleep(1.0)
        assert [frame["type"] for frame in script.pipes[1].sent] == ["hello"]
        assert client.counters == ClientCounters(answers_dropped=1)


async def test_a_handler_may_close_the_client() -> None:
    script = Script()
    async with client_of(script) as client:

        async def leave(_: Any) -> None:
            await client.aclose()

        client.on_push("confirm", leave)
        ask(script.pipes[0])
        await until(lambda: status_of(client) == "closed")


@pytest.mark.parametrize("frame", [{"event": 3}, {}, {"event": None, "ref": 1}])
async def test_questions_that_are_none_are_ignored(frame: dict[str, Any]) -> None:
    script = Script()
    async with client_of(script) as client:
        client.on_push("confirm", double)
        script.pipes[0].say(type="request", **frame)
        ask(script.pipes[0], data=1)
        assert [answer["data"] for answer in await answers(script.pipes[0])] == [2]
