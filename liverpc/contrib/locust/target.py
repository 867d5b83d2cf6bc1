"""Which server ``--host`` names, and where its devtools are."""

from __future__ import annotations

from urllib.parse import urlsplit

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import attach_url, websocket_url

__all__ = ["devtools_url", "live_url"]


def live_url(host: str | None, path: str = "/ws") -> str:
    """The WebSocket URL that a ``--host`` of Locust stands for; ``path`` is used when it has none.

    Raises:
        ConfigError: It is no URL, or there is none.
    """
    if not host:
        raise ConfigError("--host is missing: --host ws://127.0.0.1:8000 names the server")
    return websocket_url(host, path)


def devtools_url(url: str) -> str:
    """The devtools' address on the server of a WebSocket URL."""
    parts = urlsplit(url)
    return attach_url(f"{parts.scheme}://{parts.netloc}")
