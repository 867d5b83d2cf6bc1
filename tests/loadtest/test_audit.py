"""The audit of a stream that resumes, against a model that remembers everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.contrib.locust.audit import ResumeAudit


def number(row: Any) -> int:
    n: int = row["n"]
    return n


def rows(*numbers: int) -> list[Any]:
    return [{"n": n} for n in numbers]


def fed(*steps: Any) -> ResumeAudit:
    """An audit after these steps: a list is a whole value, a tuple what was missed, a number an event."""
    audit = ResumeAudit(number)
    for step in steps:
        if isinstance(step, list):
            audit.whole(rows(*step))
        elif isinstance(step, tuple):
            audit.missed(rows(*step))
        else:
            audit.event(*rows(step))
    return audit


def said(audit: ResumeAudit, published: int) -> tuple[int, int, int, int]:
    return audit.lost(published), audit.duplicates, audit.out_of_order, audit.resets


@pytest.mark.parametrize(
    ("steps", "published", "wanted"),
    [
        ([[], 0, 1, (2, 3), 4], 5, (0, 0, 0, 0)),
        ([[5, 6], 7, 8], 9, (0, 0, 0, 0)),  # it came late, which is no loss
        ([[], 0, (2, 3), 4], 5, (1, 0, 0, 0)),
        ([[], 0, 1, (1, 2)], 3, (0, 1, 0, 0)),
        ([[], 0, (2, 1)], 3, (0, 0, 1, 0)),
        ([[], 0, 1], 3, (1, 0, 0, 0)),  # the last one
        ([[], 0, 1, [2, 3], 4], 5, (0, 0, 0, 1)),  # missed and told so
        ([[], 0, 2, [], 0, 0], 1, (1, 1, 0, 1)),  # what was wrong before is not forgotten
        ([], 3, (0, 0, 0, 0)),
    ],
)
def test_what_is_lost_comes_twice_or_is_told_anew(steps: list[Any], published: int, wanted: Any) -> None:
    assert said(fed(*steps), published) == wanted


def test_it_counts_what_was_replayed_and_how_often_it_resumed() -> None:
    audit = fed([], 0, (1, 2), (), 3, [], (0,))
    assert (audit.received, audit.replayed, audit.resumed, audit.resets) == (5, 3, 3, 1)


@given(
    st.lists(
        st.one_of(
            st.integers(0, 12),
            st.lists(st.integers(0, 12), max_size=4).map(tuple),
            st.integers(0, 8).map(lambda last: list(range(last))),
        ),
        max_size=12,
    )
)
def test_it_agrees_with_a_naive_model(steps: list[Any]) -> None:
    lost = duplicates = late = 0
    base, seen = 0, list[int]()
    for step in [*steps, []]:
        if isinstance(step, list):
            top = max(seen, default=base - 1)
            lost += len(set(range(base, top + 1)) - set(seen))
            base, seen = (step[-1] + 1 if step else 0), []
            continue
        for n in step if isinstance(step, tuple) else (step,):
            known = n < base or n in seen
            duplicates += known
            late += not known and n < max(seen, default=-1)
            seen += [] if n < base else [n]
    audit = fed([], *steps, [])
    assert said(audit, 0) == (lost, duplicates, late, sum(isinstance(step, list) for step in steps) + 1)
