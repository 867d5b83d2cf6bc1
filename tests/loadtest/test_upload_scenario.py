"""The scenario ``upload``: that it passes with an honest server, and notices every lie and every leak of another."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import Context, Inspect, Limits, LiveError, LiveServer, Token, UploadContext, live, public, remote
from liverpc.client import connect
from tests.loadtest.load_kit import IMPATIENT, begun, cells, first_url, locust, process, result_in

pytestmark = pytest.mark.realtime

RUN = ("--headless", "--only-summary", "--scenario", "upload", "--bandwidth", "20")
SECRET = "a-token-of-this-test-alone"
TOKENS = (Token(secret=SECRET, level="metrics"),)

Change = Callable[[int, bytes], bytes]


class Stored(msgspec.Struct):
    bytes: int
    sha256: str


def files(change: Change) -> SimpleNamespace:
    """``files/store`` that takes ``change(offset, chunk)`` for the chunk at an offset."""

    @live.upload()
    async def store(ctx: UploadContext[Any], name: str) -> Stored:
        digest, size = hashlib.sha256(), 0
        async for chunk in ctx.upload:
            digest.update(change(size, chunk))
            size += len(chunk)
        return Stored(size, digest.hexdigest())

    return SimpleNamespace(store=store, _guard=public())


@asynccontextmanager
async def running(served: Mapping[str, Any], *, tokens: tuple[Token, ...] = TOKENS) -> AsyncIterator[str]:
    @live
    def echo(ctx: Context[Any], value: Any) -> Any:
        return value

    server = LiveServer(
        {"load": SimpleNamespace(echo=echo, _guard=public()), **served},
        inspect=Inspect(enabled=True, tokens=tokens),
        limits=Limits(upload_grace_seconds=0.1),
    )
    async with server.serve("127.0.0.1", 0) as listening:
        yield listening.url


async def judged(url: str, environ: Mapping[str, str], *arguments: str) -> tuple[int, dict[str, list[str]], str]:
    """Exit code, table and everything that was printed of a run."""
    environ = {"LIVERPC_ATTACH_TOKEN": SECRET, **environ}
    arguments = (*RUN, "-t", "1s", "--host", url, *arguments)
    done = await asyncio.to_thread(locust, *arguments, environ=environ, file=IMPATIENT)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, cells(done.stdout), done.stdout + done.stderr


def test_an_honest_server_passes(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = locust(
        *(*RUN, "-t", "3s", "-u", "4", "--uploads-per-user", "2", "--upload-sizes", "100kB=8,2MB=1"),
        *("--cancelled", "0.2", "--killed", "0.2", "--run-dir", str(tmp_path), "--host", host),
        environ=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    ends = {end: int(table[f"uploads: {end}"][0]) for end in ("stored", "cancelled", "killed", "given up at the end")}
    assert all(ends[end] > 5 for end in ("stored", "cancelled", "killed"))
    assert table["server: uploads begun"][-1] == table["server: uploads left over"][-1] == "ok"
    assert float(table["server: most memory"][0].split()[0]) > 1
    latencies = result_in(tmp_path).latencies
    sizes = ("100kB", "2MB")
    assert sum(latencies[f"UP {size} total"].count for size in sizes) == ends["stored"]
    assert all(latencies[f"UP {size} ack"].p50 <= latencies[f"UP {size} total"].p50 for size in sizes)
    for series in ("bystander", "uploading"):
        assert latencies[f"RPC load/echo {series}"].count > 30


def one_byte(offset: int, chunk: bytes) -> bytes:
    return bytes([chunk[0] ^ 1]) + chunk[1:] if offset else chunk


def second_chunk(offset: int, chunk: bytes) -> bytes:
    return b"" if 0 < offset <= len(chunk) else chunk


@pytest.mark.parametrize("change", [one_byte, second_chunk], ids=["a byte is changed", "a chunk is dropped"])
async def test_wrong_data_are_noticed(change: Change, environ: dict[str, str]) -> None:
    async with running({"files": files(change)}) as url:
        code, table, output = await judged(url, environ, "-u", "2", "--upload-sizes", "300kB")
    assert code == 3, output
    assert table["uploads: stored wrong"][-1] == "FAIL"
    assert int(table["uploads: stored"][0]) > 0
    assert [row[-1] for metric, row in table.items() if metric.startswith("server:") and len(row) > 1] == ["ok"] * 5


async def test_uploads_that_are_never_answered_and_never_forgotten_are_noticed(environ: dict[str, str]) -> None:
    released = asyncio.Event()

    @live.upload()
    async def store(ctx: UploadContext[Any], name: str) -> Stored:
        with suppress(LiveError):
            size = sum([len(chunk) async for chunk in ctx.upload])
            if size == 1:  # the first one tries out whether there is such a function
                return Stored(1, "")
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        return Stored(0, "")

    async with running({"files": SimpleNamespace(store=store, _guard=public())}) as url:
        arguments = ("-u", "3", "--upload-sizes", "300kB", "--killed", "0.5", "-t", "2s")
        try:
            code, table, output = await judged(url, environ, *arguments)
        finally:
            released.set()
    assert code == 3, output
    assert table["uploads: lost"][0].split()[0] == "3"
    assert int(table["uploads: killed"][0]) > 0
    assert int(table["server: uploads left over"][0].split()[0]) > 3


async def test_files_that_stay_open_are_noticed(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", environ["XDG_RUNTIME_DIR"])  # the server leaves its token there
    with ExitStack() as opened:

        def leak(offset: int, chunk: bytes) -> bytes:
            if offset == 0:
                opened.enter_context(open(os.devnull, "rb"))
            return chunk

        async with running({"files": files(leak)}, tokens=()) as url:
            code, table, output = await judged(
                url, environ | {"LIVERPC_ATTACH_TOKEN": ""}, "-u", "2", "--upload-sizes", "300kB"
            )
    assert code == 3, output
    stored = int(table["uploads: stored"][0])
    assert int(table["server: file descriptors left over"][0].split()[0]) >= stored > 0
    assert table["uploads: stored wrong"][-1] == "ok"


async def test_a_token_that_is_not_for_the_whole_server_is_refused(environ: dict[str, str]) -> None:
    tokens = (Token(secret=SECRET, level="chaos", topics=("load:*",)),)
    async with running({"files": files(lambda offset, chunk: chunk)}, tokens=tokens) as url:
        code, _, output = await judged(url, environ)
    assert code == 1
    assert "say nothing of uploads" in output


async def test_uploads_that_fail_are_named_by_their_code(environ: dict[str, str]) -> None:
    @live.upload()
    async def store(ctx: UploadContext[Any], name: str) -> Stored:
        if name != "load test":
            raise LiveError("CONFLICT", "not now")
        return Stored(1, "")

    async with running({"files": SimpleNamespace(store=store, _guard=public())}) as url:
        code, table, output = await judged(url, environ, "-u", "2", "--upload-sizes", "300kB")
    assert code == 3, output
    assert "CONFLICT" in table["uploads: failed"][0]
    assert [row[-1] for metric, row in table.items() if metric.startswith("server:") and len(row) > 1] == ["ok"] * 5


async def test_uploads_that_the_server_refuses_are_one_failure_and_no_second(environ: dict[str, str]) -> None:
    async with running({"files": files(lambda offset, chunk: chunk)}) as url:
        arguments = (
            "-u",
            "1",
            "--uploads-per-user",
            "6",
            "--upload-sizes",
            "2MB",
            "--cancelled",
            "0.4",
            "--killed",
            "0.1",
        )
        code, table, output = await judged(url, environ, *arguments)
    assert code == 3, output
    assert "TOO_MANY_UPLOADS" in table["uploads: failed"][0]
    assert int(table["uploads: cancelled"][0]) > 0
    assert [metric for metric, row in table.items() if row[-1:] == ["FAIL"]] == ["uploads: failed"]
    assert "others are at it" not in output


async def test_others_who_upload_meanwhile_are_noticed(environ: dict[str, str]) -> None:
    async with running({"files": files(lambda offset, chunk: chunk)}) as url, connect(url) as other:
        run = asyncio.create_task(judged(url, environ, "-u", "2", "--upload-sizes", "300kB"))
        while not run.done():
            await other.upload(remote("files/store"), b"x", "other")
            await asyncio.sleep(0.1)
        code, table, output = await run
    assert code == 3, output
    assert [metric for metric, row in table.items() if row[-1:] == ["FAIL"]] == ["server: uploads begun"]
    assert "(or others are at it, too)" in table["server: uploads begun"][0]


def test_shares_that_are_more_than_everything_are_a_usage_error(host: str, environ: dict[str, str]) -> None:
    done = locust(*RUN, "--cancelled", "0.7", "--killed", "0.4", "--host", host, environ=environ)
    assert done.returncode == 2
    assert "together 1 at most: not 0.7 and 0.4" in done.stderr


@pytest.mark.parametrize(
    "served", [{}, {"files": SimpleNamespace(store=live(lambda ctx, name: None), _guard=public())}]
)
async def test_a_server_that_takes_no_uploads_is_named(served: dict[str, Any], environ: dict[str, str]) -> None:
    async with running(served) as url:
        code, _, output = await judged(url, environ)
    assert code == 1
    assert "the server does not answer files/store" in output


def test_a_server_that_dies_in_the_middle_is_a_failure_and_no_crash(environ: dict[str, str]) -> None:
    with (
        process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", environ=environ) as server,
        begun(first_url(server), environ, "-u", "3", "-t", "3s", file=IMPATIENT) as (_, output),
    ):
        server.kill()
    text = "".join(output)
    assert "Traceback" not in text
    assert "(exit code 3)" in text
    assert cells(text)["server: can be looked at"][-1] == "FAIL"
