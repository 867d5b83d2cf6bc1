"""``liverpc routes``, with and without ``--check-topics``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.schema_kit import command

TOPICS = """
from liverpc import define_topics

topics = define_topics({
    "lobby": "lobby",
    "room": "room:{room_id}",
    "org": lambda org_id: f"org:{org_id}",
    "numbered": lambda n: f"n:{int(n)}",
})
"""

APP = """
from names import topics
from liverpc import Context, LiveServer, UploadContext, live, public

_guard = public()

@live.stream("board:{board_id}")
async def board(ctx: Context, board_id: str) -> list[dict]:
    return []

@live.stream(lambda ctx, day: f"day:{day}")
async def days(ctx: Context, day: int) -> list[dict]:
    return []

notices = live.channel("notices", merge="latest", item=dict)

@live
async def send(ctx: Context, room_id: str, x: str) -> None:
%s

@live.binary()
async def avatar(ctx: Context, data: bytes) -> None: ...

@live.upload()
async def store(ctx: UploadContext) -> None: ...

import sys
server = LiveServer([sys.modules[__name__]])
broken = LiveServer
"""


def routes(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "liverpc.cli", "routes", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def write(folder: Path, *lines: str) -> Path:
    (folder / "names.py").write_text(TOPICS)
    (folder / "app.py").write_text(APP % "".join(f"    {line}\n" for line in lines or ("pass",)))
    return folder


def test_routes_lists_paths_kinds_and_topics(tmp_path: Path) -> None:
    done = command("routes", "app:server", cwd=write(tmp_path))
    assert done.stdout.splitlines() == [
        "app/board    stream   board:{board_id}",
        "app/days     stream   day:{day}",
        "app/notices  channel  notices",
        "app/send     rpc",
        "app/avatar   binary",
        "app/store    upload",
    ]
    assert done.returncode == 0


def test_topics_that_fit_are_no_finding(tmp_path: Path) -> None:
    lines = [
        'ctx.publish(topics.room(room_id), "created", {})',
        'ctx.publish("room:r1", "created", {})',
        'ctx.publish(f"room:{room_id}", "created", {})',
        'ctx.publish("lobby", "created", {})',
        'ctx.publish("org:1", "created", {})',
        'ctx.publish(f"board:{x}:more", "created", {})',
        'ctx.publish(f"day:{x}", "created", {})',
        'ctx.publish(f"{x}:{room_id}", "created", {})',
        'ctx.publish(x, "created", {})',
        'ctx.publish("ro" + "om", "created", {})',
        'ctx.throttle("notices", "created", {}, 0.1)',
        'redis.publish("channel", "message")',
        'client.stream("nothing")',
        "ctx.batch(x)",
    ]
    done = routes(write(tmp_path, *lines), "app:server", "--check-topics")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_topics_that_fit_nothing_are_shown_with_place_and_nearest(tmp_path: Path) -> None:
    lines = [
        'ctx.publish("rooms:r1", "created", {})',
        'ctx.publish(f"bord:{x}", "created", {})',
        'server.publish_nowait("n:1", "created", {})',
        'ctx.throttle("lobbi", "created", {}, 0.1)',
        'ctx.debounce("room", "created", {}, 0.1)',
        'ctx.batch([("lobby", "e", 1), ("loby", "e", 1)])',
        'ctx.batch((f"lists:{n}", "e", 1) for n in x)',
    ]
    done = routes(write(tmp_path, *lines), "app:server", "--check-topics")
    first = (tmp_path / "app.py").read_text().splitlines().index("    " + lines[0]) + 1
    assert done.returncode == 1
    assert done.stderr == ""
    found = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in found] == [f"app.py:{first + n}" for n in range(len(lines))]
    assert found[0].endswith("no topic fits 'rooms:r1'; the nearest is 'room:{room_id}'")
    assert found[1].endswith("no topic fits 'bord:{…}'; the nearest is 'board:{board_id}'")
    assert found[3].endswith("no topic fits 'lobbi'; the nearest is 'lobby'")
    assert found[5].endswith("no topic fits 'loby'; the nearest is 'lobby'")


def test_a_folder_is_checked_too(tmp_path: Path) -> None:
    write(tmp_path)
    inner = tmp_path / "jobs" / "inner"
    inner.mkdir(parents=True)
    (inner / "nightly.py").write_text('def run(server):\n    server.publish_nowait("rom:1", "e", 1)\n')
    (inner / "drafts.py").write_text(
        'from liverpc import live\nx = live.stream("rows")\ny = live.channel(topic="boards")\n'
    )
    (tmp_path / "jobs" / ".venv").mkdir()
    (tmp_path / "jobs" / ".venv" / "broken.py").write_text("no python")
    assert routes(tmp_path, "app:server", "--check-topics").returncode == 0
    done = routes(tmp_path, "app:server", "--check-topics", "jobs")
    assert done.returncode == 1
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        "jobs/inner/drafts.py:2: no topic fits 'rows'",
        "jobs/inner/drafts.py:3: no topic fits 'boards'",
        "jobs/inner/nightly.py:2: no topic fits 'rom:1'",
    ]


def test_without_any_topic_there_is_no_nearest(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(
        "import sys\nfrom liverpc import LiveServer, live, public\n_guard = public()\n"
        '@live\ndef call(ctx):\n    ctx.publish("x", "e", 1)\nserver = LiveServer([sys.modules[__name__]])\n'
    )
    done = routes(tmp_path, "bare:server", "--check-topics")
    assert (done.returncode, done.stdout) == (1, "bare.py:6: no topic fits 'x'; none is declared\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["app"], "'app' is no server: say module:name, such as app:server"),
        (["app:"], "'app:' is no server"),
        (["nothing:server"], "nothing:server cannot be loaded: ModuleNotFoundError"),
        (["app:nothing"], "app:nothing cannot be loaded: AttributeError"),
        (["app:broken"], "app:broken is a type, no LiveServer"),
        (["failing:server"], "failing:server cannot be loaded: ZeroDivisionError"),
        (["app:server", "--check-topics", "nowhere"], "there is no folder 'nowhere'"),
        (["app:server", "--check-topics", "jobs"], "jobs/broken.py cannot be checked"),
        (["app:server", "jobs"], "unrecognized arguments: jobs"),
        ([], "usage: liverpc routes"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence_and_exit_code_2(
    arguments: list[str], why: str, tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / "failing.py").write_text("1 / 0")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "broken.py").write_text("no python")
    done = command("routes", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
