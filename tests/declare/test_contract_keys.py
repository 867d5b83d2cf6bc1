"""Keys of rooms: equal when their parts are, and refused when a part is missing."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.declare.keys import room_key

PARTS = st.one_of(st.text(min_size=1), st.integers(), st.uuids())
KEYS = st.lists(PARTS, min_size=1, max_size=4)


def typed(parts: list[Any]) -> list[tuple[type, Any]]:
    return [(type(part), part) for part in parts]


@given(KEYS, KEYS)
def test_keys_are_equal_exactly_when_their_parts_are_by_type_and_value(one: list[Any], other: list[Any]) -> None:
    assert (room_key(one) == room_key(other)) == (typed(one) == typed(other))


@given(KEYS)
def test_lists_and_tuples_are_the_same_key(parts: list[Any]) -> None:
    assert room_key(parts) == room_key(tuple(parts))


@given(PARTS)
def test_a_part_alone_is_the_same_as_a_tuple_of_it(part: Any) -> None:
    assert room_key(part) == room_key((part,))


ID = UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("chat", "a:b"), ("chat:a", "b")),
        (("ab", "c"), ("a", "bc")),
        ('a","b', ("a", "b")),
        (1, "1"),
        (ID, str(ID)),
        (ID, ID.hex),
        (ID, f'{{"uuid":"{ID.hex}"}}'),
        ((1, 2), (2, 1)),
        ("é", "e\u0301"),
    ],
)
def test_keys_that_only_look_alike_differ(one: Any, other: Any) -> None:
    assert room_key(one) != room_key(other)


class Kind(StrEnum):
    TEAM = "team"


class Level(IntEnum):
    ONE = 1


class Key(NamedTuple):
    kind: str
    id: int


class Plain(Enum):
    TEAM = "team"


def test_what_derives_from_strings_integers_and_tuples_counts_as_such() -> None:
    assert room_key((Kind.TEAM, Level.ONE)) == room_key(("team", 1))
    assert room_key(Key("team", 1)) == room_key(("team", 1))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "part 1 of the key is None"),
        (("tenant", None), "part 2 of the key is None"),
        (False, "is False"),
        (True, "is True"),
        ("", "is ''"),
        (("a", ""), "part 2 of the key is ''"),
        ((), "no parts"),
        ([], "no parts"),
        (1.5, "of type float"),
        (float("nan"), "of type float"),
        (b"a", "of type bytes"),
        (("a", ("b",)), "part 2 of the key is of type tuple"),
        ({"a": 1}, "of type dict"),
        ({"a"}, "of type set"),
        (Plain.TEAM, "of type Plain"),
        (object(), "of type object"),
        ("\ud800", "no Unicode text"),
    ],
)
def test_everything_else_is_refused_with_a_reason(key: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        room_key(key)


def test_the_reason_does_not_repeat_values() -> None:
    class Token:
        def __repr__(self) -> str:
            return "hunter2"

    with pytest.raises(ValueError, match="Token") as refused:
        room_key(("a", Token()))
    assert "hunter2" not in str(refused.value)
