"""Which server the command line means.

A token comes from a file, from ``LIVERPC_ATTACH_TOKEN`` or from the runtime file of a local server; never
from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import attach_url, find_token, local_servers
from liverpc_devtools.core.text import clean

__all__ = ["Target", "find_target"]

_ADVICE = "use wss://, or --insecure to send it all the same"


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
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """The server meant by the command line.

    Args:
        url: As of :func:`~liverpc.inspector.protocol.attach_url`. None: the only server of this user on this
            machine.
        token_file: Its content, stripped, is the token.
        insecure: Allow the token to travel over ``ws://`` to other machines.
        environ: Where ``LIVERPC_ATTACH_TOKEN`` is looked up.

    Raises:
        ConfigError: There is not exactly one local server, or as :func:`~liverpc.inspector.protocol.attach_url`
            and :func:`~liverpc.inspector.protocol.find_token`.
    """
    url = _only() if url is None else attach_url(url)
    token = find_token(url, file=token_file, environ=environ, insecure=insecure, advice=_ADVICE)
    return Target(url, token.secret, token.renewable)


def _only() -> str:
    entries = local_servers()
    if not entries:
        raise ConfigError(
            "no local server with devtools is running; start one with inspect=Inspect(enabled=True), or give a URL"
        )
    if len(entries) > 1:
        found = "\n".join(f"  {each.url}  {clean(each.name)} (pid {each.pid})" for each in entries)
        raise ConfigError(f"several local servers are running; give the URL of one:\n{found}")
    return entries[0].url
