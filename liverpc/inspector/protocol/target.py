"""Which server a text names, which token opens its devtools, and what its refusal means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol.frames import ATTACH_PATH
from liverpc.inspector.protocol.runtime import RuntimeEntry, runtime_entries
from liverpc.wire.close import CloseCode

__all__ = [
    "TOKEN_VARIABLE",
    "FoundToken",
    "attach_url",
    "closed_early",
    "find_token",
    "local_servers",
    "refusal",
    "shown_url",
    "websocket_url",
]

TOKEN_VARIABLE = "LIVERPC_ATTACH_TOKEN"  # noqa: S105 - the name of the variable, not its value

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_PORTS = {"ws": 80, "wss": 443}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nobody listens there: how to reach who does
_SAID_MAX = 200  # characters of a refusal's body; proxies send whole pages


class FoundToken(msgspec.Struct, frozen=True):
    """What :func:`find_token` found."""

    secret: str  #: empty: there is none
    renewable: bool  #: it is a local server's own, which makes another one when it restarts

    def __repr__(self) -> str:
        return f"FoundToken(renewable={self.renewable})"  # the token is in no log


def websocket_url(text: str, path: str) -> str:
    """The WebSocket URL that a text stands for.

    An address that means "all of this machine", which is what servers listen on, becomes the loopback address.

    Args:
        text: ``ws://``, ``wss://``, ``http://``, ``https://`` or ``host:port``, with or without a path and query.
        path: Used when it has none.

    Raises:
        ConfigError: It is no such URL; a query and credentials are not repeated.
    """
    full = text if "://" in text else f"ws://{text}"
    try:
        parts = urlsplit(full)
        port = parts.port
    except ValueError:  # its text may repeat a part of the credentials
        raise _no_url(text) from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not full.isprintable() or " " in full:
        raise _no_url(text)
    if parts.username is not None or parts.fragment:
        raise ConfigError("the server's URL has no room for credentials and fragments")
    host = _ANY.get(parts.hostname, parts.hostname)
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc = f"{netloc}:{port}"
    kept = path if parts.path in ("", "/") else parts.path
    return urlunsplit((_SCHEMES[parts.scheme], netloc, kept, parts.query, ""))


def attach_url(text: str) -> str:
    """As :func:`websocket_url`; the path defaults to the devtools' own.

    Raises:
        ConfigError: It is no such URL, or it has a query, in which a token would be in every log.
    """
    url = websocket_url(text, ATTACH_PATH)
    if urlsplit(url).query:
        raise ConfigError(
            f"the devtools' URL has no query; a token comes from a token file or the variable {TOKEN_VARIABLE}"
        )
    return url


def shown_url(text: str) -> str:
    """What of a URL may appear in messages: a query and what stands before ``@`` may hold credentials."""
    head, at, tail = text.partition("?")[0].rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else tail


def local_servers() -> list[RuntimeEntry]:
    """The servers of this user on this machine, newest first, under URLs that lead to them."""
    return [msgspec.structs.replace(entry, url=attach_url(entry.url)) for entry in runtime_entries()]


def find_token(
    url: str,
    *,
    file: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    insecure: bool = False,
    advice: str = "use wss://",
) -> FoundToken:
    """The token for the devtools at ``url``.

    It is the content of ``file``, else of ``LIVERPC_ATTACH_TOKEN``, else what a server of the same user on
    this machine wrote for its owner.

    Args:
        url: As of :func:`attach_url`.
        file: A path. Its content counts without the white space around it.
        environ: Where the variable is looked up.
        insecure: Allow the token to travel in the clear to another machine.
        advice: Ends the sentence when that is not allowed.

    Raises:
        ConfigError: The file cannot be read or is empty, the token cannot be one, or it would travel in the clear.
    """
    given = _read(file) if file is not None else environ.get(TOKEN_VARIABLE, "").strip()
    secret = given or next((entry.token for entry in local_servers() if _same_server(entry.url, url)), "")
    if not (secret.isascii() and (not secret or secret.isprintable())):
        raise ConfigError("the devtools token contains characters that no token of a server has")
    parts = urlsplit(url)
    if secret and parts.scheme == "ws" and parts.hostname not in _LOOPBACK and not insecure:
        raise ConfigError(
            f"ws://{parts.netloc} is not this machine and not encrypted, the devtools token would travel in the"
            f" clear: {advice}"
        )
    return FoundToken(secret, renewable=not given)


def refusal(url: str, status: int, said: str, *, with_token: bool) -> AttachError:
    """What it means that the devtools at ``url`` answered the handshake with an HTTP ``status``.

    Args:
        url: As of :func:`attach_url`.
        status: The HTTP status.
        said: The body of the answer; its first line is repeated.
        with_token: Whether a token was sent.
    """
    line = "".join(each if each.isprintable() else "?" for each in said.strip().partition("\n")[0][:_SAID_MAX])
    reason = f"HTTP {status}{': ' + line if line else ''}"
    if status in (401, 403):
        given = "the token" if with_token else f"an observer without a token; {TOKEN_VARIABLE} may hold one"
        return AttachError("refused", f"{url} refused {given} ({reason})")
    if status == 429 or (status >= 500 and status != 501):
        return AttachError("unreachable", f"{url} does not take another observer now ({reason})")
    return AttachError(
        "absent", f"no devtools at {url} ({reason}); enable them in the server with inspect=Inspect(enabled=True)"
    )


def closed_early(url: str, code: int = CloseCode.LOST, reason: str = "") -> AttachError:
    """What it means that the devtools at ``url`` closed the connection before they said welcome."""
    text = f"{url} closed the connection at once ({code}{' ' + reason if reason else ''})"
    return AttachError("refused" if code in (CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN) else "unreachable", text)


def _no_url(text: str) -> ConfigError:
    return ConfigError(f"{shown_url(text)!r} is not a URL such as ws://127.0.0.1:8000")


def _read(file: str | Path) -> str:
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token file {file}: {error}") from None
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def _same_server(one: str, other: str) -> bool:
    """Whether two URLs name the same host and port, which one process has; all names of this machine are one."""
    a, b = urlsplit(one), urlsplit(other)
    hosts = {a.hostname, b.hostname}
    same_host = len(hosts) == 1 or hosts <= _LOOPBACK
    return same_host and (a.scheme, a.port or _PORTS[a.scheme]) == (b.scheme, b.port or _PORTS[b.scheme])
