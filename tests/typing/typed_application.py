"""What the type checkers must infer and refuse, without a plug-in. Read by mypy and pyright, never run.

Each mistake is marked for both checkers; an unneeded mark is an error in both, so a mistake that stops being
caught fails the check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

import msgspec

from liverpc import Connection, Context, LiveServer, Pressure, Topic, access, guard, live, remote
from liverpc.client import Client, Reply, StreamHandle, sync
from liverpc.testing import TestEnv


class User(msgspec.Struct):
    id: str
    admin: bool = False


class Message(msgspec.Struct):
    id: int
    text: str


_guard = guard(lambda ctx: ctx.user is not None, authenticated=True)


@live
async def send(ctx: Context[User], text: str, urgent: bool = False) -> Message:
    assert_type(ctx.user, User)
    ctx.publish(messages.topic(), "created", Message(1, text))
    ctx.publish("anything", "goes", {"any": text})
    ctx.publish(messages.topic(), "created", "text")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return Message(1, text)


@live
def count(ctx: Context[User], *numbers: int) -> int:
    return sum(numbers)


@live(thread=True)
def blocking(ctx: Context[User], path: str) -> bytes:
    return path.encode()


@live
async def untyped_user(ctx: Context[Any]) -> None: ...


@live.stream("messages", merge="crud", key="id", prepend=True, max=50)
async def messages(ctx: Context[User]) -> list[Message]:
    return []


@live.stream("room:{room_id}", access=lambda ctx, room_id: ctx.user.admin)
def room(ctx: Context[User], room_id: str) -> list[Message]:
    return []


@live.stream(lambda ctx, day: f"day:{day}", merge="set")
async def total(ctx: Context[User], day: int) -> float:
    return 1.0


notices = live.channel("notices", merge="latest", item=Message)
headline = live.channel("headline", merge="set", item=str)


@live.channel(merge="presence", item=User)
def typing(ctx: Context[User], room_id: str) -> str:
    return f"typing:{room_id}"


async def may_rename(ctx: Context[User], user_id: str) -> bool:
    return ctx.user.id == user_id


@live
@live.scoped(may_rename)
async def rename(ctx: Context[User], user_id: str) -> User:
    return User(user_id)


@live.scoped(access.any(access.user(field="id"), access.role({"admin": True, "editor": may_rename})))
@live
def remove(ctx: Context[User], user_id: str) -> int:
    return 1


@live.stream("org:{org_id}", access=access.all(access.org(), access.owner()))
async def org(ctx: Context[User], org_id: str) -> list[Message]:
    return []


async def publishing(ctx: Context[User]) -> None:
    ctx.throttle(messages.topic(), "created", Message(1, "hi"), 0.05)
    ctx.debounce(room.topic("r1"), "created", Message(1, "hi"), 1)
    ctx.throttle("anything", "goes", {"any": 1}, 0.05)
    ctx.batch([(messages.topic(), "created", Message(1, "hi")), ("anything", "goes", 3)])
    assert_type(ctx.skip("key", 60.0), bool)
    assert_type(ctx.pressure, Pressure)
    ctx.throttle(messages.topic(), "created", "text", 0.05)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    ctx.debounce(messages.topic(), "created", Message(1, "hi"))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    ctx.batch([("topic", "event")])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def around_calls(server: LiveServer) -> None:
    @server.middleware
    async def timed(ctx: Context[Any], next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002
        return await next()

    @server.middleware  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def not_async(ctx: Context[Any], next: Callable[[], Awaitable[Any]]) -> int:  # noqa: A002
        return 1

    @server.middleware  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async def without_next(ctx: Context[Any]) -> Any: ...


async def asking(connection: Connection) -> None:
    assert_type(await connection.ask("confirm", {"any": 1}, timeout=1.0), Any)


async def handlers_stay_callable(ctx: Context[User]) -> None:
    assert_type(await send(ctx, "hi"), Message)
    assert_type(await send(ctx, text="hi", urgent=True), Message)
    assert_type(count(ctx, 1, 2), int)
    assert_type(messages.topic(), Topic[Message])
    assert_type(room.topic("r1"), Topic[Message])
    assert_type(await rename(ctx, "u1"), User)
    assert_type(remove(ctx, "u1"), int)
    assert_type(org.topic("o1"), Topic[Message])
    await send(ctx, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrong_user(ctx: Context[int]) -> None:
    await send(ctx, "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def calls(client: Client) -> None:
    assert_type(await client.call(send, "hi"), Message)
    assert_type(await client.call(send, "hi", urgent=True), Message)
    assert_type(await client.call(count, 1, 2, 3), int)
    assert_type(await client.call(blocking, "x"), bytes)
    assert_type(await client.call(untyped_user), None)
    assert_type(await client.using(timeout=5.0).call(send, "hi"), Message)
    assert_type(await client.call(remote("a/b", returns=Message), 1), Message)
    assert_type(await client.call(remote("a/b"), 1), Any)
    assert_type(await client.call(rename, "u1"), User)
    assert_type(await client.call(remove, user_id="u1"), int)
    await client.call(rename, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.call(send, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.call(send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.call(send, "hi", True, 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.call(send, "hi", urgnt=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.call(messages)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await client.call("chat/send", "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


@live
async def numbers(ctx: Context[User]) -> list[int]:
    return []


def show(*values: object) -> None:  # as print() is typed
    ...


async def results_may_be_taken_as_something_wider(client: Client, blocking: sync.Client, env: TestEnv) -> None:
    show(await client.call(count, 1), await client.call(numbers), await client.call(send, "hi"))
    show(f"{await client.call(count, 1)}", blocking.call(count, 1), await env.connect().call(numbers))
    anything: object = await client.call(count, 1)
    number: float = await client.call(count, 1)
    blocked: float = blocking.call(count, 1)
    maybe: int | None = await client.call(remote("a/b", returns=int))
    async with client.batch() as batch:
        reply = batch.call(count, 1)
    wider: float = await reply
    show(anything, number, blocked, maybe, wider)
    text: str = await client.call(count, 1)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    show(await client.call(send, 3), text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def batches(client: Client) -> None:
    async with client.batch(sequential=True) as batch:
        first = batch.call(send, "hi", urgent=True)
        batch.call(send, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        batch.call(messages)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert_type(first, Reply[Message])
    assert_type(await first, Message)
    assert_type(first.result(), Message)
    assert_type(client.fire(send, "hi"), bool)
    client.fire(send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(client.using(fresh=True, idempotency_key="k"), Client)
    assert_type(await client.using(fresh=True, idempotency_key="k").call(send, "hi"), Message)
    client.using(retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def answer(data: Any) -> str:
    return str(data)


def news(client: Client, blocking: sync.Client) -> None:
    assert_type(client.on_push("confirm", answer), Callable[[], None])
    assert_type(client.on_push("confirm", lambda data: data), Callable[[], None])
    assert_type(blocking.on_push("confirm", lambda data: data), Callable[[], None])
    client.on_push("confirm", lambda: None)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]
    client.on_connect(answer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.on_status(lambda status: status == "connected")
    client.on_health(lambda health: health == "degraded")


def blocking_client(client: sync.Client) -> None:
    assert_type(client.call(send, "hi", urgent=True), Message)
    assert_type(client.using(timeout=5.0).call(remote("a/b", returns=Message)), Message)
    assert_type(client.fire(send, "hi"), bool)
    client.fire(send, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.using(fresh=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.call(send, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.call(messages)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    with client.batch() as batch:
        first = batch.call(send, "hi")
        batch.call(send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(first.result(), Message)
    with client.stream(room, "r1") as handle:
        assert_type(handle, sync.StreamHandle[list[Message]])
        assert_type(handle.value, list[Message])
        assert_type(handle.get(), list[Message] | None)
        assert_type(handle.wait_for(len), list[Message])
        for value in handle.values(timeout=1.0):
            assert_type(value, list[Message])
    client.stream(room, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def streams(client: Client) -> None:
    assert_type(client.stream(messages), StreamHandle[list[Message]])
    assert_type(client.stream(room, "r1"), StreamHandle[list[Message]])
    assert_type(client.stream(total, 5), StreamHandle[float])
    assert_type(client.stream(notices), StreamHandle[list[Message]])
    assert_type(client.stream(headline), StreamHandle[str])
    assert_type(client.stream(typing, "r1"), StreamHandle[list[User]])
    client.stream(room)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.stream(room, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.stream(send, "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    async with client.stream(messages) as handle:
        assert_type(handle.value, list[Message])
        assert_type(handle.get(), list[Message] | None)
        assert_type(handle.get(0), list[Message] | int)
        async for value in handle:
            assert_type(value, list[Message])
    async with client.stream(total, 5) as wider:
        anything: object = wider.value
        show(anything, wider.value)


async def kit(env: TestEnv) -> None:
    client = env.connect(user=User("ann"))
    assert_type(await client.call(send, "hi"), Message)
    assert_type(await client.subscribe(messages), StreamHandle[list[Message]])
    await client.call(send, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
