"""Where a call that runs waits now: the chain of its coroutines as functions, files and lines.

Looking at it costs nothing before somebody asks. Nothing is read of what the functions work with.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

from liverpc.hub.requests import Requests
from liverpc.inspector.figures import who
from liverpc.inspector.protocol import Awaited, Step
from liverpc.policies.locks import Locks

__all__ = ["awaited", "roots", "shown"]

_MAX_STEPS = 40
_MAX_CHAIN = 1000  # two tasks that await each other make an endless one
_AWAITABLE = (CoroutineType, GeneratorType, AsyncGeneratorType, asyncio.Future)
# What stands between them and has no attributes.
_WRAPPERS = ("FutureIter", "coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")

_IN = {
    "liverpc.dispatch.steps": "",  # whatever policies it went through
    "liverpc.dispatch.steps._in_thread": "a worker thread",
    "liverpc.dispatch.policed": "",
    "liverpc.policies.rates": "a rate limiter",
    "liverpc.policies.once": "an idempotency key in flight",
    "liverpc.policies.locks": "a lock",
    "liverpc.hub.requests": "an answer of its client",
    "liverpc.declare.uploading": "bytes of its upload",
    "asyncio.threads": "a worker thread",
}


def awaited(task: asyncio.Task[Any], locks: Locks, requests: Requests, now: float) -> Awaited:
    """Where a call waits.

    Args:
        task: Of the call.
        locks: Of the server.
        requests: Likewise.
        now: Loop time.
    """
    steps: list[FrameType] = []
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
        known = _IN.get(module, reason if ours or of_python else "")
        reason = _IN.get(f"{module}.{function}", known)
        if frame.f_code is Requests.answer.__code__:
            reason = f"{reason} (event {requests.asked_by(task)})"
        python = f"{module}.{function}" if of_python else ""
        if not ours and (steps or not of_python):  # from the application on
            steps.append(frame)
    last = chain[-1][0]
    if reason == _IN[Locks.__module__]:
        reason = _lock(locks, last, now) or reason
    found = list(roots())
    told = [
        Step(each.f_code.co_qualname, shown(each.f_code.co_filename, found), each.f_lineno)
        for each in steps[-_MAX_STEPS:]
    ]
    return Awaited(reason or python or type(last).__name__, told)


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


def _lock(locks: Locks, future: object, now: float) -> str:
    found = locks.awaited_by(future)
    if found is None:
        return ""
    row, place = found
    path, connection, _, user = who(row.holder)
    before = f", {place} before it" if place else ""
    return f"the lock {row.key}, held by {path} of {user or connection} for {now - row.since:.1f} s{before}"


def shown(file: str, roots: list[str]) -> str:
    """A file without what tells of the machine."""
    return file[max((len(each) for each in roots if file.startswith(each)), default=file.rfind(os.sep) + 1) :]


def roots() -> Iterator[str]:
    """The directories in which modules are found."""
    for each in sys.path:
        if isinstance(each, str):  # it may be anything
            with suppress(OSError):  # a relative one, and the working directory was removed
                path = os.path.join(os.path.abspath(each), "")
                if path != os.path.abspath(os.sep):
                    yield path
