"""Whatever a connection loses, doubles or turns around, the value becomes that of the log."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.client.core import ClientCore
from liverpc.client.position import EARLY_MAX
from liverpc.config import ClientConfig
from liverpc.merge import Fold, make_fold

EVENTS = {
    "crud": ("created", "updated", "deleted"),
    "latest": ("said",),
    "set": ("set",),
    "presence": ("join", "leave"),
}

fate = st.sampled_from(["pass", "pass", "drop", "twice", "late"])
step = st.one_of(
    st.tuples(st.just("publish"), st.tuples(st.integers(0, 2), st.integers(0, 4), fate)),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("fail"), st.none()),
    st.tuples(st.just("deliver"), st.none()),
    st.tuples(st.just("reconnect"), st.none()),
    st.tuples(st.just("truncate"), st.booleans()),
    st.tuples(st.just("come back"), st.none()),
)


class Log:
    """A server's log of one topic, of which it keeps the last few events, and the core that follows it."""

    def __init__(self, merge: str, kept: int) -> None:
        self.merge = merge
        self.kept = kept
        self.now = 0.0
        self.core = ClientCore(ClientConfig(), monotonic=lambda: self.now, rng=random.Random(0))
        self.epoch = 1
        self.events: list[tuple[str, Any]] = []
        self.value = self.fold()
        self.late: list[str] = []
        self.asked: list[Any] = []
        self.count = 0
        self.core.connection_opened()
        self.stream = self.core.subscribe("a/log", [])

    def fold(self) -> Fold:
        return make_fold(self.merge, key="id", max=3 if self.merge == "latest" else 0)

    # -- the server

    def publish(self, which: int, key: int, what: str) -> None:
        self.count += 1
        names = EVENTS[self.merge]
        event = names[which % len(names)]
        data = self.count if self.merge == "latest" else {"id": key, "key": key, "n": self.count}
        self.events.append((event, data))
        self.value.apply(event, data)
        frame = {"topic": "log", "event": event, "data": data, "seq": len(self.events)}
        text = json.dumps(frame)
        if what == "late":
            self.late.append(text)
        elif what != "drop":
            for _ in range(2 if what == "twice" else 1):
                self.core.receive(text)

    def truncate(self, told: bool) -> None:
        """A new epoch; a connection that is not told is lost, as one of a server that restarts."""
        self.epoch += 1
        self.events = []
        self.late = []
        if told:
            self.core.receive('{"topic":"log","event":"truncated","data":{"reqId":"log","truncated":true}}')
        else:
            self.reconnect()

    def answer(self) -> None:
        self.ask()
        if not self.asked:
            return
        request = self.asked.pop(0)
        head = len(self.events)
        seq = request.get("seq")
        body = {"ok": True, "topic": "log", "merge": self.merge, "key": "id", "seq": head, "epoch": str(self.epoch)}
        if self.merge == "latest":
            body["max"] = 3
        if seq is not None and request.get("epoch") == str(self.epoch) and head - self.kept <= seq <= head:
            missed = enumerate(self.events[seq:], seq + 1)
            body |= {"replay": True, "data": [{"seq": n, "event": event, "data": data} for n, (event, data) in missed]}
        else:
            body |= {"data": self.value.value} | ({"replay": False} if seq is not None else {})
        self.core.receive(json.dumps({"topic": "__rpc", "event": request["id"], "data": body}))

    def fail(self) -> None:
        self.ask()
        if self.asked:
            body = {"ok": False, "code": "OVERLOADED", "error": "later"}
            self.core.receive(json.dumps({"topic": "__rpc", "event": self.asked.pop(0)["id"], "data": body}))

    # -- the network

    def ask(self) -> None:
        self.core.end_turn()
        frames = [json.loads(text) for text in self.core.outgoing()]
        self.asked += [frame for frame in frames if "rpc" in frame]
        assert len(self.asked) <= 1, "more than one request at a time"

    def deliver(self) -> None:
        if self.late:
            self.core.receive(self.late.pop())

    def reconnect(self) -> None:
        self.core.connection_lost(1006)
        self.late = []
        self.asked = []
        self.core.connection_opened()

    def come_back(self) -> None:
        self.core.unsubscribe(self.stream)
        self.core.end_turn()
        list(self.core.outgoing())
        self.asked, self.late = [], []  # the answers would come too late, and nothing more of this topic comes
        self.stream = self.core.subscribe("a/log", [])

    def settle(self) -> None:
        """Once nothing disturbs the connection any more."""
        while self.late:
            self.deliver()
        self.publish(0, 0, "pass")  # so that it shows when the event before it is missing
        for _ in range(20):
            self.answer()
            due = self.core.next_deadline()
            if self.stream.status == "connected" and not self.stream.store.missing:
                return
            if due is None:
                assert self.stream.status == "error"  # the request after a reconnect failed: the next one tries again
                self.reconnect()
            else:
                self.now = max(self.now, due)
                self.core.tick()
        raise AssertionError("it does not settle")


@pytest.mark.parametrize("merge", list(EVENTS))
@settings(max_examples=100, deadline=None)
@given(st.lists(step, max_size=40), st.integers(0, 6))
def test_once_a_resync_is_answered_the_value_is_that_of_the_log(
    merge: str, steps: list[tuple[str, Any]], kept: int
) -> None:
    log = Log(merge, kept)
    log.answer()
    for kind, value in steps:
        if kind == "publish":
            log.publish(*value)
        elif kind == "truncate":
            log.truncate(value)
        else:
            getattr(log, kind.replace(" ", "_"))()
        if log.stream.has_value and log.stream.status == "connected":
            assert log.stream.error is None
    log.settle()
    assert log.stream.value == log.value.value


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_events_beyond_the_cap_are_dropped_and_asked_for(over: int) -> None:
    log = Log("crud", 10 * EARLY_MAX)
    log.answer()
    log.publish(0, 0, "drop")
    for number in range(EARLY_MAX + over):
        log.publish(0, number, "pass")
    counters = log.core.streams.counters
    assert (counters.overflowed, counters.resyncs) == (EARLY_MAX + 1 if over > 0 else 0, 1)
    log.settle()
    assert log.stream.value == log.value.value
