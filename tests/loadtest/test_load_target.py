from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from liverpc.contrib.locust.target import TOKEN_VARIABLE, attach_token, attach_url, live_url
from liverpc.errors import ConfigError
from liverpc.inspector.protocol import RuntimeEntry, write_runtime_entry


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("http://example.org/", "ws://example.org/ws"),
        ("https://example.org:8443", "wss://example.org:8443/ws"),
        ("wss://example.org/live?user=a", "wss://example.org/live?user=a"),
        ("ws://[::1]:9", "ws://[::1]:9/ws"),
    ],
)
def test_a_host_becomes_a_websocket_url(host: str, url: str) -> None:
    assert live_url(host) == url


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "ftp://x", "ws://", "ws://x:y", "ws://u:p@x", "ws://x/#f", "ws://x/ y"]
)
def test_what_is_no_such_url_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        live_url(host)


def test_a_query_is_in_no_message() -> None:
    with pytest.raises(ConfigError) as refused:
        live_url("ftp://x/?token=secret")
    assert "secret" not in str(refused.value)


# -- the key to the devtools


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of this user at port 8000, which left its token."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with write_runtime_entry(RuntimeEntry("ws://127.0.0.1:8000/__liverpc/attach", "from-runtime", os.getpid(), "x")):
        yield


def test_the_devtools_are_on_the_same_server() -> None:
    assert attach_url("wss://x:1/live?user=a") == "wss://x:1/__liverpc/attach"


@pytest.mark.usefixtures("runtime")
def test_a_token_comes_from_the_file_then_the_variable_then_the_local_server(tmp_path: Path) -> None:
    url = "ws://127.0.0.1:8000/__liverpc/attach"
    file = tmp_path / "token"
    file.write_text("from-file\n")
    variable = {TOKEN_VARIABLE: " from-variable "}
    assert attach_token(url, str(file), variable) == "from-file"
    assert attach_token(url, None, variable) == "from-variable"
    assert attach_token(url, None, {}) == "from-runtime"


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("ws://localhost:8000/__liverpc/attach", "from-runtime"),
        ("ws://[::1]:8000/__liverpc/attach", "from-runtime"),
        ("ws://127.0.0.1:8001/__liverpc/attach", ""),
        ("wss://127.0.0.1:8000/__liverpc/attach", ""),
        ("ws://example.org:8000/__liverpc/attach", ""),
    ],
)
def test_only_the_local_server_that_is_meant_lends_its_token(url: str, token: str) -> None:
    assert attach_token(url, None, {}) == token


def test_a_token_does_not_travel_in_the_clear_to_other_machines() -> None:
    variable = {TOKEN_VARIABLE: "secret"}
    with pytest.raises(ConfigError, match="wss://"):
        attach_token("ws://example.org/__liverpc/attach", None, variable)
    assert attach_token("wss://example.org/__liverpc/attach", None, variable) == "secret"


@pytest.mark.parametrize("token", ["tökens", "a\r\nb"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError) as refused:
        attach_token("ws://127.0.0.1:1/__liverpc/attach", None, {TOKEN_VARIABLE: token})
    assert token not in str(refused.value)
