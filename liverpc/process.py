"""A server as a program: the address it listens on, and the signal on which it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl as ssl_module
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Literal, TypeAlias

import msgspec

from liverpc.errors import ConfigError, MissingExtraError
from liverpc.inspector.protocol import ATTACH_PATH, RuntimeEntry, write_runtime_entry
from liverpc.transports.listener import Listener

__all__ = ["Listening", "Loop", "listen", "run"]

log = logging.getLogger("liverpc.server")

Loop: TypeAlias = Literal["asyncio", "uvloop"]


class Listening(msgspec.Struct, frozen=True):
    """Where a server listens."""

    host: str
    port: int
    url: str  #: for clients, ``ws://host:port/ws``
    attach_url: str  #: for the devtools
    token_file: str = ""  #: where local devtools find their token; empty when they are off


@asynccontextmanager
async def listen(
    listener: Listener,
    host: str,
    port: int,
    ssl: ssl_module.SSLContext | None,
    *,
    name: str,
    path: str,
    token: str | None,
) -> AsyncIterator[Listening]:
    """Listen, and let local devtools know while the block runs.

    Args:
        listener: Of the server; who closes it ends the listening.
        host: An address of this machine.
        port: 0 takes a free one.
        ssl: For TLS.
        name: Of the server.
        path: Of its WebSocket.
        token: With which local devtools attach; None: they do not.

    Raises:
        ConfigError: The address cannot be listened on; the text says why.
    """
    await listener.listen(host, port, ssl=ssl)
    host, port = listener.addresses[0]
    shown = f"[{host}]" if ":" in host else host
    base = f"{'wss' if ssl else 'ws'}://{shown}:{port}"
    with ExitStack() as stack:
        token_file = ""
        if token is not None:
            entry = RuntimeEntry(base + ATTACH_PATH, token, os.getpid(), name)
            token_file = str(stack.enter_context(write_runtime_entry(entry)))
        log.info("%s listens on %s%s", name, base, path)
        yield Listening(host, port, base + path, base + ATTACH_PATH, token_file)


def run(
    serve: Callable[[str, int], AbstractAsyncContextManager[Listening]],
    *,
    name: str,
    host: str | None,
    port: int | None,
    loop: Loop,
) -> None:
    """Serve until SIGINT or SIGTERM; see ``LiveServer.run``."""
    try:
        host = host or os.environ.get("HOST", "127.0.0.1")
        port = _port() if port is None else port
        with asyncio.Runner(loop_factory=_uvloop() if loop == "uvloop" else None) as runner:
            runner.run(_until_signal(serve(host, port), name))
    except ConfigError as error:
        sys.stderr.write(f"{name}: {error}\n")
        raise SystemExit(2) from None


async def _until_signal(serving: AbstractAsyncContextManager[Listening], name: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving as listening:
        if not log.isEnabledFor(logging.INFO):  # which would have said it
            sys.stderr.write(f"{name} listens on {listening.url}; stop with Ctrl-C\n")
        await stop.wait()


def _port() -> int:
    given = os.environ.get("PORT", "8000")
    if not given.isdigit() or int(given) > 65535:
        raise ConfigError(f"PORT={given!r} is not a port number from 0 to 65535")
    return int(given)


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:
        raise MissingExtraError("uvloop", extra="fast", what='run(loop="uvloop")') from None
    return new_event_loop
