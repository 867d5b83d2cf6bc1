"""Kinds of attackers, and what must become of each by docs/protocol.md sections 1, 2, 6, 7 and 8."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import msgspec

from liverpc.config import Limits
from liverpc.contrib.locust.frames import BINARY, CONTINUATION, PING, TEXT, client_frame
from liverpc.wire.frames import CONTROL_MAX_BYTES
from loadtest._peer import KEY, PROMPT, Aim, Ended, Peer, call_frame, text_frame

__all__ = ["KINDS", "Attack", "Ending", "attacks", "load"]

_TICKS = 0.5  # seconds; deadlines of the server are that much late at most
_OVER = 50  # how many more than the server takes
_PINGS = 1_000
_BATCH = 50  # calls in one, docs/protocol.md section 8
_ROUNDS = 10  # times as many calls as may be unfinished
_WAIT = 0.05  # seconds that each of them takes
_DRIPS = 1_000
_SHOWN = 80  # characters of an unexpected answer
_NAME = "x" * 65  # one character more than the demo lets in

Act = Callable[[Peer, random.Random], str]
Data = Callable[[Limits, random.Random], bytes]


class Ending(msgspec.Struct, frozen=True):
    """What became of an attacker."""

    how: str
    seconds: float
    right: bool


class Attack(msgspec.Struct, frozen=True):
    """One kind of attacker.

    ``act`` does it, on a new connection, and says how that ended; raising :class:`Ended` says it, too.
    """

    kind: str
    promise: str  #: how it ends on a server that keeps its promises
    act: Act
    soonest: float = 0.0  #: seconds; honest clients have that long
    latest: float = PROMPT
    rest: float = 0.0  #: seconds between two of them, where all kinds take turns

    def run(self, aim: Aim, rng: random.Random) -> Ending:
        """Attack once."""
        began = time.monotonic()
        try:
            peer = Peer(aim, self.latest)
            try:
                how = self.act(peer, rng)
            finally:
                peer.close()
        except Ended as ended:
            how = str(ended)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            how = f"answers without sense: {error!r}"
        seconds = time.monotonic() - began
        if how == self.promise and seconds < self.soonest:
            how += ", too soon"
        return Ending(how, seconds, how == self.promise)


# -- what they do


def _refused(peer: Peer, rng: random.Random, *, query: str = "", headers: str = "") -> str:
    """A handshake that ends the connection, before or after the upgrade."""
    peer.open(query=query, headers=headers)
    return _unasked(next(peer.answers))


def _closed(data: Data, peer: Peer, rng: random.Random) -> str:
    """A WebSocket that ends at what it sends."""
    peer.open()
    peer.send(data(peer.aim.limits, rng))
    return _unasked(next(peer.answers))


def _answered(data: Data, peer: Peer, rng: random.Random) -> str:
    """A WebSocket on which one answer comes, to ``attack`` or else to an honest call, and which goes on to work."""
    peer.open()
    peer.send(data(peer.aim.limits, rng) + _HONEST)
    frame = next(peer.answers)
    how = _outcome(frame, "attack", "__batch", "honest")
    if frame.get("event") in ("attack", "__batch") and (then := _outcome(next(peer.answers), "honest")) != "ok":
        return f"{how}, then {then}"
    return how


def _half_open(peer: Peer, rng: random.Random) -> str:
    head = peer.aim.request()
    peer.send(head[: rng.randrange(len(head) - 2)])
    return f"answers: {peer.receive()[:_SHOWN]!r}"


def _slowloris(peer: Peer, rng: random.Random) -> str:
    peer.drip(peer.aim.request(headers=f"X-Slow: {'x' * _DRIPS}\r\n"))
    return "took it all"


def _slow_body(peer: Peer, rng: random.Random) -> str:
    peer.send(peer.aim.request(method="POST", path="/__ws/auth", headers=f"Content-Length: {_DRIPS}\r\n"))
    peer.drip(b"x" * _DRIPS)
    return "took it all"


def _no_goodbye(peer: Peer, rng: random.Random) -> str:
    """Somebody refused, who does not answer the server's goodbye."""
    peer.open(query=f"user={_NAME}")
    while True:
        peer.receive()


def _subscribe_bomb(peer: Peer, rng: random.Random) -> str:
    """More streams than a connection may have."""
    limits = peer.aim.limits
    peer.open()
    peer.send(_subscribes(limits))
    codes = _counted(peer, limits.streams_per_connection + _OVER)
    wanted = {"ok": limits.streams_per_connection, "OVERLOADED": _OVER}
    return "OVERLOADED" if codes == wanted else f"answers: {codes}"


def _call_bomb(peer: Peer, rng: random.Random) -> str:
    """Many times more calls than may be unfinished: all are answered, no faster than that allows."""
    limits = peer.aim.limits
    peer.open()
    began = time.monotonic()
    peer.send(_calls(limits))
    codes = _counted(peer, _ROUNDS * limits.calls_in_flight)
    if time.monotonic() - began < _ROUNDS * _WAIT:
        return "more at once than calls_in_flight"
    return "ok" if codes == {"ok": _ROUNDS * limits.calls_in_flight} else f"answers: {codes}"


def _outcome(frame: dict[str, Any], *refs: str) -> str:
    """How a reply to one of these came out: ``ok`` or its code."""
    if frame.get("event") not in refs:
        return _unasked(frame)
    data = frame["data"]
    answers = data.get("batch", [data])
    return ", ".join(sorted({"ok" if answer["ok"] else answer["code"] for answer in answers}))


def _unasked(frame: dict[str, Any]) -> str:
    return f"answers: {json.dumps(frame)[:_SHOWN]}"


def _counted(peer: Peer, number: int) -> dict[str, int]:
    """So many answers, by how they came out."""
    codes: dict[str, int] = {}
    while number > 0:
        for message in peer.messages():  # not decoded: they are thousands, and honest users are in this process
            if b'"ok":true' in message:
                code = "ok"
            elif b'"code":"' in message:
                code = message.split(b'"code":"', 1)[1].split(b'"', 1)[0].decode()
            else:
                continue
            codes[code] = codes.get(code, 0) + 1
            number -= 1
    return codes


# -- what they send


_HONEST = call_frame("load/echo", "still here", ref="honest")
_NO_FRAMES: list[Any] = [None, 7, "text", [], {}, {"rpc": 1, "id": "1"}, {"rpc": "load/echo", "id": 2}, {"type": "x"}]


def _bad_json(limits: Limits, rng: random.Random) -> bytes:
    whole = json.dumps({"rpc": "load/echo", "id": "1", "args": [{"a": [1, 2, "three"]}]})
    broken = [whole[: rng.randrange(len(whole))] for _ in range(20)]
    long = {"type": "subscribe", "topic": "load:x", "ref": 1, "pad": "x" * CONTROL_MAX_BYTES}
    return b"".join(map(text_frame, [*broken, *map(json.dumps, [*_NO_FRAMES, long])]))


def _garbage(limits: Limits, rng: random.Random) -> bytes:
    # 0, 1 and 2 begin binary calls and uploads. None of these has a header of that length.
    heads = (bytes((rng.randrange(3), 0xFF, 0xFF)) if n % 2 else b"" for n in range(30))
    return b"".join(client_frame(BINARY, head + rng.randbytes(rng.randrange(400)), KEY) for head in heads)


def _noise(limits: Limits, rng: random.Random) -> bytes:
    return b"\x83" + rng.randbytes(200)  # there is no frame of this kind


def _unmasked(limits: Limits, rng: random.Random) -> bytes:
    return b"\x81\x02{}"


def _bad_utf8(limits: Limits, rng: random.Random) -> bytes:
    return client_frame(TEXT, b'{"rpc":"\xff"}', KEY)


def _pings(limits: Limits, rng: random.Random) -> bytes:
    return client_frame(PING, b"x" * 125, KEY) * _PINGS


def _batch(limits: Limits, rng: random.Random) -> bytes:
    calls = [{"rpc": "load/echo", "id": str(n), "args": [n]} for n in range(_BATCH + 1)]
    return text_frame(json.dumps({"batch": calls}))


def _deep(limits: Limits, rng: random.Random) -> bytes:
    bottomless = text_frame("[" * 50_000)
    levels = limits.depth  # the frame and the list of its arguments come on top
    call = f'{{"rpc":"load/echo","id":"attack","args":[{"[" * levels}{"]" * levels}]}}'
    return bottomless + text_frame(call)


# Large, and the same for every attacker


@cache
def _oversize(limits: Limits) -> bytes:
    return client_frame(TEXT, b"x" * (limits.message_bytes + 1), KEY)


@cache
def _fragments(limits: Limits) -> bytes:
    half = client_frame(TEXT, b"x" * (limits.message_bytes // 2 + 1), KEY)
    return bytes((TEXT,)) + half[1:] + bytes((CONTINUATION,)) + half[1:]  # none of them the last


@cache
def _subscribes(limits: Limits) -> bytes:
    numbers = range(limits.streams_per_connection + _OVER)
    return b"".join(call_frame("load/events", f"bomb-{n}", ref=str(n), stream=True) for n in numbers)


@cache
def _calls(limits: Limits) -> bytes:
    return b"".join(call_frame("load/wait", _WAIT, ref=str(n)) for n in range(_ROUNDS * limits.calls_in_flight))


def load(limits: Limits) -> None:
    """Make what is large now, and not while somebody measures in this process."""
    for make in (_oversize, _fragments, _subscribes, _calls):
        make(limits)


def attacks(limits: Limits) -> dict[str, Attack]:
    """Every kind, for a server with these limits."""

    def slow(kind: str, act: Act, patience: float = limits.connect_seconds) -> Attack:
        return Attack(kind, "cut", act, soonest=patience, latest=patience + _TICKS + PROMPT)

    all_of_them = [
        Attack("oversize", "close 1009", partial(_closed, lambda limits, _: _oversize(limits))),
        Attack("fragments", "close 1009", partial(_closed, lambda limits, _: _fragments(limits))),
        Attack("bad_json", "ok", partial(_answered, _bad_json)),
        Attack("garbage", "ok", partial(_answered, _garbage)),
        Attack("noise", "close 1002", partial(_closed, _noise)),
        Attack("unmasked", "close 1002", partial(_closed, _unmasked)),
        Attack("bad_utf8", "close 1007", partial(_closed, _bad_utf8)),
        Attack("ping_flood", "ok", partial(_answered, _pings)),
        Attack("deep_json", "INVALID_REQUEST", partial(_answered, _deep)),
        Attack("batch_bomb", "INVALID_REQUEST", partial(_answered, _batch)),
        Attack("call_bomb", "ok", _call_bomb),
        Attack(
            "subscribe_bomb",
            "OVERLOADED",
            _subscribe_bomb,
            latest=PROMPT + limits.streams_per_connection / 500,
            rest=5.0,
        ),
        Attack("refused", "close 4403", partial(_refused, query=f"user={_NAME}")),
        Attack("huge_header", "http 431", partial(_refused, headers=f"X-Huge: {'x' * limits.head_bytes}\r\n")),
        Attack("many_headers", "http 431", partial(_refused, headers="X-Many: 1\r\n" * limits.headers)),
        slow("half_open", _half_open),
        slow("slowloris", _slowloris),
        slow("slow_body", _slow_body),
        slow("no_goodbye", _no_goodbye, limits.close_seconds),
    ]
    return {attack.kind: attack for attack in all_of_them}


KINDS = tuple(attacks(Limits()))
