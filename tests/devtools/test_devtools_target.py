from __future__ import annotations

import os
from pathlib import Path

import pytest

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import RuntimeEntry, write_runtime_entry
from liverpc_devtools.core.faults import FaultError, fault_limit, fault_rate, fault_seconds, make_rule, seconds
from liverpc_devtools.core.target import Target, find_target

PATH = "/__liverpc/attach"


@pytest.fixture(autouse=True)
def no_local_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("LIVERPC_ATTACH_TOKEN", raising=False)


def entry(port: int, name: str = "demo") -> RuntimeEntry:
    return RuntimeEntry(f"ws://127.0.0.1:{port}{PATH}", f"token-of-{port}", os.getpid(), name)


def test_a_url_and_a_token_file_are_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    found = find_target("localhost:8000", token_file=file, environ={"LIVERPC_ATTACH_TOKEN": "from-environment"})
    assert found == Target(f"ws://localhost:8000{PATH}", "from-file", renewable=False)


@pytest.mark.parametrize("given", ["", "ftp://x", "ws://h:port", "ws://localhost/?t=1"])
def test_what_is_no_url_is_told(given: str) -> None:
    with pytest.raises(ConfigError):
        find_target(given, environ={})


@pytest.mark.parametrize("given", ["ws://10.0.0.1:8000", "prod.example:80", "http://prod.example"])
def test_the_token_does_not_leave_the_machine_in_the_clear(given: str) -> None:
    environ = {"LIVERPC_ATTACH_TOKEN": "secret"}
    with pytest.raises(ConfigError, match="--insecure"):
        find_target(given, environ=environ)
    assert find_target(given, insecure=True, environ=environ).url.startswith("ws://")


def test_without_a_url_the_only_local_server_is_meant() -> None:
    with pytest.raises(ConfigError, match="no local server"):
        find_target(None, environ={})
    with write_runtime_entry(entry(8000)):
        environ = {"LIVERPC_ATTACH_TOKEN": "given"}
        assert find_target(None, environ=environ) == Target(f"ws://127.0.0.1:8000{PATH}", "given")
        assert find_target(None, environ={}) == Target(f"ws://127.0.0.1:8000{PATH}", "token-of-8000", renewable=True)
        with (
            write_runtime_entry(entry(8001, "other")),
            pytest.raises(ConfigError, match=r"8000[^$]*8001|8001[^$]*8000"),
        ):
            find_target(None, environ={})


def test_the_token_is_in_no_text_of_a_target() -> None:
    assert "secret" not in repr(Target("ws://localhost", "secret"))


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("5", 5)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1s", "s", "nan", "inf", "1d", "1 x"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(FaultError, match="time"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("0.2", 0.2), ("20%", 0.2), ("100%", 1), ("1", 1)])
def test_rates(text: str, value: float) -> None:
    assert fault_rate(text) == value


@pytest.mark.parametrize("text", ["", "-0.1", "1.01", "101%", "nan", "x", "%"])
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(FaultError, match="rate"):
        fault_rate(text)


@pytest.mark.parametrize(
    ("text", "detached", "fine"),
    [("900s", False, True), ("901s", False, False), ("300s", True, True), ("301s", True, False)],
)
def test_a_fault_lives_only_so_long(text: str, detached: bool, fine: bool) -> None:
    if fine:
        assert fault_seconds(text, detached=detached) == seconds(text)
    else:
        with pytest.raises(FaultError, match="at most"):
            fault_seconds(text, detached=detached)


def test_limits_and_topics() -> None:
    assert (fault_limit("0"), fault_limit("5000"), make_rule("drop", {"topic": " board:* "}).topic) == (
        0,
        5000,
        "board:*",
    )
    for wrong in ("-1", "1.5", "many"):
        with pytest.raises(FaultError):
            fault_limit(wrong)
    with pytest.raises(FaultError):
        make_rule("drop", {"topic": "  "})
