"""The recorded conversations, replayed: over sockets with both ways of reading frames, and in memory."""

from __future__ import annotations

import json
from functools import partial

import pytest

from liverpc.transports.memory import MemoryTransport
from tests.wire.differences import DIFFERENCES, Difference, expected
from tests.wire.fixture_app import make_server
from tests.wire.recording import FOLDER, Expect, Message, Send, Step, closing, load, names, with_members
from tests.wire.replaying import MemoryPipe, WebSocketPipe, differing, early_replies, misplaced, replay
from tests.wire.waiting import WAITING

COVERED = [name for name in names() if name not in WAITING]
# Where a server without on_topic, which the recorded one had, says something else.
WITHHELD = [name for name in COVERED if expected(load(name)) != expected(load(name), with_on_topic=False)]


async def over_sockets(steps: list[Step], *, fast_path: bool) -> list[str]:
    async with make_server(fast_path=fast_path).serve("127.0.0.1", 0) as at:
        return await replay(steps, partial(WebSocketPipe.dial, f"ws://127.0.0.1:{at.port}"))


async def in_memory(steps: list[Step], *, with_on_topic: bool = True) -> list[str]:
    server = make_server(with_on_topic=with_on_topic)
    async with server.lifespan():
        transport = MemoryTransport(server)
        try:
            return await replay(steps, partial(MemoryPipe.dial, transport))
        finally:
            await transport.aclose()


@pytest.mark.realtime
@pytest.mark.parametrize("fast_path", [True, False], ids=["fast", "library"])
@pytest.mark.parametrize("name", COVERED)
async def test_sockets_answer_as_recorded(name: str, fast_path: bool) -> None:
    assert await over_sockets(expected(load(name)), fast_path=fast_path) == []


@pytest.mark.parametrize("name", COVERED)
async def test_memory_answers_as_recorded(name: str) -> None:
    assert await in_memory(expected(load(name))) == []


@pytest.mark.parametrize("name", WITHHELD)
async def test_without_the_hook_on_topic_topics_come_with_streams(name: str) -> None:
    steps = expected(load(name), with_on_topic=False)
    assert await in_memory(steps, with_on_topic=False) == []


def test_every_transcript_is_replayed_or_waits_for_a_feature() -> None:
    assert set(COVERED) | set(WAITING) == {path.stem for path in FOLDER.iterdir()}


# -- the comparison can fail


@pytest.mark.parametrize("name", COVERED)
async def test_an_altered_message_is_noticed(name: str) -> None:
    steps = expected(load(name))
    position = max(i for i, step in enumerate(steps) if isinstance(step, Expect))
    last = steps[position]
    assert isinstance(last, Expect)
    steps[position] = with_members(last, more=True)
    assert await in_memory(steps) != []


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
async def test_every_difference_is_real(difference: Difference) -> None:
    """Some covered transcript needs it: there, the server does not do what was recorded."""
    hook = difference.with_on_topic
    needing = {name: expected(load(name), with_on_topic=hook, but=difference) for name in COVERED}
    needing = {name: steps for name, steps in needing.items() if steps != expected(load(name), with_on_topic=hook)}
    assert needing
    for name, steps in needing.items():
        assert await in_memory(steps, with_on_topic=hook) != [], name


async def test_a_message_that_was_not_recorded_is_noticed() -> None:
    steps = expected(load("stream-crud"))
    event = next(step for step in steps if isinstance(step, Expect) and step.message.get("event") == "updated")
    faults = await in_memory([step for step in steps if step is not event])
    assert any("is surplus" in fault for fault in faults)


async def test_a_message_that_does_not_come_is_noticed() -> None:
    steps = expected(load("handshake"))
    steps.insert(2, Expect(steps[0].conn, {"topic": "news", "event": "set", "data": 1}))
    faults = await in_memory(steps)
    assert any("is missing" in fault for fault in faults)


async def test_events_in_another_order_are_noticed() -> None:
    steps = expected(load("stream-crud"))
    first, second, *_ = (i for i, step in enumerate(steps) if isinstance(step, Expect) and step.message.get("seq"))
    steps[first], steps[second] = steps[second], steps[first]
    assert await in_memory(steps) != []


async def test_another_close_code_is_noticed() -> None:
    steps = [
        with_members(step, close=4403) if isinstance(step, Expect) and step.message.get("close") == 4401 else step
        for step in expected(load("terminal-4401"))
    ]
    [fault] = await in_memory(steps)
    assert "the server's goodbye: expected {'close': 4403" in fault


EVENT: Message = {"topic": "t", "event": "created", "data": {}}


def reply(call: str, **members: object) -> Message:
    return {"topic": "__rpc", "event": call, "data": {"id": call, "ok": True, **members}}


def test_an_event_without_its_number_is_noticed() -> None:
    assert differing([{**EVENT, "seq": "*"}], [EVENT]) != []
    assert differing([EVENT], [EVENT]) == []


def test_messages_about_different_things_may_change_places() -> None:
    assert differing([EVENT, reply("a")], [reply("a"), EVENT]) == []


def test_a_reply_before_an_event_of_its_own_call_is_noticed() -> None:
    call = Send("1#1", '{"rpc":"m/publish","id":"a","args":[]}')
    steps: list[Step] = [call, Expect("1#1", EVENT), Expect("1#1", reply("a"))]
    assert early_replies(steps, {"1#1": [EVENT, reply("a")]}) == []
    assert early_replies(steps, {"1#1": [reply("a"), EVENT]}) != []


def test_an_event_before_its_streams_reply_is_noticed() -> None:
    assert misplaced([reply("a", topic="t"), EVENT]) == []
    assert misplaced([EVENT, reply("a", topic="t")]) != []


def test_an_event_may_follow_the_answer_to_a_subscribe_frame() -> None:
    assert misplaced([{"type": "subscribed", "topic": "t", "ref": 1}, EVENT]) == []
    assert misplaced([{"type": "subscribe-denied", "topic": "t", "ref": 1, "reason": "FORBIDDEN"}, EVENT]) != []


async def test_an_answer_that_went_to_another_request_is_noticed() -> None:
    steps = expected(load("push-errors"))
    position = max(i for i, step in enumerate(steps) if isinstance(step, Send) and step.answers)
    last = steps[position]
    assert isinstance(last, Send)
    steps[position] = last.answering(1)  # which timed out
    assert await in_memory(steps) != []


async def test_another_text_of_a_client_is_noticed() -> None:
    steps = expected(load("push-errors"))
    for position, step in enumerate(steps):
        if isinstance(step, Send) and step.frame.get("error") == "user closed the dialog":
            steps[position] = Send(step.conn, json.dumps({**step.frame, "error": "something else"}))
    [fault] = await in_memory(steps)
    assert "something else" in fault


def test_a_late_welcome_is_noticed() -> None:
    welcome: Message = {"type": "welcome", "sessionId": "*"}
    assert misplaced([welcome, closing(1000, "")]) == []
    assert misplaced([reply("a"), welcome]) != []
