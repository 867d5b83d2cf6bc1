"""Questions of the server and the client's answers, through every door."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from liverpc import Connection, LiveError, LiveServer, PushFailed
from liverpc.client import Client, connect
from tests.e2e.doors import DOORS, Door

pytestmark = pytest.mark.realtime


@pytest.fixture(params=DOORS, ids=repr)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[LiveServer, str]]:
    door: Door = request.param
    server = LiveServer([], **door.options)
    async with door.serve(server) as at:
        yield server, at.url


@pytest.fixture
async def client(server: tuple[LiveServer, str]) -> AsyncIterator[Client]:
    async with connect(server[1]) as client:
        yield client


@pytest.fixture
def connection(server: tuple[LiveServer, str], client: Client) -> Connection:
    (connection,) = server[0].connections
    return connection


async def test_a_question_is_answered_with_what_the_handler_returns(client: Client, connection: Connection) -> None:
    async def later(data: Any) -> Any:
        await asyncio.sleep(0)
        return {"später": data}

    client.on_push("now", lambda data: data["n"] + 1)
    client.on_push("later", later)
    client.on_push("nothing", lambda _: None)
    questions = [("now", {"n": 1}), ("later", [None, "ä"]), ("nothing", None), ("now", {"n": 2})]
    answers = await asyncio.gather(*(connection.ask(event, data) for event, data in questions))
    assert answers == [2, {"später": [None, "ä"]}, None, 3]


def raising(error: Exception) -> Any:
    def handler(_: Any) -> None:
        raise error

    return handler


async def test_what_the_handler_says_of_its_failure_is_raised(
    client: Client, connection: Connection
) -> None:  # acceptance 133
    client.on_push("confirm", raising(LiveError("BUSY", "not now")))
    client.on_push("bug", raising(ValueError("s3cret")))
    with pytest.raises(PushFailed, match="BUSY: not now"):
        await connection.ask("confirm")
    with pytest.raises(PushFailed, match="the handler failed") as caught:
        await connection.ask("bug")
    assert "s3cret" not in str(caught.value)


async def test_a_question_without_a_handler_is_told_so_or_times_out(client: Client, connection: Connection) -> None:
    with pytest.raises(LiveError, match=r"TIMEOUT: .*'confirm' within 0\.05 s"):
        await connection.ask("confirm", timeout=0.05)
    client.on_push("other", lambda _: None)
    with pytest.raises(PushFailed, match="no handler for 'confirm'"):
        await connection.ask("confirm")


async def test_a_client_that_leaves_fails_what_it_was_asked(
    client: Client, connection: Connection
) -> None:  # acceptance 137
    asked, ended = asyncio.Event(), asyncio.Event()

    async def never(_: Any) -> None:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    client.on_push("confirm", never)
    question = asyncio.create_task(connection.ask("confirm", timeout=60.0))
    await asked.wait()
    await client.aclose()
    assert ended.is_set()
    with pytest.raises(PushFailed, match="gone"):
        await asyncio.wait_for(question, 5.0)
    with pytest.raises(PushFailed, match="gone"):
        await connection.ask("confirm")
