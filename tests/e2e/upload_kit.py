"""Starts the programs of ``upload_programs.py``, and calls a server meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liverpc import Limits, remote
from liverpc.client import Client, connect

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.e2e.upload_programs"]


@dataclass
class Latencies:
    """How long calls took, in milliseconds."""

    all: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.all)
        p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        return f"{len(ordered)} calls of a bystander: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {ordered[-1]:.1f} ms"


@asynccontextmanager
async def server_process(limits: Limits) -> AsyncIterator[str]:
    """A server in a process of its own; its URL."""
    default = Limits()
    changed = {
        f"LIVERPC_LIMITS_{name.upper()}": str(getattr(limits, name))
        for name in Limits.__struct_fields__
        if getattr(limits, name) != getattr(default, name)
    }
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "server", cwd=ROOT, env=os.environ | changed, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, "the server ended"
        yield f"ws://127.0.0.1:{int(line)}/ws"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def client_process(url: str, *, uploads: int, size: int, connections: int = 1, pause: float = 0) -> Any:
    """Uploads from a process of its own; what it prints."""
    arguments = map(str, (url, uploads, size, connections, pause))
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "client", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return json.loads(printed)


async def with_bystander(url: str, work: Awaitable[Any]) -> tuple[Any, Latencies]:
    """The result of ``work``, while another client calls one function after the other."""
    latencies = Latencies()
    async with connect(url) as client:
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                start = time.perf_counter()
                assert await client.call(remote("up/echo"), len(latencies.all)) == len(latencies.all)
                latencies.all.append((time.perf_counter() - start) * 1e3)
                await asyncio.wait({working}, timeout=0.005)
            return working.result(), latencies
        finally:
            working.cancel()
            await asyncio.wait({working})


async def state_of(client: Client) -> Any:
    """What the server of ``upload_programs.py`` says about itself."""
    return await client.call(remote("up/state"))


async def idle_state(client: Client, connections: int = 1) -> Any:
    """The same, as soon as only so many connections are left."""
    async with asyncio.timeout(10):
        while (state := await state_of(client))["connections"] > connections or state["running"]:
            await asyncio.sleep(0.01)
    return state
