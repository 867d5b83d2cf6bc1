"""Redaction holds whatever comes."""

import dataclasses
import datetime
import json
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.redact import DEFAULT_KEYS, REDACTED, Redactor

redact = Redactor()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
payloads = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(DEFAULT_KEYS), inner),
    max_leaves=30,
)
SECRET = "s3cr3t-value"


def plant(value: Any) -> Any:
    """The payload with a secret under every listed key."""
    if isinstance(value, dict):
        return {k: SECRET if k.lower() in redact.keys else plant(v) for k, v in value.items()}
    return [plant(v) for v in value] if isinstance(value, list) else value


@given(payloads)
def test_no_value_under_a_listed_key_survives(payload: Any) -> None:
    assert SECRET not in json.dumps(redact(plant(payload)))


@given(payloads)
def test_the_copy_is_plain_json_and_the_original_untouched(payload: Any) -> None:
    before = repr(payload)
    msgspec.json.encode(redact(payload))
    assert repr(payload) == before


@pytest.mark.parametrize("key", ["password", "PASSWORD", "Token", "api_key", "Set-Cookie"])
def test_keys_match_whole_and_in_any_case(key: str) -> None:
    assert redact({key: "x", f"{key}s": "y"}) == {key: REDACTED, f"{key}s": "y"}


def test_structs_and_dataclasses_are_covered_by_their_names_on_the_wire() -> None:
    class Login(msgspec.Struct, rename={"secret_word": "password"}):
        secret_word: str

    @dataclasses.dataclass
    class Key:
        token: str

    assert redact([Login("x"), Key("y")]) == [{"password": REDACTED}, {"token": REDACTED}]


def test_depth_ends_with_a_mark_at_and_below_the_cap() -> None:
    deep: Any = "leaf"
    for _ in range(5):
        deep = {"in": deep}
    assert "leaf" in json.dumps(redact(deep))
    assert "[depth-cap]" in json.dumps(redact({"in": deep}))


@pytest.mark.parametrize(("size", "more"), [(50, None), (51, "[+1 more]")])
def test_lists_end_with_a_count_of_the_rest(size: int, more: str | None) -> None:
    copy = redact(list(range(size)))
    assert len(copy) == 50 + (more is not None)
    assert (copy[-1] == more) is (more is not None)


def test_cycles_are_marked_and_shared_parts_are_not() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert redact(loop) == ["[cycle]"]
    shared = [1]
    assert redact([shared, shared]) == [[1], [1]]


def test_the_cost_is_bounded_whatever_the_size() -> None:
    wide = [[list(range(50))] * 50] * 50
    assert len(json.dumps(redact(wide))) < 100_000
    assert len(json.dumps(redact(["x" * 10_000] * 50))) < 50_000


def test_values_without_a_plain_form_are_named_by_type() -> None:
    value = [datetime.date(2026, 1, 2), uuid.UUID(int=1), b"abc", object(), {1: 2}, (1, 2)]
    assert redact(value) == ["2026-01-02", str(uuid.UUID(int=1)), "[3 bytes]", "[object]", {"1": 2}, [1, 2]]


def test_more_keys_can_be_added() -> None:
    assert Redactor(["Iban"])({"iban": "x", "password": "y"}) == {"iban": REDACTED, "password": REDACTED}
