"""``@live.validated`` on every kind of path, and among other lines."""

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from liverpc import Context, LiveError, LiveServer, RoomContext, RpcError, UploadContext, live, public, remote
from liverpc.testing import TestClient, TestEnv


class Struct(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(min_length=1)]
    tags: list[str] = []


def positive(value: Any) -> int:
    if value <= 0:
        raise ValueError("it must be more than 0")
    return int(value)


def serving(**members: Any) -> LiveServer:
    return LiveServer({"m": SimpleNamespace(**members, _guard=public())})


ran: list[Any] = []


@live
@live.validated(Struct)
def plain(ctx: Context[Any], todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "plain"


@live.validated(Struct)
@live
async def waits(ctx: Context[Any], todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "waits"


@live(thread=True)
@live.validated(Struct)
def threaded(ctx: Context[Any], todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "threaded"


@live.binary()
@live.validated(Struct)
async def attach(ctx: Context[Any], data: bytes, todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "attach"


@live.upload()
@live.validated(Struct)
async def put(ctx: UploadContext[Any], todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "put"


@live.room("lobby")
async def lobby(ctx: Context[Any]) -> list[Any]:
    return []


@lobby.action
@live.validated(Struct)
async def add(ctx: RoomContext[Any], todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return "add"


@live.room("board:{board_id}")
async def board(ctx: Context[Any], board_id: int) -> list[Any]:
    return []


@live.validated(Struct)
@board.action
async def pin(ctx: RoomContext[Any], board_id: int, todo: Struct, times: int) -> str:
    ran.append((todo, times))
    return f"pin {board_id}"


async def call_put(client: TestClient, todo: Any, times: Any) -> Any:
    return await client.upload(remote("m/put"), b"x", todo, times)


CALLS: dict[str, Callable[[TestClient, Any, Any], Coroutine[Any, Any, Any]]] = {
    "plain": lambda client, *args: client.call(remote("m/plain"), *args),
    "waits": lambda client, *args: client.call(remote("m/waits"), *args),
    "threaded": lambda client, *args: client.call(remote("m/threaded"), *args),
    "attach": lambda client, *args: client.binary(remote("m/attach"), b"x", *args),
    "put": call_put,
    "add": lambda client, *args: client.call(remote("m/lobby/__action/add"), *args),
    "pin 7": lambda client, *args: client.call(remote("m/board/__action/pin"), 7, *args),
}


# acceptance 104, 105
@pytest.mark.parametrize("answer", [pytest.param(name, id=name.split()[0]) for name in CALLS])
async def test_every_kind_of_call_is_validated(answer: str) -> None:
    ran.clear()
    members = {"plain": plain, "waits": waits, "threaded": threaded, "attach": attach, "put": put}
    async with TestEnv(serving(**members, lobby=lobby, add=add, board=board, pin=pin)) as env:
        client = env.connect()
        assert await CALLS[answer](client, {"title": "milk", "more": 1}, 3) == answer
        assert ran == [(Struct("milk"), 3)]
        for todo, times, path in (
            ({"title": ""}, 3, ["todo", "title"]),
            ({"title": "milk", "tags": ["a", 5]}, 3, ["todo", "tags", "1"]),
            ({"title": "milk"}, "x", ["times"]),
        ):
            with pytest.raises(RpcError, match="VALIDATION") as caught:
                await CALLS[answer](client, todo, times)
            assert [issue.path for issue in caught.value.issues] == [path]
    assert len(ran) == 1


# acceptance 40, 41
async def test_a_stream_computes_its_topic_from_the_parsed_value() -> None:
    topics: list[Any] = []

    def named(ctx: Context[Any], number: int) -> str:
        topics.append(number)
        return f"rows:{number}"

    @live.stream(named)
    @live.validated(pydantic.TypeAdapter(Annotated[int, pydantic.Field(gt=0)]))
    async def rows(ctx: Context[Any], number: int) -> list[Any]:
        return [{"id": number + 1}]

    @live.validated(positive)
    @live.stream("templates:{number}", access=lambda ctx, number: type(number) is int)
    async def template(ctx: Context[Any], number: int) -> list[Any]:
        return []

    @live.channel(merge="set", item=int)
    @live.validated(positive)
    def channel(ctx: Context[Any], number: int) -> str:
        return f"channel:{number}"

    server = serving(rows=rows, template=template, channel=channel)
    async with TestEnv(server) as env:
        client = env.connect()
        handle = await client.subscribe(remote("m/rows"), "7")
        assert (handle.value, topics) == ([{"id": 8}], [7])
        assert server.subscribers("rows:7") == 1
        assert await server.load(rows, 4) == [{"id": 5}]
        await client.subscribe(remote("m/template"), 7.0)
        assert server.subscribers("templates:7") == 1
        await client.subscribe(remote("m/channel"), 7)
        for path in ("rows", "template", "channel"):
            with pytest.raises(RpcError, match="VALIDATION") as caught:
                await client.subscribe(remote(f"m/{path}"), -1)
            assert [issue.path for issue in caught.value.issues] == [["number"]]
        with pytest.raises(LiveError, match="VALIDATION"):
            await server.load(rows, -1)
        assert topics == [7, 4]
        assert server.subscribers("rows:-1") == 0


def in_orders(fn: Any, lines: list[Any]) -> list[Any]:
    """The declarations with these lines in every order."""
    if not lines:
        return [fn]
    return [
        declared for line in lines for declared in in_orders(line(fn), [other for other in lines if other is not line])
    ]


async def test_it_stands_anywhere_among_the_other_lines() -> None:
    async def call(ctx: Context[Any], todo: Struct) -> str:
        return todo.title

    def mine(ctx: Context[Any], todo: Any) -> bool:
        assert type(todo) is Struct
        return todo.title != "other"

    lines = [live, live.validated(Struct), live.scoped(mine), live.rate_limit(points=9, per=1.0)]
    declared = in_orders(call, lines)
    assert len(declared) == 24
    async with TestEnv(serving(**{f"call_{n}": each for n, each in enumerate(declared)})) as env:
        client = env.connect(user={"id": "ann"})
        for n in range(len(declared)):
            path = remote(f"m/call_{n}")
            assert await client.call(path, {"title": "milk"}) == "milk"
            with pytest.raises(RpcError, match="VALIDATION"):
                await client.call(path, {"title": ""})
            with pytest.raises(RpcError, match="FORBIDDEN"):
                await client.call(path, {"title": "other"})


async def test_what_does_not_fit_takes_no_idempotency_key_and_no_lock() -> None:  # acceptance 108
    seen: list[tuple[str, Any]] = []

    async def call(ctx: Context[Any], todo: Struct) -> str:
        [row] = server._policies.locks.rows()
        assert row.key == f"todo:{todo.title}"
        seen.append(("ran", todo.title))
        return todo.title

    def lock(ctx: Context[Any], todo: Any) -> str:
        assert type(todo) is Struct, "keys are made of validated arguments"
        seen.append(("lock", todo.title))
        return f"todo:{todo.title}"

    declared = in_orders(call, [live, live.validated(Struct), live.lock(lock), live.idempotent()])
    assert len(declared) == 24
    server = serving(**{f"call_{n}": each for n, each in enumerate(declared)})
    async with TestEnv(server) as env:
        client = env.connect(user={"id": "ann"}).using(idempotency_key="once")
        for n in range(len(declared)):
            path = remote(f"m/call_{n}")
            for wrong in ({"title": ""}, {}, 5):
                with pytest.raises(RpcError, match="VALIDATION"):
                    await client.call(path, wrong)
            assert seen == []
            assert list(server._policies.locks.rows()) == []
            assert await client.call(path, {"title": "milk"}) == "milk"
            assert seen == [("lock", "milk"), ("ran", "milk")]
            assert await client.call(path, {"title": "milk"}) == "milk", "the result is kept"
            with pytest.raises(RpcError, match="VALIDATION"):
                await client.call(path, {"title": ""})
            assert await client.call(path, {"title": "milk"}) == "milk", "and stays"
            assert seen.count(("ran", "milk")) == 1
            assert list(server._policies.locks.rows()) == []
            seen.clear()
        assert env.counters.idempotent_replays == 2 * len(declared)
        assert env.counters.idempotent_conflicts == 0
