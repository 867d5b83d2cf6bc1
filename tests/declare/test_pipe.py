"""``pipe``: what each step makes of loaded rows, and what it leaves alone."""

from __future__ import annotations

import asyncio
import functools
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import Context, DeclarationError, LiveError, LiveServer, Page, RpcError, guard, live, pipe, public
from liverpc.declare.rows import AT_ONCE
from liverpc.testing import TestEnv, create_test_context


class Row(msgspec.Struct, rename="camel"):
    id: int
    author_id: str | None = None


@dataclass
class Plain:
    id: int
    author_id: str


def stream_of(value: Any) -> Any:
    @live.stream("rows")
    def rows(ctx: Context[Any]) -> Any:
        return value

    return rows


async def through(value: Any, *steps: Any) -> Any:
    return await pipe(stream_of(value), *steps)(create_test_context(user="ann"))


def ids(rows: Any) -> list[Any]:
    return [row["id"] if isinstance(row, dict) else row.id for row in rows]


# -- the steps


async def test_steps_are_taken_in_order() -> None:
    rows = [{"id": n} for n in (3, 1, 2)]
    assert ids(await through(rows, pipe.sort("id"), pipe.limit(2))) == [1, 2]
    assert ids(await through(rows, pipe.limit(2), pipe.sort("id"))) == [1, 3]
    assert ids(rows) == [3, 1, 2]


@pytest.mark.parametrize("later", [False, True])
async def test_filter_keeps_what_its_function_of_ctx_and_row_says(later: bool) -> None:
    async def keep_later(ctx: Context[Any], row: Row) -> bool:
        await asyncio.sleep(0)
        return ctx.user == "ann" and row.id > 1

    keep = keep_later if later else lambda ctx, row: ctx.user == "ann" and row.id > 1
    assert ids(await through([Row(1), Row(2), Row(3)], pipe.filter(keep))) == [2, 3]


async def test_sorting_is_stable_and_puts_none_last_in_both_directions() -> None:
    rows = [{"id": 1, "n": None}, {"id": 2, "n": 5}, {"id": 3}, {"id": 4, "n": 5}, {"id": 5, "n": 4}]
    rows.append({"id": 6, "n": float("nan")})
    assert ids(await through(rows, pipe.sort("n"))) == [5, 2, 4, 1, 3, 6]
    assert ids(await through(rows, pipe.sort("n", "desc"))) == [2, 4, 5, 1, 3, 6]


async def test_values_of_different_types_are_grouped() -> None:
    class Color(Enum):
        RED = "b"

    values = ["c", Decimal(2), True, 1.5, Color.RED, "a", datetime.now(UTC), datetime(2020, 1, 1)]  # noqa: DTZ001
    rows = [{"id": value} for value in values]
    assert ids(await through(rows, pipe.sort("id"))) == [True, 1.5, Decimal(2), *values[-2:], "a", Color.RED, "c"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda j: st.lists(j, max_size=3)
)


@given(st.lists(JSON, max_size=8), st.sampled_from(["asc", "desc"]))
def test_sorting_never_raises_and_loses_nothing(values: list[Any], direction: Any) -> None:
    rows = [{"id": number, "n": value} for number, value in enumerate(values)]
    ordered = asyncio.run(through(rows, pipe.sort("n", direction)))
    assert sorted(ids(ordered)) == list(range(len(rows)))


@pytest.mark.parametrize(("count", "left"), [(1, [1]), (2, [1, 2]), (3, [1, 2])])
async def test_limit_keeps_the_first_rows(count: int, left: list[int]) -> None:
    assert ids(await through([Row(1), Row(2)], pipe.limit(count))) == left


async def test_join_asks_for_all_keys_at_once_and_for_equal_ones_once() -> None:
    asked: list[Any] = []
    release = asyncio.Event()

    async def find(key: Any) -> str:
        asked.append(key)
        if len(asked) == 5:
            release.set()
        await release.wait()  # until all are asked
        return f"<{key}>"

    keys = ["a", 1, "a", True, 1.0, "1", 1, None]
    rows: list[Any] = [{"id": n, "by": key} for n, key in enumerate(keys)]
    joined = await through([*rows, {"id": 8}], pipe.join("by", find, "author"))
    assert [row["author"] for row in joined] == ["<a>", "<1>", "<a>", "<True>", "<1.0>", "<1>", "<1>", None, None]
    assert [(type(key), key) for key in asked] == [(str, "a"), (int, 1), (bool, True), (float, 1.0), (str, "1")]
    assert "author" not in rows[0]


@pytest.mark.parametrize("keys", [AT_ONCE - 1, AT_ONCE, 3 * AT_ONCE])
async def test_a_join_asks_for_so_many_keys_at_the_same_time(keys: int) -> None:
    running = most = 0

    async def find(key: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(key % 3)
        running -= 1
        return -key

    rows = [{"id": n, "by": n} for n in range(keys)]
    joined = await through(rows, pipe.join("by", find, "author"))
    assert [row["author"] for row in joined] == [-n for n in range(keys)]
    assert most == min(keys, AT_ONCE)


async def test_a_key_that_cannot_be_compared_is_asked_for_each_time() -> None:
    rows = [{"id": 1, "by": ["a"]}, {"id": 2, "by": ["a"]}]
    joined = await through(rows, pipe.join("by", lambda key: key[0], "author"))
    assert [row["author"] for row in joined] == ["a", "a"]


@pytest.mark.parametrize(
    ("row", "joined"),
    [
        ({"id": 1, "author_id": "a"}, {"id": 1, "author_id": "a", "author": "A"}),
        (Row(1, "a"), {"id": 1, "authorId": "a", "author": "A"}),
        (Plain(1, "a"), {"id": 1, "author_id": "a", "author": "A"}),
    ],
)
async def test_joined_rows_are_dicts_with_their_names_in_json(row: Any, joined: dict[str, Any]) -> None:
    assert await through([row], pipe.join("author_id", str.upper, "author")) == [joined]


async def test_a_resolver_takes_a_key_or_ctx_and_a_key() -> None:
    class Finder:
        def __call__(self, ctx: Context[Any], key: str) -> str:
            return f"{ctx.user}/{key}"

    def optional(key: str, cache: Any = "default") -> str:
        return f"{cache}/{key}"

    def both(ctx: Context[Any], key: str) -> str:
        return f"{ctx.user}/{key}"

    def other(ctx: Context[Any], key: str, *, extra: int = 1) -> str:
        return f"{ctx.user}/{key}"

    names = {"k": "v"}
    for resolver, found in [
        (Finder(), "ann/k"),
        (both, "ann/k"),
        (other, "ann/k"),
        (functools.partial(both, create_test_context(user="bob")), "bob/k"),
        (optional, "default/k"),
        (names.get, "v"),
    ]:
        joined = await through([{"id": 1, "by": "k"}], untyped.join("by", resolver, "x"))
        assert joined == [{"id": 1, "by": "k", "x": found}]


async def test_what_a_resolver_raises_fails_the_load_and_stops_the_others() -> None:
    ended: list[Any] = []

    async def find(key: int) -> Any:
        if key == 1:
            raise LiveError("NO_AUTHOR")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)

    rows = [{"id": n, "by": n} for n in (2, 1, 3)]
    with pytest.raises(LiveError, match="NO_AUTHOR"):
        await through(rows, pipe.join("by", find, "author"))
    assert ended == [2] or sorted(ended) == [2, 3]

    def at_once(key: int) -> Any:
        raise LiveError("NO_AUTHOR")

    with pytest.raises(LiveError, match="NO_AUTHOR"):
        await through(rows, pipe.join("by", at_once, "author"))


async def test_rows_without_fields_cannot_be_joined() -> None:
    with pytest.raises(TypeError, match="int has none"):
        await through([1], pipe.join("by", str, "author"))


# -- the value


@pytest.mark.parametrize("value", [None, 3, {"id": 1}, "rows"])
async def test_what_is_no_list_passes_through(value: Any) -> None:
    assert await through(value, pipe.filter(lambda ctx, row: False), pipe.sort("id"), pipe.limit(1)) == value


async def test_of_a_page_the_rows_go_through_and_the_rest_stays() -> None:
    page: Page[Row] = Page([Row(2), Row(1)], has_more=True, cursor=7)
    assert await through(page, pipe.sort("id")) == Page([Row(1), Row(2)], has_more=True, cursor=7)
    assert ids(page.data) == [2, 1]


async def test_an_async_loader_and_a_pipe_go_through_a_pipe() -> None:
    @live.stream("rows:{room}")
    async def rows(ctx: Context[Any], room: int) -> list[Row]:
        return [Row(room), Row(room + 1)]

    newest = pipe(rows, pipe.sort("id", "desc"))
    assert ids(await pipe(newest, pipe.limit(1))(create_test_context(), 4)) == [5]


# -- the declaration


@live.stream("members", merge="crud", key="id", prepend=True, max=9, access=lambda ctx: ctx.user is not None)
async def members(ctx: Context[Any]) -> list[Row]:
    """Who is there."""
    return [Row(3), Row(1), Row(2)]


first = pipe(members, pipe.sort("id"), pipe.limit(2))
with_authors = pipe(members, pipe.join("id", str, "author"), path="people/with_authors")
_guard = public()


def test_it_has_the_topic_and_the_options_and_a_path_of_its_own() -> None:
    assert (first.options, first.topic()) == (members.options, members.topic())
    assert first.__doc__ == "Who is there."
    assert first.path == "test_pipe/first"
    assert with_authors.path == "people/with_authors"
    assert members.path == "test_pipe/members"
    assert first.result_type == list[Row]
    assert with_authors.result_type == list[dict[str, Any]]
    assert pipe(with_authors, pipe.limit(1)).result_type == list[dict[str, Any]]


async def test_clients_get_loaded_rows_through_it_and_events_as_they_are() -> None:
    server = LiveServer([sys.modules[__name__]])
    async with TestEnv(server) as env:
        client = env.connect(user="ann")
        short, whole = await client.subscribe(first), await client.subscribe(members)
        rows = await client.subscribe(with_authors)
        assert (ids(short.value), ids(whole.value)) == ([1, 2], [3, 1, 2])
        assert rows.value[0] == {"id": 3, "authorId": None, "author": "3"}
        server.publish_nowait(members.topic(), "created", Row(0))
        await short.wait_for(lambda value: ids(value) == [0, 1, 2])
        await whole.wait_for(lambda value: ids(value) == [0, 3, 1, 2])
        with pytest.raises(RpcError, match="UNAUTHENTICATED"):
            await env.connect(user=None).subscribe(first)


@pytest.mark.parametrize("options", [{"stale_after": 5}, {"invalidate_on": "other"}])
def test_a_reloaded_stream_and_its_pipe_are_not_both_reached(options: Any) -> None:
    async def loader(ctx: Context[Any]) -> list[Any]:
        return []

    whole = live.stream("all", **options)(loader)
    short = pipe(whole, pipe.limit(1), path="m/short")
    shorter = pipe(whole, pipe.limit(1), path="m/shorter")
    with pytest.raises(DeclarationError, match=r"m/short and m/whole are a stream and its pipe.* let clients reach"):
        LiveServer({"m": SimpleNamespace(whole=whole, short=short, _guard=public())})
    with pytest.raises(DeclarationError, match="m/shorter and m/short are"):
        LiveServer({"m": SimpleNamespace(_whole=whole, short=short, shorter=shorter, _guard=public())})
    LiveServer({"m": SimpleNamespace(_whole=whole, short=short, _guard=public())})
    gated = live.gate(lambda ctx: True)(whole)
    LiveServer({"m": SimpleNamespace(whole=whole, gated=gated, _guard=public())})  # they have one loader


def test_the_stream_itself_is_reached_only_where_it_is_a_variable() -> None:
    server = LiveServer({"m": SimpleNamespace(first=first, _guard=guard(lambda ctx: None))})
    assert list(server.registry.paths) == ["m/first"]
    other = ModuleType("other")
    vars(other).update(first=first, call=live(lambda ctx: None))
    with pytest.raises(DeclarationError, match="declares nothing"):
        LiveServer([other])  # imported there: it belongs here


def test_one_that_is_no_variable_of_its_module_has_no_path() -> None:
    with pytest.raises(DeclarationError, match=r"pipe\(.*\) made in test_pipe.*path="):
        _ = pipe(stream_of([]), pipe.limit(1)).path


def test_gates_and_scopes_can_stand_around_it() -> None:
    gated = live.gate(lambda ctx: True)(first)
    assert gated.options.gate is not None
    assert first.options.gate is None


class Loaderless:
    channel = live.channel("notices", merge="latest", item=Row)

    @staticmethod
    @live
    def call(ctx: Context[Any]) -> None: ...


untyped: Any = pipe


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        (lambda: untyped(Loaderless.channel, pipe.limit(1)), r"pipe\(\) takes what @live.stream made"),
        (lambda: untyped(Loaderless.call, pipe.limit(1)), r"pipe\(\) takes what @live.stream made"),
        (lambda: untyped(live.stream("x"), pipe.limit(1)), r"pipe\(\) takes what @live.stream made"),
        (lambda: untyped(members, 3), r"steps such as pipe.limit\(20\), not 3"),
        (lambda: untyped.filter("name"), r"pipe.filter\(\) takes a function of ctx and a row, not 'name'"),
        (lambda: untyped.sort(""), r"pipe.sort\(\) takes the name of a field"),
        (lambda: untyped.sort(3), r"pipe.sort\(\) takes the name of a field, not 3"),
        (lambda: untyped.sort("id", "down"), "'asc' or 'desc', not 'down'"),
        (lambda: untyped.limit(0), "from 1 on, not 0"),
        (lambda: untyped.limit(-1), "from 1 on, not -1"),
        (lambda: untyped.limit(True), "from 1 on, not True"),
        (lambda: untyped.limit(2.0), "from 1 on, not 2.0"),
        (lambda: untyped.join("", str, "x"), r"pipe.join\(\) takes the name of a field"),
        (lambda: untyped.join("id", str, None), r"pipe.join\(\) takes the name of a field, not None"),
        (lambda: untyped.join("id", {"a": 1}, "x"), "takes a function of a key, not"),
        (lambda: untyped.join("id", lambda: None, "x"), "of a key, or of ctx and a key"),
        (lambda: untyped.join("id", lambda a, b, c: None, "x"), "of a key, or of ctx and a key"),
    ],
)
def test_mistakes_are_named_with_their_place(mistake: Any, why: str) -> None:
    with pytest.raises(DeclarationError, match=rf"test_pipe\.py, line \d+: .*{why}"):
        mistake()
