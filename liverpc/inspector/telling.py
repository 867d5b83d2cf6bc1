"""Frames for observers as bytes."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["encoded"]

_encode = msgspec.json.Encoder().encode


def encoded(value: Any) -> bytes:
    """A frame, or a part of one, as JSON.

    Names that an application makes may contain what no text may (lone surrogates). They must not end what observers
    are told: each such character becomes U+FFFD.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_repaired(msgspec.to_builtins(value, builtin_types=(msgspec.Raw,))))


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return [_repaired(each) for each in value]
    if isinstance(value, dict):
        return {_repaired(key): _repaired(each) for key, each in value.items()}
    return value
