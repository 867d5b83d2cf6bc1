"""``locust -f loadtest`` as it is meant to be used, against a real demo."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveServer, live, public
from loadtest._faults import predicted
from loadtest._words import Chaos
from tests.loadtest.load_kit import ROOT, begun, cells, first_url, locust, process, result_in

pytestmark = pytest.mark.realtime

HEADLESS = ("--headless", "--only-summary")
_USERS = [
    *("AbuseUser", "ChaosUser", "ConnectUser", "DevtoolsUser", "FanoutUser", "IdleUser", "ReconnectStormUser"),
    *("ReplayUser", "RollingUser", "RoomsUser", "RpcBurstUser", "RpcUser", "SlowConsumerUser", "SoakUser"),
    *("StepsUser", "SubscribeUser", "UploadUser"),
]


@pytest.mark.parametrize("cwd", [ROOT, Path("/")], ids=["in the checkout", "elsewhere"])
def test_exactly_the_scenarios_are_listed_from_any_directory(cwd: Path) -> None:
    done = locust("--list", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["Available", "Users:"]
    assert sorted(done.stdout.split()[2:]) == sorted(_USERS)


def test_connect_opens_connections_on_schedule(host: str, environ: dict[str, str]) -> None:
    done = locust(
        *HEADLESS, "--scenario", "connect", "-u", "40", "--rate", "20", "-t", "3s", "--host", host, environ=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["connected, of those that were due"] == ["40", "40", "ok"]
    assert table["connects: failed"] == ["0", "0", "ok"]


def test_rpc_calls_at_the_wanted_rate_from_all_connections(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = locust(
        *HEADLESS,
        *("--scenario", "rpc", "-u", "10", "--rate", "100", "--size", "70000", "--arrivals", "poisson"),
        *("-t", "3s", "--run-dir", str(tmp_path), "--host", host.replace("ws", "http")),
        environ=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = result_in(tmp_path)
    assert (written.exit_code, written.verdict) == (0, "PASS")
    series = written.latencies["RPC load/echo"]
    assert 200 < series.count < 400
    assert 0 < series.p50 <= series.p99 <= series.max
    assert written.latencies["WS connect"].count == 10
    locusts_own = next(line for line in done.stderr.splitlines() if line.startswith("RPC      load/echo  "))
    assert locusts_own.split()[2] == str(series.count)


def test_fanout_delivers_everything_once_and_in_order(host: str, environ: dict[str, str]) -> None:
    done = locust(*HEADLESS, "--scenario", "fanout", "-t", "3s", "--host", host, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    published = int(table["publishes"][0])
    assert published > 50
    assert table["subscribers"] == ["50"]
    assert int(table["deliveries"][0]) == 50 * published
    assert [table[name] for name in ("lost", "duplicate", "out of order")] == [["0", "0", "ok"]] * 3


def test_a_fault_is_found_and_everybody_agrees_on_it(host: str, environ: dict[str, str], tmp_path: Path) -> None:
    # Long enough that the fault would be gone at the end if nobody renewed its lease of five seconds.
    done = locust(
        *HEADLESS,
        *("--scenario", "fanout", "--chaos", "drop=0.2,seed=s,topic=load:*", "-u", "5"),
        *("-t", "4s", "--run-dir", str(tmp_path), "--host", host),
        environ=environ,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    table = cells(done.stdout)
    expected = predicted(Chaos(0.2, "s"), int(table["publishes"][0]))
    assert len(expected) > 10
    assert table["lost"] == [str(5 * len(expected)), "0", "FAIL"]
    assert result_in(tmp_path).details["lost_publishes"] == sorted(expected)
    faults = [row for metric, row in table.items() if metric.startswith("fault: ")]
    assert len(faults) == 5
    assert all(row[-1] == "ok" for row in faults)
    # It went with the run: the next one loses nothing.
    again = locust(*HEADLESS, "--scenario", "fanout", "-u", "2", "-t", "1s", "--host", host, environ=environ)
    assert again.returncode == 0, again.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--scenario", "fanout", "--host", "ws://127.0.0.1:1"],
            "cannot connect to ws://127.0.0.1:1/ws: connection refused",
        ),
        (["--scenario", "fanout"], "--host is missing"),
        (["--host", "HOST"], "choose one with --scenario "),
        (
            ["--scenario", "rpc", "--chaos", "drop=1", "--host", "HOST"],
            "rpc makes none that are accounted for",
        ),
        (["--scenario", "fanout", "--chaos", "drop=1,topic=x", "--host", "HOST"], "spares the topics of the test"),
        (
            ["--scenario", "fanout", "--chaos", "drop=1", "--attach-token-file", "/nonexistent", "--host", "HOST"],
            "cannot read the token file /nonexistent",
        ),
    ],
    ids=["unreachable", "no host", "no scenario", "nothing to drop", "other topics", "no token file"],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    arguments: list[str], sentence: str, host: str, environ: dict[str, str]
) -> None:
    given = [host if argument == "HOST" else argument for argument in arguments]
    done = locust(*HEADLESS, "-t", "3s", *given, environ=environ)
    assert done.returncode == (1 if "--scenario" in arguments else 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


async def test_users_who_cannot_take_part_end_the_run_at_once(environ: dict[str, str]) -> None:
    server = LiveServer({"load": SimpleNamespace(echo=echo, _guard=public())})
    async with server.serve("127.0.0.1", 0) as listening:
        fanout = ("--scenario", "fanout", "-u", "2", "-t", "1h", "--host", listening.url)
        done = await asyncio.to_thread(locust, *HEADLESS, *fanout, environ=environ)
    assert done.returncode == 1
    assert "verdict: ERROR: nothing was done: 0 of 2 users became ready; one raised" in done.stdout


async def test_a_lost_connection_is_told_even_if_it_comes_back_at_once(host: str, environ: dict[str, str]) -> None:
    """Between Locust and the demo is something that cuts the second connection of a run, the first of a user."""
    port = int(host.rpartition(":")[2])
    connections: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(head)
        if head.startswith(b"GET /ws "):  # not the devtools'
            connections.append(writer)
            if len(connections) == 2:
                asyncio.get_running_loop().call_later(1.5, writer.transport.abort)
        with suppress(OSError):
            await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(between, "127.0.0.1", 0) as proxy:
        url = f"ws://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        rpc = ("--scenario", "rpc", "-u", "3", "--rate", "5", "-t", "3s", "--host", url)
        done = await asyncio.to_thread(locust, *HEADLESS, *rpc, environ=environ)
    assert done.returncode == 3, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["connections lost"] == ["1", "0", "FAIL"]
    assert table["connects: failed"] == ["0", "0", "ok"]


def test_a_refused_token_is_said_and_not_shown(host: str, environ: dict[str, str]) -> None:
    chaos = ("--scenario", "fanout", "--chaos", "drop=1", "-t", "3s", "--host", host)
    done = locust(*HEADLESS, *chaos, environ=environ | {"LIVERPC_ATTACH_TOKEN": "not-the-servers-token"})
    assert done.returncode == 1
    assert "refused the token" in done.stderr
    assert "not-the-servers-token" not in done.stdout + done.stderr


@live
def echo(ctx: Context[Any], value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("functions", "sentence"), [({"echo": echo}, "no devtools at"), ({"other": echo}, "does not answer load/echo")]
)
async def test_a_server_that_is_not_the_demo_is_named(
    functions: dict[str, Any], sentence: str, environ: dict[str, str]
) -> None:
    server = LiveServer({"load": SimpleNamespace(**functions, _guard=public())})
    async with server.serve("127.0.0.1", 0) as listening:
        chaos = ("--scenario", "fanout", "--chaos", "drop=1", "-t", "3s", "--host", listening.url)
        done = await asyncio.to_thread(locust, *HEADLESS, *chaos, environ=environ)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_has_a_verdict(host: str, environ: dict[str, str]) -> None:
    with begun(host, environ, "--scenario", "fanout", "-u", "3") as (running, output):
        running.send_signal(signal.SIGINT)
    assert running.returncode == 0
    assert cells("".join(output))["lost"] == ["0", "0", "ok"]


def test_a_run_that_is_ended_before_its_time_has_not_passed(host: str, environ: dict[str, str]) -> None:
    with begun(host, environ, "--scenario", "fanout", "-u", "3", "-t", "1h") as (running, output):
        running.send_signal(signal.SIGINT)
    assert running.returncode == 5
    assert cells("".join(output))["lost"] == ["0", "0", "ok"]


def test_a_server_that_dies_is_a_failure_and_no_crash(environ: dict[str, str]) -> None:
    with (
        process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", environ=environ) as server,
        begun(first_url(server), environ, "RpcUser", "-u", "5", "-t", "3s") as (running, output),
    ):
        server.kill()
    assert running.returncode == 3
    text = "".join(output)
    assert "Traceback" not in text
    assert cells(text)["calls: unanswered"][-1] == "FAIL"
