"""Whatever happens to a connection, in whatever order, each call ends exactly once."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.errors import RpcError

number = st.integers(0, 30)
step = st.one_of(
    st.tuples(st.just("open"), st.none()),
    st.tuples(st.just("lose"), st.sampled_from([1006, 1001, 4429])),
    st.tuples(st.just("final"), st.sampled_from([1008, 4401, 4403])),
    st.tuples(st.just("call"), st.floats(0.0, 40.0)),
    st.tuples(st.just("share"), st.floats(0.0, 40.0)),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("batch"), st.integers(0, 4)),
    st.tuples(st.just("batch answer"), st.lists(number, max_size=4)),
    st.tuples(st.just("subscribe"), st.floats(0.0, 40.0)),
    st.tuples(st.just("leave"), number),
    st.tuples(st.just("cancel"), number),
    st.tuples(st.just("send"), number),
    st.tuples(st.just("answer"), number),
    st.tuples(st.just("refuse"), number),
    st.tuples(st.just("wait"), st.floats(0.0, 40.0)),
)


class Run:
    def __init__(self) -> None:
        self.now = 0.0
        self.core = ClientCore(ClientConfig(), monotonic=lambda: self.now, rng=random.Random(0))
        self.calls: list[Call] = []
        self.streams: list[Subscription] = []
        self.ended: list[Call] = []
        self.cancelled: list[Call] = []
        self.sent: list[str] = []
        self.open = False

    def do(self, kind: str, value: Any) -> None:
        if kind in ("open", "lose", "final"):
            self._move(kind, value)
        elif kind in ("call", "share"):
            shared = kind == "share"
            self.calls.append(self.core.call("a/b", [], timeout=value, shared=shared, on_done=self.ended.append))
        elif kind == "batch":
            self.calls.extend(self.core.batch([("a/b", [])] * value, on_done=self.ended.append))
        elif kind == "turn":
            self.core.end_turn()
        elif kind == "subscribe":
            self.streams.append(self.core.subscribe("a/s", [], timeout=value))
        elif kind == "leave" and value < len(self.streams):
            self.core.unsubscribe(self.streams[value])
        elif kind == "cancel" and value < len(self.calls):
            call = self.calls[value]
            if not call.done:
                self.cancelled.append(call)
            self.core.cancel(call)
        elif kind == "send" and self.open:
            self._send(value)
        elif kind in ("answer", "refuse") and value < len(self.sent):
            body = {"ok": kind == "answer", "data": [], "topic": "t"}
            self.core.receive(json.dumps({"topic": "__rpc", "event": self.sent[value], "data": body}))
        elif kind == "batch answer":
            bodies = [{"id": self.sent[at], "ok": True} for at in value if at < len(self.sent)]
            self.core.receive(json.dumps({"topic": "__rpc", "event": "__batch", "data": {"batch": bodies}}))
        elif kind == "wait":
            self.now += value
            self.core.tick()

    def _move(self, kind: str, code: int) -> None:
        if kind == "open" and not self.open and self.core.status != "closed":
            self.open = True
            self.core.connection_opened()
        elif kind != "open":
            self.open = False
            self.core.connection_lost(code)

    def _send(self, limit: int) -> None:
        frames = self.core.outgoing()
        for text in (text for _, text in zip(range(limit), frames, strict=False)):
            frame = json.loads(text)
            for request in frame.get("batch", [frame]):
                if "id" in request:
                    waiting = [call for call in self.calls if call.id == request["id"]]
                    assert not waiting or not all(call.done for call in waiting)
                    self.sent.append(request["id"])


@settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=60))
def test_each_call_ends_exactly_once(steps: list[tuple[str, Any]]) -> None:
    run = Run()
    for kind, value in steps:
        run.do(kind, value)
        over = {*run.ended, *run.cancelled}
        assert all(call.done == (call in over) for call in run.calls)
        assert all((stream.status == "error") == (stream.error is not None) for stream in run.streams)
    run.core.close()
    assert {*run.ended, *run.cancelled} == set(run.calls)
    assert len(run.ended) + len(run.cancelled) == len(run.calls)
    called = {call.id for call in run.calls}
    once = [name for name in run.sent if name in called]
    assert len(set(once)) == len(once)
    assert run.core.next_deadline() is None
    assert not any("rpc" in json.loads(text) for text in run.core.outgoing())
    assert not run.core.has_outgoing
    for call in run.calls:
        with contextlib.suppress(RpcError):
            call.result()
