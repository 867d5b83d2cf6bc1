from __future__ import annotations

from typing import Any

import pytest

from liverpc.inspector.protocol import ConnectionInfo, ConnectionStats, Events, PathInfo, PathStats, State
from liverpc_devtools.widgets.sparkline import Figures
from liverpc_devtools.widgets.table import Table
from tests.devtools.attach_frames import call, figures, full, pub
from tests.devtools.conftest import Bench, OpenBench, fed

pytestmark = pytest.mark.realtime

TOPICS = ("board:1", "cursors:b12")
PATHS: dict[str, Any] = {
    "paths": [PathInfo(1, "chat/send"), PathInfo(2, "report/build")],
    "path_stats": [PathStats(1, 10, 1, 0.5, 0.2, 0.001, 0.002, 0.014), PathStats(2, 3, 0, 2.0, 0.9, 0.5, 0.7, 0.812)],
}


async def busy(it: Bench) -> str:
    """A server that does something for a while."""
    counters = {"calls": 100, "call_errors": 0, "volatile_drops": 0, "delivered_bytes": 0}
    await fed(it, full(topics=TOPICS, counters=counters, latencies=[(120, 5)], deliveries=[(100, 5)], **PATHS))
    for second in range(1, 5):
        counters = {name: total + 10 for name, total in counters.items()}
        it.hand.now += 1
        it.model.apply(
            State(
                rev=1 + second,
                at=1100.0 + second,
                stream_stats=[figures(1, second, second * 5), figures(2, second * 2, second * 400)],
                counters=counters,
                latencies=[(120, 5 + second * 10), (160, second)],
                deliveries=[(100, 5 + second)],
                lag=0.003,
                memory=94_000_000,
            )
        )
    it.model.apply(Events(items=[call(1104.0 + n, ok=False, number=n) for n in range(3)]))
    return await it.text()


async def test_a_small_terminal_shows_all_blocks(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(80, 24)) as it:
        text = await busy(it)
        titles = ("Calls", "Publish to socket", "Backpressure", "Load", "Traffic")
        for title in (*titles, "Recent errors", "Top topics", "Slowest paths"):
            assert f" {title}" in text
        p50 = next(line for line in text.splitlines() if "p50" in line)
        assert p50.split()[:2] == ["p50", "30.3ms"]
        for part in ("RATE_LIMITED", "cursors:b12", "report/build", "812ms", "10.0/s", "3.00ms", "94.0 MB", "44 calls"):
            assert part in text


async def test_figures_and_titles_are_whole_in_a_small_terminal(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(80, 24)) as it:
        await busy(it)
        counters = {"calls": 140, "call_errors": 40, "volatile_drops": 40, "delivered_bytes": 13_140}
        text = await fed(it, State(rev=9, at=1105.0, counters=counters))
        assert " Publish to socket, 60 s " in text
        assert "13.1 KB/s" in text


async def test_figures_grow_with_the_terminal(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(200, 60)) as it:
        text = await busy(it)
        assert sum("█" in line for line in text.splitlines()) > 12
        line = next(line for line in text.splitlines() if " Calls, 60 s" in line)
        assert "Publish to socket" in line and "Backpressure" in line


async def test_enter_and_a_click_go_to_where_more_is_told(bench: OpenBench) -> None:
    places = [
        ("about-calls", "[3 RPC]", "calls", ""),
        ("about-delivery", "[2 Streams]", "topics", ""),
        ("about-pressure", "[4 Conns]", "connected", ""),
        ("about-load", "[4 Conns]", "connected", ""),
        ("about-traffic", "[5 Events]", "timeline", ""),
        ("recent-errors", "[3 RPC]", "calls", "path:chat/send code:RATE_LIMITED"),
        ("top-topics", "[2 Streams]", "topics", "topic:cursors:b12"),
        ("slowest-paths", "[3 RPC]", "calls", "path:report/build"),
    ]
    async with bench(screen="overview", size=(160, 50)) as it:
        await busy(it)
        for block, title, table, needle in places:
            it.app.set_focus(it.app.query_one(f"#{block}"))
            assert title in await it.press("g", "enter")
            assert it.app.query_one(f"#{table}", Table).needle == needle
            await it.press("1")
        await it.pilot.click("#about-traffic", offset=(5, 2))
        assert "[5 Events]" in await it.text()


async def test_tab_goes_from_block_to_block_and_space_freezes_them(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(160, 50)) as it:
        await busy(it)
        it.app.set_focus(it.app.query_one("#about-calls"))
        await it.press("tab")
        assert getattr(it.app.focused, "id", "") == "about-delivery"
        for _ in range(4):
            await it.press("tab")
        assert getattr(it.app.focused, "id", "") == "recent-errors"
        await it.press("space")
        text = await fed(it, State(rev=9, at=1110.0, lag=0.5))
        assert ("frozen" in text, "500ms" in text) == (True, False)
        assert "500ms" in await it.press("space")


async def test_figures_that_are_not_told_anew_are_grey_and_say_how_old_they_are(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(160, 50)) as it:
        await busy(it)
        it.hand.now += 1
        it.model.detached("lost", 5.0)
        it.hand.now += 8
        text = await it.text()
        assert "(9.0s old)" in text
        assert "30.3ms" in text  # the last that was known
        block = it.app.query_one("#about-calls", Figures)
        assert {name for line in block._lines for _, name in line} == {"dim"}
        table = it.app.query_one("#top-topics", Table)
        cells = [column.cell(table.selected)[1] for column in table.columns]
        assert cells == ["dim"] * 3
        assert "cursors:b12" in await it.line("cursors:b12")
        assert "400" in await it.line("cursors:b12")


async def test_slow_sockets_are_counted_and_what_is_not_measured_is_said(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(80, 24)) as it:
        info = [ConnectionInfo(f"c{n}", "u", "10.0.0.1", 1000.0) for n in range(3)]
        stats = [ConnectionStats(f"c{n}", 1, 1, 1, 0, size) for n, size in enumerate((0, 65_535, 65_536))]
        text = await fed(it, full(connections=info, connection_stats=stats, counters={"outbox_overflows": 2}))
        assert (text.count("not measured yet"), text.count("no call failed")) == (2, 1)
        line = (await it.line("sockets;")).split()
        assert line[:5] == ["slow", "1", "sockets;", "2", "cut"]
        it.app.set_focus(it.app.query_one("#about-pressure"))
        await it.press("enter")
        assert [row.info.id for row in it.app.query_one("#connected", Table).shown_rows()] == ["c2"]


async def test_it_can_be_drawn_in_ascii(bench: OpenBench) -> None:
    async with bench(screen="overview", size=(120, 40), ascii_only=True) as it:
        assert (await busy(it)).isascii()
        await fed(it, Events(items=[pub("board:1")]))
        assert (await it.press("5")).isascii()
