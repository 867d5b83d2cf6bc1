"""``liverpc upload``: a file to an upload function of any server, with progress on standard error."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from liverpc._types import Remote, remote
from liverpc.client import ClientConfig, Progress, RpcError, UploadHandle, connect
from liverpc.errors import ConfigError, ErrorCode
from liverpc.inspector.protocol.target import websocket_url

__all__ = ["HEADERS_VARIABLE", "upload"]

HEADERS_VARIABLE = "LIVERPC_UPLOAD_HEADERS"

_REDRAW_SECONDS = 0.2
_COLUMNS = 80  # of a terminal that does not know
_ARGUMENTS_HINT = """; arguments are JSON, or else text as it is: '"123"' is a string, 123 a number"""


def upload(options: argparse.Namespace) -> int:
    """Upload and print the result as JSON.

    Returns:
        The exit code: 0; or, with the reason on standard error, 1, or 130 when the user gave it up. The server has
        been told so.

    Raises:
        ConfigError: Something on the command line cannot be; nothing was sent.
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
        file = open(0 if stdin else options.file, "rb", buffering=0, closefd=not stdin)  # noqa: SIM115 - closed by the block below
    except OSError as error:
        raise ConfigError(f"{_clean(options.file)} cannot be read: {error.strerror}") from None
    with file:
        line = None if options.quiet or not sys.stderr.isatty() else _ProgressLine()
        try:
            result = asyncio.run(_upload(url, headers, function, file, args, line))
        except RpcError as error:
            hint = _ARGUMENTS_HINT if args and error.code == ErrorCode.VALIDATION else ""
            print(f"liverpc: the upload failed: {_clean(str(error))}{hint}", file=sys.stderr)  # it may be the server's
            return 1
        except KeyboardInterrupt:
            print("liverpc: cancelled", file=sys.stderr)
            return 130
    sys.stdout.write(_json(result) + "\n")
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
        handle = client.upload(function, file, *args)
        try:
            return await _watched(handle, line)
        except asyncio.CancelledError:
            handle.cancel()  # closing the client would tell the server less
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


def _clean(text: str) -> str:
    """Text of others for a terminal, which would obey what is in it."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _json(result: Any) -> str:
    """The same as JSON, where nothing needs to be lost: what a terminal would obey, or cannot show, is escaped."""
    text = msgspec.json.encode(result).decode()
    if text.isprintable() and (text.isascii() or sys.stdout.encoding.lower().startswith("utf")):
        return text
    return "".join(each if each.isprintable() and each.isascii() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return re.sub("....", r"\\u\g<0>", character.encode("utf-16-be").hex())


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
        raise ConfigError(f"{_clean(str(file))} cannot be read: {error.strerror}") from None
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        name = name.strip()
        if line.strip() and (not colon or name in headers):
            raise ConfigError(f"line {number} of {file or HEADERS_VARIABLE} is no 'Name: value', or a name twice")
        if line.strip():
            headers[name] = value.strip()
    return headers
