"""``python -m tests.benchmarks.peers.observers NUMBER URL``: observers at one server who want to see everything."""

from __future__ import annotations

import asyncio
import sys

from liverpc.inspector.protocol import Match, Watch
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.target import find_target


async def _observe(url: str, attached: asyncio.Semaphore) -> None:
    async with await Attachment.open(find_target(url), "observe") as attachment:
        attachment.send(Watch(id=attachment.session.new_id(), match=Match()))
        attached.release()
        async for _ in attachment:
            pass


async def main(number: int, url: str) -> None:
    attached = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(_observe(url, attached))
        for _ in range(number):
            await attached.acquire()
        print("attached", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
