"""What an observer of a stream is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.core_kit import Peer, reopened, stream

AT = {"epoch": "e", "merge": "latest"}


class Steps(list[tuple[str, Any]]):
    def whole(self, value: Any, /) -> None:
        self.append(("whole", value))

    def missed(self, data: list[Any], /) -> None:
        self.append(("missed", data))

    def event(self, data: Any, /) -> None:
        self.append(("event", data))


@pytest.fixture
def peer() -> Peer:
    peer = Peer(jitter=(1.0, 1.0))
    peer.open()
    return peer


def test_it_is_told_the_value_and_each_event_whose_turn_it_was(peer: Peer) -> None:
    steps = Steps()
    stream(peer, data=["a"], answer=AT | {"seq": 3}, observer=steps)
    for seq, data in ((4, "b"), (4, "b"), (6, "d"), (5, "c")):
        peer.event("t", "said", data, seq=seq)
    peer.event("t", "refreshed", ["z"], seq=7)
    assert steps == [("whole", ["a"]), ("event", "b"), ("event", "c"), ("event", "d"), ("whole", ["z"])]


def test_it_is_told_what_was_missed_and_when_all_begins_anew(peer: Peer) -> None:
    steps = Steps()
    stream(peer, data=[], answer=AT | {"seq": 3}, observer=steps)
    missed = [{"seq": n, "event": "said", "data": n} for n in (3, 4, 5)]
    reopened(peer, AT | {"replay": True, "seq": 5}, missed)
    reopened(peer, AT | {"replay": True, "seq": 5}, [])
    reopened(peer, AT | {"replay": False, "seq": 9, "epoch": "f"}, ["all"])
    assert steps == [("whole", []), ("missed", [4, 5]), ("missed", []), ("whole", ["all"])]


def test_it_is_told_the_rows_of_a_delta(peer: Peer) -> None:
    steps = Steps()
    rows = [{"id": 2}, {"id": 1, "_deleted": True}]
    stream(peer, data=[{"id": 1}], answer={"version": 0}, observer=steps)
    reopened(peer, {"delta": True, "version": 1}, rows)
    reopened(peer, {"unchanged": True, "version": 1}, [])
    assert steps == [("whole", [{"id": 1}]), ("missed", rows), ("missed", [])]


def test_it_shares_no_value_and_what_it_raises_disturbs_nobody(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Steps):
        def event(self, data: Any, /) -> None:
            raise ValueError(data)

    steps = Steps()
    plain, watched, broken = (
        stream(peer, data=[], answer=AT | {"seq": 3}, observer=each) for each in (None, steps, Broken())
    )
    peer.event("t", "said", "x", seq=4)
    assert plain.value == watched.value == broken.value == ["x"]
    assert steps == [("whole", []), ("event", "x")]
    assert "a callback raised" in caplog.text
