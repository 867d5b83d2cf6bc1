"""An event loop on a thread of its own, for programs that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from liverpc.errors import ErrorCode, RpcError

__all__ = ["Blocking", "Portal"]

V = TypeVar("V")

_WORKERS = 8


class Portal:
    """Runs coroutines on its loop for any thread but its own. Works in programs that have a running loop, too.

    The thread ends with :meth:`stop`, and with the program.

    Attributes:
        workers: Threads for work that may block.
    """

    def __init__(self) -> None:
        self.workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="liverpc worker")
        self._lock = threading.Lock()  # between those who hand in work and who stops
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="liverpc client", daemon=True)
        self._thread.start()
        self._ready.wait()

    def run(self, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Make a coroutine, run it on the loop and wait for its result; cancelled by ``KeyboardInterrupt``.

        Raises:
            RpcError: ``CONNECTION_CLOSED``: the portal has stopped or stops meanwhile.
            RuntimeError: It is called on the portal's own thread, which would wait for itself.
        """
        self._check_thread()
        job = _Job(work)
        try:  # from before it is handed in: an interruption may come while that is done
            with self._lock:
                if self._loop is None:
                    raise _stopped()
                self._loop.call_soon_threadsafe(job.start)
            return job.done.result()
        except CancelledError:
            raise _stopped() from None
        finally:
            if not job.done.done():
                self._interrupt(job)

    def do(self, work: Callable[[], V]) -> V:
        """Call a function on the loop's thread; here, when that is over or this one."""
        if threading.current_thread() is self._thread:
            return work()

        async def call() -> V:
            return work()

        try:
            return self.run(call)
        except RpcError:
            if self._loop is not None:
                raise
            self._thread.join()  # nothing else runs then
            return work()

    def stop(self) -> None:
        """Cancel what runs and end the thread. Harmless when stopped.

        Raises:
            RuntimeError: As :meth:`run`; nothing has happened then.
        """
        self._check_thread()
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.call_soon_threadsafe(loop.stop)
        self.workers.shutdown(wait=False, cancel_futures=True)
        self._thread.join()

    def _interrupt(self, job: _Job[Any]) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(job.cancel)

    def _check_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of a blocking client must not wait for that client: hand it to a thread")

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._ready.set()
            self._loop.run_forever()


class Blocking(Iterator[V]):
    """What an asynchronous iterator on a portal's loop gives, for other threads.

    Asking for the next one raises ``TimeoutError`` after ``timeout`` seconds, and may be repeated.
    """

    def __init__(self, portal: Portal, values: AsyncIterator[V], timeout: float | None) -> None:
        self._portal = portal
        self._values = values
        self._timeout = timeout

    def __next__(self) -> V:
        async def take() -> V:
            async with asyncio.timeout(self._timeout):
                return await anext(self._values)

        try:
            return self._portal.run(take)
        except (StopAsyncIteration, RpcError):  # the latter when the client was closed
            raise StopIteration from None


class _Job(Generic[V]):
    """A coroutine that another thread waits for. Started and cancelled on the loop, in that order."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        self.done: Future[V] = Future()
        self._work = work
        self._task: asyncio.Task[V] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())
        self._task.add_done_callback(self._finished)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finished(self, task: asyncio.Task[V]) -> None:
        if task.cancelled():
            self.done.cancel()
        elif (error := task.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


def _stopped() -> RpcError:
    return RpcError(ErrorCode.CONNECTION_CLOSED, "the client was closed")
