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

from liverpc import Context, LiveError, LiveServer, live, public
from tests.attack.attack_kit import Peer, running, what_is_left

DEPTH = 64
NOTHING: Any = object()


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


@live.stream("rows")
async def rows(ctx: Context[Any]) -> list[int]:
    await asyncio.sleep(0.5)
    return [1]


def make_server() -> LiveServer:
    functions = {"echo": echo, "typed": typed, "refuse": refuse, "fail": fail, "slow": slow, "rows": rows}
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
half_calls = st.fixed_dictionaries({"id": ids | leaves, "rpc": paths | leaves})
batches = members(
    batch=st.lists(good_calls | half_calls | calls | values, max_size=6), sequential=st.booleans(), id=ids
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
frames = st.one_of(calls, good_calls, batches, too_many, controls, big_controls, hostile)
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


@pytest.mark.timeout(300)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
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
