"""``liverpc-tui chaos``: what it takes, what it writes, and what it does to a server of ours on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from liverpc import Context, Inspect, LiveServer, Token, live, public, remote
from liverpc.client import connect
from liverpc.inspector.protocol import ATTACH_PATH, ChaosRule
from liverpc_devtools.cli import main
from liverpc_devtools.core.fault_words import command
from liverpc_devtools.core.faults import ACTIONS, make_rule
from liverpc_devtools.core.target import Target
from liverpc_devtools.headless.chaos import chaos_clear, chaos_dry, chaos_list, chaos_renew, chaos_set
from liverpc_devtools.headless.output import Refused
from tests.devtools.test_devtools_pty import Terminal

CHAOS, OBSERVE = "the-token-for-chaos", "the-token-of-an-observer"


class Served(NamedTuple):
    server: LiveServer
    url: str

    @property
    def target(self) -> Target:
        return Target(self.url + ATTACH_PATH, CHAOS)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    @live.stream("board:{number}")
    async def board(ctx: Context[Any], number: str) -> list[Any]:
        return []

    @live
    async def add(ctx: Context[Any], number: int) -> int:
        ctx.publish("board:1", "created", {"id": number})
        return number

    server = LiveServer(
        {"demo": SimpleNamespace(board=board, add=add, _guard=public())},
        inspect=Inspect(enabled=True, chaos=True, tokens=(Token(secret=CHAOS, level="chaos"), Token(secret=OBSERVE))),
    )
    async with server.serve(port=0) as listening:
        yield Served(server, f"ws://127.0.0.1:{listening.port}")


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


# -- what it takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("set shuffle", "invalid choice"),
        ("set drop", "name a topic, or * for all"),
        ("set drop 2 --topic a", "from 0 to 1"),
        ("set drop --topic a --path b", "drop does not look at --path"),
        ("set partition 0.5 --topic a", "partition does not look at RATE"),
        ("set error", "name a path, or * for all"),
        ("set delay --topic a --seconds soon", "a time is a number"),
        ("set duplicate --topic a --copies 0", "copies are a whole number above 0"),
        ("set error --path a --code no;code", "a code is made of letters"),
        ("set drop --topic a --share 2", "a share is a number"),
        ("set drop --topic a --limit many", "whole number"),
        ("set drop --topic a --for 16m", "at most 900 seconds"),
        ("set drop --topic a --for 6m --detach", "at most 300 seconds"),
        ("renew 1 --for 16m", "at most 900 seconds"),
        ("renew", "RULE"),
        ("clear first", "a whole number above 0"),
    ],
)
def test_misuse_is_told_before_anybody_is_asked(capsys: pytest.CaptureFixture[str], words: str, why: str) -> None:
    try:
        code = main(["chaos", "localhost:1", *words.split()])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("action", ACTIONS)
def test_the_equivalent_command_means_the_same_rule(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {"topic": "board:* 'x'", "path": "chat/*", "event": "created", "connection": "c1", "user": "ann b"}
    samples |= {"share": "12.5%", "rate": "0.25", "seconds": "300ms", "jitter": "1.5s", "copies": "3", "code": "1013"}
    rule = make_rule(action, {**samples, "seed": "--seed", "limit": "12"})
    seen: list[ChaosRule] = []

    async def set_rule(target: Target, rule: ChaosRule, **options: Any) -> None:
        seen.append(rule)
        assert options == {"ttl": 90.0, "detach": False, "sure": False}

    monkeypatch.setattr("liverpc_devtools.cli.change.chaos_set", set_rule)
    monkeypatch.setenv("LIVERPC_ATTACH_TOKEN", "x" * 20)

    words = shlex.split(command(rule, 90, "ws://localhost:1"))
    assert words[0] == "liverpc-tui"
    assert main(words[1:]) == 0
    assert seen == [rule]


# -- what it does -----------------------------------------------------------------------------------------


@pytest.mark.realtime
async def test_a_rule_is_armed_listed_renewed_and_removed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    rule = make_rule("drop", {"topic": "board:*", "seed": "rep-1", "rate": "20%"})
    await chaos_set(served.target, rule, ttl=60, detach=True)
    assert records(capsys) == [
        {"t": "armed", "rule": 1, "action": "drop", "topic": "board:*", "rate": 0.2, "ttl": 60, "detach": True}
    ]
    await chaos_list(served.target)
    (listed,) = records(capsys)
    assert (listed["id"], listed["seed"], listed["left"] > 50) == (1, "rep-1", True)
    await chaos_renew(served.target, 1, 200)
    assert records(capsys) == [{"t": "renewed", "rule": 1, "ttl": 200}]
    assert served.server.faults.rules[0].expires_at - asyncio.get_running_loop().time() > 150
    await chaos_clear(served.target, 1)
    assert records(capsys) == [{"t": "cleared", "rule": 1}]
    for work in (chaos_clear(served.target, 1), chaos_renew(served.target, 1, 60)):
        with pytest.raises(Refused, match="no fault 1"):
            await work


@pytest.mark.realtime
async def test_every_action_can_be_armed_and_none_stays(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    async with connect(f"{served.url}/ws") as client:
        for action in ACTIONS:
            given = {"topic": "board:9", "path": "demo/other", "seconds": "10ms", "share": "50%"}
            task = asyncio.create_task(
                chaos_set(served.target, make_rule(action, given), ttl=60, detach=False, sure=True)
            )
            await until(lambda: "armed" in capsys.readouterr().out)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert served.server.faults.rules == []
        assert await client.call(remote("demo/add"), 2) == 2


@pytest.mark.realtime
async def test_a_dry_run_tells_and_arms_nothing(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    async with connect(f"{served.url}/ws") as client, client.stream(remote("demo/board"), "1") as board:
        await board.wait_for(lambda rows: rows == [])
        await chaos_dry(served.target, make_rule("drop", {"topic": "board:*"}), 60)
        (told,) = records(capsys)
        assert (told["t"], told["topics"], told["connections"], told["of_connections"]) == ("preview", 1, 1, 1)
        assert served.server.faults.rules == []


@pytest.mark.realtime
async def test_what_is_sweeping_needs_a_yes(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = await run(served, "set", "drop", "20%", "--topic", "*")
    assert (code, served.server.faults.rules) == (2, [])
    assert "it concerns every topic; nothing was armed, --yes arms it" in told
    assert "of the last" in told
    code, out, _ = await run(served, "set", "drop", "20%", "--topic", "*", "--for", "100ms", "--yes")
    assert (code, [each["t"] for each in out]) == (0, ["armed", "ended"])


@pytest.mark.realtime
async def test_what_ends_at_once_is_told_with_all_its_hits(served: Served) -> None:
    async with connect(f"{served.url}/ws"):
        code, out, _ = await run(served, "set", "disconnect", "--yes")
    assert (code, out[-1]["t"], out[-1]["hits"], out[-1]["seen"]) == (0, "ended", 1, 1)


@pytest.mark.realtime
async def test_who_may_not_is_refused(served: Served) -> None:
    code, out, told = await run(served, "set", "drop", "--topic", "a", token=OBSERVE)
    assert (code, out) == (3, [])
    assert "observe" in told
    code, *_ = await run(served, "renew", "1", token=OBSERVE)
    assert code == 3
    code, out, _ = await run(served, "clear", token=OBSERVE)  # whoever looks on may end a fault
    assert (code, out) == (0, [{"t": "cleared"}])


async def run(served: Served, *words: str, token: str = CHAOS) -> tuple[int, list[dict[str, Any]], str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liverpc_devtools.cli", "chaos", served.url, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LIVERPC_ATTACH_TOKEN": token, "XDG_RUNTIME_DIR": "/nonexistent"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


# -- whoever armed dies -----------------------------------------------------------------------------------


@pytest.mark.realtime
async def test_a_killed_program_leaves_a_server_without_faults(served: Served) -> None:
    async with connect(f"{served.url}/ws") as client, client.stream(remote("demo/board"), "1") as board:
        await board.wait_for(lambda rows: rows == [])
        terminal = Terminal("attach", served.url, "--chaos", "--screen", "rpc", token=CHAOS)
        try:
            await terminal.until(lambda text: "● live" in text)
            terminal.type("x")
            await terminal.until(lambda text: "Dry run" in text)
            terminal.type("\rboard:7" + "\r" * 9)  # from the action to the topic, and on to the button
            terminal.type("\r")
            await until(lambda: served.server.faults.rules)
            os.kill(terminal.pid, signal.SIGKILL)
            began = asyncio.get_running_loop().time()
            await until(lambda: not served.server.faults.rules)
            assert asyncio.get_running_loop().time() - began < 10
            assert await terminal.ended() == -signal.SIGKILL
        finally:
            terminal.close()
