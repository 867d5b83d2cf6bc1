"""What the type checkers must infer and refuse, without a plug-in. Read by mypy and pyright, never run.

Each mistake is marked for both checkers; an unneeded mark is an error in both, so a mistake that stops being
caught fails the check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

import msgspec

from liverpc import (
    Connection,
    Context,
    Delta,
    LiveServer,
    Page,
    Pressure,
    Topic,
    access,
    define_topics,
    guard,
    live,
    pipe,
    remote,
)
from liverpc.client import Client, Created, Deleted, Derived, Reply, StreamHandle, Updated, create_optimistic, sync
from liverpc.testing import TestEnv, TestHandle


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


@live.stream("history", replay=True)
async def history(ctx: Context[User]) -> Page[Message]:
    return Page([Message(1, "hi")], has_more=True, cursor=ctx.cursor)


@live.stream("changes", delta=Delta(version=lambda ctx: 1, diff=lambda ctx, since: []))
def changes(ctx: Context[User]) -> Page[Message]:
    return Page(["text"])  # type: ignore[list-item]  # pyright: ignore[reportReturnType]


async def pages(client: Client, ctx: Context[User]) -> None:
    assert_type(await history(ctx), Page[Message])
    assert_type(changes(ctx), Page[Message])
    assert_type(client.stream(history), StreamHandle[list[Message]])
    assert_type(client.stream(changes), StreamHandle[list[Message]])
    assert_type(await client.stream(history).load_more(), bool)
    assert_type(client.stream(history).map(lambda message: message.text), Derived[list[str]])
    client.stream(total, 5).map(str)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    ctx.publish(history.topic(), "created", Message(1, "text"))
    ctx.publish(history.topic(), "deleted", {"id": 1})
    ctx.publish(history.topic(), "refreshed", [Message(1, "text")])
    ctx.publish(history.topic(), "created", "text")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def is_urgent(ctx: Context[User], message: Message) -> bool:
    return message.text.endswith("!")


async def is_even(ctx: Context[User], number: int) -> bool:
    return number % 2 == 0


newest = pipe(room, pipe.filter(lambda ctx, m: m.text != ""), pipe.filter(is_urgent), pipe.sort("id", "desc"))
with_sizes = pipe(room, pipe.limit(9), pipe.join("text", len, "size"), pipe.sort("size"), path="rooms/with_sizes")
with_names = pipe(history, pipe.join("id", lambda key: key, "a"), pipe.join("id", lambda ctx, key: key, "b"))


@live.gate(lambda ctx, room_id: ctx.user.admin)
@live.stream("gated:{room_id}")
@live.scoped(may_rename)
async def gated(ctx: Context[User], room_id: str) -> list[Message]:
    return []


async def pipes(client: Client) -> None:
    assert_type(client.stream(newest, "r1"), StreamHandle[list[Message]])
    assert_type(client.stream(pipe(history, pipe.limit(3))), StreamHandle[list[Message]])
    assert_type(client.stream(with_sizes, "r1"), StreamHandle[list[dict[str, Any]]])
    assert_type(client.stream(with_names), StreamHandle[list[dict[str, Any]]])
    assert_type(client.stream(gated, "r1"), StreamHandle[list[Message]])
    client.stream(newest, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipe(room, pipe.filter(lambda ctx, m: m.nope))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    pipe(room, pipe.filter(is_even))  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    pipe(room, pipe.sort("id", "down"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pipe(total, pipe.limit(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    pipe(notices, pipe.limit(3))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def loading(server: LiveServer, ann: User) -> None:
    assert_type(await server.load(messages), list[Message])
    assert_type(await server.load(total, 5), float)
    assert_type(await server.load(notices), list[Message])
    assert_type(await server.load(newest, room_id="r1"), list[Message])
    assert_type(await server.load(with_sizes, "r1"), list[dict[str, Any]])
    assert_type(await server.load(history), list[Message])
    assert_type(await server.load_page(history), Page[Message])
    assert_type(await server.using(user=ann).load(room, "r1"), list[Message])
    assert_type(await server.using(user=None, fallback=None).load(room, "r1"), list[Message] | None)
    assert_type(await server.using(fallback=0.5).using(user=ann).load(history), list[Message] | float)
    assert_type(await server.using(fallback=3).load_page(history), Page[Message] | int)
    await server.load(room, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await server.load(room)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await server.load(send, "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await server.load_page(total, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await server.using(users=ann).load(messages)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def topics_in_one_place(ctx: Context[User]) -> None:
    topics = define_topics({"lobby": "lobby", "room": "room:{room_id}", "org": lambda org_id: f"org:{org_id}"})
    ctx.publish(topics.room("r1"), "created", {"any": 1})
    assert_type(list(topics), list[str])
    define_topics({"lobby": 3})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    define_topics([("lobby", "lobby")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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


async def optimistic(client: Client, rows: StreamHandle[list[Message]], number: StreamHandle[float]) -> None:
    new = Message(1, "x")
    assert_type(await rows.mutate(client.call(send, "x"), optimistic=Created(new)), Message)
    assert_type(await rows.mutate(client.call(send, "x"), optimistic=Updated(new)), Message)
    assert_type(await rows.mutate(client.call(send, "x"), optimistic=Deleted(1)), Message)
    assert_type(await rows.mutate(client.call(send, "x"), optimistic=lambda rows: [*rows, new]), Message)
    assert_type(await rows.mutate(client.call(send, "x"), optimistic=lambda rows: rows.append(new)), Message)
    assert_type(await number.mutate(client.call(send, "x"), optimistic=lambda value: value + 1), Message)
    await rows.mutate(  # pyright: ignore[reportCallIssue]
        client.call(send, "x"),
        optimistic=Created(5),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    )
    rows.optimistic(Deleted(1))()
    rows.optimistic(lambda rows: rows[1:])()
    number.optimistic(Created(new))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number.optimistic(lambda value: "x")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]

    curried = create_optimistic(client, send, rows, lambda text, urgent=False: Created(Message(0, text)))
    assert_type(await curried("hi"), Message)
    of_stream = rows.create_optimistic(client, send, lambda text, urgent=False: Created(Message(0, text)))
    assert_type(await of_stream("hi", urgent=True), Message)
    cutting = rows.create_optimistic(client, send, lambda text, urgent=False: lambda rows: rows[1:])
    assert_type(await cutting("hi"), Message)
    await curried(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(rows.undo(), bool)


def optimistic_blocking(client: sync.Client, rows: sync.StreamHandle[list[Message]]) -> None:
    assert_type(rows.mutate(lambda: client.call(send, "x"), optimistic=Created(Message(1, "x"))), Message)
    assert_type(rows.mutate(lambda: client.call(send, "x"), optimistic=lambda rows: rows[1:]), Message)
    sending = rows.create_optimistic(client, send, lambda text, urgent=False: Created(Message(0, text)))
    assert_type(sending("hi"), Message)
    rows.optimistic(Created(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def kit(env: TestEnv) -> None:
    client = env.connect(user=User("ann"))
    assert_type(await client.call(send, "hi"), Message)
    assert_type(await client.subscribe(messages), TestHandle[list[Message]])
    assert_type(await client.subscribe_at(room, "r1", schema_version=2), TestHandle[list[Message]])
    await client.call(send, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
