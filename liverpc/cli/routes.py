"""``liverpc routes``: what answers on a server's paths, and whether the topics in its code exist."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from liverpc.cli.literals import topics_in
from liverpc.declare.registry import Entry
from liverpc.declare.topics import DYNAMIC, Topics, pattern_from
from liverpc.errors import ConfigError, LiveRpcError
from liverpc.server import LiveServer

__all__ = ["check_topics", "load_server", "show_routes"]

_WITH_TOPIC = ("stream", "channel")  # kinds of entries


def load_server(target: str) -> LiveServer:
    """The server in ``module:name``; modules beside the working directory are found, too.

    Raises:
        ConfigError: There is none; the text says what went wrong.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{target!r} is no server: say module:name, such as app:server")
    sys.path.insert(0, os.getcwd())
    try:
        server: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            server = getattr(server, part)
    except LiveRpcError:
        raise
    except Exception as error:  # whatever the application raises while it is imported
        raise ConfigError(f"{target} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(server, LiveServer):
        raise ConfigError(f"{target} is a {type(server).__name__}, no LiveServer")
    return server


def show_routes(server: LiveServer) -> None:
    """Print path, kind and topic of everything a client can ask for."""
    entries = server.registry.entries
    width = max((len(entry.path) for entry in entries), default=0)
    for entry in entries:
        topic = _pattern(entry) if entry.kind in _WITH_TOPIC else ""
        print(f"{entry.path:{width}}  {entry.kind:7}  {topic}".rstrip())


def check_topics(server: LiveServer, folder: str) -> int:
    """Print each topic that is written out in the server's modules, or in a folder, and fits none that is known.

    Known are the topics of the server's streams, and of every ``define_topics`` that was loaded with it.

    Args:
        server: The server.
        folder: Empty: none.

    Returns:
        The exit code: 0 when all fit, 1 otherwise.

    Raises:
        ConfigError: There is no such folder, or a file is no Python.
    """
    known = _known(server)
    unknown = [literal for file in _files(server, folder) for literal in topics_in(file) if not literal.fits(known)]
    for literal in unknown:
        nearest = literal.nearest(known)
        advice = f"the nearest is {nearest!r}" if nearest is not None else "none is declared"
        print(f"{literal.file}:{literal.line}: no topic fits {literal.text!r}; {advice}")
    return 1 if unknown else 0


def _known(server: LiveServer) -> list[str]:
    patterns = {_pattern(entry) for entry in server.registry.entries if entry.kind in _WITH_TOPIC}
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, Topics):
                patterns.update(value.patterns.values())
    return sorted(patterns - {DYNAMIC})


def _pattern(entry: Entry) -> str:
    stream: Any = entry.declaration
    return pattern_from(lambda arguments: stream.topics.resolve(None, arguments), stream.signature.names)


def _files(server: LiveServer, folder: str) -> Iterator[Path]:
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"there is no folder {folder!r}")
    modules = (sys.modules.get(entry.declaration.__module__) for entry in server.registry.entries)
    files = {Path(file).resolve() for module in modules if (file := getattr(module, "__file__", None))}
    if folder:
        files.update(_sources(Path(folder)))
    here = Path.cwd()
    for file in sorted(files):
        yield file.relative_to(here) if file.is_relative_to(here) else file


def _sources(folder: Path) -> Iterable[Path]:
    for file in folder.resolve().rglob("*.py"):
        if not any(part.startswith(".") for part in file.relative_to(folder.resolve()).parts):  # such as .venv
            yield file
