"""What holds for every sequence of events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from liverpc.merge import Fold, make_fold


def loaded(merge: str, data: Any, **options: Any) -> Fold:
    fold = make_fold(merge, **options)
    fold.load(data)
    return fold


KEYS = st.sampled_from([0, 1, 2, "1", "2", True, None])
ROWS = st.fixed_dictionaries({"id": KEYS, "n": st.integers(0, 9)})
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["created", "updated", "deleted", "other"]), ROWS),
    st.tuples(st.just("refreshed"), st.lists(ROWS, max_size=6)),
)


class NaiveCrud:
    """The rules, written with a list and linear search."""

    def __init__(self, prepend: bool, limit: int) -> None:
        self.prepend = prepend
        self.limit = limit
        self.rows: list[dict[str, Any]] = []

    def find(self, key: Any) -> int | None:
        return next((i for i, r in enumerate(self.rows) if r["id"] == key and type(r["id"]) is type(key)), None)

    def apply(self, event: str, data: Any) -> None:
        if event == "refreshed":
            self.rows = []
            for row in data:
                at = self.find(row["id"])
                if at is None:
                    self.rows.append(row)
                else:
                    self.rows[at] = row
            return
        at = self.find(data["id"])
        if event == "deleted" and at is not None:
            del self.rows[at]
        elif event in ("created", "updated") and at is not None:
            self.rows[at] = data
        elif event == "created":
            self.rows.insert(0 if self.prepend else len(self.rows), data)
            if self.limit:
                self.rows = self.rows[: self.limit] if self.prepend else self.rows[-self.limit :]


@given(st.lists(EVENTS, max_size=40), st.booleans(), st.integers(0, 4))
def test_crud_agrees_with_a_naive_list(events: list[tuple[str, Any]], prepend: bool, limit: int) -> None:
    fold, naive = make_fold("crud", prepend=prepend, max=limit), NaiveCrud(prepend, limit)
    for event, data in events:
        before = list(fold.value)
        changed = fold.apply(event, data)
        naive.apply(event, data)
        assert fold.value == naive.rows
        assert [type(row["id"]) for row in fold.value] == [type(row["id"]) for row in naive.rows]
        assert changed or fold.value == before


@given(st.lists(st.integers(), max_size=20), st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_latest_agrees_with_a_slice(start: list[int], events: list[int], limit: int) -> None:
    fold = loaded("latest", start, max=limit)
    for n in events:
        fold.apply("e", n)
    assert fold.value == ((start + events)[-limit:] if events else start)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "key", "n"]), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["created", "updated", "deleted", "join", "leave", "update", "remove", "set", "refreshed", "other"]
)


@given(
    st.sampled_from(["crud", "latest", "set", "presence", "cursor"]),
    st.lists(st.tuples(NAMES, JSON), max_size=20),
    JSON,
)
def test_no_event_raises_and_refreshed_equals_load(merge: str, events: list[tuple[str, Any]], data: Any) -> None:
    fold = make_fold(merge, max=2)
    for event, payload in events:
        fold.apply(event, payload)
    fold.apply("refreshed", data)
    assert fold.value == loaded(merge, data).value


@given(st.lists(EVENTS, max_size=20), ROWS, st.sampled_from(["created", "updated"]), st.booleans())
def test_repeating_an_upsert_changes_nothing_more(
    events: list[tuple[str, Any]], row: dict[str, Any], event: str, prepend: bool
) -> None:
    fold = make_fold("crud", prepend=prepend, max=3)
    for name, data in events:
        fold.apply(name, data)
    fold.apply(event, row)
    once = list(fold.value)
    fold.apply(event, row)
    assert fold.value == once


@given(st.lists(EVENTS, max_size=20))
def test_a_value_once_handed_out_never_changes(events: list[tuple[str, Any]]) -> None:
    fold = make_fold("crud", max=3)
    seen: list[tuple[list[Any], list[Any]]] = []
    for event, data in events:
        fold.apply(event, data)
        seen.append((fold.value, list(fold.value)))
    assert all(value == copy for value, copy in seen)
