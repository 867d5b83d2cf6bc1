"""What the arguments of a ``LiveServer`` may be, as far as their own types do not check it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from liverpc.config import Limits
from liverpc.declare.bytes import BINARY_MAX, BinaryFunction, UploadFunction
from liverpc.declare.guards import Guard
from liverpc.declare.registry import Entry
from liverpc.errors import ConfigError

__all__ = ["check_guards", "check_kinds", "check_paths", "check_proxies", "look_at_sizes"]

log = logging.getLogger("liverpc.server")


def check_paths(paths: Mapping[str, object]) -> None:
    """Refuse paths that no URL has.

    Raises:
        ConfigError: One does not begin with a slash.
    """
    for option, given in paths.items():
        if not isinstance(given, str) or not given.startswith("/"):
            raise ConfigError(f"LiveServer({option}=) begins with a slash; {given!r} does not")


def check_kinds(kinds: Mapping[str, tuple[object, type]]) -> None:
    """Refuse settings of another type than theirs.

    Raises:
        ConfigError: One is neither None nor of its type.
    """
    for option, (given, kind) in kinds.items():
        if given is not None and not isinstance(given, kind):
            raise ConfigError(f"LiveServer({option}=) takes {kind.__name__}(...), not a {type(given).__name__}")


def check_guards(guards: object) -> None:
    """Refuse what is no list of guards.

    Raises:
        ConfigError: It is none, or something in it is neither a guard nor a function.
    """
    if not isinstance(guards, Sequence) or isinstance(guards, str):
        raise ConfigError("LiveServer(guards=) takes a list: guards=[...]")
    for each in guards:
        if not isinstance(each, Guard) and not callable(each):
            raise ConfigError(f"LiveServer(guards=) takes a list of functions and guards, not {each!r}")


def check_proxies(proxies: object) -> None:
    """Refuse a single proxy that stands for a list.

    Raises:
        ConfigError: It is a string.
    """
    if isinstance(proxies, str):
        raise ConfigError(f"LiveServer(trusted_proxies=) takes a list: trusted_proxies=[{proxies!r}]")


def look_at_sizes(entries: Iterable[Entry], limits: Limits) -> None:
    """Warn of functions that say they take more than the server lets come to them."""
    for entry in entries:
        function = entry.declaration
        if isinstance(function, UploadFunction):
            for name, setting in (("max_per_connection", "uploads_per_connection"), ("max_concurrent", "uploads")):
                own, most = getattr(function.limits, name), getattr(limits, setting)
                if own is not None and own > most:
                    log.warning("%s has %s=%d, but limits.%s=%d holds", entry.path, name, own, setting, most)
        if isinstance(function, BinaryFunction) and limits.message_bytes < function.max_size != BINARY_MAX:
            log.warning(
                "%s has max_size=%d, but limits.message_bytes=%d closes the connection of who sends more: raise that "
                "(LIVERPC_LIMITS_MESSAGE_BYTES), or make it an upload",
                entry.path,
                function.max_size,
                limits.message_bytes,
            )
