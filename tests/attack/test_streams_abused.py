"""Hostile and broken clients, an unlucky network, and careless applications against streams that catch up."""

import asyncio
import logging
import tracemalloc
from typing import Any

import pytest

from liverpc import Context, Delta, Limits, Page, guard, live
from liverpc.testing import TestEnv
from tests.attack.streams_kit import Row, leave, quiet_and_clean, serve
from tests.streams.raw_client import Raw

MEMBERS = ("seq", "epoch", "version", "schemaVersion", "cursor", "resync", "stream")
DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, -0.0, 1, -1, 0.5, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324,
    "", "1", "x" * 900_000, "\x00", "é" * 300, "😀", [], {}, [1], {"": {}}, {"id": 1, "_deleted": True},
    list(range(50_000)), DEEP,
]  # fmt: skip


def every_kind_of_stream() -> dict[str, Any]:
    def version(ctx: Context[Any], *args: Any) -> int:
        return 2

    def diff(ctx: Context[Any], since: Any, *args: Any) -> Any:
        return [{"id": 1}] if since == 1 else None

    def from_seq(ctx: Context[Any], seq: int, *args: Any) -> Any:
        return [] if seq < 2**53 else [][seq]  # a database would refuse it, too

    delta = Delta(version=version, diff=diff, from_seq=from_seq)

    @live.stream("rows", replay=True, delta=delta, version=3, migrate={1: dict, 2: dict})
    async def rows(ctx: Context[Any]) -> Page[Row]:
        return Page([{"id": 1}], has_more=True, cursor=1 if ctx.cursor is None else ctx.cursor)

    @live.stream("plain", delta=Delta(from_seq=from_seq))
    async def plain(ctx: Context[Any]) -> list[Row]:
        return [{"id": 1}]

    @live.stream("shut", gate=lambda ctx: False)
    async def shut(ctx: Context[Any]) -> list[Row]:
        raise AssertionError("the gate is shut")

    @live
    def echo(ctx: Context[Any]) -> int:
        return 1

    return {"rows": rows, "plain": plain, "shut": shut, "echo": echo, "chat": live.channel("chat", item=int)}


@pytest.mark.parametrize("member", MEMBERS)
async def test_any_value_of_any_member_is_answered_once_and_harms_nobody(
    member: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestEnv(serve(**every_kind_of_stream())) as env:
        for value in VALUES:
            raw = await Raw.open(env)
            frames = [
                {"rpc": f"m/{path}", "id": path, "args": [], "stream": True, "seq": 0, "version": 1, member: value}
                for path in ("rows", "plain", "shut", "chat", "echo", "none")
            ]
            for frame in frames:
                await raw.send(**frame)
                reply = await raw.recv()
                assert (reply["topic"], reply["event"]) == ("__rpc", frame["id"])
                assert reply["data"].get("code") in (None, "NOT_FOUND", "INVALID_REQUEST", "PAYLOAD_TOO_LARGE"), reply
            for order in ({}, {"sequential": True}):
                await raw.send(
                    batch=[frame | {member: None if len(str(value)) > 9000 else value} for frame in frames], **order
                )
                answers = (await raw.recv())["data"]["batch"]
                assert [each["id"] for each in answers] == [frame["id"] for frame in frames]
            await raw.send(**{key: given for key, given in frames[0].items() if key != "id"})
            await raw.silent()
            await raw.send(rpc="m/echo", id="alive", args=[])
            assert (await raw.recv())["event"] == "alive"
            await leave(env, raw)
            quiet_and_clean(env)
    assert not caplog.records  # nor does it fill the server's log


async def test_a_member_that_is_no_json_costs_only_its_own_frame() -> None:
    async with TestEnv(serve(**every_kind_of_stream())) as env:
        raw = await Raw.open(env)
        for bad in (
            "NaN",
            "-Infinity",
            "1e999",
            "1" * 5000,
            '"\\ud800"',
            '"\\udc00"',
            "01",
            "[" * 1000,
            "'1'",
            "undefined",
        ):
            for member in MEMBERS:
                await raw.socket.send('{"rpc":"m/rows","id":"1","stream":true,"' + member + '":' + bad + "}")
        await raw.socket.send('{"rpc":"m/rows","id":"1","stream":true,"seq":9,"seq":0,"cursor":7,"cursor":null}')
        reply = (await raw.recv())["data"]
        assert (reply["ok"], reply["topic"]) == (True, "rows")
        await leave(env, raw)
        quiet_and_clean(env)


# -- what may not be seen


SECRETIVE: dict[str, dict[str, Any]] = {
    "guard": {"_guard": guard(lambda ctx: False)},
    "access": {"access": lambda ctx: False},
    "gate": {"gate": lambda ctx: False},
    "on_topic": {"on_topic": lambda ctx, topic: False},
}


@pytest.mark.parametrize("check", SECRETIVE)
@pytest.mark.parametrize("asked", [{}, {"cursor": 1}, {"cursor": False}, {"resync": True}, {"seq": 0}, {"version": 1}])
async def test_no_kind_of_request_comes_past_a_check(check: str, asked: Row) -> None:
    ran: list[Any] = []

    def note(ctx: Context[Any], *args: Any) -> Any:
        ran.append(args)

    options = dict(SECRETIVE[check])
    around = {name: options.pop(name) for name in ("_guard", "on_topic") if name in options}

    @live.stream("secret", replay=True, delta=Delta(version=note, diff=note, from_seq=note), **options)
    async def rows(ctx: Context[Any]) -> Any:
        ran.append("loader")
        return ["secret"]

    async with TestEnv(serve(rows=rows, **around)) as env:
        env.server.publish_nowait("secret", "created", {"id": "secret"})
        epoch = env.server._hub.log._log.read_now("secret", None).head.epoch
        raw = await Raw.open(env)
        for known in ({}, {"epoch": epoch}):
            reply = await raw.subscribe("m/rows", **asked, **known)
            if check == "gate":
                assert reply == {"id": "s", "ok": True, "data": None, "gated": True}
            else:
                assert (reply["ok"], reply["code"]) == (
                    False,
                    "UNAUTHENTICATED" if check != "on_topic" else "FORBIDDEN",
                )
        env.server.publish_nowait("secret", "created", {"id": "secret"})
        await raw.silent()
        assert not ran
        assert not env.server._hub.topics


async def test_the_epoch_of_one_log_opens_no_other() -> None:
    @live.stream(lambda ctx, name: f"of:{name}", replay=True, access=lambda ctx, name: name == "mine")
    async def rows(ctx: Context[Any], name: str) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows)) as env:
        raw = await Raw.open(env)
        mine = await raw.subscribe("m/rows", "mine")
        env.server.publish_nowait("of:theirs", "created", {"id": "secret"})
        for extra in ({}, {"resync": True}, {"cursor": "of:theirs"}):
            reply = await raw.subscribe("m/rows", "theirs", seq=0, epoch=mine["epoch"], **extra)
            assert reply["code"] == "UNAUTHENTICATED"
        await raw.silent()


async def test_of_a_deleted_row_clients_see_nothing_but_that_it_is_gone() -> None:
    row = {"key": 7, "_deleted": "2024-05-01", "password": "secret"}
    delta = Delta(version=lambda ctx: 2, diff=lambda ctx, since: [row])

    @live.stream("rows", key="key", delta=delta, transform=lambda row: {"key": row["key"]})
    async def rows(ctx: Context[Any]) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows)) as env:
        reply = await (await Raw.open(env)).subscribe("m/rows", version=1)
        assert (reply["delta"], reply["data"]) == (True, [{"key": 7, "_deleted": True}])


async def test_a_foreign_or_forged_session_is_believed_nothing_and_costs_nothing() -> None:
    async with TestEnv(serve(**every_kind_of_stream())) as env:
        raw = await Raw.open(env)
        for session in ("", "x" * 7000, "0" * 12, "é" * 99, raw.session[:-1], raw.session + "0"):
            await raw.send(type="resume", sessionId=session, lastSeenSeqs={"rows": 10**400})
            assert (await raw.recv())["type"] == "resumed"
        await leave(env, raw)
        quiet_and_clean(env)


# -- floods


async def test_resyncs_and_pages_are_calls_and_no_more_of_them_run_at_once() -> None:
    running, most, loads = 0, 0, 0

    @live.stream("rows", replay=True)
    async def rows(ctx: Context[Any]) -> Page[Row]:
        nonlocal running, most, loads
        running, loads = running + 1, loads + 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return Page([], has_more=True, cursor=1)

    async with TestEnv(serve(rows=rows, limits=Limits(calls_in_flight=4, held_bytes=2000))) as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("m/rows")
        (connection,) = env.server.connections
        (subscription,) = connection.subscriptions.values()
        for n in range(60):
            await raw.send(
                rpc="m/rows", id=str(n), args=[], stream=True, **({"resync": True} if n % 2 else {"cursor": 1})
            )
            env.server.publish_nowait("rows", "created", {"id": "x" * 100})
            assert subscription.held <= 20
        replies = 0
        events: list[int] = []
        while replies < 60 or len(events) < 60:
            frame = await raw.recv()
            if frame["topic"] == "__rpc":
                replies += 1
                assert frame["data"]["ok"] or frame["data"]["code"] == "OVERLOADED"
            else:
                events.append(frame["seq"])
        assert (most, loads) == (4, 61)
        assert events == list(range(first["seq"] + 1, first["seq"] + 61))
        assert (connection.streams, subscription.loading, subscription._holds, subscription.held) == (1, 0, 0, 0)
        await leave(env, raw)
        quiet_and_clean(env)


async def test_a_stream_does_not_keep_the_message_that_asked_for_it() -> None:
    @live.stream("room:{name}", replay=True)
    async def room(ctx: Context[Any], name: int) -> list[Row]:
        return []

    async with TestEnv(serve(room=room)) as env:
        raw = await Raw.open(env)
        await raw.subscribe("m/room", 0)
        tracemalloc.start()
        try:
            for n in range(1, 20):
                await raw.subscribe("m/room", n, version="x" * 500_000, pad="y" * 400_000)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2_000_000


async def test_a_stream_does_not_keep_the_answers_of_its_batch() -> None:
    @live.stream("room:{name}")
    async def room(ctx: Context[Any], name: int) -> list[Row]:
        return []

    @live
    def large(ctx: Context[Any]) -> str:
        return "x" * 500_000

    async with TestEnv(serve(room=room, large=large)) as env:
        raw = await Raw.open(env)
        await raw.subscribe("m/room", 0)
        tracemalloc.start()
        try:
            for n in range(1, 20):
                stream = {"rpc": "m/room", "id": "s", "args": [n], "stream": True}
                await raw.send(batch=[stream, {"rpc": "m/large", "id": "l", "args": []}])
                await raw.recv()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2_000_000


# -- the client leaves, or the application fails, at every step


STEPS = ("gate", "access", "on_topic", "version", "diff", "from_seq", "loader")


class Trap:
    """An application that stops at one step, and then does what a test wants."""

    def __init__(self, step: str) -> None:
        self.step: str | None = None
        self.wanted = step
        self.then: Any = None
        self.reached = 0
        self.swallows = False
        self.hooks: list[str] = []

        @live.stream(
            "rows",
            gate=lambda ctx: self.at("gate", True),
            access=lambda ctx: self.at("access", True),
            replay=True,
            delta=Delta(
                version=lambda ctx: self.at("version", 2),
                diff=lambda ctx, since: self.at("diff", None),
                from_seq=lambda ctx, seq: self.at("from_seq", None),
            ),
            transform=self.transform,
            on_subscribe=lambda ctx, topic: self.hooks.append("on"),
            on_unsubscribe=lambda ctx, topic, left: self.hooks.append("off"),
        )
        async def rows(ctx: Context[Any]) -> Any:
            return await self.at("loader", Page([{"id": 1}], has_more=True, cursor=1))

        self.server = serve(
            rows=rows, on_topic=lambda ctx, topic: self.at("on_topic", True), limits=Limits(replay_events=1)
        )

    def arm(self) -> None:
        self.step = self.wanted

    def transform(self, row: Any) -> Any:
        if self.step == "transform" and self.then is not None:
            raise self.then
        return row

    async def at(self, step: str, result: Any) -> Any:
        if step == self.step:
            self.reached += 1
            if self.then is not None:
                raise self.then
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                if not self.swallows:
                    raise
        return result


KINDS: dict[str, Row] = {
    "subscribe": {"seq": 0, "version": 1},
    "resync": {"seq": 0, "version": 1, "resync": True},
    "page": {"cursor": 1},
}


@pytest.mark.parametrize("swallows", [False, True], ids=["cancelled", "swallows"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_leaves_at_any_step_leaves_nothing(step: str, kind: str, swallows: bool) -> None:
    trap = Trap(step)
    trap.swallows = swallows
    async with TestEnv(trap.server) as env:
        stays, goes = await Raw.open(env), await Raw.open(env)
        await stays.subscribe("m/rows")
        for n in range(3):
            env.server.publish_nowait("rows", "created", {"id": n})
        if kind == "resync":
            await goes.subscribe("m/rows")
        (topic,) = env.server._hub.topics.values()
        trap.arm()
        await goes.send(rpc="m/rows", id="x", args=[], stream=True, **KINDS[kind])
        await asyncio.sleep(1)
        assert trap.reached == (0 if kind == "page" and step in ("version", "diff", "from_seq") else 1)
        await leave(env, goes)
        assert (len(topic.subscriptions), len(topic.receivers), len(topic.holding)) == (1, 1, 0)
        env.server.publish_nowait("rows", "created", {"id": 9})
        await leave(env, stays)
        quiet_and_clean(env)
        assert trap.hooks.count("on") == trap.hooks.count("off")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
async def test_an_unsubscribe_at_any_step_leaves_nothing_held(step: str, kind: str) -> None:
    trap = Trap(step)
    async with TestEnv(trap.server) as env:
        stays, goes = await Raw.open(env), await Raw.open(env)
        await stays.subscribe("m/rows")
        for n in range(3):
            env.server.publish_nowait("rows", "created", {"id": n})
        if kind == "resync":
            await goes.subscribe("m/rows")
        trap.arm()
        await goes.send(rpc="m/rows", id="x", args=[], stream=True, **KINDS[kind])
        await asyncio.sleep(1)
        await goes.send(type="unsubscribe", topic="rows")
        await goes.send(rpc="m/rows", id="again", args=[], stream=True, resync=True)
        await asyncio.sleep(20)
        (topic,) = env.server._hub.topics.values()
        assert not topic.holding
        assert all((each.loading, each._holds) == (0, 0) for each in topic.subscriptions.values())
        await leave(env, goes, stays)
        quiet_and_clean(env)
        assert trap.hooks.count("on") == trap.hooks.count("off")


class Panic(BaseException):
    """As extensions raise it."""


@pytest.mark.parametrize("error", [Panic("x"), asyncio.CancelledError(), RuntimeError("x"), RecursionError()], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [*STEPS, "transform"])
async def test_whatever_the_application_raises_the_client_is_answered(
    step: str, kind: str, error: BaseException
) -> None:
    logging.getLogger("liverpc").setLevel(logging.CRITICAL)
    trap = Trap(step)
    trap.then = error
    try:
        async with TestEnv(trap.server) as env:
            raw = await Raw.open(env)
            if kind == "resync":
                await raw.subscribe("m/rows")
            for n in range(3):
                env.server.publish_nowait("rows", "created", {"id": n})
                if kind == "resync":
                    await raw.recv()
            trap.arm()
            await raw.send(rpc="m/rows", id="x", args=[], stream=True, **KINDS[kind])
            reply = await raw.recv()
            assert reply["event"] == "x"
            assert reply["data"].get("code") in (None, "INTERNAL_ERROR", "UNAUTHENTICATED", "FORBIDDEN")
            trap.step = None
            assert (await raw.subscribe("m/rows", resync=True))["ok"]
            (topic,) = env.server._hub.topics.values()
            assert not topic.holding
            await leave(env, raw)
            quiet_and_clean(env)
            assert trap.hooks.count("on") == trap.hooks.count("off")
    finally:
        logging.getLogger("liverpc").setLevel(logging.NOTSET)


@pytest.mark.parametrize("asked", [{}, {"cursor": 1}, {"resync": True}], ids=["subscribe", "page", "resync"])
@pytest.mark.parametrize("sequential", [False, True])
async def test_a_client_that_leaves_before_its_batch_is_answered_leaves_nothing(asked: Row, sequential: bool) -> None:
    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Row]:
        return []

    @live
    async def slow(ctx: Context[Any]) -> None:
        await asyncio.sleep(100)

    async with TestEnv(serve(rows=rows, slow=slow)) as env:
        stays, goes = await Raw.open(env), await Raw.open(env)
        await stays.subscribe("m/rows")
        await goes.subscribe("m/rows")
        calls = [{"rpc": "m/rows", "id": "1", "args": [], "stream": True, **asked}, {"rpc": "m/slow", "id": "2"}]
        await goes.send(batch=calls, sequential=sequential)
        await asyncio.sleep(1)
        (topic,) = env.server._hub.topics.values()
        assert len(topic.holding) == 1
        await leave(env, goes)
        assert (len(topic.subscriptions), len(topic.holding)) == (1, 0)


async def test_a_cancellation_of_the_applications_own_is_its_failure_and_is_told() -> None:
    told: list[Any] = []

    @live.stream("rows", on_error=lambda error, ctx, topic: told.append((type(error), topic)))
    async def rows(ctx: Context[Any]) -> list[Row]:
        other = asyncio.ensure_future(asyncio.sleep(9))
        other.cancel()
        await other
        return []

    async with TestEnv(serve(rows=rows)) as env:
        assert (await (await Raw.open(env)).subscribe("m/rows"))["code"] == "INTERNAL_ERROR"
        assert told == [(asyncio.CancelledError, "rows")]
