"""Clocks of several machines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest._clocks import Clocks

TIMES = st.floats(0, 1)


@given(TIMES, TIMES, st.floats(min_value=-1e6, max_value=1e6))
def test_the_offset_is_right_within_the_error_it_tells(there: float, back: float, offset: float) -> None:
    clocks = Clocks()
    asked = 5000.0
    clocks.take(asked, asked + there + back, {"a": asked + there - offset})
    assert abs(clocks.offsets.get("a", 0.0) - offset) <= max(clocks.error, (there + back) * 1.001) + 1e-6
    if clocks.offsets:
        assert abs(clocks.offsets["a"] - offset) <= clocks.error + 1e-6


def test_one_clock_needs_no_offset() -> None:
    clocks = Clocks()
    clocks.take(10.0, 10.2, {"a": 10.0, "b": 10.1, "c": 10.2})
    assert (clocks.offsets, clocks.error) == ({}, 0.0)


def test_the_fastest_question_decides() -> None:
    clocks = Clocks()
    clocks.take(10.0, 11.0, {"a": 110.2})
    clocks.take(20.0, 20.02, {"a": 120.01})
    clocks.take(30.0, 30.5, {"a": 130.4})
    assert clocks.offsets == {"a": -100.0}
    assert round(clocks.error, 6) == 0.01


def test_latencies_that_the_clocks_may_have_made_are_invalid() -> None:
    clocks = Clocks()
    assert clocks.rows(0.001) == []
    clocks.take(10.0, 10.0 + 2**-9, {"a": 110.0})  # wrong by 0.9765625 ms at most
    assert [row.mark for row in clocks.rows(3.90625)] == [""]
    assert [row.mark for row in clocks.rows(None)] == [""]
    (row,) = clocks.rows(3.9)
    assert (row.mark, row.kind) == ("INVALID", "health")
