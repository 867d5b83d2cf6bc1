"""Several calls in one frame."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from liverpc._types import remote
from liverpc.client import RpcError
from liverpc.client.calls import Call
from liverpc.client.core import QUEUE_MAX, ClientCore
from liverpc.wire.frames import BATCH_MAX
from tests.client.client_kit import SEND, Script, client_of, now, status_of, until
from tests.client.core_kit import Now, failed, make, opened, reply, sent


def begin(core: ClientCore, *paths: str, **options: Any) -> list[Call]:
    return core.batch([(path, [number]) for number, path in enumerate(paths)], **options)


def batch_reply(*bodies: Any) -> str:
    return json.dumps({"topic": "__rpc", "event": "__batch", "data": {"batch": list(bodies)}})


def ok(call: Call, data: Any = None) -> dict[str, Any]:
    return {"id": call.id, "ok": True, "data": data}


# -- frames


def test_a_batch_is_one_frame_with_the_keys_in_the_order_servers_look_for() -> None:
    core = opened()
    first, second = begin(core, "a/x", "a/y")
    assert list(core.outgoing()) == [
        f'{{"batch":[{{"rpc":"a/x","id":"{first.id}","args":[0]}},{{"rpc":"a/y","id":"{second.id}","args":[1]}}]}}'
    ]


def test_a_sequential_batch_says_so() -> None:
    core = opened()
    begin(core, "a/x", "a/y", sequential=True)
    assert sent(core)[0]["sequential"] is True


def test_a_batch_of_one_is_an_ordinary_call() -> None:
    core = opened()
    (only,) = begin(core, "a/x", sequential=True)
    assert sent(core) == [{"rpc": "a/x", "id": only.id, "args": [0]}]
    core.receive(reply(only, 7))
    assert only.result() == 7


def test_arguments_without_json_form_leave_nothing_behind() -> None:
    core = opened()
    with pytest.raises(TypeError):
        core.batch([("a/x", [1]), ("a/y", [object()])])
    assert not core.has_outgoing
    assert core.next_deadline() is None


def test_a_batch_made_without_a_connection_waits_as_one_frame_among_the_others() -> None:
    core = make()
    before = core.call("a/before", [])
    first, second = begin(core, "a/x", "a/y")
    after = core.call("a/after", [])
    core.connection_opened()
    _, *frames = sent(core)
    assert [frame.get("id") or [each["id"] for each in frame["batch"]] for frame in frames] == [
        before.id,
        [first.id, second.id],
        after.id,
    ]


@pytest.mark.parametrize(("ended", "left"), [(1, "batch"), (2, "bare"), (3, "nothing")])
def test_calls_that_ended_before_the_frame_is_sent_are_not_in_it(ended: int, left: str) -> None:
    core = opened()
    calls = begin(core, "a/x", "a/y", "a/z")
    for call in calls[:ended]:
        core.cancel(call)
    frames = sent(core)
    assert [next(iter(frame)) for frame in frames] == {"batch": ["batch"], "bare": ["rpc"], "nothing": []}[left]


def test_a_batch_beyond_the_queue_fails_as_a_whole() -> None:
    core = make()
    for _ in range(QUEUE_MAX - 1):
        core.call("a/b", [])
    calls = begin(core, "a/x", "a/y")
    assert [failed(call).code for call in calls] == ["DISCONNECTED", "DISCONNECTED"]
    assert core.refused == 2
    assert not core.call("a/b", []).done


# -- answers


def test_answers_are_told_apart_by_id_whatever_their_order() -> None:
    core = opened()
    first, second, third = begin(core, "a/x", "a/y", "a/z")
    sent(core)
    issues = [{"path": ["text"], "message": "Too short"}]
    core.receive(
        batch_reply(
            ok(third, 3),
            {"id": second.id, "ok": False, "code": "VALIDATION", "error": "no", "issues": issues},
            ok(first, 1),
        )
    )
    assert (first.result(), third.result()) == (1, 3)
    assert failed(second).code == "VALIDATION"
    assert [issue.path for issue in failed(second).issues] == [["text"]]


def test_a_call_the_answer_does_not_mention_fails_at_once() -> None:
    core = opened()
    first, second = begin(core, "a/x", "a/y")
    other = core.call("a/other", [])
    sent(core)
    core.receive(batch_reply(ok(first, 1)))
    assert first.result() == 1
    assert failed(second).code == "INVALID_RESULT"
    assert not other.done


def test_an_error_about_the_whole_batch_fails_all_of_the_oldest() -> None:
    core = opened()
    calls = begin(core, "a/x", "a/y")
    later = begin(core, "a/x", "a/y")
    sent(core)
    core.receive(batch_reply({"id": "", "ok": False, "code": "INVALID_REQUEST", "error": "too many"}))
    assert [failed(call).message for call in calls] == ["too many", "too many"]
    assert failed(calls[0]) is not failed(calls[1])
    assert not any(call.done for call in later)


@pytest.mark.parametrize("data", ["null", "3", "{}", '{"batch":3}', '{"batch":[]}', '{"batch":[null,3,{"id":4}]}'])
def test_an_unreadable_answer_fails_the_batch_instead_of_letting_it_wait(data: str) -> None:
    core = opened()
    calls = begin(core, "a/x", "a/y")
    sent(core)
    core.receive(f'{{"topic":"__rpc","event":"__batch","data":{data}}}')
    assert [failed(call).code for call in calls] == ["INVALID_RESULT", "INVALID_RESULT"]


def test_an_answer_nobody_waits_for_changes_nothing() -> None:
    core = opened()
    single = core.call("a/b", [])
    core.receive(batch_reply({"id": "gone", "ok": True}))
    assert not single.done


def test_each_call_of_a_batch_has_its_deadline() -> None:
    seconds = Now()
    core = opened(seconds)
    calls = begin(core, "a/x", "a/y", timeout=5.0)
    sent(core)
    seconds.seconds = 5.0
    core.tick()
    assert [failed(call).code for call in calls] == ["TIMEOUT", "TIMEOUT"]


# -- client.batch()


async def test_the_results_are_there_when_the_block_has_ended() -> None:  # acceptance 206
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await until(lambda: pipe.sent)
        pipe.sent.clear()

        async def use() -> tuple[Any, Any]:
            async with client.batch() as batch:
                first = batch.call(remote("a/count", returns=int), 1)
                second = batch.call(SEND)
                with pytest.raises(RuntimeError, match="a/count was not sent"):
                    first.result()
            with pytest.raises(RpcError, match="NOPE"):
                await second
            with pytest.raises(RuntimeError, match="sent already"):
                batch.call(SEND)
            return await first, first.result()

        using = asyncio.create_task(use())
        await until(lambda: pipe.sent)
        (frame,) = pipe.sent
        names = [each["id"] for each in frame["batch"]]
        pipe.say(
            topic="__rpc",
            event="__batch",
            data={"batch": [{"id": names[0], "ok": True, "data": 5}, {"id": names[1], "ok": False, "code": "NOPE"}]},
        )
        assert await using == (5, 5)


async def test_an_empty_batch_and_one_left_by_an_exception_send_nothing() -> None:  # acceptance 206
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await until(lambda: pipe.sent)
        async with client.batch():
            pass
        with pytest.raises(ZeroDivisionError):
            async with client.batch() as batch:
                reply = batch.call(SEND)
                raise ZeroDivisionError
        with pytest.raises(RuntimeError, match="not sent"):
            await reply
        await asyncio.sleep(1.0)
        assert [frame.get("type") for frame in pipe.sent] == ["hello"]


@pytest.mark.parametrize("count", [BATCH_MAX - 1, BATCH_MAX, BATCH_MAX + 1])
async def test_fifty_calls_fit_into_a_batch(count: int) -> None:  # acceptance 206
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await until(lambda: pipe.sent)
        pipe.sent.clear()

        async def use() -> None:
            async with client.using(timeout=5.0).batch() as batch:
                for _ in range(count):
                    batch.call(SEND)

        using = asyncio.create_task(use())
        await asyncio.wait([using])
        if count > BATCH_MAX:
            error = using.exception()
            assert isinstance(error, RpcError)
            assert error.code == "INVALID_REQUEST"
            assert (pipe.sent, now()) == ([], 0.0)
        else:
            assert using.exception() is None  # the calls themselves have timed out
            assert (len(pipe.sent[0]["batch"]), now()) == (count, 5.0)


async def test_a_cancelled_batch_is_forgotten() -> None:
    script = Script()
    async with client_of(script) as client:

        async def use() -> None:
            async with client.batch() as batch:
                batch.call(SEND, 1)
                batch.call(SEND, 2)

        using = asyncio.create_task(use())
        await until(lambda: client._connection.core.next_deadline())
        using.cancel()
        await asyncio.wait([using])
        assert using.cancelled()
        assert client._connection.core.next_deadline() is None
        assert status_of(client) == "connected"


async def test_a_batch_takes_functions_only_and_no_key() -> None:
    async with client_of(Script()) as client:
        with pytest.raises(ValueError, match="belongs to one call"):
            client.using(idempotency_key="k").batch()
        wrong: Any = "chat/send"
        with pytest.raises(TypeError, match=r"remote\('chat/send'\)"):
            async with client.batch() as batch:
                batch.call(wrong)
