from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import BUCKETS, State
from liverpc_devtools.core.latency import Latency, merge, quantile
from liverpc_devtools.core.meter import Trend
from liverpc_devtools.core.rows import Rows
from liverpc_devtools.core.trends import Rates, Trends

seconds = st.floats(min_value=BUCKETS[0], max_value=BUCKETS[-1], exclude_min=True)


def counted(samples: list[float]) -> Counter[int]:
    return Counter(bisect_left(BUCKETS, each) for each in samples)


@given(st.lists(st.lists(seconds, min_size=1), min_size=1, max_size=5), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_quantiles_of_merged_servers_are_those_of_all_samples_to_a_buckets_width(
    servers: list[list[float]], q: float
) -> None:
    everything = sorted(sample for each in servers for sample in each)
    exact = everything[ceil(q * len(everything)) - 1]
    bucket = bisect_left(BUCKETS, exact)
    found = quantile(merge(map(counted, servers)), q)
    assert found is not None
    assert abs(found - exact) <= BUCKETS[bucket] - BUCKETS[bucket - 1]


@given(st.lists(st.dictionaries(st.integers(0, len(BUCKETS)), st.integers(0, 5)), max_size=5))
def test_the_order_of_servers_does_not_matter(parts: list[dict[int, int]]) -> None:
    assert merge(parts) == merge(reversed(parts))


def test_without_samples_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None


@pytest.mark.parametrize("bucket", [0, len(BUCKETS)])
def test_samples_beyond_all_buckets_have_the_outermost_bound(bucket: int) -> None:
    assert quantile({bucket: 1}, 0.5) == BUCKETS[0 if bucket == 0 else -1]


def test_only_what_came_after_the_first_totals_counts() -> None:
    latency = Latency()
    latency.add(10.0, [(100, 5)])
    assert latency.counts(10.0).total() == 0
    latency.add(11.0, [(100, 7), (101, 1)])
    assert latency.counts(11.0) == {100: 2, 101: 1}


def test_buckets_that_are_not_told_did_not_change() -> None:
    latency = Latency()
    latency.add(10.0, [(100, 5), (101, 5)])
    latency.add(11.0, [(101, 6)])
    latency.add(12.0, [(100, 6), (101, 6)])
    assert latency.counts(12.0) == {100: 1, 101: 1}


@pytest.mark.parametrize(("after", "counted"), [(59.9, 1), (60.0, 0), (60.1, 0)])
def test_a_minute_is_looked_at(after: float, counted: int) -> None:
    latency = Latency()
    latency.add(10.0, [(100, 0)])
    latency.add(11.0, [(100, 1)])
    assert latency.counts(11.0 + after).total() == counted


def test_steps_of_a_gap_are_not_counted() -> None:
    latency = Latency()
    latency.add(10.0, [(100, 1)])
    latency.add(40.0, [(100, 900)], anew=True)
    latency.add(41.0, [(100, 901)])
    assert latency.counts(41.0) == {100: 1}


def test_a_series_has_a_value_for_each_second_with_samples() -> None:
    latency = Latency()
    for at, total in ((10.0, 0), (11.0, 1), (13.0, 2)):
        latency.add(at, [(100, total)])
    value = quantile({100: 1}, 0.99)
    assert latency.series(13.0, 4, 0.99) == [None, value, None, value]


def test_a_trend_keeps_the_highest_value_of_a_second_and_tells_gaps_from_nothing() -> None:
    trend = Trend()
    for at, value in ((10.0, 1.0), (10.5, 3.0), (10.9, 2.0), (12.0, 0.0), (16.0, 5.0)):
        trend.add(at, value)
    assert trend.series(16.2, 8) == [None, 3.0, 0.0, 0.0, None, None, None, 5.0]


def test_a_rate_is_what_came_since_the_last_second_and_nothing_across_a_gap() -> None:
    rates = Rates()
    rates.add(10.0, {"calls": 100})
    rates.add(10.5, {"calls": 105})
    rates.add(11.0, {"calls": 110})
    assert rates["calls"].last == 10.0
    rates.add(20.0, {"calls": 900}, anew=True)
    rates.add(21.0, {"calls": 902})
    assert rates["calls"].series(21.0, 2) == [None, 2.0]
    assert rates["unheard of"].series(21.0, 2) == [None, None]


def test_after_a_reconnection_figures_begin_anew() -> None:
    trends, rows = Trends(), Rows(0.0)
    trends.apply(State(rev=1, at=10.0, full=True, counters={"calls": 1}, latencies=[(100, 1)]), rows)
    trends.apply(State(rev=2, at=11.0, counters={"calls": 5}, latencies=[(100, 3)]), rows)
    assert (trends.latency.counts(11.0), trends.rates["calls"].last) == ({100: 2}, 4.0)
    trends.apply(State(rev=1, at=40.0, full=True, counters={"calls": 500}), rows)  # the histogram comes later
    trends.apply(State(rev=2, at=40.5, counters={"calls": 500}, latencies=[(100, 700)]), rows)
    assert trends.latency.counts(41.0, 20.0).total() == 0
    assert trends.rates["calls"].series(40.5, 1) == [None]
