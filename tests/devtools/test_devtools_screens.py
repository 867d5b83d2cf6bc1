"""What is particular to each screen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import (
    ConnectionEvent,
    ConnectionInfo,
    ConnectionStats,
    Events,
    Get,
    PendingCall,
    State,
    Unwatch,
    Watch,
)
from liverpc_devtools.widgets.payload import Payload
from tests.devtools.attach_frames import call, figures, full, pub
from tests.devtools.conftest import TOPICS, OpenBench, column, fed

pytestmark = pytest.mark.realtime

# -- streams


async def test_a_topic_row_shows_its_figures(bench: OpenBench) -> None:
    async with bench(size=(160, 40)) as it:
        changes: dict[str, Any] = {"dropped": 3, "error": "LOADER_FAILED", "at": 1099.0, "coalesced": 4}
        changes |= {"volatile_drops": 5, "held": 6, "replay_depth": 1000, "reloads": 7}
        await fed(it, full(topics=("board:1",), stream_stats=[figures(1, 91_233, 5, **changes)]))
        row = await it.line("board:1 ")
        assert row.split()[1:8] == ["board:1", "crud", "2", "updated", "1.0s", "0", "0"]
        assert row.split()[8:] == ["3", "4", "5", "6", "91,233", "1,000", "7", "LOADER_FAILED", "board/list"]


async def test_what_a_narrow_table_leaves_out_stands_below_it(bench: OpenBench) -> None:
    async with bench(size=(80, 24)) as it:
        changes: dict[str, Any] = {"error": "LOADER_FAILED", "coalesced": 4, "volatile_drops": 5, "held": 6}
        stats = figures(1, 91_233, 5, replay_depth=1000, reloads=7, **changes)
        await fed(it, full(topics=("board:1",), stream_stats=[stats]))
        line = await it.line("replay 1,000")
        assert line.split()[:6] == ["seq", "91,233", "replay", "1,000", "reloads", "7"]
        assert line.split()[6:] == ["held", "6", "coalesced", "4", "missed", "5"]
        await fed(it, State(rev=2, at=1101.0, stream_stats=[figures(1, 8, error="LOADER_FAILED")]))
        assert (await it.line("replay 0")).rstrip().endswith("LOADER_FAILED")
        await fed(it, full(rev=3, topics=()))
        assert "replay" not in await it.text()


async def test_the_selected_topic_is_watched_and_its_payload_shown(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        assert ["stream", "board:1"] in [each.ref for each in it.of(Get)]
        assert ["board:1"] in [each.match.topic for each in it.of(Watch)]
        text = await fed(it, Events(items=[pub("board:1", seq=1), pub("board:1", at=1101.0, seq=2)]))
        assert "board:1  last 2 events" in text
        assert "n  2" in text  # the newest is selected


async def test_the_newest_event_is_followed_until_another_is_chosen(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1", seq=1), pub("board:1", at=1101.0, seq=2)]))
        assert "n  3" in await fed(it, Events(items=[pub("board:1", at=1102.0, seq=3)]))
        assert "n  2" in await it.press("enter", "j")
        assert "n  2" in await fed(it, Events(items=[pub("board:1", at=1103.0, seq=4)]))


async def test_a_dropped_event_is_marked_with_a_word(bench: OpenBench) -> None:
    async with bench() as it:
        text = await fed(it, full(topics=TOPICS), Events(items=[pub("board:1", dropped=True)]))
        assert "✂ updated" in text
        assert "dropped by a fault: nobody received it" in text


async def test_v_shows_the_payload_raw_and_pretty(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1", seq=5)]))
        text = await it.press("v")
        assert ('{"n": 5}' in text, "Raw" in text) == (True, True)
        assert "Pretty" in await it.press("v", "v", "v")


async def test_p_pauses_the_capture_and_the_last_column_goes_on(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS))
        await it.press("p")
        assert len(it.of(Unwatch)) == 1
        text = await fed(it, State(rev=2, at=1101.0, stream_stats=[figures(1, 4, 8, event="deleted")]))
        assert "paused (+4)" in text
        assert "deleted" in text
        assert "paused" not in await it.press("p")


async def test_c_clears_this_topic_and_shift_c_all(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        assert "no events kept yet" in await it.press("c")
        await fed(it, Events(items=[pub("board:1", at=1100.5)]))
        it.hand.now += 1
        assert "no events kept yet" in await it.press("C")


async def test_enter_goes_to_the_events_then_the_payload_and_escape_back(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        for key, name in (("enter", "ring-events"), ("enter", "payload"), ("escape", "topics")):
            await it.pilot.press(key)
            assert it.app.focused is it.app.query_one(f"#{name}")


async def test_a_long_payload_scrolls_by_key(bench: OpenBench) -> None:
    async with bench() as it:
        await fed(it, full(topics=TOPICS), Events(items=[pub("board:1")]))
        long = msgspec.structs.replace(pub("board:1", at=1101.0), data={"rows": list(range(200))})
        assert "- 0" in await fed(it, Events(items=[long]))
        await it.press("enter", "enter")
        text = await it.press("G")
        assert "- 199" in text
        assert "- 0" in await it.press("g")
        await it.press("j", "pagedown")
        payload = it.app.query_one("#payload", Payload)
        assert (below := payload.scroll_offset.y) > 1
        await it.press("k", "pageup")
        assert payload.scroll_offset.y < below - 1


async def test_payloads_that_are_not_granted_are_not_blank(bench: OpenBench) -> None:
    async with bench() as it:
        event = pub("board:1")
        bare = type(event)(at=1100.0, topic="board:1", event="updated", size=1, receivers=1)
        assert "the payload is not told: not at this level" in await fed(it, full(topics=TOPICS), Events(items=[bare]))


# -- RPC


async def test_running_calls_stand_on_top_and_their_time_grows(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(160, 36)) as it:
        pending = [PendingCall("c2", "k9", "report/build", "u_31", 1098.0)]
        state = full(pending=pending, pending_total=1)
        await fed(it, state, Events(items=[call(number=n, at=1100.0 + n) for n in (1, 2)]))
        assert column(await it.text(), "time ▼", 3)[1:] != []
        row = (await it.text()).splitlines()[4]
        assert "report/build" in row
        assert "2.00s" in row
        it.hand.now += 1
        assert "3.00s" in (await it.text()).splitlines()[4]
        assert "1 pending" in await it.text()
        answered = msgspec.structs.replace(call(number=9, at=1103.0), connection="c2")
        assert "report/build" not in await fed(it, Events(items=[answered]))


async def test_a_call_shows_what_it_was_about(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        given: dict[str, Any] = {"args": {"text": "hi", "token": "[REDACTED]"}, "user": "u_7"}
        text = await fed(it, Events(items=[call(ok=False, result="slow down", **given)]))
        for part in ("ERR", "RATE_LIMITED", "u_7", "1.50ms", "args", '"[REDACTED]"', "error", '"slow down"'):
            assert part in text
        text = await fed(
            it, Events(items=[call(at=1101.0, number=2, result={"id": 4}, published=["board:1"], **given)])
        )
        assert ("result" in text, "published" in text, "board:1" in text) == (True, True, True)
        assert '{"id": 4}' in await it.press("v")


async def test_a_call_with_bad_arguments_shows_each_issue_on_a_line(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        result = {"message": "Validation failed", "issues": ["text: Missing argument", "room.id: Expected int"]}
        text = await fed(it, Events(items=[call(ok=False, result=result)]))
        lines = [line.strip() for line in text.splitlines()]
        start = lines.index("Validation failed")
        assert lines[start + 1 : start + 3] == ["- text: Missing argument", "- room.id: Expected int"]
        assert '{"message": "Validation failed", "issues": [' in await it.press("v")


async def test_the_tab_counts_the_calls_of_the_server(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        text = await fed(it, full(counters={"calls": 12_345}), Events(items=[call()]))
        assert "[3 RPC] 12,345 " in text
        assert "history 1, 0 failed" in text


async def test_o_shows_failed_calls_only(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, Events(items=[call(number=1), call(at=1101.0, ok=False, number=2)]))
        text = await it.press("o")
        assert (" OK " in text, " ERR " in text, "failed only" in text) == (False, True, True)
        assert " OK " in await it.press("o")


async def test_c_clears_the_history(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, Events(items=[call(at=1099.0)]))
        assert "no calls yet" in await it.press("c")


async def test_enter_goes_to_the_details_of_a_call(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, Events(items=[call()]))
        await it.pilot.press("enter")
        assert it.app.focused is it.app.query_one("#call")
        await it.pilot.press("escape")
        assert it.app.focused is it.app.query_one("#calls")


async def test_a_chosen_call_stays_chosen_and_in_place(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(120, 40)) as it:
        await fed(it, Events(items=[call(number=n, at=1000.0 + n) for n in range(60)]))
        await it.press("j", "j")
        before = next(i for i, line in enumerate((await it.text()).splitlines()) if line.startswith("▸"))
        text = await fed(it, Events(items=[call(number=n, at=1000.0 + n) for n in range(60, 65)]))
        after = next(i for i, line in enumerate(text.splitlines()) if line.startswith("▸"))
        assert after == before
        assert "call k57" in text


# -- connections


async def test_connections_show_their_figures_and_who_came_and_went(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        info = ConnectionInfo("c8f0aa11-long", "u_31", "10.0.0.9", 908.0)
        stats = ConnectionStats("c8f0aa11-long", 12, 50, 7, 1, 1_020_000)
        await fed(it, full(connections=[info], connection_stats=[stats]))
        row = await it.line("10.0.0.9")
        assert row.split()[1:] == ["c8f0aa11", "u_31", "10.0.0.9", "3m12s", "12", "0", "7", "1", "1.0", "MB"]
        closed = ConnectionEvent(at=1100.0, connection="gone1234", what="close", code=1013, reason="too slow")
        text = await fed(it, Events(items=[closed]))
        assert all(part in text for part in ("gone1234", "close", "1013", "too slow", "anonymous"))
        await it.pilot.press("t", "enter")
        assert it.app.focused is it.app.query_one("#connection-log")
