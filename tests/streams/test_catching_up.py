"""What a client that comes back is answered with (docs/protocol.md section 5, "Catching up")."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Delta, LiveServer, live, public, remote
from liverpc.backends.ports import Frame
from liverpc.clock import Clock, SeededClock
from liverpc.config import Limits
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw

Row = dict[str, Any]


class App:
    """Rows with a log, and whatever else the options say."""

    def __init__(self, **options: Any) -> None:
        self.rows: dict[Any, Row] = {"a": {"id": "a"}}
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.hooks: list[str] = []

        @live.stream(
            "rows",
            on_subscribe=lambda ctx, topic: self.hooks.append("on"),
            on_unsubscribe=lambda ctx, topic, remaining: self.hooks.append("off"),
            **{"replay": True, **options},
        )
        async def rows(ctx: Context[Any]) -> Any:
            self.loads += 1
            loaded = list(self.rows.values())
            await self.gate.wait()
            return loaded

        @live.stream("room:{room}", replay=True)
        async def room(ctx: Context[Any], room: str) -> Any:
            return []

        @live.stream(lambda ctx, name: f"any:{name}", replay=True)
        async def computed(ctx: Context[Any], name: str) -> Any:
            return []

        self.module = SimpleNamespace(rows=rows, room=room, computed=computed, _guard=public())

    def env(self, **options: Any) -> TestEnv:
        return TestEnv(LiveServer({"demo": self.module}, **{"clock": SeededClock(), **options}))


def put(env: TestEnv, name: Any, topic: str = "rows", event: str = "created") -> None:
    env.server.publish_nowait(topic, event, {"id": name})


def names(reply: Row) -> list[Any]:
    return [(each["seq"], each["event"], each["data"]["id"]) for each in reply["data"]]


async def test_a_reply_tells_the_position_and_events_continue_from_there() -> None:
    async with App().env() as env:
        put(env, "b")  # nobody is there, but the log is
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/rows")
        assert (reply["seq"], reply["data"]) == (1, [{"id": "a"}])
        assert reply["epoch"]
        assert "replay" not in reply
        put(env, "c")
        assert (await raw.recv())["seq"] == 2


async def test_196_who_comes_back_gets_the_missed_events_in_order() -> None:
    app = App()
    async with app.env() as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        put(env, "b")
        put(env, "a", event="deleted")
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/rows", seq=first["seq"], epoch=first["epoch"])
        # acceptance 196
        assert names(reply) == [(1, "created", "b"), (2, "deleted", "a")]
        assert (reply["replay"], reply["seq"], reply["epoch"]) == (True, 2, first["epoch"])
        assert app.loads == 1
        assert env.counters.resumes == 1
        again = await raw.subscribe("demo/rows", seq=reply["seq"], epoch=reply["epoch"])
        assert (again["data"], again["replay"], again["seq"]) == ([], True, 2)


async def test_196_beyond_the_log_there_is_the_whole_value() -> None:
    async with App().env(limits=Limits(replay_events=3)) as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        for n in range(3):
            put(env, n)
        raw = await Raw.open(env)
        assert len((await raw.subscribe("demo/rows", seq=0, epoch=first["epoch"]))["data"]) == 3
        put(env, 3)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=0, epoch=first["epoch"])
        # acceptance 196
        assert (reply["replay"], reply["data"], reply["seq"]) == (False, [{"id": "a"}], 4)
        assert env.counters.resume_misses == 1


@pytest.mark.parametrize(
    "known",
    [
        {"seq": 1, "epoch": "another"},
        {"seq": 3},  # never reached
        {"seq": 3, "epoch": None},
        {"seq": 1, "epoch": 7},
    ],
)
async def test_a_number_of_another_log_is_worth_nothing(known: Row) -> None:
    app = App()
    async with app.env() as env:
        put(env, "b")
        put(env, "c")
        reply = await (await Raw.open(env)).subscribe("demo/rows", **known)
        assert (reply["replay"], reply["data"]) == (False, [{"id": "a"}])


@pytest.mark.parametrize("seq", [-1, 0.5, True, "1", None, [1]])
async def test_what_is_no_number_never_gets_the_log(seq: Any) -> None:
    app = App()
    async with app.env() as env:
        put(env, "b")
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=seq)
        assert reply["data"] == [{"id": "a"}]
        assert "replay" not in reply


async def test_a_client_that_knows_no_epochs_is_believed_its_number() -> None:
    async with App().env() as env:
        put(env, "b")
        put(env, "c")
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=1)
        assert names(reply) == [(2, "created", "c")]


@pytest.mark.parametrize("before", [0, 2])
async def test_but_not_a_number_from_before_a_restart(before: int) -> None:
    app = App()
    async with app.env(clock=Clock()) as env:
        for n in range(before):
            put(env, n)
        first = await (await Raw.open(env)).subscribe("demo/rows")
    async with app.env(clock=Clock()) as env:
        for n in range(4):  # more than there were
            put(env, n)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=first["seq"])
        assert (reply["replay"], reply["data"]) == (False, [{"id": "a"}])
        assert reply["seq"] < 2**53  # or browsers could not count on


async def test_latest_is_replayed_only_to_clients_that_count() -> None:
    async with App(merge="latest").env() as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        put(env, "b")
        raw = await Raw.open(env)
        assert (await raw.subscribe("demo/rows", seq=0))["replay"] is False
        assert (await raw.subscribe("demo/rows", seq=0, epoch=first["epoch"]))["replay"] is True


async def test_more_than_a_reply_holds_is_not_replayed() -> None:
    app = App()
    async with app.env(limits=Limits(reply_bytes=4000)) as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        for n in range(30):
            put(env, f"{n}-" + "x" * 100)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=0, epoch=first["epoch"])
        assert (reply["replay"], reply["data"]) == (False, [{"id": "a"}])


@pytest.mark.parametrize(("path", "topic"), [("demo/room", "room:x"), ("demo/computed", "any:x")])
async def test_computed_topics_are_kept_while_nobody_listens(path: str, topic: str) -> None:
    async with App().env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe(path, "x")
        await raw.send(type="unsubscribe", topic=topic)
        await env.settle()
        assert env.server.subscribers(topic) == 0
        put(env, "b", topic)
        reply = await raw.subscribe(path, "x", seq=first["seq"], epoch=first["epoch"])
        assert names(reply) == [(1, "created", "b")]


async def test_a_computed_topic_that_was_forgotten_has_another_log_afterwards() -> None:
    async with App().env(limits=Limits(replay_topics=2)) as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/computed", "x")
        put(env, "seen", "any:x")
        assert (await raw.recv())["seq"] == 1
        await raw.send(type="unsubscribe", topic="any:x")
        for name in "yz":
            await raw.subscribe("demo/computed", name)
            await raw.send(type="unsubscribe", topic=f"any:{name}")
            await env.settle()
        put(env, "unseen", "any:x")
        reply = await raw.subscribe("demo/computed", "x", seq=1, epoch=first["epoch"])
        assert reply["replay"] is False


async def test_what_a_topic_with_subscribers_keeps_is_not_forgotten_for_others() -> None:
    async with App().env(limits=Limits(replay_topics=2)) as env:
        raw, other = await Raw.open(env), await Raw.open(env)
        first = await raw.subscribe("demo/computed", "x")
        put(env, "b", "any:x")
        for name in "uvw":
            await other.subscribe("demo/computed", name)
            await other.send(type="unsubscribe", topic=f"any:{name}")
        reply = await other.subscribe("demo/computed", "x", seq=0, epoch=first["epoch"])
        assert names(reply) == [(1, "created", "b")]


async def test_a_reload_is_not_replayed_but_loaded() -> None:
    async with App(invalidate_on=("todos",)).env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        put(env, "t", "todos")
        assert (await raw.recv())["event"] == "refreshed"
        other = await Raw.open(env)
        assert (await other.subscribe("demo/rows", seq=0, epoch=first["epoch"]))["replay"] is False
        assert (await other.subscribe("demo/rows", seq=1, epoch=first["epoch"]))["data"] == []


async def test_events_of_a_node_that_knows_nothing_of_the_log_end_it_also_without_subscribers() -> None:
    async with App().env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/computed", "x")
        await raw.send(type="unsubscribe", topic="any:x")
        await env.settle()
        env.server._hub.deliver([Frame("any:x", "created", b'{"id":"unseen"}')])
        reply = await raw.subscribe("demo/computed", "x", seq=0, epoch=first["epoch"])
        assert reply["replay"] is False


async def test_a_stream_keeps_nothing_of_its_request() -> None:
    async with App().env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows", version="x" * 10_000)
        [connection] = env.server.connections
        [stream] = connection.subscriptions["rows"].streams
        assert stream.ctx.asked is None


async def test_a_new_log_continues_the_numbers_so_those_who_listen_lose_nothing() -> None:
    async with App().env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        put(env, "b")
        await raw.recv()
        env.server._hub.log.forget("rows")
        put(env, "c")
        event = await raw.recv()
        assert (event["data"], event["seq"]) == ({"id": "c"}, 2)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=1, epoch=first["epoch"])
        assert (reply["replay"], reply["epoch"] != first["epoch"]) == (False, True)


async def test_a_log_that_counts_anew_is_announced_to_those_who_listen() -> None:
    async with App().env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        put(env, "b")
        await raw.recv()
        log: Any = env.server._hub.log._log
        log._topics.clear()  # as if its store had lost everything
        log._epoch = "another"
        put(env, "c")
        marker = await raw.recv()
        assert marker == {"topic": "rows", "event": "truncated", "data": {"reqId": "log", "truncated": True}}
        assert (await raw.recv())["seq"] == 1


class Broken:
    """A log that takes nothing as long as it is out of order."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        if self.broken and name in ("append_now", "read_now", "clear_now"):
            raise ConnectionError("the log is away")
        return getattr(self.log, name)


async def test_a_log_that_fails_costs_no_publish_and_deceives_nobody(caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    async with app.env() as env:
        log = Broken(env.server._hub.log._log)
        env.server._hub.log._log = log
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        log.broken = True
        put(env, "b")
        put(env, "b2")
        assert [await raw.recv() for _ in range(2)] == [
            {"topic": "rows", "event": "created", "data": {"id": name}} for name in ("b", "b2")
        ]
        assert env.counters.log_failures == 2
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
            "the log took no event of 'rows'; it is published without being kept"
        ]
        assert "seq" not in await (await Raw.open(env)).subscribe("demo/rows", seq=0, epoch=first["epoch"])
        log.broken = False
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=0, epoch=first["epoch"])
        assert (reply["replay"], reply["data"]) == (False, [{"id": "a"}])
        put(env, "c")
        assert (await raw.recv())["seq"] == reply["seq"] + 1


async def test_200_every_way_to_publish_is_kept() -> None:
    app = App()

    @live
    def act(ctx: Context[Any]) -> None:
        ctx.publish("rows", "created", {"id": "published"})
        ctx.batch([("rows", "created", {"id": "in a batch"}), ("rows", "deleted", {"id": "too"})])
        ctx.throttle("rows", "updated", {"id": "throttled"}, 1.0)
        ctx.throttle("rows", "updated", {"id": "throttled later"}, 1.0)
        ctx.debounce("rows", "updated", {"id": "debounced"}, 2.0)

    app.module.act = act
    async with app.env() as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        await env.connect().call(remote("demo/act"))
        await env.server.publish("rows", "created", {"id": "by the server"})
        await asyncio.sleep(5)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=0, epoch=first["epoch"])
        # acceptance 200
        assert [(event["seq"], event["data"]["id"]) for event in reply["data"]] == [
            (1, "published"),
            (2, "in a batch"),
            (3, "too"),
            (4, "throttled"),
            (5, "by the server"),
            (6, "throttled later"),
            (7, "debounced"),
        ]


# -- events that come while the answer is found


async def test_nothing_falls_between_the_position_and_the_value() -> None:
    app = App()
    async with app.env() as env:
        app.gate.clear()
        raw = await Raw.open(env)
        await raw.send(rpc="demo/rows", id="s", args=[], stream=True)
        await env.settle()
        put(env, "b")
        app.gate.set()
        reply = (await raw.recv())["data"]
        assert (reply["seq"], reply["data"]) == (0, [{"id": "a"}])
        assert (await raw.recv())["seq"] == 1


# -- resync


async def test_a_resync_adds_no_stream_and_runs_no_hook() -> None:
    app = App()
    async with app.env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        (connection,) = env.server.connections
        put(env, "b")
        await raw.recv()
        reply = await raw.subscribe("demo/rows", seq=0, epoch=first["epoch"], resync=True)
        assert names(reply) == [(1, "created", "b")]
        whole = await raw.subscribe("demo/rows", resync=True)
        assert whole["data"] == [{"id": "a"}]
        assert (connection.streams, app.hooks) == (1, ["on"])
        await raw.send(type="unsubscribe", topic="rows")
        await env.settle()
        assert (connection.streams, app.hooks) == (0, ["on", "off"])


async def test_events_follow_the_answer_to_a_resync() -> None:
    app = App()
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.gate.clear()
        await raw.send(rpc="demo/rows", id="again", args=[], stream=True, resync=True)
        await env.settle()
        put(env, "b")
        await raw.silent()
        app.gate.set()
        assert (await raw.recv())["event"] == "again"
        assert (await raw.recv())["data"] == {"id": "b"}


async def test_a_resync_without_a_stream_is_a_subscribe() -> None:
    app = App()
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows", resync=True)
        assert env.server.subscribers("rows") == 1
        assert app.hooks == ["on"]


async def test_a_resync_that_fails_leaves_the_stream_as_it_was() -> None:
    app = App()
    async with app.env(limits=Limits(held_bytes=100)) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        app.gate.clear()
        await raw.send(rpc="demo/rows", id="again", args=[], stream=True, resync=True)
        await env.settle()
        put(env, "x" * 200)
        assert (await raw.recv())["seq"] == 1  # what listens already loses nothing
        app.gate.set()
        reply = (await raw.recv())["data"]
        assert (reply["ok"], reply["code"]) == (False, "OVERLOADED")
        put(env, "b")
        assert (await raw.recv())["seq"] == 2
        assert app.hooks == ["on"]


# -- delta


class Versions:
    """What an application knows of its rows' versions."""

    def __init__(self) -> None:
        self.version: Any = 3
        self.diff: Any = [{"id": "b"}, {"id": "a", "_deleted": True}]
        self.missed: Any = None
        self.asked: list[Any] = []

    def delta(self) -> Delta:
        return Delta(version=self.tell_version, diff=self.tell_diff, from_seq=self.tell_missed)

    def tell_version(self, ctx: Context[Any]) -> Any:
        return self._given(self.version)

    async def tell_diff(self, ctx: Context[Any], since: Any) -> Any:
        self.asked.append(since)
        return self._given(self.diff)

    async def tell_missed(self, ctx: Context[Any], seq: int) -> Any:
        self.asked.append(seq)
        return self._given(self.missed)

    @staticmethod
    def _given(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value


async def test_194_the_same_version_changes_nothing_and_listens() -> None:
    versions = Versions()
    async with App(replay=False, delta=versions.delta()).env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        assert (first["version"], first["data"]) == (3, [{"id": "a"}])
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/rows", version=3)
        # acceptance 194
        assert (reply["unchanged"], reply["data"], reply["version"]) == (True, [], 3)
        put(env, "b")
        assert (await raw.recv())["data"] == {"id": "b"}


async def test_194_another_version_gets_the_changes() -> None:
    versions = Versions()
    app = App(delta=versions.delta(), transform=lambda row: {**row, "shown": True})
    async with app.env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=1)
        assert (reply["delta"], reply["version"], reply["seq"]) == (True, 3, 0)
        assert reply["data"] == [{"id": "b", "shown": True}, {"id": "a", "_deleted": True}]
        assert versions.asked == [1]
        assert app.loads == 0


@pytest.mark.parametrize("diff", [None, RuntimeError("broken"), "no rows", [{"id": 1}, 5]])
async def test_194_without_a_diff_there_is_the_whole_value(diff: Any) -> None:
    versions = Versions()
    versions.diff = diff

    def show(row: Any) -> Any:
        return {"id": row["id"]}

    async with App(delta=versions.delta(), transform=show).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=1)
        assert (reply["data"], reply["version"]) == ([{"id": "a"}], 3)
        assert "delta" not in reply


@pytest.mark.parametrize(("version", "known"), [(1, True), (1, "1"), (None, 1), (RuntimeError("broken"), 1)])
async def test_a_version_is_told_apart_by_its_type_and_may_be_unknown(version: Any, known: Any) -> None:
    versions = Versions()
    versions.version, versions.diff = version, None
    async with App(delta=versions.delta()).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=known)
        assert reply["data"] == [{"id": "a"}]
        assert "unchanged" not in reply


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ([], (True, [], 4)),
        ([(2, "created", {"id": "b"}), (3, "created", {"id": "c"})], (True, ["b", "c"], 3)),
        ([(None, "created", {"id": "b"})], (True, ["b"], 4)),
        (None, (False, ["a"], 4)),
        (RuntimeError("broken"), (False, ["a"], 4)),
        ([{"id": 1}], (False, ["a"], 4)),
        ([(5, "created", {"id": "b"})], (False, ["a"], 4)),  # numbers that the log has not reached are not the log's
    ],
)
async def test_198_the_application_bridges_what_the_log_does_not_hold(missed: Any, expected: Any) -> None:
    versions = Versions()
    versions.missed = missed
    delta = Delta(from_seq=versions.tell_missed)
    async with App(delta=delta).env(limits=Limits(replay_events=2)) as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        for n in range(4):
            put(env, n)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=1, epoch=first["epoch"])
        # acceptance 198
        shown = [row.get("data", row)["id"] for row in reply["data"]]
        assert (reply["replay"], shown, reply["seq"]) == expected
        assert versions.asked == [1]
        versions.asked.clear()
        await (await Raw.open(env)).subscribe("demo/rows", seq=2, epoch=first["epoch"])
        await (await Raw.open(env)).subscribe("demo/rows", seq=1, epoch="another")
        assert versions.asked == []


async def test_from_seq_works_without_a_log_too() -> None:
    versions = Versions()
    versions.missed = [(8, "created", {"id": "b"})]
    async with App(replay=False, delta=Delta(from_seq=versions.tell_missed)).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=7)
        assert names(reply) == [(8, "created", "b")]
        assert (reply["seq"], reply["replay"]) == (8, True)
