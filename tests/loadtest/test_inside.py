"""The server's seconds, made of what its devtools tell."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import BUCKETS, ConnectionStats, State, UploadTotals
from liverpc.telemetry import Latencies
from loadtest._inside import Inside, quantile
from loadtest._result import ServerSecond

NOTHING = ServerSecond()


def state(rev: int = 1, buffered: dict[str, int] | None = None, **more: Any) -> State:
    rows = [ConnectionStats(name, 0, 0, 0, 0, waiting) for name, waiting in (buffered or {}).items()]
    return State(rev=rev, at=float(rev), connection_stats=rows, upload_totals=UploadTotals(0, 1, 0, 1), **more)


def calls(*seconds: float) -> list[tuple[int, int]]:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    return latencies.sparse()


def test_a_second_is_what_was_told_since_the_last_one() -> None:
    inside = Inside()
    assert inside.second() == NOTHING
    inside.take(state(1, {"a": 5, "b": 7}, full=True, latencies=calls(8.0)))
    assert inside.second() == ServerSecond(lag_ms=0.0, outbox_bytes=12, connections=2)  # those calls are long over
    inside.take(state(2, {"c": 1}, connections_gone=["a"], lag=0.25))
    assert inside.second() == ServerSecond(lag_ms=250.0, outbox_bytes=8, connections=2)
    assert inside.second() == NOTHING  # it is frozen, or far away


def test_of_calls_only_those_count_that_ended_in_the_second() -> None:
    inside = Inside()
    inside.take(state(1, full=True, latencies=calls(8.0, 8.0)))
    inside.second()
    inside.take(state(2, latencies=calls(8.0, 8.0, 0.1)))
    inside.take(state(3))  # in between they are not told
    inside.take(state(4, latencies=calls(8.0, 8.0, 0.1, 0.001)))
    ended = inside.second().handler_ms
    assert ended is not None
    assert 90 < ended < 110
    inside.take(state(5, latencies=calls(8.0, 8.0, 0.1, 0.001)))
    assert inside.second().handler_ms is None


def test_a_full_state_in_parts_replaces_what_was_known() -> None:
    inside = Inside()
    inside.take(state(1, {"a": 1, "b": 1}, full=True))
    inside.take(state(9, {"b": 2}, full=True, more=True))
    assert inside.second().outbox_bytes == 2
    inside.take(state(9, {"c": 4}, full=True))
    assert inside.second() == ServerSecond(lag_ms=0.0, outbox_bytes=6, connections=2)


def test_another_server_begins_anew() -> None:
    inside = Inside()
    inside.take(state(1, {"a": 1}, full=True, latencies=calls(0.1)))
    inside.forget()
    assert inside.second() == NOTHING
    inside.take(state(1, {"b": 1}, full=True, latencies=calls(8.0), busy=0.01))
    assert inside.second() == ServerSecond(lag_ms=0.0, outbox_bytes=1, connections=1)
    assert inside.busy == 0.01


def test_a_token_for_some_topics_tells_nothing_of_the_whole_server() -> None:
    inside = Inside()
    inside.take(State(rev=1, at=1.0, full=True, connection_stats=[ConnectionStats("a", 0, 0, 0, 0, 9)]))
    assert inside.second() == NOTHING


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000)),
            st.lists(st.sampled_from("abcdef")),
            st.booleans(),
        )
    )
)
def test_changes_lead_to_what_the_whole_would_say(changes: list[tuple[dict[str, int], list[str], bool]]) -> None:
    inside = Inside()
    inside.take(state(0, full=True))
    there: dict[str, int] = {}
    for rev, (seen, gone, looked_at) in enumerate(changes, 1):
        there = {name: waiting for name, waiting in {**there, **seen}.items() if name not in gone}
        inside.take(state(rev, seen, connections_gone=gone))
        if looked_at:
            second = inside.second()
            assert (second.connections, second.outbox_bytes) == (len(there), sum(there.values()))


@given(st.lists(st.floats(0, 8000), min_size=1), st.floats(0.01, 1))
def test_quantiles_are_those_of_the_server(durations: list[float], share: float) -> None:
    latencies = Latencies()
    for each in durations:
        latencies.add(each)
    counts = Counter(dict(latencies.sparse()))
    assert quantile(counts, share) == latencies.quantile(share)
    assert max(counts) <= len(BUCKETS)
