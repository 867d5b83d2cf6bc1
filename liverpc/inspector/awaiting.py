"""Where a call that runs waits now: the chain of its coroutines as functions, files and lines.

Looking at it costs nothing before somebody asks. Nothing is read of what the functions work with.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from liverpc.hub.requests import Requests
from liverpc.inspector.figures import who
from liverpc.inspector.protocol import Awaited, Step
from liverpc.policies.locks import LockRow, Locks

__all__ = ["awaited"]

_MAX_STEPS = 40
_MAX_CHAIN = 1000  # two tasks that await each other make an endless one
_AWAITABLE = (CoroutineType, GeneratorType, AsyncGeneratorType, asyncio.Future)
# What stands between them and has no attributes.
_WRAPPERS = ("FutureIter", "coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")

_IN = {
    "liverpc.dispatch.pipeline": "",  # whatever policies it went through
    "liverpc.dispatch.policed": "",
    "liverpc.policies.rates": "a rate limiter",
    "liverpc.policies.once": "an idempotency key in flight",
    "liverpc.policies.locks": "a lock",
    "liverpc.hub.requests": "an answer of its client",
    "liverpc.declare.uploading": "bytes of its upload",
    "asyncio.threads": "a worker thread",
}


def awaited(
    task: asyncio.Task[Any], is_it: Callable[[object], bool], locks: Locks, requests: Requests, now: float
) -> Awaited:
    """Where a call waits.

    Args:
        task: Of the call.
        is_it: Whether it is the call that waits for a lock.
        locks: Of the server.
        requests: Likewise.
        now: Loop time.
    """
    steps: list[Step] = []
    reason = python = ""
    chain = list(islice(_chain(task), _MAX_CHAIN))
    for link, frame in chain:
        if isinstance(link, asyncio.Task):
            task = link
        if frame is None:
            continue
        module, function = str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname
        top = module.partition(".")[0]
        ours, of_python = top == "liverpc" and not module.startswith("liverpc.demo"), top in sys.stdlib_module_names
        reason = _IN.get(module, reason if ours or of_python else "")
        if frame.f_code is Requests.answer.__code__:
            reason = f"{reason} (event {requests.asked_by(task)})"
        python = f"{module}.{function}" if of_python else ""
        if not ours and (steps or not of_python):  # from the application on
            steps.append(Step(function, _shown(frame.f_code.co_filename), frame.f_lineno))
    lock = next(filter(None, (_lock(is_it, row, now) for row in locks.rows())), "")
    return Awaited(lock or reason or python or type(chain[-1][0]).__name__, steps[-_MAX_STEPS:])


def _chain(task: asyncio.Task[Any]) -> Iterator[tuple[object, FrameType | None]]:
    """What waits for what, from the task's coroutine on, each with its frame."""
    link: Any = task.get_coro()
    while link is not None:
        frame: FrameType | None = None
        if isinstance(link, CoroutineType):
            frame, following = link.cr_frame, link.cr_await
        elif isinstance(link, GeneratorType):
            frame, following = link.gi_frame, link.gi_yieldfrom
        elif isinstance(link, AsyncGeneratorType):
            frame, following = link.ag_frame, link.ag_await
        elif isinstance(link, asyncio.Task) and not link.done():
            following = link.get_coro()
        else:
            wrapped = gc.get_referents(link) if type(link).__name__ in _WRAPPERS else ()
            following = next((each for each in wrapped if isinstance(each, _AWAITABLE)), None)
        yield link, frame
        link = following


def _lock(is_it: Callable[[object], bool], row: LockRow, now: float) -> str:
    place = next((place for place, (waiter, _) in enumerate(row.waiters) if is_it(waiter)), None)
    if place is None:
        return ""
    path, connection, _, user = who(row.holder)
    before = f", {place} before it" if place else ""
    return f"the lock {row.key}, held by {path} of {user or connection} for {now - row.since:.1f} s{before}"


def _shown(file: str) -> str:
    """A file without what tells of the machine: seen from the closest directory in which modules are found."""
    bases = [os.path.join(each, "") for each in (_here(), *sys.path) if os.path.dirname(each) != each]
    fitting = [base for base in bases if file.startswith(base)]
    return file[len(max(fitting, key=len)) :] if fitting else os.path.basename(file)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""
