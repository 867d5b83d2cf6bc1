"""Ready-made predicates, and ``@live.scoped``. Numbers in names are acceptance cases."""

import asyncio
import enum
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveServer, RpcError, access, live, public, remote
from liverpc.testing import TestEnv, create_test_context


@dataclass
class User:
    id: Any = None
    team_id: Any = None
    organization_id: Any = None
    user_id: Any = None
    role: Any = None


async def verdict(predicate: Any, user: Any, *args: Any) -> bool:
    result = predicate(create_test_context(user=user), *args)
    if isinstance(result, Awaitable):
        result = await result
    assert isinstance(result, bool)
    return result


@pytest.mark.parametrize(
    ("user", "passes"),
    [(None, False), ({}, False), ({"id": None}, False), ({"id": 0}, True), (User(), False), (User(id="ann"), True)],
)
async def test_27_owner_passes_with_a_field_that_is_not_none(user: Any, passes: bool) -> None:  # acceptance 27
    assert await verdict(access.owner(), user) is passes
    assert await verdict(access.owner("nothing"), user) is False


async def test_27_team_passes_with_a_team() -> None:  # acceptance 27
    members: list[Any] = [{"team_id": 1}, {"teamId": 1}, User(team_id="red")]
    others: list[Any] = [None, {}, {"team_id": None}, User()]
    for user in members + others:
        assert await verdict(access.team(), user) is (user in members)


async def awaited(ctx: Context[Any], *args: Any) -> bool:
    await asyncio.sleep(1)
    return args == ("b1",)


class Role(enum.StrEnum):
    ADMIN = "admin"


# acceptance 27
@pytest.mark.parametrize(
    ("role", "passes"),
    [
        ("admin", True),
        (Role.ADMIN, True),
        ("viewer", False),
        ("editor", True),
        ("later", True),
        ("missing", False),
        (None, False),
        ([], False),
        ("get", False),
        ("__class__", False),
    ],
)
async def test_27_role_decides_by_the_table_alone(role: Any, passes: bool) -> None:
    predicate = access.role(
        {"admin": True, "viewer": False, "editor": lambda ctx, *args: args == ("b1",), "later": awaited}
    )
    assert await verdict(predicate, {"role": role}, "b1") is passes
    assert await verdict(predicate, User(role=role), "b1") is passes
    assert await verdict(predicate, None, "b1") is False


async def test_role_may_be_another_field() -> None:
    assert await verdict(access.role({"x": True}, field="kind"), {"kind": "x"}) is True


@pytest.mark.parametrize("value", [None, "yes", 1])
def test_a_role_with_neither_truth_nor_predicate_is_refused(value: Any) -> None:
    with pytest.raises(DeclarationError, match="'admin'"):
        access.role({"admin": value})


# acceptance 29
@pytest.mark.parametrize(("make", "field"), [(access.org, "organization_id"), (access.user, "user_id")])
async def test_29_org_and_user_compare_the_first_argument_strictly(make: Any, field: str) -> None:
    number = uuid.uuid4()
    for mine, asked, passes in (
        ("o1", "o1", True),
        ("o1", "o2", False),
        (1, 1, True),
        (1, "1", False),
        ("1", 1, False),
        (1, True, False),
        (1, 1.0, False),
        (number, number, True),
        (number, str(number), False),
        (None, None, False),
        (None, "o1", False),
        ("o1", None, False),
        ("", "", True),
    ):
        for user in ({field: mine}, User(**{field: mine})):
            assert await verdict(make(), user, asked, "other") is passes, (mine, asked)
    assert await verdict(make(), {field: "o1"}) is False, "without argument there is nothing to compare"
    assert await verdict(make(), None, "o1") is False
    assert await verdict(make(), {}, "o1") is False


async def test_29_where_the_value_comes_from_and_the_field_may_be_others() -> None:  # acceptance 29
    predicate = access.org(from_=lambda ctx, first, second: second["org"], field="tenant")
    assert await verdict(predicate, {"tenant": 5}, 1, {"org": 5}) is True
    assert await verdict(predicate, {"tenant": 5}, 5, {"org": 6}) is False


@pytest.mark.parametrize("from_", ["org", awaited])
def test_what_gives_no_value_at_once_is_refused(from_: Any) -> None:
    with pytest.raises(DeclarationError, match="from_"):
        access.org(from_=from_)


def yes(ctx: Context[Any], *args: Any) -> bool:
    return True


def no(ctx: Context[Any], *args: Any) -> bool:
    return False


def boom(ctx: Context[Any], *args: Any) -> bool:
    raise AssertionError("must not be asked")


async def test_any_and_all_ask_in_order_and_no_more_than_needed() -> None:
    assert await verdict(access.any(no, awaited, boom), {}, "b1") is True
    assert await verdict(access.any(no, awaited), {}, "b2") is False
    assert await verdict(access.all(yes, awaited, yes), {}, "b1") is True
    assert await verdict(access.all(yes, awaited, boom), {}, "b2") is False
    assert await verdict(access.any(), {}) is False
    assert await verdict(access.all(), {}) is True
    assert await verdict(access.any(access.all(yes, no), access.all(yes)), {}) is True


@pytest.mark.parametrize("make", [access.any, access.all])
def test_any_and_all_take_functions(make: Any) -> None:
    with pytest.raises(DeclarationError, match="True"):
        make(True)


# -- scoped


def scoped_server(predicate: Any, ran: list[Any]) -> LiveServer:
    @live
    @live.scoped(predicate)
    def below(ctx: Context[Any], room: int) -> str:
        ran.append(("below", room))
        return "ok"

    @live.scoped(predicate)
    @live(path="demo/above")
    async def above(ctx: Context[Any], room: int) -> str:
        ran.append(("above", room))
        return "ok"

    @live.scoped(predicate)
    @live.stream("rows:{room}", access=lambda ctx, room: room != 13)
    async def stream(ctx: Context[Any], room: int) -> list[Any]:
        ran.append(("stream", room))
        return []

    @live.channel(merge="set", item=int)
    @live.scoped(predicate)
    def channel(ctx: Context[Any], room: int) -> str:
        return f"channel:{room}"

    functions = {"below": below, "above": above, "stream": stream, "channel": channel}
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())})


def in_room(ctx: Context[Any], room: int) -> bool:
    assert type(room) is int, "it sees validated arguments"
    return ctx.user is not None and room in ctx.user["rooms"]


async def in_room_later(ctx: Context[Any], room: int) -> bool:
    await asyncio.sleep(1)
    return in_room(ctx, room)


# acceptance 31
@pytest.mark.parametrize("predicate", [in_room, in_room_later, lambda ctx, room: in_room_later(ctx, room)])
async def test_31_only_those_pass_whom_the_predicate_lets_pass(predicate: Any) -> None:
    ran: list[Any] = []
    async with TestEnv(scoped_server(predicate, ran)) as env:
        ann, nobody = env.connect(user={"rooms": [7, 13]}), env.connect()
        for name in ("below", "above"):
            path = remote(f"demo/{name}")
            assert await ann.call(path, 7) == "ok"
            with pytest.raises(RpcError, match="FORBIDDEN"):
                await ann.call(path, 8)
            with pytest.raises(RpcError, match="UNAUTHENTICATED"):
                await nobody.call(path, 7)
            with pytest.raises(RpcError, match="VALIDATION"):
                await ann.call(path, "x")
        for name in ("stream", "channel"):
            path = remote(f"demo/{name}")
            await ann.subscribe(path, 7)
            with pytest.raises(RpcError, match="FORBIDDEN"):
                await ann.subscribe(path, 8)
            with pytest.raises(RpcError, match="UNAUTHENTICATED"):
                await nobody.subscribe(path, 7)
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await ann.subscribe(remote("demo/stream"), 13)
    assert ran == [("below", 7), ("above", 7), ("stream", 7)]


def verdicts() -> list[tuple[Any, Any, list[Any], str | None]]:
    """Predicate, user, arguments, and the code that it refuses with."""
    editors = access.role({"admin": True, "viewer": False, "editor": awaited, "fails": lambda ctx, *args: 1 / 0})
    custom = access.user(from_=lambda ctx, first, second: second["by"], field="number")
    no, who, fails = "FORBIDDEN", "UNAUTHENTICATED", "INTERNAL_ERROR"
    return [
        (access.owner(), {"id": "ann"}, ["b1"], None),
        (access.owner(), {"id": None}, ["b1"], no),
        (access.owner("key"), {"id": "ann"}, ["b1"], no),
        (access.owner(), None, ["b1"], who),
        (access.team(), {"team_id": 3}, ["b1"], None),
        (access.team(), {"id": 3}, ["b1"], no),
        (access.team(), None, ["b1"], who),
        (editors, {"role": "admin"}, ["b1"], None),
        (editors, {"role": "viewer"}, ["b1"], no),
        (editors, {"role": "editor"}, ["b1"], None),
        (editors, {"role": "editor"}, ["b2"], no),
        (editors, {"role": "guest"}, ["b1"], no),
        (editors, {"role": "constructor"}, ["b1"], no),
        (editors, {"role": "fails"}, ["b1"], fails),
        (editors, {"id": "ann"}, ["b1"], no),
        (editors, None, ["b1"], who),
        (access.org(), {"organization_id": "b1"}, ["b1"], None),
        (access.org(), {"organization_id": "b1"}, ["b2"], no),
        (access.org(), {"organization_id": "b1"}, [None], no),
        (access.org(), {"organization_id": None}, [None], no),
        (access.org(), {"id": "b1"}, ["b1"], no),
        (access.org(), None, ["b1"], who),
        (access.org(), None, [None], who),
        (access.user(), {"user_id": 7}, [7], None),
        (access.user(), {"user_id": 7}, ["7"], no),
        (access.user(field="id"), {"id": 7, "user_id": 8}, [7], None),
        (access.user(field="id"), {"id": 7, "user_id": 8}, [8], no),
        (custom, {"number": 5}, ["b1", {"by": 5}], None),
        (custom, {"number": 5}, [5, {"by": 6}], no),
        (custom, {"user_id": 5}, [5, {"by": 5}], no),
        (custom, None, [5, {"by": 5}], who),
    ]


async def test_each_predicate_decides_about_calls_and_streams() -> None:  # acceptance 27, 29
    ran: list[str] = []

    def functions(number: int, predicate: Any) -> dict[str, Any]:
        @live
        @live.scoped(predicate)
        def call(ctx: Context[Any], *args: Any) -> None:
            ran.append("call")

        @live.stream(f"rows:{number}", access=predicate)
        def stream(ctx: Context[Any], *args: Any) -> list[Any]:
            ran.append("stream")
            return []

        return {f"call_{number}": call, f"stream_{number}": stream}

    table = verdicts()
    members = [functions(number, predicate) for number, (predicate, *_) in enumerate(table)]
    server = LiveServer(
        {"demo": SimpleNamespace(**{name: each for both in members for name, each in both.items()}, _guard=public())}
    )
    async with TestEnv(server) as env:
        for number, (_, user, args, code) in enumerate(table):
            client = env.connect(user=user)
            asking: dict[str, Any] = {"call": client.call, "stream": client.subscribe}
            for kind, ask in asking.items():
                ran.clear()
                found = None
                try:
                    await ask(remote(f"demo/{kind}_{number}"), *args)
                except RpcError as error:
                    found = error.code
                assert (found, ran) == (code, [] if code else [kind]), (number, kind)
            assert server.subscribers(f"rows:{number}") == (0 if code else 1)


@pytest.mark.parametrize("order", list(permutations(("live", "scoped", "validated", "rate_limit"))), ids="-".join)
async def test_a_scope_goes_with_validation_and_rate_limits(order: tuple[str, ...]) -> None:  # acceptance 31
    asked: list[Any] = []

    async def mine(ctx: Context[Any], room: int) -> bool:
        await asyncio.sleep(1)
        asked.append(room)
        return ctx.user is not None and room != 13

    def number(value: Any) -> int:
        return int(value)

    async def call(ctx: Context[Any], room: int) -> int:
        return room

    lines: dict[str, Any] = {
        "live": live,
        "scoped": live.scoped(mine),
        "validated": live.validated(number),
        "rate_limit": live.rate_limit(points=3, per=3600.0),
    }
    target: Any = call
    for name in order:
        target = lines[name](target)
    async with TestEnv(LiveServer({"demo": SimpleNamespace(call=target, _guard=public())})) as env:
        ann, nobody = env.connect(user={"id": "ann"}), env.connect()
        assert await ann.call(remote("demo/call"), "7") == 7
        with pytest.raises(RpcError, match="VALIDATION"):
            await ann.call(remote("demo/call"), "x")
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await ann.call(remote("demo/call"), "13")
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await nobody.call(remote("demo/call"), "7")
        assert asked == [7, 13, 7], "it sees what validation made of the arguments"
        for room in ("7", "x", "13"):  # the limit comes before both
            with pytest.raises(RpcError, match="RATE_LIMITED") as caught:
                await ann.call(remote("demo/call"), room)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after > 0
        assert len(asked) == 3


async def test_a_scoped_function_is_still_its_function() -> None:
    @live
    @live.scoped(no)
    async def call(ctx: Context[Any], n: int) -> int:
        return n

    assert await call(create_test_context(), 3) == 3
    assert call.path == "test_access/call"


def test_what_was_declared_without_scope_stays_open() -> None:
    @live
    def call(ctx: Context[Any]) -> None: ...

    closed = live.scoped(no)(call)
    assert (call.access, closed.access) == (None, no)


def test_two_scopes_are_refused() -> None:
    def call(ctx: Context[Any]) -> None: ...

    for declare in (
        lambda: live.scoped(yes)(live(live.scoped(yes)(call))),
        lambda: live.scoped(yes)(live.scoped(yes)(call)),
        lambda: live.scoped(yes)(live.scoped(yes)(live(call))),
    ):
        with pytest.raises(DeclarationError, match=r"test_access\.py, line \d+.*twice"):
            declare()


def test_a_scope_without_live_says_so_when_it_is_used() -> None:
    @live.scoped(yes)
    def call(ctx: Context[Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"test_access\.py, line \d+.*no @live"):
        call(create_test_context())


def test_a_scope_takes_a_function() -> None:
    scope: Any = "admins"
    with pytest.raises(DeclarationError, match="'admins'"):
        live.scoped(scope)
