"""What the options of streams do on the server: gate, pages, transform, schema versions; and what they may be."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from liverpc import Context, DeclarationError, Delta, LiveError, LiveServer, Page, live, public
from liverpc.backends.memory import World, memory_cluster
from liverpc.clock import SeededClock
from liverpc.testing import TestEnv
from tests.streams.raw_client import Raw

Row = dict[str, Any]


def env_of(**streams: Any) -> TestEnv:
    return TestEnv(LiveServer({"demo": SimpleNamespace(**streams, _guard=public())}, clock=SeededClock()))


# -- gate


async def test_51_a_shut_gate_is_no_error_and_subscribes_to_nothing() -> None:
    asked: list[Any] = []
    loads: list[Any] = []

    async def is_open(ctx: Context[Any], name: str) -> bool:
        asked.append((ctx.path, name))
        return name == "open"

    @live.stream("rows:{name}", gate=is_open)
    async def rows(ctx: Context[Any], name: str) -> list[Row]:
        loads.append(name)
        return [{"id": 1}]

    async with env_of(rows=rows) as env:
        raw = await Raw.open(env)
        # acceptance 51
        assert await raw.subscribe("demo/rows", "shut") == {"id": "s", "ok": True, "data": None, "gated": True}
        await raw.send(batch=[{"rpc": "demo/rows", "id": "b", "args": ["shut"], "stream": True}])
        assert (await raw.recv())["data"] == {"batch": [{"id": "b", "ok": True, "data": None, "gated": True}]}
        assert env.server.connections[0].streams == 0
        assert loads == []
        assert (await raw.subscribe("demo/rows", "open"))["data"] == [{"id": 1}]
        assert asked == [("demo/rows", "shut"), ("demo/rows", "shut"), ("demo/rows", "open")]


# -- pages


class Posts:
    """Nine posts, three a page."""

    def __init__(self, **options: Any) -> None:
        self.hooks: list[str] = []
        self.cursors: list[Any] = []
        self.allowed = True

        @live.stream(
            "posts",
            access=lambda ctx, *rest: self.allowed,
            on_subscribe=lambda ctx, topic: self.hooks.append("on"),
            on_unsubscribe=lambda ctx, topic, remaining: self.hooks.append("off"),
            **options,
        )
        async def posts(ctx: Context[Any], much: int = 3) -> Page[Row]:
            self.cursors.append(ctx.cursor)
            start = 0 if ctx.cursor is None else ctx.cursor
            if not isinstance(start, int):
                raise LiveError("BAD_CURSOR")
            rows = [{"id": n} for n in range(start, min(start + much, 9))]
            return Page(rows, has_more=start + much < 9, cursor=start + much)

        self.posts = posts

    def env(self) -> TestEnv:
        return env_of(posts=self.posts)


async def test_53_a_page_tells_whether_there_is_more_and_where() -> None:
    async with Posts().env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/posts")
        # acceptance 53
        assert reply["data"] == [{"id": 0}, {"id": 1}, {"id": 2}]
        assert (reply["hasMore"], reply["cursor"]) == (True, 3)


async def test_a_page_request_neither_subscribes_nor_fires_hooks() -> None:
    app = Posts()
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/posts")
        (connection,) = env.server.connections
        reply = await raw.subscribe("demo/posts", cursor=6)
        assert ([row["id"] for row in reply["data"]], reply["hasMore"]) == ([6, 7, 8], False)
        reply = await raw.subscribe("demo/posts", 2, cursor=3)
        assert [row["id"] for row in reply["data"]] == [3, 4]
        assert (connection.streams, app.hooks, app.cursors) == (1, ["on"], [None, 6, 3])
        stranger = await Raw.open(env)
        assert [row["id"] for row in (await stranger.subscribe("demo/posts", cursor=0))["data"]] == [0, 1, 2]
        assert env.server.subscribers("posts") == 1


async def test_a_page_request_is_checked_and_may_fail() -> None:
    app = Posts()
    async with app.env() as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/posts")
        assert (await raw.subscribe("demo/posts", cursor="x"))["code"] == "BAD_CURSOR"
        assert (await raw.subscribe("demo/posts", "x", cursor=3))["code"] == "VALIDATION"
        app.allowed = False
        assert (await raw.subscribe("demo/posts", cursor=3))["code"] == "UNAUTHENTICATED"
        assert (env.server.subscribers("posts"), app.hooks) == (1, ["on"])
        env.server.publish_nowait("posts", "created", {"id": 9})
        assert (await raw.recv())["data"] == {"id": 9}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"data": [1], "has_more": True}, ValueError),
        ({"data": "abc"}, TypeError),
        ({"data": {"id": 1}}, TypeError),
        ({"data": [], "has_more": "yes", "cursor": 1}, TypeError),
    ],
)
def test_a_page_that_cannot_be_is_refused_where_it_is_made(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Page"):
        Page(**arguments)
    assert Page([], has_more=True, cursor=0).cursor == 0  # the only cursor that is none is None


async def test_a_page_of_what_has_no_rows_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    @live.stream("value", merge="set")
    def value(ctx: Context[Any]) -> Any:
        return Page([1])

    async with env_of(value=value) as env:
        assert (await (await Raw.open(env)).subscribe("demo/value"))["code"] == "INTERNAL_ERROR"
    assert "gave a Page that is no list of rows" in caplog.text
    with pytest.raises(DeclarationError, match="returns a Page, but merge='set'"):

        @live.stream("value", merge="set")
        def declared(ctx: Context[Any]) -> Page[Row]:
            return Page([])

        LiveServer({"demo": SimpleNamespace(declared=declared, _guard=public())})


# -- transform


def shown(row: Any) -> Any:
    return {"id": row["id"], "name": row["name"].upper()}


async def test_91_transform_makes_what_clients_see_of_rows_and_events() -> None:
    @live.stream("rows", transform=shown, replay=True)
    def rows(ctx: Context[Any]) -> list[Row]:
        return [{"id": 1, "name": "ann", "secret": "x"}]

    @live.stream("value", merge="set", transform=lambda value: [value])
    def value(ctx: Context[Any]) -> Any:
        return [1, 2]

    @live.stream("nothing", merge="set", transform=lambda value: 1 / 0)
    def nothing(ctx: Context[Any]) -> Any:
        return None

    async with env_of(rows=rows, value=value, nothing=nothing) as env:
        env.server.publish_nowait("rows", "created", {"id": 2, "name": "bob", "secret": "x"})
        raw = await Raw.open(env)
        # acceptance 91
        assert (await raw.subscribe("demo/rows"))["data"] == [{"id": 1, "name": "ANN"}]
        again = await (await Raw.open(env)).subscribe("demo/rows", seq=0)
        assert again["data"][0]["data"] == {"id": 2, "name": "BOB"}
        env.server.publish_nowait("rows", "updated", {"id": 1, "name": "eve", "secret": "x"})
        assert (await raw.recv())["data"] == {"id": 1, "name": "EVE"}
        env.server.publish_nowait("rows", "refreshed", [{"id": 1, "name": "eve", "secret": "x"}])
        assert (await raw.recv())["data"] == [{"id": 1, "name": "EVE"}]
        env.server.publish_nowait("rows", "deleted", {"id": 1, "secret": "x"})
        assert (await raw.recv())["data"] == {"id": 1}
        assert (await raw.subscribe("demo/value"))["data"] == [[1, 2]]
        env.server.publish_nowait("value", "set", 5)
        assert (await raw.recv())["data"] == [5]
        assert (await raw.subscribe("demo/nothing"))["data"] is None


async def test_92_a_transform_that_fails_tells_the_publisher_or_on_error() -> None:
    told: list[Any] = []

    @live.stream("plain", transform=shown)
    def plain(ctx: Context[Any]) -> list[Row]:
        return []

    @live.stream("watched", transform=shown, on_error=lambda error, ctx, topic: told.append((error, ctx, topic)))
    def watched(ctx: Context[Any]) -> list[Row]:
        return []

    async with env_of(plain=plain, watched=watched) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/plain")
        await raw.subscribe("demo/watched")
        # acceptance 92
        with pytest.raises(KeyError):
            env.server.publish_nowait("plain", "created", {"id": 1})
        env.server.publish_nowait("watched", "created", {"id": 1})
        await raw.silent()
        ((error, ctx, topic),) = told
        assert (type(error), ctx, topic) == (KeyError, None, "watched")


async def test_94_coalescing_sees_what_was_published() -> None:
    seen: list[Any] = []

    def key(row: Any) -> Any:
        seen.append(row)
        return row["id"]

    @live.stream("rows", transform=shown, coalesce_by=key)
    def rows(ctx: Context[Any]) -> list[Row]:
        return []

    async with env_of(rows=rows) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/rows")
        env.server.publish_nowait("rows", "updated", {"id": 1, "name": "ann", "secret": "x"})
        # acceptance 94
        assert (await raw.recv())["data"] == {"id": 1, "name": "ANN"}
        assert seen == [{"id": 1, "name": "ann", "secret": "x"}]


async def test_events_of_other_nodes_are_transformed_once() -> None:
    world = World(clock=SeededClock())

    def server() -> LiveServer:
        @live.stream("rows", transform=lambda n: n + 1, merge="latest")
        def rows(ctx: Context[Any]) -> list[int]:
            return []

        @live.stream(lambda ctx: "computed", transform=lambda n: n + 1, merge="latest")
        def computed(ctx: Context[Any]) -> list[int]:
            return []

        return LiveServer(
            {"demo": SimpleNamespace(rows=rows, computed=computed, _guard=public())},
            cluster=memory_cluster(world=world),
        )

    async with TestEnv(server()) as here, TestEnv(server()) as there:
        raw = await Raw.open(here)
        await raw.subscribe("demo/rows")
        await raw.subscribe("demo/computed")
        there.server.publish_nowait("rows", "n", 1)
        assert (await raw.recv())["data"] == 2
        # Nobody has asked for this stream there, so that node does not know of it.
        there.server.publish_nowait("computed", "n", 1)
        assert (await raw.recv())["data"] == 2


async def test_logged_events_reach_other_nodes_with_their_number() -> None:
    world = World(clock=SeededClock())

    def server() -> LiveServer:
        @live.stream("rows", replay=True)
        def rows(ctx: Context[Any]) -> list[Row]:
            return []

        return LiveServer({"demo": SimpleNamespace(rows=rows, _guard=public())}, cluster=memory_cluster(world=world))

    async with TestEnv(server()) as here, TestEnv(server()) as there:
        raw, other = await Raw.open(here), await Raw.open(there)
        first = await raw.subscribe("demo/rows")
        await other.subscribe("demo/rows")
        here.server.publish_nowait("rows", "created", {"id": 1})
        there.server.publish_nowait("rows", "created", {"id": 2})
        for each in (raw, other):
            assert [(await each.recv())["seq"] for _ in range(2)] == [1, 2]
            await each.silent()
        moved = await Raw.open(there)
        reply = await moved.subscribe("demo/rows", seq=1, epoch=first["epoch"])
        assert [event["data"] for event in reply["data"]] == [{"id": 2}]


# -- schema versions


@pytest.mark.parametrize(
    ("client", "name"),
    [({}, "x"), ({"schemaVersion": 1}, "x12"), ({"schemaVersion": 2}, "x2"), ({"schemaVersion": 3}, "x")]
    + [({"schemaVersion": version}, "x") for version in (4, 0, "1", True, None, 1.0)],
)
async def test_193_rows_are_brought_to_what_the_client_understands(client: Row, name: str) -> None:
    steps = {n: (lambda row, n=n: {**row, "name": row["name"] + str(n)}) for n in (1, 2)}

    @live.stream("rows", version=3, migrate=steps, transform=lambda row: {**row, "name": row["name"].lower()})
    def rows(ctx: Context[Any]) -> list[Row]:
        return [{"id": 1, "name": "X"}]

    async with env_of(rows=rows) as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", **client)
        # acceptance 193
        assert (reply["data"], reply["schemaVersion"]) == ([{"id": 1, "name": name}], 3)


async def test_193_a_missing_step_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @live.stream("rows", version=3, migrate={2: lambda row: {**row, "step": 2}})
    def rows(ctx: Context[Any]) -> Page[Row]:
        return Page([{"id": 1}])

    async with env_of(rows=rows) as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", schemaVersion=1, cursor=1)
        # acceptance 193
        assert reply["data"] == [{"id": 1, "step": 2}]
    assert "no migrate function for rows of version 1" in caplog.text


async def test_a_client_of_an_older_schema_gets_the_whole_value() -> None:
    @live.stream("rows", version=2, migrate={1: lambda row: {**row, "old": True}}, replay=True)
    def rows(ctx: Context[Any]) -> list[Row]:
        return [{"id": 1}]

    async with env_of(rows=rows) as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        known = {"seq": first["seq"], "epoch": first["epoch"]}
        reply = await (await Raw.open(env)).subscribe("demo/rows", schemaVersion=1, **known)
        assert (reply["data"], reply["replay"]) == ([{"id": 1, "old": True}], False)
        reply = await (await Raw.open(env)).subscribe("demo/rows", schemaVersion=2, **known)
        assert (reply["data"], reply["replay"]) == ([], True)


# -- registration


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gate": True}, "gate=True must be a function"),
        ({"transform": "upper"}, "transform='upper' must be a function"),
        ({"replay": 100}, "replay=100 must be True or False"),
        ({"prepend": 1}, "prepend=1 must be True or False"),
        ({"replay": True, "volatile": True}, "volatile=True none; take one"),
        ({"replay": True, "coalesce_by": id}, "coalesce_by= none; take one"),
        ({"max": 1.5}, "max=1.5 must be a number of rows"),
        ({"max": True}, "max=True must be a number of rows"),
        ({"stale_after": 0}, "stale_after=0 must be a number of seconds above 0"),
        ({"stale_after": -1}, "stale_after=-1 must be"),
        ({"stale_after": float("inf")}, "stale_after=inf must be"),
        ({"stale_after": float("nan")}, "stale_after=nan must be"),
        ({"stale_after": True}, "stale_after=True must be"),
        ({"stale_after": "5"}, "stale_after='5' must be"),
        ({"invalidate_on": ""}, "invalidate_on='' must be a topic"),
        ({"invalidate_on": ["a", 5]}, "invalidate_on=5 must be a topic"),
        ({"invalidate_on": 5}, "invalidate_on=5 must be a topic"),
        ({"class_of_service": ""}, "class_of_service='' must be the name"),
        ({"class_of_service": 5}, "class_of_service=5 must be the name"),
        ({"delta": {"version": 1}}, "must be Delta(version=…, diff=…)"),
        ({"delta": Delta()}, "needs version= or from_seq="),
        ({"delta": Delta(diff=id, from_seq=id)}, "Delta(diff=) needs version="),
        ({"delta": Delta(version=cast("Any", 5))}, "delta=Delta(version=5) must be a function"),
        ({"delta": Delta(version=id, diff=id), "merge": "set"}, "it is for merge='crud'"),
        ({"version": 0}, "version=0 must be a whole number from 1 on"),
        ({"version": True}, "version=True must be"),
        ({"migrate": {1: id}}, "migrate= needs version="),
        ({"version": 2, "migrate": [id]}, "must map each version to a function"),
        ({"version": 2, "migrate": {2: id}}, "the steps are 1 to 1"),
        ({"version": 2, "migrate": {"1": id}}, "the steps are 1 to 1"),
        ({"version": 2, "migrate": {1: 5}}, "must be a plain function"),
    ],
)
def test_50_options_that_cannot_work_fail_where_they_are_declared(options: Any, text: str) -> None:
    # acceptance 50
    with pytest.raises(DeclarationError, match="test_stream_options") as caught:

        @live.stream("rows", **options)
        async def rows(ctx: Context[Any]) -> Any:
            return []

    assert text in str(caught.value)


def test_50_an_unknown_option_is_a_type_error() -> None:
    # acceptance 50
    with pytest.raises(TypeError, match="unexpected keyword argument 'replays'"):
        live.stream("rows", replays=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["coalesce_by", "transform"])
def test_publishing_does_not_wait_for_async_functions(option: str) -> None:
    async def later(row: Any) -> Any:
        return row

    with pytest.raises(DeclarationError, match=f"{option}= is async"):

        @live.stream("rows", **{option: later})  # type: ignore[arg-type]
        async def rows(ctx: Context[Any]) -> Any:
            return []


def two(first: Row, second: Row) -> LiveServer:
    @live.stream("rows", **first)
    async def one(ctx: Context[Any]) -> Any:
        return []

    @live.stream("rows", **second)
    async def other(ctx: Context[Any]) -> Any:
        return []

    return LiveServer({"demo": SimpleNamespace(one=one, other=other, _guard=public())}, clock=SeededClock())


def two_rooms(first: Row, second: Row) -> LiveServer:
    @live.stream("room:{name}", **first)
    async def one(ctx: Context[Any], name: str) -> Any:
        return []

    @live.stream("room:{room}", **second)
    async def other(ctx: Context[Any], room: str) -> Any:
        return []

    return LiveServer({"demo": SimpleNamespace(one=one, other=other, _guard=public())}, clock=SeededClock())


def test_streams_on_one_topic_may_not_contradict_each_other() -> None:
    with pytest.raises(DeclarationError, match="'rows' has transform="):
        two({"transform": shown}, {"transform": str})
    with pytest.raises(DeclarationError, match="want more than one of volatile, coalesce_by, replay"):
        two({"replay": True}, {"volatile": True})


def test_streams_on_one_template_may_not_contradict_each_other_either() -> None:
    with pytest.raises(DeclarationError, match=r"'room:\{room\}' has transform="):
        two_rooms({"transform": shown}, {"transform": str})
    with pytest.raises(DeclarationError, match=r"'room:\{room\}' want more than one of volatile"):
        two_rooms({"replay": True}, {"volatile": True})


async def test_what_one_stream_says_of_a_template_holds_for_all_on_it() -> None:
    async with TestEnv(two_rooms({"replay": True}, {"transform": shown})) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/one", "x")
        env.server.publish_nowait("room:x", "created", {"id": 1, "name": "ann"})
        event = await raw.recv()
        assert (event["data"], event["seq"]) == ({"id": 1, "name": "ANN"}, 1)


async def test_what_one_stream_says_of_a_topic_holds_for_all_on_it() -> None:
    async with TestEnv(two({"replay": True}, {"transform": shown})) as env:
        raw = await Raw.open(env)
        await raw.subscribe("demo/one")
        env.server.publish_nowait("rows", "created", {"id": 1, "name": "ann"})
        event = await raw.recv()
        assert (event["data"], event["seq"]) == ({"id": 1, "name": "ANN"}, 1)
