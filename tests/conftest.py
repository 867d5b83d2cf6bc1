"""Async tests run on the virtual loop, unless they are marked ``realtime``; none may leave a task behind."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from liverpc.testing import virtual_loop_factory


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("realtime"):
        return {"realtime": asyncio.new_event_loop}
    return {"virtual": virtual_loop_factory}


@pytest.fixture
async def leak_check(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()}
    assert not left, f"{request.node.name} left tasks behind: {left}"


@pytest.fixture(autouse=True)
def no_task_is_left_behind(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("leak_check")
