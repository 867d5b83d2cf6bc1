"""Ids of connections, which tell whether this server gave them out."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import blake2b

__all__ = ["SessionIds"]

_UUID = 36  # characters
_MARK = 12  # hexadecimal digits of each id that prove where it comes from


class SessionIds:
    """Makes the ids of one server's connections, each unique among all servers.

    A client that comes back names its last one. When another server life gave that out, numbers of events that the
    client still has may belong to another log.

    Args:
        new_id: Makes unique ids. Of a UUID the last part is replaced.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._key = new_id().encode()

    def new(self) -> str:
        """Another id."""
        unique = self._new_id()
        if len(unique) == _UUID:
            unique = unique[:-_MARK]
        return unique + self._mark(unique)

    def issued(self, session: str) -> bool:
        """Whether this object made an id."""
        mark = session[-_MARK:].encode(errors="replace")
        return hmac.compare_digest(mark, self._mark(session[:-_MARK]).encode())

    def _mark(self, unique: str) -> str:
        return blake2b(unique.encode(errors="replace"), digest_size=_MARK // 2, key=self._key).hexdigest()
