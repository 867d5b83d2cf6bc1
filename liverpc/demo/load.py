"""What the load tests drive: an echo, and topics of their own to publish on."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from liverpc import Context, LiveError, RoomContext, live, public
from liverpc.demo.world import Group, Log, LogRow, Row, Said, Visitor, World

_guard = public()

LOG_ROWS = 20  # of a log that its readers keep
MAX_LOGS = 100  # with one more the oldest is forgotten
MAX_COUNTS = 100  # likewise
MAX_GROUPS = 20  # likewise
MAX_ARRIVALS = 10_000  # likewise
MAX_ROOMS = 10_000  # of a group
MAX_SPEAKERS = 10_000  # of a room
MAX_ROWS = 10_000  # of a table

Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]

Seconds = Annotated[float, Meta(ge=0, le=10)]
Number = Annotated[int, Meta(ge=0)]
RowCount = Annotated[int, Meta(ge=0, le=MAX_ROWS)]


class TableSum(Struct, frozen=True):
    """By which rows are recognised."""

    rows: int  #: how many
    crc32: int  #: of their JSON without spaces


class LogState(Struct, frozen=True):
    """What a log is like now."""

    rows: list[LogRow]  #: the value of ``load/log``
    next: int  #: the number that its next row will have
    loads: int  #: how often that value was loaded


@live.channel(merge="latest", item=object, max=1)
def events(ctx: Context[Visitor], name: Name) -> str:
    """Everything published on ``load:<name>``."""
    return f"load:{name}"


@live
def echo(ctx: Context[Visitor], value: Any = None) -> Any:
    """What came in."""
    return value


@live
async def wait(ctx: Context[Visitor], seconds: Seconds) -> None:
    """Answer after so long."""
    await asyncio.sleep(seconds)


@live
def publish(ctx: Context[Visitor], name: Name, value: Any = None) -> None:
    """Send ``value`` to the subscribers of ``load:<name>``."""
    ctx.publish(f"load:{name}", "event", value)


@live
@live.idempotent(ttl=60.0)
async def once(ctx: Context[Visitor], name: Name, number: Number) -> int:
    """Count under ``name``; returns how many there were, which a repetition with the same idempotency key is not."""
    await asyncio.sleep(0)  # so that a repetition finds the first one running
    return _count(ctx.user.world, name)


@live
def table_sum(ctx: Context[Visitor], count: RowCount) -> TableSum:
    """What the value of ``load/rows`` must be."""
    first = _table(ctx.user.world)[:count]
    return TableSum(len(first), zlib.crc32(msgspec.json.encode(first)))


@live.stream("load-rows:{name}:{number}", merge="crud", key="id", invalidate_on=("load:rows-changed",))
async def rows(ctx: Context[Visitor], name: Name, number: Number, count: RowCount) -> list[Row]:
    """So many rows, on a topic of its own for each number; each time they are loaded counts under ``name``."""
    _count(ctx.user.world, name)
    return _table(ctx.user.world)[:count]


@live
def counted(ctx: Context[Visitor], name: Name) -> int:
    """What was counted under a name; 0 when it was forgotten for others."""
    return ctx.user.world.counts.get(name, 0)


@live
def tasks(ctx: Context[Visitor]) -> int:
    """How many tasks the server's event loop has."""
    return len(asyncio.all_tasks())


@live.stream("load-log:{name}", merge="latest", max=LOG_ROWS, replay=True)
async def log(ctx: Context[Visitor], name: Name) -> list[LogRow]:
    """The last rows of a log. Who was away gets the rows that it missed, as long as the server has them.

    It has ``Limits.replay_events`` of them, and as many as go into one reply (``reply_bytes``).
    """
    found = _log(ctx.user.world, name)
    found.loads += 1
    return list(found.rows)


@live
async def append(ctx: Context[Visitor], name: Name, value: Any = None) -> int:
    """Append a row to a log; returns its number, which is 0 for the first one since the server started."""
    found = _log(ctx.user.world, name)
    row = LogRow(found.next, value)
    found.next += 1
    found.rows.append(row)
    ctx.publish(log.topic(name), "appended", row)
    return row.n


@live
async def log_state(ctx: Context[Visitor], name: Name) -> LogState:
    """What a log is like, by the server's own count."""
    found = _log(ctx.user.world, name)
    return LogState(list(found.rows), found.next, found.loads)


class Arrival(Struct, frozen=True):
    """What others see of somebody in a room."""

    at: float  #: when he came, by his own clock


@live
def arrive(ctx: Context[Visitor], at: float) -> None:
    """Say when one comes to the room that one subscribes to next."""
    arrivals = ctx.user.world.arrivals
    if ctx.user.id not in arrivals and len(arrivals) == MAX_ARRIVALS:
        del arrivals[next(iter(arrivals))]
    arrivals[ctx.user.id] = at


@live.room("load-room:{name}", merge="crud", key="id", cursors=True)
async def room(ctx: Context[Visitor], name: Name) -> list[Said]:
    """What each said last in a room. Its name is that of a group of rooms, a hyphen, and its own in there."""
    return list(_room(ctx.user.world, name)[1].values())


@room.presence
def present(ctx: Context[Visitor], name: Name) -> Arrival:
    """Who is there, and since when."""
    return Arrival(ctx.user.world.arrivals.get(ctx.user.id, 0.0))


@room.action
def say(ctx: RoomContext[Visitor], name: Name, n: Number, due: float, ts: float, pad: str = "") -> int:
    """Say something; returns the ``k`` of it."""
    row = _say(ctx, name, n, due, ts, pad)
    ctx.room.publish("created", row)
    return row.k


@live.stream("load-kept:{name}", merge="crud", key="id", replay=True)
async def kept(ctx: Context[Visitor], name: Name) -> list[Said]:
    """The same as ``load/room``, with replay."""
    return list(_room(ctx.user.world, name)[1].values())


@live
def say_kept(ctx: Context[Visitor], name: Name, n: Number, due: float, ts: float, pad: str = "") -> int:
    """Say something there."""
    row = _say(ctx, name, n, due, ts, pad)
    ctx.publish(kept.topic(name), "created", row)
    return row.k


@live
def heard(ctx: Context[Visitor], name: Name) -> dict[str, int]:
    """How much each has said in a room of either kind, by the server's own count."""
    return {row.id: row.n + 1 for row in _room(ctx.user.world, name)[1].values()}


@live
def said(ctx: Context[Visitor], group: Name) -> int:
    """How much was said in a group of rooms."""
    return _group(ctx.user.world, group).said


def _say(ctx: Context[Visitor], name: str, n: int, due: float, ts: float, pad: str) -> Said:
    group, speakers = _room(ctx.user.world, name)
    if ctx.user.id not in speakers and len(speakers) == MAX_SPEAKERS:
        raise LiveError("FULL", f"{MAX_SPEAKERS} have spoken in this room")
    row = speakers[ctx.user.id] = Said(ctx.user.id, n, group.said, due, ts)
    group.said += 1
    return msgspec.structs.replace(row, pad=pad)


def _room(world: World, name: str) -> tuple[Group, dict[str, Said]]:
    group = _group(world, name.rpartition("-")[0])
    if name not in group.rooms and len(group.rooms) == MAX_ROOMS:
        raise LiveError("FULL", f"there are {MAX_ROOMS} rooms in this group")
    return group, group.rooms.setdefault(name, {})


def _group(world: World, name: str) -> Group:
    found = world.groups.get(name)
    if found is None:
        if len(world.groups) == MAX_GROUPS:
            del world.groups[next(iter(world.groups))]
        found = world.groups[name] = Group()
    return found


def _log(world: World, name: str) -> Log:
    found = world.logs.get(name)
    if found is None:
        if len(world.logs) == MAX_LOGS:
            del world.logs[next(iter(world.logs))]
        found = world.logs[name] = Log(deque(maxlen=LOG_ROWS))
    return found


def _table(world: World) -> list[Row]:
    if not world.table:
        world.table = [Row(n, f"row {n} of the demo's table") for n in range(MAX_ROWS)]
    return world.table


def _count(world: World, name: str) -> int:
    counts = world.counts
    if name not in counts and len(counts) == MAX_COUNTS:
        del counts[next(iter(counts))]
    counts[name] = counts.get(name, 0) + 1
    return counts[name]
