"""Percentiles against sorted lists."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.contrib.locust.histogram import Histogram

SECONDS = st.floats(1e-6, 1e4)


def filled(samples: list[float]) -> Histogram:
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    return histogram


@given(st.lists(SECONDS, min_size=1), st.floats(0, 1))
def test_percentiles_are_within_one_percent(samples: list[float], share: float) -> None:
    exact = sorted(samples)[max(1, math.ceil(share * len(samples))) - 1]
    assert filled(samples).percentile(share) == pytest.approx(exact, rel=0.01)


@given(st.lists(SECONDS), st.lists(SECONDS))
def test_merging_is_the_same_as_adding_all(one: list[float], other: list[float]) -> None:
    merged = filled(one)
    merged.merge(filled(other))
    whole = filled(one + other)
    assert merged.counts == whole.counts
    assert (merged.count, merged.min, merged.max) == (whole.count, whole.min, whole.max)
    assert merged.total == pytest.approx(whole.total)


def test_minimum_and_maximum_are_exact_and_bound_the_percentiles() -> None:
    histogram = filled([0.123456789, 0.987654321])
    assert (histogram.min, histogram.max) == (0.123456789, 0.987654321)
    assert 0.123456789 <= histogram.percentile(0) <= histogram.percentile(1) <= 0.987654321


def test_without_samples_there_are_zeros() -> None:
    assert Histogram().percentile(0.99) == 0.0
    assert Histogram().max == 0.0


def test_negative_samples_count_as_zero() -> None:
    assert filled([-1.0]).percentile(1) == 0.0


def test_its_size_does_not_depend_on_the_number_of_samples() -> None:
    assert len(filled([n / 1e5 for n in range(1, 100_001)]).counts) < 130 * 17
