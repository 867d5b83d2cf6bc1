"""``liverpc upload``: a file to an upload function of any server, with progress on standard error."""

from __future__ import annotations

import argparse
import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from liverpc._types import Remote, remote
from liverpc.client import ClientConfig, Progress, RpcError, UploadHandle, connect
from liverpc.errors import ConfigError
from liverpc.inspector.protocol.target import websocket_url

__all__ = ["HEADERS_VARIABLE", "upload"]

HEADERS_VARIABLE = "LIVERPC_UPLOAD_HEADERS"

_REDRAW_SECONDS = 0.2
_READ_BYTES = 65_536
_GOODBYE_SECONDS = 0.1  # for the message that cancels to leave before the connection ends
_COLUMNS = 80  # of a terminal that does not know


def upload(options: argparse.Namespace) -> int:
    """Upload, print the result as JSON, and return the exit code: 0, or 1 with the reason on standard error.

    Raises:
        ConfigError: Something on the command line cannot be; nothing was sent.
        KeyboardInterrupt: The user gave it up, and the server was told so.
    """
    url = websocket_url(options.url, "/ws")
    try:
        function = remote(options.path)
    except ValueError:
        raise ConfigError(f"{options.path!r} is no path of a function, such as files/store") from None
    headers = _headers(options.header_file)
    args = [_argument(text) for text in options.args]
    stdin = options.file == "-"
    try:
        file = open(0 if stdin else options.file, "rb", buffering=0, closefd=not stdin)  # noqa: SIM115 - below
    except OSError as error:
        raise ConfigError(f"{options.file} cannot be read: {error.strerror}") from None
    with file:
        line = None if options.quiet or not sys.stderr.isatty() else _ProgressLine()
        try:
            result = asyncio.run(_upload(url, headers, function, file, args, line))
        except RpcError as error:
            said = "".join(each if each.isprintable() else "?" for each in str(error))  # it may be the server's
            print(f"liverpc: the upload failed: {said}", file=sys.stderr)
            return 1
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return 0


async def _upload(
    url: str,
    headers: dict[str, str],
    function: Remote[Any],
    file: BinaryIO,
    args: list[Any],
    line: _ProgressLine | None,
) -> Any:
    # One attempt: who waits at a terminal had better learn at once that nobody is there.
    async with connect(url, headers=headers, config=ClientConfig(max_attempts=1)) as client:
        handle = client.upload(function, _as_it_comes(file) if _may_wait(file) else file, *args)
        try:
            return await _watched(handle, line)
        except asyncio.CancelledError:
            handle.cancel()
            await asyncio.sleep(_GOODBYE_SECONDS)
            raise


async def _watched(handle: UploadHandle[Any], line: _ProgressLine | None) -> Any:
    """The result; meanwhile the line follows the progress."""
    if line is None:
        return await handle
    redrawing = asyncio.create_task(_redraw(handle, line))
    try:
        return await handle
    finally:
        redrawing.cancel()
        line.show(handle.progress)
        line.end()


async def _redraw(handle: UploadHandle[Any], line: _ProgressLine) -> None:
    while True:
        await asyncio.sleep(_REDRAW_SECONDS)
        line.show(handle.progress)


def _may_wait(file: BinaryIO) -> bool:
    """Whether nothing may come for long: then a thread that reads it would keep the program from ending."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()


async def _as_it_comes(file: BinaryIO) -> AsyncIterator[bytes]:
    """What a pipe, a socket or a terminal has, as soon as it has something."""
    loop = asyncio.get_running_loop()
    number = file.fileno()
    while True:
        readable = asyncio.Event()
        loop.add_reader(number, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(number)
        if not (data := os.read(number, _READ_BYTES)):
            return
        yield data


class _ProgressLine:
    """One line of a terminal on standard error that is written again and again."""

    def show(self, progress: Progress) -> None:
        """Write how far it is."""
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS) - 1
        sys.stderr.write("\r" + _text(progress)[:width].ljust(width))
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line as it is."""
        sys.stderr.write("\n")


def _text(progress: Progress) -> str:
    rate = progress.bytes_per_second
    parts = [_size(progress.sent), f"{_size(rate)}/s"]
    if progress.total is not None:
        parts[0] = f"{progress.percent or 0:3.0f} %  {parts[0]} of {_size(progress.total)}"
        if rate > 0 and progress.sent < progress.total:
            minutes, seconds = divmod(round((progress.total - progress.sent) / rate), 60)
            parts.append(f"{minutes}:{seconds:02} left")
    return "  ".join(parts)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _argument(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    except UnicodeEncodeError:
        raise ConfigError(f"the argument {text!r} is no UTF-8") from None


def _headers(file: str | None) -> dict[str, str]:
    """Headers from a file, else from the environment: others on the machine can read a command line."""
    try:
        text = os.environ.get(HEADERS_VARIABLE, "") if file is None else Path(file).read_text("latin-1")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        name = name.strip()
        if line.strip() and (not colon or name in headers):
            raise ConfigError(f"line {number} of {file or HEADERS_VARIABLE} is no 'Name: value', or a name twice")
        if line.strip():
            headers[name] = value.strip()
    return headers
