"""The asyncio client over scripted sockets, on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from liverpc._types import Topic, remote
from liverpc.client import RpcError, connect
from liverpc.client.socket import HandshakeRefused, Socket
from tests.client.client_kit import (
    MESSAGES,
    SEND,
    Act,
    Pipe,
    Script,
    accept,
    client_of,
    hang,
    now,
    refuse,
    status_of,
    until,
)

# -- entering and leaving


async def test_entering_waits_for_the_connection_and_says_hello() -> None:
    script = Script()
    client = client_of(script)
    assert status_of(client) == "connecting"
    async with client as entered:
        assert entered is client
        assert (status_of(client), client.failure) == ("connected", None)
        await until(lambda: script.pipes[0].sent)
        assert script.pipes[0].sent == [{"type": "hello", "caps": ["batch", "upload"]}]
    assert status_of(client) == "closed"
    assert script.pipes[0].closed == (1000, "")


async def test_entering_retries_until_it_works() -> None:
    pipe = Pipe()
    script = Script(refuse(OSError("refused")), refuse(HandshakeRefused(503)), accept(pipe))
    async with client_of(script) as client:
        assert status_of(client) == "connected"
        assert script.times == [0.0, 3.0, pytest.approx(9.6)]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (refuse(OSError(111, "nobody there")), "1006 .*nobody there"),
        (refuse(HandshakeRefused(503, "going away")), "HTTP 503 going away$"),
        (refuse(HandshakeRefused(429, "slow down")), "HTTP 429 slow down$"),
        (
            refuse(HandshakeRefused(404, "nothing here")),
            "HTTP 404 nothing here; asked for /ws; .* /ws unless",
        ),
        (hang, ".*does not answer"),
    ],
)
async def test_entering_gives_up_after_connect_timeout_and_tells_the_last_reason(act: Act, why: str) -> None:
    client = client_of(Script(act), connect_timeout=7.0)
    with pytest.raises(RpcError, match=f"TIMEOUT: no connection within 7 s: {why}"):
        await client.__aenter__()
    assert now() == 7.0
    assert status_of(client) == "closed"


@pytest.mark.parametrize("status", [401, 403])
async def test_entering_fails_at_once_when_refused_for_good(status: int) -> None:
    client = client_of(Script(refuse(HandshakeRefused(status, "who are you?"))))
    with pytest.raises(RpcError, match=f"CONNECTION_CLOSED: .*{status} who are you") as caught:
        await client.__aenter__()
    assert caught.value.code == "CONNECTION_CLOSED"
    assert now() == 0.0
    assert client.failure is not None
    assert client.failure.code == 4000 + status


async def test_giving_up_after_max_attempts_ends_entering() -> None:
    client = client_of(Script(refuse(OSError("no"))), max_attempts=2)
    with pytest.raises(RpcError, match="gave up after 2 failed attempts: no"):
        await client.__aenter__()


@pytest.mark.parametrize("act", [hang, refuse(OSError("no"))])
async def test_cancelling_the_entering_leaves_nothing(act: Act) -> None:
    client = client_of(Script(act))
    entering = asyncio.create_task(client.__aenter__())
    await asyncio.sleep(1.0)
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()
    assert status_of(client) == "closed"


async def test_a_connector_that_breaks_its_contract_is_logged_and_retried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_of(Script(refuse(ZeroDivisionError()), accept(Pipe()))):
        assert "connector failed" in caplog.text


async def test_a_client_is_entered_once() -> None:
    client = client_of(Script())
    with pytest.raises(RuntimeError, match="not open"):
        await client.call(SEND)
    async with client:
        with pytest.raises(RuntimeError, match="opened once"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="opened once"):
        await client.__aenter__()


async def test_closing_while_waiting_to_reconnect_is_immediate() -> None:
    script = Script()
    async with client_of(script) as client:
        script.pipes[0].lose()
        await until(lambda: status_of(client) == "reconnecting")
    assert now() == 0.0
    await client.aclose()


async def test_a_server_that_does_not_answer_the_goodbye_delays_closing_by_five_seconds() -> None:
    script = Script()
    client = client_of(script)
    await client.__aenter__()
    script.pipes[0].answers_close.clear()
    await client.aclose()
    assert now() == 5.0


async def test_a_second_close_waits_for_the_goodbye_of_the_first() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        pipe.answers_close.clear()
        closing = [asyncio.create_task(client.aclose())]
        await asyncio.sleep(1.0)
        closing.append(asyncio.create_task(client.aclose()))
        await asyncio.sleep(1.0)
        assert not any(task.done() for task in closing)
        pipe.answers_close.set()
        await asyncio.gather(*closing)
        assert now() == 2.0


async def test_a_cancelled_close_says_no_goodbye_and_leaves_nothing() -> None:
    script = Script()
    client = client_of(script)
    await client.__aenter__()
    script.pipes[0].answers_close.clear()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(1.0)
    closing.cancel()
    await asyncio.wait([closing])
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert now() == 1.0


# -- calls


async def test_a_call_returns_the_converted_result() -> None:
    script = Script()
    async with client_of(script) as client:
        call = asyncio.create_task(client.call(remote("chat/count", returns=int), "a"))
        (pipe,) = script.pipes
        pipe.answer(await pipe.request(), 3)
        assert await call == 3


async def test_an_error_reply_is_raised() -> None:
    script = Script()
    async with client_of(script) as client:
        call = asyncio.create_task(client.call(SEND))
        (pipe,) = script.pipes
        pipe.answer(await pipe.request(), ok=False, code="FORBIDDEN", error="no")
        with pytest.raises(RpcError, match="FORBIDDEN: no"):
            await call


async def test_calls_run_at_the_same_time_and_end_in_any_order() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        calls = [asyncio.create_task(client.call(SEND, n)) for n in range(3)]
        names = [await pipe.request() for _ in calls]
        for n in (2, 0, 1):
            pipe.answer(names[n], n)
        assert await asyncio.gather(*calls) == [0, 1, 2]


async def test_an_unanswered_call_times_out_on_time() -> None:
    async with client_of(Script(), timeout=30.0) as client:
        quick = client.using(timeout=5.0)
        assert status_of(quick) == "connected"
        with pytest.raises(RpcError, match="TIMEOUT: chat/send"):
            await quick.call(SEND)
        assert now() == 5.0
        with pytest.raises(RpcError, match="TIMEOUT"):
            await client.call(SEND)
        assert now() == 35.0


async def test_a_shorter_deadline_is_kept_beside_a_longer_one() -> None:
    async with client_of(Script()) as client:
        slow = asyncio.create_task(client.using(timeout=20.0).call(SEND))
        await asyncio.sleep(1.0)
        with pytest.raises(RpcError, match="TIMEOUT"):
            await client.using(timeout=2.0).call(SEND)
        assert now() == 3.0
        with pytest.raises(RpcError, match="TIMEOUT"):
            await slow
        assert now() == 20.0


async def test_a_cancelled_call_is_forgotten() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        call = asyncio.create_task(client.call(SEND))
        name = await pipe.request()
        call.cancel()
        await asyncio.wait([call])
        assert client._connection.core.next_deadline() is None
        pipe.answer(name, "late")
        other = asyncio.create_task(client.call(SEND))
        pipe.answer(await pipe.request(), "fine")
        assert await other == "fine"


async def test_a_call_cancelled_while_the_socket_takes_nothing_is_not_sent() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes
        await until(lambda: pipe.sent)
        pipe.room.clear()
        first, second, third = (asyncio.create_task(client.call(SEND, n)) for n in range(3))
        await asyncio.sleep(1.0)
        second.cancel()
        await asyncio.wait([second])
        pipe.room.set()
        for _ in range(2):
            pipe.answer(await pipe.request(), "ok")
        assert list(await asyncio.gather(first, third)) == ["ok", "ok"]
        assert pipe.sent == []


async def test_losing_the_connection_fails_calls_and_later_ones_wait_for_the_next() -> None:
    script = Script()
    async with client_of(script) as client:
        lost = asyncio.create_task(client.call(SEND))
        await script.pipes[0].request()
        script.pipes[0].lose(1001, "restart")
        with pytest.raises(RpcError, match=r"DISCONNECTED: .*1001 restart"):
            await lost
        assert status_of(client) == "reconnecting"
        assert client.failure is not None
        waiting = asyncio.create_task(client.call(SEND))
        await asyncio.sleep(3.5)
        pipe = script.pipes[1]
        pipe.answer(await pipe.request(), "ok")
        assert await waiting == "ok"
        assert script.times == [0.0, 3.0]
        assert status_of(client) == "connected"
        assert client.failure is None


async def test_a_final_close_ends_calls_streams_and_the_client() -> None:
    script = Script()
    async with client_of(script) as client:
        call = asyncio.create_task(client.call(SEND))
        await script.pipes[0].request()
        script.pipes[0].lose(4403, "banned")
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED: .*4403 banned"):
            await call
        assert status_of(client) == "closed"
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await client.call(SEND)
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await client.stream(MESSAGES).open()
        assert client.failure is not None
        assert len(script.times) == 1


async def test_closing_ends_unfinished_calls() -> None:
    script = Script()
    async with client_of(script) as client:
        call = asyncio.create_task(client.call(SEND))
        await script.pipes[0].request()
    with pytest.raises(RpcError, match="CONNECTION_CLOSED: the client was closed"):
        await call
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        await client.call(SEND)


async def test_a_silent_server_counts_as_lost() -> None:
    script = Script()
    async with client_of(script, silence_seconds=150.0) as client:
        await asyncio.sleep(100.0)
        script.pipes[0].say(type="ping")
        await asyncio.sleep(149.0)
        assert status_of(client) == "connected"
        await asyncio.sleep(1.5)
        assert status_of(client) == "reconnecting"
        assert client.failure is not None
        assert "silent for 150 s" in client.failure.reason
        assert script.pipes[0].closed == (1000, "")


async def test_a_dead_server_does_not_delay_the_news_of_its_death() -> None:
    script = Script()
    async with client_of(script, silence_seconds=150.0) as client:
        script.pipes[0].answers_close.clear()
        call = asyncio.create_task(client.using(timeout=1000.0).call(SEND))
        with pytest.raises(RpcError, match="DISCONNECTED"):
            await call
        assert now() == 150.0
        await asyncio.sleep(8.5)
        assert status_of(client) == "connected"
        assert script.times == [0.0, 158.0]


@pytest.mark.parametrize("side", ["recv", "send"])
async def test_a_socket_that_breaks_its_contract_is_logged_and_replaced(
    side: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Pipe):
        async def send(self, message: str | bytes) -> None:
            raise ZeroDivisionError

        async def close(self, code: int = 1000, reason: str = "") -> None:
            self.lose()

    broken = Broken() if side == "send" else Pipe()
    async with client_of(Script(accept(broken), accept(Pipe()))) as client:
        if side == "recv":
            broken.fail(ZeroDivisionError())
        await until(lambda: status_of(client) == "reconnecting")
        assert "socket failed" in caplog.text
        await asyncio.sleep(3.5)
        assert status_of(client) == "connected"


async def test_status_changes_are_told_until_that_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    client = client_of(script)
    seen: list[str] = []
    some: list[str] = []

    def broken(_: str) -> None:
        raise ZeroDivisionError

    client.on_status(broken)
    client.on_status(seen.append)
    stop = client.on_status(some.append)
    async with client:
        stop()
        stop()
        script.pipes[0].lose()
        await asyncio.sleep(3.5)
    assert seen == ["connected", "reconnecting", "connected", "closed"]
    assert some == ["connected"]
    assert "a callback raised" in caplog.text


async def test_a_socket_that_cannot_even_be_closed_is_left_behind() -> None:
    class Stuck(Pipe):
        async def close(self, code: int = 1000, reason: str = "") -> None:
            raise OSError("broken pipe")

    stuck = Stuck()
    async with client_of(Script(accept(stuck), accept(Pipe()))) as client:
        stuck.lose()
        await asyncio.sleep(3.5)
        assert client.status == "connected"


@pytest.mark.parametrize("turns", range(40))
async def test_cancelled_at_any_moment_nothing_is_left(turns: int) -> None:
    pipe = Pipe()
    script = Script(accept(pipe))

    async def use() -> None:
        async with client_of(script) as client:
            async with asyncio.TaskGroup() as group:
                call = group.create_task(client.call(SEND))
                pipe.answer(await pipe.request(), 1)
            assert await call == 1
            handle = client.stream(MESSAGES)
            async with asyncio.TaskGroup() as group:
                opening = group.create_task(handle.open())
                pipe.answer(await pipe.request(), [], topic="t", merge="latest")
            pipe.event("said", 1)
            assert await (await opening).wait_for(lambda rows: rows) == [1]
            await client.call(SEND)

    using = asyncio.create_task(use())
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.wait([using])
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert using.cancelled()
    assert now() == 0.0
    if script.times:
        assert pipe.closed == (1000, "")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("m/boom", r"remote\('m/boom'\)"),
        (print, "decorate it with @live"),
        (Topic("rows"), "not its topic"),
    ],
)
async def test_what_is_no_declaration_is_refused_with_the_cure(target: Any, text: str) -> None:
    async def never() -> Socket:
        raise AssertionError("nothing is sent")

    client = connect("ws://unused", connector=never)
    with pytest.raises(TypeError, match=text):
        await client.call(target)
    with pytest.raises(TypeError, match=text):
        client.stream(target)


async def test_what_was_fired_just_before_the_end_is_sent_and_calls_are_not() -> None:
    pipe = Pipe()
    async with client_of(Script(accept(pipe))) as client:
        calling = asyncio.create_task(client.call(SEND, "called"))
        await asyncio.sleep(0)
        pipe.sent.clear()
        for text in ("first", "second"):
            assert client.fire(SEND, text)
    assert [frame["args"] for frame in pipe.sent] == [["first"], ["second"]]
    assert pipe.closed == (1000, "")
    with pytest.raises(RpcError):
        await calling


@pytest.mark.parametrize("impatient", [False, True])
async def test_a_network_that_takes_nothing_delays_the_end_by_a_second(impatient: bool) -> None:
    pipe = Pipe()
    client = await client_of(Script(accept(pipe))).__aenter__()
    await asyncio.sleep(0)
    pipe.sent.clear()
    pipe.room.clear()
    if impatient:
        pipe.answers_close.clear()
    client.fire(SEND, "stuck")
    began = now()
    if impatient:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.aclose()
        await until(lambda: len(asyncio.all_tasks()) == 1)
    else:
        await client.aclose()
    assert now() - began == pytest.approx(0.5 if impatient else 1.0)
    assert pipe.closed == (1000, "")
    assert pipe.sent == []
