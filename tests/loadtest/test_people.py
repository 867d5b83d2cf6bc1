"""Users and their tokens from a CSV file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import ConfigError
from liverpc.contrib.locust.people import Numbers, People

SECRET = "hunter2"


def people(folder: Path, content: str | bytes, **options: object) -> People:
    path = folder / "users.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return People.read(path, **options)  # type: ignore[arg-type]  # of whatever a test gives


def test_cells_are_found_by_column(tmp_path: Path) -> None:
    told = people(tmp_path, "user, token\nann,t-1\n\nbob,t-2\n", columns=["token", "user"])
    assert [dict(each) for each in told] == [{"user": "ann", "token": "t-1"}, {"user": "bob", "token": "t-2"}]
    assert len(told) == 2
    first = told.person(0)
    assert first is not None
    assert (first["token"], first.get("age"), "user" in first) == ("t-1", None, True)


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        (b"\xef\xbb\xbfuser\r\nann\r\n", "ann"),
        ('user\n"ann ""the"", first"\n', 'ann "the", first'),
        ('user\n"two\nlines"\n', "two\nlines"),
        ("user\nÄnne", "Änne"),
    ],
    ids=["BOM and CRLF", "quotes", "line break", "no end of line"],
)
def test_files_of_spreadsheets_are_understood(tmp_path: Path, content: str | bytes, cells: str) -> None:
    (person,) = people(tmp_path, content)
    assert person["user"] == cells


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "users.csv is empty, or has no header"),
        ("\n\n", "users.csv is empty, or has no header"),
        ("user,token\n", "users.csv has a header and nobody below it"),
        (f"user,token\nann,{SECRET}\nbob\n", "users.csv, line 3 has 1 cells instead of 2"),
        (f'user,token\n"a\nb",{SECRET}\nbob,{SECRET},{SECRET}\n', "users.csv, line 4 has 3 cells instead of 2"),
        (f'user,token\nann,"{SECRET}\n', "users.csv, line 2: a quote that is not closed"),
        (f'user,token\nann,"{SECRET}"x\n', "users.csv, line 2: a quote"),
        (f"{SECRET},b,{SECRET}\n1,2,3\n", "users.csv, line 1: columns 1 and 3 have the same name"),
        (f"{SECRET},,b\n1,2,3\n", "users.csv, line 1: column 2 has no name"),
        (f"ann,{SECRET}\nbob,{SECRET}\n", "users.csv has no column user, token; the first line names the columns"),
        (f"user\n{SECRET}\xe4\n".encode("latin-1"), "users.csv is not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_of_what_stands_there(
    tmp_path: Path, content: str | bytes, text: str
) -> None:
    needs = ["user", "token"] if str(content).startswith("ann") else []
    with pytest.raises(ConfigError) as caught:
        people(tmp_path, content, columns=needs)
    assert text in str(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.csv: No such file"):
        People.read(tmp_path / "none.csv")


def test_what_to_do_with_too_many_users_is_one_of_two_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cycle' or 'stop', not 'wait'"):
        people(tmp_path, "user\nann\n", when_used_up="wait")


def test_a_person_shows_its_line_only(tmp_path: Path) -> None:
    (person,) = people(tmp_path, f"user,token\nann,{SECRET}\n")
    assert repr(person) == f"{person}" == "<Person: users.csv, line 2>"
    with pytest.raises(KeyError) as caught:
        person["password"]
    assert "users.csv, line 2 has no column 'password'" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_more_users_than_rows_share_them_and_the_log_tells_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = people(tmp_path, "user\nann\nbob\n")
    with caplog.at_level(logging.WARNING):
        assert [person["user"] for number in range(2) if (person := told.person(number))] == ["ann", "bob"]
        assert not caplog.messages
        assert [person["user"] for number in range(2, 5) if (person := told.person(number))] == ["ann", "bob", "ann"]
    assert caplog.messages == ["users.csv has 2 rows for more users than that: rows are used by several of them"]


def test_more_users_than_rows_do_not_start_when_that_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = people(tmp_path, "user\nann\nbob\n", when_used_up="stop")
    with caplog.at_level(logging.WARNING):
        assert [told.person(number) is None for number in range(4)] == [False, False, True, True]
    assert caplog.messages == ["users.csv has 2 rows for more users than that: the others do not start"]


@given(st.lists(st.booleans()))
def test_no_number_is_had_twice_and_the_lowest_free_one_comes_first(takes: list[bool]) -> None:
    numbers, held = Numbers(), list[int]()
    for take in takes:
        if take or not held:
            number = numbers.take()
            assert number == min(set(range(len(held) + 1)) - set(held))
            held.append(number)
        else:
            numbers.give_back(held.pop(len(held) // 2))
