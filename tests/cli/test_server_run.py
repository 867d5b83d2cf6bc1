"""``LiveServer.run()`` as a program of its own."""

import asyncio
import os
import signal
import subprocess
import sys

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


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ConfigError, match="PORT='http'"):
        LiveServer().run()
