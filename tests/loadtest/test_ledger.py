"""The ledger against one that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.contrib.locust.ledger import MISSING_MAX, Ledger


def fed(numbers: list[int], missing_max: int = MISSING_MAX) -> Ledger:
    ledger = Ledger(missing_max)
    for number in numbers:
        ledger.add(number)
    return ledger


@given(st.lists(st.integers(0, 40)), st.integers(0, 50))
def test_it_agrees_with_a_naive_model(numbers: list[int], more: int) -> None:
    published = max(numbers, default=-1) + 1 + more
    ledger = fed(numbers)
    seen: set[int] = set()
    duplicates = late = displacement = 0
    for number in numbers:
        if number in seen:
            duplicates += 1
        elif seen and number < max(seen):
            late += 1
            displacement = max(displacement, max(seen) - number)
        seen.add(number)
    assert ledger.received == len(numbers)
    assert ledger.duplicates == duplicates
    assert ledger.out_of_order == late
    assert ledger.displacement == displacement
    assert ledger.missing(published) == set(range(published)) - seen
    assert ledger.lost(published) == published - len(seen)
    assert not ledger.capped


def test_nothing_received_means_everything_lost() -> None:
    assert fed([]).lost(3) == 3
    assert fed([]).missing(3) == {0, 1, 2}
    assert fed([]).lost(0) == 0


@pytest.mark.parametrize(("gap", "capped"), [(9, False), (10, False), (11, True)])
def test_it_remembers_as_many_missing_numbers_as_it_may(gap: int, capped: bool) -> None:
    ledger = fed([gap], missing_max=10)
    assert ledger.capped is capped
    assert ledger.lost(gap + 1) == gap
    assert len(ledger.missing(gap + 1)) == min(gap, 10)


def test_a_late_message_that_was_not_remembered_counts_as_duplicate_and_stays_lost() -> None:
    ledger = fed([11, 10, 0], missing_max=10)
    assert (ledger.duplicates, ledger.out_of_order, ledger.lost(12)) == (1, 1, 10)
