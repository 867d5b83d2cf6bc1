"""Guards of a whole server, and declarations that are not finished."""

from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveError, LiveServer, RpcError, guard, live, public, remote
from liverpc.testing import TestEnv


def modules(order: list[str]) -> dict[str, SimpleNamespace]:
    @live
    def hello(ctx: Context[Any]) -> str:
        return "hello"

    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    own = guard(lambda ctx: order.append("module"))
    return {
        "guarded": SimpleNamespace(hello=hello, _guard=own),
        "open": SimpleNamespace(hello=hello, rows=rows, _guard=public()),
        "plain": SimpleNamespace(hello=hello),
    }


async def test_guards_of_a_server_run_before_those_of_every_module() -> None:
    order: list[str] = []
    server = LiveServer(modules(order), guards=[lambda ctx: order.append("server")])
    async with TestEnv(server) as env:
        client = env.connect()
        for first, ran in {"guarded": ["server", "module"], "open": ["server"], "plain": ["server"]}.items():
            order.clear()
            assert await client.call(remote(f"{first}/hello")) == "hello"
            assert order == ran


async def test_a_server_wide_refusal_holds_for_calls_and_streams_of_every_module() -> None:
    async def refuse(ctx: Context[Any]) -> None:
        raise LiveError("MAINTENANCE")

    async with TestEnv(LiveServer(modules([]), guards=[refuse])) as env:
        client = env.connect()
        for first in ("guarded", "open", "plain"):
            with pytest.raises(RpcError, match="MAINTENANCE"):
                await client.call(remote(f"{first}/hello"))
        with pytest.raises(RpcError, match="MAINTENANCE"):
            await client.subscribe(remote("open/rows"))


def test_with_guards_for_all_no_module_is_reported_as_open() -> None:
    assert LiveServer(modules([])).registry.unguarded == ["plain"]
    assert LiveServer(modules([]), guards=[lambda ctx: None]).registry.unguarded == []


def test_a_scoped_function_that_is_not_live_fails_at_start() -> None:
    @live.scoped(lambda ctx: True)
    def half(ctx: Context[Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"m\.half has @live\.scoped but no @live"):
        LiveServer({"m": SimpleNamespace(half=half, _guard=public())})
