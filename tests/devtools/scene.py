"""A small shop as an observer sees it: the same at every run, for pictures of the screens."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from liverpc.inspector.protocol import (
    BUCKETS,
    Awaited,
    BreakerInfo,
    CallEvent,
    ChaosRule,
    ClientFrame,
    ConnectionEvent,
    ConnectionInfo,
    ConnectionStats,
    Declarations,
    Declared,
    Event,
    Events,
    Get,
    Got,
    LockInfo,
    Look,
    PathInfo,
    PathStats,
    PendingCall,
    PublishEvent,
    RefusedJoin,
    RoomInfo,
    RoomMember,
    Rooms,
    RoomTotals,
    ServerFrame,
    State,
    Step,
    StreamInfo,
    StreamStats,
    SubscriptionInfo,
    UploadInfo,
    UploadTotals,
)

__all__ = ["AT", "DECLARED", "FAULT", "SECONDS", "answer", "frames", "later"]

AT = 1100.0  #: the server's time when it begins
SECONDS = 20  #: that it lasts

_TOPICS = (
    ("cursors:b12", "cursor", "board/cursors", 12, 220),
    ("ticker:BTC", "set", "ticker/price", 8, 4000),
    ("board:12", "crud", "board/cards", 4, 220),
    ("orders", "crud", "orders/open", 2, 31),
    ("board:7", "crud", "board/cards", 1, 31),
    ("chat/general", "", "", 1, 18),
    ("board:9", "crud", "board/cards", 0, 18),
    ("presence:b12", "presence", "board/who", 0, 220),
    ("設計-レビュー", "latest", "chat/notices", 0, 3),
    ("evil:\x1b[31m[red]\u202e", "set", "evil/topic", 0, 1),
)
_PATHS = ("chat/send", "board/move", "report/build", "orders/create", "board/cards")
_USERS = ("ann", "bob", "cid", "dora", "", "eve")
_CODES = ("RATE_LIMITED", "INTERNAL_ERROR", "VALIDATION")

FAULT = ChaosRule(
    action="drop",
    rate=0.2,
    topic="board:*",
    seed="rep-1234",
    id=1,
    by="ann@laptop",
    hits=12,
    seen=61,
    limit=5000,
    left=41,
)

_CARD = {"type": "object", "properties": {"id": {"type": "string"}, "title": {"type": "string"}}, "required": ["id"]}
DECLARED = Declarations(
    paths=[
        Declared(
            "board/move",
            "rpc",
            "Move a card to another column.",
            "shop/board.py:31",
            [
                ("board_id", {"type": "string"}, True),
                ("card_id", {"type": "string"}, True),
                ("column", {"enum": ["todo", "doing", "done"]}, True),
            ],
            {"$ref": "#/$defs/Card"},
            ["authenticated", "members_only"],
            [("rate limit", "5 per 60 s"), ("lock", "by key, waits 5 s")],
        ),
        Declared(
            "board/cards",
            "stream",
            "The cards of a board.",
            "shop/board.py:12",
            [("board_id", {"type": "string"}, True)],
            {"type": "array", "items": {"$ref": "#/$defs/Card"}},
            ["authenticated"],
            [],
            "board:{board_id}",
        ),
        Declared(
            "chat/send",
            "rpc",
            "Say something.",
            "shop/chat.py:8",
            [("text", {"type": "string", "maxLength": 2000}, True)],
            {},
            [],
            [],
        ),
        Declared(
            "orders/create",
            "rpc",
            "",
            "shop/orders.py:40",
            [("order", {"type": "object"}, True)],
            {},
            ["authenticated"],
            [("idempotent", "kept 2 days")],
        ),
        Declared(
            "report/build", "rpc", "A report over all orders.", "shop/report.py:5", [], {"type": "object"}, [], []
        ),
    ],
    definitions={"Card": _CARD},
    users=["ann", "bob"],
)


def frames() -> Iterator[ServerFrame]:
    """What came in the first twenty seconds, in order."""
    chance = random.Random(7)
    yield _state(0, full=True)
    for second in range(1, SECONDS + 1):
        for tick in range(1, 5):
            yield _state(second - 1 + tick / 4)
        yield Events(items=list(_events(second, chance)), lost=0 if second != 12 else 412, sample=1.0)
    yield _rooms()


def later(*, chaos: bool) -> State:
    """A state after the others, perhaps with a fault in force."""
    return _state(SECONDS + 0.25, chaos=[FAULT] if chaos else [])


def answer(asked: ClientFrame) -> ServerFrame | None:
    """What the server says to a frame; None: nothing."""
    if isinstance(asked, Look) and asked.number:
        return _rooms(asked.kind, asked.number)
    if not isinstance(asked, Get):
        return None
    kind, name = asked.ref[0], asked.ref[-1]
    if kind == "stream":
        events = [each for frame in frames() if isinstance(frame, Events) for each in frame.items]
        kept: list[Event] = [each for each in events if isinstance(each, PublishEvent) and each.topic == name]
        return Got(asked.id, kept[-20:])
    if kind == "call":
        steps = [Step("build", "shop/report.py", 14), Step("totals", "shop/report.py", 31)]
        return Got(asked.id, [], awaited=Awaited("a worker thread", steps))
    if kind in ("subscribers", "subscriptions"):
        topics = [name] if kind == "subscribers" else ["board:12", "orders"]
        rows = [SubscriptionInfo(t, f"c{n:02}f0beef-7a21", _USERS[n], 0, 0, True) for t in topics for n in range(3)]
        return Got(asked.id, [], subscriptions=rows)
    return Got(asked.id, [], declared=DECLARED) if kind == "declared" else Got(asked.id, [])


def _state(seconds: float, *, full: bool = False, chaos: list[ChaosRule] | None = None) -> State:
    at = AT + seconds
    connections = [
        ConnectionInfo(f"c{n:02x}f{n * 977:05x}-7a21", _USERS[n % 6], f"10.0.0.{n}", AT - 37 * n) for n in range(1, 15)
    ]
    return State(
        rev=int(seconds * 4) + 1,
        at=at,
        full=full,
        streams=[StreamInfo(n, *topic[:3]) for n, topic in enumerate(_TOPICS, 1)] if full else [],
        stream_stats=[_stream_stats(n, at, seconds) for n in range(1, len(_TOPICS) + 1)],
        connections=connections if full else [],
        connection_stats=[
            ConnectionStats(each.id, 2 + n % 7, 40 * n + int(seconds * n), 4 * n, n % 3 // 2, 90_000 if n == 3 else 0)
            for n, each in enumerate(connections)
        ],
        paths=[PathInfo(n, path) for n, path in enumerate(_PATHS, 1)] if full else [],
        path_stats=[_path_stats(n, seconds) for n in range(1, len(_PATHS) + 1)],
        pending=[PendingCall(connections[1].id, "k-long", "report/build", "bob", AT + 17)] if seconds > 17 else [],
        pending_total=int(seconds > 17),
        uploads=_uploads(connections, at) if seconds else [],
        upload_totals=UploadTotals(2, 100, 812_000, 64 << 20),
        counters={
            "calls": 3000 + _grown(170, seconds),
            "call_errors": 41 + int(seconds),
            "published": 9000 + _grown(280, seconds),
            "deliveries": 90_000 + _grown(9000, seconds),
            "delivered_bytes": 7_000_000 + _grown(940_000, seconds),
            "volatile_drops": _grown(12, seconds),
            "latest_replaced": _grown(31, seconds),
            "outbox_overflows": 1,
            "rate_limited": 41,
            "resumes": 118,
            "fault_drops": 12 if chaos else 0,
            "connections_opened": 31,
            "connections_closed": 17,
        },
        chaos=chaos or [],
        busy=0.004,
        lag=0.004 + 0.003 * math.sin(seconds / 3),
        memory=(84 << 20) + int(seconds) * 100_000,
        latencies=_buckets(170, seconds, 0.0012, 0.014),
        deliveries=_buckets(60, seconds, 0.0008, 0.009),
        locks=[
            LockInfo(
                "account:7", "orders/create", connections[2].id, "k17", "cid", AT + seconds - 1.5, 4, AT + seconds - 1
            )
        ],
        locks_total=1,
        breakers=[BreakerInfo("bank", "open", 5, 12.0, ["orders/create"])],
    )


def _stream_stats(number: int, at: float, seconds: float) -> StreamStats:
    topic, _, _, rate, subscribers = _TOPICS[number - 1]
    published = _grown(rate, seconds) + (7 if rate == 0 else 0)
    return StreamStats(
        number,
        subscribers,
        published,
        published * subscribers,
        0,
        published * 212,
        "updated",
        at - 0.2 if rate else AT - 40,
        published,
        "LOADER_FAILED" if topic == "board:9" else "",
        volatile_drops=91 if topic.startswith("cursors") else 0,
    )


def _path_stats(number: int, seconds: float) -> PathStats:
    calls = 100 * number + _grown(60 if number < 3 else 2, seconds)
    p99 = 0.812 if number == 3 else 0.014 / number
    codes = [("RATE_LIMITED", 41), ("INTERNAL_ERROR", 2)] if number == 1 else []
    errors = sum(count for _, count in codes)
    limited = 41 if codes else 0
    return PathStats(number, calls, errors, calls * 0.002, p99 * 1.4, 0.0012, p99 / 2, p99, codes, limited)


def _grown(rate: float, seconds: float) -> int:
    """A total that grows by ``rate`` a second, now more and now less."""
    return int(rate * (seconds + 0.6 * math.sin(0.9 * seconds)))


def _buckets(rate: float, seconds: float, middle: float, tail: float) -> list[tuple[int, int]]:
    """How long things took: most of them about ``middle``, one in fifty about ``tail``, which comes and goes."""
    near = next(n for n, bound in enumerate(BUCKETS) if bound >= middle)
    far = next(n for n, bound in enumerate(BUCKETS) if bound >= tail)
    counts: dict[int, int] = {}
    for second in range(int(seconds) + 1):
        count = _grown(rate, second + 1) - _grown(rate, second)
        swing = round(4 * math.sin(second / 2))
        for bucket, share in ((near - 4 + swing // 2, 4), (near + swing // 2, 2), (near + 5, 4), (far + swing, 50)):
            counts[bucket] = counts.get(bucket, 0) + count // share
    return sorted(counts.items())


def _events(second: int, chance: random.Random) -> Iterator[Event]:
    at = AT + second - 1
    number = second * 100
    if second in (3, 14):
        yield ConnectionEvent(at, f"c{second:02x}f0beef-7a21", "open", "eve", "10.0.0.9", id=number)
    for n in range(6):
        call = number + 1 + n * 10
        path = _PATHS[chance.randrange(4)]
        user = _USERS[chance.randrange(6)]
        code = _CODES[second % 3] if n == 4 and second % 5 == 0 else ""
        at += 0.15
        topic = _TOPICS[2 + chance.randrange(4)][0]
        ms = 812.0 if path == "report/build" else round(0.4 + chance.random() * 3, 3)
        connection = f"c{n + 1:02x}f{(n + 1) * 977:05x}-7a21"
        if not code:
            data = {"id": f"c-{n}", "title": "Ship it", "author": {"id": 7, "token": "[REDACTED]"}, "votes": second}
            yield PublishEvent(
                at - 0.001, topic, "updated", 212, 31, second * 6 + n, data=data, id=call + 1, cause=call, sent_ms=0.9
            )
        yield CallEvent(
            at,
            path,
            connection,
            ms,
            not code,
            f"k{call}",
            user,
            code,
            args={"board_id": "12", "title": "Ship it", "token": "[REDACTED]"},
            result={"message": "too many calls; try again in 2 s"} if code else {"id": f"c-{n}", "moved": True},
            published=[] if code else [topic],
            id=call,
            steps=[
                ("guard", 0.0, 0.1),
                ("arguments", 0.1, 0.1),
                ("handler", 0.2, round(ms - 0.3, 3)),
                ("encode", ms - 0.1, 0.1),
            ],
        )
    if second == 16:
        yield ConnectionEvent(at, "c03f00b73-7a21", "close", "eve", "10.0.0.9", 1006, "", id=number + 99)


def _uploads(connections: list[ConnectionInfo], at: float) -> list[UploadInfo]:
    sent = int((at - AT) * 400_000)
    first, second = connections[3], connections[4]
    return [
        UploadInfo(
            first.id,
            "0000a1b2",
            "files/store",
            first.user,
            first.address,
            AT - 1,
            24_000_000,
            sent,
            sent - 9000,
            9000,
            "receiving",
        ),
        UploadInfo(
            second.id, "0000a1b3", "files/scan", second.user, second.address, AT, None, 900_000, 97_000, 803_000, "full"
        ),
    ]


def _rooms(kind: str = "room", number: int = 1) -> Rooms:
    rows = [
        RoomInfo("room", 1, "board:12", "", "board/cards", 6, 1, 6, 2, AT - 4),
        RoomInfo("contract", 1, "chat/chat", '["general"]', "/rooms/{room_id}", 3, 0, 3, 0, AT - 31),
    ]
    members = [RoomMember("ann", ["c01"], "stream", AT - 90, {"name": "Ann"}, {"x": 10, "y": 20})]
    refused = [RefusedJoin(AT - 12, "chat/project", "c02", "bob", "may not: no key was given")]
    return Rooms(
        at=AT, totals=RoomTotals(2, 9, 1), full=True, rows=rows, of=(kind, number), members=members, refused=refused
    )
