"""on_error is told of the hooks around a connection, too; those of calls and frames have their own tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from liverpc import HttpRequest, LiveError, LiveServer, Reject
from liverpc.client.socket import HandshakeRefused
from liverpc.testing import TestEnv

Told = list[tuple[str, str, Any]]


@pytest.fixture
def told() -> Told:
    return []


def failing(error: BaseException) -> Callable[..., None]:
    def hook(*args: Any) -> None:
        raise error

    return hook


def failing_later(error: BaseException) -> Callable[..., Awaitable[None]]:
    async def hook(*args: Any) -> None:
        await asyncio.sleep(0.1)
        raise error

    return hook


def make_env(told: Told, **hooks: Any) -> TestEnv:
    return TestEnv(LiveServer(on_error=lambda path, error, ctx: told.append((path, str(error), ctx)), **hooks))


BOTH = pytest.mark.parametrize("make", [failing, failing_later])


@BOTH
async def test_a_failing_on_connect_is_reported_and_refuses(told: Told, make: Any) -> None:
    async with make_env(told, on_connect=make(KeyError("sid"))) as env:
        with pytest.raises(HandshakeRefused, match="500"):
            await env.transport.connect("/ws")
        await env.settle()
        assert told == [("__connect__", "'sid'", None)]


@BOTH
async def test_a_failing_authenticate_is_reported_and_answered_with_500(told: Told, make: Any) -> None:
    async with make_env(told, authenticate=make(KeyError("sid"))) as env:
        request = HttpRequest("POST", "/__ws/auth", "", {"sec-fetch-site": "same-origin"}, b"", "192.0.2.7")
        assert (await env.server.http(request)).status == 500
        assert told == [("__auth__", "'sid'", None)]


async def test_an_authenticate_that_returns_nonsense_is_reported(told: Told) -> None:
    async with make_env(told, authenticate=lambda request: "yes") as env:
        request = HttpRequest("POST", "/__ws/auth", "", {"sec-fetch-site": "same-origin"}, b"", "192.0.2.7")
        assert (await env.server.http(request)).status == 500
        assert [path for path, _, _ in told] == ["__auth__"]


@BOTH
async def test_a_failing_on_disconnect_is_reported(told: Told, make: Any) -> None:
    async with make_env(told, on_disconnect=make(KeyError("row"))) as env:
        socket = await env.transport.connect("/ws")
        await socket.close()
        await asyncio.sleep(1)
        assert told == [("__disconnect__", "'row'", None)]


@BOTH
@pytest.mark.parametrize("error", [Reject("FORBIDDEN", before_upgrade=True), LiveError("BUSY")])
async def test_what_was_meant_for_the_client_is_not_reported(told: Told, make: Any, error: Exception) -> None:
    async with make_env(told, on_connect=make(error), authenticate=make(error)) as env:
        with pytest.raises(HandshakeRefused):
            await env.transport.connect("/ws")
        request = HttpRequest("POST", "/__ws/auth", "", {"sec-fetch-site": "same-origin"}, b"", "192.0.2.7")
        await env.server.http(request)
        await env.settle()
        assert told == []


async def test_a_decision_that_is_cancelled_is_not_reported(told: Told) -> None:
    async def on_connect(request: Any) -> None:
        await asyncio.sleep(1000)

    async with make_env(told, on_connect=on_connect) as env:
        with pytest.raises(HandshakeRefused, match="503"):
            await env.transport.connect("/ws")
        assert told == []
