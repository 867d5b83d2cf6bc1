"""Every key on every screen, on a program whose model is fed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Input

from liverpc.inspector.protocol import (
    ChaosChanged,
    ChaosClear,
    ChaosRule,
    ConnectionEvent,
    ConnectionInfo,
    Events,
    Get,
    Got,
    PendingCall,
    ServerFrame,
    State,
    UploadInfo,
)
from liverpc_devtools.widgets.table import Table
from tests.devtools.attach_frames import call, figures, full, pub, welcome
from tests.devtools.conftest import TOPICS, OpenBench, column, fed, selected

pytestmark = pytest.mark.realtime

# -- what is always there


async def test_the_frame_shows_who_how_and_how_much(bench: OpenBench) -> None:
    async with bench() as it:
        text = await fed(it, full(topics=TOPICS, busy=0.004))
        top, health, tabs = text.splitlines()[:3]
        assert all(part in top for part in ("prod-a", "● live", "ws://localhost:1", "observe", "v0.1.0", "up 1h00m"))
        assert all(part in health for part in ("conns 1", "streams 3", "calls 0/s", "devtools 0.4%"))
        assert all(part in tabs for part in ("[2 Streams] 3", "3 RPC", "4 Conns"))


@pytest.mark.parametrize("cells", [47, 49, 51, 53, 55, 57])
async def test_the_level_stands_by_itself_however_narrow_it_is(bench: OpenBench, cells: int) -> None:
    async with bench(size=(cells, 24)) as it:
        assert " ● live " in (await fed(it, full(topics=TOPICS))).splitlines()[0]


async def test_at_80_columns_every_screen_has_a_word(bench: OpenBench) -> None:
    async with bench(size=(80, 24)) as it:
        await fed(it, full(topics=TOPICS))
        tabs = (await it.text()).splitlines()[2]
        assert all(f" {each}" in tabs for each in ("1 Ove", "4 Con", "9 Cha", "E Exp"))
        await it.pilot.click("#tabs", offset=(tabs.index("9 Cha"), 0))
        assert "[9 Chaos]" in await it.text()
        waiting = [PendingCall("c1", f"k{n}", "slow", "", 1099.0) for n in range(3)]
        it.model.apply(State(rev=2, at=1100.0, pending=waiting, pending_total=3000))
        tabs = (await it.press("3")).splitlines()[2]
        assert ("[3 RPC]" in tabs, "9 Cha" in tabs) == (True, True)  # rather than how many calls there are


async def test_a_session_that_is_lost_is_drawn_at_once(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full())
        for _ in range(4):  # of five flushes only one draws the frame whatever happens
            it.app.flush()
            it.model.detached("the server closed the connection", 3.0)
            it.app.flush()
            await it.pilot.pause()
            lines = [strip.text for strip in it.app.screen._compositor.render_strips()]
            assert "reconnecting" in lines[0]
            it.model.attached(welcome(), it.sent.append)


@pytest.mark.parametrize(
    ("phase", "word"), [("stale", "◐ stale 4.0s"), ("lost", "◐ reconnecting in 3.0s"), ("gone", "○ gone")]
)
async def test_a_session_in_trouble_is_told_in_words(bench: OpenBench, phase: str, word: str) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        if phase == "stale":
            it.hand.now += 4
        elif phase == "lost":
            it.model.detached("connection refused", 3.0)
        else:
            it.model.gone("the token was refused")
        text = await it.text()
        assert word in text
        assert "board:1" in text  # what was known stays


async def test_losses_are_shown(bench: OpenBench) -> None:
    async with bench() as it:
        text = await fed(it, full(), Events(items=[], lost=1204, sample=0.125))
        assert "sampled 1:8" in text
        assert "lost 1,204" in text


async def test_a_click_on_a_tab_changes_the_screen(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        tabs = await it.line("[2 Streams]")
        await it.pilot.click("#tabs", offset=(tabs.index("3 RPC"), 0))
        assert "[3 RPC]" in await it.text()


async def test_the_first_screen_and_filter_can_be_chosen(bench: OpenBench) -> None:
    async with bench(screen="rpc", filter_text="move") as it:
        text = await fed(it, Events(items=[call(number=1)]))
        assert "[3 RPC]" in text
        assert 'nothing contains "move"' in text


async def test_help_lists_the_keys_of_the_screen_and_closes(bench: OpenBench) -> None:
    async with bench() as it:
        text = await it.press("question_mark")
        assert "pause the capture of this topic" in text
        assert "turn the order around" in text
        assert "remove every fault at once" not in text.partition("Everywhere")[2].partition("Command line")[0]
        for key in ("escape", "question_mark", "q"):
            assert "turn the order around" not in await it.press(key)
            await it.pilot.press("question_mark")


async def test_a_help_longer_than_the_screen_scrolls_like_a_table(bench: OpenBench) -> None:
    async with bench(size=(80, 24)) as it:
        text = await it.press("question_mark")
        assert ("pause the capture" in text, ":quit" in text) == (True, False)
        for key, end in (("G", True), ("g", False), ("end", True), ("home", False)):
            assert (key, ":quit" in await it.press(key)) == (key, end)
        assert "pause the capture" not in await it.press("pagedown")
        assert "Streams" in await it.press("g")
        first = (await it.press("j", "j")).splitlines()
        assert not any("Topics above" in line for line in first)
    async with bench(size=(160, 170)) as it:
        assert ":quit" in await it.press("question_mark")


@pytest.mark.parametrize("before", [[], ["slash", "a"], ["enter"], ["question_mark"]])
async def test_ctrl_c_quits_from_anywhere(bench: OpenBench, before: list[str]) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.pilot.press(*before, "ctrl+c")
        await it.pilot.pause()
        assert it.app._exit


async def test_q_goes_back_and_then_quits(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.pilot.press("enter")
        assert it.app.focused is it.app.query_one("#ring-events")
        await it.pilot.press("q")
        assert it.app.focused is it.app.query_one("#topics")
        assert it.app.is_running
        await it.pilot.press("q")
        await it.pilot.pause()
        assert it.app._exit


@pytest.mark.parametrize("screen", ["streams", "rpc", "connections", "rooms", "uploads"])
async def test_keys_that_come_in_one_turn_are_taken_one_after_the_other(bench: OpenBench, screen: str) -> None:
    async with bench(screen=screen) as it:
        await fed(it, full(topics=TOPICS))
        it.app.view.action_open()  # type: ignore[attr-defined]  # known at run time only
        it.app.action_quit_or_back()
        assert not it.app._exit
        it.app.action_quit_or_back()
        assert it.app._exit


async def test_notes_are_shown_as_they_are(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, ChaosChanged(active=[], text="[red]no markup[/] \x1b[31m"))
        assert r"[red]no markup[/] \x1b[31m" in await it.text()


# -- rows: moving, sorting, filtering, freezing


async def test_keys_move_the_cursor(bench: OpenBench) -> None:
    moves = [
        ("j", "board:2"),
        ("down", "chat:general"),
        ("j", "chat:general"),
        ("k", "board:2"),
        ("up", "board:1"),
        ("k", "board:1"),
        ("G", "chat:general"),
        ("g", "board:1"),
        ("end", "chat:general"),
        ("home", "board:1"),
        ("pagedown", "chat:general"),
        ("pageup", "board:1"),
        ("ctrl+d", "chat:general"),
        ("ctrl+u", "board:1"),
    ]
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        for key, topic in moves:
            await it.pilot.press(key)
            it.draw()
            assert (key, it.model.topic) == (key, topic)
        assert selected(await it.press("j")) == "board:2"


async def test_a_click_selects_a_row(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.pilot.click("#topics", offset=(5, 3))
        assert selected(await it.text()) == "chat:general"


async def test_a_long_table_scrolls(bench: OpenBench) -> None:
    async with bench(size=(100, 24)) as it:
        await fed(it, full(topics=tuple(f"t:{n:03}" for n in range(100))))
        table = it.app.query_one("#topics", Table)
        table.scroll_down(animate=False, immediate=True)
        assert table.scroll_offset.y == 1
        assert "t:000" not in column(await it.text(), "topic", 3)


async def test_the_cursor_stays_visible_when_moved(bench: OpenBench) -> None:
    async with bench(size=(100, 24)) as it:
        await fed(it, full(topics=tuple(f"t:{n:03}" for n in range(100))))
        for key, topic in (("G", "t:099"), ("k", "t:098"), ("pageup", None), ("g", "t:000")):
            text = await it.press(key)
            assert topic in (None, selected(text))


async def test_s_sorts_by_the_next_column_and_shift_s_turns_around(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert column(await it.text(), "topic ▲", 3) == ["board:1", "board:2", "chat:general"]
        assert column(await it.press("S"), "topic ▼", 3) == ["chat:general", "board:2", "board:1"]
        assert "merge ▲" in await it.press("s")
        assert "subs ▼" in await it.press("s")


async def test_only_what_is_shown_is_sorted_by(bench: OpenBench) -> None:
    async with bench(size=(80, 24)) as it:
        await fed(it, full(topics=TOPICS))
        table = it.app.query_one("#topics", Table)
        for title in ("subs", "last", "age", "ev/s", "out/s", "drop", "error", "topic"):
            text = await it.press("s")
            assert (f"{title} ▲" in text) != (f"{title} ▼" in text), title
        await it.pilot.resize_terminal(160, 36)
        table.sort_by(1)
        assert "merge ▲" in await it.text()
        await it.pilot.resize_terminal(80, 24)
        assert "subs ▼" in await it.text()


async def test_a_click_on_a_heading_sorts_and_again_turns_around(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS, stream_stats=[figures(n, published=n, seq=n) for n in (1, 2, 3)]))
        header = await it.line("topic ▲")
        await it.pilot.click("#topics", offset=(header.index("seq"), 0))
        assert column(await it.text(), "seq ▼", 3) == ["chat:general", "board:2", "board:1"]
        await it.pilot.click("#topics", offset=(header.index("seq"), 0))
        assert column(await it.text(), "seq ▲", 3) == ["board:1", "board:2", "chat:general"]


async def test_the_cursor_stays_on_its_row_while_others_come_and_go(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.press("j")
        text = await fed(it, full(rev=2, topics=("aaa", "board:2", "zzz"), streams_gone=[]))
        assert selected(text) == "board:2"
        assert selected(await fed(it, full(rev=3, topics=("aaa", "zzz")))) in ("aaa", "zzz")


async def test_a_filter_narrows_while_typing_and_stays_after_enter(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("slash", *"BOARD:")
        assert "chat:general" not in text
        assert "2 shown" in text
        await it.pilot.press("enter")
        assert not it.app.query_one("#filter", Input).display
        assert it.app.focused is it.app.query_one("#topics")
        assert "chat:general" not in await it.text()
        assert "chat:general" in await it.press("escape")


async def test_a_filter_follows_what_changes(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert "1 shown" not in await it.press("slash", *"moved", "enter")
        moved = State(rev=2, full=False, at=1100.5, stream_stats=[figures(2, event="moved")])
        assert column(await fed(it, moved), "topic ▲", 1) == ["board:2"]
        again = State(rev=3, full=False, at=1101.0, stream_stats=[figures(2, event="updated")])
        assert 'nothing contains "moved"' in await fed(it, again)


async def test_what_is_frozen_is_filtered_by_what_is_shown(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.press("space")
        await fed(it, State(rev=2, full=False, at=1100.5, stream_stats=[figures(2, event="moved")]))
        assert "0 shown" in await it.press("slash", *"moved", "enter")


async def test_older_events_and_calls_that_did_not_come_are_told(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        asked = it.of(Get)
        for each in asked:
            await fed(it, Got(id=each.id, items=[call()] if each.ref == ["calls"] else [pub("board:1")], left_out=1234))
        assert "1,234 older left out" in await it.line("last 1 event ")
        assert "1,234 older left out" in await it.press("3")


async def test_escape_in_the_filter_line_clears_and_closes_it(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert "chat:general" not in await it.press("slash", *"board:")
        assert "chat:general" in await it.press("escape")
        assert not it.app.query_one("#filter", Input).display


async def test_keys_in_the_filter_line_are_text(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.pilot.press("slash", *"q3?x")
        assert it.app.query_one("#filter", Input).value == "q3?x"
        assert it.app.is_running


async def test_space_freezes_what_is_seen_and_counts_what_is_not(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert "frozen (+0)" in await it.press("space")
        text = await fed(it, State(rev=2, at=1101.0, stream_stats=[figures(1, 7, 14, event="deleted")]))
        assert "frozen (+7)" in text
        assert "deleted" not in text
        text = await it.press("space")
        assert "frozen" not in text
        assert "deleted" in text


async def test_what_is_frozen_can_be_filtered_and_sorted(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.press("space")
        await fed(it, full(rev=2, topics=("new", "board:2", "chat:general")))
        assert column(await it.press("S"), "topic ▼", 3) == ["chat:general", "board:2", "board:1"]
        text = await it.press("slash", *"board:", "enter")
        assert "2 shown" in text
        text = await it.press("escape", "space")
        assert column(text, "topic ▼", 3) == ["new", "chat:general", "board:2"]


# -- faults


def rule(**changes: Any) -> ChaosRule:
    values: dict[str, Any] = {"rate": 0.2, "topic": "board:*", "seed": "rep-1", "id": 1, "by": "al@laptop"}
    return ChaosRule(**values | {"hits": 1204, "seen": 6021, "limit": 5000, "left": 41.0} | changes)


async def test_a_fault_is_seen_on_every_screen(bench: OpenBench) -> None:
    async with bench(size=(140, 30)) as it:
        assert "CHAOS" not in await it.text()
        it.model.apply(ChaosChanged(active=[rule()], text="armed"))
        for screen in "2", "3", "4", "7":
            text = await it.press(screen)
            bar = next(line for line in text.splitlines() if "CHAOS" in line)
            for part in ("ARMED by al@laptop", "drop 20%", "topic board:*", "0:41 left", "hits 1,204/5,000 of 6,021"):
                assert part in bar
            assert bar.rstrip().endswith("X disarm")
        assert "CHAOS" not in await fed(it, ChaosChanged(active=[], text="over"))


async def test_a_fault_of_a_lost_session_is_told_as_the_past(bench: OpenBench) -> None:
    async with bench() as it:
        it.model.apply(ChaosChanged(active=[rule()], text="armed"))
        it.model.detached("connection refused", 3.0)
        assert "CHAOS WAS ARMED" in await it.text()


async def test_what_the_fault_bar_shows_is_not_told_twice(bench: OpenBench) -> None:
    async with bench() as it:
        assert "al armed" not in await fed(it, ChaosChanged(active=[rule()], text="al armed drop"))
        assert "the fault ended" in await fed(it, ChaosChanged(active=[], text="the fault ended"))


async def test_shift_x_disarms_at_once_at_any_level(bench: OpenBench) -> None:
    async with bench() as it:
        await it.press("X")
        assert it.of(ChaosClear) == []  # nothing to disarm
        await fed(it, ChaosChanged(active=[rule()], text="armed"))
        await it.press("X")
        assert [each.rule for each in it.of(ChaosClear)] == [0]


async def test_a_click_on_the_fault_bar_disarms(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, ChaosChanged(active=[rule()], text="armed"))
        bar = await it.line("CHAOS")
        await it.pilot.click("#chaos", offset=(bar.index("X disarm"), 0))
        assert len(it.of(ChaosClear)) == 1


# -- sizes and terminals


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 16), (80, 24), (100, 30), (200, 60)])
async def test_every_size_is_filled_exactly(bench: OpenBench, size: tuple[int, int]) -> None:
    async with bench(size=size) as it:
        pending = [PendingCall("c2", "k9", "report/build", "u_31", 1098.0)]
        await fed(it, full(topics=TOPICS, pending=pending), Events(items=[pub("board:1"), call()]))
        for screen in "234":
            text = await it.press(screen, "enter")
            assert len(text.splitlines()) == size[1]
            assert "live" in text


async def test_80_columns_show_what_matters(bench: OpenBench) -> None:
    async with bench(size=(80, 24)) as it:
        text = await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        for title in ("topic", "subs", "last", "age", "ev/s", "out/s", "drop", "error", "q quit", "? help"):
            assert title in text
        assert "n  1" in text
        assert "[4 Conns]" in await it.press("4")
        for title in ("id", "user", "address", "since", "topics", "in/s", "calls", "pend", "buffer"):
            assert title in await it.text()


async def test_80_columns_always_lead_to_help_and_to_faults(bench: OpenBench) -> None:
    async with bench(size=(80, 24), granted="chaos") as it:
        await fed(it, full(topics=TOPICS))
        for screen in "234":
            keys = (await it.press(screen)).splitlines()[-1]
            assert ("x chaos" in keys, "? help" in keys, "q quit" in keys) == (True, True, True)


async def test_a_small_terminal_shows_details_in_place_of_the_table(bench: OpenBench) -> None:
    async with bench(size=(60, 16)) as it:
        text = await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        assert ("chat:general" in text, "n  1" in text) == (True, False)
        text = await it.press("enter")
        assert ("chat:general" in text, "n  1" in text) == (False, True)
        text = await it.press("escape")
        assert ("chat:general" in text, "n  1" in text) == (True, False)


async def test_growing_brings_the_details_back(bench: OpenBench) -> None:
    async with bench(size=(60, 16)) as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        await it.pilot.resize_terminal(120, 36)
        text = await it.text()
        assert ("chat:general" in text, "n  1" in text) == (True, True)


async def test_ascii_draws_nothing_else(bench: OpenBench) -> None:
    async with bench(ascii_only=True, granted="chaos") as it:
        await fed(it, full(topics=TOPICS, pending=[PendingCall("c", "k", "p" * 60, "", 1.0)]))
        await fed(it, Events(items=[pub("board:1", dropped=True)]), ChaosChanged(active=[rule()], text="armed"))
        for keys in (["2"], ["3"], ["4"], ["question_mark"], ["escape", "x"]):
            assert (await it.press(*keys)).isascii()


async def test_wide_characters_keep_columns_straight(bench: OpenBench) -> None:
    from rich.cells import cell_len

    async with bench(size=(100, 30)) as it:
        await fed(it, full(topics=("chat:設計-レビュー-会議室", "plain")))
        wide, plain = await it.line("chat:"), await it.line("  plain ")
        assert cell_len(wide[: wide.index("crud")]) == cell_len(plain[: plain.index("crud")])


async def test_no_control_character_of_others_reaches_the_screen(bench: OpenBench) -> None:
    evil = "t\x1b[31m\x9b\u202e[red]\n"
    async with bench() as it:
        event = ConnectionEvent(at=1.0, connection=evil, what=evil, user=evil, address=evil, reason=evil)
        info = ConnectionInfo(evil, evil, evil, 1.0)
        frames: list[ServerFrame] = [
            full(
                topics=(evil,),
                connections=[info],
                pending=[PendingCall(evil, evil, evil, evil, 1.0, evil)],
                uploads=[UploadInfo(evil, evil, evil, evil, evil, 1.0, 5, 1, 1, 0, evil)],
            ),
            Events(items=[pub(evil), event, call(ok=False, user=evil, result=evil, published=[evil])]),
            ChaosChanged(active=[rule(topic=evil, by=evil, seed=evil)], text=evil),
        ]
        await fed(it, *frames)
        for key in "2", "3", "4", "7":
            text = await it.press(key)
            assert "\x1b" not in text
            assert "\x9b" not in text
            assert "\u202e" not in text
            assert r"\x1b[31m" in text
