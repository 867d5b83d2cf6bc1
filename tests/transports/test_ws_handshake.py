"""Who gets a connection, in which order the questions are asked, and what a refusal looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, Refuse
from liverpc.transports.writing import Phase
from tests.transports.transport_kit import (
    CLOSE,
    HEAD,
    TEXT,
    EchoApplication,
    EchoEndpoint,
    Peer,
    frame,
    turns,
    without_sockets,
)


def status(peer: Peer) -> bytes:
    return bytes(peer.transport.sent).split(b" ", 2)[1]


def decided_later(verdict: Any) -> Callable[[ConnectRequest], Awaitable[Any]]:
    async def decide(request: ConnectRequest) -> Any:
        await asyncio.sleep(1)
        return verdict

    return decide


async def test_the_request_reaches_the_endpoint_as_it_was_sent() -> None:
    application = EchoApplication()
    extra = b"X-Two: 1\r\nOrigin: http://a\r\nx-two: 2\r\n"
    head = (HEAD % extra).replace(b"/ws", b"/ws?token=a%20b&x=1&x=2")
    async with without_sockets(application) as listener:
        Peer(listener, head=head)
        request = application.sessions[0].request
    assert request.path == "/ws"
    assert request.query == {"token": "a b", "x": "1"}
    assert request.headers["x-two"] == "1, 2"
    assert request.headers["origin"] == "http://a"
    assert request.address == "192.0.2.7"
    assert not request.secure


@pytest.mark.parametrize("code", [401, 403, 429, 499, 503])
@pytest.mark.parametrize("later", [False, True])
async def test_a_refusal_below_1000_is_an_http_answer(code: int, later: bool) -> None:
    application = EchoApplication()
    refusal = Refuse(code, "no", {"Retry-After": "3"})
    application.echo.decision = decided_later(refusal) if later else lambda request: refusal
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await asyncio.sleep(2)
        head, _, body = bytes(peer.transport.sent).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % code)
        assert b"\r\nretry-after: 3" in head.lower()
        assert body == b"no\n"
        assert peer.transport.events[-1] == "eof"
        assert peer.phase is Phase.LINGER
    assert application.sessions == []
    assert application.counters.handshakes_refused == 1


@pytest.mark.parametrize("where", ["refuses", "decide", "decide later"])
async def test_a_refusal_with_a_close_code_is_accepted_first(where: str) -> None:
    application = EchoApplication()
    refusal = Refuse(4401, "ü" * 100)
    if where == "refuses":
        application.echo.refusal = refusal
    else:
        application.echo.decision = decided_later(refusal) if where.endswith("later") else lambda _: refusal
    async with without_sockets(application) as listener:
        peer = Peer(listener, head=HEAD % b"" + frame(TEXT, b"early"))
        await asyncio.sleep(2)
        assert status(peer) == b"101"
        assert peer.frames == [(0x88, b"\x11\x31" + ("ü" * 61).encode())]  # cut between characters
        peer.feed(frame(CLOSE, b"\x11\x31"))
        assert peer.transport.events[-1] == "eof"
    assert application.sessions == []
    assert application.counters.handshakes_refused == 1


async def test_a_refusal_that_is_not_http_is_a_bare_500(caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        for refusal in (Refuse(42), Refuse(403, "no", {"X": "a\r\nSet-Cookie: b"}), Refuse(403, "", {"X": "€"})):
            application.echo.refusal = refusal
            peer = Peer(listener)
            assert status(peer) == b"500"
            assert b"Cookie" not in peer.transport.sent
    assert "cannot be sent" in caplog.text


def fail(request: ConnectRequest) -> None:
    raise RuntimeError("secret")


async def fail_later(request: ConnectRequest) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("secret")


@pytest.mark.parametrize("decision", [fail, fail_later])
async def test_an_endpoint_that_raises_is_a_500_without_details(
    decision: Callable[[ConnectRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    application = EchoApplication()
    application.echo.decision = decision
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await turns()
        assert status(peer) == b"500"
        assert peer.after_head == b"internal error\n"
    assert "secret" in caplog.text


async def test_a_session_that_cannot_be_made_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication()
    application.echo.on_open = lambda session: 1 / 0
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        assert peer.close_code == 1011
        assert peer.transport.events[-1] == "eof"
        assert application.sessions[0].ended == []  # it never was one
    assert "ZeroDivisionError" in caplog.text


async def test_a_session_may_close_while_it_is_made() -> None:
    application = EchoApplication()
    application.echo.on_open = lambda session: session.link.close(4000, "not now")
    async with without_sockets(application) as listener:
        peer = Peer(listener, head=HEAD % b"" + frame(TEXT, b"early") + frame(CLOSE, b"\x0f\xa0"))
        assert peer.close_code == 4000
        assert application.sessions[0].received == []
        assert application.sessions[0].ended == [(4000, "not now")]


async def test_what_is_sent_while_the_session_is_made_leaves_behind_the_101_in_one_write() -> None:
    application = EchoApplication()
    application.echo.on_open = lambda session: session.link.send(b"\x81\x05hello")
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        assert peer.texts == [b"hello"]
        assert len(peer.transport.events) == 1


async def test_the_fin_of_a_refused_peer_is_seen_although_it_sent_too_much_before() -> None:
    application = EchoApplication(Limits(early_bytes=100))
    application.echo.decision = decided_later(Refuse(403, "no"))
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        peer.feed(b"x" * 101)
        assert not peer.transport.reading
        await asyncio.sleep(2)
        assert status(peer) == b"403"
        assert peer.transport.reading


async def test_a_decision_that_takes_too_long_is_cancelled_and_answered_with_503() -> None:
    application = EchoApplication(Limits(connect_seconds=10))
    cancelled: list[float] = []

    async def decide(request: ConnectRequest) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.append(asyncio.get_running_loop().time())

    application.echo.decision = decide
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await asyncio.sleep(9.9)
        assert not peer.transport.sent
        await asyncio.sleep(1)
        assert status(peer) == b"503"
        assert 10 <= cancelled[0] < 11


async def test_a_server_that_ends_cancels_the_decision() -> None:
    application = EchoApplication()
    application.echo.decision = decided_later(None)
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await turns()
        peer.protocol.go_away()
        assert status(peer) == b"503"
        await asyncio.sleep(2)
        assert application.sessions == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        Peer(listener, head=b"GET /").protocol.go_away()


async def test_a_peer_that_leaves_cancels_the_decision() -> None:
    application = EchoApplication()
    cancelled = False

    async def decide(request: ConnectRequest) -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled = True
            raise

    application.echo.decision = decide
    async with without_sockets(application) as listener:
        peer = Peer(listener)
        await turns()
        peer.lose()
        await turns()
        assert cancelled
        at_once = Peer(listener)
        at_once.lose()  # before the task's first step
        await turns()
    assert application.sessions == []


async def test_a_slow_head_is_dropped() -> None:
    application = EchoApplication(Limits(connect_seconds=10))
    async with without_sockets(application) as listener:
        peer = Peer(listener, head=b"GET /ws HT")
        await asyncio.sleep(5)
        peer.feed(b"TP/1.1\r\n")  # a byte now and then does not help
        await asyncio.sleep(6)
        assert peer.transport.events == ["abort"]
    assert application.counters.deadline_aborts == 1


async def test_the_questions_come_in_order() -> None:
    asked: list[str] = []
    application = EchoApplication()

    class Endpoint(EchoEndpoint):
        subprotocol = "liverpc.test"

        def refuses(self, request: ConnectRequest) -> Refuse | None:
            asked.append("refuses")
            return None

        def decide(self, request: ConnectRequest) -> Any:
            asked.append("decide")
            return None

    application.echo = Endpoint(application)
    offer = b"Sec-WebSocket-Protocol: other, liverpc.test\r\n"
    async with without_sockets(application) as listener:
        missing = Peer(listener, head=HEAD.replace(b"/ws", b"/nothing") % b"")
        assert (status(missing), asked) == (b"404", [])
        without_offer = Peer(listener)
        assert (status(without_offer), asked) == (b"400", ["refuses"])
        assert b"this endpoint speaks liverpc.test" in without_offer.transport.sent
        invalid = Peer(listener, head=(HEAD % offer).replace(b"Version: 13", b"Version: 8"))
        assert (status(invalid), asked) == (b"400", ["refuses"] * 2)
        good = Peer(listener, head=HEAD % offer)
        assert (status(good), asked) == (b"101", ["refuses"] * 3 + ["decide"])
        assert b"Sec-WebSocket-Protocol: liverpc.test\r\n" in good.transport.sent
        listener.begin_drain()
        late = Peer(listener, head=HEAD % offer)
        assert (status(late), len(asked)) == (b"503", 4)
    assert application.counters.handshakes_refused == 4


async def test_an_endpoint_without_a_subprotocol_ignores_what_is_offered() -> None:
    async with without_sockets(EchoApplication()) as listener:
        peer = Peer(listener, head=HEAD % b"Sec-WebSocket-Protocol: x\r\n")
        assert status(peer) == b"101"
        assert b"Sec-WebSocket-Protocol" not in peer.transport.sent


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, b"431"),
        (b"GET /ws HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),  # TLS on a plain port
        (b"get /ws HTTP/1.1\r\n\r\n", b"400"),
        ((HEAD % b"").replace(b"Version: 13", b"Version: 8"), b"400"),
        ((HEAD % b"").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), b"400"),
        ((HEAD % b"").replace(b"HTTP/1.1", b"HTTP/1.0"), b"505"),
        ((HEAD % b"").replace(b"Connection: Upgrade", b"Connection: close"), b"426"),
        ((HEAD % b"Content-Length: 5\r\n") + b"abcde", b"400"),
        ((HEAD % b"Transfer-Encoding: chunked\r\n"), b"400"),
        ((HEAD % b"no colon here\r\n"), b"400"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
async def test_bad_heads_are_answered(head: bytes, expected: bytes, step: int) -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        peer = Peer(listener, head=b"")
        peer.feed(head, step=step)
        assert status(peer) == expected
        assert peer.transport.events.count("eof") == 1
    assert application.counters.handshakes_refused == 1


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_head_may_be_as_long_as_the_limit(extra: int) -> None:
    base = len(HEAD % b"X: \r\n")
    application = EchoApplication(Limits(head_bytes=1000))
    async with without_sockets(application) as listener:
        peer = Peer(listener, head=HEAD % b"X: %s\r\n" % (b"a" * (1000 + extra - base)))
        assert status(peer) == (b"431" if extra > 0 else b"101")
