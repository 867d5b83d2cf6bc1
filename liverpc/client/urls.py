"""Where a contract is: the parts of its URL, from what a program gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from liverpc.pages import PageContract

__all__ = ["parts_of", "path_of", "url_of"]


def parts_of(contract: Any, params: Any, given: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a contract's URL as text, from an object that has them or by name.

    Raises:
        TypeError: A part is missing, empty, neither text nor a number, or there is one too many; or it is no contract
            with a ``path=``.
    """
    if not (isinstance(contract, type) and issubclass(contract, PageContract)) or contract.pattern is None:
        raise TypeError(f"{contract!r} is no contract that can be opened: a class with path=")
    names = contract.pattern.names
    if params is not None:
        if given:
            raise TypeError(f"{contract.__qualname__}: give the parts of the URL as one object or by name, not both")
        if isinstance(params, msgspec.Struct):  # whose members may have other names on the wire
            members = {field.encode_name: field.name for field in msgspec.structs.fields(params)}
            given = {name: getattr(params, members[name]) for name in names if name in members}
        elif isinstance(params, Mapping):
            given = params
        else:
            given = {name: getattr(params, name) for name in names if hasattr(params, name)}
    parts = {name: msgspec.to_builtins(value) for name, value in given.items()}
    for name, value in parts.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError(f"{contract.__qualname__}: {name} is {value!r}, which is neither text nor a number")
    contract.pattern.fill(parts)
    return {name: str(value) for name, value in parts.items()}


def url_of(contract: type[PageContract[Any]], base: str, parts: Mapping[str, str]) -> str:
    """Where a contract is, below ``base``, whose query stays."""
    assert contract.pattern is not None
    start, mark, query = base.partition("?")
    return start.rstrip("/") + contract.pattern.fill(parts) + mark + query


def path_of(url: str) -> str:
    """The path of a URL alone, without what may be secret."""
    return "/" + url.partition("://")[2].partition("?")[0].partition("/")[2]
