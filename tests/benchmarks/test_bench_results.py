"""What the benchmarks make of their samples. The measuring itself is tried once, as briefly as it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.contest import Samples, summarise
from tests.benchmarks.machine import LoadFailed, NotRun, Server, client, run_load
from tests.benchmarks.report import WIDTH, render, verdict
from tests.benchmarks.rows import CONTESTS, ROWS, Row

ROOT = Path(__file__).parents[2]
ROW = Row("a/b", "some", "a", "b", must=2.0, target=4.0)
MUST, TARGET = "reaches must", "reaches target"
SMALL = Row("a/b", "some", "a", "b", "ns", must=2.0, target=1.0)


def sample(rate: float, **more: float) -> dict[str, float]:
    return {"rate": rate, "cpu_us": 1e6 / rate, "server_busy": 1.0, "client_busy": 0.5, "waited": 0.0, **more}


def result(name: str, ratio: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "metric": "rate", "higher_is_better": True, "must": 2, "target": 4, "ratio": ratio, **more}


# -- the table


def test_rows_have_names_of_their_own_and_compare_what_their_contest_has() -> None:
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []
    for row in ROWS:
        assert {row.subject, row.against} <= CONTESTS[row.contest].contestants.keys(), row.name


def test_names_fit_their_column() -> None:
    assert max(len(row.name) for row in ROWS) < WIDTH


def test_everything_that_can_be_measured_is_in_a_row() -> None:
    used = {(row.contest, side) for row in ROWS for side in (row.subject, row.against)}
    unused = {(contest.name, name) for contest in CONTESTS.values() for name in contest.contestants} - used
    # Doors and plain ASGI are compared on 16 connections only.
    assert {contest for contest, _ in unused} <= {"rpc-1x1", "rpc-128x1", "rpc-1x16", "rpc-128x16"}


# -- ratios


def test_a_ratio_is_the_median_of_ratios_within_a_round() -> None:
    # The machine was twice as fast in the second round: the quotient of the medians would be 200 / 50.
    samples: Samples = {"a": [sample(100), sample(200), sample(400)], "b": [sample(50), sample(100), sample(40)]}
    row = summarise(ROW, samples)
    assert row["ratios"] == [2, 2, 10]
    assert row["ratio"] == 2
    assert row["cpu_ratio"] == 2
    assert row["subject"]["rate"] == 200


def test_a_peer_can_be_scaled() -> None:
    row = summarise(Row("a/b", "some", "a", "b", "ns", scale=1.5), {"a": [{"ns": 3.0}], "b": [{"ns": 1.0}]})
    assert row["ratio"] == 2
    assert "cpu_ratio" not in row


def test_rounds_in_which_a_server_waited_for_its_core_are_left_out() -> None:
    samples: Samples = {
        "a": [sample(100), sample(100), sample(100, waited=0.07), sample(100, waited=0.06)],
        "b": [sample(50), sample(50), sample(1), sample(50)],
    }
    row = summarise(ROW, samples)
    assert (row["rounds"], row["contended"]) == (3, False)
    assert row["ratios"] == [2, 2, 2]


def test_a_row_with_too_few_calm_rounds_uses_all_and_says_so() -> None:
    samples: Samples = {
        "a": [sample(100), sample(100), sample(100)],
        "b": [sample(50), sample(50, waited=1), sample(1)],
    }
    row = summarise(ROW, samples)
    assert (row["rounds"], row["contended"]) == (3, True)
    assert "contended" in render(row)


@pytest.mark.parametrize(
    ("client_busy", "server_busy", "bound"),
    [(0.91, 0.94, ["b"]), (0.9, 0.94, []), (0.91, 0.95, [])],
)
def test_a_busy_client_beside_an_idle_server_is_named(client_busy: float, server_busy: float, bound: list[str]) -> None:
    slow = sample(50, client_busy=client_busy, server_busy=server_busy)
    row = summarise(ROW, {"a": [sample(100)], "b": [slow]})
    assert row["client_bound"] == bound
    assert ("client-bound: b" in render(row)) == bool(bound)


def test_a_row_without_one_of_its_sides_says_why() -> None:
    row = summarise(ROW, {"a": [sample(1)], "b": "not run: needs node"})
    assert row["not_run"] == "not run: needs node"
    assert render(row).endswith(" not run: needs node")


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.99, "MISSES must"), (2.0, MUST), (3.99, MUST), (4.0, TARGET), (4.01, TARGET)]
)
def test_more_is_better_for_rates(ratio: float, word: str) -> None:
    assert verdict(result("a/b", ratio)) == word


@pytest.mark.parametrize(("ns", "word"), [(2.01, "MISSES must"), (2.0, MUST), (1.01, MUST), (1.0, TARGET)])
def test_less_is_better_for_everything_else(ns: float, word: str) -> None:
    assert verdict(summarise(SMALL, {"a": [{"ns": ns}], "b": [{"ns": 1.0}]})) == word


# -- the program


def test_list_shows_the_names_that_a_glob_selects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--rows", "fan-1/*"]) == 0
    assert capsys.readouterr().out.split() == ["fan-1/broadcast", "fan-1/socketio"]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tests.benchmarks", "--list"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_glob_that_selects_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "rcp*"]) == 2
    assert "--list" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--rounds=0", "--seconds=0", "--seconds=nan"])
def test_a_run_has_at_least_one_round_and_some_time(option: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2


def test_without_a_compiler_rows_say_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    client.cache_clear()
    file = tmp_path / "new" / "bench.json"
    assert main(["--rows", "rpc-1x1-def/websockets", "--json", str(file)]) == 0
    assert "not run: needs cc" in capsys.readouterr().out
    (row,) = json.loads(file.read_bytes())["rows"]
    assert row["not_run"] == "not run: needs cc"
    assert row["name"] == "rpc-1x1-def/websockets"


@pytest.mark.parametrize("name", ["merge-crud-1000/10", "pipeline-async/direct", "pipeline-async/pieces"])
def test_a_row_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = tmp_path / "bench.json"
    assert main(["--rows", name, "--rounds", "1", "--seconds", "0.01", "--json", str(file)]) == 0
    document = json.loads(file.read_bytes())
    (row,) = document["rows"]
    assert row["ratio"] > 0
    assert row["name"] in capsys.readouterr().out
    assert {"python", "cores", "packages"} <= document["machine"].keys()


@pytest.mark.realtime
def test_a_row_on_sockets_is_measured_where_there_is_a_compiler(tmp_path: Path) -> None:
    client.cache_clear()
    file = tmp_path / "bench.json"
    arguments = ["--rows", "rpc-16x16-def/websockets", "--rounds", "1", "--seconds", "0.05", "--json", str(file)]
    assert main(arguments) == 0
    (row,) = json.loads(file.read_bytes())["rows"]
    assert row.get("not_run") == "not run: needs cc" or (
        row["ratio"] > 0
        and row["subject"]["done"] > 256  # more than were in flight at the beginning
        and 0 < row["subject"]["p50_us"] <= row["subject"]["p99_us"]
    )


@pytest.mark.realtime
@pytest.mark.parametrize("name", ["upload-4x64k/websockets", "bystander/alone", "abuse/alone"])
def test_those_who_disturb_are_measured(tmp_path: Path, name: str) -> None:
    client.cache_clear()
    file = tmp_path / "bench.json"
    assert main(["--rows", name, "--rounds", "1", "--seconds", "0.05", "--json", str(file)]) == 0
    (row,) = json.loads(file.read_bytes())["rows"]
    assert row.get("not_run") == "not run: needs cc" or (
        row["ratio"] > 0 and row["subject"]["done"] > 5 and 0 < row["subject"]["p50_us"] <= row["subject"]["p99_us"]
    )


@pytest.mark.realtime
def test_an_upload_of_which_less_arrives_is_no_figure() -> None:
    client.cache_clear()
    sink = CONTESTS["upload-1x1m"].contestants["liverpc"]
    options = [f"path={sink.servant.path}", *sink.servant.opening, *sink.options[:-1], "expect=12345"]
    with (
        Server(sink.servant.command()) as server,
        pytest.raises((LoadFailed, NotRun), match=r"not the answer expected: |needs cc"),
    ):
        run_load(server, sink.mode, options, 0.05)


@pytest.mark.realtime
def test_answers_that_are_not_those_expected_are_no_figures() -> None:
    client.cache_clear()
    echo = CONTESTS["rpc-1x1"].contestants["websockets"]
    with (
        Server(echo.servant.command()) as server,
        pytest.raises((LoadFailed, NotRun), match=r'not the answer expected: \{"a":1\}|needs cc'),
    ):
        run_load(server, "rpc", ['request={"a":1}', "expect=hello"], 0.05)


# -- two results


def test_compare_tells_how_ratios_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    small = {"higher_is_better": False, "must": None}
    old.write_text(
        json.dumps(
            {
                "rows": [
                    result("same", 2.0),
                    result("better", 1.9),
                    result("worse", 5.0),
                    result("less is better", 1.0, **small),
                    result("old only", 1.0),
                    result("not run", 1.0),
                ]
            }
        )
    )
    new.write_text(
        json.dumps(
            {
                "rows": [
                    result("same", 2.1),
                    result("better", 3.0),
                    result("worse", 3.0),
                    result("less is better", 0.5, **small),
                    result("not run", 0.0, not_run="not run: needs cc"),
                ]
            }
        )
    )
    assert main(["compare", str(old), str(new)]) == 0
    lines = {line[:WIDTH].strip(): " ".join(line[WIDTH:].split()) for line in capsys.readouterr().out.splitlines()}
    assert lines == {
        "same": "2.00x -> 2.10x +5.0% same",
        "better": "1.90x -> 3.00x +57.9% better MISSES must -> reaches must",
        "worse": "5.00x -> 3.00x -40.0% WORSE reaches target -> reaches must",
        "less is better": "1.00x -> 0.50x -50.0% better",
        "old only": f"{old.name}: measured; {new.name}: no such row",
        "not run": f"{old.name}: measured; {new.name}: not run: needs cc",
    }


def test_compare_explains_what_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.json"
    file.write_text("[]")
    assert main(["compare", str(file), str(file)]) == 2
    assert "holds no results" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "absent.json"), str(file)]) == 2
    assert "absent.json" in capsys.readouterr().err
