"""The server under measurement: ``python -m tests.benchmarks.bench_server``; prints its port and attach URL."""

from __future__ import annotations

import asyncio

from liverpc import ConnectRequest, Inspect, LiveServer
from liverpc.demo import load
from liverpc.demo.world import Visitor, World


async def main() -> None:
    world = World()

    def on_connect(request: ConnectRequest) -> Visitor:
        return Visitor("load", world)

    server = LiveServer([load], on_connect=on_connect, inspect=Inspect(enabled=True), dev=False)
    async with server.serve(port=0) as at:
        print(at.port, at.attach_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
