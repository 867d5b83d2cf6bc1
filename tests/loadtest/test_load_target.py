from __future__ import annotations

import pytest

from liverpc.contrib.locust.target import devtools_url, live_url
from liverpc.errors import ConfigError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("http://example.org/", "ws://example.org/ws"),
        ("wss://example.org/live?user=a", "wss://example.org/live?user=a"),
    ],
)
def test_a_host_becomes_a_websocket_url(host: str, url: str) -> None:
    assert live_url(host) == url


def test_what_is_no_such_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="URL"):
        live_url("ftp://x")


@pytest.mark.parametrize("host", [None, ""])
def test_a_host_that_was_not_given_is_asked_for(host: str | None) -> None:
    with pytest.raises(ConfigError, match="--host is missing"):
        live_url(host)


def test_the_devtools_are_on_the_same_server() -> None:
    assert devtools_url("wss://x:1/live?user=a") == "wss://x:1/__liverpc/attach"
