"""Which uploads a run makes, without Locust."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import msgspec
import pytest

from loadtest._upload_plan import BLOCK, PIECE, Data, UploadKnobs, plans
from loadtest._words import Size, parse_bandwidth, parse_sizes


def options(**given: Any) -> UploadKnobs:
    return msgspec.convert(given, UploadKnobs, strict=False)


def test_the_defaults_mix_sizes_and_ends() -> None:
    given = options()
    assert [(size.name, size.bytes, size.weight) for size in parse_sizes(given.upload_sizes)] == [
        ("1MB", 1_000_000, 16),
        ("10MB", 10_000_000, 3),
        ("100MB", 100_000_000, 1),
    ]
    assert (given.uploads_per_user, given.bandwidth, given.cancelled, given.killed) == (1, "50", 0.1, 0.05)
    assert parse_bandwidth("50") == 50e6
    assert parse_bandwidth("max") == math.inf


def test_sizes_have_units_and_weights() -> None:
    assert parse_sizes("7,7B=2,7kB=0.5,7MB") == [
        Size("7", 7, 1),
        Size("7B", 7, 2),
        Size("7kB", 7000, 0.5),
        Size("7MB", 7_000_000, 1),
    ]


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"upload_sizes": text}
            for text in ("", "x", "MB", "0MB", "-1MB", "1Mk", "1MB=", "1MB=0", "1MB=x", "1MB,", "5GB=1")
        ),
        {"uploads_per_user": "0"},
        {"uploads_per_user": "1001"},
        {"bandwidth": "0"},
        {"bandwidth": "min"},
        {"cancelled": "1.1"},
        {"killed": "-0.1"},
        {"killed": "nan"},
        {"cancelled": 0.7, "killed": 0.4},
    ],
    ids=str,
)
def test_options_of_uploads_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        options(**given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"upload_sizes": "5GB=1"}, "in B, kB or MB"),
        ({"bandwidth": "fast"}, "megabytes per second, or max"),
        ({"cancelled": 0.7, "killed": 0.4}, "together 1 at most: not 0.7 and 0.4"),
    ],
)
def test_the_sentence_tells_what_would_be_right(given: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        options(**given)


def test_the_seed_decides_everything_and_the_shares_are_kept() -> None:
    given = options(upload_sizes="1kB=3,10kB=1", cancelled=0.2, killed=0.1)
    made = list(islice(plans(given, "s", 0, 0), 10_000))
    assert made == list(islice(plans(given, "s", 0, 0), 10_000))
    for others in (plans(given, "s", 0, 1), plans(given, "s", 1, 0), plans(given, "t", 0, 0)):
        assert made[:100] != list(islice(others, 100))

    def share(test: Any) -> Any:
        return pytest.approx(sum(map(test, made)) / len(made), abs=0.02)

    assert share(lambda plan: plan.fate == "cancelled") == 0.2
    assert share(lambda plan: plan.fate == "killed") == 0.1
    assert share(lambda plan: plan.size.name == "1kB") == 0.75
    assert share(lambda plan: plan.reset) == 0.5
    assert all(0 < plan.midway < plan.size.bytes for plan in made)


@pytest.mark.parametrize("start", [0, 1, BLOCK - 1])
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 10_000_000])
def test_data_have_the_size_that_was_asked_for_and_repeat_nothing(start: int, size: int) -> None:
    pieces = [bytes(piece) for piece in Data("s").pieces(start, size)]
    assert pieces == [bytes(piece) for piece in Data("s").pieces(start, size)]
    assert sum(map(len, pieces)) == size
    assert len(set(pieces)) == len(pieces)
