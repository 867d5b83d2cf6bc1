"""Forks of folds, and values that no server sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc._types import Created, Deleted, Updated
from liverpc.merge import Fold, make_fold


class Row(msgspec.Struct, frozen=True, rename={"id": "key"}):
    id: int
    n: int = 0


def fold_of(merge: str, data: Any, **options: Any) -> Fold:
    fold = make_fold(merge, **options)
    fold.load(data)
    return fold


def as_row(data: Any) -> Row:
    return msgspec.convert(data, Row)


ROWS = st.fixed_dictionaries({"key": st.integers(0, 3), "n": st.integers(0, 9)})
EVENTS = st.lists(st.tuples(st.sampled_from(["created", "updated", "deleted", "join", "leave", "update"]), ROWS))


@given(st.sampled_from(["crud", "presence", "cursor", "latest"]), st.lists(ROWS), EVENTS, st.integers(0, 3))
def test_a_fork_that_adopts_the_value_takes_events_as_the_original_does(
    merge: str, rows: list[Any], events: list[Any], limit: int
) -> None:
    original = fold_of(merge, rows, key="key", max=limit, convert=as_row)
    fork = make_fold(merge, key="key", max=limit, convert=as_row).fork()
    fork.adopt(list(original.value))
    for event, data in events:
        assert fork.apply(event, data) == original.apply(event, data)
        assert fork.value == original.value


@pytest.mark.parametrize(
    ("merge", "event"), [("crud", "created"), ("latest", "said"), ("presence", "join"), ("set", "set")]
)
def test_a_fork_and_its_original_go_their_own_ways(merge: str, event: str) -> None:
    original = fold_of(merge, [{"id": 1, "key": 1}])
    before = original.value
    fork = original.fork()
    assert fork.apply(event, {"id": 2, "key": 2})
    assert original.value is before
    assert fork.value != before
    forked = fork.value
    original.apply("refreshed", [])
    assert fork.value is forked


def test_of_adopted_rows_with_one_key_the_last_counts_at_the_place_of_the_first() -> None:
    fold = fold_of("crud", [{"key": 1}], key="key", convert=as_row)
    fold.adopt([Row(2), *fold.value, Row(2, 5)])
    assert fold.value == [Row(2, 5), Row(1)]


def test_rows_without_a_key_are_adopted_each_on_its_own() -> None:
    fold = fold_of("crud", [{"n": 1}, {"n": 1}])
    fold.adopt([*fold.value, {"n": 1}])
    assert len(fold.value) == 3


@pytest.mark.parametrize("merge", ["crud", "latest", "presence", "cursor"])
def test_what_is_no_list_is_not_adopted(merge: str) -> None:
    fold = fold_of(merge, [{"id": 1, "key": 1}])
    before = fold.value
    with pytest.raises(TypeError, match="is a list, not int"):
        fold.adopt(5)
    assert fold.value is before


@pytest.mark.parametrize(
    ("merge", "created", "updated", "deleted"),
    [
        ("crud", "created", "updated", "deleted"),
        ("presence", "join", "join", "leave"),
        ("cursor", "update", "update", "remove"),
    ],
)
def test_changes_are_expressed_in_the_words_of_the_strategy(
    merge: str, created: str, updated: str, deleted: str
) -> None:
    fold = make_fold(merge, key="key")
    assert fold.express(Created(Row(1))) == (created, {"key": 1, "n": 0})
    assert fold.express(Updated({"key": 1})) == (updated, {"key": 1})
    assert fold.express(Deleted("a")) == (deleted, {"key": "a"})
    assert fold.about(created, {"key": 1}) == (1, False)
    assert fold.about(deleted, {"key": 1}) == (1, True)
    assert fold.about("other", {"key": 1}) is fold.about(created, {"key": []}) is fold.about(created, 5) is None


def test_latest_knows_one_change_and_set_none() -> None:
    assert make_fold("latest").express(Created(Row(1))) == ("created", {"key": 1, "n": 0})
    for merge, change in ("latest", Updated(1)), ("latest", Deleted(1)), ("set", Created(1)):
        with pytest.raises(TypeError, match="pass a function"):
            make_fold(merge).express(change)
