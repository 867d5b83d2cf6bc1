"""The ``liverpc`` command as people use it: in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import liverpc
from tests.cli.schema_kit import command

COMMAND = [sys.executable, "-m", "liverpc.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=environment, stdin=subprocess.DEVNULL
    )


def test_it_tells_its_version() -> None:
    assert run("--version").stdout == f"liverpc {liverpc.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [(), ("nope",), ("demo", "--port", "x"), ("demo", "--port", "70000"), ("demo", "-z")]
)
def test_wrong_usage_ends_with_2_and_says_why(arguments: tuple[str, ...]) -> None:
    done = command(*arguments, cwd=Path.cwd())
    assert done.returncode == 2
    assert done.stderr.startswith("usage: liverpc")


@pytest.mark.parametrize("extra", [[], ["--tui"]])
def test_a_port_in_use_ends_with_2_and_one_sentence(extra: list[str], environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("demo", "--port", str(taken.getsockname()[1]), *extra, environment=environment)
    assert done.returncode == 2
    assert "choose another port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_demo_prints_where_it_is_and_stops_cleanly(environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stdout is not None
        lines = [demo.stdout.readline() for _ in range(3)]
        [entry] = (tmp_path / "liverpc").iterdir()
        token = json.loads(entry.read_text())["token"]
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(30) == 0
    assert lines[0].startswith("server    ws://127.0.0.1:")
    assert lines[1] == f"token     in {entry}\n"
    assert "liverpc-tui attach ws://127.0.0.1:" in lines[2]
    assert token not in "".join(lines)
    assert list((tmp_path / "liverpc").iterdir()) == []


def test_without_a_terminal_the_demo_with_devtools_prints_a_snapshot(environment: dict[str, str]) -> None:
    done = run("demo", "--port", "0", "--tui", environment=environment)
    assert done.returncode == 0, done.stderr
    snapshot = json.loads(done.stdout)
    assert snapshot["server"]["name"] == "liverpc demo"
    assert any(stream["published"] for stream in snapshot["streams"])
    assert any(path["calls"] for path in snapshot["paths"])
