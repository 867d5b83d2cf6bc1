"""What ``tail``, ``top``, ``record``, ``replay --json`` and ``doctor`` write, and with which code they end."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import ConnectionEvent, Events, Hello, Match, Watch
from liverpc_devtools.cli import main
from liverpc_devtools.core.attach import Link
from liverpc_devtools.core.filter import parse
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.recording import Rotation
from liverpc_devtools.core.target import Target
from liverpc_devtools.headless.doctor import doctor
from liverpc_devtools.headless.output import Refused
from liverpc_devtools.headless.record import record
from liverpc_devtools.headless.tail import Sink, Wish, fits, tail
from liverpc_devtools.headless.top import top
from tests.devtools.attach_frames import call, pub
from tests.devtools.fake_attach import TOKEN, FakeServer, fake_server
from tests.devtools.test_recording import Studio, recorded

pytestmark = pytest.mark.realtime
Out = pytest.CaptureFixture[str]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server(interval=0.01) as server:
        yield server


def target(server: FakeServer) -> Target:
    return Target(f"{server.url}/__liverpc/attach", TOKEN)


def lines(out: Out) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.readouterr().out.splitlines()]


async def ended(work: Any) -> int:
    async with asyncio.timeout(10):
        return int(await work or 0)


# -- tail


async def test_a_filter_is_applied_here_and_as_far_as_possible_there(server: FakeServer, capsys: Out) -> None:
    wish = Wish(filter=parse("topic:board:* data.author.id:3 event:updated"), number=2)
    assert await ended(tail(target(server), wish)) == 0
    (watch,) = server.sent(Watch)
    assert (watch.match.topic, watch.match.event, watch.capture) == (["board:*"], ["updated"], True)
    events = [each for each in lines(capsys) if each["t"] == "event"]
    assert {(each["topic"][:6], each["event"]) for each in events} == {("board:", "updated")}
    assert len(events) == 2


async def test_until_ends_it_with_what_was_waited_for(server: FakeServer, capsys: Out) -> None:
    wish = Wish(match=Match(kind=["conn"]), until=parse("topic:ticker:*"))
    assert await ended(tail(target(server), wish)) == 0
    assert lines(capsys)[-1]["topic"] == "ticker:BTC"
    assert [each.capture for each in server.sent(Watch)] == [False, False]


async def test_fail_on_is_5(server: FakeServer, capsys: Out) -> None:
    wish = Wish(match=Match(kind=["conn"]), fail_on=parse("kind:rpc ok:false"))
    assert await ended(tail(target(server), wish)) == 5
    out = capsys.readouterr()
    assert json.loads(out.out.splitlines()[-1])["ok"] is False
    assert "was not to come" in out.err


async def test_what_does_not_come_in_time_is_an_error(server: FakeServer) -> None:
    with pytest.raises(Refused, match="nothing came that is"):
        await ended(tail(target(server), Wish(until=parse("code:NEVER"), seconds=0.05)))


def sunk(wish: Wish, *events: Any, lost: int = 0) -> int | None:
    return Sink(wish).take(Events(items=list(events), lost=lost, sample=0.5))


def test_spreadsheets_get_a_row_for_each_event_and_no_formula(capsys: Out) -> None:
    hostile = pub(topic='=HYPERLINK("x")')
    sunk(
        Wish(form="csv"),
        hostile,
        call(ok=False),
        ConnectionEvent(1.0, "c1", "close", code=1001, reason="going"),
        lost=3,
    )
    out = capsys.readouterr().out
    assert out.isascii()
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["", "gap", "3"]
    assert rows[1][1:4] == ["pub", '\'=HYPERLINK("x")', "updated"]
    assert rows[2][1:6] == ["rpc", "chat/send", "", "False", "RATE_LIMITED"]
    assert (rows[3][1], rows[3][3], rows[3][5]) == ("conn", "close", "1001")


def test_people_get_lines_that_do_nothing_to_their_terminal(capsys: Out) -> None:
    sunk(
        Wish(form="pretty"),
        pub(topic="\x1b[31mred\n", dropped=True),
        call(),
        ConnectionEvent(1.0, "c1", "open"),
        lost=3,
    )
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    assert "3 events not captured" in out[0]
    assert "\\x1b[31mred\\n updated 10 B to 2 DROPPED" in out[1]
    assert "rpc  chat/send ok 1.50ms anonymous" in out[2]
    assert "conn c1 open anonymous" in out[3]


def test_a_match_means_here_what_it_means_there() -> None:
    assert fits(Match())(pub())
    assert fits(Match(kind=["pub"], topic=["b*", "a"]))(pub())
    assert not fits(Match(topic=["b*"]))(pub())
    assert fits(Match(topic=["b*"]))(call())
    assert not fits(Match(ok=False))(call())
    assert not fits(Match(min_ms=2))(call())
    assert fits(Match(kind=["upload"]))(call(carries="upload"))
    assert not fits(Match(kind=["upload"]))(call())
    assert not fits(Match(event=["created"]))(pub())
    assert fits(Match(kind=["conn"]))(ConnectionEvent(1.0, "c1", "open"))


# -- top


async def test_top_as_a_table(server: FakeServer, capsys: Out) -> None:
    await ended(top(target(server), interval=0.05, number=1, form="table"))
    text = capsys.readouterr().out
    assert "calls_per_s" in text
    assert "chat/send" in text


# -- record


def link(server: FakeServer) -> tuple[Link, Model]:
    model = Model()
    return Link(lambda: target(server), "observe", model), model


async def test_a_server_is_recorded_for_a_time(server: FakeServer, tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "r.lrec.gz"
    await ended(record(*link(server), path, rotation=Rotation(), seconds=1.0))
    played = Recording(path)
    assert played.complete
    assert played.index.events > 5
    out = capsys.readouterr()
    assert json.loads(out.out) == {"t": "recorded", "path": str(path), "size": path.stat().st_size}
    assert "recording to" in out.err


async def test_a_recording_goes_on_when_the_connection_comes_back(server: FakeServer, tmp_path: Path) -> None:
    work = asyncio.create_task(record(*link(server), tmp_path / "r.lrec.gz", rotation=Rotation(), seconds=2.0))
    await server.until_sent(Watch)
    await server.sockets[0].close(1001, "restarting")
    await server.until_sent(Hello, 2)
    await ended(work)
    assert len(Recording(tmp_path / "r.lrec.gz").index.members) == 2


async def test_a_server_that_is_not_there_makes_no_file(server: FakeServer, tmp_path: Path) -> None:
    model = Model()
    gone = Link(lambda: Target("ws://127.0.0.1:1/x", TOKEN), "observe", model)
    with pytest.raises(AttachError):
        await ended(record(gone, model, tmp_path / "r.lrec.gz", rotation=Rotation(), seconds=1))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "r.lrec.gz").touch()
    with pytest.raises(ConfigError, match="File exists"):
        await ended(record(*link(server), tmp_path / "r.lrec.gz", rotation=Rotation(), seconds=1))


async def test_no_token_is_in_anything_that_is_written(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "r.lrec.gz"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liverpc_devtools.cli", "record", server.url, "-o", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LIVERPC_ATTACH_TOKEN": TOKEN, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    await server.until_sent(Watch)
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 130
    unpacked = subprocess.run(["zcat", str(path)], capture_output=True, check=True).stdout
    assert b'"t":"index"' in unpacked
    for each in (out, err, arguments, unpacked, path.read_bytes()):
        assert TOKEN.encode() not in each
    assert oct(path.stat().st_mode & 0o777) == "0o600"


# -- replay, locate and what is wrong


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorded(Studio(tmp_path), 70)


def test_a_recording_is_written_as_tail_would(path: Path, capsys: Out) -> None:
    assert main(["replay", str(path), "--json", "--from", "+1m"]) == 0
    meta, *events = lines(capsys)
    assert (meta["t"], meta["server"]["name"]) == ("meta", "prod-a")
    assert [each["seq"] for each in events] == list(range(59, 70))
    assert main(["replay", str(path), "--json", "--filter", "seq>=68"]) == 0
    assert [each["seq"] for each in lines(capsys)[1:]] == [68, 69]


def test_a_damaged_recording_is_written_as_far_as_it_goes(path: Path, capsys: Out) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    assert main(["replay", str(path), "--json"]) == 0
    out = capsys.readouterr()
    assert len(out.out.splitlines()) > 50
    assert "breaks off" in out.err


@pytest.mark.parametrize(
    "argv",
    [
        ["replay", "/nonexistent"],
        ["replay", "/nonexistent", "--json"],
        ["record", "localhost:1", "--keep", "48h"],
    ],
)
def test_misuse_is_2(argv: list[str], capsys: Out) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["tail", "localhost:1", "--filter", "("],
        ["tail", "localhost:1", "--format", "xml"],
        ["record", "localhost:1", "--rotate", "64 apples"],
        ["replay", "x", "--speed", "fast"],
        ["locate", "everything"],
    ],
)
def test_what_cannot_be_understood_is_2(argv: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2


def test_a_moment_that_is_none_is_told(path: Path, capsys: Out) -> None:
    assert main(["replay", str(path), "--json", "--from", "soon"]) == 2
    assert "a moment is" in capsys.readouterr().err


def test_where_things_are(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    for what in ("config", "state", "recordings"):
        assert main(["locate", what]) == 0
    assert capsys.readouterr().out.split() == ["/c/liverpc/tui.toml", "/s/liverpc", "/s/liverpc/recordings"]


# -- doctor


async def test_a_doctor_finds_nothing(server: FakeServer, capsys: Out) -> None:
    await ended(doctor(target(server), "observe", "0.1.0"))
    checks = {each["name"]: each for each in lines(capsys)}
    names = ("attach", "versions", "protocol", "level", "clock", "redaction", "token", "round trip")
    assert {name: checks[name]["state"] for name in names} == dict.fromkeys(names, "ok")
    assert TOKEN not in str(checks)


async def test_a_doctor_says_what_is_wrong(server: FakeServer, capsys: Out) -> None:
    server.may_arm = False
    await ended(doctor(target(server), "chaos", "9.9"))
    checks = {each["name"]: each for each in lines(capsys)}
    assert (checks["level"]["state"], checks["versions"]["state"]) == ("warn", "warn")
    assert "the token opens observe" in checks["level"]["text"]
    with pytest.raises(AttachError):
        await ended(doctor(Target(target(server).url, "wrong"), "observe", "0.1.0"))
    assert lines(capsys)[-1]["state"] == "fail"
