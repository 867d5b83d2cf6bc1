"""A server that takes uploads, and a client that makes many of them; tests start each as a process of its own.

``server`` takes its limits from the environment and prints its port. ``client URL UPLOADS BYTES CONNECTIONS PAUSE``
makes all uploads at once, from generators, and prints what came of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from liverpc import Context, Limits, LiveServer, RpcError, UploadContext, live, public, remote
from liverpc.client import connect

BLOCK = 1 << 16


def blocks(seed: int, size: int) -> Iterator[bytes]:
    """``size`` bytes that are the same for each seed, and in no other order."""
    base = random.Random(seed).randbytes(BLOCK - 8)
    for at in range(0, size, BLOCK):
        yield (at.to_bytes(8, "big") + base)[: size - at]


def digest_of(seed: int, size: int) -> str:
    digest = hashlib.blake2b()
    for block in blocks(seed, size):
        digest.update(block)
    return digest.hexdigest()


def memory() -> dict[str, int]:
    """Bytes of this process: ``now``, and the most it ever had, ``peak``."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return {"now": int(fields["VmRSS"].split()[0]) << 10, "peak": int(fields["VmHWM"].split()[0]) << 10}
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"now": most, "peak": most}


async def serve() -> None:
    most = {"buffered": 0}

    @live
    def echo(ctx: Context[Any], number: int) -> int:
        return number

    @live
    def state(ctx: Context[Any]) -> dict[str, Any]:
        return {
            "memory": memory(),
            "buffered": server.uploads.buffered,
            "most_buffered": most["buffered"],
            "running": len(server.uploads.running),
            "connections": server.counters.connections_opened - server.counters.connections_closed,
            "tasks": len(asyncio.all_tasks()),
            "counters": asdict(server.counters),
        }

    @live.upload(max_size=4 << 30)
    async def take(ctx: UploadContext[Any], pause: float) -> str:
        digest = hashlib.blake2b()
        async for chunk in ctx.upload:
            most["buffered"] = max(most["buffered"], server.uploads.buffered)
            digest.update(chunk)
            if pause:
                await asyncio.sleep(pause)
        return digest.hexdigest()

    module = SimpleNamespace(echo=echo, state=state, take=take, _guard=public())
    server = LiveServer({"up": module}, limits=Limits.from_env(os.environ))
    async with server.serve(port=0) as at:
        print(at.port, flush=True)  # noqa: T201 - this is how the test learns it
        await asyncio.Event().wait()


async def upload(url: str, uploads: int, size: int, connections: int, pause: float) -> None:
    take, outcomes = remote("up/take"), Counter[str]()

    async def one(client: Any, seed: int) -> None:
        while True:
            try:
                right = await client.upload(take, blocks(seed, size), pause) == expected[seed]
            except RpcError as error:
                outcomes[error.code] += 1
                if error.code != "OVERLOADED":
                    return
                await asyncio.sleep(0.05)
            else:
                outcomes["right" if right else "wrong"] += 1
                return

    expected = [digest_of(seed, size) for seed in range(uploads)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(url)) for _ in range(connections)]
        before, start = memory()["now"], time.monotonic()
        await asyncio.gather(*(one(clients[seed % connections], seed) for seed in range(uploads)))
        seconds = time.monotonic() - start
    about = {"outcomes": outcomes, "grown": memory()["peak"] - before, "seconds": seconds}
    print(json.dumps(about), flush=True)  # noqa: T201 - this is how the test learns it


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(serve())
    else:
        at, number, size, connections, pause = sys.argv[2:]
        asyncio.run(upload(at, int(number), int(size), int(connections), float(pause)))
