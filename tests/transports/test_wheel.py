"""Deadlines on one timer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from liverpc.transports.wheel import Holder, Wheel


class Waiter:
    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.bucket: set[Holder] | None = None
        self.fired: list[float] = []
        self.then = then

    def on_deadline(self) -> None:
        self.fired.append(asyncio.get_running_loop().time())
        self.then()


def make(tick: float = 0.25) -> Wheel:
    return Wheel(asyncio.get_running_loop(), tick, contextvars.copy_context())


@pytest.mark.parametrize("seconds", [0.01, 0.25, 0.3, 1.0, 7.1])
@pytest.mark.parametrize("offset", [0.0, 0.1, 0.2])
async def test_a_deadline_is_never_early_and_at_most_two_ticks_late(seconds: float, offset: float) -> None:
    wheel, other, waiter = make(), Waiter(), Waiter()
    wheel.set(other, 100)
    await asyncio.sleep(offset)
    begin = asyncio.get_running_loop().time()
    wheel.set(waiter, seconds)
    await asyncio.sleep(10)
    (fired,) = waiter.fired
    assert seconds <= fired - begin <= seconds + 0.5 + 1e-9
    assert other.fired == []
    wheel.stop()


async def test_a_new_deadline_replaces_the_old_one() -> None:
    wheel, waiter = make(), Waiter()
    wheel.set(waiter, 1)
    wheel.set(waiter, 3)
    assert len(wheel) == 1
    await asyncio.sleep(2.5)
    assert waiter.fired == []
    await asyncio.sleep(2.5)
    assert len(waiter.fired) == 1


async def test_a_void_deadline_does_not_come_and_is_not_kept() -> None:
    wheel, waiter = make(), Waiter()
    wheel.set(waiter, 1)
    wheel.clear(waiter)
    wheel.clear(waiter)
    assert len(wheel) == 0
    await asyncio.sleep(5)
    assert waiter.fired == []


async def test_a_deadline_may_void_another_one_of_the_same_turn() -> None:
    wheel = make()
    both: list[Waiter] = []

    def void_both() -> None:
        for waiter in both:
            wheel.clear(waiter)

    both += [Waiter(void_both), Waiter(void_both)]
    for waiter in both:
        wheel.set(waiter, 1)
    await asyncio.sleep(5)
    assert sorted(len(waiter.fired) for waiter in both) == [0, 1]


async def test_a_failing_deadline_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel = make()
    waiters = [Waiter(lambda: 1 / 0), Waiter(), Waiter(lambda: 1 / 0)]
    for waiter in waiters:
        wheel.set(waiter, 1)
    await asyncio.sleep(5)
    assert [len(waiter.fired) for waiter in waiters] == [1, 1, 1]
    assert "ZeroDivisionError" in caplog.text


async def test_the_timer_runs_only_while_there_are_deadlines_and_starts_again() -> None:
    wheel, waiter = make(), Waiter()
    for expected in (1, 2):
        wheel.set(waiter, 1)
        await asyncio.sleep(5)
        assert len(waiter.fired) == expected
        turns = wheel.now
        await asyncio.sleep(5)
        assert wheel.now == turns


async def test_a_stopped_wheel_calls_nobody() -> None:
    wheel, waiter = make(), Waiter()
    wheel.set(waiter, 1)
    wheel.stop()
    assert waiter.bucket is None
    await asyncio.sleep(5)
    assert waiter.fired == []
