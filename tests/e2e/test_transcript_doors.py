"""The recorded conversations, replayed through the doors for other servers, and what pages ask before they connect."""

from __future__ import annotations

from functools import partial

import pytest

from tests.e2e.doors import ASGI, DOORS, UVICORN, At, Door, ask
from tests.wire.differences import expected
from tests.wire.fixture_app import make_server
from tests.wire.recording import load, names
from tests.wire.replaying import WebSocketPipe, replay
from tests.wire.waiting import WAITING

pytestmark = pytest.mark.realtime

PAGE = {"x-requested-with": "svelte-adapter-uws", "sec-fetch-site": "same-origin"}  # what a page's client sends
COOKIE = ["sid=fixture; Path=/"]


@pytest.mark.parametrize("door", [UVICORN, ASGI], ids=repr)
@pytest.mark.parametrize("name", [name for name in names() if name not in WAITING])
async def test_every_door_answers_as_recorded(name: str, door: Door) -> None:
    async with door.serve(make_server()) as at:
        assert await replay(expected(load(name)), partial(WebSocketPipe.dial, at.base)) == []


async def auth(at: At, query: str = "", method: str = "POST", **headers: str) -> tuple[int, list[str]]:
    answer = await ask(at, method, "/__ws/auth" + query, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return answer.status, answer.all("set-cookie")


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_every_door_answers_what_pages_ask_before_they_connect(door: Door) -> None:
    async with door.serve(make_server(**door.options)) as at:
        own = f"http://{at.host}:{at.port}"
        assert await auth(at, **PAGE) == (204, COOKIE)
        assert await auth(at, "?deny=1", **PAGE) == (401, [])
        assert await auth(at, "?broken=1", **PAGE) == (500, [])
        assert await auth(at, x_requested_with="XmlHttpRequest") == (204, COOKIE)
        assert await auth(at, origin=own) == (204, COOKIE)
        for forged in ({}, {"origin": "http://elsewhere.example"}, {"sec_fetch_site": "cross-site"}):
            assert await auth(at, x_requested_with="svelte-adapter-uws", **forged) == (403, [])
        for method in ("GET", "PUT", "DELETE"):
            assert await auth(at, method=method, **PAGE) == (405, [])
        assert await replay(expected(load("auth-preflight")), partial(WebSocketPipe.dial, at.base)) == []
