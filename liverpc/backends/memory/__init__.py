"""The ports within one process: what a server uses when it is alone, and several servers in one test."""

from __future__ import annotations

from liverpc.backends.memory.world import World, memory_cluster

__all__ = ["World", "memory_cluster"]
