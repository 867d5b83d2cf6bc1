from __future__ import annotations

from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import ChaosChanged, ConnectionEvent, Events, Get, Got, State, Unwatch, Watch
from liverpc_devtools.screens.events import EventsView
from liverpc_devtools.screens.unfold import Unfold
from liverpc_devtools.widgets.table import Table
from tests.devtools.attach_frames import call, full, pub
from tests.devtools.conftest import Bench, OpenBench, fed

pytestmark = pytest.mark.realtime

STEPS = [("guard", 0.0, 0.1), ("handler", 0.1, 1.2), ("encode", 1.3, 0.2)]


def watched(it: Bench) -> list[Watch]:
    """Those of the publishes of all topics that are in force."""
    ended = {each.id for each in it.of(Unwatch)}
    return [each for each in it.of(Watch) if each.match.kind == ["pub"] and each.id not in ended]


def some(number: int = 5, start: float = 1100.0) -> Events:
    return Events(items=[pub("board:1", start + n, n, id=int(start) * 100 + n) for n in range(number)])


async def test_everything_that_happens_stands_on_one_timeline_the_newest_on_top(bench: OpenBench) -> None:
    async with bench(screen="events", size=(140, 40)) as it:
        closed = ConnectionEvent(at=1100.3, connection="a02", what="close", code=1013, reason="too slow", user="ann")
        text = await fed(
            it,
            Events(items=[pub("board:1", 1100.0, 91), call(1100.1, ok=False), call(1100.2, number=2), closed]),
            Events(items=[], lost=412),
            ChaosChanged(active=[], text="al disarmed drop#1"),
        )
        rows = [line[2:].split()[1:] for line in text.splitlines() if line[4:5] == ":"]
        found = {row[0]: row[1:] for row in rows}
        assert found["▸pub"] == ["board:1", "updated", "91", "→2", '{"n":', "91}"]
        assert found["⇅conn"] == ["a02", "ann", "close", "1013", "too", "slow"]
        assert found["…gap"][:4] == ["412", "events", "not", "captured,"]
        assert found["✂chaos"] == ["al", "disarmed", "drop#1"]
        assert "ERR RATE_LIMITED" in text
        table = it.app.query_one("#timeline", Table)
        at = [row.place for row in table.shown_rows()]
        assert at == sorted(at, reverse=True)


async def test_at_80_columns_whole_paths_stand_there(bench: OpenBench) -> None:
    async with bench(screen="events", size=(80, 24)) as it:
        text = await fed(it, full(), Events(items=[call(at=1101.0)]))
        assert ("chat/send" in text, "c1" in text.splitlines()[4]) == (True, False)
    async with bench(screen="events", size=(120, 30)) as it:
        text = await fed(it, full(), Events(items=[call(at=1101.0)]))
        assert " c1 " in next(line for line in text.splitlines() if "chat/send" in line)


async def test_publishes_are_watched_only_while_the_screen_is_shown(bench: OpenBench) -> None:
    async with bench() as it:
        before = len(watched(it))
        await it.press("5")
        assert len(watched(it)) == before + 1
        await it.press("4")
        assert len(watched(it)) == before


async def test_space_freezes_the_timeline_and_counts_what_happens_meanwhile(bench: OpenBench) -> None:
    async with bench(screen="events") as it:
        await fed(it, some())
        await it.press("space")
        it.model.events.evicted = 7
        text = await fed(it, Events(items=some(1204, 1200.0).items, sample=0.125))
        for part in ("frozen (+1,204)", "7 evicted", "sampled 1:8"):
            assert part in text
        assert "frozen" not in await it.press("space")


async def test_keys_filter_find_errors_show_payloads_and_clear(bench: OpenBench) -> None:
    async with bench(screen="events", filter_text="kind:rpc is:error") as it:
        calls = [call(1100.0 + n, ok=n % 2 == 0, number=n) for n in range(4)]
        await fed(it, Events(items=[pub("board:1", 1099.0, 5), *calls]))
        table = it.app.query_one("#timeline", Table)
        assert [row.what.at for row in table.shown_rows()] == [1103.0, 1101.0]
        table.needle = ""
        found = []
        for key in ("right_square_bracket", "right_square_bracket", "left_square_bracket"):
            await it.press(key)
            found.append(table.selected.what.at if table.selected is not None else None)
        assert found == [1101.0, 1103.0, 1101.0]
        assert "topic board:1" in await it.press("G", "y")  # what is copied is the event
        await it.press("escape")
        before = (await it.text()).count('{"n": 5}')
        assert (await it.press("v")).count('{"n": 5}') == before + 1
        assert "nothing to compare it with" in await it.press("v")
        assert "bytes of JSON" in await it.press("v")
        assert (await it.press("v")).count('{"n": 5}') == before
        it.hand.now += 10
        assert "nothing happened yet" in await it.press("c")


async def test_enter_unfolds_what_led_to_an_event_and_what_it_led_to(bench: OpenBench) -> None:
    async with bench(screen="events", size=(140, 40)) as it:
        cause = call(1100.0, id=1, steps=STEPS, published=["board:1"])
        effect = pub("board:1", 1099.9995, id=2, cause=1, sent_ms=2.0)
        await fed(it, Events(items=[cause, effect]))
        assert it.app.query_one("#timeline", Table).selected is not None
        await it.press("enter")
        screen = it.app.screen
        assert isinstance(screen, Unfold)
        assert it.of(Get)[-1].ref == ["chain", "1"]
        late = pub("log:1", 1100.5, id=3, cause=2, waiting=4)
        it.model.apply(Got(id=it.of(Get)[-1].id, items=[cause, effect, late]))
        screen.flush()
        text = await it.text()
        lines = text.splitlines()
        names = [lines[n].replace("▸ ", "  ", 1).split()[:2] for n in range(2, 8)]
        assert names[0] == ["◂rpc", "chat/send"]
        assert [row[1] for row in names[1:]] == ["guard", "handler", "▸pub", "▸pub", "encode"]
        assert "all took it in 2.00ms" in text
        assert "2, 4 had not taken it" in text
        assert "asked for more" not in text
        assert '{"n": 1}' not in await it.press("G", "k")
        await it.press("v")
        screen.flush()
        assert '{"n": 1}' in await it.text()
        await it.press("escape")
        assert not isinstance(it.app.screen, Unfold)
        await fed(it, Events(items=[], lost=3))
        await it.press("g", "enter")  # a gap has no chain, but text
        assert it.app.focused is it.app.query_one("#event-payload")
        await it.press("escape", "G", "enter", "enter")  # from a part of the chain to where it belongs
        assert "[3 RPC]" in await it.text()
        assert it.app.query_one("#calls", Table).needle == "path:chat/send"


async def test_a_flush_formats_no_more_rows_than_are_visible(bench: OpenBench) -> None:
    async with bench(screen="events", size=(200, 60)) as it:
        topics = tuple(f"t{n}" for n in range(5000))
        it.model.apply(full(topics=topics))
        for start in range(20):
            it.model.apply(some(1000, 1100.0 + start * 1000))
        view = it.app.query_one(EventsView)
        table = it.app.query_one("#timeline", Table)
        await it.text()
        formatted = 0
        before = table._format

        def counted(row: Any) -> Any:
            nonlocal formatted
            formatted += 1
            return before(row)

        table._format = counted  # type: ignore[method-assign]  # counted for the test
        view.flush()
        assert len(it.model.events) >= 19_800
        assert 0 < formatted <= 60


async def test_from_the_payload_of_a_streams_event_enter_unfolds_its_chain(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=("board:1",)), Events(items=[pub("board:1", id=7)]))
        await it.press("enter", "enter", "enter")
        assert isinstance(it.app.screen, Unfold)
        assert ["chain", "7"] in [each.ref for each in it.of(Get)]


async def test_a_call_tells_its_steps_its_cause_and_what_it_led_to(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(140, 50)) as it:
        text = await fed(it, Events(items=[call(1098.0, id=5, cause=4, number=9)]))
        assert "an event that was not captured, or is not kept any more" in text
        first = call(1099.0, id=1, number=1)
        second = call(1100.0, id=2, number=2, cause=1, steps=STEPS)
        effect = pub("board:1", 1099.9995, id=3, cause=2)
        text = await fed(it, Events(items=[first, second, effect]))
        assert "0.1/1.2/0.2" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["steps"] in lines
        assert any(line[:1] == ["handler"] and line[-1] == "1.20ms" for line in lines)
        assert any(line[:3] == ["rpc", "chat/send", "OK"] and line[-1] == "before" for line in lines)
        assert ["pub", "board:1", "updated", "to", "2"] in lines
        await it.press("enter")
        assert not isinstance(it.app.screen, Unfold)
        await it.press("enter")
        assert isinstance(it.app.screen, Unfold)


async def test_paths_have_a_trend_that_is_zero_while_nobody_calls(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(180, 40)) as it:
        state = full()
        await fed(it, state)
        stats = state.path_stats[0]
        for second in range(1, 6):
            stats = msgspec.structs.replace(stats, calls=stats.calls + 3)
            await fed(it, State(rev=1 + second, at=1100.0 + second, path_stats=[stats]))
        for second in range(6, 10):
            await fed(it, State(rev=1 + second, at=1100.0 + second))
        await it.press("t")
        row = await it.line("chat/send")
        assert "█" in row
        assert "▁▁▁" in row
