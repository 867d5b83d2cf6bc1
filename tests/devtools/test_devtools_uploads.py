"""Uploads: the rows, their figures, and the screen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import CallEvent, Events, Get, Got, State, UploadInfo, UploadTotals
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.upload_rows import Upload, Uploads
from liverpc_devtools.widgets.palette import ASCII, UNICODE, gauge
from tests.devtools.attach_frames import Hand, call, full, welcome
from tests.devtools.conftest import OpenBench, column, fed

TOTALS = UploadTotals(1, 1000, 0, 64_000_000)


def info(number: int = 1, received: int = 0, *, began: float = 1100.0, **changes: Any) -> UploadInfo:
    values: dict[str, Any] = {"connection": "c1", "id": f"{number:08x}", "path": "files/store", "user": "u_31"}
    values |= {"address": "10.0.0.9", "size": None, "taken": received, "buffered": 0, "state": "receiving"}
    return UploadInfo(started_at=began, received=received, **values | changes)


def state(at: float, *uploads: UploadInfo, **changes: Any) -> State:
    return State(rev=1, at=at, uploads=list(uploads), **{"upload_totals": TOTALS, **changes})


def answer(at: float, number: int = 1, *, began: float = 1100.0, received: int = 10, code: str = "") -> CallEvent:
    return CallEvent(
        at=at,
        path="files/store",
        connection="c1",
        ms=(at - began) * 1000,
        ok=not code,
        call=f"{number:08x}",
        user="u_31",
        code=code,
        carries="upload",
        received=received,
        args={"name": "a.bin"},
        result="gone" if code else {"bytes": received},
    )


@pytest.fixture
def uploads() -> Uploads:
    return Uploads(1100.0)


def only(uploads: Uploads) -> Upload:
    (row,) = uploads.rows
    return row


# -- rows


def test_a_rate_is_that_of_the_bytes_since_we_look(uploads: Uploads) -> None:
    uploads.apply(state(1110.0, info(received=9_000_000, size=10_000_000), full=True))
    assert only(uploads).rate(1110.0) == 0
    for second in range(1, 6):
        uploads.apply(state(1110.0 + second, info(received=9_000_000 + 100_000 * second, size=10_000_000)))
    row = only(uploads)
    assert row.rate(1115.0) == pytest.approx(100_000)
    assert row.share == pytest.approx(0.95)
    assert row.percent == "95%"
    assert row.seconds_left(1115.0) == pytest.approx(5.0)
    assert row.rate(1119.0) == 0
    assert row.seconds_left(1119.0) is None


@pytest.mark.parametrize(
    ("size", "received", "percent"),
    [(None, 5, ""), (0, 0, "100%"), (-1, 0, "100%"), (10, 25, "100%"), (1000, 999, "99%"), (10, 0, "0%")],
)
def test_a_share_is_of_what_was_announced(uploads: Uploads, size: int | None, received: int, percent: str) -> None:
    uploads.apply(state(1101.0, info(received=received, size=size)))
    assert only(uploads).percent == percent


def test_bytes_that_arrived_while_we_were_away_are_no_rate(uploads: Uploads) -> None:
    uploads.apply(state(1110.0, info(received=10), full=True, counters={"upload_bytes": 10}))
    uploads.apply(state(1170.0, info(received=10**9), full=True, counters={"upload_bytes": 10**9}))
    assert (only(uploads).rate(1170.0), uploads.bytes.rate(1170.0)) == (0, 0)


def test_one_that_ended_stays_for_a_minute_with_its_code(uploads: Uploads) -> None:
    uploads.apply(state(1101.0, info(received=500, buffered=100)))
    uploads.ended(answer(1103.0, received=700, code="CANCELLED"), 1103.0)
    uploads.apply(state(1103.1, info(received=700, state="ended early")))  # its handler still cleans up
    row = only(uploads)
    assert (row.state, row.info.received, row.info.buffered, row.rate(1103.0)) == ("CANCELLED", 700, 0, 0)
    assert row.seconds(2000.0) == pytest.approx(3.0)
    uploads.apply(state(1162.9))
    assert only(uploads) is row
    uploads.apply(state(1163.0))
    assert uploads.rows == []


def test_one_whose_answer_was_not_captured_has_ended_somehow(uploads: Uploads) -> None:
    uploads.apply(state(1101.0, info()))
    uploads.apply(state(1102.0))
    assert only(uploads).state == "ended"
    uploads.ended(answer(1101.9), 1102.5)  # it came late
    assert only(uploads).state == "done"


def test_one_that_was_over_between_two_states_is_known_by_its_answer(uploads: Uploads) -> None:
    uploads.ended(answer(1101.0, began=1100.95, received=42), 1101.0)
    row = only(uploads)
    assert (row.info.path, row.info.user, row.info.received, row.state) == ("files/store", "u_31", 42, "done")
    uploads.ended(answer(1101.0, began=1100.95, received=42), 1101.0)
    assert only(uploads) is row


def test_a_number_that_is_used_again_is_another_upload(uploads: Uploads) -> None:
    old, new = info(began=1100.0, state="ended early"), info(began=1105.0)
    uploads.apply(state(1106.0, old, new))
    uploads.ended(answer(1106.5, began=1105.0), 1106.5)
    assert {row.info.started_at: row.state for row in uploads.rows} == {1100.0: "ended early", 1105.0: "done"}
    uploads.ended(answer(1107.0, began=1100.0, code="CANCELLED"), 1107.0)
    uploads.apply(state(1107.0))
    assert {row.info.started_at: row.state for row in uploads.rows} == {1100.0: "CANCELLED", 1105.0: "done"}


def test_small_ones_that_follow_each_other_under_one_number_are_all_kept(uploads: Uploads) -> None:
    for tenth in range(5):
        at = 1101.0 + tenth / 10
        uploads.ended(answer(at, began=at - 0.01, received=tenth), at)
    assert [row.info.received for row in uploads.rows] == [0, 1, 2, 3, 4]


def test_answers_to_other_calls_and_old_ones_are_none_of_an_upload(uploads: Uploads) -> None:
    uploads.ended(call(at=1100.0), 1100.0)
    uploads.ended(msgspec.structs.replace(answer(1100.0), carries="binary"), 1100.0)
    uploads.ended(answer(1100.0), 1160.0)
    assert uploads.rows == []


def test_one_that_was_turned_away_at_the_door_is_no_upload(uploads: Uploads) -> None:
    refused = answer(1101.0, began=1100.9995, received=0, code="TOO_MANY_UPLOADS")
    uploads.ended(refused, 1101.0)
    assert uploads.rows == []
    uploads.apply(state(1101.0, info(2)))
    uploads.ended(answer(1102.0, 2, received=0, code="UNAUTHORIZED"), 1102.0)  # this one had begun
    uploads.ended(answer(1102.0, 3, began=1101.9, received=1, code="CANCELLED"), 1102.0)  # and this one, too
    uploads.ended(answer(1102.0, 4, began=1101.9, received=0), 1102.0)  # an empty file
    assert [row.state for row in uploads.rows] == ["UNAUTHORIZED", "CANCELLED", "done"]


@pytest.mark.parametrize(("ended", "kept"), [(199, 199), (200, 200), (201, 200)])
def test_so_many_that_ended_are_kept(uploads: Uploads, ended: int, kept: int) -> None:
    for number in range(ended):
        uploads.ended(answer(1101.0 + number / 1000, number, began=1101.0), 1101.5)
    uploads.apply(state(1102.0, info(5000)))
    assert len(uploads.rows) == kept + 1
    assert uploads.rows[0].info.id == f"{ended - kept:08x}"  # the oldest went


def test_those_that_were_cleared_stay_away(uploads: Uploads) -> None:
    uploads.apply(state(1101.0, info(2)))
    uploads.ended(answer(1101.0), 1101.0)
    uploads.clear(1102.0)
    uploads.ended(answer(1101.0), 1103.0)
    assert only(uploads).info.id == "00000002"


def test_the_history_tells_how_the_last_ones_ended() -> None:
    model = Model(monotonic=Hand())
    model.attached(welcome(), lambda frame: None)
    model.apply(Got(id=model.get("calls"), items=[answer(1000.0), answer(1099.0, 2, began=1090.0, code="CANCELLED")]))
    assert [row.state for row in model.uploads.rows] == ["CANCELLED"]


SIZES = st.one_of(st.none(), st.integers(-5, 5), st.integers(0, 10**30))


@given(SIZES, st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 10**12)), min_size=1, max_size=40))
def test_figures_stay_within_reason_whatever_a_client_announces(
    size: int | None, steps: list[tuple[float, int]]
) -> None:
    uploads, at, received = Uploads(1100.0), 1100.0, 0
    for seconds, more in steps:
        at, received = at + seconds, received + more
        uploads.apply(state(at, info(received=received, size=size), counters={"upload_bytes": received}))
        row = only(uploads)
        assert 0 <= row.rate(at) <= received
        assert (row.share is None) == (size is None)
        assert 0 <= (row.share or 0) <= 1
        assert (row.seconds_left(at) or 0) >= 0
        for glyphs in UNICODE, ASCII:
            assert len(gauge(row.share or 0.0, 3, glyphs)) == 3


@pytest.mark.parametrize(("share", "bar"), [(0, "···"), (0.01, "···"), (0.5, "█▌·"), (0.999, "██▉"), (1, "███")])
def test_a_gauge_is_full_only_at_the_end(share: float, bar: str) -> None:
    assert gauge(share, 3, UNICODE) == bar


def test_an_older_server_and_an_older_observer_lack_uploads_only() -> None:
    old = msgspec.json.decode(b'{"t":"state","rev":1,"at":1.0,"full":true}', type=State)
    assert (old.uploads, old.upload_totals) == ([], None)
    event = msgspec.json.decode(b'{"kind":"rpc","at":1,"path":"a/b","connection":"c","ms":1,"ok":true}', type=CallEvent)
    assert (event.carries, event.received) == ("", 0)
    longer = msgspec.json.encode(info())[:-1] + b',"something newer"]'
    assert msgspec.json.decode(longer, type=UploadInfo) == info()


# -- the screen

RUNNING = info(received=1_200_000, size=4_800_000, taken=1_100_000, buffered=100_000, began=1095.0)


@pytest.mark.realtime
async def test_an_upload_shows_its_figures(bench: OpenBench) -> None:
    async with bench(screen="uploads", size=(160, 48)) as it:
        await fed(it, state(1099.0, msgspec.structs.replace(RUNNING, received=1_000_000), full=True))
        text = await fed(it, state(1100.0, RUNNING))
        row = " ".join((await it.line("c1 ")).split())
        assert row == "▸ 5.0s u_31 files/store c1 10.0.0.9 1.2 MB 4.8 MB ▊·· 25% 200 KB 100 KB receiving"
        assert "25%  1.2 MB of 4.8 MB  200 KB/s  18s left" in text
        assert "1,200,000 bytes of 4,800,000" in text
        assert "running 1 of 1,000  buffered 0 B of 64.0 MB" in text


@pytest.mark.realtime
async def test_a_narrow_screen_shows_the_figures_that_change(bench: OpenBench) -> None:
    async with bench(screen="uploads", size=(80, 24)) as it:
        await fed(it, state(1100.0, RUNNING))
        header = (await it.line("rate/s")).split()
        assert header == ["time", "▼", "user", "path", "bytes", "done", "rate/s", "buffer", "state"]
        assert (await it.line("receiving")).rstrip().endswith("receiving")


@pytest.mark.realtime
async def test_running_ones_stand_above_those_that_ended_and_both_in_the_order_of_the_sort(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        await fed(it, state(1100.0, info(1, began=1095.0), info(2, began=1090.0)))
        ended = (answer(1099.0, 7, began=1098.9), answer(1098.0, 8, began=1091.0), answer(1099.5, 9, began=1098.5))
        text = await fed(it, Events(items=[*ended]))
        assert column(text, "rate/s", 5) == ["10s", "5.0s", "7.0s", "1.0s", "0.1s"]
        assert column(await it.press("S"), "rate/s", 5) == ["5.0s", "10s", "0.1s", "1.0s", "7.0s"]


@pytest.mark.realtime
async def test_those_that_are_not_shown_are_counted(bench: OpenBench) -> None:
    async with bench(screen="uploads", size=(80, 24)) as it:
        assert "not shown" not in await fed(it, state(1100.0, info(1)))
        many = UploadTotals(1000, 1000, 0, 64_000_000)
        counters = {"uploads_started": 1000}
        rows = [info(number) for number in range(200)]
        text = await fed(it, state(1100.0, *rows, upload_totals=many, counters=counters))
        assert "running 1,000 of 1,000, 800 not shown" in text


@pytest.mark.realtime
async def test_the_cursor_stays_on_an_upload_that_ends_and_tells_how(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        assert "00000001" in await fed(it, state(1100.0, info(1, 10, began=1090.0), info(2, 10, began=1095.0)))
        over = answer(1100.0, 1, began=1090.0, received=10, code="PAYLOAD_TOO_LARGE")
        text = await fed(it, Events(items=[over]), state(1100.2, info(2, 10, began=1095.0)))
        for part in ("00000001", "PAYLOAD_TOO_LARGE", "ran 10s", '"a.bin"', '"gone"'):
            assert part in text
        assert '{"name": "a.bin"}' in await it.press("v")


@pytest.mark.realtime
async def test_enter_goes_to_the_details_of_an_upload_and_c_clears(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        await fed(it, state(1100.0), Events(items=[answer(1099.0, began=1098.0)]))
        await it.pilot.press("enter")
        assert it.app.focused is it.app.query_one("#upload")
        await it.pilot.press("escape")
        assert it.app.focused is it.app.query_one("#transfers")
        assert "nobody uploads anything" in await it.press("c")


@pytest.mark.realtime
async def test_on_a_small_screen_enter_makes_room_for_the_details(bench: OpenBench) -> None:
    async with bench(screen="uploads", size=(60, 14)) as it:
        assert "00000001" not in await fed(it, state(1100.0, info()))
        assert "00000001" in await it.press("enter")
        assert "00000001" not in await it.press("escape")


@pytest.mark.realtime
async def test_uploads_are_filtered_by_user_path_and_state(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        await fed(it, state(1100.0, info(1, state="held", user="ann"), info(2, user="bob")))
        for needle in ("held", "ann"):
            text = await it.press("slash", *needle, "enter")
            assert ("ann" in text, "bob" in text) == (True, False)
            await it.press("escape")
        await it.press("slash", *"receiving", "enter")
        assert "bob" not in await fed(it, state(1100.5, info(2, user="bob", state="held")))


@pytest.mark.realtime
async def test_the_tab_tells_how_many_run_and_how_fast(bench: OpenBench) -> None:
    async with bench(size=(200, 36)) as it:
        await fed(it, full(upload_totals=TOTALS, counters={"upload_bytes": 10**6}))
        text = await fed(it, state(1100.0, counters={"upload_bytes": 2 * 10**6}))
        assert "7 Uploads  1, 1.0 MB/s" in text
        assert "[7 Uploads]" in await it.press("7")


@pytest.mark.realtime
async def test_who_is_told_nothing_of_uploads_is_told_why(bench: OpenBench) -> None:
    async with bench(screen="uploads") as it:
        assert "nobody uploads anything" in await it.text()  # before the first state
        assert "the server is older, or your token is limited to topics" in await fed(it, full())
        assert "nobody uploads anything" in await fed(it, full(upload_totals=TOTALS))
        assert it.of(Get)  # the history, for those that ended


@pytest.mark.realtime
async def test_a_connection_shows_its_uploads(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        await fed(it, full(uploads=[RUNNING, info(2), info(3, connection="c2")], upload_totals=TOTALS))
        assert "uploads 2 (25%) 0 B/s" in await it.text()
        assert "uploads 2" not in await fed(it, state(1101.0))


@pytest.mark.realtime
async def test_calls_with_data_say_so(bench: OpenBench) -> None:
    async with bench(screen="rpc", size=(160, 36)) as it:
        binary = call(at=1101.0, number=2, carries="binary", received=2_500_000)
        text = await fed(it, Events(items=[call(), answer(1100.5, received=42), binary]))
        kinds = [line.split()[line.split().index("OK") + 1] for line in text.splitlines() if " OK  " in line][:3]
        assert kinds == ["binary", "upload", "call"]
        assert "2.5 MB" in await it.line(" binary ")
        assert " OK  1.50ms  binary 2.5 MB" in text  # of the selected one, however narrow it is


@pytest.mark.realtime
async def test_the_figure_of_the_tab_that_is_shown_goes_before_the_words_of_the_others(bench: OpenBench) -> None:
    async with bench(screen="uploads", size=(80, 24)) as it:
        counters = {"upload_bytes": 10**6, "calls": 123_456_789}
        text = await fed(it, full(upload_totals=TOTALS, counters=counters, pending_total=150))
        tabs = next(line for line in text.splitlines() if "[7 Uploads]" in line)
        assert " ".join(tabs.split()) == "1 Ove 2 Str 3 RPC 4 Con 5 Eve 6 Roo [7 Uploads] 9 Cha 0 Rec E Exp"
        await it.press("slash", *"longer-than-that", "enter")
        tabs = await it.line("[7 Uploads]")
        assert " ".join(tabs.split()) == '1 2 3 4 5 6 [7 Uploads] 9 0 E filter "longer-than-that" 0 shown'
