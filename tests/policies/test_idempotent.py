"""Requests that run once, however often they arrive."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Meta

from liverpc import (
    Context,
    Contract,
    DeclarationError,
    Events,
    Limits,
    LiveError,
    LiveServer,
    RoomKey,
    event,
    live,
    room,
)
from liverpc.backends.memory.idempotency import MemoryIdempotency
from liverpc.backends.ports import Claim
from liverpc.declare.decorators import Policy
from liverpc.testing import TestEnv
from tests.policies.policy_kit import ANN, BEN, Caller, server
from tests.streams.raw_client import Raw

Ctx = Context[Any]


class Shop:
    """Counts what runs."""

    def __init__(self, *, seconds: float = 0.0, **options: Any) -> None:
        self.ran: list[Any] = []
        self.fails: list[BaseException] = []

        @live
        @live.idempotent(**options)
        async def order(ctx: Ctx, what: Annotated[Any, Meta()] = None) -> Any:
            self.ran.append(what)
            number = len(self.ran)
            await asyncio.sleep(seconds)
            if self.fails:
                raise self.fails.pop()
            return None if what == "nothing" else {"number": number, "what": what}

        @live
        @live.idempotent()
        def plain(ctx: Ctx, what: Annotated[int, Meta(ge=0)]) -> int:
            self.ran.append(what)
            return len(self.ran)

        self.server = server(order=order, plain=plain)


async def test_124_the_same_key_gets_the_first_result_and_no_key_runs_again() -> None:
    shop = Shop()
    async with TestEnv(shop.server) as env:
        ann = Caller(env, ANN)
        # acceptance 124
        assert await ann("order", "tea", key="k") == {"number": 1, "what": "tea"}
        assert await ann("order", "tea", key="k") == {"number": 1, "what": "tea"}
        assert await ann("order", "tea", key="l") == {"number": 2, "what": "tea"}
        assert [(await ann("order", "tea"))["number"] for _ in range(2)] == [3, 4]
        assert env.counters.idempotent_replays == 1
        # A new connection of the same user is the same caller: that is what keys are for.
        assert (await Caller(env, ANN)("order", "tea", key="k"))["number"] == 1


async def test_125_two_at_the_same_time_run_once_and_get_the_same() -> None:
    shop = Shop(seconds=1.0)
    async with TestEnv(shop.server) as env:
        callers = [Caller(env, ANN) for _ in range(5)]
        answers = await asyncio.gather(*(each("order", "tea", key="k") for each in callers))
        # acceptance 125
        assert answers == [{"number": 1, "what": "tea"}] * 5
        assert shop.ran == ["tea"]
        assert len(shop.server._policies.once) == 0


async def test_126_what_fails_runs_again_and_one_of_those_who_wait_runs_it() -> None:
    shop = Shop(seconds=1.0)
    shop.fails = [LiveError("BROKEN"), RuntimeError("unexpected")]
    async with TestEnv(shop.server) as env:
        ann, also, third = Caller(env, ANN), Caller(env, ANN), Caller(env, ANN)
        # acceptance 126
        codes = await asyncio.gather(*(each.code("order", "tea", key="k") for each in (ann, also, third)))
        assert sorted(codes) == ["BROKEN", "INTERNAL_ERROR", "ok"]
        assert len(shop.ran) == 3


async def test_who_leaves_lets_the_next_one_run() -> None:
    shop = Shop(seconds=1.0)
    async with TestEnv(shop.server) as env:
        ann, also = Caller(env, ANN), Caller(env, ANN)
        lost = asyncio.create_task(ann.code("order", "tea", key="k"))
        await env.settle()
        waiting = asyncio.create_task(also("order", "tea", key="k"))
        await env.settle()
        await ann.client.aclose()
        assert await waiting == {"number": 2, "what": "tea"}
        assert await lost == "CONNECTION_CLOSED"


async def test_who_waits_too_long_for_the_first_is_told() -> None:
    shop = Shop(seconds=5.0, max_wait=2.0)
    async with TestEnv(shop.server) as env:
        ann, also = Caller(env, ANN), Caller(env, ANN)
        first = asyncio.create_task(ann("order", "tea", key="k"))
        await env.settle()
        assert await also.code("order", "tea", key="k") == "CONFLICT"
        assert await first == {"number": 1, "what": "tea"}
        assert env.counters.idempotent_conflicts == 1


async def test_a_long_run_keeps_its_claim() -> None:
    shop = Shop(seconds=200.0, max_wait=300.0)
    async with TestEnv(shop.server) as env:
        raws = [await Raw.open(env) for _ in range(1)]
        frame = {"rpc": "m/order", "args": ["tea"], "idempotencyKey": "k"}
        await raws[0].send(id="1", **frame)
        await asyncio.sleep(100)
        await raws[0].send(id="2", **frame)
        await asyncio.sleep(150)
        assert shop.ran == ["tea"]


async def test_keys_belong_to_the_caller_and_the_path() -> None:
    shop = Shop()
    async with TestEnv(shop.server) as env:
        ann, ben, guest, other = Caller(env, ANN), Caller(env, BEN), Caller(env), Caller(env)
        numbers = [(await each("order", "tea", key="k"))["number"] for each in (ann, ben, guest, other, guest)]
        assert numbers == [1, 2, 3, 4, 3]
        # acceptance 129
        assert await ann("plain", 7, key="k") == 5
        assert await ann.code("plain", -1, key="fresh") == "VALIDATION"
        assert await ann("plain", 7, key="fresh") == 6


@pytest.mark.parametrize("key", ["k" * 257, "", 7, None, ["k"], True])
async def test_129_a_key_that_is_none_is_refused(key: Any) -> None:
    shop = Shop()
    async with TestEnv(shop.server) as env:
        raw = await Raw.open(env)
        await raw.send(rpc="m/order", id="1", args=["tea"], idempotencyKey=key)
        # acceptance 129
        assert (await raw.recv())["data"]["code"] == "INVALID_REQUEST"
        await raw.send(rpc="m/order", id="2", args=["tea"], idempotencyKey="k" * 256)
        assert (await raw.recv())["data"]["ok"]
        assert shop.ran == ["tea"]


async def test_the_same_key_for_another_request_is_a_conflict() -> None:
    shop = Shop()
    async with TestEnv(shop.server) as env:
        ann = Caller(env, ANN)
        await ann("order", {"a": 1, "b": 2}, key="k")
        assert await ann.code("order", {"b": 2, "a": 1}, key="k") == "ok"
        assert await ann.code("order", {"a": 1, "b": 3}, key="k") == "CONFLICT"
        assert await ann.code("order", {"a": 1, "b": 2}, "more", key="k") == "CONFLICT"
        assert len(shop.ran) == 1


async def test_130_the_functions_key_comes_first_and_without_one_the_callers() -> None:
    shop = Shop(key=lambda ctx, what: what.get("client_id"))
    async with TestEnv(shop.server) as env:
        ann, ben = Caller(env, ANN), Caller(env, BEN)
        # acceptance 130
        assert (await ann("order", {"client_id": "7"}, key="k"))["number"] == 1
        assert (await ben("order", {"client_id": "7"}, key="other"))["number"] == 1
        assert [(await ann("order", {}, key="k"))["number"] for _ in range(2)] == [2, 2]
        assert [(await ann("order", {}))["number"] for _ in range(2)] == [3, 4]
        assert await ann.code("order", {"client_id": 7}) == "INTERNAL_ERROR"  # the function's mistake
        assert await ann.code("order", {"client_id": "7" * 257}) == "INVALID_REQUEST"


async def test_131_results_end_and_nothing_is_a_result() -> None:
    shop = Shop(ttl=60.0)
    async with TestEnv(shop.server) as env:
        ann = Caller(env, ANN)
        # acceptance 131
        assert [await ann("order", "nothing", key="k") for _ in range(2)] == [None, None]
        assert len(shop.ran) == 1
        await asyncio.sleep(61)
        await ann("order", "nothing", key="k")
        assert len(shop.ran) == 2


async def test_131_without_a_time_nothing_is_kept_but_calls_still_come_one_after_the_other() -> None:
    shop = Shop(ttl=0, seconds=1.0)
    async with TestEnv(shop.server) as env:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(Caller(env, ANN)("order", "tea", key="k") for _ in range(3)))
        assert sorted(answer["number"] for answer in answers) == [1, 2, 3]
        assert asyncio.get_running_loop().time() - began >= 3


async def test_a_kept_result_cannot_be_changed_by_who_got_it() -> None:
    kept = {"items": [1]}

    @live
    @live.idempotent()
    def basket(ctx: Ctx) -> Any:
        return kept

    async with TestEnv(server(basket=basket)) as env:
        ann = Caller(env, ANN)
        first = await ann("basket", key="k")
        first["items"].append(2)
        kept["items"].append(3)
        assert await ann("basket", key="k") == {"items": [1]}


async def test_a_result_without_json_form_is_no_result() -> None:
    @live
    @live.idempotent()
    def odd(ctx: Ctx) -> Any:
        return object()

    async with TestEnv(server(odd=odd)) as env:
        assert [await Caller(env, ANN).code("odd", key="k") for _ in range(2)] == ["INTERNAL_ERROR"] * 2
        assert len(env.server._policies.once) == 0


class ToPage(Events): ...


class Till(Contract[ToPage], path="/till"):
    """Actions have keys, too."""

    ran = 0

    @event(idempotent=True)
    def pay(self, amount: int) -> int:
        type(self).ran += 1
        return type(self).ran


async def test_actions_of_contracts_can_be_idempotent() -> None:
    async with TestEnv(LiveServer([Till])) as env:
        socket = await env.transport.connect("/till")
        raw = Raw(socket, "")
        await raw.recv()
        frame = {"rpc": "till/__event/pay", "idempotencyKey": "k"}
        await raw.send(id="1", args=[5], **frame)
        assert (await raw.recv())["data"]["data"] == 1
        await raw.send(id="2", args=[5], **frame)
        assert (await raw.recv())["data"]["data"] == 1
        await raw.send(id="3", args=[6], **frame)
        assert (await raw.recv())["data"]["code"] == "CONFLICT"
        await raw.send(id="4", args=["five"], **{**frame, "idempotencyKey": "l"})
        assert (await raw.recv())["data"]["code"] == "VALIDATION"
        await raw.send(id="5", args=[5], **{**frame, "idempotencyKey": "l"})
        assert (await raw.recv())["data"]["data"] == 2


def test_the_parentheses_are_needed_and_it_is_for_functions() -> None:
    def bare(ctx: Ctx) -> None: ...

    with pytest.raises(DeclarationError, match="parentheses"):
        live.idempotent(bare)  # type: ignore[arg-type]  # the mistake

    with pytest.raises(DeclarationError, match=r"@live\.idempotent is not for this kind"):

        @live.binary()
        @live.idempotent()
        async def binary(ctx: Ctx, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match="ttl="):
        live.idempotent(ttl=-1)


async def test_pages_say_which_request_it_is() -> None:
    async with TestEnv(LiveServer([Till])) as env, env.open(Till) as page:
        keyed = page.using(idempotency_key="k", timeout=5.0)
        first = await keyed.call(Till.pay, 5)
        assert await keyed.call(Till.pay, 5) == first
        assert await page.call(Till.pay, 5) == first + 1
        with pytest.raises(ValueError, match="1 to 256 characters"):
            page.using(idempotency_key="")


class Params(msgspec.Struct):
    till: str


class Tills(Contract[ToPage, Params], path="/tills/{till}"):
    """One path in several places."""

    ran: ClassVar[list[str]] = []
    allowed: ClassVar[asyncio.Event]

    @room.private(auto_join=True, required=True)
    async def staff(self) -> RoomKey:
        await self.allowed.wait()
        return self.params.till

    @event(idempotent=True)
    def pay(self, amount: int) -> str:
        self.ran.append(self.params.till)
        return self.params.till


async def test_the_same_request_elsewhere_is_another_one_and_none_is_answered_before_it_is_open() -> None:
    Tills.allowed = asyncio.Event()
    Tills.allowed.set()
    async with TestEnv(LiveServer([Tills])) as env:

        async def paid(till: str) -> Raw:
            raw = Raw(await env.transport.connect(f"/tills/{till}", headers={"x-user": "ann"}), "")
            await raw.recv()
            await raw.send(rpc="tills/__event/pay", id="1", args=[5], idempotencyKey="k")
            return raw

        answers = [(await (await paid(till)).recv())["data"]["data"] for till in ("a", "b", "a")]
        assert answers == ["a", "b", "a"]
        Tills.allowed.clear()
        raw = await paid("a")
        await raw.silent()
        Tills.allowed.set()
        assert (await raw.recv())["data"]["data"] == "a"


async def test_a_middleware_sees_what_the_function_gave_also_when_it_did_not_run() -> None:
    shop = Shop()
    seen: list[Any] = []

    @shop.server.middleware
    async def look(ctx: Ctx, next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002 - its name in the manual
        seen.append(await next())
        return seen[-1]

    async with TestEnv(shop.server) as env:
        ann = Caller(env, ANN)
        assert [(await ann("order", "tea", key="k"))["number"] for _ in range(2)] == [1, 1]
    assert seen == [{"number": 1, "what": "tea"}] * 2


class Away(MemoryIdempotency):
    """A store that cannot be told for a while."""

    away = False
    extended = 0

    async def commit(self, key: str, token: str, result: bytes, **options: Any) -> bool:
        if self.away:
            raise ConnectionError("the store is away")
        return await super().commit(key, token, result, **options)

    async def abort(self, key: str, token: str) -> bool:
        if self.away:
            raise TimeoutError("the store is away")
        return await super().abort(key, token)

    async def extend(self, key: str, token: str, hold: float) -> bool:
        self.extended += 1
        if self.extended == 1:
            raise ConnectionError("the store is away")
        return await super().extend(key, token, hold)


async def test_a_store_that_is_away_takes_nobodys_answer() -> None:
    shop = Shop(seconds=1.0)
    store = Away(lambda: "token", asyncio.get_running_loop().time, Limits())
    shop.server._policies.once._store = store
    async with TestEnv(shop.server) as env:
        ann = Caller(env, ANN)
        store.away = True
        assert (await ann("order", "tea", key="k"))["number"] == 1
        shop.fails = [LiveError("BROKEN")]
        assert await ann.code("order", "tea", key="l") == "BROKEN"
        assert len(shop.server._policies.once) == 0


async def test_a_claim_is_prolonged_although_it_could_not_be_once() -> None:
    shop = Shop(seconds=100.0, max_wait=0.0)
    store = Away(lambda: "token", asyncio.get_running_loop().time, Limits())
    shop.server._policies.once._store = store
    async with TestEnv(shop.server) as env:
        raw = await Raw.open(env)
        for name, after in (("1", 90.0), ("2", 20.0)):
            await raw.send(rpc="m/order", id=name, args=["tea"], idempotencyKey="k")
            await asyncio.sleep(after)
        assert shop.ran == ["tea"]
        assert store.extended >= 4


@pytest.mark.realtime
@pytest.mark.parametrize("policy", [live.lock("key"), live.idempotent(key=lambda ctx, name: "k")], ids=str)
async def test_what_blocks_in_a_thread_never_runs_twice_at_once(policy: Policy) -> None:
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    running: list[str] = []

    @live(thread=True)
    @policy
    def work(ctx: Ctx, name: str) -> str:
        running.append(name)
        began.release()
        go_on.acquire(timeout=10)
        running.remove(name)
        return name

    async with TestEnv(server(work=work)) as env:
        first, second = Caller(env, ANN), Caller(env, ANN)
        lost = asyncio.create_task(first.code("work", "same"))
        assert await asyncio.to_thread(began.acquire, timeout=10)
        await first.client.aclose()
        answer = asyncio.create_task(second("work", "same"))
        await env.settle()
        assert running == ["same"]
        go_on.release(2)
        assert await answer == "same"
        await lost


async def test_those_who_wait_for_what_fails_run_one_after_the_other_and_wake_nobody_else() -> None:
    shop = Shop(seconds=0.01, max_wait=60.0)
    shop.fails = [LiveError("BROKEN") for _ in range(100)]
    asked = 0

    class Counting(MemoryIdempotency):
        async def begin(self, key: str, **options: Any) -> Claim:
            nonlocal asked
            asked += 1
            return await super().begin(key, **options)

    shop.server._policies.once._store = Counting(lambda: "token", asyncio.get_running_loop().time, Limits())
    async with TestEnv(shop.server) as env:
        assert await repeated(env, 50) == ["BROKEN"] * 50
        assert asked == len(shop.ran) == 50


async def repeated(env: TestEnv, times: int) -> list[str]:
    """What so many repetitions at the same time get; a client would make one call of them."""
    raw = await Raw.open(env)
    for number in range(times):
        await raw.send(rpc="m/order", id=str(number), args=["tea"], idempotencyKey="k")
    return [(await raw.recv())["data"].get("code", "ok") for _ in range(times)]


async def test_so_many_wait_for_one_request() -> None:
    shop = Shop(seconds=1.0)
    shop.server._policies.once._turns._most = 16
    async with TestEnv(shop.server) as env:
        assert sorted(await repeated(env, 5)) == ["CONFLICT", "CONFLICT", "ok", "ok", "ok"]


async def test_a_result_that_nobody_can_get_is_not_made_again_and_takes_no_room() -> None:
    ran: list[int] = []

    @live
    @live.idempotent()
    def large(ctx: Ctx) -> str:
        ran.append(1)
        return "x" * 2_000_000

    app = server(large=large)
    async with TestEnv(app) as env:
        ann = Caller(env, ANN)
        assert [await ann.code("large", key="k") for _ in range(2)] == ["PAYLOAD_TOO_LARGE"] * 2
        assert ran == [1]


async def test_numbers_that_are_one_as_doubles_are_two_requests() -> None:
    shop = Shop()
    async with TestEnv(shop.server) as env:
        raw = await Raw.open(env)
        codes = []
        for number in ("0.1", "0.10000000000000000001", "0.1"):
            await raw.socket.send(f'{{"rpc":"m/order","id":"1","args":[{number}],"idempotencyKey":"k"}}')
            codes.append((await raw.recv())["data"].get("code", "ok"))
        assert codes == ["ok", "CONFLICT", "ok"]
