"""Health, readiness and the auth endpoint, as ``LiveServer.http`` answers on every door."""

from __future__ import annotations

from typing import Any

import pytest

from liverpc.declare.hooks import Hooks
from liverpc.dispatch.web import State, Web
from liverpc.errors import Reject
from liverpc.hub.gatekeeper import Gatekeeper
from liverpc.hub.link import HttpRequest, HttpResponse

AUTH = "/__ws/auth"
SAME = {"sec-fetch-site": "same-origin"}
LISTED = {"origin": "https://app.example", "host": "api.example"}


async def answer(
    method: str,
    path: str = AUTH,
    headers: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    hook: Any = None,
    state: State = "ready",
    origins: Any = ("https://app.example",),
) -> HttpResponse:
    web = Web(
        auth_path=AUTH,
        origins=origins,
        hooks=Hooks(authenticate=hook),
        report=lambda path, error, ctx: None,
        state=lambda: state,
        gatekeeper=Gatekeeper((), lambda: 0.0),
    )
    return await web.answer(HttpRequest(method, path, "a=1", headers or {}, body, "192.0.2.7"))


@pytest.mark.parametrize("state", ["starting", "ready", "draining"])
async def test_healthz_says_that_the_process_lives(state: State) -> None:
    given = await answer("GET", "/healthz", state=state)
    assert (given.status, given.body) == (200, b'{"status":"ok"}\n')
    assert given.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("state", "status"), [("starting", 503), ("ready", 200), ("draining", 503)])
async def test_readyz_says_whether_clients_are_welcome(state: State, status: int) -> None:
    given = await answer("GET", "/readyz", state=state)
    assert (given.status, given.body) == (status, b'{"status":"%s"}\n' % state.encode())


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("DELETE", "/readyz", 405, "GET, HEAD"),
        ("GET", AUTH, 405, "POST, OPTIONS"),
        ("PUT", AUTH, 405, "POST, OPTIONS"),
        ("GET", "/", 404, None),
        ("GET", "/healthz/", 404, None),
        ("POST", AUTH + "/", 404, None),
    ],
)
async def test_wrong_methods_and_paths_are_told_apart(method: str, path: str, status: int, allow: str | None) -> None:
    given = await answer(method, path, SAME)
    assert (given.status, given.headers.get("Allow")) == (status, allow)


async def test_without_a_hook_the_auth_endpoint_lets_everyone_through() -> None:
    # A missing endpoint would be 404, after which browser clients never try again.
    assert (await answer("POST", headers=SAME)).status == 204


# -- what shows that a request is not forged


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, False),
        ({"x-requested-with": "XMLHttpRequest"}, True),
        ({"x-requested-with": "xmlhttprequest"}, True),
        ({"x-requested-with": "svelte-adapter-uws"}, False),
        (SAME, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        (LISTED, True),
        ({"origin": "https://evil.example", "host": "api.example"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, True),
    ],
)
async def test_the_auth_endpoint_wants_evidence(headers: dict[str, str], accepted: bool) -> None:
    asked: list[HttpRequest] = []
    given = await answer("POST", headers=headers, hook=asked.append)
    assert given.status == (204 if accepted else 403)
    assert bool(asked) == accepted


@pytest.mark.parametrize(
    ("origins", "origin", "accepted"),
    [
        ("same-origin", "https://api.example", True),
        ("same-origin", "https://api.example:444", False),
        ("same-origin", "https://app.example", False),
        ("*", "https://app.example", True),
        (["https://app.example"], "https://app.example", True),
        (["https://app.example"], "https://api.example", False),
    ],
)
async def test_the_origins_of_the_websocket_are_those_of_the_auth_endpoint(
    origins: Any, origin: str, accepted: bool
) -> None:
    headers = {"origin": origin, "host": "api.example"}
    for method in ("POST", "OPTIONS"):
        given = await answer(method, headers=headers, origins=origins)
        assert given.status == (204 if accepted else 403)
        assert given.headers.get("Access-Control-Allow-Origin") == (origin if accepted else None)
        assert given.headers["Vary"] == "Origin"


async def test_a_page_on_another_origin_may_ask_first() -> None:
    given = await answer("OPTIONS", headers=LISTED)
    assert given.status == 204
    assert given.headers["Access-Control-Allow-Credentials"] == "true"
    assert given.headers["Access-Control-Allow-Methods"] == "POST"
    assert given.headers["Access-Control-Allow-Headers"] == "x-requested-with"
    assert (await answer("OPTIONS", headers={})).status == 403


async def test_the_page_can_read_a_refusal() -> None:
    given = await answer("POST", headers=LISTED, hook=lambda request: False)
    assert given.status == 401
    assert given.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert given.headers["Access-Control-Allow-Credentials"] == "true"


# -- the hook


@pytest.mark.parametrize(("size", "status"), [(65_535, 204), (65_536, 204), (65_537, 413)])
async def test_the_body_may_be_as_long_as_the_limit(size: int, status: int) -> None:
    assert (await answer("POST", headers=SAME, body=b"x" * size)).status == status


@pytest.mark.parametrize(("verdict", "status"), [(None, 204), (True, 204), (False, 401)])
@pytest.mark.parametrize("waits", [True, False])
async def test_the_hook_decides(verdict: bool | None, status: int, waits: bool) -> None:
    async def slowly(request: HttpRequest) -> bool | None:
        return verdict

    assert (await answer("POST", headers=SAME, hook=slowly if waits else lambda request: verdict)).status == status


async def test_the_hook_sees_the_request_and_sets_cookies() -> None:
    def hook(request: HttpRequest) -> HttpResponse:
        assert request.cookies == {"sid": "old"}
        assert request.query == "a=1"
        return HttpResponse(204, headers={"X-Ours": "1"}, cookies=("sid=new; HttpOnly", "theme=dark"))

    given = await answer("POST", headers=LISTED | {"cookie": "sid=old"}, hook=hook)
    assert (given.status, given.cookies) == (204, ("sid=new; HttpOnly", "theme=dark"))
    assert given.headers["X-Ours"] == "1"
    assert given.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert given.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("code", "status"), [("UNAUTHENTICATED", 401), ("FORBIDDEN", 403), ("THROTTLED", 429)])
async def test_a_rejection_is_an_http_status(code: str, status: int) -> None:
    def hook(request: HttpRequest) -> None:
        raise Reject(code, "not today")

    given = await answer("POST", headers=SAME, hook=hook)
    assert (given.status, given.body) == (status, b"not today\n")


@pytest.mark.parametrize("verdict", [RuntimeError("secret"), {"sid": "1"}, 204])
async def test_a_hook_that_fails_is_a_logged_500_without_details(
    verdict: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(request: HttpRequest) -> Any:
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    given = await answer("POST", headers=LISTED, hook=hook)
    assert (given.status, given.body) == (500, b"internal error\n")
    assert given.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "the hook authenticate failed" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"body": "text"}, "bytes"), ({"cookies": "sid=1; HttpOnly"}, "tuple"), ({"headers": {"X": 1}}, "X")],
)
def test_an_answer_that_cannot_be_sent_is_refused_where_it_is_made(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        HttpResponse(200, **arguments)
