"""Changes before the server agrees: the queue over the server's value, without a connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc._types import Created, Deleted, Updated
from liverpc.client.overlay import DEPTH_MAX, Overlay
from liverpc.client.store import StreamCounters
from liverpc.errors import RpcError
from liverpc.merge import Fold, make_fold


class Row(msgspec.Struct):
    id: int
    n: int = 0


class Stage:
    """A server's value with an overlay; ``shown`` is every value the user was told of."""

    def __init__(self, data: Any = (), merge: str = "crud", row: Any = None, **options: Any) -> None:
        convert = None if row is None else lambda data: msgspec.convert(data, row)
        self.make: Callable[[], Fold] = lambda: make_fold(merge, convert=convert, **options)
        self.counters = StreamCounters()
        self.base: Fold | None = None
        self.told = 0
        self.overlay = Overlay(lambda: self.base, self.tell, self.counters)
        if data is not None:
            self.load(list(data) if isinstance(data, tuple) else data)

    def tell(self) -> None:
        self.told += 1

    def load(self, data: Any) -> None:
        if self.base is None:
            self.base = self.make()
        self.base.load(data)
        self.overlay.rebase(None, None)

    def event(self, event: str, data: Any) -> None:
        assert self.base is not None
        if self.base.apply(event, data):
            self.overlay.rebase(event, data)

    @property
    def value(self) -> Any:
        return self.overlay.value

    @property
    def server(self) -> Any:
        assert self.base is not None
        return self.base.value


def row(key: Any, n: int = 0) -> dict[str, Any]:
    return {"id": key, "n": n}


# -- one change


def test_a_change_is_shown_at_once_and_leaves_the_servers_value_alone() -> None:
    stage = Stage([row(1)])
    stage.overlay.begin(Created(row(2)))
    assert stage.value == [row(1), row(2)]
    assert stage.server == [row(1)]
    assert stage.told == 1


def test_success_without_confirmation_makes_it_part_of_the_servers_value_and_shows_nothing_new() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Created(row(2)))
    stage.overlay.agreed(entry)
    assert stage.server == stage.value == [row(1), row(2)]
    assert stage.told == 1
    stage.event("deleted", row(2))
    assert stage.value == [row(1)]


def test_failure_takes_it_back_and_keeps_what_the_server_sent_meanwhile() -> None:  # acceptance 208
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Updated(row(1, 5)))
    stage.event("created", row(2))
    stage.overlay.withdraw(entry)
    assert stage.value == stage.server == [row(1), row(2)]


def test_two_failures_do_not_disturb_each_other_in_any_order() -> None:  # acceptance 208
    for order in (0, 1), (1, 0):
        stage = Stage([row(1)])
        entries = [stage.overlay.begin(Created(row(2))), stage.overlay.begin(Updated(row(1, 7)))]
        stage.overlay.withdraw(entries[order[0]])
        assert stage.value == ([row(1, 7)] if order[0] == 0 else [row(1), row(2)])
        stage.overlay.withdraw(entries[order[1]])
        assert stage.value == [row(1)]


def test_a_success_comes_before_what_waits_still() -> None:
    stage = Stage()
    stage.overlay.begin(Created(row(1)))
    stage.overlay.agreed(stage.overlay.begin(Created(row(2))))
    assert stage.server == [row(2)]
    assert stage.value == [row(2), row(1)]


def test_settling_twice_changes_nothing() -> None:
    stage = Stage()
    entry = stage.overlay.begin(Created(row(1)))
    stage.overlay.withdraw(entry)
    stage.overlay.withdraw(entry)
    stage.overlay.agreed(entry)
    assert stage.value == stage.server == []


def test_values_handed_out_are_never_changed() -> None:
    stage = Stage([row(1)])
    values = [stage.value]
    copies = [list(stage.value)]

    def note() -> None:
        values.append(stage.value)
        copies.append(list(stage.value))

    first = stage.overlay.begin(Created(row(2)))
    note()
    stage.overlay.begin(lambda rows: rows.append(row(3)))
    note()
    stage.event("deleted", row(1))
    note()
    stage.overlay.withdraw(first)
    note()
    assert values == copies
    assert len({id(value) for value in values}) == len(values)


# -- confirmation


@pytest.mark.parametrize(
    ("merge", "key", "event"),
    [("crud", "id", "created"), ("crud", "id", "updated"), ("presence", "key", "join"), ("cursor", "key", "update")],
)
def test_the_servers_event_for_the_same_row_replaces_the_change(
    merge: str, key: str, event: str
) -> None:  # acceptance 208
    stage = Stage([{key: 1, "n": 0}], merge)
    entry = stage.overlay.begin(Updated({key: 1, "n": 5}))
    assert stage.value == [{key: 1, "n": 5}]
    stage.event(event, {key: 1, "n": 6})
    assert stage.value == [{key: 1, "n": 6}]
    stage.overlay.withdraw(entry)
    assert stage.value == [{key: 1, "n": 6}]


def test_a_created_row_is_neither_doubled_nor_gone_for_a_moment() -> None:  # acceptance 208
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Created(row(2)))
    stage.event("created", row(2, 1))
    assert stage.value == [row(1), row(2, 1)]
    stage.overlay.agreed(entry)
    assert stage.value == [row(1), row(2, 1)]


def test_keys_of_different_types_do_not_confirm_each_other() -> None:
    stage = Stage()
    stage.overlay.begin(Created(row(1)))
    stage.event("created", row("1"))
    stage.event("created", row(True))
    assert stage.value == [row("1"), row(True), row(1)]


def test_each_event_confirms_the_oldest_change_of_its_row() -> None:
    stage = Stage([row(1)])
    stage.overlay.begin(Updated(row(1, 5)))
    stage.overlay.begin(Updated(row(1, 6)))
    stage.event("updated", row(1, 5))
    assert stage.value == [row(1, 6)]
    stage.event("updated", row(1, 7))
    assert stage.value == [row(1, 7)]


def test_a_removal_is_confirmed_by_a_removal_only() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Deleted(1))
    stage.event("updated", row(1, 5))
    assert stage.value == []
    stage.event("deleted", row(1))
    stage.event("created", row(1, 6))
    assert stage.value == [row(1, 6)]
    stage.overlay.agreed(entry)
    assert stage.value == [row(1, 6)]


def test_a_removal_confirms_what_was_done_to_the_row_before_and_not_what_comes_after() -> None:
    stage = Stage([row(1)])
    stage.overlay.begin(Updated(row(1, 5)))
    stage.overlay.begin(Deleted(1))
    again = stage.overlay.begin(Created(row(1, 6)))
    stage.event("deleted", row(1))
    assert stage.value == [row(1, 6)]
    stage.overlay.withdraw(again)
    assert stage.value == []


def test_a_row_removed_by_somebody_else_does_not_come_back_on_success() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Created(row(1, 5)))
    stage.event("deleted", row(1))
    stage.overlay.agreed(entry)
    assert stage.value == []


# -- functions


def test_a_function_may_change_its_copy_or_return_a_value() -> None:
    stage = Stage([row(1)])
    stage.overlay.begin(lambda rows: rows.append(row(2)))
    stage.overlay.begin(lambda rows: rows[::-1])
    assert stage.value == [row(2), row(1)]
    assert stage.server == [row(1)]


def test_a_function_is_called_again_over_what_the_server_sends() -> None:
    stage = Stage(1, "set")
    stage.overlay.begin(lambda value: value + 10)
    stage.event("any", 2)
    assert stage.value == 12


def test_on_success_a_function_stays_when_the_server_said_nothing() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(lambda rows: [*rows, row(2)])
    stage.overlay.agreed(entry)
    assert stage.value == stage.server == [row(1), row(2)]
    stage.event("updated", row(2, 3))
    assert stage.value == [row(1), row(2, 3)]


def test_on_success_the_servers_own_event_counts_instead_of_a_function() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(lambda rows: [*rows, row("mine")])
    stage.event("created", row(2))
    stage.overlay.agreed(entry)
    assert stage.value == [row(1), row(2)]


def test_other_changes_that_succeed_do_not_cost_a_function_its_effect() -> None:
    stage = Stage()
    function = stage.overlay.begin(lambda rows: [*rows, row(1)])
    stage.overlay.agreed(stage.overlay.begin(Created(row(2))))
    stage.overlay.agreed(function)
    assert stage.value == [row(2), row(1)]


def test_rows_that_a_function_adds_are_found_by_later_changes_and_events() -> None:
    stage = Stage([row(1)], row=Row)
    stage.overlay.begin(lambda rows: [Row(9), *rows])
    stage.overlay.begin(Updated(Row(9, 4)))
    stage.event("deleted", {"id": 1})
    assert stage.value == [Row(9, 4)]


def test_a_dict_is_copied_before_a_function_may_change_it() -> None:
    stage = Stage({"a": 1}, "set")
    stage.overlay.begin(lambda value: value.update(a=2))
    assert (stage.value, stage.server) == ({"a": 2}, {"a": 1})


def test_a_function_that_no_longer_works_is_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage([row(1)])
    stage.overlay.begin(lambda rows: [rows[0] | {"n": 5}])
    with caplog.at_level(logging.WARNING, "liverpc.client"):
        stage.event("deleted", row(1))
        stage.event("updated", row(1))
    assert stage.value == []
    assert len(caplog.records) == 1
    stage.event("created", row(1))
    assert stage.value == [row(1, 5)]


# -- the other strategies


def test_latest_appends_and_on_success_believes_the_server() -> None:
    stage = Stage([1, 2], "latest", max=3)
    kept = stage.overlay.begin(Created(3))
    stage.overlay.agreed(kept)
    dropped = stage.overlay.begin(Created(4))
    assert stage.value == [2, 3, 4]
    stage.event("said", 5)
    stage.overlay.agreed(dropped)
    assert stage.value == [2, 3, 5]


def test_prepended_and_trimmed_rows_come_and_go() -> None:
    stage = Stage([row(2), row(1)], prepend=True, max=2)
    entry = stage.overlay.begin(Created(row(3)))
    assert stage.value == [row(3), row(2)]
    stage.overlay.withdraw(entry)
    assert stage.value == [row(2), row(1)]


def test_presence_and_cursor_have_their_own_words() -> None:
    for merge in "presence", "cursor":
        stage = Stage([{"key": "a"}], merge)
        for change in Created({"key": "b"}), Updated({"key": "c"}), Deleted("a"):
            stage.overlay.begin(change)
        assert stage.value == [{"key": "b"}, {"key": "c"}]


# -- refusals


@pytest.mark.parametrize(
    ("merge", "change"),
    [
        ("crud", "created"),
        ("crud", None),
        ("crud", Created({"n": 1})),
        ("crud", Created(5)),
        ("crud", Created(object())),
        ("crud", Deleted([1])),
        ("crud", lambda rows: 5),
        ("crud", lambda rows: [*rows, object()]),
        ("latest", Deleted(1)),
        ("latest", Updated(1)),
        ("set", Created(1)),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(merge: str, change: Any) -> None:
    stage = Stage([row(1)], merge)
    with pytest.raises(TypeError):
        stage.overlay.begin(change)
    assert stage.told == 0
    assert stage.overlay.shown is None or stage.value == stage.server
    stage.overlay.begin(lambda value: [row(2)])
    assert stage.value == [row(2)]


def test_a_row_of_another_type_is_refused() -> None:
    stage = Stage([row(1)], row=Row)
    with pytest.raises(TypeError, match="does not fit the rows"):
        stage.overlay.begin(Created({"id": "one"}))
    stage.overlay.begin(Created({"id": 2}))
    assert stage.value == [Row(1), Row(2)]


def test_what_a_function_raises_comes_out_and_nothing_has_changed() -> None:
    stage = Stage([row(1)])
    with pytest.raises(ZeroDivisionError):
        stage.overlay.begin(lambda rows: 1 // 0)
    assert stage.value == [row(1)]
    assert stage.told == 0


def test_a_thousand_changes_wait_and_the_next_is_refused() -> None:  # acceptance 212
    stage = Stage()
    entries = [stage.overlay.begin(Created(row(n))) for n in range(DEPTH_MAX)]
    before = stage.value
    with pytest.raises(RpcError) as refusal:
        stage.overlay.begin(Created(row(-1)))
    assert refusal.value.code == "QUEUE_FULL"
    assert stage.value is before
    assert stage.counters.changes_refused == 1
    stage.overlay.withdraw(entries[0])
    stage.overlay.begin(Created(row(-1)))
    assert len(stage.value) == DEPTH_MAX


# -- loading


def test_a_change_made_before_the_first_value_is_shown_with_it() -> None:
    stage = Stage(None)
    waiting = stage.overlay.begin(Created(row(2)))
    stage.overlay.begin(lambda rows: rows[::-1])
    assert not stage.told
    stage.load([row(1)])
    assert stage.value == [row(2), row(1)]
    stage.overlay.agreed(waiting)
    assert stage.server == [row(1), row(2)]


def test_what_succeeded_before_the_first_value_is_in_it() -> None:
    stage = Stage(None)
    stage.overlay.agreed(stage.overlay.begin(Created(row(2))))
    stage.overlay.withdraw(stage.overlay.begin(Created(row(3))))
    stage.load([row(1)])
    assert stage.value == [row(1)]


def test_a_reload_replaces_the_servers_value_and_keeps_the_changes_that_wait() -> None:
    stage = Stage([row(1)])
    stage.overlay.agreed(stage.overlay.begin(Created(row(2))))
    entry = stage.overlay.begin(Created(row(3)))
    stage.load([row(1), row(4)])
    assert stage.value == [row(1), row(4), row(3)]
    stage.event("refreshed", [row(5)])
    assert stage.value == [row(5), row(3)]
    stage.overlay.withdraw(entry)
    assert stage.value == [row(5)]


def test_a_reload_under_another_strategy_expresses_the_changes_anew() -> None:
    stage = Stage([row(1)])
    entry = stage.overlay.begin(Deleted("a"))
    stage.base = make_fold("presence")
    stage.load([{"key": "a"}, {"key": "b"}])
    assert stage.value == [{"key": "b"}]
    stage.event("leave", {"key": "a"})
    stage.overlay.agreed(entry)
    assert stage.value == [{"key": "b"}]


# -- the law


KEYS = st.integers(0, 2)
ROWS = st.builds(row, KEYS, st.integers(0, 9))
CHANGES = st.one_of(st.builds(Created, ROWS), st.builds(Updated, ROWS), st.builds(Deleted, KEYS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.sampled_from(["created", "updated", "deleted"]), ROWS),
        st.tuples(st.just("event"), st.just("refreshed"), st.lists(ROWS, max_size=4)),
        st.tuples(st.just("begin"), CHANGES),
        st.tuples(st.just("begin"), CHANGES),
        st.tuples(st.just("agreed"), st.integers(0, 5)),
        st.tuples(st.just("withdraw"), st.integers(0, 5)),
        st.tuples(st.just("load"), st.lists(ROWS, max_size=4)),
    ),
    max_size=30,
)


def as_event(change: Any) -> tuple[str, Any]:
    if isinstance(change, Deleted):
        return "deleted", {"id": change.key}
    return ("created" if isinstance(change, Created) else "updated"), change.row


class Model:
    """The server's log with the successes in it; every value is folded from its beginning."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.log: list[tuple[str, Any]] = [("refreshed", [])]
        self.waiting: list[tuple[object, tuple[str, Any]]] = []

    def fold(self, *more: tuple[str, Any]) -> list[Any]:
        fold = make_fold("crud", **self.options)
        for event, data in [*self.log, *more]:
            fold.apply(event, data)
        value: list[Any] = fold.value
        return value

    def event(self, event: str, data: Any) -> None:
        present = event in ("created", "refreshed") or any(r["id"] == data["id"] for r in self.fold())
        self.log.append((event, data))
        if event == "refreshed" or not present:
            return
        for item in tuple(self.waiting):
            name, mine = item[1]
            if mine["id"] != data["id"] or (name == "deleted" and event != "deleted"):
                continue
            self.waiting.remove(item)
            if name == event == "deleted" or event != "deleted":
                break

    def settle(self, entry: object, *, agreed: bool) -> None:
        for item in tuple(self.waiting):
            if item[0] is entry:
                self.waiting.remove(item)
                if agreed:
                    self.log.append(item[1])


@given(STEPS, st.booleans(), st.sampled_from([0, 3]))
@settings(max_examples=300)
def test_the_value_is_the_servers_events_the_successes_and_what_waits(
    steps: list[tuple[Any, ...]], prepend: bool, limit: int
) -> None:
    stage, model = Stage([], prepend=prepend, max=limit), Model(prepend=prepend, max=limit)
    entries: list[Any] = []

    def check() -> None:
        assert stage.value == model.fold(*(event for _, event in model.waiting))
        assert stage.server == model.fold()

    for kind, *rest in steps:
        match kind:
            case "event":
                stage.event(*rest)
                model.event(*rest)
            case "begin":
                entries.append(stage.overlay.begin(rest[0]))
                model.waiting.append((entries[-1], as_event(rest[0])))
            case "load":
                stage.load(rest[0])
                model.log.append(("refreshed", rest[0]))
            case _ if entries:
                entry = entries.pop(rest[0] % len(entries))
                (stage.overlay.agreed if kind == "agreed" else stage.overlay.withdraw)(entry)
                model.settle(entry, agreed=kind == "agreed")
        check()
    for entry in entries:
        stage.overlay.agreed(entry)
        model.settle(entry, agreed=True)
        check()
    assert stage.value == stage.server
