"""Which server a text names, which token opens its devtools, and what its refusal means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import (
    ATTACH_PATH,
    TOKEN_VARIABLE,
    RuntimeEntry,
    attach_url,
    closed_early,
    find_token,
    local_servers,
    refusal,
    shown_url,
    websocket_url,
    write_runtime_entry,
)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One server of this user, at port 8000, which left its token."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with write_runtime_entry(entry("127.0.0.1:8000", "from-runtime")):
        yield


def entry(host: str, token: str) -> RuntimeEntry:
    return RuntimeEntry(f"ws://{host}{ATTACH_PATH}", token, os.getpid(), "x")


# -- URLs


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:8000", "ws://localhost:8000/ws"),
        ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("http://example.org/", "ws://example.org/ws"),
        ("https://example.org:8443", "wss://example.org:8443/ws"),
        ("wss://example.org/live?user=a", "wss://example.org/live?user=a"),
        ("[::1]:9", "ws://[::1]:9/ws"),
        ("ws://0.0.0.0:8000", "ws://127.0.0.1:8000/ws"),
        ("ws://[::]:8000", "ws://[::1]:8000/ws"),
    ],
)
def test_a_text_becomes_a_url(text: str, url: str) -> None:
    assert websocket_url(text, "/ws") == url


@pytest.mark.parametrize(
    "text",
    ["", "ftp://x", "ws://", "ws://h:port", "ws://h:65536", "a b:1", "ws://u:p@localhost:1", "ws://x/#f", "ws://x/\n"],
)
def test_what_is_no_url_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        websocket_url(text, "/ws")


def test_the_devtools_have_a_path_of_their_own_unless_one_is_given() -> None:
    assert attach_url("prod.example") == f"ws://prod.example{ATTACH_PATH}"
    assert attach_url("wss://prod.example/sub/attach") == "wss://prod.example/sub/attach"


@pytest.mark.parametrize(
    "text",
    ["ws://x/?token=secret", "ftp://x/?token=secret", "ws://user:secret@x:port", "ws://user:secret/y@x", "u:secret@x"],
)
def test_a_secret_is_in_no_message(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        attach_url(text)
    assert "secret" not in str(refused.value)


def test_what_is_shown_of_a_url() -> None:
    assert shown_url("ws://x:1/live?token=secret") == "ws://x:1/live"
    assert shown_url("ws://user:secret@x:1/live") == "ws://…@x:1/live"


# -- tokens


def test_a_token_comes_from_the_file_then_the_variable_then_the_local_server(tmp_path: Path) -> None:
    url = attach_url("127.0.0.1:8000")
    file = tmp_path / "token"
    file.write_text("from-file\n")
    variable = {TOKEN_VARIABLE: " from-variable "}
    found = [
        find_token(url, file=file, environ=variable),
        find_token(url, environ=variable),
        find_token(url, environ={TOKEN_VARIABLE: " "}),
        find_token(attach_url("127.0.0.1:8001"), environ={}),
    ]
    assert [(each.secret, each.renewable) for each in found] == [
        ("from-file", False),
        ("from-variable", False),
        ("from-runtime", True),
        ("", True),
    ]


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("localhost:8000", "from-runtime"),
        ("[::1]:8000", "from-runtime"),
        ("127.0.0.1:8000/behind/a/proxy", "from-runtime"),
        ("0.0.0.0:8000", "from-runtime"),
        ("127.0.0.1:8001", ""),
        ("wss://127.0.0.1:8000", ""),
        ("example.org:8000", ""),
    ],
)
def test_only_the_local_server_that_is_meant_lends_its_token(text: str, token: str) -> None:
    assert find_token(attach_url(text), environ={}).secret == token


@pytest.mark.parametrize("host", ["0.0.0.0:9000", "[::]:9000"])
def test_a_server_that_listens_everywhere_is_found_under_a_loopback_address(host: str) -> None:
    with write_runtime_entry(entry(host, "from-everywhere")):
        for text in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000"):
            assert find_token(attach_url(text), environ={}).secret == "from-everywhere"
        urls = {each.url for each in local_servers()}
    assert not any("0.0.0.0" in url or "[::]" in url for url in urls)
    assert len(urls) == 2


def test_a_port_that_is_not_written_is_the_schemes_own() -> None:
    with write_runtime_entry(entry("127.0.0.1:80", "from-80")):
        assert find_token(attach_url("http://localhost"), environ={}).secret == "from-80"


def test_a_token_file_that_is_missing_or_empty_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(ConfigError, match="cannot read the token file"):
        find_token(attach_url("x:1"), file=tmp_path / "none", environ={})
    with pytest.raises(ConfigError, match="is empty"):
        find_token(attach_url("x:1"), file=str(empty), environ={})


def test_a_token_does_not_travel_in_the_clear_to_other_machines() -> None:
    variable = {TOKEN_VARIABLE: "secret"}
    url = attach_url("ws://example.org")
    with pytest.raises(ConfigError, match="use wss://") as refused:
        find_token(url, environ=variable)
    assert "secret" not in str(refused.value)
    assert find_token(url, environ=variable, insecure=True).secret == "secret"
    assert find_token(attach_url("wss://example.org"), environ=variable).secret == "secret"
    assert find_token(url, environ={}).secret == ""


@pytest.mark.parametrize("token", ["tökens", "a\r\nX: y"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="characters") as refused:
        find_token(attach_url("127.0.0.1:1"), environ={TOKEN_VARIABLE: token})
    assert token not in str(refused.value)


def test_a_token_is_in_no_text_of_what_was_found() -> None:
    assert "from-runtime" not in repr(find_token(attach_url("127.0.0.1:8000"), environ={}))


# -- refusals


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "refused"),
        (403, "refused"),
        (429, "unreachable"),
        (500, "unreachable"),
        (503, "unreachable"),
        (200, "absent"),
        (302, "absent"),
        (400, "absent"),
        (404, "absent"),
        (426, "absent"),
        (501, "absent"),
    ],
)
def test_what_a_refused_handshake_means(status: int, kind: str) -> None:
    error = refusal("ws://x/a", status, "", with_token=True)
    assert error.kind == kind
    assert "ws://x/a" in str(error)
    assert f"(HTTP {status})" in str(error)


def test_an_observer_without_a_token_is_told_where_one_may_be() -> None:
    assert TOKEN_VARIABLE in str(refusal("ws://x/a", 401, "", with_token=False))
    assert TOKEN_VARIABLE not in str(refusal("ws://x/a", 401, "", with_token=True))


def test_the_servers_words_are_cut_to_a_harmless_line() -> None:
    text = str(refusal("ws://x/a", 503, "\n\x1b[31mlimit " + "x" * 500 + "\nmore", with_token=True))
    assert "(HTTP 503: ?[31mlimit xxx" in text
    assert len(text) < 300
    assert "more" not in text


@pytest.mark.parametrize(("code", "kind"), [(4401, "refused"), (4403, "refused"), (4400, "unreachable")])
def test_what_a_close_before_the_welcome_means(code: int, kind: str) -> None:
    error = closed_early("ws://x/a", code, "no")
    assert (error.kind, str(error)) == (kind, f"ws://x/a closed the connection at once ({code} no)")


def test_a_connection_lost_before_the_welcome_says_so() -> None:
    assert str(closed_early("ws://x/a")).endswith("(1006)")
