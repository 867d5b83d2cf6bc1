"""What a client knows of its connection: why it was lost, how the server is, whether the streams have settled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from liverpc.client import ClientCounters
from liverpc.client.core import QUEUE_MAX, UNSENT_MAX
from liverpc.client.failure import Failure, FailureClass
from liverpc.client.socket import PreflightFailed
from tests.client.client_kit import MESSAGES, SEND, Pipe, Script, accept, client_of, now, refuse, status_of, until
from tests.client.core_kit import Now, failed, make, opened, sent
from tests.client.core_kit import status_of as core_status

TERMINAL, THROTTLE, RETRY = FailureClass.TERMINAL, FailureClass.THROTTLE, FailureClass.RETRY

# -- close codes


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1008, TERMINAL),
        (4401, TERMINAL),
        (4403, TERMINAL),
        (4429, THROTTLE),
        *((code, RETRY) for code in (1000, 1001, 1002, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 4000, 4400, 4999)),
    ],
)
def test_each_close_code_has_its_class(code: int, kind: FailureClass) -> None:  # acceptance 221, 223
    core = opened()
    pending = core.call("a/b", [])
    stream = core.subscribe("a/s", [])
    request = next(frame for frame in sent(core) if frame.get("stream"))
    body = {"ok": True, "data": [1], "topic": "t", "merge": "latest"}
    core.receive(json.dumps({"topic": "__rpc", "event": request["id"], "data": body}))
    core.connection_lost(code, "why")
    queued = core.call("a/b", [])
    assert core.failure == Failure("ws-close", kind, "why", code=code)
    assert stream.value == [1]
    if kind is TERMINAL:
        assert (core_status(core), core.retry_delay) == ("closed", None)
        assert failed(pending).code == failed(queued).code == "CONNECTION_CLOSED"
        assert stream.error is not None
        assert stream.error.code == "CONNECTION_CLOSED"
        core.connection_opened()
        assert sent(core) == []
    else:
        assert core_status(core) == "reconnecting"
        assert core.retry_delay == (3.0 if kind is RETRY else pytest.approx(154.6, abs=0.1))
        assert (failed(pending).code, queued.done) == ("DISCONNECTED", False)
        assert (stream.status, stream.error) == ("reconnecting", None)
        core.connection_opened()
        assert core.failure is None
        assert core.retry_delay is None


def test_being_throttled_never_shortens_a_wait() -> None:
    core = make()
    for _ in range(6):
        core.connection_lost(1006)
    core.connection_lost(4429)
    assert core.retry_delay == 300.0


def test_giving_up_is_a_class_of_its_own() -> None:  # acceptance 221
    core = opened(max_attempts=2)
    core.connection_lost(1006)
    for _ in range(2):
        assert core_status(core) == "reconnecting"
        core.connection_lost(1011, "broken")
    assert core_status(core) == "closed"
    assert core.failure == Failure(
        "ws-close", FailureClass.EXHAUSTED, "gave up after 2 failed attempts: broken", code=1011
    )
    assert failed(core.call("a/b", [])).code == "CONNECTION_CLOSED"


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (401, True), (404, True), (499, True), (500, False), (302, False), (None, False)]
)
def test_a_failed_auth_request_is_final_when_it_is_a_4xx(status: int | None, final: bool) -> None:  # acceptance 221
    core = make()
    core.preflight_failed(status, "no")
    assert core.failure == Failure("auth-preflight", FailureClass.AUTH, "no", status=status)
    assert (core_status(core), core.retry_delay) == (("closed", None) if final else ("connecting", 3.0))


def test_closing_oneself_is_no_failure() -> None:  # acceptance 221
    core = opened()
    core.close()
    assert core.failure is None


# -- news


async def test_transitions_are_told_and_the_first_opening_is_none() -> None:  # acceptance 228
    script = Script()
    client = client_of(script)
    told: list[str] = []
    client.on_connect(lambda: told.append("connect"))
    stop = client.on_disconnect(lambda: told.append("disconnect"))
    async with client:
        assert told == []
        script.pipes[0].lose()
        await asyncio.sleep(3.5)
        assert told == ["disconnect", "connect"]
        late: list[str] = []
        client.on_connect(lambda: late.append("connect"))
        stop()
        script.pipes[1].lose()
        await asyncio.sleep(3.5)
        assert (told, late) == (["disconnect", "connect", "connect"], ["connect"])


async def test_attempts_that_fail_are_no_transitions_and_the_own_end_is_one() -> None:  # acceptance 228
    first = Pipe()
    script = Script(refuse(OSError("no")), accept(first), refuse(OSError("no")))
    client = client_of(script)
    told: list[str] = []
    client.on_connect(lambda: told.append("connect"))
    client.on_disconnect(lambda: told.append("disconnect"))
    async with client:
        first.lose()
        await asyncio.sleep(60.0)
        assert told == ["disconnect"]
    assert told == ["disconnect"]
    async with client_of(Script()) as other:
        other.on_disconnect(lambda: told.append("end"))
    assert told == ["disconnect", "end"]


async def test_health_follows_the_server_and_begins_anew_with_a_connection() -> None:  # acceptance 221
    script = Script()
    async with client_of(script) as client:
        told: list[str] = []
        client.on_health(told.append)
        assert client.health == "healthy"
        for event in ("degraded", "degraded", "unknown", "recovered", "degraded"):
            script.pipes[0].event(event, None, topic="__realtime")
        await until(lambda: len(told) == 3)
        assert told == ["degraded", "healthy", "degraded"]
        script.pipes[0].lose()
        await asyncio.sleep(3.5)
        assert told[3:] == ["healthy"]


# -- quiescence


async def test_a_client_is_quiescent_while_no_stream_loads_or_reconnects() -> None:  # acceptance 218
    script = Script()
    async with client_of(script) as client:
        assert client.quiescent
        await client.wait_quiescent()
        opening = asyncio.create_task(client.stream(MESSAGES).open())
        (pipe,) = script.pipes
        name = await pipe.request()
        waiting = asyncio.create_task(client.wait_quiescent())
        await asyncio.sleep(1.0)
        assert not (client.quiescent or waiting.done())
        pipe.answer(name, [], topic="t", merge="latest")
        await waiting
        await opening
        pipe.lose()
        await until(lambda: status_of(client) == "reconnecting")
        assert not client.quiescent
        await asyncio.sleep(3.5)
        script.pipes[1].answer(await script.pipes[1].request(), ok=False, code="NO", error="no")
        await client.wait_quiescent()  # an error has settled, too
        assert now() == 4.5


@pytest.mark.parametrize("how", ["leave", "close"])
async def test_waiting_for_quiescence_ends_when_the_loading_stream_does(how: str) -> None:  # acceptance 218
    script = Script()
    async with client_of(script) as client:
        handle = client.stream(MESSAGES)
        opening = asyncio.create_task(handle.open())
        await script.pipes[0].request()
        waiting = asyncio.create_task(client.wait_quiescent())
        await asyncio.sleep(1.0)
        await (handle.aclose() if how == "leave" else client.aclose())
        await waiting
        assert client.quiescent
        assert now() == 1.0
        await asyncio.wait([opening])
        assert opening.exception() is not None


# -- a device that sleeps


@pytest.mark.parametrize("what", ["call", "stream"])
@pytest.mark.parametrize(("timeout", "limit"), [(1.0, 90.0), (30.0, 90.0), (31.0, 93.0), (100.0, 300.0)])
def test_a_deadline_noticed_much_too_late_was_slept_through(what: str, timeout: float, limit: float) -> None:
    for late, code in ((limit, "TIMEOUT"), (limit + 0.1, "DISCONNECTED")):  # acceptance 224
        now, wall = Now(), Now()
        core = opened(now, wall)
        call = core.call("a/b", [], timeout=timeout) if what == "call" else None
        stream = core.subscribe("a/s", [], timeout=timeout) if what == "stream" else None
        now.seconds, wall.seconds = timeout, late
        core.tick()
        error = failed(call) if call is not None else stream and stream.error
        assert error
        assert error.code == code


class Sleeper:
    """A wall clock that goes on with the loop's, and jumps when told."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return now() + self.slept


async def test_after_a_sleep_the_client_connects_anew_at_once() -> None:
    script, wall = Script(), Sleeper()
    async with client_of(script, wall) as client:
        call = asyncio.create_task(client.using(timeout=1000.0).call(SEND))
        await asyncio.sleep(25.0)
        assert len(script.times) == 1
        script.pipes[0].answers_close.clear()  # nobody is there to say goodbye to
        wall.slept = 600.0
        await asyncio.wait([call])
        error: Any = call.exception()
        assert (error.code, "slept" in error.message) == ("DISCONNECTED", True)
        await until(lambda: status_of(client) == "connected")
        assert script.times == [0.0, 30.0]


async def test_after_a_sleep_the_next_attempt_does_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    first = Pipe()
    script, wall = Script(accept(first), *[refuse(OSError("no"))] * 6, accept(Pipe())), Sleeper()
    async with client_of(script, wall) as client:
        first.lose()
        await asyncio.sleep(290.0)  # the last attempt was at 283 s, the next is due much later
        assert status_of(client) == "reconnecting"
        attempts = len(script.times)
        wall.slept = 600.0
        await asyncio.sleep(10.0)
        assert (status_of(client), len(script.times)) == ("connected", attempts + 1)
    assert "Exception in callback" not in caplog.text


@pytest.mark.parametrize(("jump", "attempts"), [(30.0, 1), (30.5, 2), (-1e6, 1)])
async def test_small_and_backward_jumps_are_no_sleep(jump: float, attempts: int) -> None:
    script, wall = Script(), Sleeper()
    async with client_of(script, wall):
        await asyncio.sleep(5.0)
        wall.slept = jump
        await asyncio.sleep(60.0)
        assert len(script.times) == attempts


# -- fire and forget


def test_what_is_fired_has_no_id_and_keeps_its_place() -> None:
    core = opened()
    call = core.call("a/first", [])
    assert core.fire("a/second", [1])
    core.call("a/third", [])
    frames = sent(core)
    assert [frame["rpc"] for frame in frames] == ["a/first", "a/second", "a/third"]
    assert frames[1] == {"rpc": "a/second", "args": [1]}
    assert frames[0]["id"] == call.id
    assert core.dropped == 0


def test_without_a_connection_what_is_fired_is_dropped_and_counted() -> None:
    core = make()
    assert not core.fire("a/b", [])
    core.connection_opened()
    core.connection_lost(1006)
    assert not core.fire("a/b", [])
    core.close()
    assert not core.fire("a/b", [])
    assert core.dropped == 3


@pytest.mark.parametrize(("over", "fits"), [(-1, True), (0, True), (1, False)])
def test_more_than_four_mebibytes_unsent_drop_what_is_fired(over: int, fits: bool) -> None:
    core = opened()
    empty = len('{"rpc":"a/b","args":[""]}')
    assert core.fire("a/b", ["x" * (UNSENT_MAX + over - empty)])
    assert core.fire("a/b", []) is fits
    assert core.dropped == (not fits)
    sent(core)
    assert core.fire("a/b", [])


def test_calls_that_ended_unsent_count_no_more() -> None:
    core = opened()
    big = core.call("a/b", ["x" * (UNSENT_MAX + 1)])
    assert not core.fire("a/b", [])
    core.cancel(big)
    assert [frame["rpc"] for frame in sent(core)] == []
    assert core.fire("a/b", [])


async def test_firing_tells_whether_it_was_sent() -> None:
    script = Script()
    async with client_of(script) as client:
        assert client.fire(SEND, 1)
        await until(lambda: len(script.pipes[0].sent) == 2)
        assert script.pipes[0].sent[1] == {"rpc": "chat/send", "args": [1]}
        script.pipes[0].lose()
        await until(lambda: status_of(client) == "reconnecting")
        assert not client.fire(SEND, 2)
        assert client.counters == ClientCounters(fires_dropped=1)
        with pytest.raises(TypeError, match=r"fire\(\)"):
            client.fire("chat/send")  # type: ignore[arg-type]


async def test_counters_are_a_snapshot_of_what_was_refused_and_dropped() -> None:
    script = Script(accept(Pipe()), refuse(OSError("no")))
    async with client_of(script, backoff_base=1e6, backoff_max=1e6) as client:
        before = client.counters
        client._connection.core.connection_lost(1006)
        assert not client.fire(SEND)
        calls = [asyncio.create_task(client.using(fresh=True).call(SEND)) for _ in range(QUEUE_MAX + 2)]
        await asyncio.sleep(0)
        assert (before, client.counters) == (ClientCounters(), ClientCounters(calls_refused=2, fires_dropped=1))
        with pytest.raises(AttributeError):
            before.calls_refused = 1  # type: ignore[misc]
    await asyncio.wait(calls)
    assert all(call.exception() for call in calls)
    assert client.counters.calls_refused == 2


async def test_a_preflight_that_fails_for_now_is_repeated() -> None:
    script = Script(refuse(PreflightFailed(503, "later")), accept(Pipe()))
    async with client_of(script) as client:
        assert (status_of(client), script.times) == ("connected", [0.0, 3.0])
