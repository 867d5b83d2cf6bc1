"""The pytest plug-in, loaded wherever liverpc is installed; it imports nothing of it until a fixture is used.

Fixtures:

- ``live_server``: to be defined by the test suite: a ``LiveServer`` that is not started.
- ``live_env``: a started ``TestEnv`` around it, closed after the test, which must leave no task behind.

Put ``pytest_asyncio_loop_factories`` into ``conftest.py`` to run async tests on the virtual loop; see
docs/testing.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

try:
    import pytest_asyncio
except ModuleNotFoundError as error:  # the extra is optional, the entry point is not
    if error.name != "pytest_asyncio":
        raise
else:
    if TYPE_CHECKING:
        from liverpc.server import LiveServer
        from liverpc.testing.env import TestEnv

    @pytest.fixture
    def live_server() -> LiveServer:
        """The server under test; a test suite defines its own fixture of this name."""
        raise pytest.UsageError("define a fixture `live_server` that returns the LiveServer to test")

    @pytest_asyncio.fixture
    async def live_env(live_server: LiveServer) -> AsyncIterator[TestEnv]:
        """A started :class:`liverpc.testing.TestEnv` around ``live_server``."""
        import asyncio

        from liverpc.testing.env import TestEnv

        before = asyncio.all_tasks()
        async with TestEnv(live_server) as env:
            yield env
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        assert not left, f"the test left tasks behind: {left}"
