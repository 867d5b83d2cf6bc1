"""Further pages of a value."""

from __future__ import annotations

from typing import Any

import pytest

from liverpc.merge import make_fold


def rows(*ids: int, **members: Any) -> list[Any]:
    return [{"id": number, "key": number} | members for number in ids]


@pytest.mark.parametrize("prepend", [False, True])
def test_new_rows_go_to_the_end_and_known_ones_keep_their_place(prepend: bool) -> None:
    fold = make_fold("crud", prepend=prepend, max=2)
    fold.load(rows(1, 2))
    before = fold.value
    assert fold.extend(rows(4, 2, 3, page=2))
    assert [row["id"] for row in fold.value] == [1, 2, 4, 3]
    assert {row["id"] for row in fold.value if "page" in row} == {2, 3, 4}
    assert before == rows(1, 2)


def test_a_list_with_the_newest_first_gets_events_in_front_and_pages_behind() -> None:
    fold = make_fold("crud", prepend=True)
    fold.load(rows(5, 4))
    fold.apply("created", rows(6)[0])
    fold.extend(rows(4, 3, 2))
    fold.apply("created", rows(7)[0])
    assert [row["id"] for row in fold.value] == [7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize("merge", ["presence", "cursor"])
def test_rows_of_presence_and_cursor_are_known_by_their_key(merge: str) -> None:
    fold = make_fold(merge)
    fold.load(rows(1))
    fold.extend(rows(1, 2))
    assert fold.value == rows(1, 2)


def test_under_latest_a_page_is_appended_and_the_next_event_trims() -> None:
    fold = make_fold("latest", max=2)
    fold.load([1, 2])
    assert fold.extend([3, 4])
    assert fold.value == [1, 2, 3, 4]
    fold.apply("said", 5)
    assert fold.value == [4, 5]


def test_under_set_there_are_no_pages() -> None:
    fold = make_fold("set")
    fold.load([1])
    assert not fold.extend([2])
    assert fold.value == [1]


@pytest.mark.parametrize("merge", ["crud", "latest", "presence"])
@pytest.mark.parametrize("data", [None, {}, "rows", []])
def test_what_is_no_page_changes_nothing(merge: str, data: Any) -> None:
    fold = make_fold(merge)
    fold.load(rows(1))
    assert not fold.extend(data)
    assert fold.value == rows(1)


@pytest.mark.parametrize("merge", ["crud", "latest"])
def test_a_page_with_a_row_that_does_not_fit_changes_nothing(merge: str) -> None:
    fold = make_fold(merge, convert=lambda row: 1 // row["id"])
    fold.load(rows(1))
    with pytest.raises(ZeroDivisionError):
        fold.extend(rows(2, 0))
    assert fold.value == [1]
