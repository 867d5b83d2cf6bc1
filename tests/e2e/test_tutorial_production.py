"""The tutorial's page on production: sessions in the hook, and a tab that stays open through a deploy."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from liverpc import LiveServer, Reject, RpcError
from liverpc.client import connect
from tests.e2e.doors import DOORS, Door, free_port
from tests.e2e.tutorial_kit import SESSIONS, Chat, OpenProject, Send, Session, User, cookie, make_server, raw

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_the_session_cookie_is_who_a_page_is_and_nothing_it_says(door: Door) -> None:  # acceptance 248
    async with door.serve(make_server(**door.options)) as at:
        for session, user in (("ann's", "ann"), ("ben's", "ben"), ("made up", None), (None, None)):
            async with connect(Chat, at.base, headers=cookie(session), room_id="general") as page:
                assert await page.call(Chat.whoami) == user
        async with raw(at, "/rooms/general?user=ann&session=ann's") as page:
            assert json.loads(await page.ask("chat/__event/whoami", {"user": {"id": "ann"}}))["data"]["data"] is None
            assert await page.code("chat/__open", {"room_id": "general"}) is None
            assert await page.code("chat/__open", {"room_id": "general", "user": {"id": "ann"}}) is not None
            assert await page.code("chat/__event/send", {"text": "hi", "user": {"id": "ann"}}) == "VALIDATION"


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_without_a_session_protected_rooms_are_refused_by_the_server(door: Door) -> None:
    async with (
        door.serve(make_server(**door.options)) as at,
        connect(Chat, at.base, room_id="general") as page,
    ):
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            await page.join(Chat.tenant)
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            await page.join(Chat.project, OpenProject("apollo"))
        assert await page.call(Chat.whoami) is None


@pytest.mark.parametrize("door", DOORS, ids=repr)
async def test_a_hook_that_refuses_closes_a_page_for_good(door: Door) -> None:  # acceptance 248
    def on_connect(request: object) -> Session:
        raise Reject("UNAUTHENTICATED", "log in first")

    server = LiveServer([Chat], on_connect=on_connect, **door.options)
    async with door.serve(server) as at:
        with pytest.raises(RpcError, match=r"CONNECTION_CLOSED.*4401"):
            async with connect(Chat, at.base, room_id="general"):
                pass


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One in a process of its own; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def deployed(port: int, sessions: Path, ws: str) -> AsyncIterator[asyncio.subprocess.Process]:
    async with program("tests.e2e.tutorial_kit", str(port), str(sessions), ws) as process:
        assert process.stderr is not None
        while f":{port}" not in (line := (await process.stderr.readline()).decode()):
            assert line, "the server ended"
        yield process


class Tab:
    """What a page in another process says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> list[Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        if not line:
            assert self._process.stderr is not None
            raise AssertionError((await self._process.stderr.read()).decode())
        return list(json.loads(line))

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


@pytest.mark.parametrize(
    "ws", ["", "liverpc.transports.uvicorn:LiveDoor", "websockets-sansio"], ids=["alone", "uvicorn", "asgi"]
)
async def test_a_tab_stays_through_a_deploy_and_its_joins_are_authorised_anew(ws: str, tmp_path: Path) -> None:
    # acceptance 244
    port, file = free_port(), tmp_path / "sessions.json"
    url = f"ws://127.0.0.1:{port}"

    def write(sessions: Mapping[str, User]) -> None:
        file.write_bytes(msgspec.json.encode(sessions))

    write(SESSIONS)
    async with deployed(port, file, ws) as before, program("tests.e2e.tutorial_page", url) as process:
        tab = Tab(process)
        assert await tab.says() == ["ready", "ann", ["chat"]]
        write({**SESSIONS, "ann's": User("ann", "acme", ["apollo"])})  # she may not see zeus any more
        before.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(before.wait(), 20) == (-signal.SIGTERM if ws else 0)  # uvicorn passes it on
        assert await tab.says() == ["slow", "DISCONNECTED"]
        async with deployed(port, file, ws):
            # "back" is the answer to a call made while there was no server.
            assert sorted([await tab.says(), await tab.says()]) == [
                ["back", "ann", ["chat"]],
                ["lost", "project", "zeus", "JOIN_REJECTED"],
            ]
            async with connect(Chat, url, headers=cookie("ben's"), room_id="general") as ben:
                await ben.call(Chat.send, Send("hello again"))
                assert await tab.says() == ["heard", "hello again"]
                await ben.join(Chat.project, OpenProject("apollo"))
                await ben.call(Chat.tell_project, Send("lift-off"))
                assert await tab.says() == ["noted", "project", "lift-off"]
                await ben.call(Chat.tell_tenant, Send("all hands"))
                assert await tab.says() == ["noted", "tenant", "all hands"]
            await tab.close()
            assert await tab.says() == ["closed"]
            assert await asyncio.wait_for(process.wait(), 20) == 0
