"""Identical calls of one turn become one request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc._types import remote
from liverpc.client import RpcError
from liverpc.client.calls import Call
from tests.client.client_kit import SEND, Script, client_of, until
from tests.client.core_kit import Now, failed, make, opened, reply, sent


def test_identical_shared_calls_of_a_turn_are_one_request() -> None:  # acceptance 204
    core = opened()
    ended: list[Call] = []
    calls = [core.call("a/b", [1, "x"], shared=True, on_done=ended.append) for _ in range(3)]
    assert len(sent(core)) == 1
    core.receive(reply(calls[0], [1]))
    assert ended == calls
    values = [call.result() for call in calls]
    assert values == [[1], [1], [1]]
    assert values[0] is not values[1]


def test_calls_that_are_not_shared_are_not() -> None:
    core = opened()
    core.call("a/b", [])
    core.call("a/b", [])
    core.call("a/b", [], shared=True)
    core.call("a/b", [])
    assert len(sent(core)) == 4


def test_the_next_turn_makes_a_new_request() -> None:  # acceptance 204
    core = opened()
    core.call("a/b", [], shared=True)
    assert core.turn_is_open
    core.end_turn()
    assert not core.turn_is_open
    core.call("a/b", [], shared=True)
    assert len(sent(core)) == 2


def test_what_differs_in_type_is_not_identical() -> None:
    core = opened()
    variants: list[Any] = [1, 1.0, True, "1", None, "null", [], [1], {}, "True"]
    for value in variants:
        core.call("a/b", [value], shared=True)
    core.call("a/other", [1], shared=True)
    assert len(sent(core)) == len(variants) + 1


def test_the_order_of_a_dicts_keys_makes_no_difference() -> None:
    core = opened()
    core.call("a/b", [{"x": 1, "y": {"p": 1, "q": 2}}], shared=True)
    core.call("a/b", [{"y": {"q": 2, "p": 1}, "x": 1}], shared=True)
    assert len(sent(core)) == 1


def test_with_a_key_the_key_decides_and_travels() -> None:
    core = opened()
    core.call("a/b", [1], shared=True, idempotency_key="k1")
    core.call("a/b", [2], shared=True, idempotency_key="k1")
    core.call("a/b", [1], shared=True, idempotency_key="k2")
    core.call("a/b", [1], shared=True)
    assert [(frame["args"], frame.get("idempotencyKey")) for frame in sent(core)] == [
        ([1], "k1"),
        ([1], "k2"),
        ([1], None),
    ]


@pytest.mark.parametrize("sent_before", [False, True])
@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_who_leaves_disturbs_nobody(leaver: int, sent_before: bool) -> None:  # acceptance 204
    core = opened()
    calls = [core.call("a/b", [], shared=True) for _ in range(3)]
    frames = sent(core) if sent_before else []
    core.cancel(calls[leaver])
    frames = frames or sent(core)
    assert [frame["id"] for frame in frames] == [calls[0].id]
    core.receive(reply(calls[0], 7))
    stay = [call for call in calls if call is not calls[leaver]]
    assert [call.result() for call in stay] == [7, 7]
    assert failed(calls[leaver]).code == "DISCONNECTED"


def test_when_all_have_left_nothing_is_sent_and_a_new_one_starts_afresh() -> None:
    core = opened()
    for call in [core.call("a/b", [], shared=True) for _ in range(3)]:
        core.cancel(call)
    assert sent(core) == []
    core.call("a/b", [], shared=True)
    assert len(sent(core)) == 1


def test_each_has_an_error_of_its_own() -> None:
    core = opened()
    first, second = (core.call("a/b", [], shared=True) for _ in range(2))
    core.receive(reply(first, ok=False, code="NO", error="no"))
    assert (failed(first).code, failed(second).code) == ("NO", "NO")
    assert failed(first) is not failed(second)


def test_each_has_a_deadline_of_its_own() -> None:
    now = Now()
    core = opened(now)
    first = core.call("a/b", [], timeout=2.0, shared=True)
    second = core.call("a/b", [], timeout=5.0, shared=True)
    sent(core)
    now.seconds = 2.0
    core.tick()
    assert failed(first).code == "TIMEOUT"
    core.receive(reply(second, 1))
    assert second.result() == 1


def test_losing_the_connection_fails_all_who_share_and_ends_the_turn() -> None:
    core = opened()
    calls = [core.call("a/b", [], shared=True) for _ in range(2)]
    core.connection_lost(1006)
    assert [failed(call).code for call in calls] == ["DISCONNECTED", "DISCONNECTED"]
    core.call("a/b", [], shared=True)
    core.connection_opened()
    assert len(sent(core)) == 2


def test_a_shared_call_waits_for_a_connection_once() -> None:
    core = make()
    core.call("a/b", [], shared=True)
    core.call("a/b", [], shared=True)
    core.connection_opened()
    assert len(sent(core)) == 2


# -- client.call()


async def requests(script: Script) -> int:
    await asyncio.sleep(0.1)
    return sum("rpc" in frame for frame in script.pipes[0].sent)


async def test_calls_gathered_together_share_a_request_and_each_gets_an_object() -> None:  # acceptance 204
    script = Script()
    async with client_of(script) as client:
        rows = remote("a/rows", returns=list[int])
        calls = [asyncio.create_task(client.call(rows, 1)) for _ in range(3)]
        assert await requests(script) == 1
        calls[0].cancel()
        script.pipes[0].answer(await script.pipes[0].request(), [1, 2])
        _, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert second == third == [1, 2]
        assert second is not third
        assert calls[0].cancelled()


async def test_one_turn_later_it_is_another_request() -> None:  # acceptance 204
    script = Script()
    async with client_of(script) as client:
        calls = [asyncio.create_task(client.call(SEND))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        calls.append(asyncio.create_task(client.call(SEND)))
        assert await requests(script) == 2
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


@pytest.mark.parametrize("options", [{"fresh": True}, {"timeout": 9.0}])
async def test_fresh_calls_and_those_with_a_timeout_are_requests_of_their_own(options: Any) -> None:
    script = Script()
    async with client_of(script) as client:
        view = client.using(**options)
        calls = [asyncio.create_task(view.call(SEND)) for _ in range(2)]
        assert await requests(script) == 2
        assert len({await script.pipes[0].request() for _ in calls}) == 2
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_a_key_coalesces_even_fresh_calls() -> None:
    script = Script()
    async with client_of(script) as client:
        view = client.using(fresh=True).using(idempotency_key="k", timeout=3.0)
        calls = [asyncio.create_task(view.call(SEND, n)) for n in range(2)]
        await until(lambda: len(script.pipes[0].sent) > 1)
        assert script.pipes[0].sent[1]["idempotencyKey"] == "k"
        assert await requests(script) == 1
        with pytest.raises(RpcError, match="TIMEOUT"):
            await calls[0]
        with pytest.raises(RpcError, match="TIMEOUT"):
            await calls[1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"idempotency_key": ""}, "1 to 256"),
        ({"idempotency_key": "k" * 257}, "1 to 256"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
    ],
)
async def test_impossible_options_are_refused(options: Any, text: str) -> None:
    client = client_of(Script())
    client.using(idempotency_key="k" * 256, timeout=0.001)
    with pytest.raises(ValueError, match=text):
        client.using(**options)
