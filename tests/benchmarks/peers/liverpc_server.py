"""liverpc as it comes, standalone: ``liverpc_server asyncio|uvloop [inspect]``."""

from __future__ import annotations

import sys

from liverpc import Inspect, LiveServer
from tests.benchmarks.peers import handlers
from tests.benchmarks.peers.serving import announce, run


async def main(inspect: bool) -> None:
    server = LiveServer({"bench": handlers}, inspect=Inspect(enabled=inspect), dev=False)
    async with server.serve(port=0) as at:
        await announce(at.port, attach=at.attach_url)


if __name__ == "__main__":
    run(main("inspect" in sys.argv), sys.argv[1])
