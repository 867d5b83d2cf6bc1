"""How a local server hands its devtools token to tools of the same user: a file only that user can read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class RuntimeEntry(msgspec.Struct, frozen=True):
    """A server of this user on this machine."""

    url: str  #: where to attach, ``ws://…/__liverpc/attach``
    token: str
    pid: int
    name: str

    def __repr__(self) -> str:
        return f"RuntimeEntry({self.url!r}, pid={self.pid})"  # the token is in no log


def runtime_directory() -> Path:
    """``$XDG_RUNTIME_DIR/liverpc``, else ``~/.local/state/liverpc/run``."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "liverpc" if base else Path.home() / ".local" / "state" / "liverpc" / "run"


@contextmanager
def write_runtime_entry(entry: RuntimeEntry) -> Iterator[Path]:
    """Keep ``entry`` in a file (0600, in a directory 0700) while the block runs."""
    directory = runtime_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    port = entry.url.rpartition(":")[2].partition("/")[0]
    path = directory / f"{entry.pid}-{port}.json"
    # Created with its final mode: a chmod afterwards would leave the token readable for a moment.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(entry))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def runtime_entries() -> list[RuntimeEntry]:
    """The servers that are alive, newest first. Files of dead ones are removed."""
    directory = runtime_directory()
    if not directory.is_dir():
        return []
    found: list[tuple[float, RuntimeEntry]] = []
    for path in directory.glob("*.json"):
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=RuntimeEntry)
            os.kill(entry.pid, 0)
            found.append((path.stat().st_mtime, entry))
        except (ProcessLookupError, msgspec.MsgspecError):
            path.unlink(missing_ok=True)
        except OSError:  # gone meanwhile, or another user's process has the pid now
            continue
    return [entry for _, entry in sorted(found, key=lambda each: each[0], reverse=True)]
