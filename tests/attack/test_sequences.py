"""Whatever two clients and the application do, in any order, against a model of what each client must see."""

import asyncio
import json
import logging
import math
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverpc import Context, Delta, Limits, LiveError, LiveServer, PushFailed, live, public
from tests.attack.attack_kit import Peer, running, what_is_left

PLAIN = ("a", "b")
VOLATILE, COALESCED, KEPT = "volatile", "coalesced", "kept"
TOPICS = (*PLAIN, VOLATILE, COALESCED, KEPT)


# -- the application


def note(ctx: Context[Any], *mark: Any) -> None:
    assert isinstance(ctx.connection.link, Peer)
    ctx.connection.link.log.append(mark)


async def wait(ctx: Context[Any], seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
        note(ctx, "waited", asyncio.get_running_loop().time())


async def load(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> list[Any]:
    if ctx.cursor is None:  # a page listens to nothing
        note(ctx, "loads", topic, ctx.call)
    await wait(ctx, seconds)
    if fails:
        if ctx.cursor is None:
            note(ctx, "fails", topic, ctx.call)
        raise LiveError("NO", "refused while loading")
    return []


def on_subscribe(ctx: Context[Any], topic: str) -> None:
    note(ctx, "on", topic)


def on_unsubscribe(ctx: Context[Any], topic: str, remaining: int) -> None:
    note(ctx, "off", topic)


@live.stream("{topic}", on_subscribe=on_subscribe, on_unsubscribe=on_unsubscribe)
async def plain(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> list[Any]:
    return await load(ctx, topic, seconds, fails)


@live.stream(VOLATILE, volatile=True)
async def volatile(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> list[Any]:
    return await load(ctx, topic, seconds, fails)


@live.stream(COALESCED, merge="cursor", coalesce_by=lambda data: data["key"])
async def coalesced(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> list[Any]:
    return await load(ctx, topic, seconds, fails)


def attached(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> None:
    note(ctx, "loads", topic, ctx.call)  # its loader runs only when the log is of no use


@live.stream(KEPT, replay=True, delta=Delta(version=attached), on_subscribe=on_subscribe, on_unsubscribe=on_unsubscribe)
async def kept(ctx: Context[Any], topic: str, seconds: float, fails: bool) -> list[Any]:
    return await load(ctx, topic, seconds, fails)


@live
def quick(ctx: Context[Any], seconds: float) -> int:
    return 1


@live
async def slow(ctx: Context[Any], seconds: float) -> int:
    await wait(ctx, seconds)
    return 1


@live
async def fail(ctx: Context[Any], seconds: float) -> int:
    await wait(ctx, seconds)
    raise LiveError("NO", "as always")


async def on_topic(ctx: Context[Any], topic: str) -> bool:
    if topic == "b":
        await asyncio.sleep(0.5)
    return True


async def on_resume(ctx: Context[Any], session: str, seqs: dict[str, int]) -> None:
    await asyncio.sleep(0.25)
    ctx.connection.send_event("__replay:a", "missed", seqs)


def make_server() -> LiveServer:
    functions: dict[str, Any] = {"plain": plain, "volatile": volatile, "coalesced": coalesced, "kept": kept}
    functions |= {"quick": quick, "slow": slow, "fail": fail}
    return LiveServer(
        {"m": SimpleNamespace(**functions, _guard=public())},
        on_topic=on_topic,
        on_resume=on_resume,
        limits=Limits(calls_in_flight=4, streams_per_connection=6, requests_in_flight=2),
    )


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LiveServer, asyncio.Runner]]:
    logging.getLogger("liverpc").setLevel(logging.CRITICAL)
    server = make_server()
    with running(server) as runner:
        yield server, runner
    logging.getLogger("liverpc").setLevel(logging.NOTSET)


# -- what happens: steps, of one of two clients or of the application


@dataclass(frozen=True)
class Call:
    client: int
    path: str
    seconds: float = 0
    answered: bool = True


@dataclass(frozen=True)
class Stream:
    client: int
    topic: str
    seconds: float = 0
    fails: bool = False


@dataclass(frozen=True)
class Page(Stream):
    """Of a topic, whether or not the client listens to it."""


@dataclass(frozen=True)
class Resync(Stream):
    """Of a topic, whether or not the client listens to it."""


@dataclass(frozen=True)
class CatchUp:
    """Ask for what followed an event that is so far back."""

    client: int
    behind: int
    resync: bool = False


@dataclass(frozen=True)
class Batch:
    client: int
    elements: tuple[Call | Stream | CatchUp, ...]
    sequential: bool


@dataclass(frozen=True)
class Subscribe:
    client: int
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Unsubscribe:
    client: int
    topic: str


@dataclass(frozen=True)
class Publish:
    topic: str
    key: str


@dataclass(frozen=True)
class PublishTogether:
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Pace:
    how: str
    seconds: float


@dataclass(frozen=True)
class Control:
    client: int
    kind: str


@dataclass(frozen=True)
class Ask:
    client: int


@dataclass(frozen=True)
class Reply:
    client: int
    ref: int


@dataclass(frozen=True)
class Leave:
    client: int


@dataclass(frozen=True)
class Wait:
    seconds: float


clients = st.integers(0, 1)
topics = st.sampled_from(TOPICS)
times = st.sampled_from([0, 0, 0.3, 0.6, 1.5])
calls = st.builds(
    Call, clients, st.sampled_from(["quick", "slow", "fail"]), times, st.sampled_from([True, True, False])
)
streams = st.builds(Stream, clients, topics, times, st.sampled_from([False, False, True]))
again = st.one_of(
    st.builds(Page, clients, topics, times, st.booleans()),
    st.builds(Resync, clients, topics, times, st.booleans()),
    st.builds(CatchUp, clients, st.integers(0, 4), st.booleans()),
)
elements = st.lists(calls | streams | again, max_size=4).map(tuple)
steps = st.one_of(
    calls,
    streams,
    streams,
    again,
    again,
    st.builds(Batch, clients, elements, st.booleans()),
    st.builds(Subscribe, clients, st.lists(st.sampled_from([*TOPICS, "__rpc"]), min_size=1, max_size=3).map(tuple)),
    st.builds(Unsubscribe, clients, topics),
    st.builds(Publish, topics, st.sampled_from(["x", "y"])),
    st.builds(Publish, topics, st.sampled_from(["x", "y"])),
    st.builds(PublishTogether, st.lists(topics, max_size=4).map(tuple)),
    st.builds(Pace, st.sampled_from(["throttle", "debounce"]), st.sampled_from([0.2, 1.0])),
    st.builds(Control, clients, st.sampled_from(["hello", "hello batch", "resume"])),
    st.builds(Ask, clients),
    st.builds(Reply, clients, st.integers(-1, 2)),
    st.builds(Leave, clients),
    st.builds(Wait, st.sampled_from([0, 0.1, 0.4, 1.0])),
    st.builds(Wait, st.sampled_from([0, 0.1, 0.4, 1.0])),
)


# -- playing it


class Play:
    """One example."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.peers = [Peer(server), Peer(server)]
        self.gone: list[Peer] = []
        self.numbers = 0
        self.asking: list[asyncio.Task[Any]] = []
        head = server._hub.log.read(KEPT, None)
        assert head is not None
        self.epoch, self.base = head.head.epoch, head.head.seq
        self.kept: list[int] = []  # what was published on the topic with a log
        self.first_ref = server._hub.requests._numbers + 1
        self.context: Context[Any] = Context(server._services, self.peers[0].connection, "test")  # of no call

    async def run(self, steps: list[Any]) -> None:
        try:
            for step in steps:
                done = getattr(self, type(step).__name__.lower())(step)
                if isinstance(done, Coroutine):
                    await done
            await asyncio.sleep(30)
            for peer in self.peers:
                check(self, peer, ended=False)
                for subscription in peer.connection.subscriptions.values():
                    assert (subscription.loading, subscription._holds, subscription.held) == (0, 0, 0)
            for peer in self.gone:
                check(self, peer, ended=True)
            assert not any(topic.holding for topic in self.server._hub.topics.values())
        finally:
            for peer in self.peers:
                peer.leave()
            await asyncio.sleep(30)
        assert all(task.done() for task in self.asking)
        for peer in self.peers + self.gone:
            connection = peer.connection
            assert not connection.calls.of
            assert not connection.subscriptions
            assert not connection.streams
            hooks = [entry[0] for entry in peer.log if isinstance(entry, tuple) and entry[0] in ("on", "off")]
            assert hooks.count("on") == hooks.count("off")
        assert not what_is_left(self.server)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def feed(self, client: int, mark: tuple[Any, ...] | None = None, /, **frame: Any) -> None:
        peer = self.peers[client]
        peer.feed(json.dumps(frame).encode(), before=lambda: peer.log.append(mark) if mark else None)

    def request(self, step: Call | Stream | CatchUp) -> dict[str, Any]:
        call = f"{type(step).__name__.lower()}{self.number()}"
        if isinstance(step, CatchUp):
            seq = self.base + max(0, len(self.kept) - step.behind)
            frame = {"rpc": f"m/{KEPT}", "id": f"{call}-{seq}", "args": [KEPT, 0, False], "stream": True}
            return frame | {"seq": seq, "epoch": self.epoch, "resync": step.resync}
        if isinstance(step, Call):
            frame = {"rpc": f"m/{step.path}", "args": [step.seconds]}
            return frame | {"id": call} if step.answered else frame
        path = step.topic if step.topic not in PLAIN else "plain"
        frame = {"rpc": f"m/{path}", "id": call, "args": [step.topic, step.seconds, step.fails], "stream": True}
        return frame | {"cursor": 1} if isinstance(step, Page) else frame | {"resync": isinstance(step, Resync)}

    def call(self, step: Call | Stream | CatchUp) -> None:
        frame = self.request(step)
        self.feed(step.client, ("asks", frame.get("id")), **frame)

    stream = page = resync = catchup = call

    def batch(self, step: Batch) -> None:
        frames = [self.request(element) for element in step.elements]
        asked = tuple(frame.get("id", "") for frame in frames)
        self.feed(step.client, ("asks", asked), batch=frames, sequential=step.sequential)

    def subscribe(self, step: Subscribe) -> None:
        ref = self.number()
        self.feed(step.client, ("subscribes", step.topics, ref), type="subscribe-batch", topics=step.topics, ref=ref)

    def unsubscribe(self, step: Unsubscribe) -> None:
        self.feed(step.client, ("unsubscribes", step.topic), type="unsubscribe", topic=step.topic)

    def event(self, topic: str, key: str = "x") -> tuple[str, str, Any]:
        n = self.number()
        if topic == KEPT:
            self.kept.append(n)
        for peer in self.peers:
            peer.log.append(("published", topic, n, key))
        return topic, "set", {"n": n, "key": key}

    def publish(self, step: Publish) -> None:
        self.server.publish_nowait(*self.event(step.topic, step.key))

    def publishtogether(self, step: PublishTogether) -> None:
        self.server._hub.publish_batch([self.event(topic) for topic in step.topics])

    def pace(self, step: Pace) -> None:
        pace = self.context.throttle if step.how == "throttle" else self.context.debounce
        pace("paced", "set", {"n": 0}, step.seconds)

    def control(self, step: Control) -> None:
        if step.kind == "resume":
            self.feed(step.client, ("resumes",), type="resume", sessionId="x", lastSeenSeqs={"a": 1})
        else:
            self.feed(step.client, type="hello", caps=step.kind.split()[1:])

    def ask(self, step: Ask) -> None:
        async def asking() -> Any:
            try:
                return await connection.ask("what", None, timeout=1)
            except (LiveError, PushFailed) as error:
                return error

        connection = self.peers[step.client].connection
        self.asking.append(asyncio.create_task(asking()))

    def reply(self, step: Reply) -> None:
        self.feed(step.client, type="reply", ref=self.first_ref + step.ref, data="yes")

    def leave(self, step: Leave) -> None:
        peer = self.peers[step.client]
        peer.leave()
        peer.log.append(("left", asyncio.get_running_loop().time()))
        self.gone.append(peer)
        self.peers[step.client] = Peer(self.server)

    async def wait(self, step: Wait) -> None:
        await asyncio.sleep(step.seconds)


# -- the model


class Topic:
    """What one client must get of one topic."""

    def __init__(self) -> None:
        self.loading: set[str] = set()
        self.live = False
        self.due: list[tuple[int, str]] = []  # published and not seen; number and key
        self.seq: int | None = None

    @property
    def attached(self) -> bool:
        return self.live or bool(self.loading)

    def load_ended(self, call: str, *, live: bool) -> None:
        if call in self.loading:
            self.loading.remove(call)
            self.live = self.live or live
            if not self.attached:
                self.ends()

    def left(self) -> None:
        self.live = False
        if not self.loading:  # what loads goes on
            self.ends()

    def ends(self) -> None:
        self.loading.clear()
        self.live = False
        self.due.clear()
        self.seq = None

    def gets(self, name: str, data: Any, seq: int | None) -> None:
        assert self.live, f"an event on {name!r}, to which the client does not listen"
        got = (data["n"], data["key"])
        assert got in self.due, f"{name!r}: {got} came twice, or is not due; due are {self.due}"
        if name == COALESCED:
            self.due.remove(got)
            older = [event for event in self.due if event[1] == got[1] and event[0] < got[0]]
            self.due = [event for event in self.due if event not in older]
            return
        assert self.due.pop(0) == got, f"{name!r}: {got} came out of order"
        if seq is not None:
            assert self.seq is None or seq == self.seq + 1
            self.seq = seq


class Model:
    """What one client must get."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.topics: dict[str, Topic] = {name: Topic() for name in (*TOPICS, "__rpc")}
        self.asked: list[Any] = []  # ids, tuples of ids; not answered yet
        self.bare: list[tuple[int, str]] = []  # ref and topic of subscribes without an answer
        self.resumes = 0
        self.left = math.inf

    def mark(self, kind: str, *what: Any) -> None:
        if kind == "asks":
            if what[0] is not None:
                self.asked.append(what[0])
        elif kind == "left":
            self.left = what[0]
        elif kind == "waited":
            assert what[0] <= self.left, "a call goes on for a client that is gone"
        elif kind == "loads":
            topic, call = what
            self.topics[topic].loading.add(call)
        elif kind == "fails":
            topic, call = what
            self.topics[topic].load_ended(call, live=False)
        elif kind == "subscribes":
            self.bare += [(what[1], topic) for topic in what[0]]
        elif kind == "unsubscribes":
            self.topics[what[0]].left()
            self.bare = [(ref, topic) for ref, topic in self.bare if topic != what[0]]
        elif kind == "resumes":
            self.resumes += 1
        elif kind == "published":
            topic, n, key = what
            if self.topics[topic].attached:
                self.topics[topic].due.append((n, key))

    def frame(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type")
        if kind == "batch":
            for event in frame["events"]:
                self.frame(event)
        elif kind in ("subscribed", "subscribe-denied"):
            self.bare.remove((frame["ref"], frame["topic"]))
            assert (kind == "subscribed") == (frame["topic"] != "__rpc") or frame["reason"] == "OVERLOADED"
            if kind == "subscribed":
                self.topics[frame["topic"]].live = True
        elif kind == "resumed":
            self.resumes -= 1
        elif kind is None and frame["topic"] == "__rpc":
            self.replied(frame["event"], frame["data"])
        elif kind is None and frame["topic"] in self.topics:
            self.topics[frame["topic"]].gets(frame["topic"], frame["data"], frame.get("seq"))
            if frame["topic"] == KEPT:
                assert self.play.kept[frame["seq"] - self.play.base - 1] == frame["data"]["n"]
        else:
            assert kind == "request" or frame["topic"] == "__replay:a"

    def replied(self, event: str, data: Any) -> None:
        replies = data["batch"] if event == "__batch" else [data]
        ids = tuple(reply["id"] for reply in replies) if event == "__batch" else event
        assert ids in self.asked, f"the answer to {ids} came twice, or nobody asked"
        self.asked.remove(ids)
        for reply in replies:
            assert reply.get("code", "NO") in ("NO", "OVERLOADED", "INVALID_REQUEST"), reply
            if reply["ok"] and reply["id"].startswith("catchup"):
                self.caught_up(int(reply["id"].split("-")[1]), reply)
            for topic in self.topics.values():
                topic.load_ended(reply["id"], live=reply["ok"])

    def caught_up(self, after: int, reply: dict[str, Any]) -> None:
        """All events that followed, and nothing else."""
        play = self.play
        assert (reply["replay"], reply["epoch"]) == (True, play.epoch)
        assert [each["seq"] for each in reply["data"]] == list(range(after + 1, reply["seq"] + 1))
        assert [each["data"]["n"] for each in reply["data"]] == play.kept[after - play.base : reply["seq"] - play.base]


def check(play: Play, peer: Peer, *, ended: bool) -> None:
    model = Model(play)
    try:
        for entry in peer.log:
            if isinstance(entry, tuple):
                model.mark(*entry)
            else:
                model.frame(entry)
        assert peer.closed_with is None or ended
        if not ended:
            assert not model.asked, f"never answered: {model.asked}"
            assert not model.bare, f"subscribes never answered: {model.bare}"
            assert not model.resumes
            lost = {name: topic.due for name, topic in model.topics.items() if topic.due}
            assert not lost, f"events that never came: {lost}"
    except (AssertionError, ValueError) as error:
        raise AssertionError(f"{error}\nwhat happened to the client:\n" + "\n".join(map(str, peer.log))) from None


@pytest.mark.timeout(300)
@settings(max_examples=2_000, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=15))
def test_whatever_happens_clients_get_what_they_must_and_nothing_is_left(
    world: tuple[LiveServer, asyncio.Runner], steps: list[Any]
) -> None:
    server, runner = world
    runner.run(Play(server).run(steps))
