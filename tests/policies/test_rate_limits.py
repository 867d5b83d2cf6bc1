"""How often callers may do what."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Annotated, Any

import pytest
from msgspec import Meta

from liverpc import (
    ConfigError,
    Context,
    Contract,
    DeclarationError,
    Events,
    LiveServer,
    RateLimit,
    RoomContext,
    RoomKey,
    RpcError,
    UploadContext,
    event,
    live,
    room,
)
from liverpc.testing import TestEnv
from tests.policies.policy_kit import ANN, BEN, Caller, server
from tests.streams.raw_client import Raw

Ctx = Context[Any]
LIMITED = "RATE_LIMITED"


@live
@live.rate_limit(points=5, per=60.0)
def five(ctx: Ctx) -> str:
    return "ok"


@live
@live.rate_limit(points=1, per=60.0)
async def one(ctx: Ctx) -> str:
    return "ok"


@live
def free(ctx: Ctx) -> str:
    return "ok"


async def test_109_the_call_beyond_the_points_is_refused_and_says_when_to_come_back() -> None:
    async with TestEnv(server(five=five)) as env:
        ann = Caller(env, ANN)
        assert await ann.codes("five", 5) == ["ok"] * 5
        refused = await ann("five")
        # acceptance 109
        assert isinstance(refused, RpcError)
        assert refused.code == LIMITED
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= 60
        assert env.counters.rate_limited == 1
        await asyncio.sleep(refused.retry_after)
        assert await ann.code("five") == "ok"
        await asyncio.sleep(60)
        assert await ann.codes("five", 6) == ["ok"] * 5 + [LIMITED]


async def test_a_refusal_says_when_also_in_a_batch_and_costs_nothing() -> None:
    async with TestEnv(server(one=one)) as env:
        raw = await Raw.open(env, caps=["batch"])
        await raw.send(batch=[{"rpc": "m/one", "id": str(n), "args": []} for n in range(3)])
        answers = (await raw.recv())["data"]["batch"]
        assert [each.get("code", "ok") for each in answers] == ["ok", LIMITED, LIMITED]
        assert answers[1]["retryAfter"] == answers[2]["retryAfter"] == 60_000


async def test_110_users_are_counted_apart_and_the_connections_of_one_together() -> None:
    async with TestEnv(server(one=one)) as env:
        ann, also_ann, ben = Caller(env, ANN), Caller(env, ANN), Caller(env, BEN)
        guest, other_guest = Caller(env), Caller(env)
        # acceptance 110
        assert await ann.codes("one", 2) == ["ok", LIMITED]
        assert await also_ann.code("one") == LIMITED
        assert await ben.code("one") == "ok"
        assert await guest.codes("one", 2) == ["ok", LIMITED]
        assert await other_guest.code("one") == "ok"


async def test_anonymous_callers_of_one_address_have_ten_times_the_points_together() -> None:
    async with TestEnv(server(one=one)) as env:

        async def guests(address: str, count: int) -> list[str]:
            codes = []
            for _ in range(count):
                socket = await env.transport.connect("/ws", address=address)
                await socket.recv()
                await socket.send('{"rpc":"m/one","id":"1","args":[]}')
                codes.append(json.loads(await socket.recv())["data"].get("code", "ok"))
            return codes

        assert await guests("192.0.2.1", 12) == ["ok"] * 10 + [LIMITED] * 2
        assert await guests("192.0.2.2", 1) == ["ok"]
        # One network of IPv6 has as many addresses as it likes.
        assert await guests("2001:db8::1", 10) == ["ok"] * 10
        assert await guests("2001:db8::2", 1) == [LIMITED]
        assert await guests("127.0.0.1", 12) == ["ok"] * 12


async def test_112_the_key_says_who_is_counted_and_functions_never_share() -> None:
    def by_org(ctx: Ctx) -> str | None:
        return None if ctx.user is None else ctx.user.get("org")

    limit = live.rate_limit(points=2, per=60.0, key=by_org)

    @live
    @limit
    def first(ctx: Ctx) -> str:
        return "ok"

    @limit
    @live
    @live.validated(Annotated[int, Meta(ge=0)])
    def second(ctx: Ctx, n: Any = 0) -> str:
        return "ok"

    @live.room("board:{board}")
    async def board(ctx: Ctx, board: str) -> list[Any]:
        return []

    @board.action
    @limit
    async def act(ctx: RoomContext[Any], board: str) -> str:
        return "ok"

    async with TestEnv(server(first=first, second=second, board=board)) as env:
        ann, ben = Caller(env, {"id": "ann", "org": "x"}), Caller(env, {"id": "ben", "org": "x"})
        zoe = Caller(env, {"id": "zoe", "org": None})
        # acceptance 112
        assert [await ann.code("first"), await ben.code("first"), await ann.code("first")] == ["ok", "ok", LIMITED]
        assert [await ben.code("second", 1), await ann.code("second", 1)] == ["ok", "ok"]
        assert await ann.code("second", -1) == LIMITED  # counted before the arguments are looked at
        assert [await ann.code("board/__action/act", "b") for _ in range(3)] == ["ok", "ok", LIMITED]
        assert await zoe.codes("first", 3) == ["ok", "ok", LIMITED]


async def test_a_key_that_is_no_text_is_the_functions_mistake() -> None:
    @live
    @live.rate_limit(points=1, per=1.0, key=lambda ctx: 7)  # type: ignore[arg-type,return-value]  # the mistake
    def broken(ctx: Ctx) -> str:
        return "ok"

    async with TestEnv(server(broken=broken)) as env:
        assert await Caller(env).code("broken") == "INTERNAL_ERROR"


async def test_114_exempt_own_override_default_none() -> None:
    def limited(**options: Any) -> Any:
        @live.stream("rows")
        async def rows(ctx: Ctx) -> list[Any]:
            return []

        app = server(five=five, one=one, free=free, rows=rows)
        app.rate_limits(**options)
        return app

    # acceptance 114
    overrides = {"m/free": RateLimit(2, 60.0), "m/one": RateLimit(50, 60.0)}
    app = limited(default=RateLimit(1, 60.0), overrides=overrides, exempt=["m/five"])
    async with TestEnv(app) as env:
        ann = Caller(env, ANN)
        assert await ann.codes("five", 9) == ["ok"] * 9
        assert await ann.codes("one", 2) == ["ok", LIMITED]
        assert await ann.codes("free", 3) == ["ok", "ok", LIMITED]
        raw = await Raw.open(env)
        for _ in range(3):
            assert (await raw.subscribe("m/rows"))["ok"]
        with pytest.raises(RuntimeError, match="before the server starts"):
            app.rate_limits()

    async with TestEnv(limited(default=RateLimit(3, 60.0))) as env:
        assert await Caller(env, ANN).codes("free", 4) == ["ok"] * 3 + [LIMITED]

    app = limited(default=RateLimit(1, 60.0))
    app.rate_limits()
    async with TestEnv(app) as env:
        assert await Caller(env, ANN).codes("free", 4) == ["ok"] * 4

    for points, per in ((0, 1.0), (1, 0), (1, float("nan")), (1.5, 1), (True, 1)):
        bad = {"points": points, "per": per}
        with pytest.raises(ConfigError, match="a rate limit takes"):
            RateLimit(**bad)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(DeclarationError, match="a rate limit takes"):
            live.rate_limit(**bad)  # type: ignore[arg-type]  # likewise
    with pytest.raises(ConfigError, match="no function on 'm/rows'"):
        limited(exempt=["m/rows"])
    with pytest.raises(ConfigError, match="no function on 'm/none'"):
        limited(overrides={"m/none": RateLimit(1, 1.0)})
    with pytest.raises(ConfigError, match="takes a list"):
        limited(exempt="m/free")
    with pytest.raises(ConfigError, match="RateLimit"):
        limited(default=5)


async def test_115_a_burst_leaves_part_of_the_allowance_only() -> None:
    @live
    @live.rate_limit(points=10, per=10.0)
    def ten(ctx: Ctx) -> str:
        return "ok"

    async with TestEnv(server(ten=ten)) as env:
        ann = Caller(env, ANN)
        await asyncio.sleep(9)
        assert await ann.codes("ten", 10) == ["ok"] * 10
        await asyncio.sleep(3)
        # acceptance 115
        assert await ann.codes("ten", 10) == ["ok"] * 3 + [LIMITED] * 7


async def test_streams_bytes_and_uploads_have_limits_too() -> None:
    limit = live.rate_limit(points=1, per=60.0)

    @live.stream("rows")
    @limit
    async def rows(ctx: Ctx) -> list[Any]:
        return []

    @live.binary(path="m/binary")
    @limit
    async def binary(ctx: Ctx, data: bytes) -> int:
        return len(data)

    @live.upload(path="m/upload")
    @limit
    async def upload(ctx: UploadContext[Any]) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    async with TestEnv(server(rows=rows, binary=binary, upload=upload)) as env:
        client = env.connect(user=ANN)
        raw = await Raw.open(env)
        assert (await raw.subscribe("m/rows"))["ok"]
        assert (await raw.subscribe("m/rows"))["code"] == LIMITED
        codes = []
        for _ in range(2):
            codes.append(await outcome(client.binary(binary, b"bytes")))
            codes.append(await outcome(client.upload(upload, b"bytes")))
        assert codes == ["ok", "ok", LIMITED, LIMITED]


async def outcome(call: Awaitable[Any]) -> str:
    try:
        await call
    except RpcError as error:
        return error.code
    return "ok"


async def test_what_is_refused_takes_nothing_from_others_of_the_address() -> None:
    @live
    @live.rate_limit(points=2, per=3600.0)
    def two(ctx: Ctx) -> str:
        return "ok"

    async with TestEnv(server(two=two)) as env:
        codes: list[list[str]] = []
        for calls in (40, 2):
            socket = await env.transport.connect("/ws", address="192.0.2.1")
            await socket.recv()
            codes.append([])
            for _ in range(calls):
                await socket.send('{"rpc":"m/two","id":"1","args":[]}')
                codes[-1].append(json.loads(await socket.recv())["data"].get("code", "ok"))
        assert codes == [["ok"] * 2 + [LIMITED] * 38, ["ok"] * 2]


class ToPage(Events): ...


class Desk(Contract[ToPage], path="/desk"):
    @room.expose
    def corner(self) -> RoomKey:
        return "corner"

    @event
    def ring(self) -> str:
        return "ding"

    @event(rate_limit=RateLimit(1, 60.0))
    def shout(self) -> str:
        return "hey"


async def test_actions_of_contracts_have_limits_and_openings_and_joins_have_none() -> None:
    app = LiveServer([Desk])
    app.rate_limits(RateLimit(2, 60.0))
    async with TestEnv(app) as env, env.open(Desk, user=ANN) as page, env.open(Desk, user=ANN) as other:
        for _ in range(3):
            await page.join(Desk.corner)
            await page.leave(Desk.corner)
        assert [await outcome(page.call(Desk.shout)), await outcome(other.call(Desk.shout))] == ["ok", LIMITED]
        assert [await outcome(page.call(Desk.ring)) for _ in range(3)] == ["ok", "ok", LIMITED]
    with pytest.raises(ConfigError, match="desk/__join/corner"):
        app.rate_limits(exempt=["desk/__join/corner"])
    with pytest.raises(DeclarationError, match=r"@event\(rate_limit=\)"):
        event(rate_limit=5)  # type: ignore[call-overload]  # what is refused


async def test_long_keys_take_no_more_room_than_short_ones() -> None:
    @live
    @live.rate_limit(points=1, per=60.0, key=lambda ctx: ctx.user["key"])
    def keyed(ctx: Ctx) -> str:
        return "ok"

    app = server(keyed=keyed)
    async with TestEnv(app) as env:
        for key in ("x" * 100_000, "x" * 100_001, "\ud800" * 300):
            assert await Caller(env, {"id": "ann", "key": key}).codes("keyed", 2) == ["ok", LIMITED]
        assert max(map(len, app._cluster.limiter._known)) < 500  # type: ignore[attr-defined]  # of the one in memory


async def test_a_stream_that_was_limited_comes_when_its_time_is_over() -> None:
    @live.stream("rows", path="m/rows")
    @live.rate_limit(points=1, per=60.0)
    async def rows(ctx: Ctx) -> list[int]:
        return [1]

    async with TestEnv(server(rows=rows)) as env:
        client = env.connect(user=ANN)
        handle = await client.subscribe(rows)
        client.cut()
        while handle.error is None:
            await asyncio.sleep(1)
        assert handle.error.code == LIMITED
        began = asyncio.get_running_loop().time()
        while handle.error is not None:
            await asyncio.sleep(1)
        assert 50 <= asyncio.get_running_loop().time() - began < 70
