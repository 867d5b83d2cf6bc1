"""``liverpc upload`` as people use it: in a process of its own, against a server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import ConnectRequest, LiveError, LiveServer, Reject, UploadContext, live, public
from liverpc.cli.main import main
from tests.e2e.doors import free_port

pytestmark = pytest.mark.realtime

COMMAND = [sys.executable, "-m", "liverpc.cli", "upload"]
SECRET = "s3cret-value"


class Target(msgspec.Struct):
    url: str
    ended: asyncio.Queue[str]  # codes with which uploads ended early
    begun: asyncio.Event  # bytes have arrived


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    ended: asyncio.Queue[str] = asyncio.Queue()
    begun = asyncio.Event()

    @live.upload(path="files/store")
    async def store(ctx: UploadContext[Any], *args: Any) -> dict[str, Any]:
        digest = hashlib.sha256()
        try:
            async for chunk in ctx.upload:
                digest.update(chunk)
                begun.set()
        except LiveError as error:
            ended.put_nowait(error.code)
            raise
        return {
            "bytes": ctx.upload.received,
            "size": ctx.upload.size,
            "sha256": digest.hexdigest(),
            "args": args,
            "user": ctx.user,
        }

    @live.upload(path="files/refuse")
    async def refuse(ctx: UploadContext[Any]) -> None:
        raise LiveError("FULL", "no room\x1b[2J for it")

    @live.upload(path="files/named")
    async def named(ctx: UploadContext[Any], name: str) -> str:
        return name

    @live.upload(path="files/slow")
    async def slow(ctx: UploadContext[Any]) -> None:
        async for _ in ctx.upload:
            await asyncio.sleep(0.01)

    def on_connect(request: ConnectRequest) -> str | None:
        token = request.headers.get("authorization")
        if token not in (None, f"Bearer {SECRET}"):
            raise Reject("UNAUTHENTICATED")
        return "ann" if token else None

    demo = SimpleNamespace(store=store, refuse=refuse, named=named, slow=slow, _guard=public())
    async with LiveServer({"files": demo}, on_connect=on_connect).serve(port=0) as listening:
        yield Target(listening.url, ended, begun)


async def run(
    *arguments: str, stdin: Any = asyncio.subprocess.DEVNULL, sent: bytes | None = None, **environment: str
) -> tuple[int | None, str, str]:
    """The exit code, and what was written on standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=stdin if sent is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    out, err = await process.communicate(sent)
    return process.returncode, out.decode(), err.decode()


def answer(data: bytes, size: int | None, *args: Any, user: str | None = None) -> dict[str, Any]:
    return {
        "bytes": len(data),
        "size": size,
        "sha256": hashlib.sha256(data).hexdigest(),
        "args": list(args),
        "user": user,
    }


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_a_file_arrives_and_the_result_is_json_on_standard_output(
    size: int, target: Target, tmp_path: Path
) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(os.urandom(size))
    code, out, err = await run(target.url, "files/store", str(file))
    assert (code, err) == (0, "")
    assert json.loads(out) == answer(file.read_bytes(), size)


async def test_further_arguments_are_json_or_else_text(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x")
    args = ["readme", "1", '"1"', '{"a":[null,1.5]}', "true", "{no json", "", "ä"]
    code, out, err = await run(target.url, "files/store", str(file), "--", *args)
    assert (code, err) == (0, "")
    assert json.loads(out)["args"] == ["readme", 1, "1", {"a": [None, 1.5]}, True, "{no json", "", "ä"]


async def test_standard_input_is_sent_as_it_comes(target: Target, tmp_path: Path) -> None:
    data = os.urandom(500_000)
    code, out, err = await run(target.url, "files/store", "-", "name", sent=data)
    assert (code, err, json.loads(out)) == (0, "", answer(data, None, "name"))
    (file := tmp_path / "f").write_bytes(data)
    with file.open("rb") as opened:
        code, out, err = await run(target.url, "files/store", "-", stdin=opened)
    assert (code, err, json.loads(out)) == (0, "", answer(data, len(data)))
    code, out, err = await run(target.url, "files/store", "-")  # /dev/null
    assert (code, err) == (0, "")
    assert json.loads(out)["bytes"] == 0


async def test_a_named_pipe_is_a_file_too(target: Target, tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")

    def write() -> None:
        with fifo.open("wb") as file:
            file.write(b"x" * 200_000)

    (code, out, err), _ = await asyncio.gather(run(target.url, "files/store", str(fifo)), asyncio.to_thread(write))
    assert (code, err) == (0, "")
    assert json.loads(out) == answer(b"x" * 200_000, None)


async def test_an_upload_that_fails_ends_with_1_and_says_why(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x" * 100)
    code, out, err = await run(target.url, "files/refuse", str(file))
    assert (code, out) == (1, "")
    assert err == "liverpc: the upload failed: FULL: no room?[2J for it\n"  # nothing a terminal obeys
    code, out, err = await run(target.url, "files/nothing", str(file))
    assert (code, out) == (1, "")
    assert "NOT_FOUND" in err


async def test_an_argument_that_does_not_fit_comes_with_a_hint(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x")
    code, out, err = await run(target.url, "files/named", str(file), "123")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "VALIDATION" in err
    assert err.endswith("""arguments are JSON, or else text as it is: '"123"' is a string, 123 a number\n""")
    code, out, err = await run(target.url, "files/named", str(file), '"123"')
    assert (code, json.loads(out), err) == (0, "123", "")
    code, out, err = await run(target.url, "files/named", str(file))
    assert code == 1
    assert "JSON" not in err


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upload", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "0 done, 1 the upload failed, 2 usage, 130 cancelled with Ctrl-C" in said
    assert """'"123"' is a string""" in said


async def test_a_server_that_is_not_there_or_refuses_ends_with_1_at_once(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x")
    async with asyncio.timeout(10):
        code, out, err = await run(f"ws://127.0.0.1:{free_port()}/ws", "files/store", str(file))
    assert (code, out, err.count("\n")) == (1, "", 1)
    code, out, err = await run(
        target.url, "files/store", str(file), LIVERPC_UPLOAD_HEADERS="Authorization: Bearer wrong"
    )
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "wrong" not in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "required"),
        (("ws://127.0.0.1:1/ws", "files/store"), "required"),
        (("ws://127.0.0.1:1/ws", "store", "FILE"), "'store' is no path of a function"),
        (("ws://127.0.0.1:1/ws", "a/b", "missing.txt"), "missing.txt cannot be read: No such file"),
        (("ws://127.0.0.1:1/ws", "a/b", "."), ". cannot be read: Is a directory"),
        (("ws://127.0.0.1:1/ws", "a/b", "FILE", "\udcff"), "is no UTF-8"),
        (("ftp://x", "a/b", "FILE"), "URL"),
        ((f"ws://me:{SECRET}@127.0.0.1:1/ws", "a/b", "FILE"), "credentials"),
        (("ws://127.0.0.1:1/ws", "a/b", "FILE", "--header-file", "missing"), "missing cannot be read"),
        (("ws://127.0.0.1:1/ws", "a/b", "FILE", "--header-file", "FILE"), "line 2 of .* is no 'Name: value'"),
        (("ws://127.0.0.1:1/ws", "a/b", "FILE", "--header-file", "BAD"), "'X Y' cannot be sent"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence_without_a_secret(
    arguments: tuple[str, ...], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "FILE").write_text(f"X-Fine: 1\n{SECRET}\n")
    (tmp_path / "BAD").write_text(f"X Y: {SECRET}\n")
    given = [str(tmp_path / name) if name in ("FILE", "BAD") else name for name in arguments]
    code: object
    try:
        code = main(["upload", *given])
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert SECRET not in err
    assert re.search(text, err), err


async def test_headers_come_from_a_file_or_the_environment(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x")
    (headers := tmp_path / "headers").write_text(f"X-Other: a:b\n\nAuthorization:  Bearer {SECRET}\n")
    code, out, _ = await run(target.url, "files/store", str(file), "--header-file", str(headers))
    assert (code, json.loads(out)["user"]) == (0, "ann")
    line = f"Authorization: Bearer {SECRET}"
    code, out, _ = await run(target.url, "files/store", str(file), LIVERPC_UPLOAD_HEADERS=line)
    assert (code, json.loads(out)["user"]) == (0, "ann")


async def test_ctrl_c_gives_the_upload_up_at_the_server_too(target: Target) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, target.url, "files/store", "-", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"x" * 100_000)
    await target.begun.wait()
    process.send_signal(signal.SIGINT)  # while standard input is open, and nothing comes
    async with asyncio.timeout(10):
        assert await process.wait() == 130
        assert await target.ended.get() == "CANCELLED"
    assert process.stderr is not None
    assert await process.stderr.read() == b"liverpc: cancelled\n"
    process.stdin.close()
    with contextlib.suppress(ConnectionError):
        await process.stdin.wait_closed()


async def on_terminal(*arguments: str, until: Callable[[str], bool] = lambda said: False) -> tuple[int, str, str]:
    """As :func:`run`, with a terminal for standard error; interrupted when ``until`` holds for what was said."""
    mine, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=its
    )
    os.close(its)
    said = ""
    interrupted = False

    def read() -> None:
        nonlocal said, interrupted
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(mine, 65536):
                said += data.decode()
                if not interrupted and until(said):
                    interrupted = True
                    process.send_signal(signal.SIGINT)

    reading = asyncio.create_task(asyncio.to_thread(read))
    out, _ = await process.communicate()
    await reading
    os.close(mine)
    assert process.returncode is not None
    return process.returncode, out.decode(), said


async def test_a_terminal_sees_one_line_that_follows_the_progress(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(bytes(12_000_000))  # more than waits in the server
    code, out, said = await on_terminal(target.url, "files/slow", str(file))
    assert (code, out) == (0, "null\n")
    assert said.count("\n") == 1
    assert said.endswith("\r\n")
    shown = [part.strip() for part in said.split("\r") if part.strip()]
    assert len(shown) > 2
    assert all("of 12.0 MB" in line and "%" in line and "/s" in line for line in shown)
    percents = [int(line.split(" %")[0]) for line in shown]
    assert percents == sorted(percents)
    assert shown[-1].startswith("100 %  12.0 MB of 12.0 MB")
    assert any("left" in line for line in shown)
    assert max(map(len, said.split("\r"))) < 80


async def test_quiet_shows_nothing_on_a_terminal(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x" * 100)
    assert await on_terminal(target.url, "files/slow", str(file), "--quiet") == (0, "null\n", "")


async def test_an_error_stands_on_a_line_of_its_own(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(b"x" * 100)
    code, _, said = await on_terminal(target.url, "files/refuse", str(file))
    assert code == 1
    assert said.splitlines()[-1].startswith("liverpc: the upload failed: FULL")


async def test_ctrl_c_on_a_terminal_leaves_the_last_progress_there(target: Target, tmp_path: Path) -> None:
    (file := tmp_path / "f").write_bytes(bytes(50_000_000))
    code, out, said = await on_terminal(target.url, "files/slow", str(file), until=lambda said: "left" in said)
    assert (code, out) == (130, "")
    assert re.search(r"left *\r\nliverpc: cancelled\r\n$", said)
