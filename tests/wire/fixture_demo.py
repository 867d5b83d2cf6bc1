"""Module ``demo`` of the fixture application (fixture-contract.md): one function per path.

A function ``add_todo`` answers on ``demo/addTodo``, because the server is made with ``naming="camel"``.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from liverpc import Context, Delta, LiveError, Page, RoomContext, UploadContext, live, public
from tests.wire.fixture_world import REPLAYED, Caller, Row, State

_guard = public()

RoomId = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
Size = Annotated[int, Meta(ge=0, le=16 << 20)]
Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]


def state(ctx: Context[Caller]) -> State:
    return ctx.user.world.state


# -- calls


@live
def reset(ctx: Context[Caller]) -> bool:
    """Restore the initial state."""
    ctx.user.world.state = State()
    return True


@live
def echo(ctx: Context[Caller], x: Any = None) -> Any:
    return x


@live
def add(ctx: Context[Caller], a: int | float, b: int | float) -> int | float:
    return a + b


@live
def nothing(ctx: Context[Caller]) -> None:
    """Return nothing, which travels as ``null``."""


@live
def big(ctx: Context[Caller], n: Size) -> str:
    return "x" * n


@live
@live.idempotent(ttl=60.0)
def once(ctx: Context[Caller], x: Any) -> Row:
    state(ctx).once += 1
    return {"n": state(ctx).once, "x": x}


@live
@live.rate_limit(points=3, per=10.0)
def limited(ctx: Context[Caller]) -> str:
    return "ok"


@live
def fail(ctx: Context[Caller]) -> None:
    """Refuse on purpose: the caller sees this code and text."""
    raise LiveError("CONFLICT", "nope")


@live
def crash(ctx: Context[Caller]) -> None:
    """Fail by accident: the caller must not see this text."""
    raise ValueError("the password is hunter2")


@live
async def slow(ctx: Context[Caller], ms: Milliseconds) -> int:
    await asyncio.sleep(ms / 1000)
    return ms


@live
def whoami(ctx: Context[Caller]) -> Row | None:
    """Who calls, or None for anonymous callers."""
    user = ctx.user
    return None if user.id is None else {"id": user.id, "name": user.name, "role": user.role}


class Form(msgspec.Struct):
    """What ``validated`` takes; the annotation is the schema."""

    text: Annotated[str, Meta(min_length=1, max_length=200)]


@live
def validated(ctx: Context[Caller], form: Form) -> Form:
    return form


@live
def tick(ctx: Context[Caller], n: int) -> None:
    """Count up; clients call it without waiting for an answer."""
    state(ctx).ticks += n


@live
def tick_count(ctx: Context[Caller]) -> int:
    return state(ctx).ticks


@live
def health(ctx: Context[Caller], event: str) -> bool:
    """Send a frame to every connection, whatever it is subscribed to."""
    frame = msgspec.json.encode({"topic": "__realtime", "event": event, "data": None})
    for connection in ctx.user.world.server.connections:
        connection.send(frame)
    return True


@live
def kick(ctx: Context[Caller], code: int, reason: str) -> bool:
    """Close the caller's own connection, shortly after the answer."""
    asyncio.get_running_loop().call_later(0.02, ctx.connection.close, code, reason)
    return True


@live
def bad_publish(ctx: Context[Caller]) -> None:
    """Publish where applications may not: ``INVALID_TOPIC``."""
    ctx.publish("__signal:alice", "ping", None)


@live
def subscriber_count(ctx: Context[Caller], topic: str) -> int:
    return ctx.user.world.server.subscribers(topic)


# -- bytes


@live.binary(max_size=65_536)
async def upload(ctx: Context[Caller], data: bytes, name: str | None = None) -> Row:
    return {"bytes": len(data), "name": name, "first": data[0] if data else None}


@live.upload(max_size=2 << 20)
async def upload_file(ctx: UploadContext[Caller], name: str | None = None) -> Row:
    """Read to the end; ``last_upload`` tells what became of it."""
    told: Row = {"state": "running", "bytes": 0, "name": name}
    state(ctx).uploads[name] = told
    size, digest = 0, hashlib.sha256()
    try:
        async for chunk in ctx.upload:
            size += len(chunk)
            digest.update(chunk)
    except LiveError as error:
        told |= {"state": "aborted", "bytes": size, "code": error.code}
        raise
    told |= {"state": "done", "bytes": size}
    return {"bytes": size, "sha256": digest.hexdigest(), "name": name}


@live
async def last_upload(ctx: Context[Caller], name: str | None = None) -> Row | None:
    """A coroutine, so that it begins after the uploads that came before it."""
    return state(ctx).uploads.get(name)


# -- todos: rows that are created, updated and deleted


@live.stream("demo:todos", merge="crud", key="id")
def todos(ctx: Context[Caller]) -> list[Row]:
    return list(state(ctx).todos)


@live.stream("demo:todos", merge="crud", key="id", prepend=True)
def todos_newest_first(ctx: Context[Caller]) -> list[Row]:
    """The same rows on the same topic, for clients that put new rows first."""
    return state(ctx).todos[::-1]


@live
def add_todo(ctx: Context[Caller], todo: Row) -> Row:
    row: Row = {"done": False, **todo}
    state(ctx).todos.append(row)
    ctx.publish(todos.topic(), "created", row)
    return row


@live(path="demo/addTodos")
def add_todos(ctx: Context[Caller], rows: list[Row]) -> int:
    """Several events from one call."""
    added: list[Row] = [{"done": False, **row} for row in rows]
    state(ctx).todos.extend(added)
    ctx.batch((todos.topic(), "created", row) for row in added)
    return len(added)


@live
async def add_todo_slow(ctx: Context[Caller], todo: Row, ms: Milliseconds, fail: bool = False) -> Row:
    await asyncio.sleep(ms / 1000)
    if fail:
        raise LiveError("REJECTED", "todo refused")
    return add_todo(ctx, todo)


@live
def update_todo(ctx: Context[Caller], change: Row) -> Row:
    """Merge fields into a row. The event carries the whole row, for clients replace what they have."""
    for row in state(ctx).todos:
        if row["id"] == change.get("id"):
            row.update(change)
            ctx.publish(todos.topic(), "updated", row)
            return row
    raise LiveError("NOT_FOUND", f"there is no todo {change.get('id')!r}")


@live
def delete_todo(ctx: Context[Caller], todo_id: str) -> str:
    rows = state(ctx).todos
    rows[:] = [row for row in rows if row["id"] != todo_id]
    ctx.publish(todos.topic(), "deleted", {"id": todo_id})
    return todo_id


@live
def refresh_todos(ctx: Context[Caller], rows: list[Row]) -> bool:
    """Replace all rows, here and at every subscriber."""
    state(ctx).todos[:] = rows
    # By name: the topic itself is typed for events that carry one row.
    ctx.publish(str(todos.topic()), "refreshed", rows)
    return True


@live
def strange_todo_event(ctx: Context[Caller]) -> bool:
    """An event that crud clients do not know, and ignore."""
    ctx.publish(todos.topic(), "sparkled", {"id": "t1", "text": "changed?"})
    return True


# -- the other ways to merge


@live.stream("demo:feed", merge="latest", max=5)
def feed(ctx: Context[Caller]) -> list[Row]:
    return state(ctx).feed[-5:]


@live
def push_feed(ctx: Context[Caller], item: Row) -> int:
    state(ctx).feed.append(item)
    ctx.publish(feed.topic(), "item", item)
    return len(state(ctx).feed)


@live.stream("demo:counter", merge="set")
def counter(ctx: Context[Caller]) -> int:
    return state(ctx).counter


@live
def bump(ctx: Context[Caller], by: int = 1) -> int:
    state(ctx).counter += by
    ctx.publish(counter.topic(), "set", state(ctx).counter)
    return state(ctx).counter


@live.stream("demo:people", merge="presence")
def people(ctx: Context[Caller]) -> list[Row]:
    return [{"key": "u0", "data": {"name": "Zero"}}]


@live
def people_event(ctx: Context[Caller], event: str, data: Any) -> bool:
    ctx.publish(people.topic(), event, data)
    return True


@live.stream("demo:pointers", merge="cursor")
def pointers(ctx: Context[Caller]) -> list[Row]:
    return []


@live
def pointers_event(ctx: Context[Caller], event: str, data: Any) -> bool:
    ctx.publish(pointers.topic(), event, data)
    return True


@live.stream("demo:prices", merge="crud", key="id", coalesce_by=lambda row: row["id"])
def prices(ctx: Context[Caller]) -> list[Row]:
    """Of each id, slow clients get the last price only."""
    return []


@live
def price(ctx: Context[Caller], row: Row) -> bool:
    ctx.publish(prices.topic(), "created", row)
    return True


# -- streams whose clients may want what they missed


@live.stream(REPLAYED, replay=True)
def replayed(ctx: Context[Caller]) -> list[Row]:
    return list(state(ctx).replayed)


@live
def push_replayed(ctx: Context[Caller], row: Row) -> int:
    state(ctx).replayed.append(row)
    ctx.publish(replayed.topic(), "created", row)
    return len(state(ctx).replayed)


@live.stream("demo:replayed-feed", merge="latest", max=10, replay=True)
def replayed_feed(ctx: Context[Caller]) -> list[Row]:
    return state(ctx).replayed_feed[-10:]


@live
def push_replayed_feed(ctx: Context[Caller], row: Row) -> int:
    state(ctx).replayed_feed.append(row)
    ctx.publish(replayed_feed.topic(), "item", row)
    return len(state(ctx).replayed_feed)


@live.stream("demo:posts")
def posts(ctx: Context[Caller]) -> Page[Row]:
    """Eight posts, three a page; the cursor is the last id of a page."""
    start = ctx.cursor or 0
    rows = [{"id": n, "title": f"post {n}"} for n in range(start + 1, min(start + 3, 8) + 1)]
    more = start + 3 < 8
    return Page(rows, has_more=more, cursor=rows[-1]["id"] if more else None)


def with_names(row: Row) -> Row:
    first, _, last = row["name"].partition(" ")
    return {"id": row["id"], "first": first, "last": last}


def with_initials(row: Row) -> Row:
    return {**row, "initials": row.get("first", "")[:1] + row.get("last", "")[:1]}


@live.stream("demo:versioned", version=3, migrate={1: with_names, 2: with_initials})
def versioned(ctx: Context[Caller]) -> list[Row]:
    return [{"id": 1, "name": "Ada Lovelace"}]


def delta_diff(ctx: Context[Caller], since: int) -> list[Row] | None:
    version, changes = state(ctx).delta_version, state(ctx).delta_changes
    if not version - 3 <= since <= version:  # too old, or of another life of this server
        return None
    return list({row["id"]: row for _, row in changes[since - version :]}.values()) if since < version else []


@live.stream("demo:delta", delta=Delta(version=lambda ctx: state(ctx).delta_version, diff=delta_diff))
def delta_rows(ctx: Context[Caller]) -> list[Row]:
    return list(state(ctx).delta_rows.values())


@live
def delta_set(ctx: Context[Caller], row: Row) -> int:
    """Change a row and tell nobody: who comes back asks for the difference."""
    state(ctx).delta_rows[row["id"]] = row
    return delta_changed(ctx, row)


@live
def delta_remove(ctx: Context[Caller], row_id: str) -> int:
    state(ctx).delta_rows.pop(row_id, None)
    return delta_changed(ctx, {"id": row_id, "_deleted": True})


def delta_changed(ctx: Context[Caller], row: Row) -> int:
    state(ctx).delta_version += 1
    state(ctx).delta_changes.append((state(ctx).delta_version, row))
    return state(ctx).delta_version


@live.stream("demo:gated", gate=lambda ctx: ctx.user.role == "admin")
def gated(ctx: Context[Caller]) -> list[Row]:
    return [{"id": 1}]


# -- topics that depend on arguments, and channels: streams without a loader


@live.stream("demo:room:{room_id}", merge="crud", key="id")
def room_messages(ctx: Context[Caller], room_id: RoomId) -> list[Row]:
    return list(state(ctx).rooms.get(room_id, ()))


@live
def send_message(ctx: Context[Caller], room_id: RoomId, message: Row) -> Row:
    state(ctx).rooms.setdefault(room_id, []).append(message)
    ctx.publish(room_messages.topic(room_id), "created", message)
    return message


@live.channel(merge="presence", item=Row)
def typing(ctx: Context[Caller], room_id: RoomId) -> str:
    return f"typing:{room_id}"


@live
def set_typing(ctx: Context[Caller], room_id: RoomId, on: bool) -> bool:
    key = ctx.user.id or ctx.connection.id
    if on:
        ctx.publish(typing.topic(room_id), "join", {"key": key, "data": {"name": ctx.user.name}})
    else:
        ctx.publish(typing.topic(room_id), "leave", {"key": key})
    return True


announcement = live.channel("demo:announcement", merge="set", item=Row)


@live
def announce(ctx: Context[Caller], text: str) -> bool:
    ctx.publish(announcement.topic(), "set", {"text": text})
    return True


# -- streams that are refused, fail, or take their time


@live.stream("demo:secret", access=lambda ctx: ctx.user.role == "admin")
def secret_stream(ctx: Context[Caller]) -> list[Row]:
    return [{"id": 1}]


@live.stream("locked:stream")
def denied_by_hook(ctx: Context[Caller]) -> list[Row]:
    """A stream on a topic that ``on_topic`` refuses."""
    return [{"id": 1}]


@live.stream("demo:broken")
def broken_loader(ctx: Context[Caller]) -> list[Row]:
    raise LiveError("LOAD_FAILED", "the rows are somewhere else today")


@live.stream("demo:crashed")
def crashed_loader(ctx: Context[Caller]) -> list[Row]:
    raise RuntimeError("a secret of the database")


@live.stream(lambda ctx: "__sneaky")
def reserved_topic(ctx: Context[Caller]) -> list[Row]:
    return []


@live.stream("demo:slow-list")
async def slow_list(ctx: Context[Caller]) -> list[Row]:
    """Reads first and answers later, so that events fall in between."""
    rows = list(state(ctx).slow_list)
    await asyncio.sleep(0.15)
    return rows


@live
def push_slow_list(ctx: Context[Caller], row: Row) -> bool:
    state(ctx).slow_list.append(row)
    ctx.publish(slow_list.topic(), "created", row)
    return True


# -- a room


@live.room("board:{board_id}", cursors=True)
def board(ctx: Context[Caller], board_id: str) -> list[Row]:
    return state(ctx).boards.get(board_id, [])


@board.presence
def who_is_there(ctx: Context[Caller], board_id: str) -> Row:
    return {"name": ctx.user.name}


@board.action
def add_note(ctx: RoomContext[Caller], board_id: str, note: Row) -> Row:
    state(ctx).boards.setdefault(board_id, []).append(note)
    ctx.room.publish("created", note)
    return note


@board.action
def move_cursor(ctx: RoomContext[Caller], board_id: str, position: Row) -> bool:
    ctx.room.move_cursor(position)
    return True
