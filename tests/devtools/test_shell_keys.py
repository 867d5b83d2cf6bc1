"""The keys of the program itself: command line, palette, jumping, log, help, panes, back."""

from __future__ import annotations

import re

import pytest
from textual.widgets import Input

from liverpc.inspector.protocol import ChaosChanged, ChaosClear, Events, Redact
from liverpc_devtools.widgets.finder import Finder
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Table
from tests.devtools.attach_frames import full, pub
from tests.devtools.conftest import TOPICS, Bench, OpenBench, column, fed
from tests.devtools.test_devtools_app import rule

pytestmark = pytest.mark.realtime


async def say(it: Bench, line: str) -> str:
    """What the screen shows after a line was entered on the command line."""
    await it.pilot.press("colon")
    it.app.query_one("#command", Input).value = line
    return await it.press("enter")


SCREENS = ["overview", "streams", "rpc", "connections", "events", "rooms", "uploads", "chaos", "record", "explorer"]


async def test_digits_function_keys_and_e_lead_to_the_screens(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        for keys in ("1234567", ("f1", "f2", "f3", "f4", "f5", "f6", "f7")):
            for key, name in zip(keys, SCREENS, strict=False):
                await it.pilot.press(key)
                assert it.app.pane.current == name
        for key, name in (("9", "chaos"), ("0", "record"), ("E", "explorer"), ("f9", "chaos"), ("f10", "record")):
            await it.pilot.press(key)
            assert it.app.pane.current == name


# -- the command line


async def test_the_command_line_does_what_it_says_and_closes(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert "[3 RPC]" in await say(it, "go rpc")
        assert not it.app.query_one("#prompt").display
        assert it.app.focused is it.app.view.table
        text = await say(it, "go streams")
        text = await say(it, "filter board:")
        assert "chat:general" not in text
        assert column(await say(it, "sort topic"), "topic ▼", 2) == ["board:2", "board:1"]
        assert "chat:general" in await say(it, "filter")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fliter x", "no command 'fliter'; do you mean"),
        ("go", "go needs SCREEN"),
        ("go nowhere", "no screen 'nowhere'"),
        ("sort merge:", "no column"),
        ("chaos disarm now", "chaos disarm takes nothing, not 'now'"),
        ("chaos disarm", "no fault is armed"),
        ("theme [red]", "no theme '[red]'"),
        ("view mine", "no view 'mine'"),
        ("redact add iban", "that takes the level admin"),
        ("attach ws://other", "this program shows what it was given"),
        ("go [/]", "no screen '[/]'"),
    ],
)
async def test_a_line_that_cannot_be_carried_out_stays_with_the_reason(
    bench: OpenBench, line: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with bench() as it:
        text = await say(it, line)
        assert problem in text
        assert "\x1b" not in text
        assert it.app.focused is it.app.query_one("#command")
        assert problem not in await it.press("escape")
        assert it.app.focused is it.app.view.table


async def test_an_empty_line_and_escape_close_the_command_line(bench: OpenBench) -> None:
    async with bench() as it:
        for key in ("enter", "escape"):
            await it.pilot.press("colon")
            assert it.app.query_one("#prompt").display
            await it.press(key)
            assert not it.app.query_one("#prompt").display


async def test_keys_on_the_command_line_are_text(bench: OpenBench) -> None:
    async with bench() as it:
        await it.pilot.press("colon", *"q:3/?x")
        assert it.app.query_one("#command", Input).value == "q:3/?x"


async def test_tab_completes_commands_and_what_they_take(bench: OpenBench) -> None:
    async with bench() as it:
        await it.pilot.press("colon", *"th", "tab")
        line = it.app.query_one("#command", Input)
        assert line.value == "theme "
        await it.pilot.press(*"li", "tab")
        assert line.value == "theme light"
        line.value = "go r"
        found = set()
        for _ in range(4):
            await it.pilot.press("tab")
            found.add(line.value)
        assert {"go rpc", "go rooms", "go record"} <= found
        await it.pilot.press("shift+tab")
        assert line.value in found


async def test_up_and_down_go_through_what_was_entered(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        for line in ("go rpc", "nonsense", "go rpc"):
            await say(it, line)
            await it.pilot.press("escape")
        await it.pilot.press("colon", *"wh")
        line_of = it.app.query_one("#command", Input)
        seen = []
        for key in ("up", "up", "up", "up", "down", "down", "down"):
            await it.pilot.press(key)
            seen.append(line_of.value)
        assert seen == ["go rpc", "nonsense", "go rpc", "go rpc", "nonsense", "go rpc", "wh"]


# -- the palette


async def test_the_palette_finds_by_letters_and_does_it(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("ctrl+p")
        for part in ("filter [TEXT]", "show the rows that match", "/"):
            assert part in text
        text = await it.press(*"frzview")
        assert "freeze the view" in text
        assert "frozen" in await it.press("enter")


async def test_the_palette_asks_for_what_a_command_needs(bench: OpenBench) -> None:
    async with bench() as it:
        await it.press("ctrl+p", *"draw in other")
        await it.press("enter")
        assert it.app.query_one("#command", Input).value == "theme "
        await it.press("escape", "ctrl+p", *"what was done")
        assert "nothing was done yet" in await it.press("enter")


async def test_the_palette_lists_every_key_that_works_now(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.press("ctrl+p")
        finder = it.app.screen
        assert isinstance(finder, Finder)
        told = {each.description: each.key for each in finder._choices}
        for description, key in (
            ("pause the capture of this topic", "p"),
            ("sort by the next column", "s"),
            ("next row", "j down"),
            ("go to a pane by its letter", "ctrl+o"),
        ):
            assert set(told[description].split()) == set(key.split())


async def test_the_palette_is_free_of_the_toolkits_own_words(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(120, 70)) as it:
        await fed(it, full(topics=TOPICS))
        assert "Scroll Left" not in await it.press("ctrl+p")


async def test_keys_that_a_dialog_covers_are_not_offered(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(120, 30)) as it:
        await fed(it, full(topics=TOPICS))
        assert "? help" in (await it.text()).splitlines()[-1]
        assert "? help" not in (await it.press("at")).splitlines()[-1]
        assert "? help" in (await it.press("escape")).splitlines()[-1]


async def test_arrows_choose_in_the_palette_and_escape_leaves(bench: OpenBench) -> None:
    async with bench() as it:
        await it.press("ctrl+p", *"theme")
        first = await it.text()
        assert await it.press("down") != first or "theme" in first
        await it.press("up", "escape")
        assert len(it.app.screen_stack) == 1


# -- jumping, maximising, wrapping


async def test_jumping_focuses_the_pane_of_the_letter(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        text = await it.press("ctrl+o")
        assert re.search(r" a .* | s ", text)
        await it.pilot.press("s")
        assert it.app.focused is it.app.query("#detail Table").first()
        await it.pilot.press("ctrl+o", "a")
        assert it.app.focused is it.app.query_one("#topics")
        for key in ("escape", "5"):  # no letter of a pane
            await it.pilot.press("ctrl+o", key)
            await it.pilot.pause()
            assert len(it.app.screen_stack) == 1
            assert it.app.pane.current == "streams"


async def test_z_gives_the_screen_to_the_focused_pane_and_back(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        before = await it.text()
        text = await it.press("z")
        assert ("chat:general" in text, "n  1" in text) == (True, False)
        assert it.app.query_one("#topics").size.height > 20
        assert await it.press("z") == before
        text = await it.press("enter", "z")
        assert "chat:general" not in text
        assert it.app.query("#detail Table").first().size.width == 120
        assert "chat:general" in await it.press("q")
        assert it.app.is_running


async def test_w_cuts_long_lines_or_wraps_them(bench: OpenBench) -> None:
    async with bench() as it:
        long = pub("board:1")
        event = type(long)(**{**{n: getattr(long, n) for n in long.__struct_fields__}, "data": {"t": "word " * 60}})
        await fed(it, full(topics=TOPICS), Events(items=[event]))
        wrapped = (await it.text()).count("word word")
        cut = (await it.press("w")).count("word word")
        assert wrapped > cut >= 1
        assert (await it.press("w")).count("word word") == wrapped
        assert all(each.wrapping for each in it.app.query(Payload))


# -- back


async def test_minus_and_backspace_go_back_and_never_quit(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        for key in ("minus", "backspace"):
            await it.pilot.press("enter", key)
            assert it.app.focused is it.app.query_one("#topics")
            await it.pilot.press(key)
            assert not it.app._exit


async def test_back_leads_to_where_drilling_down_began(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        it.app.view.table.needle = "board"
        it.app.view.post_message(type(it.app.view).Goto("connections", "u1"))
        await it.pilot.pause()
        assert it.app.pane.current == "connections"
        await it.press("minus")
        assert (it.app.pane.current, it.app.view.table.needle) == ("streams", "board")


async def test_ctrl_q_quits(bench: OpenBench) -> None:
    async with bench() as it:
        await it.pilot.press("slash", "ctrl+q")
        await it.pilot.pause()
        assert it.app._exit


# -- what was done


async def test_the_log_tells_what_to_type_and_copies_it(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        await fed(it, full(topics=TOPICS), ChaosChanged(active=[rule()], text="armed"))
        await it.pilot.press("3", "X")
        await say(it, "theme light")
        text = await it.press("at")
        assert "liverpc-tui attach ws://localhost:1 --screen rpc" in text
        assert "liverpc-tui chaos ws://localhost:1 clear" in text
        assert ":theme light" in text
        assert len(it.of(ChaosClear)) == 1
        await it.pilot.press("j", "enter")
        assert it.app.clipboard == "liverpc-tui chaos ws://localhost:1 clear"
        for key in ("escape", "q", "at"):
            await it.press(key)
            assert len(it.app.screen_stack) == 1
            await it.press("at")


async def test_views_tell_and_log_through_the_program(bench: OpenBench) -> None:
    async with bench() as it:
        view = it.app.view
        view.post_message(view.Say("[b]told[/b] \x1b]0;x"))
        view.post_message(view.Did("liverpc-tui evil \x1b[2J"))
        await it.pilot.pause()
        assert r"[b]told[/b] \x1b]0;x" in await it.text()
        assert r"liverpc-tui evil \x1b[2J" in await it.press("at")


async def test_redacting_more_takes_the_right_and_is_sent(bench: OpenBench) -> None:
    async with bench(granted="admin") as it:
        await say(it, "redact add iban card_number")
        assert [each.keys for each in it.of(Redact)] == [["iban", "card_number"]]


# -- help


async def test_help_is_about_the_focused_pane_and_the_view(bench: OpenBench) -> None:
    async with bench(size=(120, 200)) as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("question_mark")
        for part in ("Topics above; below", "next row", "turn the order around", ":save view as NAME", "quit at once"):
            assert part in text
        assert "inject a fault" in text
        await it.press("escape", "tab", "tab")
        assert isinstance(it.app.focused, Payload | Table)


async def test_the_footer_shows_what_works_now(bench: OpenBench) -> None:
    async with bench(size=(160, 40)) as it:
        keys = (await it.text()).splitlines()[-1]
        assert all(part in keys for part in ("p pause", "/ filter", ": command", "? help", "q quit"))
        keys = (await it.press("4")).splitlines()[-1]
        assert "p pause" not in keys
