"""The explorer: what is declared, and calls that are written and tried."""

from __future__ import annotations

from typing import Any

from liverpc.inspector.protocol import (
    CallEvent,
    Declarations,
    Declared,
    Err,
    Get,
    Got,
    Ok,
    PathInfo,
    PathStats,
    ServerInfo,
    Try,
)
from liverpc_devtools.widgets.composer import Composer
from tests.devtools.attach_frames import WALL, full, welcome
from tests.devtools.conftest import Bench, OpenBench, fed, selected

NASTY = "evil\x1b[2J\u202e"
CARD = {
    "title": "Card",
    "type": "object",
    "properties": {"title": {"type": "string"}, "colour": {"enum": ["blue", "red"]}},
    "required": ["title", "colour"],
}
PATHS = [
    Declared(
        "chat/send",
        "rpc",
        f"Say something. {NASTY}",
        "chat.py:26",
        [
            ("room", {"type": "string", "minLength": 1}, True),
            ("card", {"$ref": "#/$defs/Card"}, True),
            ("times", {"type": "integer", "default": 1}, False),
        ],
        {"$ref": "#/$defs/Card"},
        ["authenticated", "scoped may_write"],
        [("rate limit", "5 per 60 s"), ("lock", "printer, waits 5 s"), ("runs in", "a worker thread")],
    ),
    Declared("chat/lines", "stream", "", "chat.py:9", [], {}, [], [("merge", "crud by id")], "lines"),
    Declared(f"x/{NASTY}", "rpc", NASTY, NASTY, [(NASTY, {"title": NASTY}, True)], {}, [NASTY], [(NASTY, NASTY)]),
]
DECLARED = Declarations(PATHS, {"Card": CARD}, ["", "ann", NASTY])


def dev(bench: Bench, granted: str = "admin", **changes: Any) -> None:
    server = ServerInfo("prod-a", "0.1.0", 1, WALL - 3600, dev=True)
    bench.model.attached(welcome(**{"granted": granted, "server": server, **changes}), bench.sent.append)


async def explored(bench: Bench, declared: Declarations = DECLARED) -> str:
    dev(bench)
    bench.model.apply(
        full(
            paths=[PathInfo(1, "chat/send")], path_stats=[PathStats(1, 10, 1, 0.5, 0.2, 0.01, 0.02, 0.03, [("NO", 1)])]
        )
    )
    await bench.press("E")
    (asked,) = [each for each in bench.of(Get) if each.ref == ["declared"]]
    return await fed(bench, Got(id=asked.id, items=[], declared=declared))


def composer(bench: Bench) -> Composer:
    screen = bench.app.screen
    assert isinstance(screen, Composer)
    return screen


async def typed(bench: Bench, line: int, text: str) -> str:
    """What the screen shows with this text in a line."""
    field = composer(bench).query_one(f"#composer-line-{line}")
    bench.app.screen.set_focus(field)
    field.value = text  # type: ignore[attr-defined]  # an input
    return await bench.text()


def answered(**changes: Any) -> CallEvent:
    values: dict[str, Any] = {
        "at": 1100.0,
        "path": "chat/send",
        "connection": "t1",
        "ms": 1.5,
        "ok": True,
        "user": "ann",
    }
    return CallEvent(**{**values, **changes})


async def test_every_path_is_shown_with_its_figures(bench: OpenBench) -> None:
    async with bench() as it:
        text = await explored(it)
        line = next(each for each in text.splitlines() if "chat/send" in each)
        assert "authenticated, scoped may_" in line
        assert " 10 " in line
        assert "10.0" in line  # per cent of errors
        assert "30.0ms" in line
        assert "anybody" in await it.line("chat/lines")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[E Explorer] 3" in text


async def test_enter_goes_to_the_details_which_follow_the_pipeline(bench: OpenBench) -> None:
    async with bench((120, 60)) as it:
        await explored(it)
        text = await it.press("j", "enter")
        assert "chat/send(room: text, at least 1 character, card: Card, times: int = 1) -> Card" in text
        steps = [
            "guard            authenticated",
            "rate limit       5 per 60 s",
            "arguments        room, card, times",
            "scoped           may_write",
            "lock             printer, waits 5 s",
            "function         chat.py:26",
            "runs in          a worker thread",
        ]
        places = [text.index(each) for each in steps]
        assert places == sorted(places)
        assert "errors: NO 1" in text
        text = await it.press("v")
        assert "#/$defs/Card" in text
        assert "minLength" in text
        assert "minLength" not in await it.press("v")


async def test_it_is_asked_once_and_again_after_a_restart(bench: OpenBench) -> None:
    async with bench() as it:
        await explored(it)
        await it.press("3", "E")
        assert len([each for each in it.of(Get) if each.ref == ["declared"]]) == 1
        dev(it)  # the same server again
        await it.text()
        assert len([each for each in it.of(Get) if each.ref == ["declared"]]) == 1
        dev(it, server=ServerInfo("prod-a", "0.1.0", 2, WALL, dev=True))
        assert "is asked what it declares" in await it.text()
        assert len([each for each in it.of(Get) if each.ref == ["declared"]]) == 2


async def test_a_server_that_does_not_tell_says_why(bench: OpenBench) -> None:
    async with bench() as it:
        dev(it)
        await it.press("E")
        (asked,) = [each for each in it.of(Get) if each.ref == ["declared"]]
        assert "at level observe" in await fed(it, Err(id=asked.id, text=f"at level observe {NASTY}"))


async def test_who_may_not_call_is_told_how(bench: OpenBench) -> None:
    async with bench((120, 60)) as it:
        await explored(it, Declarations(PATHS, {"Card": CARD}, [], ["descriptions"]))
        assert "left out: descriptions" in await it.press("j")
        production = ServerInfo("prod-a", "0.1.0", 1, WALL - 3600)
        for welcomed, cure in (
            ({"granted": "observe"}, "--admin"),
            ({"server": production}, "LIVERPC_DEV=1"),
            ({}, "token for all topics"),
        ):
            dev(it, **welcomed)
            text = await it.press("i")
            assert not isinstance(it.app.screen, Composer)
            assert cure in text
        bytes_too = Declared("f/put", "upload", "", "", [], {}, [], [])
        action = Declared("hall/__event/say", "rpc", "", "", [], {}, [], [("of a page", "/halls/{id}")])
        it.model.explored.declared = Declarations([bytes_too, action], {}, ["", "ann"])
        assert "f/put" in await it.press("g")
        assert "takes bytes" in await it.press("i")
        assert "part of a contract" in await it.press("j", "i")


async def test_a_call_is_written_sent_and_its_answer_shown(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        text = await it.press("j", "i")
        assert selected_user(text) == "ann"
        assert '{"title": "", "colour": "blue"}' in text
        await typed(it, 0, '"red"')
        text = await it.press("ctrl+s")
        (wish,) = it.of(Try)
        assert (wish.path, wish.user) == ("chat/send", "ann")
        assert wish.args == ["red", {"title": "", "colour": "blue"}]
        assert "waiting for the answer" in text
        steps = [("guard", 0.0, 0.1), ("handler", 0.1, 1.4)]
        result = {"id": 7, "said": NASTY}
        text = await fed(it, Ok(id=wish.id, call=answered(result=result, steps=steps, published=["room:red"])))
        assert "OK" in text
        assert "1.50ms  as ann" in text
        assert "room:red" in text
        assert "handler" in text
        assert "\x1b" not in text
        await it.press("ctrl+s")
        wish = it.of(Try)[-1]
        issues = {"message": "Validation failed", "issues": ["room: Expected `str`"]}
        text = await fed(it, Ok(id=wish.id, call=answered(ok=False, code="VALIDATION", result=issues)))
        assert "ERR VALIDATION" in text
        assert "- room: Expected `str`" in text
        await it.press("ctrl+s")
        assert "not answered" in await fed(it, Err(id=it.of(Try)[-1].id, text="no answer within 10 s"))


def selected_user(text: str) -> str:
    return next(line for line in text.splitlines() if " as " in line).partition("[")[2].partition("]")[0]


async def test_what_does_not_fit_is_said_and_can_be_sent_but_no_json_can_not(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        await it.press("j", "i")
        assert "the server will refuse: room has at least 1 character" in await typed(it, 0, '""')
        assert "card lacks colour" in await typed(it, 1, '{"title": "x"}')
        await it.press("ctrl+s")
        assert len(it.of(Try)) == 1
        await fed(it, Err(id=it.of(Try)[0].id, text="no"))
        assert "text stands in quotes" in await typed(it, 0, "red")
        await it.press("ctrl+s")
        assert len(it.of(Try)) == 1


async def test_choices_of_the_schema_are_shown_and_taken_with_the_right_arrow(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        await it.press("j", "i")
        text = await typed(it, 1, '{"title": "x", "colour": ')
        assert 'next: "blue"   "red"' in text
        field = composer(it).query_one("#composer-line-1")
        field.cursor_position = len(field.value)  # type: ignore[attr-defined]  # an input
        await it.press('"', "r")
        await it.press("right")
        assert field.value == '{"title": "x", "colour": "red"'  # type: ignore[attr-defined]  # an input


async def test_up_and_down_bring_back_what_was_sent(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        await it.press("j", "i")
        for word in ('"one"', '"two"'):
            await typed(it, 0, word)
            await it.press("ctrl+s")
            await fed(it, Ok(id=it.of(Try)[-1].id, call=answered()))
        await it.press("escape", "i")  # it outlives the form
        assert '"two"' in await it.press("up")
        assert '"one"' in await it.press("up")
        assert '"one"' in await it.press("up")
        assert '"two"' in await it.press("down")
        text = await it.press("down")
        assert '"two"' not in text


async def test_enter_goes_on_and_the_button_sends_as_the_chosen_user(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        await it.press("j", "i")
        composer(it).query_one("#composer-user").focus()
        await it.press("right")
        await it.press("tab", "enter", "enter", "enter", "enter")
        assert [each.user for each in it.of(Try)] == [NASTY]
        text = await it.press("escape", "G", "i")
        assert isinstance(it.app.screen, Composer)
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_one_call_at_a_time_and_none_when_the_server_is_gone(bench: OpenBench) -> None:
    async with bench((120, 50)) as it:
        await explored(it)
        await it.press("j", "i", "ctrl+s")
        assert "still to come" in await it.press("ctrl+s")
        assert len(it.of(Try)) == 1
        it.model.detached("lost", 1.0)
        dev(it)
        assert "the connection to the server was lost" in await it.text()
        it.model.detached("lost", 1.0)
        assert "not attached" in await it.press("ctrl+s")
        assert len(it.of(Try)) == 1
        dev(it)
        await it.press("ctrl+s", "escape")  # who closes the form is told nevertheless
        assert "chat/send: OK" in await fed(it, Ok(id=it.of(Try)[-1].id, call=answered()))


async def test_it_is_useful_at_every_size(bench: OpenBench) -> None:
    async with bench((200, 60)) as it:
        assert selected(await explored(it)) == "chat/lines"
        await it.press("j")
        for size in ((200, 60), (80, 24), (60, 12)):
            await it.pilot.resize_terminal(*size)
            assert "times: int = 1)" in await it.press("enter")
            await it.press("escape")
            assert "Send" in await it.press("i")
            await it.press("ctrl+s")
            result = {"size": size[0]}
            text = await fed(it, Ok(id=it.of(Try)[-1].id, call=answered(result=result)))
            assert f"size  {size[0]}" in text
            await it.press("escape")
