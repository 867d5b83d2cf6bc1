"""What the arguments of a ``LiveServer`` may be, as far as their own types do not check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from liverpc.declare.guards import Guard
from liverpc.errors import ConfigError

__all__ = ["check_guards", "check_kinds", "check_paths", "check_proxies"]


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
