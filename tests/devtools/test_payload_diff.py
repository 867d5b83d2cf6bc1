"""Differences between payloads, and the forms in which payloads are shown."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.inspector.protocol import PublishEvent
from liverpc_devtools.core.compared import before
from liverpc_devtools.core.diff import MAX_CHANGES, Change, apply, between
from liverpc_devtools.widgets.forms import FORMS, following, written
from tests.devtools.attach_frames import call, pub

scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0]) | st.text("ab", max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3)
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types: 1 is not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=150, deadline=None)
@given(values, values)
def test_applying_the_differences_gives_the_new_value(old: Any, new: Any) -> None:
    kept = copy.deepcopy(old)
    changes = between(old, new)
    assert same(apply(old, changes), new)
    assert same(old, kept)
    assert (changes == []) is same(old, new)


def test_what_stayed_is_not_told() -> None:
    old = {"id": 3, "title": "a", "tags": ["x", "y", "z"], "gone": 1}
    new = {"id": 3, "title": "b", "tags": ["x", "n", "y", "z"], "came": 2}
    assert between(old, new) == [
        Change(("title",), "changed", "a", "b"),
        Change(("tags", 1), "added", new="n"),
        Change(("gone",), "removed", 1),
        Change(("came",), "added", new=2),
    ]


def test_of_too_many_differences_everything_is_one() -> None:
    for number, expected in ((MAX_CHANGES, MAX_CHANGES), (MAX_CHANGES + 1, 1)):
        new = {str(each): each for each in range(number)}
        changes = between({}, new)
        assert (len(changes), apply({}, changes)) == (expected, new)


def test_what_is_deeply_nested_is_compared_as_a_whole() -> None:
    old: Any = 1
    new: Any = 2
    for _ in range(200):
        old, new = [old], [new]
    changes = between(old, new)
    assert len(changes) == 1
    assert apply(old, changes) == new


def test_a_payload_is_compared_with_the_last_one_of_its_item() -> None:
    def at(when: float, data: Any, event: str = "updated", topic: str = "a") -> PublishEvent:
        return msgspec.structs.replace(pub(topic, when), data=data, event=event)

    older = [
        at(1.0, {"id": 3}),
        at(2.0, {"id": 3}, "created"),
        at(3.0, {"id": 4, "n": 1}),
        at(4.0, {"id": 3}, topic="b"),
    ]
    now = at(5.0, {"id": 3, "n": 2})
    assert before(now, [now, *older, at(6.0, {"id": 3})]) is older[1]
    assert before(at(5.0, {"id": 9}), older) is None
    ticks = [at(1.0, 1, "moved"), at(2.0, 2, "tick")]
    assert before(at(3.0, 5, "moved"), ticks) is ticks[0]
    assert before(at(3.0, 5, "gone"), ticks) is None
    assert before(at(3.0, msgspec.UNSET, "moved"), ticks) is None


def test_a_call_is_compared_with_the_one_before_of_its_path() -> None:
    calls = [call(1.0), call(2.0, ok=False), msgspec.structs.replace(call(3.0), path="other"), call(5.0)]
    assert before(call(4.0), calls) is calls[1]
    assert before(calls[0], calls) is None


def text(lines: Any) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_the_forms_follow_each_other() -> None:
    assert [following(each) for each in FORMS] == ["Raw", "Diff", "Hex", "Pretty"]


def test_a_diff_names_what_changed_with_signs() -> None:
    old = ("updated", {"title": "a", "author": {"id": 1}, "old": [1]})
    lines = text(written({"title": "b", "author": {"id": 1}, "more": {"x": 1, "y": 2}}, "Diff", old))
    assert lines == [
        "3 differences from updated",
        '~ title  "a" -> "b"',
        "- old",
        "  - - 1",
        "+ more",
        "  + x  1",
        "  + y  2",
    ]
    assert text(written(1, "Diff", ("tick", 1))) == ["no differences from tick"]
    assert text(written(1, "Diff"))[0] == "nothing to compare it with"


def test_the_bytes_of_a_string_can_be_seen() -> None:
    lines = text(written("a\x1bé", "Hex"))
    assert lines == ["4 bytes of the string", f"000000  {'61 1b c3 a9':<47}  a..."]
    assert "904 more bytes" in text(written("x" * 5000, "Hex"))[-1]
