"""The ASGI application around a server: its life, its plain HTTP, and where it is mounted."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from liverpc.config import Limits
from liverpc.errors import ConfigError
from liverpc.hub.link import HttpRequest, HttpResponse
from tests.transports.asgi_kit import HostedEcho, Visit, request, settle


class Life:
    """An ASGI server's lifespan, step by step."""

    def __init__(self, application: HostedEcho, **scope: Any) -> None:
        self.scope: dict[str, Any] = {"type": "lifespan"} | scope
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[MutableMapping[str, Any]] = []
        self.task = asyncio.create_task(self._run(application))

    async def _run(self, application: HostedEcho) -> None:
        await application.asgi(self.scope, self.inbox.get, self._send)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    async def say(self, what: str) -> str:
        self.inbox.put_nowait({"type": f"lifespan.{what}"})
        await settle()
        return str(self.sent[-1]["type"]).removeprefix("lifespan.")


# -- life


async def test_the_lifespan_starts_and_stops_the_server_and_shows_it_to_the_door() -> None:
    application = HostedEcho()
    life = Life(application, state={"other": 1})
    assert await life.say("startup") == "startup.complete"
    assert application.listener is not None
    assert life.scope["state"] == {"other": 1, "liverpc": application}
    assert await life.say("shutdown") == "shutdown.complete"
    assert application.listener is None
    await life.task


async def test_a_server_that_runs_already_is_not_started_again() -> None:
    application = HostedEcho()
    async with application.lifespan():
        life = Life(application)
        assert await life.say("startup") == "startup.complete"
        assert await life.say("shutdown") == "shutdown.complete"
        assert application.listener is not None
        assert application.starts == 1
        await life.task


@pytest.mark.parametrize("failure", [ConfigError("a setting is wrong"), RuntimeError("a setting is wrong")])
async def test_a_start_that_fails_tells_the_server_why(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    life = Life(HostedEcho(failure=failure))
    assert await life.say("startup") == "startup.failed"
    assert life.sent[-1]["message"] == f"{type(failure).__name__}: a setting is wrong"
    await life.task
    assert bool(caplog.records) == isinstance(failure, RuntimeError)  # our own errors need no traceback


async def test_a_server_that_was_never_started_says_how_to_start_it(caplog: pytest.LogCaptureFixture) -> None:
    application = HostedEcho()
    start, body = await request(application)
    assert start["status"] == 503
    assert b"FastAPI(lifespan=server.lifespan)" in body["body"]
    visit = Visit(application)
    await visit.over()
    assert visit.status == 503
    mute = Visit(application, extensions={})
    await mute.over()
    assert mute.kinds == ["close"]
    assert caplog.text.count("FastAPI(lifespan=server.lifespan)") == 1


async def test_other_kinds_of_scopes_are_an_error() -> None:
    with pytest.raises(ValueError, match="'webtransport'"):
        await HostedEcho().asgi({"type": "webtransport"}, asyncio.Queue[Any]().get, asyncio.Queue[Any]().put)


# -- plain HTTP


async def test_a_request_reaches_the_application_and_its_answer_the_peer() -> None:
    application = HostedEcho()
    async with application.lifespan():
        start, body = await request(
            application,
            "POST",
            "/hook",
            chunks=(b"ab", b"c"),
            query_string=b"a=1%20",
            headers=[(b"x-two", b"1"), (b"X-Two", b"2")],
            client=("192.0.2.7", 1),
        )
        assert (start["status"], body["body"]) == (200, b"3")
        [asked] = application.requests
        assert (asked.method, asked.path, asked.query, asked.body) == ("POST", "/hook", "a=1%20", b"abc")
        assert asked.headers == {"x-two": "1, 2"}
        assert asked.address == "192.0.2.7"
        assert application.counters.http_requests == 1


async def test_head_is_get_without_the_body() -> None:
    application = HostedEcho()
    async with application.lifespan():
        start, body = await request(application, "HEAD")
        assert (b"content-length", b"3") in start["headers"]
        assert body["body"] == b""
        assert application.requests[0].method == "GET"


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize(("size", "status"), [(98, 200), (99, 200), (100, 413)])
async def test_a_body_may_be_as_long_as_the_limit(size: int, status: int, chunks: int) -> None:
    application = HostedEcho(Limits(body_bytes=99))
    async with application.lifespan():
        parts = tuple(b"x" * len(part) for part in (range(size)[i::chunks] for i in range(chunks)))
        start, _ = await request(application, "POST", "/hook", chunks=parts)
        assert start["status"] == status


@pytest.mark.parametrize(("number", "status"), [(100, 200), (101, 431)])
async def test_headers_are_limited(number: int, status: int) -> None:
    application = HostedEcho()
    async with application.lifespan():
        start, _ = await request(application, headers=[(b"x", b"y")] * number)
        assert start["status"] == status


async def test_several_cookies_can_be_set_and_transport_headers_cannot() -> None:
    async def page(asked: HttpRequest) -> HttpResponse:
        assert asked.cookies == {"a": "1", "b": "2"}
        headers = {"Content-Length": "99", "Connection": "keep-alive", "X-Ours": "ü"}
        return HttpResponse(200, b"ok", headers, cookies=("a=1; HttpOnly", "b=2"))

    application = HostedEcho()
    application.page = page
    async with application.lifespan():
        start, _ = await request(application, headers=[(b"cookie", b"a=1; b=2")])
    assert start["headers"] == [
        (b"content-length", b"2"),
        (b"x-ours", "ü".encode("latin-1")),
        (b"set-cookie", b"a=1; HttpOnly"),
        (b"set-cookie", b"b=2"),
    ]


@pytest.mark.parametrize("answer", [HttpResponse(200, b"", {"X": "a\r\nY: b"}), HttpResponse(200, cookies=("a\nb",))])
async def test_what_cannot_be_said_in_http_is_a_bare_500(answer: HttpResponse) -> None:
    async def page(asked: HttpRequest) -> HttpResponse:
        return answer

    application = HostedEcho()
    application.page = page
    async with application.lifespan():
        start, body = await request(application)
    assert (start["status"], body["body"]) == (500, b"internal error\n")


async def test_a_page_that_crashes_is_a_bare_500() -> None:
    async def page(asked: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    application = HostedEcho()
    application.page = page
    async with application.lifespan():
        start, body = await request(application)
    assert (start["status"], body["body"]) == (500, b"internal error\n")


async def test_a_peer_that_leaves_cancels_the_work_for_it() -> None:
    cancelled = asyncio.Event()

    async def page(asked: HttpRequest) -> HttpResponse:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()
        return HttpResponse(200)

    application = HostedEcho()
    application.page = page
    async with application.lifespan():
        assert await request(application, leaves=True) == []
        await settle()
        assert cancelled.is_set()


# -- mounts


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ({"path": "/ws"}, True),
        ({"path": "/ws", "root_path": "/api"}, True),  # a server that keeps its prefix out of the path
        ({"path": "/api/ws", "root_path": "/api"}, True),
        ({"path": "/api/ws", "raw_path": b"/api/ws", "root_path": "/api"}, True),
        ({"path": "/apiws", "root_path": "/api"}, False),
        ({"path": "/api/ws", "root_path": ""}, False),
        ({"path": "/a b/ws", "raw_path": b"/a%20b/ws", "root_path": "/a b"}, True),
        ({"path": "/a b/ws", "raw_path": None, "root_path": "/a b"}, True),
        ({"path": "/w s", "raw_path": b"/w%20s"}, False),
    ],
)
async def test_paths_are_found_with_and_without_the_prefix(scope: dict[str, Any], found: bool) -> None:
    application = HostedEcho()
    async with application.lifespan():
        visit = Visit(application, **({"raw_path": None} | scope))
        await settle()
        assert visit.status == (None if found else 404)
        visit.leave()
        await visit.over()


async def test_plain_http_below_a_prefix_is_relative_to_it() -> None:
    application = HostedEcho()
    async with application.lifespan():
        start, _ = await request(application, path="/api/healthz", root_path="/api")
        assert start["status"] == 200
        start, _ = await request(application, path="/api/ws", root_path="/api")
        assert start["status"] == 426
        assert [asked.path for asked in application.requests] == ["/healthz"]
