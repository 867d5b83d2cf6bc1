"""What keys do with the rows of a table."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import Events, PathInfo, State, Unwatch, Watch
from liverpc_devtools.core.filter import parse
from liverpc_devtools.widgets.palette import Piece
from liverpc_devtools.widgets.table import Column, Table
from tests.devtools.attach_frames import call, figures, full, pub, welcome
from tests.devtools.conftest import TOPICS, Bench, OpenBench, column, fed

pytestmark = pytest.mark.realtime


def topics(it: Bench) -> list[str]:
    table: Table[object] = it.app.query_one("#topics", Table)
    return [dict(table.cells(row))["topic"] for row in table.shown_rows()]


async def test_a_filter_asks_for_fields_and_texts(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        stats = [figures(1, 7), figures(2, 50, error="LOADER_FAILED"), figures(3, 900)]
        await fed(it, full(topics=TOPICS, stream_stats=stats))
        table = it.app.query_one("#topics", Table)
        for text, expected in {
            "topic:board:*": ["board:1", "board:2"],
            "seq>40": ["board:2", "chat:general"],
            "is:error": ["board:2"],
            "BOARD: -is:error": ["board:1"],
            "code:LOADER_FAILED or seq>=900": ["board:2", "chat:general"],
            "board:1": ["board:1"],
            "(": [],  # no filter, so a text
            "": list(TOPICS),
        }.items():
            table.needle = text
            assert topics(it) == expected, text


async def test_figures_that_a_filter_asks_for_are_looked_at_again(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        it.app.query_one("#topics", Table).needle = "seq>40"
        await fed(it, State(rev=2, at=1101.0, stream_stats=[figures(2, 41)]))
        assert topics(it) == ["board:2"]


async def test_search_goes_through_the_rows_and_around(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("a:1", "b:1", "a:2", "a:3")))
        await it.press("ctrl+s")
        text = await it.press(*"topic:a:*", "enter")
        assert 'search "topic:a:*"' in text
        table = it.app.query_one("#topics", Table)

        def here() -> str:
            assert table.selected is not None
            return str(table.selected.info.topic)

        assert here() == "a:2"
        seen = []
        for key in ("n", "n", "N", "N"):
            await it.pilot.press(key)
            seen.append(here())
        assert seen == ["a:3", "a:1", "a:3", "a:2"]
        await it.press("ctrl+s")
        assert "no row matches" in await it.press("ctrl+u", *"zzz", "enter")


async def test_brackets_go_to_errors(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        stats = [figures(1), figures(2, error="A"), figures(3), figures(4, error="B")]
        await fed(it, full(topics=("a", "b", "c", "d"), stream_stats=stats))
        table = it.app.query_one("#topics", Table)
        seen = []
        for key in ("right_square_bracket", "right_square_bracket", "left_square_bracket"):
            await it.pilot.press(key)
            seen.append(table.selected.info.topic)  # type: ignore[union-attr]  # there is one
        assert seen == ["b", "d", "b"]


async def test_f_lets_the_newest_row_go_and_follows_it_again(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1", seq=1)]))
        await it.press("enter", "f")
        assert "n  1" in await fed(it, Events(items=[pub("board:1", at=1101.0, seq=2)]))
        assert "n  2" in await it.press("f")
        assert "n  3" in await fed(it, Events(items=[pub("board:1", at=1102.0, seq=3)]))


async def test_a_pinned_row_stays_on_top_and_when_it_is_gone(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        assert "1 pinned" in await it.press("G", "F")
        assert topics(it) == ["chat:general", "board:1", "board:2"]
        it.app.query_one("#topics", Table).needle = "board:1"
        assert topics(it) == ["chat:general", "board:1"]
        await fed(it, full(rev=2, topics=("board:1",)))
        assert topics(it) == ["chat:general", "board:1"]
        await it.press("g", "F")
        assert topics(it) == ["board:1"]


async def test_the_events_of_a_pinned_topic_are_kept_while_another_is_looked_at(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        await it.press("F", "j")
        assert it.model.topic == "board:2"
        for n in range(30):  # the ring of the server has 3
            await fed(it, Events(items=[pub("board:1", at=1101.0 + n, seq=n)])) if n > 28 else it.model.apply(
                Events(items=[pub("board:1", at=1101.0 + n, seq=n)])
            )
        assert "last 30 events" in await it.press("k")
        before = len(it.of(Unwatch))
        assert "last 3 events" in await it.press("F")  # still looked at: watched, with the usual room
        assert len(it.of(Unwatch)) == before


async def test_marks_and_comments_can_be_filtered(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        assert "1 marked" in await it.press("m")
        await it.press("j", "semicolon")
        assert "2 marked" in await it.press(*"odd #later", "enter")
        assert "2 marked" in await it.press("semicolon", "x", "escape")  # changes nothing
        table = it.app.query_one("#topics", Table)
        for text, expected in {
            "is:marked": ["board:1", "board:2"],
            "mark:odd*": ["board:2"],
            "tag:later": ["board:2"],
        }.items():
            table.needle = text
            assert topics(it) == expected, text
        table.needle = ""
        await it.press("m")
        table.needle = "is:marked"
        assert topics(it) == ["board:1"]


async def test_angle_brackets_choose_the_column_to_sort_by(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS, stream_stats=[figures(1, 5), figures(2, 9), figures(3, 7)]))
        assert "merge ▲" in await it.press("greater_than_sign")
        assert "topic ▲" in await it.press("less_than_sign")


async def test_a_column_can_be_hidden_but_not_the_last_one(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        table = it.app.query_one("#topics", Table)
        assert table.toggle("merge")
        assert "merge" not in (await it.text()).splitlines()[3]
        assert not table.toggle("nonsense")
        others = [each.title for each in table.columns if each.title not in ("merge", "topic")]
        assert all(table.toggle(title) for title in others)
        assert not table.toggle("topic")
        assert column(await it.text(), "topic ▲", 3) == list(TOPICS)


async def test_a_double_click_drills_down(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        await it.pilot.click("#topics", offset=(5, 1), times=2)
        await it.text()
        assert it.app.focused is it.app.query_one("#ring-events")


async def test_five_thousand_rows_are_not_formatted_to_be_filtered_by_fields(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        names = tuple(f"board:{n}" for n in range(5000))
        it.model.apply(full(topics=names, connections=[], paths=[PathInfo(1, "x")]))
        table = it.app.query_one("#topics", Table)
        seen: list[object] = []
        table.columns = [counting(each, seen) for each in table.columns]
        table._laid_out()
        seen.clear()
        table.needle = "topic:board:49* seq<5"
        assert len(topics(it)) == 111
        assert len(seen) <= 111 * len(table.columns)


def counting(column: Column[Any], seen: list[object]) -> Column[Any]:
    """A column that notes which rows it formats."""

    def cell(row: object) -> Piece:
        seen.append(row)
        return column.cell(row)

    return dataclasses.replace(column, cell=cell)


# -- the filter line


async def test_the_line_says_whether_it_is_a_filter_and_keeps_the_last_one(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("slash", *"topic:board:*")
        assert (" filter 2 shown" in text, topics(it)) == (True, ["board:1", "board:2"])
        text = await it.press(*" (")
        assert "not a filter  column 16: something is missing at the end" in text
        assert topics(it) == ["board:1", "board:2"]
        await it.press("enter")  # does not close what is wrong
        assert it.app.query_one("#filter").display
        await it.press("backspace", "backspace", "enter")
        assert not it.app.query_one("#filter").display
        assert topics(it) == ["board:1", "board:2"]
        await it.press("slash", "escape")
        assert topics(it) == list(TOPICS)


async def test_a_narrow_terminal_still_says_what_is_wrong(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(80, 24)) as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("slash", *"ms>>")
        assert " not a filter  column 4: ms> needs a number such as 100, 1.5s, 20ms or 3MB" in text


async def test_what_looks_like_a_field_and_is_none_is_told(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(80, 24)) as it:
        await fed(it, full(topics=TOPICS))
        assert "took is no field here, so that is text" in await it.press("slash", *"took>100ms")
        assert "no field" not in await it.press("ctrl+u", *"ms>100ms")


async def test_tab_completes_fields_and_values(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        line = it.app.query_one("#filter")
        assert "tab topic:" in await it.press("slash", *"top")
        await it.press("tab")
        assert line.value == "topic:"  # type: ignore[attr-defined]  # an input
        await it.press("b", "tab")
        assert line.value == "topic:board:1"  # type: ignore[attr-defined]  # an input
        await it.press("tab")
        assert line.value == "topic:board:2"  # type: ignore[attr-defined]  # an input


async def test_up_and_down_go_through_what_was_typed_on_this_screen(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        await it.press("slash", *"chat", "enter", "slash", "ctrl+u", *"board", "enter", "slash")
        line = it.app.query_one("#filter")
        seen = []
        for key in ("up", "up", "up", "down"):
            await it.pilot.press(key)
            seen.append(line.value)  # type: ignore[attr-defined]  # an input
        assert seen == ["board", "chat", "chat", "board"]


async def test_the_capture_filter_goes_to_the_server_as_far_as_it_can(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, full(topics=TOPICS), Events(items=[call()]))
        text = await it.press("ctrl+f", *"path:chat/* /slow/")
        assert "the server does a part; /slow/ this stays here" in text
        text = await it.press("enter")
        assert "captured only" in text
        sent = it.of(Watch)[-1]
        assert (sent.capture, sent.match.kind, sent.match.path) == (True, ["rpc"], ["chat/*"])
        await it.press("ctrl+f", "ctrl+u", "enter")
        last = {each.id: each for each in it.of(Watch)}
        assert not any(each.capture for each in last.values())
        assert "captured only" not in await it.text()
        log = [each.cli for each in it.app.log_of_commands.entries]
        assert log == [
            "liverpc-tui tail ws://localhost:1 --filter 'path:chat/* /slow/'",
            "# everything is captured again",
        ]


async def test_a_capture_filter_for_nothing_that_is_watched_ends_the_watch(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        it.model.capture(parse("kind:pub"))
        assert it.of(Unwatch)
        it.model.look_at("board:1")
        assert (it.of(Watch)[-1].capture, it.of(Watch)[-1].match.topic) == (True, ["board:1"])
        it.model.capture(parse(""))
        assert not it.of(Watch)[-1].capture


async def test_a_hostile_name_in_a_filter_does_nothing_to_the_terminal(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("a\x1b[2Jb",)))
        it.app.query_one("#topics", Table).needle = 'topic:"a\x1b[2Jb"'
        text = await it.press("slash")
        assert "\x1b" not in text
        assert "a\\x1b[2Jb" in text


async def test_pinned_topics_are_asked_for_again_after_a_restart(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        await it.press("F", "j")
        server = msgspec.structs.replace(welcome().server, pid=2)
        it.sent.clear()
        it.model.attached(welcome(server=server), it.sent.append)
        await fed(it, full(topics=TOPICS))
        watched = [each.match.topic for each in it.of(Watch) if each.match.topic]
        assert sorted(watched) == [["board:1"], ["board:2"]]
