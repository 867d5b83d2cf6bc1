"""Async tests run on the virtual loop, unless marked ``realtime``; none may leave a task or an error behind."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Any

import pytest

from liverpc.telemetry import Telemetry
from liverpc.testing import virtual_loop_factory


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("realtime"):
        return {"realtime": asyncio.new_event_loop}
    return {"virtual": virtual_loop_factory}


@pytest.fixture(scope="session", autouse=True)
def interrupts_arrive() -> Iterator[None]:
    """A shell starts jobs in the background deaf to SIGINT, and every process that the tests start would be so, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def invariants_raise() -> Iterator[None]:
    """Also where no ``TestEnv`` sees to it."""
    Telemetry.strict = True
    yield
    Telemetry.strict = False


@pytest.fixture(scope="session")
def loop_errors() -> Iterator[list[str]]:
    """What the tests' loops reported because nobody caught it; a test that expects some takes them out.

    Lives longer than a test: of a task that nobody awaited the loop learns when it is collected, which may be
    during a later test. That one fails then, and names the other.
    """
    errors: list[str] = []
    yield errors
    assert not errors, errors


@pytest.fixture
async def clean_loop(request: pytest.FixtureRequest, loop_errors: list[str]) -> AsyncIterator[None]:
    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop_errors.append(f"{request.node.name}: {context['message']}: {context.get('exception')!r}")
        loop.default_exception_handler(context)  # the log has the traceback

    asyncio.get_running_loop().set_exception_handler(report)
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()}
    uncaught = loop_errors[:]
    loop_errors.clear()
    assert not left, f"{request.node.name} left tasks behind: {left}"
    assert not uncaught, f"nobody caught: {uncaught}"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("clean_loop")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests log need not be text that can be sent to the process that reports."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names of tests are the same in every process: gzip, for one, writes the time into its bytes."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()):
        return argname
    return None
