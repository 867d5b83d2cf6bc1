"""A WebSocket through the ASGI door: the same promises as on our own sockets."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, Refuse
from liverpc.wire.framing import text_frame
from tests.transports.asgi_kit import HostedEcho, Visit, opened, settle

LIMITS = Limits(
    message_bytes=1000,
    early_bytes=100,
    calls_in_flight=4,
    frames_per_turn=20,
    connect_seconds=7,
    pong_seconds=11,
    idle_text_seconds=40,
    close_seconds=3,
    drain_seconds=2,
)


@pytest.fixture
async def app() -> AsyncIterator[HostedEcho]:
    application = HostedEcho(LIMITS)
    async with application.lifespan():
        yield application
    assert all(len(session.ended) == 1 for session in application.sessions)


def elapsed() -> Callable[[], float]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    return lambda: loop.time() - begin


# -- the handshake


async def test_a_client_is_accepted_heard_and_answered(app: HostedEcho) -> None:
    visit = await opened(app, query_string=b"a=1&b=%20", headers=[(b"X-Two", b"1"), (b"x-two", b"\xe4")])
    visit.say("hello", b"\x01\x02")
    await settle()
    visit.leave(4000, "bye")
    await visit.over()
    assert visit.texts == ["hello", '{"binary":2}']
    [session] = app.sessions
    asked = session.request
    assert (asked.path, asked.query, asked.address) == ("/ws", {"a": "1", "b": " "}, "192.0.2.7")
    assert asked.headers["x-two"] == "1, ä"
    assert session.received == [(b"hello", True), (b"\x01\x02", False)]
    assert session.ended == [(4000, "bye")]


@pytest.mark.parametrize(("scheme", "secure"), [("ws", False), ("wss", True)])
async def test_the_request_says_whether_it_came_over_tls(app: HostedEcho, scheme: str, secure: bool) -> None:
    visit = await opened(app, scheme=scheme, client=None)
    visit.leave()
    await visit.over()
    assert (app.sessions[0].request.secure, app.sessions[0].request.address) == (secure, "")


@pytest.mark.parametrize(("code", "told"), [(None, 1005), (1005, 1005), (1006, 1006)])
async def test_a_peer_that_leaves_without_a_code_is_told_apart(app: HostedEcho, code: int | None, told: int) -> None:
    visit = await opened(app)
    visit.leave(code, None)
    await visit.over()
    assert app.sessions[0].ended == [(told, "")]


async def test_the_endpoints_subprotocol_is_agreed_on(app: HostedEcho) -> None:
    app.echo.subprotocol = "echo.v1"
    visit = await opened(app, headers=[(b"sec-websocket-protocol", b"other, echo.v1")])
    assert visit.sent[0]["subprotocol"] == "echo.v1"
    visit.leave()
    await visit.over()
    stranger = Visit(app)
    await stranger.over()
    assert stranger.status == 400


async def test_a_refusal_is_an_http_answer_where_the_server_can_say_it(app: HostedEcho) -> None:
    app.echo.decision = lambda request: Refuse(429, "later", {"Retry-After": "3"})
    visit = Visit(app)
    await visit.over()
    start, body = visit.sent
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 429
    assert (b"retry-after", b"3") in start["headers"]
    assert body["body"] == b"later\n"
    assert app.counters.handshakes_refused == 1


@pytest.mark.parametrize("extensions", [None, {}])
async def test_a_refusal_is_a_close_before_the_upgrade_where_it_cannot(app: HostedEcho, extensions: Any) -> None:
    app.echo.refusal = Refuse(401, "no")
    visit = Visit(app, extensions=extensions)
    await visit.over()
    assert visit.kinds == ["close"]
    assert app.sessions == []


async def test_a_refusal_with_a_close_code_is_accepted_first(app: HostedEcho) -> None:
    app.echo.decision = lambda request: Refuse(4401, "x" * 200)
    visit = Visit(app)
    await settle()
    assert visit.kinds == ["accept", "close"]
    assert visit.closing == (4401, "x" * 123)
    visit.leave(4401)
    await visit.over()
    assert app.sessions == []
    assert app.counters.handshakes_refused == 1


async def test_an_unknown_path_is_404(app: HostedEcho) -> None:
    visit = Visit(app, path="/nobody", raw_path=b"/nobody")
    await visit.over()
    assert visit.status == 404


@pytest.mark.parametrize(("number", "status"), [(100, None), (101, 431)])
async def test_headers_are_limited(app: HostedEcho, number: int, status: int | None) -> None:
    visit = Visit(app, headers=[(b"x", b"y")] * number)
    visit.leave()
    await visit.over()
    assert visit.status == status


@pytest.mark.parametrize("failing", ["decision", "on_open"])
async def test_a_crash_while_opening_shows_no_details(app: HostedEcho, failing: str) -> None:
    def crash(given: Any) -> Any:
        raise RuntimeError("secret")

    setattr(app.echo, failing, crash)
    visit = Visit(app)
    await settle()
    visit.leave()
    await visit.over()
    assert visit.status == 500 if failing == "decision" else visit.closing == (1011, "internal error")
    assert "secret" not in repr(visit.sent)
    app.sessions.clear()  # it was never handed over


async def test_a_decision_that_takes_too_long_is_503_and_cancelled(app: HostedEcho) -> None:
    cancelled = asyncio.Event()

    async def slow(request: ConnectRequest) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    app.echo.decision = slow
    passed = elapsed()
    visit = Visit(app)
    await visit.over()
    assert visit.status == 503
    assert passed() == pytest.approx(7, abs=0.01)
    await settle()
    assert cancelled.is_set()


async def test_a_peer_that_leaves_while_it_is_decided_cancels_the_decision(app: HostedEcho) -> None:
    cancelled = asyncio.Event()

    async def slow(request: ConnectRequest) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    app.echo.decision = slow
    visit = Visit(app)
    await settle()
    visit.leave()
    await visit.over()
    await settle()
    assert cancelled.is_set()
    assert visit.sent == []


async def test_frames_that_come_before_the_decision_are_answered_in_order(app: HostedEcho) -> None:
    async def later(request: ConnectRequest) -> None:
        await asyncio.sleep(1)

    app.echo.decision = later
    visit = Visit(app)
    visit.say("a", "b")
    await settle()
    assert visit.sent == []
    visit.say("c")
    await asyncio.sleep(2)
    visit.say("d")
    await settle()
    visit.leave()
    await visit.over()
    assert visit.texts == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("text", "read"), [("x" * 99, 3), ("x" * 100, 3), ("x" * 101, 2), ("ü" * 51, 2)])
async def test_early_frames_are_read_up_to_the_limit(app: HostedEcho, text: str, read: int) -> None:
    async def later(request: ConnectRequest) -> None:
        await asyncio.sleep(1)

    app.echo.decision = later
    visit = Visit(app)
    visit.say(text, "y")
    await settle()
    assert visit.received == read  # the connect is one of them
    await asyncio.sleep(2)
    visit.leave()
    await visit.over()
    assert visit.texts == [text, "y"]


async def test_a_server_that_is_cancelled_while_it_decides_leaves_nothing(app: HostedEcho) -> None:
    async def slow(request: ConnectRequest) -> None:
        await asyncio.sleep(1000)

    app.echo.decision = slow
    visit = Visit(app)
    await settle()
    visit.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit.task
    await settle()


# -- messages


@pytest.mark.parametrize(("size", "code"), [(999, None), (1000, None), (1001, 1009)])
@pytest.mark.parametrize("text", [True, False])
async def test_a_message_may_be_as_long_as_the_limit(app: HostedEcho, size: int, code: int | None, text: bool) -> None:
    visit = await opened(app)
    visit.say("x" * size if text else b"x" * size)
    await settle()
    assert (visit.closing and visit.closing[0]) == code
    visit.leave()
    await visit.over()
    assert len(app.sessions[0].received) == (code is None)


async def test_the_limit_counts_bytes_and_not_characters(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.say("ü" * 501)
    await settle()
    assert visit.closing == (1009, "message too big")
    visit.leave()
    await visit.over()


async def test_a_session_that_fails_closes_without_details(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.say("boom", "ignored")
    await settle()
    assert visit.closing == (1011, "internal error")
    visit.leave()
    await visit.over()
    assert app.sessions[0].ended == [(1011, "internal error")]
    assert len(app.sessions[0].received) == 1


async def test_many_messages_let_others_run(app: HostedEcho) -> None:
    visit = await opened(app)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while len(app.sessions[0].received) < 200:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    visit.say(*["quiet"] * 200)
    await task
    assert turns >= 200 / LIMITS.frames_per_turn
    visit.leave()
    await visit.over()


async def test_too_many_unfinished_calls_stop_the_reading(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.say(*["sleep"] * 50)
    await asyncio.sleep(1)
    assert visit.texts == ["sleep"] * 50
    assert app.sessions[0].peak == LIMITS.calls_in_flight
    visit.leave()
    await visit.over()


async def test_what_a_message_does_to_context_variables_ends_with_it(app: HostedEcho) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    def soil() -> bytes:
        seen.append(user.get())
        user.set("somebody")
        return b"soiled"

    app.soil = soil
    visit = await opened(app)
    visit.say("soil", "soil")
    await asyncio.sleep(1)
    visit.say("soil")
    await asyncio.sleep(1)
    assert seen == ["nobody"] * 3
    visit.leave()
    await visit.over()


# -- a peer that does not read


async def test_one_that_takes_nothing_for_too_long_is_dropped(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.taking.clear()
    passed = elapsed()
    app.sessions[0].link.send(text_frame(b"a"))
    await visit.over()
    assert 11 <= passed() <= 11.5  # the wheel is up to two ticks late
    assert app.counters.deadline_aborts == 1
    assert app.sessions[0].ended == [(1006, "")]


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("gone"), ValueError("a surprise")])
async def test_a_server_that_cannot_send_ends_the_session(app: HostedEcho, error: Exception) -> None:
    visit = await opened(app)
    visit.error = error
    visit.say("a")
    await settle()
    visit.leave(1006)
    await visit.over()
    assert app.sessions[0].ended == [(1006, "")]
    assert app.counters.deadline_aborts == 0


async def test_a_peer_that_left_during_the_handshake_is_nobodys_error(app: HostedEcho) -> None:
    visit = Visit(app)
    visit.error = OSError("gone")
    await visit.over()
    assert app.sessions == []


# -- the end


async def test_closing_sends_what_is_queued_first(app: HostedEcho) -> None:
    visit = await opened(app)
    link = app.sessions[0].link
    link.send(text_frame(b"last words"))
    link.close(4000, "bye")
    link.close(4001)
    await settle()
    assert visit.kinds == ["accept", "send", "close"]
    assert visit.closing == (4000, "bye")
    visit.say("unheard")
    visit.leave(4000)
    await visit.over()
    assert app.sessions[0].ended == [(4000, "bye")]
    assert app.sessions[0].received == []


async def test_a_peer_that_never_answers_a_close_is_given_up(app: HostedEcho) -> None:
    visit = await opened(app)
    passed = elapsed()
    app.sessions[0].link.close(4000)
    await visit.over()
    assert passed() == pytest.approx(3, abs=0.01)
    assert app.counters.deadline_aborts == 1


async def test_closing_one_whose_socket_is_full_is_not_for_ever(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.taking.clear()
    app.sessions[0].link.send(text_frame(b"a"))
    await settle()
    passed = elapsed()
    app.sessions[0].link.close(4000)
    await visit.over()
    assert passed() == pytest.approx(3, abs=0.01)


async def test_an_idle_page_gets_a_text_now_and_then(app: HostedEcho) -> None:
    visit = await opened(app)
    await asyncio.sleep(39)
    visit.say("a")
    await asyncio.sleep(39)
    assert visit.texts == ["a"]
    await asyncio.sleep(2)
    assert visit.texts == ["a", '{"type":"ping"}']
    await asyncio.sleep(40)
    assert visit.texts == ["a", '{"type":"ping"}', '{"type":"ping"}']
    visit.leave()
    await visit.over()


async def test_leaving_cancels_what_runs(app: HostedEcho) -> None:
    visit = await opened(app)
    visit.say("sleep")
    await settle()
    visit.leave()
    await visit.over()
    assert visit.texts == []


async def test_a_drain_lets_calls_end_and_says_goodbye() -> None:
    application = HostedEcho(LIMITS)
    async with application.lifespan():
        idle, busy = await opened(application), await opened(application)
        busy.say("sleep")
        await settle()
        accepting = Visit(application)
        accepting.taking.clear()
        await settle()

        async def slow(request: ConnectRequest) -> None:
            await asyncio.sleep(1000)

        application.echo.decision = slow
        deciding = Visit(application)
        await settle()
        leaving = asyncio.create_task(application.asgi.drain())
        assert application.listener is not None
        application.listener.begin_drain()
        await settle()
        assert idle.closing == (1001, "server going away")
        assert deciding.status == 503
        accepting.taking.set()
        await settle()
        assert accepting.kinds == ["accept", "close"]
        busy.say("unread")
        await settle()
        late = Visit(application)
        await late.over()
        assert late.status == 503
        await asyncio.sleep(0.1)
        assert busy.texts == ["sleep"]
        assert busy.closing == (1001, "server going away")
        for visit in (idle, busy, accepting):
            visit.leave(1001)
        await leaving
    assert [session.ended for session in application.sessions] == [[(1001, "server going away")]] * 2
    assert [session.received for session in application.sessions] == [[], [(b"sleep", True)]]


async def test_after_a_drain_nobody_is_left() -> None:
    application = HostedEcho(LIMITS)
    passed = elapsed()
    async with application.lifespan():
        visit = await opened(application)
        visit.taking.clear()
        application.sessions[0].link.send(text_frame(b"a"))
        await settle()
    assert visit.task.done()
    assert passed() <= LIMITS.drain_seconds + 2 * LIMITS.close_seconds


async def test_who_comes_in_the_moment_the_last_one_leaves_does_not_stop_the_loop() -> None:
    application = HostedEcho(LIMITS)
    async with application.lifespan():
        last = await opened(application)
        late = Visit(application)
        late.taking.clear()  # its refusal takes a while
        connect = late.inbox.get_nowait()
        await settle()
        session, closed = application.sessions[0], application.sessions[0].closed

        def closed_when_another_comes(code: int, reason: str) -> None:
            late.inbox.put_nowait(connect)
            closed(code, reason)

        session.closed = closed_when_another_comes  # type: ignore[method-assign]
        assert application.listener is not None
        application.listener.begin_drain()
        leaving = asyncio.create_task(application.asgi.drain())
        await settle()
        last.leave(1001)
        await settle()
        assert not leaving.done()
        late.taking.set()
        await leaving
    assert late.status == 503
