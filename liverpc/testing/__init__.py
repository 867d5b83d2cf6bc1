"""The testing kit: the real server and the real client, in memory, on a clock that jumps.

See docs/testing.md. With pytest, the plug-in's ``live_env`` fixture is all that is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverpc.testing.chaos import TestChaos
    from liverpc.testing.context import (
        TestContext,
        TestRoomContext,
        TestUploadContext,
        create_room_context,
        create_test_context,
        create_upload_context,
        expect_guard_rejects,
    )
    from liverpc.testing.env import TestClient, TestEnv, TestHandle, TestPage
    from liverpc.testing.loop import Deadlock, VirtualLoop, virtual_loop_factory

_HOME = {
    "Deadlock": "loop",
    "TestChaos": "chaos",
    "TestClient": "env",
    "TestContext": "context",
    "TestEnv": "env",
    "TestHandle": "env",
    "TestPage": "env",
    "TestRoomContext": "context",
    "TestUploadContext": "context",
    "VirtualLoop": "loop",
    "create_room_context": "context",
    "create_test_context": "context",
    "create_upload_context": "context",
    "expect_guard_rejects": "context",
    "virtual_loop_factory": "loop",
}

__all__ = [
    "Deadlock",
    "TestChaos",
    "TestClient",
    "TestContext",
    "TestEnv",
    "TestHandle",
    "TestPage",
    "TestRoomContext",
    "TestUploadContext",
    "VirtualLoop",
    "create_room_context",
    "create_test_context",
    "create_upload_context",
    "expect_guard_rejects",
    "virtual_loop_factory",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'liverpc.testing' has no attribute {name!r}")
    value = getattr(import_module(f"liverpc.testing.{home}"), name)
    globals()[name] = value
    return value
