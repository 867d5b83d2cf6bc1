"""The RPC screen's paths, its locks and breakers, and where a call waits."""

from __future__ import annotations

from typing import Any

import pytest

from liverpc.inspector.protocol import (
    Awaited,
    BreakerInfo,
    Err,
    Events,
    Get,
    Got,
    LockInfo,
    PathInfo,
    PathStats,
    PendingCall,
    State,
    Step,
    UploadInfo,
    UploadTotals,
)
from liverpc_devtools.core.model import Model
from liverpc_devtools.widgets.palette import UNICODE
from tests.devtools.attach_frames import Hand, call, full, welcome
from tests.devtools.conftest import Bench, OpenBench, column, fed

pytestmark = pytest.mark.realtime

EVIL = "evil:\x1b[31m[red]\u202e"
HELD = ("orders/pay", "c1-long-id", "k1", "ann")


def path(number: int, calls: int, codes: list[tuple[str, int]] | None = None, **more: Any) -> PathStats:
    codes = codes or []
    times = {"p50": 0.0012, "p95": 0.0345, "p99": 0.812, **more}
    return PathStats(number, calls, sum(seen for _, seen in codes), calls * 0.01, 1.5, codes=codes, **times)


PATHS: dict[str, Any] = {
    "paths": [PathInfo(1, "orders/pay"), PathInfo(2, EVIL), PathInfo(3, "quiet")],
    "path_stats": [
        path(1, 1204, [("RATE_LIMITED", 41), ("CARD\x1b[2J", 2)], limited=41, shed=7),
        path(2, 12),
        PathStats(3, 1, 0, 0.0, 0.0),
    ],
}
POLICIES: dict[str, Any] = {
    "locks": [LockInfo("account:7", *HELD, 1096.0, 3, 1098.0), LockInfo(EVIL, "x/y", "c2", "", "", 1099.0, 0, 0.0)],
    "locks_total": 2,
    "breakers": [BreakerInfo("mail", "closed", 1, None, ["a/b"]), BreakerInfo("bank", "open", 5, 12.0, ["a/b", "c/d"])],
}


def pending(**changes: Any) -> State:
    row = PendingCall("c1", "k9", "orders/pay", "ann", 1090.25)
    return full(pending=[row], pending_total=1, **changes)


async def paths_of(it: Bench, **more: Any) -> str:
    await fed(it, full(**PATHS, **more))
    return await it.press("t")


async def refreshed(it: Bench) -> list[str]:
    it.hand.now += 1
    stats = path(1, 1214, [("RATE_LIMITED", 41)], limited=41, shed=7)
    await fed(it, State(rev=2, at=1101.0, path_stats=[stats]))
    return (await it.line("orders/pay")).replace("▸", " ").split()


def asked(it: Bench) -> list[Get]:
    """Where calls wait, so far."""
    return [each for each in it.of(Get) if each.ref[0] == "call"]


# -- paths


async def test_t_shows_the_paths_with_their_figures_and_below_all_of_one(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        text = await paths_of(it)
        assert "p50 1.20ms  p95 34.5ms  p99 812ms  mean 10.0ms  max 1.50s" in text
        assert "errors 43  limited 41  shed 7" in text
        assert (await it.line("RATE_LIMITED")).split()[-2:] == ["RATE_LIMITED", "41"]
        assert (await it.line("CARD")).split()[-2:] == ["CARD\\x1b[2J", "2"]
        assert await refreshed(it) == ["orders/pay", "10.0", "1.20ms", "34.5ms", "812ms", "41", "41"]
        assert (await it.line("quiet")).split()[1:] == ["0", "0", "0"]
        assert all(len(line) == 80 for line in (await it.text()).splitlines())
        stats = PathStats(9, 100, 60, 1.0, 1.0, codes=[("A", 50)])
        text = await fed(it, full(rev=3, paths=[PathInfo(9, f"{'a' * 30}/__action/move")], path_stats=[stats]))
        assert "10 with other codes" in text
        assert "p50 ?  p95 ?" in text
        assert (await it.line("/__action/move ")).split()[1].startswith("…aaa"), "the end of a path says more"


async def test_a_wide_table_of_paths_is_sorted_filtered_frozen_and_harmless(bench: OpenBench) -> None:
    async with bench(size=(160, 24), screen="rpc") as it:
        text = await paths_of(it)
        assert "\x1b" not in text
        assert "evil:\\x1b[31m" in text
        row = " ".join(word for word in await refreshed(it) if not set(word) <= set(UNICODE.bars))
        assert row == "orders/pay 10.0 1.20ms 34.5ms 812ms 41 41 7 1,214 1.50s RATE_LIMITED 41"
        await it.press("s", "s", "s", "s")  # by errors
        assert column(await it.text(), "errors ▼", 1) == ["orders/pay"]
        await it.press("slash", "q", "u", "enter")
        assert column(await it.text(), "errors ▼", 1) == ["quiet"]
        await it.press("escape", "space")
        await fed(it, State(rev=3, at=1102.0, path_stats=[path(1, 9999)]))
        assert "9,999" not in await it.line("orders/pay")
        await it.press("space")
        assert "9,999" in await it.line("orders/pay")


async def test_where_there_is_no_room_columns_are_left_out_and_no_figure_is_cut(bench: OpenBench) -> None:
    async with bench(size=(60, 20), screen="rpc") as it:
        await fed(it, pending(**PATHS, **POLICIES))
        assert not asked(it), "the details are hidden"
        assert (await it.line("orders/pay")).split()[-2:] == ["orders/pay", "9.75s"]
        assert "took" not in await it.press("enter"), "the details take the table's place"
        assert asked(it)
        text = await it.press("t")
        assert "p99" in text, "another table is shown, not its details"
        assert (await it.line("orders/pay")).split()[-5:] == ["orders/pay", "0", "1.20ms", "812ms", "43"]
        await it.press("t")
        assert (await it.line("account:7")).split() == ["account:7", "held", "4.0s", "3", "2.0s"]


# -- locks and breakers


async def test_locks_and_breakers_have_a_line_and_a_table_of_their_own(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        assert "breakers" not in await fed(it, full())
        await fed(it, full(rev=2, **POLICIES))
        line = await it.line("breakers")
        assert line.split()[:6] == ["locks", "2", "held", "3", "wait", "breakers"]
        assert line.split()[6:] == ["1", "open", "1", "closed"]
        text = await it.press("t", "t")
        assert "\x1b" not in text
        assert column(text, "longest", 4) == ["breaker", "lock", "lock", "breaker"]
        assert (await it.line("account:7")).split()[1:] == ["account:7", "held", "orders/pay", "4.0s", "3", "2.0s"]
        assert (await it.line("▸")).split()[1:] == ["breaker", "bank", "open", "12s", "a/b,", "c/d"]
        assert "5 in a row" in text
        assert "tried in 12s" in text
        text = await it.press("j")
        assert "orders/pay of ann" in text
        assert "3, the longest for 2.0s" in text
        text = await fed(it, full(rev=3, locks_total=3))
        assert "breakers 1" not in text
        assert "no lock is held that you may see" in text
        assert "no calls yet" in await it.press("t")
    async with bench(size=(160, 40), screen="rpc") as it:
        await fed(it, full(**POLICIES))
        assert "account:7 held by orders/pay of ann for 4.0s, 3 wait" in await it.line("breakers")


async def test_keys_about_calls_do_nothing_while_another_table_is_shown(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        text = await fed(it, full(**PATHS), Events(items=[call(), call(number=2, ok=False)]))
        about_calls = ("o failed only", "v form", "c clear")
        assert all(each in text for each in about_calls)
        for _ in ("paths", "locks"):
            text = await it.press("t", "f", "v", "c")
            assert not any(each in text for each in about_calls)
        assert "clear the history" not in await it.press("question_mark")
        text = await it.press("q", "t")
        assert "history 2, 1 failed  Pretty" in text
        assert "[3 RPC]" in text
        assert "failed only  " not in text.splitlines()[2]
        assert "history 0, 0 failed" in await it.press("c")


# -- where a call waits


async def test_a_pending_call_shows_where_it_waits_and_asks_again(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        await fed(it, full(), Events(items=[call()]))
        assert not asked(it), "the selected call was answered"
        assert "the server is asked where it waits" in await fed(it, pending(rev=2))
        ref = ["call", "c1", "k9", "1090.25"]
        assert [each.ref for each in asked(it)] == [ref]
        steps = [Step("pay", "app/orders.py", 41), Step("evil\x1b[31m", "x.py", 7)]
        text = await fed(it, Got(asked(it)[0].id, [], awaited=Awaited("the lock account:7\x1b[2J", steps)))
        assert "waits for the lock account:7\\x1b[2J" in text
        assert "  pay  app/orders.py:41" in text
        assert "evil\\x1b[31m  x.py:7" in text
        it.hand.now += 1
        await fed(it, pending(rev=3))
        assert [each.ref for each in asked(it)] == [ref] * 2
        text = await fed(it, Got(asked(it)[1].id, [], awaited=Awaited("a worker thread", [])))
        assert "waits for a worker thread" in text
        assert "no coroutine of the application is under way" in text
        it.hand.now += 1
        await fed(it, pending(rev=4))
        assert "it does not run any more" in await fed(it, Err(asked(it)[2].id, "it does not run any more"))
        assert not it.model.notes, "it is told in place"


async def test_an_upload_shows_where_its_handler_waits(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        row = UploadInfo("c1", "0000000a", "files/store", "ann", "", 1099.0, None, 5, 5, 0, "receiving")
        await fed(it, full(uploads=[row], upload_totals=UploadTotals(1, 9, 0, 9)))
        (get,) = asked(it)
        assert get.ref == ["call", "c1", "0000000a"]
        told = Awaited("bytes of its upload", [Step("store", "files.py", 3)])
        assert "waits for bytes of its upload" in await fed(it, Got(get.id, [], awaited=told))


async def test_an_answer_about_another_call_means_nothing() -> None:
    hand, sent = Hand(), list[Any]()
    model = Model(monotonic=hand)
    model.attached(welcome(), sent.append)
    model.look_into("c1", "k1")
    first = sent[-1]
    model.look_into("c1", "k2")
    model.apply(Got(first.id, [], awaited=Awaited("something", [])))
    assert model.where.told is None
    hand.now += 0.9
    model.look_into("c1", "k2")
    assert [each.ref[-1] for each in sent if isinstance(each, Get)][-2:] == ["k1", "k2"]
