"""An observer whose process is stopped, and one that is killed: the server's clients notice nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, Inspect, LiveServer, Token, live, public
from liverpc.client import connect
from liverpc.inspector.protocol import TOKEN_VARIABLE

pytestmark = [pytest.mark.realtime, pytest.mark.soak, pytest.mark.timeout(120)]

EVENTS = 20_000
SECRET = "of the stopped observer"


async def test_a_stopped_observer_costs_no_message_and_is_thrown_out() -> None:
    @live.stream("ticks", merge="latest", max=1)
    async def ticks(ctx: Context[Any]) -> list[Any]:
        return []

    module = SimpleNamespace(ticks=ticks, _guard=public())
    server = LiveServer(
        {"test_stopped_observer": module}, inspect=Inspect(enabled=True, tokens=(Token(secret=SECRET),))
    )
    async with server.serve(port=0) as at:
        command = ("-m", "liverpc_devtools.cli", "tail", at.attach_url)
        environment = os.environ | {TOKEN_VARIABLE: SECRET}
        observer = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, env=environment
        )
        try:
            assert observer.stdout is not None
            await asyncio.wait_for(observer.stdout.readline(), 10)
            observer.send_signal(signal.SIGSTOP)
            async with connect(at.url) as client, client.stream(ticks) as handle:
                await handle.wait_for(lambda value: value is not None)
                for start in range(0, EVENTS, 100):
                    for number in range(start, start + 100):
                        server.publish_nowait("ticks", "created", {"id": number, "text": "x" * 200})
                    await asyncio.sleep(0.001)
                await handle.wait_for(lambda value: bool(value) and value[-1]["id"] == EVENTS - 1)
                assert server.counters.outbox_overflows == 0
                assert server.counters.deliveries == EVENTS
                async with asyncio.timeout(60):
                    while any(task.get_name() == "liverpc inspector" for task in asyncio.all_tasks()):
                        await asyncio.sleep(0.1)
        finally:
            observer.kill()
            await observer.wait()
