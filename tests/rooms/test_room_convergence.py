"""Whatever clients do, everybody sees the same people, and hooks come in pairs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from liverpc.testing import TestClient, TestHandle
from tests.rooms.room_kit import Board, Card

STEPS = 40


@pytest.mark.parametrize("seed", range(40))
async def test_rosters_agree_and_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)
    board = Board()
    async with board.opened() as env:
        watcher = await board.watch(env)
        users = [{"id": f"u{number}", "name": f"U{number}"} for number in range(4)]
        clients: list[TestClient] = [env.connect(user=chance.choice(users)) for _ in range(8)]
        handles: list[TestHandle[list[Card]]] = []
        for _ in range(STEPS):
            client = chance.choice(clients)
            match chance.randrange(6):
                case 0 | 1:
                    handles.append(await client.subscribe(board.board, "b1"))
                case 2 if handles:
                    await handles.pop(chance.randrange(len(handles))).aclose()
                case 3:
                    client.cut()
                case 4:
                    await asyncio.sleep(chance.choice([0.01, 1.0, 4.9, 5.1]))
                case 5 if any(handle.status == "connected" for handle in handles):
                    await env.settle()
        for client in clients:
            await client.aclose()
        census = env.server.rooms[0]
        await env.settle()
        rows = [row for row in census.rows() if row.name == "board:b1"]
        known = sorted(occupant.key for row in rows for occupant in row.occupants)
        assert sorted(row.key for row in watcher.value) == known
        assert not any(occupant.connections for row in rows for occupant in row.occupants)
        await asyncio.sleep(5.1)
        assert (watcher.value, list(census.rows())) == ([], [])
        told = Counter(entry for entry in board.log if "u" in entry and " " in entry)
        for user in users:
            assert told[f"{user['id']} came to b1"] == told[f"{user['id']} left b1"]
