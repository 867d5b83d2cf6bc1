"""``doctor``: whether a server can be looked into from here, and if not, why."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import time
from importlib.util import find_spec

from liverpc.errors import AttachError
from liverpc.inspector.protocol import VERSION, State
from liverpc_devtools.core.attach import Attachment, Want
from liverpc_devtools.core.target import Target
from liverpc_devtools.headless.output import emit, narrate

__all__ = ["doctor"]

_SKEW_SECONDS = 2.0
_STATES = 3  # enough for a ping to come back


async def doctor(target: Target, want: Want, version: str) -> None:
    """Write what was found, one check a line: ``ok``, ``warn`` or ``fail`` and a sentence.

    Args:
        target: The server.
        want: The level that is needed.
        version: Of this program.

    Raises:
        AttachError: The server cannot be looked into, which was written, too.
    """
    _terminal()
    _check("ok", "url", target.url)
    _check("ok" if target.token else "warn", "token", "found" if target.token else "none is sent")
    try:
        attachment = await Attachment.open(target, want)
    except AttachError as error:
        _check("fail", "attach", str(error))
        raise
    async with attachment:
        welcome = attachment.welcome
        server = welcome.server
        _check("ok", "attach", f"{server.name}, pid {server.pid}")
        same = server.version == version
        _check("ok" if same else "warn", "versions", f"server {server.version}, this program {version}")
        _check("ok", "protocol", f"version {VERSION}")
        granted = f"{welcome.granted}{''.join(f'; {each}' for each in welcome.denied)}"
        _check("ok" if not welcome.denied else "warn", "level", granted)
        states = 0
        while states < _STATES or attachment.session.rtt is None:
            states += isinstance(await attachment.receive(), State)
        _clock(attachment)
        redacted = f"{len(welcome.redacted)} keys: {', '.join(welcome.redacted)}"
        _check("ok" if welcome.redacted else "warn", "redaction", redacted)


def _clock(attachment: Attachment) -> None:
    welcome, session = attachment.welcome, attachment.session
    skew = welcome.wall + (time.monotonic() + session.offset - welcome.at) - time.time()
    _check("ok" if abs(skew) < _SKEW_SECONDS else "warn", "clock", f"{skew:+.3f} s away from this machine's")
    _check("ok", "round trip", f"{(session.rtt or 0.0) * 1000:.1f} ms")


def _terminal() -> None:
    tui = find_spec("textual") is not None
    _check("ok" if tui else "warn", "screen", "textual is installed" if tui else "pip install 'liverpc[tui]' for it")
    tty = sys.stdin is not None and sys.stdin.isatty()
    columns, lines = shutil.get_terminal_size()
    _check("ok" if tty else "warn", "terminal", f"{columns}x{lines}" if tty else "no terminal on standard input")
    colours = os.environ.get("COLORTERM") or os.environ.get("TERM") or "not said"
    _check("ok", "colours", "none: NO_COLOR" if os.environ.get("NO_COLOR") else colours)
    encoding = locale.getpreferredencoding(False)
    good = encoding.lower().replace("-", "") == "utf8"
    _check("ok" if good else "warn", "encoding", encoding if good else f"{encoding}: use --ascii")


def _check(state: str, name: str, text: str) -> None:
    emit({"t": "check", "state": state, "name": name, "text": text})
    if state != "ok":
        narrate(f"{name}: {text}")
