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
from liverpc_devtools.model import Model
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


# -- paths


@pytest.mark.parametrize("width", [80, 160])
async def test_t_shows_the_paths_with_rates_percentiles_and_refusals(bench: OpenBench, width: int) -> None:
    async with bench(size=(width, 24), screen="rpc") as it:
        await paths_of(it)
        it.hand.now += 1
        await fed(it, State(rev=2, at=1101.0, path_stats=[path(1, 1214, [("RATE_LIMITED", 41)], limited=41, shed=7)]))
        row = (await it.line("orders/pay")).replace("▸", " ").split()
        assert row[:8] == ["orders/pay", "10.0", "1.20ms", "34.5ms", "812ms", "41", "41", "7"]
        assert (row[8:] == ["1,214", "1.50s", "RATE_LIMITED", "41"]) is (width == 160)
        assert (await it.line("quiet")).split()[1:] == ["0", "0", "0", "0", *(["1"] if width == 160 else [])]
        assert all(len(line) == width for line in (await it.text()).splitlines())


async def test_where_there_is_no_room_columns_are_left_out_and_no_figure_is_cut(bench: OpenBench) -> None:
    async with bench(size=(60, 20), screen="rpc") as it:
        await paths_of(it, **POLICIES)
        assert (await it.line("orders/pay")).split()[1:] == ["orders/pay", "0", "1.20ms", "812ms", "43"]
        await it.press("t")
        assert (await it.line("account:7")).split() == ["account:7", "held", "4.0s", "3", "2.0s"]


async def test_a_path_has_its_errors_by_code_below(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        text = await paths_of(it)
        assert "p50 1.20ms  p95 34.5ms  p99 812ms  mean 10.0ms  max 1.50s" in text
        assert "errors 43  limited 41  shed 7" in text
        assert (await it.line("RATE_LIMITED")).split()[-2:] == ["RATE_LIMITED", "41"]
        assert (await it.line("CARD")).split()[-2:] == ["CARD\\x1b[2J", "2"]
        stats = PathStats(1, 100, 60, 1.0, 1.0, codes=[("A", 50)])
        await fed(it, full(rev=2, paths=PATHS["paths"], path_stats=[stats]))
        assert "10 with other codes" in await it.text()
        assert "p50 ?  p95 ?" in await it.text()


async def test_paths_are_sorted_filtered_and_harmless(bench: OpenBench) -> None:
    async with bench(size=(120, 30), screen="rpc") as it:
        text = await paths_of(it)
        assert "\x1b" not in text
        assert "evil:\\x1b[31m" in text
        await it.press("s", "s", "s", "s")  # by errors
        assert column(await it.text(), "errors ▼", 1) == ["orders/pay"]
        await it.press("slash", *"quiet", "enter")
        assert column(await it.text(), "errors ▼", 1) == ["quiet"]


async def test_a_frozen_table_of_paths_does_not_change(bench: OpenBench) -> None:
    async with bench(size=(120, 30), screen="rpc") as it:
        await paths_of(it)
        await it.press("space")
        await fed(it, State(rev=2, at=1101.0, path_stats=[path(1, 9999)]))
        assert "9,999" not in (await it.line("▸"))
        await it.press("space")
        assert "9,999" in (await it.line("▸"))


# -- locks and breakers


async def test_a_line_about_locks_and_breakers_appears_when_there_are_any(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        assert "breakers" not in await fed(it, full())
        await fed(it, full(rev=2, **POLICIES))
        line = await it.line("breakers")
        assert line.split()[:6] == ["locks", "2", "held", "3", "wait", "breakers"]
        assert line.split()[6:] == ["1", "open", "1", "closed"]
        assert "breakers" not in await fed(it, full(rev=3))
    async with bench(size=(160, 40), screen="rpc") as it:
        await fed(it, full(**POLICIES))
        assert "account:7 held by orders/pay of ann for 4.0s, 3 wait" in await it.line("breakers")


async def test_locks_and_breakers_stand_in_a_table_of_their_own(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        await fed(it, full(**POLICIES))
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
        assert "calls yet" in await it.press("t")


async def test_without_locks_and_breakers_the_table_says_so(bench: OpenBench) -> None:
    async with bench(screen="rpc", granted="metrics") as it:
        await fed(it, full(locks_total=3))
        assert "no lock is held that you may see" in await it.press("t", "t")


# -- where a call waits


async def test_a_pending_call_shows_where_it_waits_and_asks_again(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        assert "the server is asked where it waits" in await fed(it, pending())
        asked = [each for each in it.of(Get) if each.ref[0] == "call"]
        assert [each.ref for each in asked] == [["call", "c1", "k9", "1090.25"]]
        steps = [Step("pay", "app/orders.py", 41), Step("evil\x1b[31m", "x.py", 7)]
        text = await fed(it, Got(asked[0].id, [], awaited=Awaited("the lock account:7\x1b[2J", steps)))
        assert "waits for the lock account:7\\x1b[2J" in text
        assert "  pay  app/orders.py:41" in text
        assert "evil\\x1b[31m  x.py:7" in text
        it.hand.now += 1
        await fed(it, pending(rev=2))
        again = [each for each in it.of(Get) if each.ref[0] == "call"]
        assert [each.ref for each in again] == [["call", "c1", "k9", "1090.25"]] * 2
        text = await fed(it, Got(again[1].id, [], awaited=Awaited("a worker thread", [])))
        assert "waits for a worker thread" in text
        assert "no coroutine of the application is under way" in text


async def test_why_it_is_not_known_is_told_in_place(bench: OpenBench) -> None:
    async with bench(size=(80, 24), screen="rpc") as it:
        await fed(it, pending())
        asked = next(each for each in it.of(Get) if each.ref[0] == "call")
        assert "it does not run any more" in await fed(it, Err(asked.id, "it does not run any more"))
        assert not it.model.notes


async def test_nobody_is_asked_while_the_details_are_hidden(bench: OpenBench) -> None:
    async with bench(size=(60, 24), screen="rpc") as it:
        await fed(it, pending())
        assert not [each for each in it.of(Get) if each.ref[0] == "call"]
        await it.press("enter")
        assert [each for each in it.of(Get) if each.ref[0] == "call"]


async def test_an_answered_call_shows_what_it_was_about_and_nobody_is_asked(bench: OpenBench) -> None:
    async with bench(screen="rpc") as it:
        await fed(it, full(), Events(items=[call()]))
        assert not [each for each in it.of(Get) if each.ref[0] == "call"]


async def test_an_upload_shows_where_its_handler_waits(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        row = UploadInfo("c1", "0000000a", "files/store", "ann", "", 1099.0, None, 5, 5, 0, "receiving")
        await fed(it, full(uploads=[row], upload_totals=UploadTotals(1, 9, 0, 9)))
        asked = next(each for each in it.of(Get) if each.ref[0] == "call")
        assert asked.ref == ["call", "c1", "0000000a"]
        told = Awaited("bytes of its upload", [Step("store", "files.py", 3)])
        assert "waits for bytes of its upload" in await fed(it, Got(asked.id, [], awaited=told))


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
