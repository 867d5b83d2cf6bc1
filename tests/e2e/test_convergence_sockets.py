"""Over real sockets that are cut all the time, clients still end up with what the server has.

``pytest -m soak tests/e2e/test_convergence_sockets.py``; the noise lasts ``LIVERPC_SOAK_SECONDS``, 60 by default.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

import pytest

from liverpc import Limits, LiveServer
from liverpc.client import Client, connect
from liverpc.policies.faults import Fault
from tests.streams.convergence_kit import CONFIG, Board, Visitor, check, make_boards, make_server, publish, settle

SECONDS = float(os.environ.get("LIVERPC_SOAK_SECONDS", "60"))
ROUND = 8.0  # seconds of noise
STALE = 1.0
CLIENTS = 8


class Proxy:
    """Stands between the clients and a port of this machine, stalls a little, and cuts connections when told."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._target = port
        self._rng = rng
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1")
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        while self._pairs:
            self.cut()
            await asyncio.sleep(0)
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Lose a connection, at both ends, with whatever is under way."""
        if self._pairs:
            self.cuts += 1
            self._end(self._rng.choice(self._pairs))

    def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        pair = writer, far_writer
        self._pairs.append(pair)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        if pair in self._pairs:
            self._end(pair)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                if self._rng.random() < 0.1:
                    await asyncio.sleep(self._rng.random() * 0.02)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def _end(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._pairs.remove(pair)
        for writer in pair:
            writer.transport.abort()


async def noisy_round(
    server: LiveServer, proxy: Proxy, clients: list[Client], boards: list[Board], rng: random.Random, seconds: float
) -> None:
    visitors = [
        Visitor(f"client {number}", client, board, random.Random(rng.random()))
        for number, client in enumerate(clients, 1)
        for board in rng.sample(boards, 6)
    ]
    server.faults.arm(Fault(rate=0.1, seed=str(rng.random())))
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for visitor in visitors:
            group.create_task(visitor.visit(over))
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(rng.choice((0.0, 0.001, 0.02)))
            if rng.random() < 0.95:
                publish(server, rng.choice(boards))
            else:
                proxy.cut()
        server.faults.clear()
        over.set()
    await settle(server, visitors, STALE)
    check(visitors)
    for visitor in visitors:
        await visitor.handle.aclose()


@pytest.mark.soak
@pytest.mark.realtime
@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_clients_behind_a_bad_line_end_up_with_what_the_server_has(
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(os.environ.get("LIVERPC_SEED", "0")) or random.randrange(1 << 32)
    rng = random.Random(seed)
    boards = make_boards(rng, STALE)
    server = make_server(boards, Limits(replay_events=50))
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(server.serve(port=0))
        proxy = await stack.enter_async_context(Proxy(listening.port, rng))
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        clients = [await stack.enter_async_context(connect(url, config=CONFIG)) for _ in range(CLIENTS)]
        rounds = max(1, round(SECONDS / ROUND))
        try:
            for _ in range(rounds):
                await noisy_round(server, proxy, clients, boards, rng, SECONDS / rounds)
        except BaseException as error:
            error.add_note(f"LIVERPC_SEED={seed} makes the same choices again; the machine's timing is its own")
            raise
        happened = {
            "published": server.counters.published,
            "dropped": server.counters.fault_drops,
            "cut": proxy.cuts,
        }
        record_property("happened", happened)
        assert all(happened.values()), happened
