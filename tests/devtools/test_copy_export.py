"""What is copied and written of rows."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from liverpc.inspector.protocol import Events, StreamInfo
from liverpc_devtools.core import copying, exporting
from liverpc_devtools.core.exporting import Sheet
from tests.devtools.attach_frames import call, figures, full, pub
from tests.devtools.conftest import OpenBench, fed

HOSTILE = '=HYPERLINK("http://x")\x1b]0;owned\x07'


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "liverpc" / "exports"


def sheet(
    *rows: Any, cells: list[list[tuple[str, str]]] | None = None, comments: list[str | None] | None = None
) -> Sheet:
    return Sheet(
        rows=rows,
        cells=cells or [[("n", str(n))] for n in range(len(rows))],
        comments=comments or [None] * len(rows),
        wall=lambda at: at,
    )


def test_json_lines_are_ascii_and_have_the_marks() -> None:
    text = exporting.text("JSON lines", sheet(pub(HOSTILE), call(), comments=[None, "odd #later"]))
    first, second = map(json.loads, text.splitlines())
    assert text.isascii()
    assert "\x1b" not in text
    assert (first["kind"], first["topic"], "mark" in first) == ("pub", HOSTILE, False)
    assert (second["kind"], second["path"], second["mark"]) == ("rpc", "chat/send", "odd #later")


@pytest.mark.parametrize("cell", [HOSTILE, "+1+1", "-2+3|cmd", "@SUM(1)", " =1", "\t=1"])
def test_no_cell_of_a_sheet_is_a_formula(cell: str) -> None:
    text = exporting.text("CSV", sheet(1, cells=[[("title", cell), ("n", "4")]], comments=["=2"]))
    header, row = csv.reader(text.splitlines())
    assert header == ["title", "n", "mark"]
    assert not row[0].lstrip().startswith(("=", "+", "-", "@"))
    assert row[1:] == ["4", "'=2"]
    assert text.isprintable() or "\n" in text
    assert "\x1b" not in text


def test_calls_are_written_as_har() -> None:
    failed = call(1100.0, ok=False, args={"text": "hi"}, result="slow down")
    rows = [call(1099.0, number=2, result={"id": 1}), failed]
    assert exporting.forms(rows) == ["JSON lines", "CSV", "HAR (calls)"]
    assert exporting.forms([pub()]) == ["JSON lines", "CSV"]
    log = json.loads(exporting.text("HAR (calls)", sheet(*rows)))["log"]
    assert [each["response"]["statusText"] for each in log["entries"]] == ["OK", "RATE_LIMITED"]
    entry = log["entries"][1]
    assert (entry["request"]["url"], entry["time"]) == ("chat/send", 1.5)
    assert json.loads(entry["request"]["postData"]["text"]) == {"text": "hi"}
    assert entry["startedDateTime"].startswith("1970-01-01T00:18:19.998")


def test_files_belong_to_their_user_and_do_not_replace_each_other(state: Path) -> None:
    first = exporting.save("calls", "CSV", sheet(call()))
    second = exporting.save("calls", "CSV", sheet(call()))
    assert first != second
    assert {each.parent for each in (first, second)} == {state}
    assert [stat.S_IMODE(each.stat().st_mode) for each in (first, second)] == [0o600, 0o600]


def test_what_can_be_copied_of_an_event() -> None:
    offers = {each.title: each.text() for each in copying.offers(pub("board:1"), [("seq", "1")], url="ws://h:1")}
    assert json.loads(offers["JSON"])["topic"] == "board:1"
    assert (offers["topic board:1"], json.loads(offers["payload"])) == ("board:1", {"n": 1})
    assert offers["as `tail` command"] == "liverpc-tui tail ws://h:1 --filter topic:board:1"
    assert (offers["row"], offers["seq: 1"]) == ("1", "1")


def test_a_hostile_name_stays_one_argument_of_the_command() -> None:
    event = pub("a b'; rm -rf ~ #\n\x1b[2J")
    offers = {each.title: each.text() for each in copying.offers(event, [], url="ws://h:1")}
    command = offers["as `tail` command"]
    assert command.isprintable()
    assert command.startswith("liverpc-tui tail ws://h:1 --filter '")
    assert all(title.isprintable() for title in offers)


# -- on the screen


@pytest.mark.realtime
async def test_y_copies_to_the_clipboard_and_a_file(bench: OpenBench, state: Path) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("board:1", "board:2")))
        assert "Copy" in await it.press("j", "y")
        await it.press("G", "g", "j", "j", "j", "k", "enter")
        assert "copied topic board:2" in await it.written()
        assert it.app.clipboard == "board:2"
        assert [each.cli for each in it.app.log_of_commands.entries][-1].startswith("# copied topic board:2")
        copied = state / "copied.txt"
        assert (copied.read_text(), stat.S_IMODE(copied.stat().st_mode)) == ("board:2", 0o600)


@pytest.mark.realtime
async def test_e_writes_the_rows_that_are_shown(bench: OpenBench, state: Path) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("board:1", "chat:1", "board:2")))
        await it.press("slash", *"topic:board:*", "enter", "m")
        assert "Write 2 shown rows" in await it.press("e")
        await it.press("enter")
        assert "wrote" in await it.written()
        (path,) = state.glob("topics-*.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(each["topic"], "mark" in each) for each in rows] == [("board:1", True), ("board:2", False)]


@pytest.mark.realtime
async def test_e_writes_a_picture(bench: OpenBench, state: Path) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, full(), Events(items=[call()]))
        assert "HAR (calls)" in await it.press("e")
        await it.press("G", "enter")
        await it.written()
        (path,) = state.glob("calls-*.svg")
        assert "chat/send" in path.read_text().replace("&#160;", " ")


@pytest.mark.realtime
async def test_a_file_that_cannot_be_written_is_told(bench: OpenBench, state: Path) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("board:1",)))
        state.parent.mkdir(parents=True)
        state.write_text("")  # where the folder should be
        await it.press("e", "enter")
        assert "not written" in await it.written()


@pytest.mark.realtime
async def test_menus_show_hostile_names_as_they_are(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        info = StreamInfo(1, "[red]a\x1b[2J[/", "crud", "p")
        await fed(it, full(streams=[info], stream_stats=[figures(1)]))
        assert "topic [red]a\\x1b[2J[/" in await it.press("y")
        assert "Copy" not in await it.press("escape")
