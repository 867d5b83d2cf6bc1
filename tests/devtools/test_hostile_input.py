"""A server, or somebody who talks to one, that puts into every text and payload what might act on who looks at it."""

from __future__ import annotations

import ast
import time
import zlib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import (
    AttachSession,
    CallEvent,
    ConnectionEvent,
    Declared,
    Events,
    Note,
    PublishEvent,
    Rooms,
    RoomTotals,
    ServerInfo,
    State,
)
from liverpc_devtools.core import lrec
from liverpc_devtools.core.copytest import as_test, listened
from liverpc_devtools.core.exporting import harmless
from liverpc_devtools.core.filter import FilterError, parse
from liverpc_devtools.core.patterns import regex
from liverpc_devtools.core.recorded import Recording, recordings
from liverpc_devtools.core.text import age, clock, date, duration
from tests.devtools.conftest import OpenBench

EVIL = "\x1b]52;c;cm0=\x07\x1b[2J[red]\u202e\u200b\x9b31m[@click=app.quit]x[/]\r\nz\ud7ff\x00" + "w" * 300


def deep(levels: int) -> Any:
    value: Any = EVIL
    for number in range(levels):
        value = [value] if number % 2 else {EVIL: value}
    return value


def filled(kind: Any, depth: int = 0) -> Any:
    """A value of a type, with evil texts throughout."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is str:
        return EVIL
    if kind is Any:
        return {EVIL: [EVIL], "id": 1}
    if kind in (int, float, bool):
        return kind(1)
    if origin is list:
        return [filled(args[0], depth + 1)]
    if origin is tuple:
        return tuple(filled(each, depth + 1) for each in args)
    if origin is dict:
        return {EVIL: filled(args[1], depth + 1)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return kind(**{name: filled(hints[name], depth + 1) for name in kind.__struct_fields__})
    return filled(args[0], depth + 1) if args else None


def frames(payload: Any) -> list[Any]:
    state = filled(State)
    replace = msgspec.structs.replace
    states = replace(state, full=True, more=False, counters={}, latencies=[], deliveries=[], rev=1, at=1100.0)
    events = [
        replace(filled(PublishEvent), at=1100.0, data=payload),
        replace(filled(CallEvent), at=1100.0, args={EVIL: payload}, result=payload, ok=False, published=[EVIL]),
        replace(filled(ConnectionEvent), at=1100.0),
    ]
    rooms = replace(filled(Rooms), full=True, totals=RoomTotals(1, 1, 1), of=(EVIL, 1), gone=[])
    return [states, Events(items=events), rooms, Note(text=EVIL)]


async def test_nothing_of_it_acts_and_nothing_of_it_ends_the_program(bench: OpenBench) -> None:
    async with bench(granted="admin") as opened:
        for frame in frames(deep(60)):
            opened.model.apply(frame)
        for screen in "1234567090E":
            text = await opened.press(screen)
            if screen in "2359":
                text += await opened.press("enter")
            odd = {each for each in text if not each.isprintable() and each != "\n"}
            assert not odd, (screen, odd)
            assert opened.app.is_running


def test_no_text_of_a_call_becomes_code_of_its_test() -> None:
    for text in ("'); import os; ('", '"); import os; ("', "\\", "\n    import os\n    "):
        call = msgspec.structs.replace(
            filled(CallEvent), path=text, code=text, user=text, carries=text, args={text: text}
        )
        led_to = [msgspec.structs.replace(filled(PublishEvent), topic=text, event=text, data={text: text})]
        for ok in (True, False):
            tree = ast.parse(as_test(msgspec.structs.replace(call, ok=ok, result=text), published=led_to))
            imported = {each.names[0].name for each in ast.walk(tree) if isinstance(each, ast.Import)}
            assert imported <= {"pytest"}


def test_how_to_listen_is_not_found_out_by_force() -> None:
    def found(template: str, topic: str) -> Any:
        number = [("n", {"type": "integer"}, True)]
        return listened(topic, "p", [Declared("p", "stream", "", "", number, {}, [], [], template)])

    assert found("n:{n}", "n:12") == ("p", [12])
    assert found("n:{n}", "n:\u00b2") == ("p", ["\u00b2"])
    assert found("n:{n}", "n:" + "1" * 5000) == ("p", ["1" * 5000])
    assert found("{n}{n}", "xx") is None
    assert found("{1n}", "x") is None
    began = time.thread_time()
    assert found("".join(f"{{p{number}}}" for number in range(12)) + "!", "x" * 250) is None
    assert time.thread_time() - began < 0.5


def test_a_regular_expression_does_not_keep_the_program_busy() -> None:
    with pytest.raises(FilterError):
        parse("/" + "a?" * 8 + ".*.*z/")
    with pytest.raises(FilterError):
        parse("/" + "(a|a)" * 8 + ".*z/")
    began = time.thread_time()
    assert not regex(".*a.*b")("a" * 500)
    assert not regex("a*a*b")("a" * 500)
    assert time.thread_time() - began < 0.3
    assert regex("a.*b")("a" + "x" * 498 + "b")
    assert regex(".*a.*b")("x" * 97 + "a b")


def test_a_cell_that_is_a_formula_in_wide_characters_is_none() -> None:
    assert harmless("\uff1dcmd") == "'\uff1dcmd"


NESTED = b"[" * 5000 + b"]" * 5000


def test_a_frame_that_is_nested_too_deeply_ends_the_session_and_not_the_program() -> None:
    session = AttachSession(client="x", want="observe", monotonic=lambda: 0.0)
    with pytest.raises(AttachError):
        session.receive(b'{"t":"note","text":%s}' % NESTED)


def _recording(path: Path, *lines: bytes, wall: float = 1.0) -> Path:
    server = ServerInfo(name="x", version="1", pid=1, started=1.0)
    header = lrec.Header(schema=1, program="x", protocol=1, server=server, granted="observe", redacted=[], wall=wall)
    path.write_bytes(lrec.packed(msgspec.json.encode(header), *lines))
    return path


def test_a_recording_with_lines_that_are_nested_too_deeply_is_read_without_them(tmp_path: Path) -> None:
    recording = Recording(_recording(tmp_path / "a.lrec.gz", b'{"at":0}', b'{"at":1,"frame":%s}' % NESTED, b'{"at":2}'))
    assert [entry.at for entry in recording.entries()] == [0, 2]
    assert recording.problems


def test_a_recording_of_millions_of_empty_lines_is_given_up(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.lrec.gz", b'{"at":0}')
    path.write_bytes(path.read_bytes() + zlib.compress(b"\n" * (64 << 20), wbits=lrec.GZIP))
    began = time.thread_time()
    recording = Recording(path)
    assert len(list(recording.entries())) == 1
    assert time.thread_time() - began < 2
    assert any("1,000 lines" in each for each in recording.problems)


def test_a_recording_of_times_that_cannot_be_is_read_without_them(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.lrec.gz", b'{"at":0}', b'{"at":1e308}', b'{"at":-1}', b'{"at":2}')
    recording = Recording(path)
    assert [entry.at for entry in recording.entries()] == [0, 2]
    assert recording.until == 2
    body = path.read_bytes()
    for index in (
        lrec.Index([(0, 0.0), (0, 1e308)], 1.0, 1),
        lrec.Index([(0, 0.0)], 1e308, 1),
        lrec.Index([(0, 0.0)], 1.0, 1, marks=[lrec.Mark(-1.0, "x")]),
    ):
        path.write_bytes(body + lrec.packed(msgspec.json.encode(index)) + lrec.footer(len(body)))
        assert not Recording(path).complete
    with pytest.raises(ConfigError):
        Recording(_recording(tmp_path / "b.lrec.gz", b'{"at":0}', wall=1e300))
    assert recordings(tmp_path)[-1].problem == "no recording"


def test_times_no_calendar_has_are_shown_nevertheless() -> None:
    for wall in (1e300, -1e300, float("inf"), float("nan")):
        assert date(wall) == ""
        assert clock(wall).startswith("--")
    assert age(float("inf")) == age(1e300)
    assert duration(float("inf")) == duration(1e300)
    assert (age(float("nan")), duration(float("nan"))) == ("0.0s", "0:00")
