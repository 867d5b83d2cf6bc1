"""Which uploads a run makes, without Locust."""

from __future__ import annotations

import argparse
import math
from itertools import islice
from typing import Any

import msgspec
import pytest

from loadtest._cli import Options, Size, add_options, parse_sizes
from loadtest._plan import BLOCK, PIECE, Data, plans


def options(*arguments: str) -> Options:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return msgspec.convert(parser.parse_args(arguments), Options, from_attributes=True)


def test_the_defaults_mix_sizes_and_ends() -> None:
    given = options()
    assert [(size.name, size.bytes, size.weight) for size in given.upload_sizes] == [
        ("1MB", 1_000_000, 16),
        ("10MB", 10_000_000, 3),
        ("100MB", 100_000_000, 1),
    ]
    assert (given.uploads_per_user, given.bandwidth, given.cancelled, given.killed) == (1, 50e6, 0.1, 0.05)
    assert options("--bandwidth", "max").bandwidth == math.inf


def test_sizes_have_units_and_weights() -> None:
    assert parse_sizes("7,7B=2,7kB=0.5,7MB") == [
        Size("7", 7, 1),
        Size("7B", 7, 2),
        Size("7kB", 7000, 0.5),
        Size("7MB", 7_000_000, 1),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--upload-sizes", text] for text in ("", "x", "MB", "0MB", "-1MB", "1Mk", "1MB=", "1MB=0", "1MB=x", "1MB,")),
        ["--uploads-per-user", "0"],
        ["--uploads-per-user", "1001"],
        ["--bandwidth", "0"],
        ["--bandwidth", "min"],
        ["--cancelled", "1.1"],
        ["--killed", "-0.1"],
        ["--killed", "nan"],
    ],
    ids=" ".join,
)
def test_options_of_uploads_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(*arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--upload-sizes", "5GB=1"], "in B, kB or MB"), (["--bandwidth", "fast"], "megabytes per second, or max")],
)
def test_the_sentence_tells_what_would_be_right(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        options(*arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_the_seed_decides_everything_and_the_shares_are_kept() -> None:
    given = options("--seed", "s", "--upload-sizes", "1kB=3,10kB=1", "--cancelled", "0.2", "--killed", "0.1")
    made = list(islice(plans(given, 0, 0), 10_000))
    assert made == list(islice(plans(given, 0, 0), 10_000))
    for others in (plans(given, 0, 1), plans(given, 1, 0), plans(options("--seed", "t"), 0, 0)):
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
