"""The commands as processes: what goes to which stream, and with which code they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from liverpc.inspector.protocol import ChaosArm, ChaosClear, Kick, Watch
from liverpc_devtools.headless.top import next_due
from tests.devtools.fake_attach import TOKEN, FakeServer, fake_server

pytestmark = pytest.mark.realtime


class Result(NamedTuple):
    code: int
    records: list[dict[str, Any]]
    narration: str


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


async def start(*argv: str, token: str = TOKEN, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "liverpc_devtools.cli", *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LIVERPC_ATTACH_TOKEN": token, "XDG_RUNTIME_DIR": "/nonexistent", **environ},
    )


async def finished(process: asyncio.subprocess.Process) -> Result:
    out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return Result(process.returncode, [json.loads(line) for line in out.splitlines()], err.decode())


async def run(*argv: str, **options: str) -> Result:
    async with asyncio.timeout(20):
        return await finished(await start(*argv, **options))


# -- snapshot


async def test_a_snapshot_is_one_object_of_named_figures(server: FakeServer) -> None:
    result = await run("snapshot", server.url, "--wait-live")
    assert (result.code, result.narration) == (0, "")
    (record,) = result.records
    assert list(record)[:3] == ["t", "schema", "server"]
    assert (record["t"], record["schema"], record["server"]["name"]) == ("snapshot", 1, "prod-a")
    assert any(each["published"] for each in record["streams"])
    assert {"topic", "merge", "path", "subscribers", "published", "dropped", "seq"} <= set(record["streams"][0])
    assert {"replay_depth", "held", "reloads", "coalesced", "volatile_drops"} <= set(record["streams"][0])
    assert any(each["calls"] for each in record["paths"])
    path = next(each for each in record["paths"] if each["calls"])
    assert list(path)[:6] == ["path", "calls", "errors", "limited", "shed", "codes"]
    assert list(path)[6:] == ["mean_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms"]
    assert (path["p50_ms"], path["p95_ms"], path["p99_ms"], path["shed"]) == (1.7, 11.8, 812.0, 2)
    assert path["limited"] == path["codes"].get("RATE_LIMITED", 0)
    assert [(each["key"], each["waiting"]) for each in record["locks"]][:1] == [("account:7", 4)]
    assert (record["locks_total"], [each["state"] for each in record["breakers"]]) == (2, ["open", "closed"])
    assert record["pending"][0]["path"] == "report/build"
    assert len(record["connections"]) == 8
    assert record["calls"][0]["kind"] == "rpc"
    assert record["counters"]["published"] >= 1
    assert [each["path"] for each in record["uploads"]] == ["files/store"] * 3
    assert {"user", "id", "size", "received", "taken", "buffered", "state"} <= set(record["uploads"][0])
    assert record["upload_totals"]["running"] == 3
    assert [(each["kind"], each["name"], each["members"]) for each in record["rooms"]][:3] == [
        ("room", "board:12", 6),
        ("room", "board:7", 1),
        ("contract", "chat/chat", 3),
    ]
    assert {"number", "key", "declared", "away", "connections", "cursors", "joined_at"} <= set(record["rooms"][0])
    member = next(each for each in record["room_members"] if (each["name"], each["key"]) == ("board:12", "u_11"))
    assert {"kind", "number", "connections", "how", "since", "shown", "cursor"} <= set(member)
    assert {each["name"] for each in record["room_members"]} == {each["name"] for each in record["rooms"]}
    assert record["room_totals"] == {"rooms": 5204, "members": 12, "refused": 17, "more": False}
    assert record["refused_joins"][0]["reason"] == "may not: no key was given"
    assert record["chaos"] == []


async def test_a_snapshot_of_a_server_that_knows_no_rooms_has_none(server: FakeServer) -> None:
    server.knows_rooms = False
    (record,) = (await run("snapshot", server.url)).records
    assert (record["rooms"], record["room_totals"], record["refused_joins"]) == ([], None, [])


async def test_a_snapshot_of_a_quiet_server_says_that_it_is_quiet() -> None:
    async with fake_server(interval=60) as server:
        result = await run("snapshot", server.url, "--wait-live", "--timeout", "300ms")
        assert result.code == 0
        assert "not live" in result.narration
        assert result.records[0]["t"] == "snapshot"


# -- top


async def test_top_writes_rates_and_figures_again_and_again(server: FakeServer) -> None:
    result = await run("top", server.url, "--interval", "100ms", "--count", "2")
    assert (result.code, result.narration) == (0, "")
    first, second = result.records
    assert [first["t"], first["schema"]] == ["top", 1]
    assert first["at"] < second["at"]
    assert second["calls_per_s"] > 0
    rates = [each["calls_per_s"] for each in second["paths"]]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0
    assert {"limited", "shed", "codes", "p99_ms"} <= set(second["paths"][0])
    assert second["locks"][1]["key"] == "evil:\x1b[31m[red]\u202e"
    assert second["breakers"][0]["name"] == "bank"


def test_records_keep_in_step_however_late_the_states_are() -> None:
    due, seen = 10.0, []
    for state in range(1004, 1200, 7):  # not a multiple of the interval
        if state / 100 >= due:
            seen.append(state / 100)
            due = next_due(due, state / 100, 0.5)
    assert seen == [10.04, 10.53, 11.02, 11.51]
    assert next_due(10.0, 12.1, 0.5) == 12.5, "what was missed is not made up for"
    assert next_due(10.0, 10.0, 0.5) == 10.5


# -- tail


async def test_a_tail_begins_with_meta_and_ends_after_its_count(server: FakeServer) -> None:
    result = await run("tail", server.url, "--topic", "board:*", "--count", "3")
    assert (result.code, result.narration) == (0, "")
    meta, *events = result.records
    assert (meta["t"], meta["schema"], meta["granted"]) == ("meta", 1, "observe")
    assert [(each["t"], each["kind"]) for each in events] == [("event", "pub")] * 3
    assert all(each["topic"].startswith("board:") for each in events)


async def test_a_tail_of_failed_calls_asks_for_no_more(server: FakeServer) -> None:
    result = await run("tail", server.url, "--failed", "--path", "chat/*", "--count", "1")
    assert (result.records[1]["ok"], result.records[1]["path"]) == (False, "chat/send")
    (watch,) = server.sent(Watch)
    assert (watch.match.kind, watch.match.path, watch.match.ok) == (["rpc"], ["chat/*"], False)


async def test_a_tail_of_uploads_tells_how_they_end(server: FakeServer) -> None:
    result = await run("tail", server.url, "--kind", "upload", "--count", "2")
    for each in result.records[1:]:
        assert (each["kind"], each["carries"], each["args"]) == ("rpc", "upload", {"name": "holiday.mp4"})
        assert each["received"] > 0
    (watch,) = server.sent(Watch)
    assert watch.match.kind == ["upload"]


async def test_a_loss_is_a_record(server: FakeServer) -> None:
    server.lose = 12
    result = await run("tail", server.url, "--count", "1")
    assert {"t": "gap", "dropped": 12, "sample": 0.5} in result.records


async def test_a_tail_ends_after_its_time(server: FakeServer) -> None:
    result = await run("tail", server.url, "--kind", "conn", "--for", "200ms")
    assert result.code == 0


async def test_output_is_ascii_whatever_the_server_says(server: FakeServer) -> None:
    process = await start("tail", server.url, "--count", "20")
    out, _ = await process.communicate()
    assert out.isascii()
    assert b"\x1b" not in out


async def test_a_closed_pipe_is_no_error(server: FakeServer) -> None:
    process = await start("tail", server.url)
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]  # as `head -1` does
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert await process.stderr.read() == b""


# -- chaos


async def armed(server: FakeServer, *argv: str) -> asyncio.subprocess.Process:
    process = await start("chaos", server.url, "set", "drop", "20%", "--topic", "board:*", *argv)
    assert process.stdout is not None
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
    assert (line["t"], line["topic"], line["rate"]) == ("armed", "board:*", 0.2)
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_fault_ends_with_the_command_that_set_it(server: FakeServer, how: signal.Signals) -> None:
    process = await armed(server, "--seed", "rep-1", "--limit", "50", "--for", "30s")
    (arm,) = (each for each in server.sent(ChaosArm) if not each.dry)
    assert (arm.rule.seed, arm.rule.limit, arm.ttl, arm.detach) == ("rep-1", 50, 30.0, False)
    process.send_signal(how)
    result = await asyncio.wait_for(finished(process), 10)
    assert result.code == 130
    assert result.records[-1]["t"] == "removed"
    assert [each.rule for each in server.sent(ChaosClear)] == [1]


async def test_a_fault_that_ends_by_itself_ends_the_command(server: FakeServer) -> None:
    result = await asyncio.wait_for(finished(await armed(server, "--for", "300ms")), 10)
    assert result.code == 0
    assert (result.records[-1]["t"], result.records[-1]["seed"]) == ("ended", "made-seed")


async def test_a_detached_fault_stays_until_it_is_cleared(server: FakeServer) -> None:
    result = await asyncio.wait_for(finished(await armed(server, "--detach")), 10)
    assert result.code == 0
    (rule,) = (await run("chaos", server.url, "list")).records
    assert (rule["t"], rule["topic"], rule["rate"]) == ("rule", "board:*", 0.2)
    assert (await run("chaos", server.url, "clear")).records == [{"t": "cleared"}]
    assert (await run("chaos", server.url, "list")).records == []


async def test_a_refused_fault_is_told(server: FakeServer) -> None:
    result = await run("chaos", server.url, "set", "drop", "1", "--topic", "forbidden:1")
    assert (result.code, result.records) == (1, [])
    assert "outside your scope" in result.narration


async def test_a_server_without_faults_says_so() -> None:
    async with fake_server(chaos=False) as server:
        result = await run("chaos", server.url, "set", "drop", "1", "--topic", "a")
        assert result.code == 1
        assert "not started with chaos" in result.narration


async def test_a_token_that_may_not_inject_faults_is_a_refused_token(server: FakeServer) -> None:
    server.may_arm = False
    result = await run("chaos", server.url, "set", "drop", "1", "--topic", "a")
    assert (result.code, result.records) == (3, [])
    assert "the token opens observe" in result.narration


async def test_a_snapshot_tells_how_many_calls_it_lacks(server: FakeServer) -> None:
    server.left_out = 12
    (record,) = (await run("snapshot", server.url)).records
    assert record["calls_left_out"] == 12


# -- kick


async def test_a_user_is_kicked(server: FakeServer) -> None:
    result = await run("kick", server.url, "--user", "u_11", "--for-good", "--yes")
    assert (result.code, result.narration) == (0, "")
    assert result.records == [{"t": "kicked", "connection": "", "user": "u_11", "closed": 1}]
    (kick,) = server.sent(Kick)
    assert (kick.user, kick.connection, kick.for_good) == ("u_11", "", True)
    connection = server.world.connections[1].id
    assert (await run("kick", server.url, "--connection", connection, "--yes")).code == 0
    assert (server.sent(Kick)[1].connection, server.sent(Kick)[1].for_good) == (connection, False)


async def test_whom_there_is_not_is_told(server: FakeServer) -> None:
    result = await run("kick", server.url, "--user", "nobody", "--yes")
    assert (result.code, result.records) == (1, [])
    assert "nobody is connected" in result.narration


async def test_a_token_that_may_not_close_connections_is_a_refused_token(server: FakeServer) -> None:
    server.may_kick = False
    result = await run("kick", server.url, "--user", "u_11", "--yes")
    assert (result.code, result.records, server.sent(Kick)) == (3, [], [])
    assert "the token opens observe" in result.narration


# -- how they end


async def test_codes_of_what_goes_wrong(server: FakeServer) -> None:
    unused = "127.0.0.1:1"
    assert (await run("snapshot", server.url, token="wrong-token-wrong-token")).code == 3
    absent = await run("snapshot", f"{server.url}/nothing/here")
    assert absent.code == 4
    assert "inspect=Inspect(enabled=True)" in absent.narration
    unreachable = await run("snapshot", unused)
    assert (unreachable.code, unreachable.records) == (4, [])
    assert unreachable.narration.count("\n") == 1
    server.version = 9
    version = await run("snapshot", server.url)
    assert version.code == 6
    assert "version 9" in version.narration


@pytest.mark.parametrize(
    "argv",
    [
        ("snapshot",),
        ("snapshot", "ws://10.0.0.1:1"),
        ("tail", "localhost:1", "--kind", "pubs"),
        ("tail", "localhost:1", "--count", "0"),
        ("chaos", "localhost:1", "set", "drop", "2", "--topic", "a"),
        ("chaos", "localhost:1", "set", "drop", "1", "--topic", "a", "--for", "1h"),
        ("chaos", "localhost:1", "set", "drop", "1", "--topic", "a", "--for", "10m", "--detach"),
        ("kick", "localhost:1", "--user", "u_11"),  # without --yes
        ("kick", "localhost:1", "--user", "", "--yes"),
        ("kick", "localhost:1", "--yes"),
        ("kick", "localhost:1", "--user", "u_11", "--connection", "c1", "--yes"),
        ("attach", "localhost:1"),  # no terminal here
        ("nonsense",),
        (),
    ],
)
async def test_misuse_is_2_and_says_what_to_do(argv: tuple[str, ...]) -> None:
    result = await run(*argv)
    assert (result.code, result.records) == (2, [])
    assert result.narration


async def test_attach_says_what_is_no_terminal() -> None:
    assert "standard input is none" in (await run("attach", "localhost:1")).narration
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "liverpc_devtools.cli", "attach", "localhost:1"]
        env = {**os.environ, "LIVERPC_ATTACH_TOKEN": TOKEN}
        done = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=env, timeout=10)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"standard error is none" in done.stderr


async def test_a_stream_that_ends_early_is_7(server: FakeServer) -> None:
    process = await start("tail", server.url)
    await server.until_sent(Watch)
    await server.sockets[0].close(1001, "restarting")
    result = await asyncio.wait_for(finished(process), 10)
    assert result.code == 7
    assert "restarting" in result.narration


async def test_interrupted_is_130(server: FakeServer) -> None:
    process = await start("tail", server.url)
    await server.until_sent(Watch)
    process.send_signal(signal.SIGINT)
    assert (await asyncio.wait_for(finished(process), 10)).code == 130


async def test_the_version_goes_to_standard_output() -> None:
    process = await start("--version")
    out, err = await process.communicate()
    assert (process.returncode, out.split()[0], err) == (0, b"liverpc-tui", b"")


async def test_a_file_with_the_token_will_do(server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with contextlib.chdir(tmp_path):
        assert (await run("snapshot", server.url, "--token-file", "token", token="")).code == 0


def test_headless_commands_need_no_terminal_library() -> None:
    code = (
        "import sys, liverpc_devtools.cli, liverpc_devtools.core.attach, liverpc_devtools.core.model;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('textual', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
