"""A server that writes every call it runs into a file; started by a test as a process of its own.

Arguments: the file, and the port (0: any). Prints the port when it listens.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from types import SimpleNamespace
from typing import Any

from liverpc import Context, Limits, LiveServer, live, public


async def main(path: str, port: int) -> None:
    ledger = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @live
    async def work(ctx: Context[Any], number: int) -> int:
        os.write(ledger, b"begin %d\n" % number)
        await asyncio.sleep(random.uniform(0, 0.1))
        os.write(ledger, b"end %d\n" % number)
        return number

    module = SimpleNamespace(__name__="ledger", work=work, _guard=public())
    server = LiveServer({"ledger": module}, limits=Limits(drain_seconds=2, close_seconds=1, linger_seconds=0.5))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server.serve(port=port) as at:
        print(at.port, flush=True)  # noqa: T201 - this is how the test learns it
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
