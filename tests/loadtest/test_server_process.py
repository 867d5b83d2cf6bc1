"""The server as a process of the load test, and what is seen of it from second to second."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect as websocket
from websockets.typing import Subprotocol

from liverpc import Context, Inspect, LiveServer, Token, live, public
from liverpc.client import connect, remote
from liverpc.inspector.protocol import SUBPROTOCOL, AttachSession, Event, Get, Got
from tests.loadtest.load_kit import ROOT

pytestmark = pytest.mark.realtime

PROBE = Path(__file__).with_name("server_probe.py")


def probe(action: str, folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROBE, action, folder],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(action: str, folder: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    with probe(action, folder, environ) as running:
        out, _ = running.communicate(timeout=50)
    assert running.returncode == 0, out
    return [json.loads(line) for line in out.splitlines()]


def runs(pid: int) -> bool:
    try:
        # A dead one may be kept in the list by a parent that does not ask for it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_server_is_one_process_at_most_and_keeps_its_port(tmp_path: Path, environ: dict[str, str]) -> None:
    not_started, alive, ended, refused = said("life", tmp_path, environ)
    assert not_started == {"pid": None}
    assert alive == {"starts": 2, "same": False, "gone": True}  # the third wish for a start found it running
    assert ended == {"by_itself": True, "pid": None}  # also when it was stopped
    assert refused["pid"] is None
    assert "ended at once with exit code 2" in refused["error"]
    assert "the port is in use" in refused["error"]  # its own words


def test_the_sampler_looks_through_everything_that_happens_to_a_server(tmp_path: Path, environ: dict[str, str]) -> None:
    seen, frozen, killed, again = said("watched", tmp_path, environ)  # it never waited
    assert seen == {"missing": []}
    assert frozen["late"] > 70  # its own timer is due every 125 ms: of 200 that much is late at least
    assert (frozen["stopped"], frozen["goes_on"]) == (True, True)
    assert killed["gone"]
    assert "cannot attach" in killed["trouble"]
    assert (again["again"], again["trouble"]) == (True, "")
    assert 0 < again["busy"] < 50


@live
def echo(ctx: Context[Any], value: int) -> int:
    return value


async def test_an_attachment_is_told_what_changes_and_has_nothing_recorded(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    token = Token(secret="token-for-this-test")
    server = LiveServer(
        {"desk": SimpleNamespace(echo=echo, _guard=public())}, inspect=Inspect(enabled=True, tokens=(token,))
    )
    with ExitStack() as stack:
        async with server.serve("127.0.0.1", 0) as listening:
            (tmp_path / "attach").write_text(f"{listening.attach_url} {token.secret}")
            running = stack.enter_context(probe("attached", tmp_path, environ))
            assert running.stdout is not None
            lines = (json.loads(line) for line in running.stdout)
            assert await asyncio.to_thread(next, lines) == {"full": [True]}
            async with connect(listening.url) as client:
                await client.call(remote("desk/echo", returns=int), 1)
            assert await recorded(listening.attach_url, token.secret) == []
            assert await asyncio.to_thread(next, lines) == {"by_itself": True, "calls": True}
        ended = await asyncio.to_thread(next, lines)
    assert "the server is shutting down" in ended["error"]


async def recorded(url: str, token: str) -> list[Event]:
    """The calls that a server has recorded."""
    headers = {"Authorization": f"Bearer {token}"}
    async with websocket(url, additional_headers=headers, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
        session = AttachSession(client="tests", want="observe", monotonic=time.monotonic)
        session.send(Get(id=1, ref=["calls"]))
        for text in session.outgoing():
            await socket.send(text.decode())
        while True:
            if isinstance(frame := session.receive(await socket.recv()), Got):
                return frame.items


@pytest.mark.parametrize("frozen", [False, True], ids=["that runs", "that is frozen"])
def test_a_killed_load_test_leaves_no_server_behind(frozen: bool, tmp_path: Path, environ: dict[str, str]) -> None:
    if frozen:
        (tmp_path / "frozen").touch()
    with probe("parent", tmp_path, environ) as running:
        assert running.stdout is not None
        server = json.loads(running.stdout.readline())["pid"]
        assert runs(server)
        running.kill()
    deadline = time.monotonic() + 10
    while runs(server) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert not runs(server)
    finally:
        if runs(server):
            os.kill(server, signal.SIGKILL)


def test_a_servers_port_is_free_and_none_that_a_client_could_get(tmp_path: Path, environ: dict[str, str]) -> None:
    chosen, refused = said("ports", tmp_path, environ)
    assert chosen == {"below": True, "other": -1}
    assert "no free port" in refused["error"]
