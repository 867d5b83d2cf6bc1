"""The recorded conversations, replayed through the doors for other servers."""

from functools import partial

import pytest

from tests.e2e.doors import ASGI, UVICORN, Door
from tests.wire.differences import expected
from tests.wire.fixture_app import make_server
from tests.wire.recording import load, names
from tests.wire.replaying import WebSocketPipe, replay
from tests.wire.waiting import WAITING

pytestmark = pytest.mark.realtime


@pytest.mark.parametrize("door", [UVICORN, ASGI], ids=repr)
@pytest.mark.parametrize("name", [name for name in names() if name not in WAITING])
async def test_every_door_answers_as_recorded(name: str, door: Door) -> None:
    async with door.serve(make_server()) as at:
        assert await replay(expected(load(name)), partial(WebSocketPipe.dial, at.base)) == []
