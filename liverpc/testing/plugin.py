"""The pytest plug-in, loaded wherever liverpc is installed; it imports nothing of it until a fixture is used.

Fixtures:

- ``live_server``: to be defined by the test suite: a ``LiveServer`` that is not started.
- ``live_env``: a started ``TestEnv`` around it, closed after the test, which must leave no task behind.
- ``live_client``: connects to it as a user, by id; tests that ``liverpc-tui`` writes use it.

Put ``pytest_asyncio_loop_factories`` into ``conftest.py`` to run async tests on the virtual loop; see
docs/testing.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
        from liverpc.testing.env import TestClient, TestEnv

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

    @pytest.fixture
    def live_client(live_env: TestEnv) -> Callable[[str], TestClient]:
        """Connects as the user of an id, which becomes ``ctx.user``; anonymous with an empty one.

        A test suite whose ``on_connect`` makes users of something else defines its own fixture of this name.
        """
        return lambda user: live_env.connect(user=user or None)
