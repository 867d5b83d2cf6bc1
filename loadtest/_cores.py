"""Cores of their own for the server and for the load generator, so that neither waits for the other."""

from __future__ import annotations

import logging
import os

__all__ = ["Cores", "pin_generator", "split"]

log = logging.getLogger("loadtest")

Cores = tuple[frozenset[int], frozenset[int]]


def split() -> Cores | None:
    """The server's core, and those of the load generator; None where there are no two, or no way to choose.

    Ask before anything is pinned: afterwards this process has its own ones only.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    first = frozenset({min(allowed)})
    return (first, frozenset(allowed) - first) if len(allowed) > 1 else None


def pin_generator(cores: Cores | None) -> None:
    """Keep this process to its cores; where that cannot be, it is left as it is, and the log says so."""
    if cores is None:
        why = "there is only one" if hasattr(os, "sched_getaffinity") else "this system has no means for it"
        log.warning("--pin does nothing, server and load generator share their cores: %s", why)
        return
    server, generator = cores
    os.sched_setaffinity(0, generator)
    log.info("the server has core %s, the load generator %s", _listed(server), _listed(generator))


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
