"""``TestClient``: the whole client, connecting by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import ConnectRequest, Context, LiveServer, Reject, RpcError, live, public
from liverpc.testing import TestEnv

total = live.channel("total", merge="set", item=int, path="demo/total")


@live(path="demo/add")
async def add(ctx: Context[Any], a: int, b: int = 1) -> int:
    return a + b


@live(path="demo/remove")
async def remove(ctx: Context[Any], name: str) -> str:
    answer = await ctx.connection.ask("confirm", {"question": f"Remove {name}?"}, timeout=5)
    return "removed" if answer else "kept"


@live(path="demo/set_total")
def set_total(ctx: Context[Any], value: int) -> None:
    ctx.publish(total.topic(), "set", value)


@live.stream("rows", merge="set", path="demo/numbers")
async def numbers(ctx: Context[Any]) -> int:
    return 7


def make(on_connect: Any = None) -> LiveServer:
    functions = SimpleNamespace(
        total=total, add=add, remove=remove, set_total=set_total, numbers=numbers, _guard=public()
    )
    return LiveServer({"demo": functions}, on_connect=on_connect)


async def test_whatever_waits_connects_first() -> None:
    async with TestEnv(make()) as env:
        assert await env.connect().call(add, 1) == 2
        assert await env.connect().using(timeout=5).call(add, 1, b=4) == 5
        async with env.connect().batch() as batch:
            replies = [batch.call(add, 1), batch.call(add, 2)]
        assert [reply.result() for reply in replies] == [2, 3]
        async with env.connect().stream(numbers) as handle:
            assert handle.value == 7
        async with env.connect().using(timeout=5).stream(numbers) as handle:
            assert handle.value == 7
        assert (await env.connect().subscribe(numbers)).value == 7


def with_name(row: Any) -> Any:
    return row | {"name": "?"}


@live.stream("people:{room}", version=2, migrate={1: with_name}, path="demo/people")
async def people(ctx: Context[Any], room: str) -> list[dict[str, Any]]:
    return [{"id": room}]


async def test_a_stream_can_be_subscribed_to_as_by_an_older_client() -> None:
    server = LiveServer({"demo": SimpleNamespace(people=people, _guard=public())})
    async with TestEnv(server) as env:
        client = env.connect()
        assert (await client.subscribe(people, "a")).value == [{"id": "a"}]
        assert (await client.subscribe_at(people, "a")).value == [{"id": "a", "name": "?"}]
        assert (await client.subscribe_at(people, "a", schema_version=2)).value == [{"id": "a"}]


async def test_it_connects_once_whoever_comes_first() -> None:
    async with TestEnv(make()) as env:
        client = env.connect()
        seen: list[str] = [client.status]
        client.on_status(seen.append)
        async with client.batch() as batch:
            batch.call(add, 1)
            batch.call(add, 2)
        async with client as same:
            assert same is await client.open()
            await client.using(fresh=True).call(add, 1)
            assert seen == ["connecting", "connected"]
        assert seen == ["connecting", "connected", "closed"]


async def test_fire_needs_an_open_client() -> None:
    async with TestEnv(make()) as env:
        client = env.connect()
        with pytest.raises(RuntimeError, match=r"await client\.open\(\)"):
            client.fire(set_total, 1)
        handle = await client.subscribe(total)
        assert client.fire(set_total, 5)
        assert await handle.wait_for(lambda value: value == 5) == 5


@pytest.mark.parametrize(("says", "result"), [(True, "removed"), (False, "kept")])
async def test_a_handler_may_ask_the_client(says: bool, result: str) -> None:
    async with TestEnv(make()) as env:
        client = env.connect()
        asked: list[Any] = []

        def confirm(data: Any) -> bool:
            asked.append(data)
            return says

        client.on_push("confirm", confirm)
        assert await client.call(remove, "a.txt") == result
        assert asked == [{"question": "Remove a.txt?"}]


async def test_a_refused_client_raises_wherever_it_is_first_used() -> None:
    def on_connect(request: ConnectRequest) -> Any:
        raise Reject("UNAUTHENTICATED", "expired")

    async with TestEnv(make(on_connect)) as env:
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await env.connect().call(add, 1)
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await env.connect().subscribe(numbers)
        client = env.connect()
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await client.open()
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await client.call(add, 1)
        assert client.failure is not None
