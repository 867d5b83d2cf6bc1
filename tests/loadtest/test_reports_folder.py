"""The folder of a run, written and read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.errors import ConfigError
from loadtest._compare import compare
from loadtest._folder import new_folder, read, write
from loadtest._result import Event, Health, Result, Row, Second, ServerSecond
from tests.loadtest.results_kit import ECHO, result_of, seconds, series_of

NUMBERS = st.floats(0, 1e9)
TEXTS = st.text(max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
BY_SERIES = st.dictionaries(TEXTS, NUMBERS, max_size=2)
RESULTS = st.builds(
    result_of,
    scenario=TEXTS,
    options=st.dictionaries(TEXTS, JSON, max_size=3),
    error=TEXTS,
    rows=st.lists(st.builds(Row, key=TEXTS, metric=TEXTS, value=TEXTS, number=st.none() | NUMBERS), max_size=3),
    latencies=st.dictionaries(TEXTS, st.builds(series_of, st.lists(NUMBERS, max_size=5)), max_size=3),
    seconds=st.lists(
        st.builds(
            Second,
            at=NUMBERS,
            users=st.integers(0, 9),
            wanted=NUMBERS,
            p99=BY_SERIES,
            generator=st.none() | st.builds(Health, NUMBERS, NUMBERS, NUMBERS),
            server=st.none() | st.builds(ServerSecond, lag_ms=st.none() | NUMBERS),
        ),
        max_size=5,
    ),
    events=st.lists(st.builds(Event, NUMBERS, TEXTS), max_size=3),
    details=st.dictionaries(TEXTS, JSON, max_size=3),
)


def written(folder: Path, **given: Any) -> Result:
    result = result_of(seconds=seconds([2.0] * 20), details={"lost": [1, 2]}, **given)
    write(folder, result)
    return result


@settings(max_examples=40, deadline=None)
@given(RESULTS)
def test_what_is_read_is_what_was_written(result: Result) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), result)
        assert read(Path(folder)) == result


def test_everything_is_there(tmp_path: Path) -> None:
    result = result_of(
        seconds=seconds([2.0] * 20),
        latencies={"RPC a/b": series_of([1.0]), "RPC a b": series_of([1.0]), "../x": series_of([1.0])},
    )
    write(tmp_path, result, compare(result, result))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    texts = {"summary.json", "verdict.txt", "metrics.jsonl", "ledger.json", "junit.xml", "compare.txt"}
    assert files == texts | {
        "report.html",
        "report.md",
        "hist/RPC_a_b.hgrm",
        "hist/RPC_a_b-2.hgrm",
        "hist/_x.hgrm",
    }
    assert (tmp_path / "verdict.txt").read_text().startswith("rpc: 50 users")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 20


def test_without_a_comparison_there_is_no_file_of_one(tmp_path: Path) -> None:
    written(tmp_path)
    assert not (tmp_path / "compare.txt").exists()
    assert "Compared" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("started", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123456+00:00"])
def test_a_folder_is_named_after_its_run_and_used_once(tmp_path: Path, started: str) -> None:
    names = [
        new_folder(tmp_path / "runs", started=started, scenario="rpc", commit=commit).name
        for commit in ("abc1234+", "abc1234+", "abc1234+", "")
    ]
    first = "20260301T120000Z-rpc-abc1234+"
    assert names == [first, f"{first}-2", f"{first}-3", "20260301T120000Z-rpc"]


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    result = written(tmp_path)
    with pytest.raises(ConfigError, match="there is a run in"):
        write(tmp_path, result_of(scenario="other"))
    assert read(tmp_path) == result


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no summary\.json"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        read(tmp_path / "missing")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"schema": 1, "rows": 5}')
    with pytest.raises(ConfigError, match="has schema 1, and this version reads 2"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "ledger.json"])
def test_what_is_cut_off_or_missing_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=f"{name}.* cut off"):
        read(tmp_path)
    path.write_bytes(whole.replace(b'"', b"", 1))
    with pytest.raises(ConfigError, match=f"{name}.* damaged"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(ConfigError, match=name):
        read(tmp_path)


def test_a_run_that_was_ended_midway_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("x")
    with pytest.raises(ConfigError, match="its run did not end"):
        read(tmp_path)


def test_the_histograms_are_those_of_the_series(tmp_path: Path) -> None:
    written(tmp_path)
    text = (tmp_path / "hist" / f"{ECHO.replace(' ', '_').replace('/', '_')}.hgrm").read_text()
    assert "Total count    =            3]" in text
