"""The topics behind the rooms of contracts."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final

import msgspec

from liverpc.declare.contract import Contract
from liverpc.declare.members import Room
from liverpc.wire.codec import encode

__all__ = ["PREFIX", "Group", "group_of"]

PREFIX: Final = "__contract:"
"""Reserved, so that no stream, no client and no publish of the application reaches them."""

_MAX_KEY = 256  # characters


class Group(msgspec.Struct, frozen=True):
    """Those who are together in one room of a contract."""

    room: str  #: its name
    topic: str  #: in the hub; the key does not show in it
    wire: str  #: ``<contract>/<room>``, as clients know it
    key: str  #: for people, of a long one the beginning
    pattern: str  #: of the contract's URL


def group_of(contract: type[Contract[Any, Any, Any]], room: Room[Any, Any], parts: bytes) -> Group:
    """The group that a key in its canonical form stands for; those of other rooms and contracts are others."""
    assert contract.pattern is not None
    pattern = contract.pattern.text
    whole = b"[%b,%b,%b,%b]" % (encode(pattern), encode(contract.name), encode(room.name), parts)
    name = urlsafe_b64encode(sha256(whole).digest()).rstrip(b"=").decode()
    return Group(room.name, PREFIX + name, f"{contract.name}/{room.name}", parts.decode()[:_MAX_KEY], pattern)
