from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest

from liverpc.testing.loop import Deadlock, VirtualLoop, virtual_loop_factory

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_waiting_moves_the_clock_exactly_to_the_timer() -> None:
    async def main() -> list[float]:
        seen = [now()]
        for seconds in (0.1, 0.2, 7200.0, 3e8):
            due = now() + seconds
            await asyncio.sleep(seconds)
            assert now() == due
            seen.append(now())
        return seen

    assert run(main()) == [0.0, 0.1, 0.1 + 0.2, 0.1 + 0.2 + 7200.0, 0.1 + 0.2 + 7200.0 + 3e8]


def test_the_clock_stands_still_while_something_can_run() -> None:
    async def main() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return now()

    assert run(main()) == 0.0


def test_a_timeout_ends_what_takes_longer_and_spares_what_does_not() -> None:
    async def main() -> list[int]:
        done: list[int] = []

        async def work(seconds: int) -> None:
            await asyncio.sleep(seconds)
            done.append(seconds)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                for seconds in (3, 1, 2, 9):
                    group.create_task(work(seconds))
        assert now() == 5.0
        return done

    assert run(main()) == [1, 2, 3]


def test_timers_fire_in_the_order_of_their_times_and_cancelled_ones_do_not_move_the_clock() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[str, float]] = []
        end = loop.create_future()
        loop.call_at(3.0, end.set_result, None)
        loop.call_at(2.0, lambda: fired.append(("b", loop.time())))
        loop.call_at(1.0, lambda: fired.append(("a", loop.time())))
        loop.call_at(1.5, lambda: fired.append(("never", loop.time()))).cancel()
        loop.call_at(2.0, lambda: fired.append(("c", loop.time())))
        await end
        return fired

    assert run(main()) == [("a", 1.0), ("b", 2.0), ("c", 2.0)]


def test_timers_closer_than_the_machines_clock_can_tell_fire_at_their_own_times() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        fired: list[float] = []
        for due in (1e-12, 2e-12):
            loop.call_at(due, lambda: fired.append(loop.time()))
        await asyncio.sleep(1)
        return fired

    assert run(main()) == [1e-12, 2e-12]


def test_many_tasks_run_the_same_way_each_time() -> None:
    async def main() -> list[tuple[int, int]]:
        order: list[tuple[int, int]] = []

        async def produce(n: int) -> None:
            for k in range(20):
                await asyncio.sleep(0.01 * (n + 1))
                order.append((n, k))

        async with asyncio.TaskGroup() as group:
            for n in range(50):
                group.create_task(produce(n))
        return order

    first = run(main())
    assert len(first) == 1000
    assert run(main()) == first


def test_exceptions_pass_through() -> None:
    async def main() -> None:
        await asyncio.sleep(10)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run(main())


def test_a_cancelled_task_runs_its_cleanup_on_virtual_time() -> None:
    async def main() -> float:
        async def work() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(5)

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return now()

    assert run(main()) == 6.0


def test_leaving_the_runner_cancels_what_is_left() -> None:
    ended: list[float] = []

    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(now())

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        assert not task.done()

    run(main())
    assert ended == [1.0]


def test_leaving_the_runner_closes_async_generators() -> None:
    ended: list[float] = []

    async def main() -> None:
        async def ticks() -> AsyncIterator[int]:
            try:
                while True:
                    await asyncio.sleep(1)
                    yield 1
            finally:
                await asyncio.sleep(2)
                ended.append(now())

        kept.append(ticks())
        async for _ in kept[0]:
            break

    kept: list[AsyncIterator[int]] = []
    run(main())
    assert ended == [3.0]


# Deadlock


def test_a_program_that_would_hang_is_a_deadlock_and_says_which_task_waits_where() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.gather(inner())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Deadlock) as caught:
        runner.get_loop().run_until_complete(runner.get_loop().create_task(main(), name="the main one"))
    text = str(caught.value)
    assert f"the main one at {__file__}:{inspect.getsourcelines(main)[1] + 1} in main" in text
    assert f"{__file__}:{inspect.getsourcelines(inner)[1] + 1} in inner" in text


@pytest.mark.parametrize(("count", "rest"), [(9, None), (10, None), (11, "and 1 more"), (30, "and 20 more")])
def test_a_deadlock_names_at_most_ten_tasks(count: int, rest: str | None) -> None:
    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(count - 1)))

    with pytest.raises(Deadlock) as caught:
        run(main())
    lines = str(caught.value).splitlines()[1:]
    assert len([line for line in lines if " at " in line]) == min(count, 10)
    assert (lines[-1].strip() if len(lines) > 10 else None) == rest


def test_a_deadlock_without_tasks_says_so() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Deadlock, match="no task"):
        runner.get_loop().run_forever()


def test_after_a_deadlock_the_tasks_are_cancelled_and_cleaned_up() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            ended.append(now())

    with pytest.raises(Deadlock):
        run(main())
    assert ended == [3.0]


def test_a_cancelled_timer_does_not_hide_a_deadlock() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(main())


# threads


def test_a_worker_thread_is_waited_for_and_takes_no_time() -> None:
    release = threading.Event()

    async def main() -> tuple[int, float]:
        # The thread needs the loop to have gone to sleep before it can end.
        asyncio.get_running_loop().call_soon(release.set)
        result = await asyncio.to_thread(lambda: 7 if release.wait(10) else 0)
        return result, now()

    assert run(main()) == (7, 0.0)


def test_timers_fire_while_a_worker_thread_waits_for_the_loop() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        def work() -> str:
            return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "slept"), loop).result(10)

        assert await asyncio.to_thread(work) == "slept"
        return now()

    assert run(main()) == 0.01


def test_a_timeout_on_a_blocked_worker_thread_fires() -> None:
    release = threading.Event()

    async def main() -> float:
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.to_thread(release.wait, 10)
            return now()
        finally:
            release.set()

    assert run(main()) == 0.01


def test_time_jumps_again_after_a_worker_thread_ended_or_failed() -> None:
    async def main() -> float:
        await asyncio.to_thread(len, "abc")
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")
        await asyncio.sleep(1_000_000)
        return now()

    assert run(main()) == 1_000_000.0


def test_the_factory_makes_a_new_loop_each_time() -> None:
    first, second = virtual_loop_factory(), virtual_loop_factory()
    try:
        assert isinstance(first, VirtualLoop)
        assert first is not second
    finally:
        first.close()
        second.close()
