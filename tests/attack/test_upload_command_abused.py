"""``liverpc upload`` against servers and file names that want to take the terminal over."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import LiveServer, UploadContext, live, public

EVIL = "\x9b2J\x7f\u202e\u2028\U000e0001 caf\u00e9"


@pytest.mark.realtime
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
async def test_a_result_is_json_that_no_terminal_obeys(tmp_path: Path, encoding: str) -> None:
    @live.upload()
    async def evil(ctx: UploadContext[Any]) -> str:
        return EVIL

    (tmp_path / "file").write_bytes(b"x")
    async with LiveServer({"m": SimpleNamespace(evil=evil, _guard=public())}).serve(port=0) as at:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "liverpc.cli", "upload", f"ws://{at.host}:{at.port}", "m/evil"),
            str(tmp_path / "file"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        )
        said, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    text = said.decode(encoding)
    assert text.removesuffix("\n").isprintable()
    assert json.loads(text) == EVIL


@pytest.mark.realtime
async def test_the_name_of_a_file_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liverpc.cli", "upload", "ws://127.0.0.1:9", "m/up", str(tmp_path / "\x1b[2Jx")),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    text = errors.decode().removesuffix("\n")
    assert text.isprintable()
    assert "?[2Jx cannot be read: No such file" in text
