"""Saved views: a name for a screen with its filter, its order and its columns, for each server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from liverpc_devtools.core.store import replace_file, state_dir

__all__ = ["SavedView", "SavedViews"]

_MOST = 200  # views of a server


class SavedView(msgspec.Struct, frozen=True):
    """How a screen looked. Columns go by their titles."""

    screen: str
    filter: str = ""
    sort: str = ""  #: empty: the natural order
    reverse: bool = False
    hidden: list[str] = []  #: columns


class SavedViews:
    """The views that were saved for one server.

    Every change is written at once. Another program may write the same file: it is read anew before.

    Args:
        server: The context, as ``@prod``, or the URL.
        told: Is told sentences for people, such as that the file could not be read.
        path: Default: ``views.json`` in :func:`~liverpc_devtools.core.store.state_dir`.
    """

    def __init__(self, server: str, told: Callable[[str], None], *, path: Path | None = None) -> None:
        self._server = server
        self._told = told
        self._path = state_dir() / "views.json" if path is None else path

    def names(self) -> list[str]:
        """In alphabetical order."""
        return sorted(self._read().get(self._server, {}))

    def get(self, name: str) -> SavedView | None:
        """The view of that name."""
        return self._read().get(self._server, {}).get(name)

    def save(self, name: str, view: SavedView) -> bool:
        """Keep a view, in place of one of the same name; False: it could not be written, and why was told."""
        everything = self._read()
        views = everything.setdefault(self._server, {})
        if name not in views and len(views) >= _MOST:
            self._told(f"{_MOST} views are saved for this server; remove one with: save view remove NAME")
            return False
        views[name] = view
        return self._write(everything)

    def remove(self, name: str) -> bool:
        """Forget a view; False: there was none, or it could not be written."""
        everything = self._read()
        return everything.get(self._server, {}).pop(name, None) is not None and self._write(everything)

    def _write(self, everything: dict[str, dict[str, SavedView]]) -> bool:
        try:
            replace_file(self._path, msgspec.json.format(msgspec.json.encode(everything)).decode())
        except OSError as error:
            self._told(f"views are not kept: {error.strerror or error}")
            return False
        return True

    def _read(self) -> dict[str, dict[str, SavedView]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, SavedView]])
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._told(f"saved views cannot be read: {error.strerror or error}")
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            bad = self._path.with_suffix(".bad")
            try:
                self._path.replace(bad)
            except OSError:
                bad = self._path
            self._told(f"saved views cannot be understood; the file is kept as {bad}")
            return {}
