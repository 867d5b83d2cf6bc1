"""Steps back and forth through the values of a stream, without a connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from liverpc._types import Created, Deleted, Updated
from liverpc.client.history import LONGEST, History, Moment
from liverpc.client.overlay import Overlay
from liverpc.client.store import StreamCounters
from liverpc.merge import Fold, make_fold


class Stage:
    """A list of numbers that the server sends, with a history of three steps."""

    def __init__(self, rows: list[Any] | None, limit: int = 3) -> None:
        self.base: Fold | None = None
        self.overlay = Overlay(lambda: self.base, lambda: None, StreamCounters())
        if rows is not None:
            self.load(rows)
        self.overlay.enable_history(limit)

    def load(self, rows: list[Any]) -> None:
        self.base = make_fold("crud")
        self.base.load([{"id": n} for n in rows])
        self.overlay.rebase(None, None)

    def event(self, event: str, n: int) -> None:
        assert self.base is not None
        if self.base.apply(event, {"id": n}):
            self.overlay.rebase(event, {"id": n})

    @property
    def history(self) -> History:
        assert self.overlay.history is not None
        return self.overlay.history

    @property
    def value(self) -> list[int]:
        return [row["id"] for row in self.overlay.value]

    def undo(self) -> list[int]:
        self.overlay.step_to(self.history.undo())
        return self.value

    def redo(self) -> list[int]:
        self.overlay.step_to(self.history.redo())
        return self.value


# -- the steps


def test_back_and_forth() -> None:  # acceptance 214
    history = History(10, Moment(1))
    history.record(Moment(2))
    history.record(Moment(3))
    assert [history.undo(), history.undo(), history.undo()] == [2, 1, UNSET]
    assert [history.redo(), history.redo(), history.redo()] == [2, 3, UNSET]


def test_a_new_change_discards_what_was_undone() -> None:  # acceptance 214
    history = History(10, Moment(1))
    history.record(Moment(2))
    history.undo()
    assert history.can_redo
    history.record(Moment(3))
    assert not history.can_redo
    assert history.undo() == 1


def test_an_equal_value_is_no_step_and_discards_nothing() -> None:
    history = History(10, Moment([1]))
    history.record(Moment([2]))
    history.undo()
    history.record(Moment([1]))
    assert history.redo() == [2]


@pytest.mark.parametrize(("changes", "steps"), [(2, 2), (3, 3), (4, 3)])
def test_no_more_steps_than_the_limit(changes: int, steps: int) -> None:  # acceptance 214
    history = History(3, Moment(0))
    for n in range(1, changes + 1):
        history.record(Moment(n))
    for n in range(steps):
        assert history.undo() == changes - 1 - n
    assert not history.can_undo


def test_a_lower_limit_keeps_the_newest_steps() -> None:
    history = History(3, Moment(0))
    for n in 1, 2, 3:
        history.record(Moment(n))
    history.limit(1)
    assert [history.undo(), history.undo()] == [2, UNSET]


def test_lists_beyond_the_longest_are_not_kept() -> None:
    longest, longer = list(range(LONGEST)), list(range(LONGEST + 1))
    history = History(10, Moment([]))
    history.record(Moment(longest))
    history.record(Moment(longer))
    assert history.undo() == longest
    assert not history.can_redo
    assert history.undo() == []


def test_a_pause_skips_what_happens_in_it() -> None:  # acceptance 214
    history = History(10, Moment(1))
    history.record(Moment(2))
    history.pause()
    history.record(Moment(3))
    history.record(Moment(4))
    history.resume(Moment(4))
    history.record(Moment(5))
    assert [history.undo(), history.undo(), history.undo()] == [4, 2, 1]


def test_during_a_pause_a_step_back_leads_to_the_last_kept_value() -> None:
    history = History(10, Moment(1))
    history.record(Moment(2))
    history.pause()
    history.record(Moment(3))
    assert history.undo() == 2
    history.resume(Moment(2))
    assert history.undo() == 1


def test_kept_lists_are_copies_in_both_directions() -> None:
    value = [1]
    history = History(10, Moment(value))
    history.record(Moment([2]))
    value.append(9)
    history.undo().append(8)
    history.redo()
    assert history.undo() == [1]


def test_a_cleared_history_begins_anew() -> None:  # acceptance 214
    history = History(10, Moment(1))
    history.record(Moment(2))
    history.record(Moment(3))
    history.undo()
    history.clear(Moment(4))
    assert not history.can_undo
    assert not history.can_redo
    history.record(Moment(5))
    assert history.undo() == 4


# -- and the value


def test_the_changes_of_both_sides_are_steps_and_a_success_is_none() -> None:
    stage = Stage([1])
    stage.event("created", 2)
    stage.overlay.agreed(stage.overlay.begin(Created({"id": 3})))
    assert stage.undo() == [1, 2]
    assert stage.undo() == [1]
    assert stage.redo() == [1, 2]
    assert stage.redo() == [1, 2, 3]


def test_what_is_taken_back_is_no_step_any_more() -> None:
    stage = Stage([1])
    stage.overlay.withdraw(stage.overlay.begin(Created({"id": 3})))
    assert stage.value == [1]
    assert not stage.history.can_undo
    assert not stage.history.can_redo


def test_a_failure_leaves_the_steps_of_other_changes_as_they_would_be_without_it() -> None:
    stage = Stage([1], limit=9)
    failing = stage.overlay.begin(Created({"id": 2}))
    stage.overlay.begin(Created({"id": 3}))
    stage.event("created", 4)
    stage.overlay.begin(Deleted(1))
    stage.overlay.withdraw(failing)
    assert stage.value == [4, 3]
    assert [stage.undo(), stage.undo(), stage.undo()] == [[1, 4, 3], [1, 3], [1]]
    assert not stage.history.can_undo
    assert [stage.redo(), stage.redo(), stage.redo()] == [[1, 3], [1, 4, 3], [4, 3]]
    assert not stage.history.can_redo


def test_a_change_that_was_undone_and_fails_cannot_be_redone() -> None:
    stage = Stage([1])
    failing = stage.overlay.begin(Created({"id": 2}))
    assert stage.undo() == [1]
    stage.overlay.withdraw(failing)
    assert stage.value == [1]
    assert not stage.history.can_undo
    assert not stage.history.can_redo


def test_a_failure_takes_the_steps_that_were_made_of_an_undone_value_with_it() -> None:
    stage = Stage([1])
    failing = stage.overlay.begin(Created({"id": 2}))
    stage.overlay.begin(Created({"id": 3}))
    assert stage.undo() == [1, 2]
    stage.event("created", 4)
    stage.event("created", 5)
    stage.overlay.withdraw(failing)
    while stage.history.can_undo:
        assert 2 not in stage.undo()


def test_a_confirmation_with_another_row_is_in_the_step_of_its_change() -> None:
    stage = Stage([1])
    stage.overlay.begin(Created({"id": 2, "by": "me"}))
    stage.event("created", 2)
    assert stage.overlay.value == [{"id": 1}, {"id": 2}]
    assert stage.undo() == [1]
    assert not stage.history.can_undo
    assert stage.redo() == [1, 2]
    assert stage.overlay.value == [{"id": 1}, {"id": 2}]


def test_confirmations_in_any_order_keep_one_step_for_each_change() -> None:
    for order in (2, 3), (3, 2):
        stage = Stage([1])
        for n in 2, 3:
            stage.overlay.begin(Created({"id": n, "by": "me"}))
        for n in order:
            stage.event("created", n)
        assert stage.undo() == [1, 2]
        assert stage.overlay.value == [{"id": 1}, {"id": 2}]
        assert stage.undo() == [1]
        assert not stage.history.can_undo


def test_successes_in_another_order_are_no_steps() -> None:
    stage = Stage([1])
    first, second = (stage.overlay.begin(Created({"id": n})) for n in (2, 3))
    stage.overlay.agreed(second)
    stage.overlay.agreed(first)
    assert stage.value == [1, 3, 2]
    assert [stage.undo(), stage.undo()] == [[1, 2], [1]]
    assert not stage.history.can_undo


def test_a_function_that_gives_way_to_what_the_server_said_is_no_step_any_more() -> None:
    stage = Stage([1])
    entry = stage.overlay.begin(lambda rows: [*rows, {"id": 9}])
    stage.event("created", 2)
    stage.overlay.agreed(entry)
    assert stage.value == [1, 2]
    assert stage.undo() == [1]
    assert not stage.history.can_undo


def test_a_row_that_somebody_else_removes_is_a_step() -> None:
    stage = Stage([1])
    stage.overlay.begin(Updated({"id": 1, "n": 1}))
    stage.event("deleted", 1)
    assert stage.value == []
    assert stage.undo() == [1]
    assert stage.overlay.value == [{"id": 1, "n": 1}]


def test_what_is_taken_back_in_a_pause_is_no_step_after_it() -> None:
    stage = Stage([1])
    before = stage.overlay.begin(Created({"id": 2}))
    stage.history.pause()
    during = stage.overlay.begin(Created({"id": 3}))
    stage.overlay.withdraw(during)
    stage.overlay.withdraw(before)
    stage.history.resume(stage.overlay.moment())
    assert stage.value == [1]
    while stage.history.can_undo:
        assert stage.undo() == [1]


CHANGES = st.one_of(
    st.builds(Created, st.fixed_dictionaries({"id": st.integers(0, 3), "n": st.integers(0, 3)})),
    st.builds(Deleted, st.integers(0, 3)),
)


@given(st.lists(st.tuples(st.sampled_from(["begin", "agree", "event", "undo", "redo"]), CHANGES), max_size=20))
def test_no_step_ever_leads_to_what_was_refused(steps: list[tuple[str, Any]]) -> None:
    stage = Stage([0, 1], limit=50)
    refused = stage.overlay.begin(Created({"id": 77}))
    waiting: list[Any] = []
    for kind, change in steps:
        if kind == "begin":
            waiting.append(stage.overlay.begin(change))
        elif kind == "agree" and waiting:
            stage.overlay.agreed(waiting.pop(0))
        elif kind == "event":
            row = {"id": change.key} if isinstance(change, Deleted) else change.row
            stage.event("deleted" if isinstance(change, Deleted) else "created", row["id"])
        elif kind == "undo" and stage.history.can_undo:
            stage.undo()
        elif kind == "redo" and stage.history.can_redo:
            stage.redo()
    stage.overlay.withdraw(refused)
    assert 77 not in stage.value
    while stage.history.can_undo:
        assert 77 not in stage.undo()
    while stage.history.can_redo:
        assert 77 not in stage.redo()


def test_events_apply_to_the_undone_value_and_to_the_servers() -> None:
    stage = Stage([1])
    stage.event("created", 2)
    assert stage.undo() == [1]
    stage.event("created", 3)
    assert stage.value == [1, 3]
    assert not stage.history.can_redo
    assert stage.base is not None
    assert [row["id"] for row in stage.base.value] == [1, 2, 3]


def test_new_changes_apply_to_the_undone_value_and_stay_on_success() -> None:
    stage = Stage([1])
    stage.event("created", 2)
    stage.undo()
    entry = stage.overlay.begin(Created({"id": 3}))
    assert stage.value == [1, 3]
    stage.overlay.agreed(entry)
    assert stage.value == [1, 3]
    stage.overlay.withdraw(stage.overlay.begin(Created({"id": 4})))
    assert stage.value == [1, 3]


def test_an_undone_change_that_succeeds_stays_undone() -> None:
    stage = Stage([1])
    entry = stage.overlay.begin(Created({"id": 2}))
    assert stage.undo() == [1]
    stage.overlay.agreed(entry)
    assert stage.value == [1]
    assert stage.redo() == [1, 2]


def test_a_failure_of_a_change_from_before_the_step_shows_the_servers_value_again() -> None:
    stage = Stage([1])
    stage.event("created", 2)
    failing = stage.overlay.begin(Created({"id": 3}))
    stage.overlay.begin(Updated({"id": 1, "n": 1}))
    assert stage.undo() == [1, 2, 3]
    stage.overlay.withdraw(failing)
    assert stage.overlay.value == [{"id": 1, "n": 1}, {"id": 2}]


def test_a_confirmed_change_from_before_the_step_cannot_fail_it() -> None:
    stage = Stage([1])
    entry = stage.overlay.begin(Created({"id": 2}))
    stage.event("deleted", 1)
    assert stage.undo() == [1, 2]
    stage.event("created", 2)
    stage.overlay.withdraw(entry)
    assert stage.value == [1, 2]


def test_loading_anew_ends_the_steps_and_shows_the_servers_value() -> None:  # acceptance 214
    stage = Stage([1])
    stage.event("created", 2)
    stage.undo()
    stage.load([5])
    assert stage.value == [5]
    assert not stage.history.can_undo
    assert not stage.history.can_redo


def test_a_history_enabled_before_the_first_value_begins_with_it() -> None:
    stage = Stage(None)
    assert not stage.history.can_undo
    stage.load([1])
    assert not stage.history.can_undo
    stage.event("created", 2)
    assert stage.undo() == [1]


def test_enabling_again_changes_the_limit_only() -> None:
    stage = Stage([1])
    stage.event("created", 2)
    stage.overlay.enable_history(1)
    stage.event("created", 3)
    assert stage.undo() == [1, 2]
    assert not stage.history.can_undo
    with pytest.raises(ValueError, match="1 step or more"):
        stage.overlay.enable_history(0)


def test_a_reload_by_the_server_gives_up_the_step_but_no_change_that_waits() -> None:
    stage = Stage([1])
    entry = stage.overlay.begin(Created({"id": 2}))
    assert stage.undo() == [1]
    assert stage.base is not None
    stage.base.apply("refreshed", [{"id": 5}])
    stage.overlay.rebase("refreshed", [{"id": 5}])
    assert stage.value == [5, 2]
    stage.overlay.agreed(entry)
    assert stage.value == [5, 2]
    assert stage.history.can_undo
