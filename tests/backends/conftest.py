from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from liverpc.testing.loop import virtual_loop_factory


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": virtual_loop_factory}
