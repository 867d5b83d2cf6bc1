from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from liverpc_devtools.core.text import age, clean, clock, count, duration, ms, ordinal, rate, size
from liverpc_devtools.widgets.palette import fit, wrap
from liverpc_devtools.widgets.payload import pretty, raw

HOSTILE = st.text(st.characters(exclude_categories=()))  # lone surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | HOSTILE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    max_leaves=12,
)


def acts_on_a_terminal(text: str) -> bool:
    return any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text)


@given(HOSTILE)
def test_no_control_character_survives_cleaning(text: str) -> None:
    assert not acts_on_a_terminal(clean(text))
    clean(text).encode()  # nor anything that cannot be written


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x9b2J", r"\x9b2J"),
        ("x\u202eevil", r"x\u202eevil"),
        ("\ud800", r"\ud800"),
        ("設計 é", "設計 é"),
    ],
)
def test_what_is_not_printable_becomes_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(JSON)
def test_no_payload_reaches_the_screen_uncleaned(value: object) -> None:
    for line in (*pretty(value), *raw(value)):
        assert not acts_on_a_terminal("".join(text for text, _ in line))


def test_scalars_are_aligned_and_nesting_is_indented() -> None:
    value = {"id": "c-1", "author": {"name": "Ana", "n": 3}, "tags": ["a", {"b": 1}], "none": None}
    assert ["".join(text for text, _ in line) for line in pretty(value)] == [
        'id    "c-1"',
        "author",
        '  name  "Ana"',
        "  n     3",
        "tags",
        '  - "a"',
        "  - b  1",
        "none  null",
    ]


def test_a_huge_value_is_cut_and_says_so() -> None:
    assert len(pretty(list(range(2000)))) == 2000
    lines = pretty(list(range(2001)))
    assert lines[-1][0][0] == "1 more line"
    assert len(lines) == 2001


def test_deep_nesting_ends_in_one_line() -> None:
    value: object = "bottom"
    for _ in range(500):
        value = [value]
    assert len(pretty(value)) == 1


@given(HOSTILE, st.integers(0, 30), st.booleans(), st.booleans())
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, cells: int, right: bool, end: bool) -> None:
    assert cell_len(fit(clean(text), cells, "…", right=right, end=end)) == cells


def test_what_is_too_long_loses_its_end_or_its_beginning() -> None:
    assert fit("board/toggle", 9, "…") == "board/to…"
    assert fit("board/toggle", 9, "…", end=True) == "…d/toggle"
    assert fit("board/toggle", 13, "…", end=True) == "board/toggle "
    assert fit("x漢字", 4, "…", end=True) == "…字 "


@given(st.lists(st.tuples(HOSTILE.map(clean), st.just("text")), max_size=4), st.integers(4, 40))
def test_wrapping_loses_nothing_and_keeps_the_width(line: list[tuple[str, str]], cells: int) -> None:
    lines = wrap(line, cells)
    assert all(sum(cell_len(text) for text, _ in each) <= cells for each in lines)
    whole = "".join(text for text, _ in line)
    # Continuations begin with the indentation that was put there.
    parts = [each if index == 0 else each[1:] for index, each in enumerate(lines)]
    assert "".join(text for each in parts for text, _ in each) == whole


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["ann ", " has the data stream"], ["ann  has the ", "  data stream"]),
        (["connection ", "3f2a-48df"], ["connection ", "  3f2a-48df"]),
        (["k ", "x" * 30], ["k " + "x" * 14, "  " + "x" * 14, "  " + "x" * 2]),
        (["  name  ", '"a quick fox"'], ['  name  "a quick', '     fox"']),
    ],
)
def test_lines_are_wrapped_at_words_unless_one_is_too_long(pieces: list[str], lines: list[str]) -> None:
    wrapped = wrap([(each, "text") for each in pieces], 16)
    assert ["".join(text for text, _ in line) for line in wrapped] == lines


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (rate(0.04), "0"),
        (rate(48), "48.0"),
        (rate(1204), "1,204"),
        (rate(10_600), "10.6k"),
        (rate(480_000), "480k"),
        (rate(3_100_000), "3.1M"),
        (size(999), "999 B"),
        (size(1200), "1.2 KB"),
        (size(999_600), "1.0 MB"),
        (age(-1), "0.0s"),
        (age(9.94), "9.9s"),
        (age(9.96), "9s"),
        (age(192), "3m12s"),
        (age(7_500), "2h05m"),
        (age(266_400), "3d02h"),
        (duration(41), "0:41"),
        (duration(0.2), "0:01"),
        (ms(0.42), "0.42ms"),
        (ms(812), "812ms"),
        (ms(1420), "1.42s"),
        (count(1204), "1,204"),
    ],
)
def test_figures_are_short(made: str, text: str) -> None:
    assert made == text


@given(st.floats(allow_nan=True, allow_infinity=True), st.booleans())
def test_any_number_is_some_time_of_day(wall: float, millis: bool) -> None:
    assert len(clock(wall, millis=millis)) == (12 if millis else 8)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999_999, "999,999"), (1_000_000, "…000,000"), (1_795_261_000_204_017, "…204,017")],
)
def test_of_long_numbers_of_events_the_last_digits_are_shown(number: int, shown: str) -> None:
    assert ordinal(number) == shown
