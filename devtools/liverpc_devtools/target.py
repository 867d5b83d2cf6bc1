"""Which server to attach to, and with which token.

A token comes from a file, from ``LIVERPC_ATTACH_TOKEN`` or from the runtime file of a local server; never
from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from liverpc.inspector.protocol import ATTACH_PATH, RuntimeEntry, runtime_entries
from liverpc_devtools.text import clean

__all__ = ["TOKEN_VARIABLE", "Target", "UsageError", "find_target"]

TOKEN_VARIABLE = "LIVERPC_ATTACH_TOKEN"  # noqa: S105  the name of the variable, not its value
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


class UsageError(Exception):
    """The command line asks for something that cannot be; the text says what and how to fix it."""


class Target(msgspec.Struct, frozen=True):
    """Where to attach."""

    url: str  #: ``ws://`` or ``wss://`` with the path of the devtools
    token: str  #: empty: none is sent
    renewable: bool = False  #: the token is a local server's own, which makes another one when it restarts

    def __repr__(self) -> str:
        return f"Target({self.url!r})"  # the token is in no log


def find_target(
    url: str | None,
    *,
    token_file: Path | None = None,
    insecure: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Target:
    """The server meant by the command line.

    Args:
        url: ``ws://``, ``wss://``, ``http://``, ``https://`` or ``host:port``; the path defaults to the
            devtools' own. None: the only server of this user on this machine.
        token_file: Its content, stripped, is the token.
        insecure: Allow ``ws://`` to other machines.
        environ: Defaults to the process's environment.

    Raises:
        UsageError: The URL is none, the token file cannot be read, there is not exactly one local server,
            or the token would travel in the clear.
    """
    environ = os.environ if environ is None else environ
    entries = runtime_entries()
    if url is None:
        entry = _only(entries)
        url, token = entry.url, entry.token
    else:
        url = _normal(url)
        token = next((each.token for each in entries if _same(each.url, url)), "")
    parts = urlsplit(url)
    if parts.scheme == "ws" and parts.hostname not in _LOOPBACK and not insecure:
        raise UsageError(
            f"ws://{parts.netloc} is not this machine and not encrypted: use wss://, or --insecure to send"
            " the token in the clear"
        )
    renewable = False
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the token file {token_file}: {error}") from None
    elif environ.get(TOKEN_VARIABLE):
        token = environ[TOKEN_VARIABLE].strip()
    else:
        renewable = True
    if not (token.isascii() and (not token or token.isprintable())):
        raise UsageError("the token contains characters that no token of a server has")
    return Target(url, token, renewable)


def _normal(url: str) -> str:
    text = url if "://" in url else f"ws://{url}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{clean(url)!r} is not a URL: {error}") from None
    if parts.scheme not in _SCHEMES or not parts.hostname or clean(text) != text or " " in text:
        raise UsageError(f"{clean(url)!r} is not a URL to attach to: ws://host:port or host:port is")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "a URL to attach to has no credentials, query or fragment; a token comes from --token-file or"
            f" {TOKEN_VARIABLE}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port is None else f"{host}:{port}"
    path = ATTACH_PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((_SCHEMES[parts.scheme], netloc, path, "", ""))


def _same(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    hosts = {a.hostname, b.hostname}
    same_host = len(hosts) == 1 or hosts <= _LOOPBACK
    return same_host and (a.scheme, a.port, a.path) == (b.scheme, b.port, b.path)


def _only(entries: list[RuntimeEntry]) -> RuntimeEntry:
    if not entries:
        raise UsageError(
            "no local server with devtools is running; start one with inspect=Inspect(enabled=True), or give a URL"
        )
    if len(entries) > 1:
        found = "\n".join(f"  {each.url}  {clean(each.name)} (pid {each.pid})" for each in entries)
        raise UsageError(f"several local servers are running; give the URL of one:\n{found}")
    return entries[0]
