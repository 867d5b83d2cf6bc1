"""Runs the conformance suite against every backend in ``BACKENDS``; a new one is one more line there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import pytest

from liverpc.backends.memory import World, memory_cluster
from liverpc.backends.ports import Cluster, Frame, Gap
from liverpc.clock import SeededClock
from liverpc.testing.loop import VirtualLoop

NODE_TTL = 1.0

MakeNode = Callable[[str], Cluster]


def memory_nodes() -> MakeNode:
    world = World(clock=SeededClock(), node_ttl=NODE_TTL)
    return lambda name: memory_cluster(name, world)


class Backend(NamedTuple):
    loop: Callable[[], asyncio.AbstractEventLoop]
    nodes: Callable[[], MakeNode]  # nodes made by one MakeNode share one empty store


BACKENDS = {
    "memory": Backend(VirtualLoop, memory_nodes),
}

_backend_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Backend] = WeakKeyDictionary()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    def factory(backend: Backend) -> Callable[[], asyncio.AbstractEventLoop]:
        def make_loop() -> asyncio.AbstractEventLoop:
            loop = backend.loop()
            _backend_of_loop[loop] = backend
            return loop

        return make_loop

    return {name: factory(backend) for name, backend in BACKENDS.items()}


class Node:
    """A node and everything its bus has told it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.frames: list[Frame] = []
        self.gaps: list[Gap] = []
        self.messages: list[bytes] = []

    async def start(self) -> None:
        await self.cluster.start(self.frames.extend, self.gaps.append, self.messages.append)


Start = Callable[[str], Awaitable[Node]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts nodes that share one store; all are closed after the test."""
    make = _backend_of_loop[asyncio.get_running_loop()].nodes()
    nodes: list[Node] = []

    async def start_node(name: str) -> Node:
        node = Node(make(name))
        nodes.append(node)
        await node.start()
        return node

    yield start_node
    for node in nodes:
        await node.cluster.aclose()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition that another node's doing brings about."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def quiet() -> Callable[[], Awaitable[None]]:
    """Gives what should not happen the time to happen."""

    async def wait() -> None:
        await asyncio.sleep(0.2)

    return wait
