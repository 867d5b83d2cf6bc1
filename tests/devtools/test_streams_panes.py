"""What stands below the streams and the connections."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from liverpc.inspector.protocol import (
    ConnectionInfo,
    ConnectionStats,
    Declarations,
    Declared,
    Err,
    Event,
    Events,
    Get,
    Got,
    SubscriptionInfo,
)
from tests.devtools.attach_frames import full, pub
from tests.devtools.conftest import TOPICS, Bench, OpenBench, fed

pytestmark = pytest.mark.realtime


def asked(it: Bench, *ref: str) -> int:
    """The last question for this."""
    return int([each.id for each in it.of(Get) if each.ref == list(ref)][-1])


async def test_t_shows_who_listens_to_the_topic(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        assert "the server is asked who listens" in await it.press("t")
        rows = [
            SubscriptionInfo("board:1", "c8f0aa11", "ann", 0, 0, True),
            SubscriptionInfo("board:1", "a02", "", 2048, 3, False),
        ]
        text = await fed(it, Got(id=asked(it, "subscribers", "board:1"), items=[], subscriptions=rows))
        line = next(line for line in text.splitlines() if "a02" in line)
        assert line.split()[1:] == ["a02", "anonymous", "loading", "2.0", "KB", "3"]
        before = len(it.of(Get))
        await it.text()
        assert len(it.of(Get)) == before  # once a second
        it.hand.now += 1
        await it.text()
        assert len(it.of(Get)) == before + 1
        await fed(it, Got(id=asked(it, "subscribers", "board:1"), items=[]))
        assert "nobody listens" in await it.text()


async def test_from_a_listener_enter_goes_to_its_connection(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        await it.press("t")
        rows = [SubscriptionInfo("board:1", "c1", "u1", 0, 0, True)]
        await fed(it, Got(id=asked(it, "subscribers", "board:1"), items=[], subscriptions=rows))
        text = await it.press("enter", "enter")
        assert ("[4 Conns]" in text, 'filter "conn:c1" 1 shown' in text) == (True, True)


async def test_a_refused_question_says_why(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        await it.press("t")
        text = await fed(it, Err(id=asked(it, "subscribers", "board:1"), text="not at this\x1b level"))
        assert "not at this\\x1b level" in text


async def test_the_schema_of_the_topic(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        await fed(it, full(topics=TOPICS))
        assert "asked what it declares" in await it.press("t", "t")
        declared = Declared(
            path="board/list",
            kind="stream",
            doc="The cards of a board.",
            place="app/board.py:12",
            parameters=[("board", {"type": "integer"}, True)],
            result={"type": "array", "items": {"type": "string"}},
            guards=["signed_in"],
            policies=[("rate limit", "5 per 60 s")],
            topic="board:{board}",
        )
        text = await fed(it, Got(id=asked(it, "declared"), items=[], declared=Declarations([declared])))
        for part in ("The cards of a board.", "app/board.py:12", "board: int", "signed_in", "5 per 60 s"):
            assert part in text


async def test_v_compares_a_payload_with_the_last_one_of_its_item(bench: OpenBench) -> None:
    async with bench(screen="streams") as it:
        payloads: list[Any] = [{"id": 3, "title": "a"}, {"id": 4, "title": "x"}, {"id": 3, "title": "b"}]
        events: list[Event] = [
            msgspec.structs.replace(pub("board:1", at=1100.0 + n, seq=n), data=data) for n, data in enumerate(payloads)
        ]
        await fed(it, full(topics=TOPICS), Events(items=events))
        text = await it.press("v", "v")
        assert ("1 difference from updated" in text, '~ title  "a" -> "b"' in text) == (True, True)
        assert "nothing to compare it with" in await it.press("enter", "G")
        text = await it.press("v")
        assert ("Hex" in text, "000000  7b 22" in text) == (True, True)


# -- connections


async def connected(it: Bench) -> None:
    infos = [ConnectionInfo("c1", "ann", "10.0.0.1", 1000.0), ConnectionInfo("c2", "", "10.0.0.2", 1001.0)]
    stats = [ConnectionStats("c1", 1, 5, 2, 0, 0), ConnectionStats("c2", 1, 5, 2, 0, 90_000)]
    await fed(it, full(topics=TOPICS, connections=infos, connection_stats=stats))


async def test_a_connection_shows_what_it_listens_to_and_leads_there(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        await connected(it)
        await it.press("j" if it.app.view.target() == ("c2", "") else "k")
        assert it.app.view.target() == ("c1", "ann")
        rows = [SubscriptionInfo("board:2", "c1", "ann", 0, 0, True)]
        text = await fed(it, Got(id=asked(it, "subscriptions", "c1"), items=[], subscriptions=rows))
        line = next(line for line in text.splitlines() if "board:2" in line)
        assert "live" in line
        text = await it.press("enter", "enter")
        assert ("[2 Streams]" in text, 'filter "topic:board:2" 1 shown' in text) == (True, True)


async def test_u_shows_the_connections_of_a_user_and_all_again(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        await connected(it)
        text = await it.press("u")
        only = "ann" if "user:ann" in text else ""
        assert ("10.0.0.1" in text, "10.0.0.2" in text) == ((True, False) if only else (False, True))
        text = await it.press("u")
        assert ("10.0.0.1" in text, "10.0.0.2" in text) == (True, True)


async def test_a_slow_connection_is_said_to_be_slow(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        await connected(it)
        it.app.view.table.needle = "is:slow"
        text = await it.text()
        assert ("10.0.0.1" in text, "slow: 90.0 KB not taken" in text) == (False, True)


async def test_d_opens_the_form_for_this_connection_only(bench: OpenBench) -> None:
    async with bench(screen="connections", granted="chaos") as it:
        await connected(it)
        chosen = it.app.view.target()
        assert chosen is not None
        await it.pilot.press("d")
        await it.pilot.pause()
        assert chosen[0] in "\n".join(strip.text for strip in it.app.screen._compositor.render_strips())


async def test_without_the_right_d_says_how_to_get_it(bench: OpenBench) -> None:
    async with bench(screen="connections") as it:
        await connected(it)
        assert "attach with --chaos" in await it.press("d")
