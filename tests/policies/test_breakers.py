"""What fails anyway is not called for a while."""

import asyncio
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveError, Page, RpcError, live
from liverpc.testing import TestEnv
from tests.policies.policy_kit import ANN, Caller, server
from tests.streams.raw_client import Raw

Ctx = Context[Any]


class Bank:
    """A function that does as it is told, and counts."""

    def __init__(self, **options: Any) -> None:
        self.ran = 0
        self.error: BaseException | None = None
        self.seconds = 0.0

        async def ask(ctx: Ctx, what: int = 0) -> str:
            self.ran += 1
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return "money"

        self.ask = live(live.breaker(failures=3, reset_after=30.0, **options)(ask))
        self.server = server(ask=self.ask)

    def state(self) -> str:
        (row,) = self.server._policies.breakers.rows()
        return row.state


async def test_237_after_failures_in_a_row_nothing_is_called_for_a_while() -> None:
    bank = Bank()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        bank.error = ConnectionError("the bank is closed")
        assert await ann.codes("ask", 2) == ["INTERNAL_ERROR"] * 2
        bank.error = None
        assert await ann("ask") == "money"  # not in a row
        bank.error = ConnectionError("the bank is closed")
        assert await ann.codes("ask", 3) == ["INTERNAL_ERROR"] * 3
        assert bank.state() == "open"
        # acceptance 237
        ran = bank.ran
        refused = await ann("ask")
        assert isinstance(refused, RpcError)
        assert (refused.code, bank.ran) == ("SERVICE_UNAVAILABLE", ran)
        assert refused.retry_after == pytest.approx(30.0, abs=0.1)
        assert (env.counters.breaker_openings, env.counters.breaker_refusals) == (1, 1)
        await asyncio.sleep(30)
        assert bank.state() == "half-open"
        assert await ann.codes("ask", 2) == ["INTERNAL_ERROR", "SERVICE_UNAVAILABLE"]
        await asyncio.sleep(30)
        bank.error = None
        assert await ann.codes("ask", 3) == ["ok"] * 3
        assert bank.state() == "closed"


async def test_one_call_is_tried_and_the_others_wait_for_what_becomes_of_it() -> None:
    bank = Bank()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        bank.error = ConnectionError()
        await ann.codes("ask", 3)
        await asyncio.sleep(30)
        bank.error, bank.seconds = None, 1.0
        codes = await asyncio.gather(*(ann.code("ask") for _ in range(3)))
        assert sorted(codes) == ["SERVICE_UNAVAILABLE", "SERVICE_UNAVAILABLE", "ok"]


@pytest.mark.parametrize("error", [LiveError("FORBIDDEN"), LiveError("VALIDATION")])
async def test_what_is_meant_for_the_caller_is_no_failure(error: LiveError) -> None:
    bank = Bank()
    bank.error = error
    async with TestEnv(bank.server) as env:
        assert await Caller(env, ANN).codes("ask", 9) == [error.code] * 9
        assert bank.state() == "closed"


async def test_a_client_that_leaves_is_no_failure_and_gives_the_try_back() -> None:
    bank = Bank()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        bank.error = ConnectionError()
        await ann.codes("ask", 3)
        await asyncio.sleep(30)
        bank.error, bank.seconds = None, 60.0
        lost = asyncio.create_task(ann.code("ask"))
        await env.settle()
        await ann.client.aclose()
        await lost
        bank.seconds = 0.0
        assert await Caller(env, ANN)("ask") == "money"


@pytest.mark.parametrize("fallback", [[], None, 0, "later"])
async def test_237_any_value_is_a_fallback(fallback: Any) -> None:
    bank = Bank(fallback=fallback)
    bank.error = ConnectionError()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        await ann.codes("ask", 3)
        # acceptance 237
        assert await ann("ask") == fallback


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_is_called_for_the_fallback(is_async: bool) -> None:
    async def later(ctx: Ctx, what: int) -> str:
        return f"{ctx.user['id']} may ask for {what} later"

    bank = Bank(fallback=later if is_async else lambda ctx, what: f"{ctx.user['id']} may ask for {what} later")
    bank.error = ConnectionError()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        await ann.codes("ask", 3)
        assert await ann("ask", 7) == "ann may ask for 7 later"


async def test_a_fallback_is_not_kept_as_the_result_of_a_request() -> None:
    bank = Bank(fallback="later")
    ask = live.idempotent()(bank.ask)
    bank.error = ConnectionError()
    async with TestEnv(server(ask=ask)) as env:
        ann = Caller(env, ANN)
        await ann.codes("ask", 3)
        assert await ann("ask", key="k") == "later"
        bank.error = None
        await asyncio.sleep(30)
        assert await ann("ask", key="k") == "money"


async def test_functions_with_one_name_share_a_breaker() -> None:
    shared = live.breaker("bank", failures=1)

    @live
    @shared
    def first(ctx: Ctx) -> None:
        raise ConnectionError

    @live
    @shared
    def second(ctx: Ctx) -> str:
        return "money"

    app = server(first=first, second=second)
    async with TestEnv(app) as env:
        ann = Caller(env, ANN)
        assert [await ann.code("second"), await ann.code("first")] == ["ok", "INTERNAL_ERROR"]
        assert await ann.code("second") == "SERVICE_UNAVAILABLE"
        (row,) = app._policies.breakers.rows()
        assert (row.name, row.state, row.paths) == ("bank", "open", ["m/first", "m/second"])


async def test_one_name_has_one_behaviour() -> None:
    @live
    @live.breaker("bank", failures=1)
    def first(ctx: Ctx) -> None: ...

    @live
    @live.breaker("bank", failures=2)
    def second(ctx: Ctx) -> None: ...

    with pytest.raises(DeclarationError, match=r"m/second and m/first share the breaker 'bank'"):
        async with TestEnv(server(first=first, second=second)):
            pass


async def test_a_loader_has_a_breaker_and_a_reload_keeps_what_is_there() -> None:
    error: list[Exception] = []
    told: list[str] = []

    @live.stream("rows", invalidate_on="touch", on_error=lambda error, ctx, topic: told.append(type(error).__name__))
    @live.breaker(failures=1, reset_after=30.0, fallback=[{"id": "fallback"}])
    async def rows(ctx: Ctx) -> list[Any]:
        if error:
            raise error[0]
        return [{"id": "real"}]

    app = server(rows=rows)
    async with TestEnv(app) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("m/rows"))["data"] == [{"id": "real"}]
        error.append(ConnectionError())
        other = await Raw.open(env)
        assert (await other.subscribe("m/rows"))["code"] == "INTERNAL_ERROR"
        assert (await other.subscribe("m/rows"))["data"] == [{"id": "fallback"}]
        app.publish_nowait("touch", "x", None)
        await raw.silent()
        assert told == ["ConnectionError", "LiveError"]
        error.clear()
        await asyncio.sleep(30)
        app.publish_nowait("touch", "x", None)
        assert (await raw.recv())["data"] == [{"id": "real"}]


@pytest.mark.parametrize(
    "options", [{"failures": 0}, {"failures": 1.5}, {"reset_after": 0}, {"name": ""}, {"name": print}]
)
def test_a_breaker_needs_numbers(options: Any) -> None:
    with pytest.raises(DeclarationError, match=r"@live\.breaker takes"):
        live.breaker(**options)


async def test_each_function_has_its_own_fallback_on_a_shared_breaker() -> None:
    def asks(**options: Any) -> Any:
        @live
        @live.breaker("bank", failures=1, **options)
        def ask(ctx: Ctx) -> None:
            raise ConnectionError

        return ask

    async with TestEnv(server(rows=asks(fallback=[]), row=asks(fallback={"id": 1}), none=asks())) as env:
        ann = Caller(env, ANN)
        await ann("rows")
        assert [await ann("rows"), await ann("row"), await ann.code("none")] == [[], {"id": 1}, "SERVICE_UNAVAILABLE"]


async def test_calls_from_before_it_opened_change_nothing_any_more() -> None:
    bank = Bank()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        bank.seconds = 10.0
        slow = [asyncio.create_task(ann.code("ask")) for _ in range(3)]  # will succeed, after it opened
        await env.settle()
        bank.seconds, bank.error = 0.0, ConnectionError()
        failing = [ann.code("ask") for _ in range(9)]
        bank.seconds = 1.0
        assert await asyncio.gather(*failing) == ["INTERNAL_ERROR"] * 9
        assert env.counters.breaker_openings == 1
        bank.error = None
        assert [await each for each in slow] == ["ok"] * 3
        assert bank.state() == "open"
        await asyncio.sleep(30)
        # Nor does the end of an older call let a second one be tried.
        bank.seconds = 5.0
        tried = asyncio.create_task(ann.code("ask"))
        await env.settle()
        assert await ann.code("ask") == "SERVICE_UNAVAILABLE"
        assert await tried == "ok"


async def test_a_client_cannot_break_a_function_for_others() -> None:
    @live
    @live.breaker(failures=2)
    async def confirm(ctx: Ctx) -> Any:
        return await ctx.connection.ask("confirm")

    app = server(confirm=confirm)
    async with TestEnv(app) as env:
        ann, ben = Caller(env, ANN), Caller(env, {"id": "ben"})

        async def refuse(data: Any) -> None:
            raise ValueError("no")

        async def agree(data: Any) -> str:
            return "yes"

        ann.client.on_push("confirm", refuse)
        ben.client.on_push("confirm", agree)
        assert await ann.codes("confirm", 5) == ["INTERNAL_ERROR"] * 5
        assert await ben("confirm") == "yes"


async def test_who_asks_for_another_page_gets_no_fallback() -> None:
    broken = False

    @live.stream("rows")
    @live.breaker(failures=1, fallback=[])
    async def rows(ctx: Ctx) -> Page[Any]:
        if broken:
            raise ConnectionError
        return Page([{"id": 1}], has_more=True, cursor=1)

    async with TestEnv(server(rows=rows)) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("m/rows"))["hasMore"] is True
        broken = True
        assert (await raw.subscribe("m/rows", cursor=1))["code"] == "INTERNAL_ERROR"
        assert (await raw.subscribe("m/rows", cursor=1))["code"] == "SERVICE_UNAVAILABLE"
        assert (await (await Raw.open(env)).subscribe("m/rows"))["data"] == []


async def test_a_reload_that_was_refused_comes_when_a_call_is_tried() -> None:
    broken, value = True, 1

    @live.stream("value", merge="set", invalidate_on="touch")
    @live.breaker("bank", failures=1, reset_after=30.0)
    async def shown(ctx: Ctx) -> int:
        return value

    @live
    @live.breaker("bank", failures=1, reset_after=30.0)
    def fail(ctx: Ctx) -> None:
        if broken:
            raise ConnectionError

    app = server(shown=shown, fail=fail)
    async with TestEnv(app) as env:
        raw = await Raw.open(env)
        assert (await raw.subscribe("m/shown"))["data"] == 1
        await Caller(env, ANN)("fail")
        value, broken = 2, False
        app.publish_nowait("touch", "x", None)
        await asyncio.sleep(29)
        await raw.silent()
        await asyncio.sleep(1)
        assert (await raw.recv())["data"] == 2


async def test_a_call_that_does_not_end_is_not_waited_for_for_ever() -> None:
    bank = Bank()
    async with TestEnv(bank.server) as env:
        ann = Caller(env, ANN)
        bank.error = ConnectionError()
        await ann.codes("ask", 3)
        await asyncio.sleep(30)
        bank.error, bank.seconds = None, 1e6
        hanging = asyncio.create_task(ann.code("ask"))
        await env.settle()
        refused = await ann("ask")
        assert isinstance(refused, RpcError)
        assert (refused.code, refused.retry_after) == ("SERVICE_UNAVAILABLE", 1.0)
        await asyncio.sleep(29)
        assert bank.state() == "half-open"
        await asyncio.sleep(1)
        bank.seconds = 0.0
        assert await ann.codes("ask", 2) == ["ok", "ok"]
        hanging.cancel()
