"""A client's core and the server it talks to, both in the test's hands."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.errors import RpcError


class Now:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def make(now: Now | None = None, wall: Now | None = None, **settings: Any) -> ClientCore:
    given: dict[str, Any] = {"jitter": (1.0, 1.0)} | settings
    return ClientCore(ClientConfig(**given), monotonic=now or Now(), wall=wall or Now(), rng=random.Random(1))


def opened(now: Now | None = None, wall: Now | None = None, **settings: Any) -> ClientCore:
    core = make(now, wall, **settings)
    core.connection_opened()
    sent(core)
    return core


def status_of(core: ClientCore) -> str:
    return core.status  # a call, for type checkers believe that an attribute once compared stays so


def sent(core: ClientCore) -> list[Any]:
    return [json.loads(text) for text in core.outgoing()]


def reply(call: Call, data: Any = None, **members: Any) -> str:
    body = {"id": call.id, "ok": True, "data": data} | members
    return json.dumps({"topic": "__rpc", "event": call.id, "data": body})


def failed(call: Call) -> RpcError:
    with pytest.raises(RpcError) as caught:
        call.result()
    return caught.value


class Row(msgspec.Struct):
    id: int
    text: str = ""


class Peer:
    """A core together with the server's side of its connection."""

    def __init__(self, **settings: Any) -> None:
        self.seconds = 0.0
        self.streams = 0
        self.core = ClientCore(ClientConfig(**settings), monotonic=lambda: self.seconds, rng=random.Random(1))

    def open(self) -> list[Any]:
        self.core.connection_opened()
        return self.sent()[1:]

    def sent(self) -> list[Any]:
        self.core.end_turn()  # as shells do before anything is sent
        return [json.loads(text) for text in self.core.outgoing()]

    def request(self) -> str:
        (frame,) = self.sent()
        assert frame["stream"] is True
        name: str = frame["id"]
        return name

    def answer(self, name: str, data: Any = None, **members: Any) -> None:
        body = {"id": name, "ok": True, "data": data} | members
        self.core.receive(json.dumps({"topic": "__rpc", "event": name, "data": body}))

    def event(self, topic: str, event: str, data: Any, seq: int | None = 1, **members: Any) -> None:
        self.core.receive(json.dumps({"topic": topic, "event": event, "data": data, "seq": seq} | members))


def subscribed(peer: Peer, topic: str = "t", data: Any = (), **options: Any) -> Subscription:
    """One more stream, which shares nothing but perhaps the topic with the others."""
    peer.streams += 1
    subscription = peer.core.subscribe("a/s", [peer.streams], **options)
    peer.answer(peer.request(), data=data, topic=topic, merge="crud", key="id")
    return subscription


def stream(
    peer: Peer, *args: Any, data: Any = (), answer: dict[str, Any] | None = None, **options: Any
) -> Subscription:
    subscription = peer.core.subscribe("a/s", list(args), **options)
    peer.answer(peer.request(), data=data, **({"topic": "t"} | (answer or {})))
    return subscription


def reopened(peer: Peer, answer: dict[str, Any], data: Any = None) -> Any:
    """Lose the connection and answer the request of the next one. Returns that request."""
    peer.core.connection_lost(1006)
    (frame,) = peer.open()
    peer.answer(frame["id"], data, **({"topic": "t"} | answer))
    return frame
