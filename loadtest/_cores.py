"""Cores of their own for the server and for the load generator, so that neither waits for the other."""

from __future__ import annotations

import os

__all__ = ["Cores", "pin_generator", "split"]

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


def pin_generator(cores: Cores | None) -> str:
    """Keep this process to its cores; returns what was done, in words."""
    if cores is None:
        why = "there is only one core" if hasattr(os, "sched_getaffinity") else "this system has no means for it"
        return f"server and generator share their cores: {why}"
    server, generator = cores
    os.sched_setaffinity(0, generator)
    return f"server on core {_listed(server)}, generator on {_listed(generator)}"


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
