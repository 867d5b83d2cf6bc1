"""From a module's place in a package to a URL: ``app.routes.rooms._room_id_.chat`` answers on ``/rooms/{room_id}``."""

from __future__ import annotations

import re
import sys

__all__ = ["folder_kind", "pattern_of"]

_ROOT = "routes"  # below this package folders are parts of URLs
_REST = re.compile(r"__([A-Za-z][A-Za-z0-9_]*?)__")
_PART = re.compile(r"_([A-Za-z][A-Za-z0-9_]*?)_")


def folder_kind(folder: str) -> int:
    """0 for a folder that stands for itself, 1 for one segment with a name, 2 for the rest of the URL."""
    return 2 if _REST.fullmatch(folder) else 1 if _PART.fullmatch(folder) else 0


def pattern_of(module: str) -> str | None:
    """The URL pattern of the folder that a module is in; None for one that is not below a package ``routes``.

    ``_name_`` is one segment, ``__name__`` one or more.
    """
    parts = module.split(".")
    if not hasattr(sys.modules.get(module), "__path__"):
        parts.pop()  # the file; a package is its folder itself
    if _ROOT not in parts:
        return None
    return "/" + "/".join(_segment(folder) for folder in parts[parts.index(_ROOT) + 1 :])


def _segment(folder: str) -> str:
    if match := _REST.fullmatch(folder):
        return f"{{{match[1]}:path}}"
    return f"{{{match[1]}}}" if (match := _PART.fullmatch(folder)) else folder
