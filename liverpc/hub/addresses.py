"""What the address of a peer says about who it is."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

__all__ = ["Address", "network_of", "parse_address"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_ONE_HOST = 64  # bits of an IPv6 address; what follows them a host chooses as it likes


@lru_cache(maxsize=1024)  # parsing takes as long as all our other work on a handshake
def parse_address(text: str) -> Address | None:
    """An IP address, perhaps in brackets and with a port as some proxies write it; None for anything else.

    An IPv4 address in the form of an IPv6 one is the IPv4 address.
    """
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


@lru_cache(maxsize=1024)
def network_of(address: str) -> str | None:
    """What counts as one caller where callers are told apart by their address.

    Returns:
        An IPv4 address such as ``192.0.2.1``, or the first 64 bits of an IPv6 one such as ``2001:db8::/64``. None
        without a network in between, so that everybody may look the same: for loopback, and for what is no IP
        address, such as the name of an in-process transport or the nothing of a Unix socket.
    """
    parsed = parse_address(address)
    if parsed is None or parsed.is_loopback:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _ONE_HOST), strict=False))
    return str(parsed)
