"""Nothing reaches a function that should not, however it is asked, and every refusal says why.

The server is a process of its own, its clients are sockets that follow no rules.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from liverpc import Limits
from liverpc.wire.binary import upload_chunk
from tests.e2e.abuse_kit import (
    Raw,
    abuse_process,
    abused_server,
    binary,
    call,
    crowd,
    hostile,
    message,
    report,
    stream,
    upload,
)
from tests.e2e.abuse_programs import HOUR, LOCK_WAIT, POINTS, STORE_MAX, TAKE_MAX

pytestmark = pytest.mark.realtime

LIMITS = Limits(lock_waiters=100, rate_limit_guests=200, upgrades_per_address=200)

DESK = call("desk/__open", {"number": "1"})
IN_DESK = [call("desk/__join/desk"), call("desk/__event/say", {"text": "x"})]
VAULT: dict[str, list[Any]] = {
    "function": [call("vault/read"), call("vault/write"), call("vault/write", stream=True)],
    "stream": [stream("vault/rows"), stream("vault/board/__data", "b"), stream("vault/board/__presence", "b")],
    "cursor": [stream("vault/board/__cursors", "b"), call("vault/board/__action/move_cursor", "b", {"x": 1})],
    "action": [call("vault/board/__action/add", "b", "card"), call("vault/board/__action/moveCursor", "b", {})],
    "contract": [
        call("desk/__open", {"number": "1"}),
        call("desk/__join/desk"),
        call("desk/__event/say", {"text": "x"}),
    ],
    "bytes": [binary("vault/store", data=b"abc"), upload("vault/take", data=b"abc")],
}
RIGHT_KINDS = [frame for frames in VAULT.values() for frame in frames]
FUNCTIONS = ["vault/read", "vault/write", "vault/board/__action/add"]
STREAMS = ["vault/rows", "vault/board/__data", "vault/board/__presence", "vault/board/__cursors"]
WRONG_KINDS: list[Any] = [
    *(wrong(path, "b", "c") for path in FUNCTIONS for wrong in (binary, upload)),
    *(wrong(path, "b") for path in STREAMS for wrong in (call, binary, upload)),
    *(wrong("vault/store") for wrong in (call, stream, upload)),
    *(wrong("vault/take") for wrong in (call, stream, binary)),
]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with abused_server(LIMITS) as port:
        yield port


@pytest.fixture
def port(server: int) -> int:
    """Of the server, to which nothing is told yet."""
    report(server)
    return server


def texts(frames: list[Any]) -> list[dict[str, Any]]:
    return [{**frame, "id": str(n)} for n, frame in enumerate(frames) if isinstance(frame, dict)]


def settled(port: int) -> dict[str, Any]:
    """What is in hand when all connections but the one that asks are gone."""
    reached = Counter[Any]()
    end = time.monotonic() + 5
    while True:
        about = report(port)
        reached.update(about["reached"])
        if about["connections"] == 1 or time.monotonic() > end:
            return {**about, "reached": reached}
        time.sleep(0.01)


# -- who may


def test_nobody_gets_where_one_has_to_be_signed_in(port: int) -> None:
    with Raw(port, path="/desk/1") as nobody:
        for frame in RIGHT_KINDS:
            # For whom a contract did not open, there is nothing in it.
            assert nobody.code(frame) == ("NOT_FOUND" if frame in IN_DESK else "UNAUTHENTICATED"), frame
        for sequential in (False, True):
            nobody.send({"batch": texts(RIGHT_KINDS), "sequential": sequential})
            codes = Counter(answer["code"] for answer in nobody.answers(len(texts(RIGHT_KINDS))))
            assert codes == {"UNAUTHENTICATED": len(texts(RIGHT_KINDS)) - len(IN_DESK), "NOT_FOUND": len(IN_DESK)}
        for frame in texts(RIGHT_KINDS):
            nobody.send({member: value for member, value in frame.items() if member != "id"})
        assert nobody.code(call("control/report")) == "UNAUTHENTICATED"
        assert nobody.code(call("steady/careful", 1)) == "UNAUTHENTICATED"
    assert settled(port)["reached"] == {}


def test_known_users_get_where_nobody_does(port: int) -> None:
    with Raw(port, "ann.acme") as known:
        for frame in RIGHT_KINDS:
            assert known.code(frame) is None, frame
        assert known.code(call("control/report")) == "FORBIDDEN"
    assert {path for path, _, _ in report(port)["reached"]} >= {"vault/read", "vault/rows", "vault/store", "vault/take"}


@pytest.mark.parametrize("token", [None, "ann.acme"])
def test_wrong_kinds_of_messages_pass_no_check(port: int, token: str | None) -> None:
    allowed = {"INVALID_REQUEST"} if token else {"INVALID_REQUEST", "UNAUTHENTICATED"}
    with Raw(port, token) as caller:
        for frame in WRONG_KINDS:
            assert caller.code(frame) in allowed, frame
        caller.send({"batch": texts(WRONG_KINDS)})
        assert {answer["code"] for answer in caller.answers(len(texts(WRONG_KINDS)))} <= allowed
    assert settled(port)["reached"] == {}


@pytest.mark.parametrize("token", ["forged", "a.b.c.d", ""])
def test_who_is_refused_at_the_door_has_called_nothing(port: int, token: str) -> None:
    first = b"".join(map(message, RIGHT_KINDS))
    with Raw(port, token, first=first) as forger:
        assert forger.closed_with() == 4401
    assert settled(port)["reached"] == {}


def test_expired_sessions_reach_nothing(port: int) -> None:
    first = b"".join(map(message, RIGHT_KINDS))
    with Raw(port, "old.acme.-1", first=first) as expired:
        assert expired.closed_with() == 4401
    assert settled(port)["reached"] == {}
    with Raw(port, "short.acme.0_4") as listens, Raw(port, "short.acme.0_4") as calls:
        assert listens.code(stream("vault/rows")) is None
        begin = time.monotonic()
        while time.monotonic() < begin + 0.8:
            calls.send(call("vault/read"))
            time.sleep(0.01)
        assert calls.closed_with() == listens.closed_with() == 4401
    about = settled(port)
    assert 1 <= about["reached"]["vault/read", "short", ("",)] <= 50  # of nearly eighty
    assert about["topics"] == 0


def test_what_expired_sessions_have_begun_ends_and_what_waits_does_not_begin(port: int) -> None:
    with Raw(port, "late.acme.0_2") as holder, Raw(port, "ann.acme") as ann:
        holder.send(call("work/hold", "key", 30, ref="1"), upload("vault/take", last=False))
        rest = [call("work/hold", "other key", 30, ref="2"), call("vault/read", ref="3")]
        holder.send({"batch": rest, "sequential": True})
        assert holder.closed_with() == 4401
        ann.send(call("work/hold", "key", 0.25))
        assert ann.answers(1)[0]["ok"]
        ann.send(call("work/hold", "key", 0.25))
        with Raw(port, "late.acme.0_1", first=message(call("work/hold", "key", 0))) as waits:
            assert waits.closed_with() == 4401
        assert ann.answers(1)[0]["ok"]
    about = settled(port)
    assert {row: times for row, times in about["reached"].items() if row[1] == "late"} == {
        ("work/hold", "late", ("key",)): 1,
        ("work/hold", "late", ("other key",)): 1,
        ("vault/take", "late", ()): 1,
    }
    assert (about["locks"], about["uploads"]) == (0, 0)


def test_other_tenants_are_out_of_reach(port: int) -> None:
    tries: list[Any] = [
        wrong
        for arguments in (["acme"], ["acme", "globex"], ["acme", {"organization": "globex"}])
        for wrong in (
            call("tenant/look", *arguments),
            call("tenant/change", *arguments),
            binary("tenant/file", *arguments),
            stream("tenant/news", *arguments),
        )
    ]
    odd = [call("tenant/look", given) for given in (None, 1, ["acme"], {"organization": "acme"})]
    with Raw(port, "mallory.globex") as mallory, Raw(port) as nobody:
        for frame in tries:
            assert mallory.code(frame) == "FORBIDDEN", frame
            assert nobody.code(frame) == "UNAUTHENTICATED", frame
        for frame in [*odd, call("tenant/look")]:
            assert mallory.code(frame) == "VALIDATION", frame
        for name in ("ACME", "acme ", "", "acme\u0000", "globex\u0000acme"):
            assert mallory.code(call("tenant/look", name)) == "FORBIDDEN", name
        mallory.send({"type": "subscribe", "topic": "tenant:acme", "ref": 1})
        mallory.send({"type": "resume", "sessionId": "x", "lastSeenSeqs": {"tenant:acme": 0}})
        mallory.send({"batch": texts(tries)})
        assert {answer["code"] for answer in mallory.answers(len(texts(tries)))} == {"FORBIDDEN"}
        for frame in (call("tenant/look", "globex"), stream("tenant/news", "globex")):
            assert mallory.code(frame) is None
    about = settled(port)
    assert about["reached"] == {
        ("tenant/look", "mallory", ("globex",)): 1,
        ("tenant/news", "mallory", ("globex",)): 1,
    }
    assert about["topics"] == 0


# -- what runs once


def test_a_key_belongs_to_its_user(port: int) -> None:
    def charge(amount: int, key: Any = "k") -> dict[str, Any]:
        return call("pay/charge", amount, idempotencyKey=key)

    with Raw(port, "alice.acme") as alice, Raw(port, "bob.acme") as bob, Raw(port) as one, Raw(port) as other:
        receipt = alice.ask(charge(10))
        assert receipt["ok"]
        mine = {"bob": bob.ask(charge(10))["data"], "one": one.ask(charge(10))["data"]}
        mine["other"] = other.ask(charge(10))["data"]
        assert len({receipt["data"], *mine.values()}) == 4
        assert " of bob for " in mine["bob"]
        with Raw(port, "alice.globex") as again:
            assert again.ask(charge(10)) == receipt
        assert alice.code(charge(11)) == "CONFLICT"
        assert alice.code(call("pay/charge", 10, "more", idempotencyKey="k")) in (None, "CONFLICT")
        assert alice.ask(call("pay/refund", 10, idempotencyKey="k"))["data"] == "refund of 10"
        unusable: list[Any] = ["", "x" * 257, 1, None, ["k"], {}, True]
        for key in unusable:
            assert alice.code(charge(10, key)) == "INVALID_REQUEST", key
        assert alice.code(charge(10, "x" * 256)) is None
        for key in ("alice\nk", "user\nalice\nk", "shared\nk", "k\u0000"):  # no name for anything of another one
            assert bob.ask(charge(10, key))["data"] != receipt["data"]
        waiting = LIMITS.lock_waiters // 8  # of one user for one request
        alice.send({"batch": [{**charge(20, "many"), "id": str(n)} for n in range(waiting)]})
        assert len({answer["data"] for answer in alice.answers(waiting)}) == 1
        for n in range(waiting):
            alice.send({**charge(30, "concurrent"), "id": str(n)})
            bob.send({**charge(30 + n, "concurrent"), "id": str(n)})
        assert len({answer["data"] for answer in alice.answers(waiting)}) == 1
        codes = Counter(answer.get("code") for answer in bob.answers(waiting))
        assert codes == {None: 1, "CONFLICT": waiting - 1}
    about = settled(port)
    charged = Counter[Any]()
    for (path, who, (amount,)), times in about["reached"].items():
        if path == "pay/charge" and not who.startswith("@"):
            charged[who, amount] += times
    assert charged["alice", 10] == 2  # one of them with the longest key
    assert charged["alice", 11] == 0
    assert charged["alice", 20] == charged["alice", 30] == 1
    assert sum(times for (who, amount), times in charged.items() if who == "bob" and amount >= 30) == 1
    assert about["running"] == 0


# -- how often


def limited_calls(count: int) -> list[Any]:
    return [
        frame
        for n in range(count)
        for frame in (
            call("limited/hit_me", ref=f"a{n}"),
            call("limited/hitMe", ref=f"b{n}"),
            call("limited/wait_for_me", ref=f"c{n}"),
            binary("limited/keep", ref=f"d{n}"),
            stream("limited/feed", ref=f"e{n}"),
        )
    ]


def check_limited(answers: list[dict[str, Any]], allowed: int) -> None:
    refused = [answer for answer in answers if not answer["ok"]]
    assert {answer["code"] for answer in refused} <= {"RATE_LIMITED"}
    for answer in refused:
        assert 0 < answer["retryAfter"] <= HOUR * 1e3
    assert len(answers) - len(refused) == allowed


def test_limits_hold_for_every_way_to_call(port: int) -> None:
    with Raw(port, "eve.acme") as eve:
        eve.send(*limited_calls(8))
        check_limited(eve.answers(5 * 8), 4 * POINTS)
        assert eve.code(DESK) is None
        check_limited([eve.ask(call("desk/__event/say", {"text": "x"})) for _ in range(8)], POINTS)
        check_limited([eve.ask(upload("limited/send", number=n + 1)) for n in range(8)], POINTS)
        with Raw(port, "eve.globex") as again:  # a new connection is no new start
            again.send({"batch": texts(limited_calls(8))})
            check_limited(again.answers(4 * 8), 0)
        for _ in range(50):
            eve.send({"rpc": "limited/hit_me"})  # answered to nobody
        assert eve.code(call("limited/hit_me")) == "RATE_LIMITED"
    reached = settled(port)["reached"]
    assert {path: times for (path, who, _), times in reached.items() if who == "eve"} == dict.fromkeys(
        (
            "limited/hit_me",
            "limited/wait_for_me",
            "limited/keep",
            "limited/feed",
            "limited/send",
            "desk/__event/say",
        ),
        POINTS,
    ) | {"desk/__join/desk": 1}


@pytest.mark.parametrize(
    ("users", "guests"),
    [(4_000, 1_000), pytest.param(5_000, 5_000, marks=[pytest.mark.soak, pytest.mark.timeout(300)])],
)
def test_limits_hold_for_every_one_of_thousands(port: int, users: int, guests: int) -> None:
    name = f"u{users}x"
    with Raw(port, f"{name}.acme") as early:
        early.send(*(call("limited/hit_me", ref=str(n)) for n in range(POINTS)))
        check_limited(early.answers(POINTS), POINTS)

        hits = b"".join(message(call("limited/hit_me", ref=str(n))) for n in range(POINTS + 1))
        tokens = [f"{name}{number}.acme" for number in range(users)]
        for known in crowd(port, tokens, cycle([f"198.51.100.{n}" for n in range(100)]), hits):
            check_limited(known.answers(POINTS + 1), POINTS)

        # All who come from one network are allowed ten times what one is. There are a hundred in each, more than the
        # server remembers; in every other one each has an IPv6 address of its own.
        networks = guests // 100

        def address(n: int) -> str:
            at = n % networks
            return f"192.0.{guests >> 8}.{at}" if at % 2 else f"2001:db8:{guests}:{at}::{n:x}"

        allowed = refused = 0
        for guest in crowd(port, [None] * guests, map(address, range(guests)), hits):
            answers = guest.answers(POINTS + 1)
            passed = sum(answer["ok"] for answer in answers)
            check_limited(answers, passed)
            assert passed <= POINTS
            allowed += passed
            refused += len(answers) - passed
        assert 0 < allowed <= networks * 10 * POINTS
        assert refused == guests * (POINTS + 1) - allowed

        assert early.code(call("limited/hit_me")) == "RATE_LIMITED"  # none of them made the server forget it
    about = settled(port)
    by_caller = Counter[str]()
    for (_, who, _), times in about["reached"].items():
        by_caller[who] += times
    assert {by_caller[token.partition(".")[0]] for token in tokens} == {POINTS}
    assert sum(times for who, times in by_caller.items() if who.startswith("@")) == allowed
    assert about["connections"] == 1


# -- how much


def test_locks_are_hogged_only_by_those_who_need_them(port: int) -> None:
    with Raw(port, "hog.acme") as hog, Raw(port, "ann.acme") as ann:
        hog.send(call("work/hold", "key", 5))
        hogs = [Raw(port, "hog.acme") for _ in range(2)]
        for other in hogs:  # a connection is read from until it has 64 calls under way
            other.send(*(call("work/hold", "key", 0, ref=str(n)) for n in range(64)))
        codes = Counter(answer.get("code") for other in hogs for answer in other.answers(64))
        own = LIMITS.lock_waiters // 8  # so that others can wait, too
        assert codes == {"LOCK_TIMEOUT": own, "LOCK_QUEUE_FULL": 128 - own}
        assert ann.code(call("work/hold", "key", 0)) == "LOCK_TIMEOUT"
        before = time.monotonic()
        assert ann.code(call("work/hold", "another key", 0)) is None
        assert time.monotonic() - before < LOCK_WAIT
        for other in (hog, *hogs):
            other.close()
        assert ann.code(call("work/hold", "key", 0)) is None  # who left holds nothing
    about = settled(port)
    assert about["locks"] == 0
    assert sum(times for (path, who, _), times in about["reached"].items() if who == "hog") == 1


def test_uploads_beyond_their_limits_end(port: int) -> None:
    with Raw(port, "big.acme") as big:
        assert big.code(binary("vault/store", data=bytes(STORE_MAX))) is None
        assert big.code(binary("vault/store", data=bytes(STORE_MAX + 1))) == "PAYLOAD_TOO_LARGE"
        assert big.code(upload("vault/take", data=bytes(TAKE_MAX))) is None
        assert big.code(upload("vault/take", number=2, data=bytes(TAKE_MAX + 1))) == "PAYLOAD_TOO_LARGE"
        big.send(upload("vault/take", number=3, data=bytes(TAKE_MAX), last=False), upload_chunk(3, 1, b"x", last=True))
        assert big.answers(1)[0]["code"] == "PAYLOAD_TOO_LARGE"
        big.send(*(upload("vault/take", number=number, last=False) for number in range(4, 9)))
        assert big.answers(1)[0]["code"] == "TOO_MANY_UPLOADS"
        with Raw(port) as nobody:
            nobody.send(
                *(upload("vault/take", number=number, data=bytes(5_000), last=False) for number in range(1, 50))
            )
            assert {answer["code"] for answer in nobody.answers(49)} <= {"UNAUTHENTICATED", "TOO_MANY_UPLOADS"}
    about = settled(port)
    assert about["uploads"] == 0
    assert {who for _, who, _ in about["reached"]} == {"big"}


def flood(port: int, token: str | None) -> Counter[Any]:
    """Much of everything on one connection; how often it was answered how."""
    answered = Counter[Any]()
    with Raw(port, token) as one:
        for _ in range(5):
            for frames, answers in hostile(100):
                one.send(*frames)
                answered.update(answer["code"] for answer in one.answers(answers))
    return answered


def test_floods_reach_nothing_and_cost_nobody_else_an_answer(port: int) -> None:
    with abuse_process("steady", str(port), "4", "50") as steady:
        assert steady.stdin is not None
        assert steady.stdout is not None
        assert steady.stdout.readline()
        steady.stdin.write("1\n")
        steady.stdin.flush()
        begin = time.monotonic()
        while time.monotonic() < begin + 0.8:
            for token, refusal in ((None, "UNAUTHENTICATED"), ("mallory.globex", "FORBIDDEN")):
                answered = flood(port, token)
                assert answered == {"NOT_FOUND": 500, "INVALID_REQUEST": 1_005, refusal: 1_750}
        with Raw(port) as huge:
            huge.send({"rpc": "vault/read", "id": "1", "args": ["x" * LIMITS.message_bytes]})
            assert huge.closed_with() == 1009
        about = json.loads(steady.stdout.readline())
    assert about["refused"] == {}
    assert about["calls"] == 200
    left = settled(port)
    assert left["reached"] == {}
    assert left["topics"] == 0
