"""Whatever a client sends: its connection survives, and each of its calls is answered once."""

import asyncio
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liverpc import Context, Delta, LiveError, LiveServer, Page, live, public
from tests.attack.attack_kit import Peer, running, what_is_left

DEPTH = 64
NOTHING: Any = object()
HEAD = "the number the log is at"  # a test puts it in


@live
def echo(ctx: Context[Any], value: Any) -> Any:
    return value


@live
def typed(ctx: Context[Any], count: int, name: str = "") -> int:
    return count


@live
def refuse(ctx: Context[Any]) -> None:
    raise LiveError("NO", "because")


@live
def fail(ctx: Context[Any]) -> None:
    raise ValueError("secret")


@live
async def slow(ctx: Context[Any]) -> int:
    await asyncio.sleep(1)
    return 1


def version_of(ctx: Context[Any]) -> int:
    return 7


def changed(ctx: Context[Any], since: Any) -> list[Any] | None:
    return [{"id": 1}] if type(since) is int else None


def missed(ctx: Context[Any], seq: int) -> list[Any]:
    seq.to_bytes(8, "big")  # as a database does
    return []


@live.stream("rows", replay=True, version=3, migrate={1: dict, 2: dict}, delta=Delta(version=version_of, diff=changed))
async def rows(ctx: Context[Any]) -> Page[Any]:
    await asyncio.sleep(0.5)
    return Page([{"id": 1}], has_more=True, cursor=1)


@live.stream("told", delta=Delta(from_seq=missed))
async def told(ctx: Context[Any]) -> list[Any]:
    return [{"id": 1}]


@live.stream("shut", gate=lambda ctx: False)
async def shut(ctx: Context[Any]) -> list[Any]:
    raise AssertionError("its gate is shut")


def make_server() -> LiveServer:
    functions: dict[str, Any] = {
        "echo": echo,
        "typed": typed,
        "refuse": refuse,
        "fail": fail,
        "slow": slow,
        "rows": rows,
    }
    functions |= {"told": told, "shut": shut, "chat": live.channel("chat", item=int)}
    return LiveServer({"m": SimpleNamespace(**functions, _guard=public())})


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[LiveServer, asyncio.Runner]]:
    logging.getLogger("liverpc.calls").disabled = True  # of fail()
    server = make_server()
    with running(server) as runner:
        yield server, runner
    logging.getLogger("liverpc.calls").disabled = False


# -- what is sent

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["", "__rpc", "__", "rows", "a" * 257, "\x00", "grün", "\x7f", 'a"b', "m/echo"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
deep = st.integers(DEPTH - 4, DEPTH + 4).map(lambda levels: nested(levels))
hostile = st.one_of(values, deep)
paths = st.sampled_from(
    ["m/echo", "m/typed", "m/refuse", "m/fail", "m/slow", "m/rows", "m/none", "m", "", "/", "m//x", "é/x"]
)
stream_paths = st.sampled_from(["m/rows", "m/rows", "m/rows", "m/told", "m/shut", "m/chat", "m/echo", "m/none"])
ids = st.text(max_size=4) | st.sampled_from(["1", "__batch", '"', "\x7f", "é" * 100])


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def members(**given: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these members, in any order, and perhaps others."""
    others = st.dictionaries(st.sampled_from(["x", "seq", "rpc", "type", "batch", "id", "args"]), hostile, max_size=1)
    mostly = {name: st.one_of(usual, usual, usual, hostile) for name, usual in given.items()}
    both = st.tuples(st.fixed_dictionaries({}, optional=mostly), others)
    return both.map(lambda two: two[1] | two[0]).flatmap(lambda frame: st.permutations(list(frame.items())).map(dict))


calls = members(rpc=paths, id=ids, args=st.lists(values, max_size=3), stream=st.booleans())
good_calls = st.fixed_dictionaries(
    {"rpc": paths, "id": ids}, optional={"args": st.lists(values, max_size=2), "stream": st.booleans()}
)
known: dict[str, st.SearchStrategy[Any]] = {
    name: st.one_of(usual, usual, usual, leaves)
    for name, usual in {
        "seq": st.sampled_from(
            [HEAD, HEAD, HEAD, 0, 1, -1, 0.0, True, False, "0", None, 2**53 - 1, 2**53, 2**64, 10**200]
        ),
        "epoch": st.sampled_from([None, None, "", "x", 7, False]),
        "version": st.sampled_from([7, 7.0, "7", [7], True, 1, 1.0, None, None]),
        "schemaVersion": st.sampled_from([None, 1, 2, 3, 4, 0, -1, True, 2.0]),
        "cursor": st.sampled_from([None, None, None, 0, False, "", [1]]),
        "resync": st.sampled_from([True, False, 1, None]),
    }.items()
}
stream_calls = st.fixed_dictionaries(
    {"rpc": stream_paths, "id": ids, "stream": st.sampled_from([True, True, True, False])},
    optional={"args": st.just([]), **known},
)
half_calls = st.fixed_dictionaries({"id": ids | leaves, "rpc": paths | leaves})
batches = members(
    batch=st.lists(good_calls | stream_calls | half_calls | calls | values, max_size=6),
    sequential=st.booleans(),
    id=ids,
)
too_many = st.integers(49, 53).map(
    lambda n: {"batch": [{"rpc": "m/typed", "id": str(i), "args": [1]} for i in range(n)]}
)
topics = st.sampled_from(["rows", "a", "__rpc", ""]) | leaves
controls = st.one_of(
    members(type=st.just("hello"), caps=st.lists(st.just("batch") | leaves, max_size=2)),
    members(type=st.sampled_from(["subscribe", "unsubscribe"]), topic=topics, ref=st.integers() | st.booleans() | ids),
    members(type=st.just("subscribe-batch"), topics=st.lists(topics, max_size=4), ref=st.integers() | st.booleans()),
    members(
        type=st.just("resume"),
        sessionId=st.text(max_size=4),
        lastSeenSeqs=st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    ),
    members(type=st.just("reply"), ref=st.integers(0, 3), data=values, error=st.text(max_size=3)),
    members(type=st.text(max_size=4)),
)
big_controls = st.integers(8128, 8144).map(lambda n: {"type": "subscribe", "topic": "__x", "ref": 1, "pad": "x" * n})
frames = st.one_of(calls, good_calls, stream_calls, batches, too_many, controls, big_controls, hostile)
texts = st.tuples(frames, st.booleans()).map(lambda both: encoded(*both))


def encoded(frame: Any, compact: bool) -> bytes:
    if compact:
        return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return json.dumps(frame).encode()


def damage(payload: bytes) -> st.SearchStrategy[bytes]:
    """A frame in which one place is cut, doubled or overwritten."""
    place = st.integers(0, len(payload))
    return st.one_of(
        st.tuples(place, place).map(lambda at: payload[: min(at)] + payload[max(at) :]),
        st.tuples(place, place).map(lambda at: payload[: max(at)] + payload[min(at) :]),
        st.tuples(place, st.binary(max_size=3)).map(
            lambda at: payload[: at[0]] + at[1] + payload[at[0] + len(at[1]) :]
        ),
        st.tuples(place, st.sampled_from(list('{}[]",:\\0e-.')).map(str.encode)).map(
            lambda at: payload[: at[0]] + at[1] + payload[at[0] :]
        ),
    )


payloads = st.one_of(texts, texts, texts, texts.flatmap(damage), st.binary(max_size=20))


# -- what is to be answered


class Unclear(Exception):
    """JSON that parsers do not agree about."""


def strictly(payload: bytes) -> Any:
    """The value; NOTHING for broken JSON; raises Unclear where readers may differ."""

    def number(text: str) -> float:
        value = float(text)
        if math.isinf(value):
            raise Unclear
        return value

    def whole(text: str) -> int:
        if len(text) > 300:
            raise Unclear
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise Unclear
        return dict(pairs)

    def constant(text: str) -> Any:
        raise ValueError(text)

    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return NOTHING
    try:
        value = json.loads(text, parse_float=number, parse_int=whole, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError):
        return NOTHING
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unclear from None
    return value


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def answers_to(payload: bytes, text: bool) -> Counter[Any]:
    """What must be answered: ids of calls, tuples of the ids of a batch, answers to control frames."""
    frame = strictly(payload)
    if not isinstance(frame, dict) or not isinstance(frame.get("id", ""), str):
        return Counter()
    if "rpc" in frame:
        return Counter([frame["id"]] if isinstance(frame["rpc"], str) and "id" in frame else [])
    if "batch" in frame:
        batch = frame["batch"]
        if not isinstance(batch, list):
            return Counter()
        return Counter([("",) if len(batch) > 50 else tuple(map(id_of, batch))])
    if depth_of(frame) > DEPTH or not text or len(payload) > 8191:
        return Counter()
    return Counter(control_answers(frame))


def id_of(element: Any) -> str:
    found = element.get("id", "") if isinstance(element, dict) else ""
    return found if isinstance(found, str) else ""


def control_answers(frame: dict[str, Any]) -> list[Any]:
    kind = frame.get("type")
    if kind == "resume":
        seqs = frame.get("lastSeenSeqs")
        numbers = isinstance(seqs, dict) and all(type(seq) is int for seq in seqs.values())
        return ["resumed"] if isinstance(frame.get("sessionId"), str) and numbers else []
    ref = frame.get("ref")
    if not isinstance(ref, str | int | float) or isinstance(ref, bool):
        return []
    asked = frame.get("topics") if kind == "subscribe-batch" else [frame.get("topic")] if kind == "subscribe" else []
    if not isinstance(asked, list):
        return []
    return [f"denied {json.dumps([topic, ref])}" for topic in asked[:256] if not is_topic(topic)]


def is_topic(topic: Any) -> bool:
    if not isinstance(topic, str) or not 1 <= len(topic) <= 256 or topic.startswith("__"):
        return False
    return all(" " <= character <= "~" and character not in '"\\' for character in topic)


def answers_in(log: list[Any]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for frame in log:
        if frame.get("type") == "subscribe-denied":
            found[f"denied {json.dumps([frame['topic'], frame['ref']])}"] += 1
        elif "type" in frame:
            found[frame["type"]] += 1
        elif "batch" in frame["data"]:
            assert frame["event"] == "__batch"
            found[tuple(reply["id"] for reply in frame["data"]["batch"])] += 1
        else:
            assert frame["event"] == frame["data"]["id"]
            found[frame["event"]] += 1
    return found


def replies_in(log: list[Any]) -> list[Any]:
    replies = [frame["data"] for frame in log if "event" in frame]
    return [reply for data in replies for reply in data.get("batch", [data])]


def head_of(server: LiveServer) -> int:
    found = server._hub.log.read("rows", None)
    assert found is not None
    return found.head.seq


def way_of(frame: Any, head: int) -> str | None:
    """How a request for ``m/rows`` is to be answered, if it is one (docs/protocol.md section 5)."""
    if not isinstance(frame, dict) or frame.get("rpc") != "m/rows" or frame.get("stream") is not True:
        return None
    if frame.get("cursor") is not None:
        return "page"
    version, schema, seq, epoch = (frame.get(name) for name in ("version", "schemaVersion", "seq", "epoch"))
    has_seq = type(seq) is int and 0 <= seq < 2**53
    if type(schema) is not int or schema >= 3:
        if type(version) is int:
            return "unchanged" if version == 7 else "delta"
        if seq == head and type(seq) is int and epoch is None:  # nobody guesses an epoch
            return "replay"
    return "miss" if has_seq else "whole"


def way_in(reply: dict[str, Any], head: int) -> str:
    assert (reply["topic"], reply["schemaVersion"]) == ("rows", 3)
    if "seq" not in reply:
        assert not {"epoch", "version", "replay"} & reply.keys()
        return "page"
    assert (reply["seq"], bool(reply["epoch"])) == (head, True)
    short = [way for way in ("unchanged", "delta", "replay") if reply.get(way)]
    assert len(short) <= 1
    assert reply["data"] == ([] if short in (["unchanged"], ["replay"]) else [{"id": 1}])
    assert ("hasMore" in reply) == (not short)
    return short[0] if short else "whole" if "replay" not in reply else "miss"


def check_ways(frame: Any, log: list[Any], head: int) -> None:
    """The replies of streams say what they have to."""
    requests = frame.get("batch", [frame]) if "rpc" not in frame else [frame]
    for request, reply in zip(requests, replies_in(log), strict=False):
        if reply["ok"] and (way := way_of(request, head)) is not None:
            assert way_in(reply, head) == way


@pytest.mark.timeout(300)
@settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
@given(payload=payloads, text=st.sampled_from([True, True, True, False]))
def test_every_call_is_answered_once_and_nothing_else_is(
    world: tuple[LiveServer, asyncio.Runner], payload: bytes, text: bool
) -> None:
    server, runner = world

    async def play() -> Peer:
        peer = Peer(server)
        peer.feed(payload, text=text)
        await asyncio.sleep(60)
        answered = len(peer.log)
        peer.feed(b'{"rpc":"m/echo","id":"alive","args":[1]}')
        assert peer.log[answered:] == [
            {"topic": "__rpc", "event": "alive", "data": {"id": "alive", "ok": True, "data": 1}}
        ]
        del peer.log[answered:]
        peer.leave()
        await asyncio.sleep(10)
        return peer

    if text:
        try:
            payload.decode()
        except UnicodeDecodeError:
            return  # no transport hands on such a text
    peer = runner.run(play())
    assert not what_is_left(server)
    if b"fail" not in payload:
        assert [reply for reply in replies_in(peer.log) if reply.get("code") == "INTERNAL_ERROR"] == []
    try:
        expected = answers_to(payload, text)
    except Unclear:
        answered = answers_in(peer.log)
        assert sum(number for what, number in answered.items() if not str(what).startswith("denied")) <= 1
    else:
        assert answers_in(peer.log) == expected
        if expected and isinstance(frame := strictly(payload), dict) and ("rpc" in frame or "batch" in frame):
            check_ways(frame, peer.log, head_of(server))


@pytest.mark.timeout(300)
@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(stream_calls, min_size=1, max_size=3), sequential=st.booleans())
def test_streams_are_answered_with_what_the_request_makes_possible(
    world: tuple[LiveServer, asyncio.Runner], requests: list[dict[str, Any]], sequential: bool
) -> None:
    server, runner = world
    head = head_of(server)
    requests = [request | ({"seq": head} if request.get("seq") == HEAD else {}) for request in requests]
    frame = requests[0] if len(requests) == 1 else {"batch": requests, "sequential": sequential}

    async def play() -> Peer:
        peer = Peer(server)
        peer.feed(encoded(frame, compact=False))
        await asyncio.sleep(60)
        held = [each for topic in server._hub.topics.values() for each in topic.holding]
        assert not held
        peer.leave()
        await asyncio.sleep(10)
        return peer

    peer = runner.run(play())
    assert not what_is_left(server)
    assert [reply["id"] for reply in replies_in(peer.log)] == [request["id"] for request in requests]
    assert [reply for reply in replies_in(peer.log) if reply.get("code") == "INTERNAL_ERROR"] == []
    check_ways(frame, peer.log, head)
