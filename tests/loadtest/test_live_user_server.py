"""Load tests of one's own server: the manual's shop with its customers, and a recording that is replayed."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from liverpc import remote
from liverpc.client import sync
from liverpc.contrib.locust.mix import Mix
from tests.e2e.doors import free_port, subprocess_at
from tests.loadtest.load_kit import ROOT, cells, first_url, locust, process

pytestmark = pytest.mark.realtime

SECRET = "hunter2"


def series(output: str) -> dict[str, tuple[int, int]]:
    """Requests and failures, of what ``--json`` prints."""
    rows: list[dict[str, Any]] = json.loads(
        output[output.index("[\n    {") :]
    )  # of the process that leads; others print `[]`
    return {f"{row['method']} {row['name']}": (row["num_requests"], row["num_failures"]) for row in rows}


def manual() -> dict[str, str]:
    """The files of the manual."""
    text = (ROOT / "docs" / "load-your-server.md").read_text()
    return dict(re.findall(r"^```\w+ name=(\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def test_the_shop_of_the_manual_is_loaded_by_its_customers_from_two_processes(
    environ: dict[str, str], tmp_path: Path
) -> None:
    files = manual()
    for name in ("orders.py", "shop.py", "locustfile.py", "users.csv"):
        (tmp_path / name).write_text(files[name])
    port, meeting = free_port(), str(free_port())
    with subprocess_at(tmp_path, port, "uvicorn", "shop:app", "--port", str(port)):
        done = locust(
            *("--headless", "--json", "-u", "4", "-r", "4", "-t", "3s", "--host", f"ws://127.0.0.1:{port}"),
            *("--processes", "2", "--master-port", meeting, "--master-bind-port", meeting),
            environ=environ,
            cwd=tmp_path,
            file=tmp_path / "locustfile.py",
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/sales") as answer:
            sales = json.load(answer)
    assert done.returncode == 0, done.stdout + done.stderr
    found = series(done.stdout)
    assert found["WS connect"] == found["SUB orders/newest"] == (4, 0)
    placed, failed = found["RPC orders/place"]
    assert failed == 0
    assert found["PUB orders"][0] >= placed  # each hears of its own orders, before their answers
    assert placed <= sum(sales.values()) <= placed + 4  # some may have been under way at the end
    # Nobody was there twice, in whatever process: all four have bought, each at most five times a second.
    assert all(1 <= each <= 20 for each in sales.values()), sales
    assert "rows" not in done.stderr
    assert not re.search(r"t-\d", done.stderr)


@pytest.fixture(scope="module")
def recording(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Counter[str]]]:
    """A recording of four clients, and what they called."""
    path = tmp_path_factory.mktemp("recording") / "x.lrec.gz"
    made: Counter[str] = Counter()
    with ExitStack() as stack:
        demo = stack.enter_context(
            process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", "--rate", "0", environ=environ)
        )
        url = first_url(demo)
        recorder = stack.enter_context(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "liverpc_devtools.cli",
                    "record",
                    "-o",
                    str(path),
                    "--for",
                    "3s",
                    url.removesuffix("/ws"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environ,
            )
        )
        assert recorder.stderr is not None
        assert "recording to" in recorder.stderr.readline()
        clients = [stack.enter_context(sync.connect(f"{url}?user=u{number}")) for number in range(4)]
        for client in clients[:3]:
            stack.enter_context(client.stream(remote("load/events"), "shared"))
        until = time.monotonic() + 2.2
        for number in itertools.count():
            if time.monotonic() > until:
                break
            client = clients[number % 4]
            calls: list[tuple[str, Any]] = [("load/echo", number), ("chat/send", "general")]
            if number % 2:
                calls.append(("load/publish", "shared"))
            for called, first in calls:
                last = {"password": SECRET} if called == "load/publish" else f"hello {number}"
                client.call(remote(called), *([first] if called == "load/echo" else [first, last]))
                made[called] += 1
            time.sleep(0.04)
        assert recorder.wait(10) == 0
    yield path, made


def due(mix: Mix, seconds: float, seed: str) -> list[str]:
    """What one user calls within a time, at double speed."""
    schedule = mix.schedule(0.0, seed, speed=2.0)
    return [recorded.path for _, recorded in itertools.takewhile(lambda each: each[0] < seconds, schedule)]


def test_a_recording_tells_what_was_called(recording: tuple[Path, Counter[str]]) -> None:
    path, made = recording
    mix = Mix.read(path)
    assert {each.path: round(each.rate * mix.seconds) for each in mix.calls} == made
    assert {each.path: bool(each.samples[0].missing) for each in mix.calls} == {
        "load/echo": False,
        "chat/send": False,
        "load/publish": True,
    }
    (stream,) = mix.streams
    assert (stream.path, [each.args for each in stream.samples]) == ("load/events", [{"name": "shared"}])
    assert abs(stream.number / mix.connections - 0.75) < 0.05
    assert 2.5 < mix.connections < 4
    assert mix.problems == []


LOCUSTFILE = """
import json, time
import again
from liverpc.contrib.locust import People, RecordedUser


class Counted(again.Again):
    fixed_count = 4

    def schedule(self, start):
        self.start, self.made = start, []
        return super().schedule(start)

    def begin(self, due, recorded):
        self.made.append(recorded.path)
        super().begin(due, recorded)

    def on_stop(self):
        with open("made.jsonl", "a") as file:
            fact = [self._own_seed, time.perf_counter() - self.start, self.made, self.replayed.pending]
            file.write(json.dumps(fact) + "\\n")
        super().on_stop()


class Careless(RecordedUser):
    recording = "monday.lrec.gz"
    people = People.read("one.csv", when_used_up="stop")
    fixed_count = 2

    def arguments(self, path, recorded):
        return list(recorded.args.values()) if path == "load/publish" else None
"""


def test_a_recording_is_replayed_on_another_server(
    recording: tuple[Path, Counter[str]], host: str, environ: dict[str, str], tmp_path: Path
) -> None:
    path, _ = recording
    shutil.copy(path, tmp_path / "monday.lrec.gz")
    (tmp_path / "again.py").write_text(manual()["again.py"])
    file = tmp_path / "locustfile.py"
    file.write_text(LOCUSTFILE)
    (tmp_path / "one.csv").write_text(f"user,token\nann,{SECRET}\n")
    done = locust(
        *("--headless", "--json", "-u", "6", "-r", "100", "-t", "3s", "--host", host),
        environ=environ,
        cwd=tmp_path,
        file=file,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found, mix = series(done.stdout), Mix.read(path)
    told = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    seeds = {seed for seed, *_ in told}
    assert len(seeds) == 4
    assert seeds < {f"1 {number}" for number in range(6)}
    for seed, seconds, made, _ in told:
        assert len(due(mix, seconds - 0.5, seed)) <= len(made)
        assert made == due(mix, seconds, seed)[: len(made)]
    calls = Counter(called for _, _, made, _ in told for called in made)
    waiting = max(pending for *_, pending in told)
    for called in ("load/echo", "chat/send"):
        answered, failed = found[f"RPC {called}"]
        assert calls[called] - waiting <= answered <= calls[called]
        assert failed == 0
    assert calls["load/publish"] > 0
    listening = sum(bool(mix.subscriptions(seed)) for seed in seeds)
    assert found.get("SUB load/events", (0, 0)) == (listening, 0)
    assert found["WS connect"] == (5, 0)  # one of the careless ones found no row left
    assert done.stderr.count("one.csv has 1 row for more users than that: the others do not start") == 1
    # What was redacted is never sent, whatever a user says.
    assert "RPC load/publish" not in found
    for why in ("its arguments were redacted or cut", "arguments() has returned what was redacted or cut"):
        assert done.stderr.count(f"load/publish is left out: {why}") == 1


def test_the_scenario_replays_a_recording(
    recording: tuple[Path, Counter[str]], host: str, environ: dict[str, str]
) -> None:
    path, _ = recording
    done = locust(
        *("--headless", "--only-summary", "--scenario", "replay", "--recording", str(path), "--speed", "2"),
        *("-u", "4", "-t", "3s", "--host", host),
        environ=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    mix = Mix.read(path)
    calls, left_out = (int(table[name][0]) for name in ("calls", "calls, and uses of streams: left out"))
    assert table["calls: ended otherwise than recorded"] == ["0"]
    measured = float(table["measured"][0].split()[0])
    least, most = (
        sum(len(due(mix, seconds, f"1 {number}")) for number in range(4)) for seconds in (measured - 0.7, measured)
    )
    assert least <= calls + left_out <= most
    assert left_out > 0
    assert float(table["recorded: connections, on average"][0]) == round(mix.connections, 1)


def test_a_replay_without_recording_does_not_begin(host: str, environ: dict[str, str]) -> None:
    done = locust("--headless", "--scenario", "replay", "--host", host, environ=environ)
    assert done.returncode == 2
    assert "loadtest: the scenario replay needs --recording FILE" in done.stderr
