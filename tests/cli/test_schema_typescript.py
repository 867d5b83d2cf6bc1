"""The generated TypeScript client: compiled, on a socket that is played, and against a server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli import schema_app
from tests.cli.schema_kit import HERE, NODE, compiler, generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs beside the client they import."""
    made = tmp_path_factory.mktemp("client") / "typescript"
    shutil.copytree(HERE / "typescript", made)
    (made / "client.ts").write_text(generate("typescript"), "utf-8")
    return made


@pytest.fixture(scope="module")
def tsc() -> str:
    return compiler()  # of all tests together, the download is one, and so is its failure


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, *command], cwd=folder, capture_output=True, text=True, timeout=50, check=False)


def test_strict_compiler_accepts_it_and_finds_every_mistake_in_its_use(folder: Path, tsc: str) -> None:
    done = run(folder, tsc, "--project", ".")
    assert done.returncode == 0, done.stdout


def test_it_needs_no_types_of_browsers_besides_those_that_node_has_too(folder: Path, tsc: str) -> None:
    (folder / "globals.d.ts").write_text(
        "declare function setTimeout(callback: () => void, ms: number): number;\n"
        "declare function clearTimeout(timer: number | undefined): void;\n"
        "declare function queueMicrotask(callback: () => void): void;\n"
        "declare class URL { constructor(url: string, base?: string);"
        " protocol: string; pathname: string; hash: string; readonly href: string }\n"
    )
    options = [
        "--noEmit",
        "--strict",
        "--skipDefaultLibCheck",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022",
    ]
    done = run(folder, tsc, *options, "client.ts", "globals.d.ts")
    (folder / "globals.d.ts").unlink()
    assert done.returncode == 0, done.stdout


def test_its_connection_keeps_to_the_protocol(folder: Path) -> None:
    done = run(folder, "--test", "--test-reporter=tap", "connection.mjs")
    assert done.returncode == 0, done.stdout
    assert "# skipped 0" in done.stdout
    assert "# fail 0" in done.stdout


class Program:
    """A running program of Node that says what happens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdout is not None
        self._lines = process.stdout

    async def until(self, *last: Any) -> list[list[Any]]:
        """All it says up to this, which is left out."""
        said: list[list[Any]] = []
        while (line := await self._lines.readline()) and json.loads(line) != list(last):
            said.append(json.loads(line))
        if not line and last:
            assert self._process.stderr is not None
            raise AssertionError(f"{said}; {(await self._process.stderr.read()).decode()}")
        return said


@asynccontextmanager
async def running(folder: Path, *command: str) -> AsyncIterator[Program]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(NODE, *command, cwd=folder, stdout=pipe, stderr=pipe)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


# acceptance 241, 242, 244, 246
@pytest.mark.realtime
async def test_a_page_in_node_calls_joins_hears_and_comes_back_after_a_restart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as programs:
        async with schema_app.make_server().serve(port=0) as listening:
            program = await programs.enter_async_context(
                running(folder, "live.ts", f"http://127.0.0.1:{listening.port}")
            )
            assert await program.until("restart") == [
                ["status", "connected"],
                ["opened", {"joined": ["chat"], "refused": []}],
                ["message", "a/b ü", "hi"],
                ["sent", {"id": "1"}],
                ["apollo", None],
                ["hermes", None],
                ["zeus", "JOIN_REJECTED"],
                ["tenant", "JOIN_REJECTED"],
                ["note", "both"],
                ["note", "both"],
                ["told", None],
            ]
        monkeypatch.setattr(schema_app, "closed_projects", {"hermes", "zeus"})
        async with schema_app.make_server().serve(port=listening.port):
            said = await program.until()
    said.remove(["lost", "project", {"project_id": "hermes"}, "JOIN_REJECTED"])  # refusals take their time
    assert said == [
        ["status", "reconnecting"],
        ["status", "connected"],
        ["note", "again"],
        ["told", None],
        ["left", None],
        ["told", None],
        ["status", "closed"],
        ["closed", "CONNECTION_CLOSED"],
    ]
