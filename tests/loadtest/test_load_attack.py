"""A hostile or unlucky world: whatever happens, one sentence, the right exit code, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]  # it has no types
import pytest

from liverpc.contrib.locust.frames import FrameReader
from liverpc.contrib.locust.mix import Mix
from liverpc.contrib.locust.words import printable
from liverpc.errors import ConfigError
from liverpc.inspector.protocol import BUCKETS, ConnectionStats, PathInfo, PathStats, State, UploadTotals
from loadtest._folder import read, write
from loadtest._inside import Inside
from loadtest._profile import OptionError, Plan, make_plan, read_profile
from loadtest._report import latency_lines, table
from tests.loadtest.hostile_server import MODES, hostile_server
from tests.loadtest.load_kit import LOCUST, ROOT, locust
from tests.loadtest.results_kit import ECHO, result_of, seconds, series_of

CLIENT = Path(__file__).with_name("hostile_server.py")
ESCAPES = "\x1b[2J\x1b]0;owned\x07\nsecond line"


# -- servers that speak rubbish


@pytest.mark.realtime
async def test_servers_that_speak_rubbish_are_given_up_in_time_and_get_nothing_into_the_terminal() -> None:
    async with hostile_server() as url:
        client = await asyncio.create_subprocess_exec(
            sys.executable, CLIENT, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            output, errors = await asyncio.wait_for(client.communicate(), 20)
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
    assert b"Traceback" not in errors
    told = {each["mode"]: each for each in map(json.loads, output.splitlines())}
    assert told.keys() == MODES.keys()
    assert told["length"]["reason"] == told["long-length"]["reason"] == "HTTP 503 busy"
    assert all(each["reason"].isprintable() for each in told.values())
    assert told["endless-pings"]["failure"] == told["endless-message"]["failure"] == "timeout"
    assert told["endless-head"]["reason"] == told["status"]["reason"] == "what answers there does not speak HTTP"


def test_a_message_of_endlessly_many_empty_pieces_needs_no_memory() -> None:
    reader = FrameReader(1000)
    reader.feed(b"\x01\x00")
    pieces = b"\x00\x00" * 50_000
    tracemalloc.start()
    try:
        reader.feed(pieces)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    assert reader.feed(b"\x80\x02ab") == [b"ab"]


def test_what_servers_say_is_one_short_line_that_no_terminal_obeys() -> None:
    assert printable("as it is: ä") == "as it is: ä"
    assert printable(ESCAPES) == "?[2J?]0;owned??second line"
    assert printable("x" * 201) == "x" * 200
    assert table(result_of(error=ESCAPES)).splitlines()[-1].count("owned? second line") == 1


def test_of_many_kinds_of_failures_the_most_frequent_are_named() -> None:
    failures = {f"MADE_UP_{number}": 1 + number for number in range(100)}
    ((_, _, samples),) = latency_lines(result_of(latencies={ECHO: series_of([1.0], failures)}))
    assert samples.startswith("1, failed: 100 MADE_UP_99, 99 MADE_UP_98, ")
    assert samples.endswith(f", {sum(range(1, 93))} of 92 more kinds")


def test_devtools_that_lie_spoil_neither_the_second_nor_the_report(tmp_path: Path) -> None:
    inside = Inside()
    buffered = [ConnectionStats(name, 0, 0, 0, 0, 2**63) for name in ("a", "b")]
    inside.take(State(1, 0.0, full=True, latencies=[(5, 1)]))
    inside.take(
        State(
            2,
            1e308,
            connection_stats=buffered,
            upload_totals=UploadTotals(0, 1, 0, 1),
            latencies=[(5, 1), (10 * len(BUCKETS), 7), (-3, 1)],
            lag=1e308,
            busy=-1e308,
        )
    )
    lie = inside.second()
    assert inside.busy == 0
    result = result_of(seconds=seconds([1.0, 2.0] * 5, server=lambda _: lie))
    write(tmp_path, result)
    assert read(tmp_path).seconds == result.seconds


# -- files


def planned(folder: Path, text: str) -> Plan:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return make_plan(
        scenario="rpc", url="ws://x/ws", defaults={}, knobs=msgspec.Struct, profile=read_profile(str(path)), given={}
    )


@pytest.mark.parametrize(
    "text",
    [
        f"deep = {'[' * 3000}1{']' * 3000}",
        "[rpc]\nusers = 99999999999999999999",
        "[rpc]\nspawn_rate = 1e-300",
        "[rpc]\nrate = nan",
        "[rpc]\nchaos = 5",
        "[rpc]\nfreeze = [1]",
        f"[rpc]\nwarmup = {10**400}",
        f"[meta]\nwarmup = '{10**400}s'",
        "[rpc.limits]\np99_ms_max = nan",
        "[generator]\ncpu_max = nan",
    ],
    ids=lambda text: text[:30],
)
def test_a_profile_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        planned(tmp_path, text)


def test_a_time_in_a_profile_may_be_a_number(tmp_path: Path) -> None:
    freeze = planned(tmp_path, "[rpc]\nfreeze = 0.2").options.freeze
    assert freeze is not None
    assert freeze.seconds == 0.2


@pytest.mark.parametrize(("calls", "until"), [(10**17, 10.0), (10, 1e308), (10, 0.0001)])
def test_a_recording_of_what_cannot_have_been_is_refused(calls: int, until: float, tmp_path: Path) -> None:
    lines = [
        {"t": "liverpc.recording", "schema": 1},
        {"at": 0.0, "frame": State(1, 0.0, full=True, paths=[PathInfo(1, "a/b")])},
        {"at": until, "frame": State(2, until, path_stats=[PathStats(1, calls, 0, 0.0, 0.0)])},
    ]
    path = tmp_path / "x.lrec"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    with pytest.raises(ConfigError, match=r"damaged|too short"):
        Mix.read(path)


def test_a_result_that_is_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, result_of())
    deep = '{"schema": 2, "options": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / "summary.json").write_text(deep)
    with pytest.raises(ConfigError, match="damaged"):
        read(tmp_path)


# -- runs that are refused, interrupted or killed


@pytest.mark.realtime
def test_a_run_that_is_refused_leaves_no_folder_and_tells_no_secret(environ: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--headless", "--scenario", "rpc", "--run-dir", str(tmp_path / "runs")]
    done = locust(*arguments, "--host", "ws://me:hunter2@127.0.0.1:9/ws?token=hunter2", environ=environ)
    assert done.returncode == 1
    assert "no room for credentials" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert list((tmp_path / "runs").iterdir()) == []


@contextmanager
def driven(environ: dict[str, str], folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run that begins, and none of whose processes may be there afterwards.

    Its temporary files go into the folder ``tmp``, its log to ``stderr``.
    """
    (folder / "tmp").mkdir()
    command = [str(LOCUST), "-f", str(ROOT / "loadtest"), "--headless", "--only-summary", "--scenario", "rpc"]
    command += ["--serve", "-u", "4", "-t", "40s", *arguments]
    environ = environ | {"TMPDIR": str(folder / "tmp")}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        ours: list[psutil.Process] = []
        try:
            assert running.stderr is not None
            while "Run time limit" not in running.stderr.readline():
                assert running.poll() is None
            ours = psutil.Process(running.pid).children(recursive=True)
            yield running
        finally:
            running.kill()
            _, alive = psutil.wait_procs(ours, timeout=5)
            for each in alive:
                each.kill()
    assert ours
    assert alive == []


@pytest.mark.realtime
def test_nothing_outlives_a_leading_process_that_is_killed(environ: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--processes", "2", "--record", "--run-dir", str(tmp_path / "runs")]
    with driven(environ, tmp_path, *arguments) as running:
        kinds = [" ".join(each.cmdline()) for each in psutil.Process(running.pid).children(recursive=True)]
        assert sum("liverpc.cli" in each for each in kinds) == 1
        assert sum("liverpc_devtools.cli record" in each for each in kinds) == 1
        assert sum("--headless" in each for each in kinds) == 2
        running.kill()


@pytest.mark.realtime
def test_whoever_is_impatient_ends_a_run_at_once(environ: dict[str, str], tmp_path: Path) -> None:
    with driven(environ, tmp_path) as running:
        running.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # the server's end takes longer
            running.wait(0.05)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        said = running.stderr.read()
        assert running.wait(10) == 130
    assert "Traceback" not in said
    assert list((tmp_path / "tmp").iterdir()) == []
