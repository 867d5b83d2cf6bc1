"""Plain HTTP on the port of the WebSockets, over real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from liverpc.config import Limits
from liverpc.hub.link import HttpRequest, HttpResponse
from liverpc.transports.http import PlainHttp
from liverpc.wire.framing import text_frame
from tests.transports.transport_kit import HEAD, TEXT, EchoApplication, frame, serving, until

pytestmark = pytest.mark.realtime

QUICK = Limits(linger_seconds=0.1, close_seconds=0.2)


def request(method: str, path: str, body: bytes = b"", *headers: str, keep: bool = False) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if not keep:
        lines.append("Connection: close")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer[9:12])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


async def test_a_request_reaches_the_application_and_its_answer_the_peer() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/healthz?a=1%20", b"", "X-Two: 1", "x-two: 2"))
        assert status(answer) == 200
        assert body(answer) == b"ok\n"
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\ncontent-type: text/plain" in head
        assert b"\r\ncontent-length: 3" in head
        assert b"\r\nconnection: close" in head
        assert b"\r\ndate: " in head
    (asked,) = application.requests
    assert (asked.method, asked.path, asked.query, asked.body) == ("GET", "/healthz", "a=1%20", b"")
    assert asked.headers["x-two"] == "1, 2"
    assert asked.address == "127.0.0.1"
    assert application.counters.http_requests == 1
    assert application.counters.handshakes_refused == 0


async def test_head_is_get_without_the_body() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        answer = await served.raw(request("HEAD", "/healthz"))
        assert status(answer) == 200
        assert b"content-length: 3" in answer.lower()
        assert body(answer) == b""
        assert body(await served.raw(request("HEAD", "/ws"))) == b""
    assert [asked.method for asked in application.requests] == ["GET"]


async def test_bodies_arrive_whole() -> None:
    chunked = request("POST", "/hook", b"", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    async with serving(EchoApplication(QUICK)) as served:
        assert body(await served.raw(request("POST", "/hook", b"abcde"))) == b"5"
        assert body(await served.raw(request("POST", "/hook", b"x" * 900_000))) == b"900000"
        assert body(await served.raw(chunked)) == b"7"


async def test_a_client_may_ask_before_it_sends_its_body() -> None:
    async with serving(EchoApplication(QUICK)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("POST", "/hook", b"", "Expect: 100-continue", "Content-Length: 2"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"ab")
        assert body(await reader.read()) == b"2"
        writer.close()


@pytest.mark.parametrize("size", [9_999, 10_000, 10_001])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_be_as_long_as_the_limit(size: int, chunked: bool) -> None:
    limits = Limits(body_bytes=10_000, linger_seconds=0.1)
    if chunked:
        data = request("POST", "/hook", b"", "Transfer-Encoding: chunked")
        data += b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
    else:
        data = request("POST", "/hook", b"x" * size)
    async with serving(EchoApplication(limits)) as served:
        answer = await served.raw(data)
    assert (status(answer), body(answer)) == (
        (413, b"the body is too large\n") if size > 10_000 else (200, b"%d" % size)
    )


async def test_a_body_far_above_the_limit_gets_its_answer_and_no_reset() -> None:
    async with serving(EchoApplication(QUICK)) as served:
        assert status(await served.raw(request("POST", "/hook", b"x" * (2 << 20)))) == 413


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request("GET", "/nope"), 404),
        (request("GET", "/ws"), 426),
        (request("POST", "/ws", b"x"), 426),
        (request("GET", "/ws", b"", "Connection: Upgrade", "Upgrade: h2c"), 426),
        (request("GET", "/healthz", b"", "Connection: Upgrade", "Upgrade: h2c"), 200),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\r\n\r\n\r\n\r\n", 400),
        (b"GET  /two-spaces HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 20), 413),
        (b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), 400),
        (b"POST /hook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
async def test_other_requests_get_the_right_status(data: bytes, expected: int) -> None:
    async with serving(EchoApplication(QUICK)) as served:
        assert status(await served.raw(data)) == expected


async def test_what_follows_the_first_request_is_not_answered() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        for garbage in (request("GET", "/healthz"), b"\x00\xff" * 100_000, b"GET"):
            answer = await served.raw(request("GET", "/healthz") + garbage)
            assert answer.count(b"HTTP/1.1 200") == 1
            assert answer.endswith(b"ok\n")
    assert len(application.requests) == 3


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving(EchoApplication(QUICK)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for byte in request("POST", "/hook", b"abc"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert body(await reader.read()) == b"3"
        writer.close()


async def test_a_request_cut_short_gets_no_answer() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        for cut in (request("POST", "/hook", b"abc")[:-1], b"GET /h", b""):
            assert await served.raw(cut, eof=True) == b""
    assert application.requests == []


async def test_an_application_that_raises_is_a_bare_500(caplog: pytest.LogCaptureFixture) -> None:
    application = EchoApplication(QUICK)

    async def page(asked: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    application.page = page
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/"))
        assert status(answer) == 500
        assert body(answer) == b"internal error\n"
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(200, b"", {"X": "a\r\nSet-Cookie: b"}),
        HttpResponse(200, b"", {"X Y": "a"}),
        HttpResponse(200, b"", {"X": "€"}),
        HttpResponse(42),
    ],
)
async def test_an_answer_that_is_not_http_is_a_bare_500(
    response: HttpResponse, caplog: pytest.LogCaptureFixture
) -> None:
    application = EchoApplication(QUICK)

    async def page(asked: HttpRequest) -> HttpResponse:
        return response

    application.page = page
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/"))
        assert status(answer) == 500
        assert b"Cookie" not in answer
    assert "cannot be sent" in caplog.text


async def test_the_transports_headers_are_the_transports() -> None:
    application = EchoApplication(QUICK)
    headers = {"content-length": "99", "Connection": "keep-alive", "Transfer-Encoding": "chunked", "X": "kept"}

    async def page(asked: HttpRequest) -> HttpResponse:
        return HttpResponse(204 if asked.path == "/empty" else 200, b"" if asked.path == "/empty" else b"abc", headers)

    application.page = page
    async with serving(application) as served:
        answer = (await served.raw(request("GET", "/"))).lower()
        assert b"keep-alive" not in answer
        assert b"chunked" not in answer
        assert answer.count(b"content-length: 3\r\n") == 1
        assert b"x: kept" in answer
        assert answer.endswith(b"\r\n\r\nabc")
        empty = (await served.raw(request("GET", "/empty"))).lower()
        assert status(empty.upper()) == 204
        assert b"content-length" not in empty


async def test_a_peer_that_leaves_cancels_the_applications_work() -> None:
    application = EchoApplication(QUICK)
    cancelled = asyncio.Event()

    async def page(asked: HttpRequest) -> HttpResponse:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return HttpResponse(200)

    application.page = page
    async with serving(application) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET", "/"))
        await until(lambda: application.requests)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await cancelled.wait()
        await until(lambda: not served.listener.connections)


async def test_a_slow_request_is_dropped_and_a_slow_application_is_not() -> None:
    application = EchoApplication(Limits(connect_seconds=0.1, linger_seconds=0.1))

    may_answer = asyncio.Event()

    async def page(asked: HttpRequest) -> HttpResponse:
        await may_answer.wait()
        return HttpResponse(200, b"slow")

    application.page = page
    async with serving(application) as served:
        answer = asyncio.create_task(served.raw(request("GET", "/")))
        await until(lambda: application.requests)
        # It came later and is over: the time for a request has passed for both.
        assert await served.raw(request("POST", "/hook", b"abc")[:-1]) == b""
        may_answer.set()
        assert body(await answer) == b"slow"
    assert application.counters.deadline_aborts == 1


async def test_a_large_answer_reaches_a_peer_that_takes_it_slowly() -> None:
    application = EchoApplication(Limits(linger_seconds=0.1))

    async def page(asked: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"x" * (12 << 20))

    application.page = page
    async with serving(application) as served:
        wheel = served.listener.wheel
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 14)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        writer.write(request("GET", "/"))
        await reader.readuntil(b"\r\n\r\n")
        begin = wheel.now

        async def next_turn() -> None:
            turn = wheel.now
            await until(lambda: wheel.now > turn or len(wheel) == 0)

        for _ in range(12):
            await reader.readexactly(1 << 20)
            await next_turn()
        assert wheel.now - begin > wheel.turns(application.limits.linger_seconds)
        assert await reader.read() == b""
        writer.close()


async def test_nothing_is_left_of_answered_requests() -> None:
    async with serving(EchoApplication(QUICK)) as served:
        for _ in range(20):
            await served.raw(request("GET", "/healthz"))
        await until(lambda: not served.listener.connections)
        assert len(served.listener.wheel) == 0


# Connections that are kept


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head, in lower case, and body of the next answer."""
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head, await reader.readexactly(int(length or b"0"))


async def test_a_connection_takes_one_request_after_the_other() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for number in range(5):
            writer.write(request("POST", "/hook", b"x" * number, keep=True))
            head, got = await answer_of(reader)
            assert got == b"%d" % number
            assert b"connection:" not in head
        writer.write(request("HEAD", "/healthz", keep=True))
        assert b"content-length: 3" in (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.write(request("GET", "/nope", keep=True))
        assert (await answer_of(reader))[0].startswith(b"http/1.1 404")
        assert len(served.listener.connections) == 1
        writer.write(request("GET", "/healthz"))
        head, got = await answer_of(reader)
        assert (b"\r\nconnection: close\r\n" in head, got) == (True, b"ok\n")
        assert await reader.read() == b""
        writer.close()
    assert application.counters.http_requests == 8
    assert application.counters.deadline_aborts == 0


async def test_requests_sent_at_once_are_answered_one_at_a_time_and_in_order() -> None:
    application = EchoApplication(QUICK)
    running = peak = 0

    async def page(asked: HttpRequest) -> HttpResponse:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        return HttpResponse(200, asked.path.encode() + asked.body)

    application.page = page
    paths = [f"/{number}" for number in range(200)]
    data = b"".join(request("POST", path, b"x", keep=True) for path in paths) + request("GET", "/last")
    async with serving(application) as served:
        for pieces in (data,), tuple(data[at : at + 7] for at in range(0, len(data), 7)):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            assert [(await answer_of(reader))[1].decode() for _ in paths] == [f"{path}x" for path in paths]
            assert (await answer_of(reader))[1] == b"/last"
            assert await reader.read() == b""
            writer.close()
    assert peak == 1


async def test_what_waits_behind_a_request_is_bounded() -> None:
    application = EchoApplication(Limits(early_bytes=1000, linger_seconds=0.1))
    may_answer = asyncio.Event()

    async def page(asked: HttpRequest) -> HttpResponse:
        await may_answer.wait()
        return HttpResponse(200, asked.path.encode())

    application.page = page
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET", "/first", keep=True))
        await until(lambda: application.requests)
        writer.write(request("GET", "/next", keep=True) * 40_000)
        (http,) = served.listener.connections
        assert isinstance(http, PlainHttp)
        await until(lambda: not http.transport.is_reading())
        assert len(http.behind) <= 1000 + (256 << 10)  # the limit, and one read
        may_answer.set()
        assert (await answer_of(reader))[1] == b"/first"
        answers = [await answer_of(reader) for _ in range(1000 - 1)]  # all that one connection gets
        assert all(got == b"/next" for _, got in answers)
        assert b"connection: close" in answers[-1][0]
        writer.close()


@pytest.mark.parametrize("requests", [1, 2, 3])
async def test_a_connection_gets_so_many_answers(requests: int) -> None:
    application = EchoApplication(Limits(requests_per_connection=2, linger_seconds=0.1, keep_alive_seconds=0.1))
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/healthz", keep=True) * requests)
        assert answer.count(b"HTTP/1.1 200") == min(2, requests)
        assert answer.count(b"Connection: close") == (requests > 1)


async def test_an_idle_connection_is_closed_quietly_and_a_slow_request_is_not() -> None:
    application = EchoApplication(Limits(keep_alive_seconds=0.1, connect_seconds=0.5, linger_seconds=0.1))
    async with serving(application) as served:
        assert (await served.raw(request("GET", "/healthz", keep=True))).endswith(b"ok\n")
        assert application.counters.deadline_aborts == 0
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET", "/healthz", keep=True))
        await answer_of(reader)
        wheel = served.listener.wheel
        turn = wheel.now
        writer.write(b"G")  # the next request has begun
        await until(lambda: wheel.now - turn > wheel.turns(0.2))
        writer.write(request("GET", "/healthz", keep=True)[1:])
        assert (await answer_of(reader))[1] == b"ok\n"
        writer.write(b"GET /half")
        assert await reader.read() == b""
        writer.close()
    assert application.counters.deadline_aborts == 1


async def test_an_upgrade_may_follow_plain_requests(fast: bool) -> None:
    application = EchoApplication(QUICK)
    async with serving(application, fast=fast) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        # All of it at once.
        writer.write(request("GET", "/healthz", keep=True) * 2 + HEAD % b"" + frame(TEXT, b"hello"))
        for _ in range(2):
            assert (await answer_of(reader))[1] == b"ok\n"
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(7) == text_frame(b"hello")
        writer.close()


async def test_an_unread_request_is_not_followed_by_another() -> None:
    async with serving(EchoApplication(Limits(body_bytes=10, linger_seconds=0.1))) as served:
        answer = await served.raw(
            request("POST", "/hook", b"x" * 11, keep=True) + request("GET", "/healthz", keep=True)
        )
        assert answer.count(b"HTTP/1.1 ") == 1
        assert status(answer) == 413
        answer = await served.raw(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_failure_of_the_application_leaves_the_connection() -> None:
    application = EchoApplication(QUICK)

    async def page(asked: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    application.page = page
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/", keep=True) + request("GET", "/ws"))
        assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [500, 426]


async def test_large_answers_wait_for_a_peer_that_takes_them_slowly() -> None:
    application = EchoApplication(Limits(linger_seconds=0.1))

    async def page(asked: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"x" * (8 << 20))

    application.page = page
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 14)
        writer.write(request("GET", "/", keep=True) * 3)
        await reader.readuntil(b"\r\n\r\n")
        assert len(application.requests) == 1  # the others are not begun before the first answer is taken
        await reader.readexactly(8 << 20)
        for _ in range(2):
            assert len((await answer_of(reader))[1]) == 8 << 20
        writer.close()


async def test_a_drain_ends_kept_connections() -> None:
    application = EchoApplication(QUICK)
    async with serving(application) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request("GET", "/healthz", keep=True))
        await answer_of(reader)
        await served.listener.drain()
        assert await reader.read() == b""
        writer.close()
    assert application.counters.deadline_aborts == 0


async def test_cookies_are_headers_of_their_own() -> None:
    application = EchoApplication(QUICK)

    async def page(asked: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"", cookies=("a=1; HttpOnly", "b=2"))

    application.page = page
    async with serving(application) as served:
        answer = await served.raw(request("GET", "/"))
        assert b"\r\nSet-Cookie: a=1; HttpOnly\r\nSet-Cookie: b=2\r\n" in answer
