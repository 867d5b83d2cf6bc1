"""Servers for attacks on streams, and what must be left of them."""

import asyncio
from types import SimpleNamespace
from typing import Any

from liverpc import LiveServer, public
from liverpc.testing import TestEnv
from tests.attack.attack_kit import what_is_left
from tests.streams.raw_client import Raw

__all__ = ["Row", "leave", "quiet_and_clean", "serve"]

Row = dict[str, Any]


def serve(_guard: Any = None, *, limits: Any = None, **functions: Any) -> LiveServer:
    hooks = {name: functions.pop(name) for name in ("on_topic",) if name in functions}
    return LiveServer({"m": SimpleNamespace(**functions, _guard=_guard or public())}, limits=limits, **hooks)


def quiet_and_clean(env: TestEnv) -> None:
    """Nothing of any client is left, nor anything that would hold back what comes next."""
    assert not what_is_left(env.server)
    assert not env.server._hub.topics


async def leave(env: TestEnv, *clients: Raw) -> None:
    for client in clients:
        await client.socket.close()
    await asyncio.sleep(30)
