from __future__ import annotations

import logging
from typing import Any

import pytest

from liverpc.merge import Fold, make_fold

LIST_STRATEGIES = ["crud", "latest", "presence", "cursor"]
ALL_STRATEGIES = [*LIST_STRATEGIES, "set"]


def rows(*keys: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"id": key, **more} for key in keys]


def keyed(*keys: Any) -> list[dict[str, Any]]:
    return [{"key": key} for key in keys]


def loaded(merge: str, data: Any, **options: Any) -> Fold:
    fold = make_fold(merge, **options)
    fold.load(data)
    return fold


def ids(fold: Fold) -> list[Any]:
    return [row["id"] for row in fold.value]


def test_an_unknown_strategy_is_refused_naming_the_five() -> None:
    with pytest.raises(ValueError, match="crud, latest, set, presence and cursor, not 'list'"):
        make_fold("list")


@pytest.mark.parametrize("merge", LIST_STRATEGIES)
def test_a_list_strategy_starts_empty(merge: str) -> None:
    assert make_fold(merge).value == []


def test_set_starts_with_none() -> None:
    assert make_fold("set").value is None


# crud


def test_62_created_appends_a_new_row() -> None:
    fold = loaded("crud", rows(1, 2))
    assert fold.apply("created", {"id": 3})
    assert ids(fold) == [1, 2, 3]


def test_62_created_with_prepend_puts_a_new_row_first() -> None:
    fold = loaded("crud", rows(1, 2), prepend=True)
    fold.apply("created", {"id": 3})
    fold.apply("created", {"id": 4})
    assert ids(fold) == [4, 3, 1, 2]


@pytest.mark.parametrize("prepend", [False, True])
def test_62_created_with_a_known_key_replaces_the_whole_row_where_it_is(prepend: bool) -> None:
    fold = loaded("crud", rows(1, 2, 3, old=True), prepend=prepend)
    assert fold.apply("created", {"id": 2, "new": True})
    assert fold.value == [{"id": 1, "old": True}, {"id": 2, "new": True}, {"id": 3, "old": True}]


def test_updated_replaces_the_whole_row() -> None:
    fold = loaded("crud", rows(1, 2, old=True))
    assert fold.apply("updated", {"id": 1, "new": True})
    assert fold.value == [{"id": 1, "new": True}, {"id": 2, "old": True}]


def test_63_updated_for_an_unknown_key_changes_nothing() -> None:
    fold = loaded("crud", rows(1))
    assert not fold.apply("updated", {"id": 9})
    assert ids(fold) == [1]


def test_deleted_needs_only_the_key_and_keeps_the_order() -> None:
    fold = loaded("crud", rows(1, 2, 3, 4, text="x"))
    assert fold.apply("deleted", {"id": 1})
    assert ids(fold) == [2, 3, 4]


def test_deleted_for_an_unknown_key_changes_nothing() -> None:
    fold = loaded("crud", rows(1))
    assert not fold.apply("deleted", {"id": 9})
    assert ids(fold) == [1]


def test_65_after_delete_and_create_updates_hit_the_right_row() -> None:
    fold = loaded("crud", rows(1, 2, 3))
    fold.apply("deleted", {"id": 1})
    fold.apply("created", {"id": 1})
    for key in (1, 2, 3):
        fold.apply("updated", {"id": key, "seen": key})
    assert fold.value == [{"id": k, "seen": k} for k in (2, 3, 1)]


@pytest.mark.parametrize(
    ("count", "prepend", "expected"),
    [
        (2, False, [1, 2]),
        (3, False, [1, 2, 3]),
        (4, False, [2, 3, 4]),
        (2, True, [2, 1]),
        (3, True, [3, 2, 1]),
        (4, True, [4, 3, 2]),
    ],
)
def test_66_max_drops_the_oldest_rows(count: int, prepend: bool, expected: list[int]) -> None:
    fold = make_fold("crud", max=3, prepend=prepend)
    for key in range(1, count + 1):
        fold.apply("created", {"id": key})
    assert ids(fold) == expected


def test_66_max_zero_keeps_every_row() -> None:
    fold = make_fold("crud", max=0)
    for key in range(300):
        fold.apply("created", {"id": key})
    assert ids(fold) == list(range(300))


def test_loaded_rows_are_trimmed_by_the_next_new_row_only() -> None:
    fold = loaded("crud", rows(*range(5)), max=3)
    assert ids(fold) == [0, 1, 2, 3, 4]
    fold.apply("created", {"id": 4})
    fold.apply("updated", {"id": 0})
    assert ids(fold) == [0, 1, 2, 3, 4]
    fold.apply("created", {"id": 5})
    assert ids(fold) == [3, 4, 5]


def test_67_a_trimmed_row_can_be_created_again_and_updated() -> None:
    fold = loaded("crud", rows(1, 2), max=2)
    fold.apply("created", {"id": 3})
    assert not fold.apply("updated", {"id": 1})
    fold.apply("created", {"id": 1})
    assert fold.apply("updated", {"id": 1, "n": 1})
    assert fold.value == [{"id": 3}, {"id": 1, "n": 1}]


def test_the_key_option_names_the_identifying_field() -> None:
    fold = loaded("crud", [{"slug": "a", "id": 1}], key="slug")
    assert fold.apply("updated", {"slug": "a", "id": 2})
    assert fold.value == [{"slug": "a", "id": 2}]


def test_76_keys_of_different_json_types_are_different_rows() -> None:
    fold = make_fold("crud")
    for key in (1, "1", True, 0, False, None):
        assert fold.apply("created", {"id": key})
    assert len(fold.value) == 6
    fold.apply("deleted", {"id": True})
    assert [row["id"] for row in fold.value] == [1, "1", 0, False, None]


def test_an_integer_and_a_float_of_the_same_value_are_one_key() -> None:
    fold = loaded("crud", rows(1))
    assert fold.apply("updated", {"id": 1.0, "n": 1})
    assert fold.value == [{"id": 1.0, "n": 1}]


def test_duplicate_keys_in_loaded_data_make_one_row_with_the_last_data() -> None:
    fold = loaded("crud", [{"id": 1, "n": "first"}, {"id": 2}, {"id": 1, "n": "last"}])
    assert fold.value == [{"id": 1, "n": "last"}, {"id": 2}]


def test_a_row_without_the_key_is_appended_and_never_found_again() -> None:
    fold = loaded("crud", [{"n": 1}, {"n": 1}])
    assert fold.apply("created", {"n": 2})
    assert not fold.apply("updated", {"n": 3})
    assert not fold.apply("deleted", {"n": 2})
    assert fold.value == [{"n": 1}, {"n": 1}, {"n": 2}]


def test_rows_without_the_key_count_for_max() -> None:
    fold = make_fold("crud", max=2)
    for n in range(4):
        fold.apply("created", {"n": n})
    assert fold.value == [{"n": 2}, {"n": 3}]


@pytest.mark.parametrize("key", [[1], {"a": 1}])
@pytest.mark.parametrize("event", ["created", "updated", "deleted"])
def test_an_event_whose_key_is_a_container_is_a_no_op_with_one_warning(
    event: str, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fold = loaded("crud", rows(1))
    assert not fold.apply(event, {"id": key})
    assert not fold.apply(event, {"id": key})
    assert ids(fold) == [1]
    assert [(r.name, r.levelno) for r in caplog.records] == [("liverpc.merge", logging.WARNING)]
    assert f"{event!r} event" in caplog.text


@pytest.mark.parametrize("data", [None, 7, "text", True, [{"id": 2}]])
@pytest.mark.parametrize("event", ["created", "updated", "deleted"])
def test_an_event_whose_data_is_no_object_is_ignored_with_one_warning(
    event: str, data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fold = loaded("crud", rows(1))
    assert not fold.apply(event, data)
    assert not fold.apply(event, data)
    assert ids(fold) == [1]
    assert len(caplog.records) == 1


def test_loaded_rows_that_cannot_be_found_by_key_are_still_shown() -> None:
    data = ["text", None, {"id": [1]}, {"id": 1}]
    fold = loaded("crud", data)
    assert fold.value == data


# latest


def test_68_latest_appends_the_data_of_any_event() -> None:
    fold = loaded("latest", ["a"])
    assert fold.apply("created", {"n": 1})
    assert fold.apply("whatever", None)
    assert fold.value == ["a", {"n": 1}, None]


@pytest.mark.parametrize("count", [49, 50, 51])
def test_68_latest_keeps_fifty_by_default(count: int) -> None:
    for fold in (make_fold("latest"), make_fold("latest", max=0)):
        for n in range(count):
            fold.apply("e", n)
        assert fold.value == list(range(count))[-50:]


def test_latest_trims_loaded_data_at_the_next_event_only() -> None:
    fold = loaded("latest", [1, 2, 3, 4], max=2)
    assert fold.value == [1, 2, 3, 4]
    fold.apply("e", 5)
    assert fold.value == [4, 5]


# set


@pytest.mark.parametrize("data", [None, 0, "", [], False, {"a": 1}])
def test_69_set_replaces_the_value_by_whatever_comes(data: Any) -> None:
    fold = loaded("set", "before")
    assert fold.apply("any", data)
    assert fold.value == data


def test_set_reports_no_change_for_an_equal_scalar_of_the_same_type() -> None:
    fold = loaded("set", "".join(["a", "b"]))
    assert not fold.apply("set", "ab")
    assert fold.apply("set", 1)
    assert fold.apply("set", True)
    assert fold.apply("set", 1.0)
    assert fold.apply("set", [1])
    assert fold.apply("set", [True])
    assert fold.value == [True]


# presence and cursor


@pytest.mark.parametrize(("merge", "put", "remove"), [("presence", "join", "leave"), ("cursor", "update", "remove")])
class TestPresenceAndCursor:
    def test_70_upsert_by_key(self, merge: str, put: str, remove: str) -> None:
        fold = loaded(merge, keyed("a", "b"))
        assert fold.apply(put, {"key": "c"})
        assert fold.apply(put, {"key": "a", "x": 1})
        assert fold.value == [{"key": "a", "x": 1}, {"key": "b"}, {"key": "c"}]

    def test_70_remove_by_key_keeps_the_order(self, merge: str, put: str, remove: str) -> None:
        fold = loaded(merge, keyed("a", "b", "c"))
        assert fold.apply(remove, {"key": "a"})
        assert not fold.apply(remove, {"key": "z"})
        assert fold.value == keyed("b", "c")

    def test_70_set_replaces_the_list(self, merge: str, put: str, remove: str) -> None:
        fold = loaded(merge, keyed("a"))
        assert fold.apply("set", keyed("b", "c"))
        assert fold.apply(remove, {"key": "b"})
        assert fold.value == keyed("c")

    def test_key_prepend_and_max_are_those_of_crud_only(self, merge: str, put: str, remove: str) -> None:
        fold = make_fold(merge, key="id", prepend=True, max=1)
        fold.apply(put, {"key": "a", "id": 1})
        fold.apply(put, {"key": "b", "id": 1})
        assert [row["key"] for row in fold.value] == ["a", "b"]

    def test_71_the_names_of_the_other_strategies_change_nothing(self, merge: str, put: str, remove: str) -> None:
        fold = loaded(merge, keyed("a"))
        others = {"created", "updated", "deleted", "join", "leave", "update", "remove"} - {put, remove}
        assert not any(fold.apply(event, {"key": "a", "x": 1}) for event in others)
        assert fold.value == keyed("a")


def test_71_an_unknown_event_changes_nothing_under_crud() -> None:
    fold = loaded("crud", rows(1))
    assert not fold.apply("set", [])
    assert not fold.apply("no such event", None)
    assert ids(fold) == [1]


# all strategies


@pytest.mark.parametrize("merge", ALL_STRATEGIES)
def test_72_refreshed_replaces_the_value_and_later_events_hit_the_new_rows(merge: str) -> None:
    key = "id" if merge == "crud" else "key"
    fold = loaded(merge, [{key: 1}])
    assert fold.apply("refreshed", [{key: 2}, {key: 3}])
    assert fold.value == [{key: 2}, {key: 3}]
    remove = {"crud": "deleted", "presence": "leave", "cursor": "remove"}.get(merge)
    if remove is not None:
        assert not fold.apply(remove, {key: 1})
        assert fold.apply(remove, {key: 2})
        assert fold.value == [{key: 3}]


@pytest.mark.parametrize("merge", LIST_STRATEGIES)
@pytest.mark.parametrize("data", [None, 5, "text", {"id": 1}])
def test_a_value_that_is_not_a_list_counts_as_empty(merge: str, data: Any) -> None:
    fold = loaded(merge, [{"id": 1, "key": 1}])
    fold.load(data)
    assert fold.value == []
    fold.apply("refreshed", [{"id": 1, "key": 1}])
    fold.apply("refreshed", data)
    assert fold.value == []


@pytest.mark.parametrize("merge", LIST_STRATEGIES)
def test_each_change_makes_a_new_list_and_a_quiet_fold_the_same(merge: str) -> None:
    data = [{"id": 1, "key": 1}]
    fold = loaded(merge, data)
    first = fold.value
    assert fold.value is first
    assert first is not data
    fold.apply("refreshed", data)
    assert fold.value is not first


@pytest.mark.parametrize("merge", LIST_STRATEGIES)
def test_changing_the_handed_out_or_the_loaded_list_does_not_disturb_the_fold(merge: str) -> None:
    data = [{"id": n, "key": n} for n in range(3)]
    fold = loaded(merge, data)
    fold.value.clear()
    data.clear()
    event = {"crud": "created", "presence": "join", "cursor": "update"}.get(merge, "any")
    fold.apply(event, {"id": 3, "key": 3})
    assert fold.value == [{"id": n, "key": n} for n in range(4)]


# convert


def test_convert_makes_what_the_user_sees_from_each_row() -> None:
    fold = loaded("crud", rows("a", "b"), convert=lambda row: row["id"].upper())
    assert fold.value == ["A", "B"]
    fold.apply("created", {"id": "c"})
    fold.apply("deleted", {"id": "a"})
    assert fold.value == ["B", "C"]


def test_convert_gets_the_whole_value_under_set() -> None:
    fold = loaded("set", [1, 2], convert=tuple)
    assert fold.value == (1, 2)


def test_convert_gets_the_data_of_each_event_under_latest() -> None:
    fold = loaded("latest", [1], convert=str)
    fold.apply("e", 2)
    assert fold.value == ["1", "2"]


@pytest.mark.parametrize(
    ("merge", "good", "event"),
    [
        ("crud", [{"id": "1"}], "created"),
        ("latest", ["1"], "e"),
        ("set", "1", "e"),
        ("presence", [{"key": "1"}], "join"),
        ("cursor", [{"key": "1"}], "update"),
    ],
)
def test_a_convert_that_raises_leaves_the_fold_as_it_was(merge: str, good: Any, event: str) -> None:
    def convert(raw: Any) -> Any:
        if raw == bad:
            raise LookupError("no")
        return raw

    bad = {"key": "1", "id": "1", "bad": True}
    fold = loaded(merge, good, convert=convert, max=1)
    with pytest.raises(LookupError):
        fold.apply(event, bad)
    with pytest.raises(LookupError):
        fold.load(bad if merge == "set" else [*good, bad])
    with pytest.raises(LookupError):
        fold.apply("refreshed", bad if merge == "set" else [*good, bad])
    assert fold.value == good
