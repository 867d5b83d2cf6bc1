"""Guards. Numbers in names are acceptance cases."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveError, LiveServer, RpcError, guard, live, remote
from liverpc.declare.guards import Guard, combined
from liverpc.testing import TestEnv, create_test_context, expect_guard_rejects

ANN = {"id": "ann"}


def guarded(check: Guard, ran: list[str]) -> LiveServer:
    @live
    def call(ctx: Context[Any]) -> Any:
        ran.append("call")
        return ctx.state.get("seen")

    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Any]:
        ran.append("load")
        return []

    @live.channel(merge="set", item=int)
    def channel(ctx: Context[Any]) -> str:
        ran.append("topic")
        return "numbers"

    return LiveServer({"demo": SimpleNamespace(call=call, rows=rows, channel=channel, _guard=check)})


class Asks:
    """A check that is no function; what it returns must be awaited all the same."""

    async def __call__(self, ctx: Context[Any]) -> bool:
        return False


async def never(ctx: Context[Any]) -> bool:
    return False


@pytest.mark.parametrize("check", [lambda ctx: never(ctx), Asks()])
async def test_a_check_that_hands_on_something_to_await_is_awaited(check: Any) -> None:
    ran: list[str] = []
    async with TestEnv(guarded(guard(check), ran)) as env:
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await env.connect(user=ANN).call(remote("demo/call"))
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await env.connect(user=ANN).subscribe(remote("demo/rows"))
    await expect_guard_rejects(guard(check), user=ANN)
    assert ran == []


def refuse(ctx: Context[Any]) -> None:
    raise LiveError("CLOSED", "come back later")


# acceptance 17
@pytest.mark.parametrize("waits", [False, True])
async def test_17_nothing_in_a_module_runs_when_its_guard_raises(waits: bool) -> None:
    async def refuse_later(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        refuse(ctx)

    ran: list[str] = []
    async with TestEnv(guarded(guard(refuse_later if waits else refuse), ran)) as env:
        client = env.connect(user=ANN)
        with pytest.raises(RpcError) as caught:
            await client.call(remote("demo/call"))
        assert (caught.value.code, caught.value.message) == ("CLOSED", "come back later")
        for stream in ("demo/rows", "demo/channel"):
            with pytest.raises(RpcError, match="CLOSED"):
                await client.subscribe(remote(stream))
        assert ran == []
        assert env.server.subscribers("rows") == 0


async def test_18_parts_run_in_order_the_first_raise_stops_and_ctx_is_enriched() -> None:  # acceptance 18
    order: list[str] = []

    def first(ctx: Context[Any]) -> None:
        order.append("first")
        ctx.state["seen"] = "by first"

    async def second(ctx: Context[Any]) -> None:
        order.append(f"second after {ctx.state['seen']}")

    ran: list[str] = []
    async with TestEnv(guarded(guard(first, second), ran)) as env:
        assert await env.connect(user=ANN).call(remote("demo/call")) == "by first"
        assert order == ["first", "second after by first"]

    order.clear()
    async with TestEnv(guarded(guard(first, refuse, second), [])) as env:
        with pytest.raises(RpcError, match="CLOSED"):
            await env.connect(user=ANN).call(remote("demo/call"))
        assert order == ["first"]


# acceptance 19
@pytest.mark.parametrize(("user", "code"), [(None, "UNAUTHENTICATED"), (ANN, "FORBIDDEN")])
async def test_19_an_ordinary_exception_in_a_guard_is_a_generic_refusal(user: Any, code: str) -> None:
    def broken(ctx: Context[Any]) -> None:
        raise RuntimeError("internal guard text")

    async with TestEnv(guarded(guard(broken), [])) as env:
        with pytest.raises(RpcError) as caught:
            await env.connect(user=user).call(remote("demo/call"))
        assert caught.value.code == code
        assert "internal guard text" not in str(caught.value)


async def test_a_guard_that_returns_false_refuses() -> None:
    await expect_guard_rejects(guard(lambda ctx: ctx.user["id"] == "bob"), user=ANN, code="FORBIDDEN")


async def test_20_authenticated_comes_before_the_other_parts() -> None:  # acceptance 20
    def boom(ctx: Context[Any]) -> None:
        raise AssertionError("must not run for anonymous callers")

    await expect_guard_rejects(guard(boom, authenticated=True), user=None, code="UNAUTHENTICATED")
    assert guard(authenticated=True).check(create_test_context(user=ANN)) is None


# acceptance 21
@pytest.mark.parametrize("parts", [(), (3,), (refuse, "x"), (guard(refuse), 3)])
def test_21_a_guard_without_parts_or_with_anything_but_functions_is_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(DeclarationError):
        guard(*parts)


async def test_18_a_guard_may_be_made_of_guards() -> None:
    order: list[str] = []
    first = guard(lambda ctx: order.append("first"))
    both = guard(first, lambda ctx: order.append("second"), authenticated=True)
    assert both.check(create_test_context(user=ANN)) is None
    assert order == ["first", "second"]
    await expect_guard_rejects(both, code="UNAUTHENTICATED")


async def test_18_guards_of_the_server_come_before_those_of_the_module() -> None:
    order: list[str] = []

    async def server_wide(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        order.append("server")

    check = combined(server_wide, None, guard(lambda ctx: order.append("module")))
    assert check is not None
    waiting = check.check(create_test_context(user=ANN))
    assert waiting is not None
    await waiting
    assert order == ["server", "module"]
    assert combined() is None
    assert combined(None) is None
    await expect_guard_rejects(guard(refuse, guard(lambda ctx: order.append("after"))), user=ANN, code="CLOSED")
    assert order == ["server", "module"]


async def test_19_the_exception_is_kept_as_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    def broken(ctx: Context[Any]) -> None:
        raise RuntimeError("internal guard text")

    error = await expect_guard_rejects(guard(broken), user=ANN)
    assert isinstance(error.__cause__, RuntimeError)
    assert "internal guard text" in caplog.text
    assert "internal guard text" not in str(error)


async def test_the_kit_reports_a_guard_that_lets_pass_or_refuses_otherwise() -> None:
    with pytest.raises(AssertionError, match=r"let .* pass"):
        await expect_guard_rejects(guard(lambda ctx: None), user=ANN)
    with pytest.raises(AssertionError, match="CLOSED, not FORBIDDEN"):
        await expect_guard_rejects(guard(refuse), user=ANN)


def test_a_module_guard_that_is_no_guard_is_refused() -> None:
    with pytest.raises(DeclarationError, match="_guard"):
        LiveServer({"demo": SimpleNamespace(_guard=lambda ctx: True)})


def test_a_module_without_guard_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    @live
    def call(ctx: Context[Any]) -> None: ...

    LiveServer({"open_module": SimpleNamespace(call=call)})
    assert "open_module" in caplog.text
