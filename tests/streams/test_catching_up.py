"""What a client that comes back is answered with (docs/protocol.md section 5, "Catching up")."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, public, remote
from liverpc.backends.ports import Frame
from liverpc.clock import Clock, SeededClock
from liverpc.config import Limits
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw
from tests.streams.replay_kit import App, Row, names, put


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
        ctx.throttle("rows", "updated", {"id": "throttled", "key": 1}, 1.0)
        ctx.throttle("rows", "updated", {"id": "throttled later", "key": 1}, 1.0)
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


class Feed:
    """A feed whose loader waits before it looks, and what is published meanwhile."""

    def __init__(self, **options: Any) -> None:
        self.rows: list[Row] = []
        self.loads = 0
        self.meanwhile: list[int] = []  # how many events come during each load

        @live.stream("feed", replay=True, **options)
        async def feed(ctx: Context[Any]) -> Any:
            self.loads += 1
            for _ in range(self.meanwhile.pop(0) if self.meanwhile else 0):
                self.rows.append({"id": len(self.rows)})
                ctx.services.hub.publish("feed", "created", self.rows[-1])
            await asyncio.sleep(0.1)
            return list(self.rows)

        self.module = SimpleNamespace(feed=feed, _guard=public())

    def env(self) -> TestEnv:
        return TestEnv(LiveServer({"demo": self.module}, clock=SeededClock()))


@pytest.mark.parametrize("options", [{"merge": "latest"}, {"max": 10}])
@pytest.mark.parametrize(("meanwhile", "loads"), [([], 1), ([2], 2), ([1, 1], 3), ([1, 1, 0], 3)])
async def test_a_value_that_was_overtaken_is_loaded_again_where_an_event_would_show_twice(
    options: Any, meanwhile: list[int], loads: int
) -> None:
    app = Feed(**options)
    app.meanwhile = list(meanwhile)
    async with app.env() as env:
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/feed")
        assert (reply["data"], reply["seq"]) == (app.rows, len(app.rows))
        assert app.loads == loads
        await raw.silent()  # no event that the value has already
        env.server.publish_nowait("feed", "created", {"id": "next"})
        assert (await raw.recv())["seq"] == len(app.rows) + 1


async def test_who_leaves_while_the_value_is_loaded_again_leaves_nothing() -> None:
    app = Feed(merge="latest")
    app.meanwhile = [1, 1]
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.send(rpc="demo/feed", id="s", args=[], stream=True)
        await asyncio.sleep(0.15)
        assert app.loads == 2
        await raw.socket.close()
        await asyncio.sleep(1)
        assert not env.server._hub.topics
        reply = await (await Raw.open(env)).subscribe("demo/feed")
        assert (reply["data"], reply["seq"]) == (app.rows, len(app.rows))


async def test_a_topic_that_never_pauses_is_answered_all_the_same() -> None:
    app = Feed(merge="latest")
    app.meanwhile = [1, 1, 1, 1]
    async with app.env() as env:
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/feed")
        assert (app.loads, reply["seq"]) == (3, 2)
        assert (await raw.recv())["seq"] == 3  # once more, rather than never


@pytest.mark.parametrize("options", [{}, {"merge": "set"}])
async def test_where_events_may_be_merged_twice_the_loader_runs_once(options: Any) -> None:
    app = Feed(**options)
    app.meanwhile = [1]
    async with app.env() as env:
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/feed")
        assert (app.loads, reply["seq"]) == (1, 0)
        assert (await raw.recv())["seq"] == 1


async def test_what_others_of_the_connection_wait_for_is_not_forgotten() -> None:
    app = Feed(merge="latest")
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/feed")
        app.meanwhile = [1]
        await raw.send(rpc="demo/feed", id="second", args=[], stream=True)
        assert (await raw.recv())["event"] == "second"
        assert (await raw.recv())["seq"] == 1  # the first stream has not seen it yet
        assert app.loads == 2


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
