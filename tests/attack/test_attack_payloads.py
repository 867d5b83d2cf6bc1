"""Whatever JSON a client puts into the arguments of a contract's paths, it is never the server's failure."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from liverpc import Contract, Events, RoomKey, event, public, room
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import Page, serve

_guard = public()


class Exact(msgspec.Struct):
    v: Decimal


class Anything(msgspec.Struct):
    v: Any = None


class Unread(msgspec.Struct):
    v: msgspec.Raw = msgspec.Raw(b"null")


class Model(BaseModel):
    v: float = 0.0


class Loose(BaseModel):
    v: Any = None


class Params(msgspec.Struct):
    room_id: str


class Many(Contract[Events, Params], path="/payloads/{room_id}"):
    @room.expose
    def exact(self, data: Exact) -> RoomKey | None:
        return str(data.v)

    @room.expose
    def anything(self, data: Anything) -> RoomKey | None:
        return repr(data.v)

    @room.expose
    def unread(self, data: Unread) -> RoomKey | None:
        return "one"

    @room.expose
    def as_sent(self, data: msgspec.Raw) -> RoomKey | None:
        return "one"

    @room.expose
    def model(self, data: Model) -> RoomKey | None:
        return repr(data.v)

    @room.expose
    def loose(self, data: Loose) -> RoomKey | None:
        return repr(data.v)

    @event
    def act(self, data: Exact) -> None: ...

    @event
    def act_any(self, data: Anything) -> None: ...

    @event
    def act_model(self, data: Model) -> None: ...


ROOMS = ("exact", "anything", "unread", "as_sent", "model", "loose")
PATHS = [
    "__open", "__event/act", "__event/act_any", "__event/act_model",
    *(f"{verb}/{name}" for verb in ("__join", "__leave") for name in ROOMS),
]  # fmt: skip
ODD = [
    "1e999", "-1e999", "-0", "-0.0", "0.10000000000000000555", "9" * 400, "9" * 5000, '"\\ud800"', '"\\u0000"', '""',
    "1e-999", "NaN", "Infinity", '{"v":1,"v":2}', '"\\x"', "[" * 40 + "]" * 40, '{"\\ud800":1}', "tru", '"1e999"', "{}",
]  # fmt: skip
LEAVES = st.one_of(
    st.sampled_from(ODD), st.integers().map(str), st.floats().map(json.dumps), st.text(max_size=5).map(json.dumps)
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.dictionaries(st.sampled_from(["v", "room_id", "x"]), inner, max_size=3).map(
            lambda each: "{" + ",".join(f'"{name}":{value}' for name, value in each.items()) + "}"
        )
    ),
    max_leaves=6,
)
ARGS = st.lists(TEXTS | LEAVES.map(lambda each: f'{{"v":{each}}}'), max_size=2).map(lambda each: f"[{','.join(each)}]")


async def codes(env: TestEnv, calls: list[tuple[str, str]]) -> set[str]:
    page = await Page.open(env, "/payloads/a")
    for path, args in calls:
        await page.socket.send(f'{{"rpc":"many/{path}","id":"x","args":{args}}}')
    await page.call("many/__close")
    frames = [page._answers.pop("x", None)]
    await page.leave()
    return {frame["code"] for frame in frames if frame and not frame["ok"]}


@given(st.sampled_from(PATHS), ARGS)
@settings(max_examples=150, deadline=None)
def test_no_arguments_are_an_internal_error(path: str, args: str) -> None:
    async def check() -> None:
        async with serve(Many) as env:
            assert "INTERNAL_ERROR" not in await codes(env, [(path, args)])

    asyncio.run(check())


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("path", PATHS)
async def test_odd_values_are_no_internal_error(path: str, odd: str) -> None:
    async with serve(Many) as env:
        for args in (f'[{{"v":{odd}}}]', f"[{odd}]", f'[{{"x":{odd}}}]', f'[{{"v":[{odd}]}}]'):
            assert "INTERNAL_ERROR" not in await codes(env, [(path, args)])


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("exact", "0.1", "0.10000000000000000555"), ("exact", "0.0", "-0.0"), ("exact", "1", "1.0"),
        ("exact", "9007199254740993", "9007199254740992.0"),
        ("anything", "100000000000000000000000", "100000000000000000000001"), ("anything", '"1"', "1"),
    ],
)  # fmt: skip
async def test_different_payloads_are_different_wishes(name: str, one: str, other: str) -> None:
    async with serve(Many) as env:
        page = await Page.open(env, "/payloads/a")
        for text in (one, other, one):
            await page.socket.send(f'{{"rpc":"many/__join/{name}","id":"x","args":[{{"v":{text}}}]}}')
            assert (await page.answer("x"))["ok"]
        assert len(env.server._hub.topics) == 2
        await page.socket.send(f'{{"rpc":"many/__leave/{name}","id":"x","args":[{{"v":{one}}}]}}')
        assert (await page.answer("x"))["ok"]
        assert len(env.server._hub.topics) == 1


async def test_a_leave_may_have_its_members_in_another_order() -> None:
    async with serve(Many) as env:
        page = await Page.open(env, "/payloads/a")
        for verb, text in (("join", '{"a":0.5,"b":[1,"A"]}'), ("leave", '{ "b":[1, "\\u0041"], "a":0.5}')):
            await page.socket.send(f'{{"rpc":"many/__{verb}/anything","id":"x","args":[{{"v":{text}}}]}}')
            assert (await page.answer("x"))["ok"]
            assert len(env.server._hub.topics) == (verb == "join")
