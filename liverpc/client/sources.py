"""Where the bytes of an upload come from: memory, files, iterators."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import os
import stat
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import aclosing, asynccontextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ["AsyncFile", "BinaryFile", "Blocks", "Data", "Source", "check_source", "open_source"]

log = logging.getLogger("liverpc.client")

_BLOCK_BYTES = 1 << 20  # read from a file at once

V = TypeVar("V")


class BinaryFile(Protocol):
    """A file opened in binary mode, and what reads like one."""

    def read(self, size: int, /) -> bytes: ...


class AsyncFile(Protocol):
    """The same for event loops: its ``read`` is a coroutine function."""

    async def read(self, size: int, /) -> bytes: ...


Data: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = (
    Data | os.PathLike[str] | os.PathLike[bytes] | BinaryFile | AsyncFile | Iterable[Data] | AsyncIterable[Data]
)
Blocks: TypeAlias = AsyncIterator[Any]  # each of them Data, or a mistake of the source


def check_source(source: object) -> None:
    """Make sure that something can be uploaded, as far as that shows.

    Raises:
        TypeError: It cannot; the text tells the cure.
    """
    if isinstance(source, str):
        raise TypeError("upload() takes no str: Path(...) uploads the file, and .encode() makes bytes of text")
    if isinstance(source, io.TextIOBase):
        raise TypeError('upload() takes files in binary mode: open(..., "rb")')
    known = isinstance(source, bytes | bytearray | memoryview | os.PathLike | AsyncIterable | Iterable)
    if not known and not callable(getattr(source, "read", None)):
        raise TypeError(f"upload() takes bytes, a Path, a file, or an iterator of bytes, not a {type(source).__name__}")


@asynccontextmanager
async def open_source(source: Any, *, in_thread: bool = False) -> AsyncIterator[tuple[int | None, Blocks]]:
    """The number of bytes to come, if it can be known, and the bytes, block by block. Closes what it has opened.

    Args:
        source: What :func:`check_source` lets pass.
        in_thread: Iterators may block: ask them on a thread, as is always done with files.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        async with aclosing(_once(source)) as blocks:
            yield memoryview(source).nbytes, blocks
    elif isinstance(source, os.PathLike):
        thread = _Thread()
        try:
            await thread.run(thread.open, source)
            async with aclosing(thread.read(thread.file)) as blocks:
                yield await thread.run(_size_of, thread.file), blocks
        finally:
            thread.stop()
    elif hasattr(source, "read"):
        if inspect.iscoroutinefunction(source.read):
            async with aclosing(_read(lambda: source.read(_BLOCK_BYTES))) as blocks:
                yield None, blocks
            return
        thread = _Thread()
        try:
            async with aclosing(thread.read(source)) as blocks:
                yield await thread.run(_size_of, source), blocks
        finally:
            thread.stop()
    elif isinstance(source, AsyncIterable):
        iterator = aiter(source)
        try:
            yield None, iterator
        finally:
            if (aclose := getattr(iterator, "aclose", None)) is not None:
                await aclose()
    elif in_thread:
        thread = _Thread()
        try:
            async with aclosing(thread.iterate(source)) as blocks:
                yield None, blocks
        finally:
            thread.stop()
    else:
        async with aclosing(_iterate(source)) as blocks:
            yield None, blocks


class _Thread(Executor):
    """One thread for one source: what it does last, it does when everything before is over.

    So a source can be closed without waiting for a read that may take for ever; nor does that keep the program.
    """

    def __init__(self) -> None:
        self.file: Any = None  # that it has opened
        self._iterator: Iterator[Any] = iter(())
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._main, name="liverpc upload", daemon=True).start()

    def submit(self, work: Callable[..., V], /, *args: Any, **kwargs: Any) -> Future[V]:
        done: Future[V] = Future()
        self._jobs.put(partial(_do, done, partial(work, *args, **kwargs)))
        return done

    async def run(self, work: Callable[..., V], *args: Any) -> V:
        return await asyncio.get_running_loop().run_in_executor(self, work, *args)

    def open(self, path: os.PathLike[str] | os.PathLike[bytes]) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by stop()

    def read(self, file: BinaryFile) -> AsyncGenerator[Any]:
        return _read(lambda: self.run(file.read, _BLOCK_BYTES))

    async def iterate(self, source: Iterable[Any]) -> AsyncGenerator[Any]:
        end = object()
        self._iterator = await self.run(iter, source)
        while (item := await self.run(next, self._iterator, end)) is not end:
            yield item

    def stop(self) -> None:
        """Close what was opened, and let the thread end."""
        self._jobs.put(None)

    def _main(self) -> None:
        while job := self._jobs.get():
            job()
            del job  # and the block that was read, while the next one is not asked for
        for each in (self.file, self._iterator):
            if (close := getattr(each, "close", None)) is not None:
                try:
                    close()
                except Exception:
                    log.warning("the source of an upload failed when it was closed", exc_info=True)


def _do(done: Future[V], work: Callable[[], V]) -> None:
    if done.set_running_or_notify_cancel():
        try:
            done.set_result(work())
        except StopIteration:  # which a future cannot hold
            done.set_exception(RuntimeError("the source raised StopIteration"))
        except BaseException as error:
            done.set_exception(error)


async def _once(data: Data) -> AsyncGenerator[Data]:
    yield data


async def _read(read: Callable[[], Any]) -> AsyncGenerator[Any]:
    while (block := await read()) != b"":
        yield block


async def _iterate(source: Iterable[Any]) -> AsyncGenerator[Any]:
    iterator = iter(source)
    try:
        for item in iterator:
            yield item
    finally:
        if (close := getattr(iterator, "close", None)) is not None:
            close()


def _size_of(file: Any) -> int | None:
    """The bytes from here to the end of a file; None: it does not know."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None  # a pipe, or a device: some can seek, and say that they are empty
    except (AttributeError, OSError, ValueError):
        pass  # none of the operating system's
    try:
        here: int = file.tell()
        end: int = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (AttributeError, OSError, ValueError):  # something that only reads like a file
        return None
    return max(end - here, 0)
