"""What handlers may use of asyncio and anyio, through every door: they run in real tasks of their own."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from liverpc import Context, LiveServer, live, public, remote
from liverpc.client import Client, connect
from tests.e2e.doors import DOORS, Door

pytestmark = pytest.mark.realtime

who = contextvars.ContextVar("who", default="nobody")


@live
async def timeout(ctx: Context[Any]) -> str:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)
    except TimeoutError:
        return "timed out"
    return "went on"


@live
async def task_group(ctx: Context[Any]) -> list[str]:
    ends: list[str] = []

    async def sibling() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def failing() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("on purpose")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(sibling())
            group.create_task(failing())
    except* ValueError:
        ends.append("caught")
    return ends


@live
async def fail_after(ctx: Context[Any]) -> str:
    try:
        with anyio.fail_after(0.01):
            await anyio.sleep(30)
    except TimeoutError:
        return "timed out"
    return "went on"


@live
async def any_group(ctx: Context[Any]) -> list[str]:
    ends: list[str] = []

    async def sibling() -> None:
        try:
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise

    async def failing() -> None:
        await anyio.sleep(0.01)
        raise ValueError("on purpose")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(sibling)
            group.start_soon(failing)
    except* ValueError:
        ends.append("caught")
    return ends


@live
async def to_thread(ctx: Context[Any]) -> bool:
    def blocking() -> int:
        time.sleep(0.01)
        return threading.get_ident()

    return await anyio.to_thread.run_sync(blocking) != threading.get_ident()


@live
async def cancel_scope(ctx: Context[Any]) -> list[bool]:
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(0.01, scope.cancel)
        await anyio.sleep(30)
    await asyncio.sleep(0)  # the rest of the handler is not cancelled
    return [scope.cancelled_caught]


@live
async def introduce(ctx: Context[Any], name: str) -> str:
    before = who.get()
    who.set(name)
    await asyncio.sleep(0.001)
    return f"{before}, then {who.get()}"


class Interrupted:
    """A handler that waits, and what became of it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    def declare(self) -> Any:
        @live
        async def wait(ctx: Context[Any]) -> None:
            self.started.set()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(30))
            finally:
                self.cancelled.set()

        return wait


@pytest.fixture
def interrupted() -> Interrupted:
    return Interrupted()


@pytest.fixture(params=DOORS, ids=repr)
async def client(request: pytest.FixtureRequest, interrupted: Interrupted) -> AsyncIterator[Client]:
    door: Door = request.param
    module = SimpleNamespace(
        timeout=timeout,
        task_group=task_group,
        fail_after=fail_after,
        any_group=any_group,
        to_thread=to_thread,
        cancel_scope=cancel_scope,
        introduce=introduce,
        wait=interrupted.declare(),
        _guard=public(),
    )
    async with door.serve(LiveServer({"demo": module}, **door.options)) as at, connect(at.url) as client:
        yield client


@pytest.mark.parametrize(
    ("construct", "outcome"),
    [
        ("timeout", "timed out"),
        ("task_group", ["cancelled", "caught"]),
        ("fail_after", "timed out"),
        ("any_group", ["cancelled", "caught"]),
        ("to_thread", True),
        ("cancel_scope", [True]),
    ],
)
async def test_structured_concurrency_has_its_effects(client: Client, construct: str, outcome: Any) -> None:
    calls = [client.call(remote(f"demo/{construct}")) for _ in range(3)]
    assert await asyncio.gather(*calls) == [outcome] * 3


async def test_context_variables_of_one_call_are_not_seen_by_another(client: Client) -> None:
    names = [f"user {number}" for number in range(100)]  # more than may run at once: reading stops in between
    calls = [client.call(remote("demo/introduce"), name) for name in names]
    assert await asyncio.gather(*calls) == [f"nobody, then {name}" for name in names]
    assert await client.call(remote("demo/introduce"), "last") == "nobody, then last"


async def test_a_peer_that_leaves_cancels_its_calls_and_all_their_tasks(
    client: Client, interrupted: Interrupted
) -> None:
    call = asyncio.create_task(client.call(remote("demo/wait")))
    await interrupted.started.wait()
    await client.aclose()
    await asyncio.wait_for(interrupted.cancelled.wait(), 5)
    await asyncio.wait({call})
    assert call.exception() is not None
