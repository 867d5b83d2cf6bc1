"""Which server is meant, and the key to its devtools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import ATTACH_PATH, runtime_entries

__all__ = ["TOKEN_VARIABLE", "attach_token", "attach_url", "live_url", "shown_url"]

TOKEN_VARIABLE = "LIVERPC_ATTACH_TOKEN"  # noqa: S105 - the name of the variable, not its value

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def live_url(host: str, path: str = "/ws") -> str:
    """The WebSocket URL that a ``--host`` of Locust stands for.

    Args:
        host: ``ws://``, ``wss://``, ``http://`` or ``https://``, with or without a path and query.
        path: Used when it has none.

    Raises:
        ConfigError: It is no such URL.
    """
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{shown_url(host)!r} is not a URL: {error}") from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not host.isprintable() or " " in host:
        raise ConfigError(f"{shown_url(host)!r} is not a URL such as ws://127.0.0.1:8000")
    if parts.username is not None or parts.fragment:
        raise ConfigError("the server's URL has no room for credentials and fragments")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = name if port is None else f"{name}:{port}"
    return urlunsplit((_SCHEMES[parts.scheme], netloc, parts.path.rstrip("/") or path, parts.query, ""))


def shown_url(url: str) -> str:
    """What may appear in messages: a query may hold credentials."""
    return url.partition("?")[0]


def attach_url(url: str) -> str:
    """The devtools' address on the server of a WebSocket URL."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, ATTACH_PATH, "", ""))


def attach_token(url: str, token_file: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The token for the devtools at ``url``.

    It is the content of ``token_file``, else ``LIVERPC_ATTACH_TOKEN``, else what a server of the same user
    on this machine wrote for its owner; empty when there is none.

    Raises:
        ConfigError: The file cannot be read, the token would travel in the clear, or it cannot be one.
    """
    if token_file is not None:
        try:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the token file {token_file}: {error}") from None
    else:
        token = environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        token = next((entry.token for entry in runtime_entries() if _same_server(entry.url, url)), "")
    if not (token.isascii() and (not token or token.isprintable())):
        raise ConfigError("the devtools token contains characters that no token of a server has")
    if token and urlsplit(url).scheme == "ws" and not _is_loopback(url):
        raise ConfigError("the devtools token would travel in the clear to another machine: use wss://")
    return token


def _same_server(one: str, other: str) -> bool:
    """Whether two URLs name the same host and port; all names of this machine are one."""
    a, b = urlsplit(one), urlsplit(other)
    same_host = a.hostname == b.hostname or (_is_loopback(one) and _is_loopback(other))
    return same_host and (a.scheme, a.port) == (b.scheme, b.port)


def _is_loopback(url: str) -> bool:
    """Whether a URL names this machine, so that nothing sent to it leaves it."""
    return urlsplit(url).hostname in _LOOPBACK
