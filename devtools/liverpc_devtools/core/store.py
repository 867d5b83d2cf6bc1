"""Where the devtools keep what outlives them, and how it is written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["config_dir", "replace_file", "state_dir"]


def config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_CONFIG_HOME/liverpc``, else ``~/.config/liverpc``."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "liverpc"


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``$XDG_STATE_HOME/liverpc``, else ``~/.local/state/liverpc``."""
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "liverpc"


def replace_file(path: Path, text: str) -> None:
    """Write a file that only its user reads; whoever reads it sees the old text or the new one, never a part.

    A link is followed: the file it leads to is replaced.

    Raises:
        OSError: It could not be written; the old text is still there.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
