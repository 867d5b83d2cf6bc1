"""Who of those that look at a server from outside may: holders of its tokens, and programs on its own machine."""

from __future__ import annotations

import hmac
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from liverpc.config import Token
from liverpc.hub.addresses import parse_address

__all__ = ["Gatekeeper", "from_this_machine", "host_name", "is_loopback_name"]

log = logging.getLogger("liverpc.inspector")

_FAILURES_PER_MINUTE = 5
_MAX_ADDRESSES = 10_000  # that are remembered for a minute
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1", "memory")
# What proxies say when they hand a request on.
_FORWARDED = ("x-real-ip", "forwarded", "via", "cf-connecting-ip", "true-client-ip", "x-client-ip")


class Gatekeeper:
    """Finds the token that a request shows, and lets nobody try many.

    Args:
        tokens: That open the door.
        monotonic: Loop time.
        wall: Wall clock, by which tokens expire.
    """

    def __init__(
        self, tokens: Sequence[Token], monotonic: Callable[[], float], wall: Callable[[], float] = time.time
    ) -> None:
        self._tokens = tokens
        self._wall = wall
        self._monotonic = monotonic
        self._failures: Counter[str] = Counter()
        self._failures_since = 0.0

    def exhausted(self, address: str) -> bool:
        """Whether this address has shown so many wrong tokens that it has to wait for a minute."""
        now = self._monotonic()
        if now - self._failures_since > 60:
            self._failures.clear()
            self._failures_since = now
        return self._failures[address] >= _FAILURES_PER_MINUTE

    def holder(self, headers: Mapping[str, str], address: str) -> Token | None:
        """The token in ``Authorization: Bearer``, which is compared in constant time.

        A wrong one is counted, and so is one that has expired.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found: Token | None = None
        for token in self._tokens:  # all of them, always: the time taken tells nothing
            if hmac.compare_digest(token.secret.encode(), given.strip().encode()) and scheme.lower() == "bearer":
                found = token
        if found is not None and found.expired(self._wall()):
            log.warning("a token of %s has expired", found)
            found = None
        if found is None:
            if len(self._failures) < _MAX_ADDRESSES:
                self._failures[address] += 1
            log.warning("a token from %s was refused", address)
        return found


def host_name(headers: Mapping[str, str]) -> str:
    """The name in ``Host``, without the port, in lower case."""
    host = headers.get("host", "").lower()
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


def is_loopback_name(name: str) -> bool:
    """Whether only this machine itself can be meant."""
    return name in _LOOPBACK


def from_this_machine(headers: Mapping[str, str], address: str) -> bool:
    """Whether a request was made on this machine and not handed on by a proxy here.

    The ``Host`` has to be a loopback name, too: pages of other sites can have names that lead here.
    """
    if any(name in _FORWARDED or name.startswith("x-forwarded-") for name in headers):
        return False
    if not is_loopback_name(host_name(headers)):
        return False
    parsed = parse_address(address)
    return parsed is not None and parsed.is_loopback
