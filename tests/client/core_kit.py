"""A client's core and the server it talks to, both in the test's hands."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
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
