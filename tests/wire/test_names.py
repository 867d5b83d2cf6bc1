"""Paths and topics: what is one, and what is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.wire.names import MAX_TOPIC_LENGTH, is_path, is_reserved, topic_fault

SEGMENT = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True)


@given(st.lists(SEGMENT, min_size=2, max_size=5))
def test_two_or_more_segments_are_a_path(segments: list[str]) -> None:
    assert is_path("/".join(segments))


@pytest.mark.parametrize(
    "text",
    ["", "one", "/", "a/", "/a", "/a/b", "a/b/", "a//b", "a/../b", "a/b.js", "a/b c", "a/é", "a/b\n", "a\\b", "٣/٣"],
)
def test_everything_else_is_none(text: str) -> None:
    assert not is_path(text)


@given(st.text(max_size=20))
def test_a_path_has_only_its_own_characters(text: str) -> None:
    if is_path(text):
        assert re.sub(r"[A-Za-z0-9_/-]", "", text) == ""
        assert "" not in text.split("/")


@pytest.mark.parametrize(("topic", "reserved"), [("__rpc", True), ("__", True), ("_x", False), ("a__b", False)])
def test_two_underscores_at_the_beginning_are_reserved(topic: str, reserved: bool) -> None:
    assert is_reserved(topic) is reserved


@pytest.mark.parametrize("topic", ["a", " ", "room:1", "ünïcode", "_x", "\x7f", "x" * MAX_TOPIC_LENGTH])
def test_usable_topics_have_no_fault(topic: str) -> None:
    assert topic_fault(topic) is None


@pytest.mark.parametrize(
    ("topic", "fault"),
    [
        ("", "is empty"),
        (None, "must be a string, not NoneType"),
        (5, "must be a string, not int"),
        (["a"], "must be a string, not list"),
        ("x" * (MAX_TOPIC_LENGTH + 1), "is 257 characters long; the limit is 256"),
    ],
)
def test_a_fault_says_what_is_wrong(topic: object, fault: str) -> None:
    found = topic_fault(topic)
    assert found is not None
    assert found.startswith(fault)


@given(st.text(max_size=10), st.sampled_from([*map(chr, range(0x20)), '"', "\\"]), st.text(max_size=10))
def test_control_characters_quotes_and_backslashes_are_a_fault(before: str, character: str, after: str) -> None:
    assert topic_fault(before + character + after) == "contains a control character, a quote or a backslash"


def test_reserved_topics_are_fine_only_where_they_are_allowed() -> None:
    assert topic_fault("__rpc") is not None
    assert topic_fault("__rpc", reserved=True) is None
