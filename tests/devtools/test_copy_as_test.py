"""Tests written from recorded calls: they run, and say what they lack."""

from __future__ import annotations

import ast
import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from liverpc import Inspect, RpcError, Token, remote
from liverpc.demo.app import make_server
from liverpc.demo.world import World
from liverpc.inspector.protocol import CallEvent, Declarations, Declared, Events, Get, Got, PublishEvent
from liverpc.testing import TestEnv
from liverpc_devtools.core.copytest import as_test, listened
from liverpc_devtools.widgets.menus import Menu
from tests.devtools.attach_frames import call as told
from tests.devtools.attach_frames import full
from tests.devtools.conftest import OpenBench, fed
from tests.inspector.attach_kit import SECRETS, Observer

CONFTEST = """
    import pytest
    from liverpc.demo.app import make_server
    from liverpc.demo.world import World

    @pytest.fixture
    def live_server():
        return make_server(World())

    @pytest.fixture
    def live_client(live_env):
        return lambda user: live_env.connect(query={"user": user})
"""
INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"


def ran(folder: Path, *sources: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    (folder / "pytest.ini").write_text(INI)
    for number, source in enumerate(sources):
        (folder / f"test_copied_{number}.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)


def call(**changes: Any) -> CallEvent:
    values: dict[str, Any] = {
        "at": 1.0,
        "path": "chat/send",
        "connection": "c1",
        "ms": 1.0,
        "ok": True,
        "user": "ann",
        "args": {"room": "general", "text": "hello"},
        "result": {"id": 7, "author": "ann", "text": "hello"},
    }
    return CallEvent(**values | changes)


def test_what_is_made_up_counts_by_its_type_only() -> None:
    text = as_test(call(result={"id": 7, "n": 3, "made_at": 1.5, "uuid": "x", "row": {"userId": 4, "to": "a" * 20}}))
    assert "'id': Some(int)" in text
    assert "'n': 3" in text
    assert "'made_at': Some((int, float))" in text
    assert "'userId': Some(int)" in text
    assert "'to': Some(str)" in text
    assert "only the type counts of: id, made_at, to, userId, uuid" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"args": {"email": "a", "password": "[REDACTED]"}}, "args.password was redacted"),
        ({"args": {"deep": {"list": [1, "[+12 more]"]}}}, "args.deep.list[1] was cut"),
        ({"args": {"text": "abc[+20 characters]"}}, "args.text was cut"),
        ({"args": {"a": {"b": "[depth-cap]"}}}, "args.a.b was cut"),
        ({"args": {"a": {"…": "[+3 more]"}}}, "args.a.… was cut"),
        ({"args": msgspec.UNSET}, "the arguments were not recorded"),
        ({"result": {"token": "[REDACTED]"}}, "result.token was redacted"),
        ({"carries": "upload"}, "the upload data was not recorded"),
    ],
)
def test_what_was_not_recorded_fails_by_name(changes: dict[str, Any], said: str) -> None:
    text = as_test(call(**changes))
    fails = [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert any(each.startswith("pytest.fail(") and said in each for each in fails)


HOSTILE = (
    '"""\nimport os\n',
    "'); import os; ('",
    "{__import__('os')}",
    "\\",
    "\x1b[2J\u202e",
    "# \r\n x",
    "a\x00b",
    "…",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_only_strings(text: str) -> None:
    event = PublishEvent(1.0, text, text, 1, 1, data={text: text})
    for ok in (True, False):
        of = call(path=f"a/{text}", user=text, code=text, ok=ok, args={text: text, "x": [text]}, result={text: [text]})
        source = as_test(of, published=[event], streams={text: (text, [text])})
        assert source.isascii()
        tree = ast.parse(source)
        (test,) = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
        assert test.name.startswith("test_a")
        imported = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("os" in each.split() for each in imported)
        names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
        assert not names & {"os", "__import__"}


def test_how_to_listen_is_told_by_the_declaration() -> None:
    def stream(topic: str, *parameters: tuple[str, dict[str, Any], bool]) -> list[Declared]:
        return [Declared("chat/messages", "stream", "", "", list(parameters), {}, [], [], topic)]

    text = ("room", {"type": "string"}, True)
    assert listened("chat:general", "chat/messages", stream("chat:{room}", text)) == ("chat/messages", ["general"])
    assert listened("b:7", "chat/messages", stream("b:{n}", ("n", {"type": "integer"}, True))) == ("chat/messages", [7])
    assert listened("prices", "chat/messages", stream("prices")) == ("chat/messages", [])
    assert listened("other:1", "chat/messages", stream("chat:{room}", text)) is None
    assert listened("chat:1", "chat/messages", stream("chat:{room}", text, ("more", {}, True))) is None
    assert listened("chat:1", "chat/messages", stream("")) is None
    assert listened("chat:1", "none/such", stream("chat:{room}", text)) is None


async def exchange(*calls: tuple[str, list[Any]]) -> tuple[list[CallEvent], list[PublishEvent], list[Declared]]:
    """What a server's devtools tell of calls of ``ann``."""
    inspect = Inspect(enabled=True, tokens=(Token(secret=SECRETS["admin"], level="admin"),))
    async with TestEnv(make_server(World(), inspect=inspect)) as env:
        observer = await Observer.attach(env, "admin")
        await observer.watch()
        ann = env.connect(query={"user": "ann"})
        handle = await ann.subscribe(remote("chat/messages"), "general")
        for path, args in calls:
            with contextlib.suppress(RpcError):
                await ann.call(remote(path), *args)
        while sum(isinstance(each, CallEvent) for each in observer.events) < len(calls) + 1:
            await observer.wait(Events)
        await handle.aclose()
        told = await observer.ask(Get(id=99, ref=["declared"]))
        assert isinstance(told, Got)
        assert told.declared is not None
    events = [each for each in observer.events if isinstance(each, CallEvent) and not each.stream]
    published = [each for each in observer.events if isinstance(each, PublishEvent) and each.topic == "chat:general"]
    return events, published, told.declared.paths


async def test_copies_of_a_real_exchange_pass_and_say_what_they_lack(tmp_path: Path) -> None:
    calls, published, declared = await exchange(
        ("chat/send", ["general", "hello"]),
        ("chat/send", ["NO SUCH ROOM", "hello"]),
        ("load/echo", [{"a": [1, None]}]),
        ("load/echo", [{"password": "s3cret"}]),
    )
    assert [each.code for each in calls] == ["", "VALIDATION", "", ""]
    how = listened("chat:general", "chat/messages", declared)
    assert how is not None
    sources = [as_test(calls[0], published=published, streams={"chat:general": how}), *map(as_test, calls[1:])]
    assert "wait_for(lambda value: shows" in sources[0]
    assert "caught.value.code == 'VALIDATION'" in sources[1]
    assert "s3cret" not in sources[3]
    done = ran(tmp_path, *sources)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "args.value.password was redacted" in done.stdout


async def test_a_call_is_copied_as_a_test_by_key(
    bench: OpenBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    copied: list[str] = []
    async with bench() as app:
        monkeypatch.setattr(app.app, "copy_to_clipboard", copied.append)
        led_to = PublishEvent(1100.0, "a", "created", 1, 1, data={"text": "hello"}, cause=5)
        await fed(app, full(), Events(items=[told(at=1100.0, id=5, args={}), led_to]))
        app.model.explored.declared = Declarations([Declared("board/list", "stream", "", "", [], {}, [], [], "a")])
        await app.press("3")
        assert "as test" in await app.press("y")
        menu = app.app.screen
        assert isinstance(menu, Menu)
        menu.dismiss(menu._choices.index("as test"))
        await app.text()
    assert "remote('board/list')" in copied[0]
    assert "shows(value, data_0)" in copied[0]
