"""``LiveServer.run()`` as a program of its own."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from liverpc import ConfigError, LiveServer, MissingExtraError, remote
from liverpc.client import connect

PROGRAM = """
import asyncio, logging, types
from liverpc import LiveServer, live, public

@live
async def loop_name(ctx) -> str:
    return type(asyncio.get_running_loop()).__module__

logging.basicConfig(level=logging.INFO)
LiveServer({"m": types.SimpleNamespace(loop_name=loop_name, _guard=public())}).run(%s)
"""


@pytest.mark.realtime
@pytest.mark.parametrize(("arguments", "module"), [("", "asyncio"), ('loop="uvloop"', "uvloop")])
async def test_run_serves_on_the_loop_asked_for_until_it_is_told_to_stop(arguments: str, module: str) -> None:
    command = [sys.executable, "-c", PROGRAM % arguments]
    with subprocess.Popen(command, env=os.environ | {"PORT": "0"}, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            said = ""
            while "listens on" not in said:
                said = await asyncio.to_thread(program.stderr.readline)
                assert said, "it ended"
            async with connect(said.split()[-1]) as client:
                assert (await client.call(remote("m/loop_name"))).startswith(module)
            program.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(program.wait, 20) == 0
        finally:
            program.kill()


def test_a_missing_uvloop_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(MissingExtraError, match=r"liverpc\[fast\]"):
        LiveServer().run(loop="uvloop")


SILENT = """
from liverpc import LiveServer
LiveServer(name="shop").run(port=0)
"""


@pytest.mark.realtime
async def test_run_says_where_it_listens_when_no_logging_is_configured() -> None:
    with subprocess.Popen([sys.executable, "-c", SILENT], stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            said = await asyncio.to_thread(program.stderr.readline)
            assert re.fullmatch(r"shop listens on ws://127\.0\.0\.1:[1-9]\d*/ws; stop with Ctrl-C\n", said)
            program.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(program.stderr.read) == ""
            assert await asyncio.to_thread(program.wait, 20) == 0
        finally:
            program.kill()


def test_run_ends_with_one_line_and_exit_code_2_when_the_port_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SystemExit) as ended:
        LiveServer().run()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "liverpc: PORT='http' is not a port number from 0 to 65535\n"


@pytest.mark.realtime
def test_run_ends_with_one_line_and_exit_code_2_when_it_cannot_listen(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SystemExit) as ended:
        LiveServer().run(port=other.getsockname()[1])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "choose another port" in said
    assert said.count("\n") == 1


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", 65536, "port=65536 is not a port number from 0 to 65535"),
        ("127.0.0.1", -1, "port=-1 is not a port number"),
        ("127.0.0.1", "8000", "port='8000' is not a port number"),
        ("no-such-host.invalid", 0, "host='no-such-host.invalid'.*no address.*127.0.0.1"),
        ("a..b", 0, "host='a..b'.*no address"),
        ("192.0.2.1", 0, "host='192.0.2.1'.*not an address of this machine.*0.0.0.0"),
    ],
)
async def test_an_address_that_cannot_be_is_refused_with_its_own_cure(host: str, port: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        async with LiveServer().serve(host, port):
            pass


@pytest.mark.realtime
async def test_the_highest_port_is_one() -> None:
    try:
        async with LiveServer().serve(port=65535) as listening:
            assert listening.port == 65535
    except ConfigError as error:
        assert "choose another port" in str(error)  # somebody else has it
