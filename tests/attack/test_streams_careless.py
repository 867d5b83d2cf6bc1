"""Careless applications, and clients that would take from others what is theirs, against streams that catch up."""

import asyncio
import itertools
import json
import re
from typing import Any

import pytest

from liverpc import Context, Delta, Limits, LiveError, Page, live
from liverpc.testing import TestEnv
from tests.attack.streams_kit import Row, leave, quiet_and_clean, serve
from tests.streams.raw_client import Raw

# -- careless functions of an application


def without_address(value: object) -> str:
    """A name that is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Odd:
    """A stream whose functions give what a test wants."""

    def __init__(self, *, replay: bool = True, **options: Any) -> None:
        self.version: Any = None
        self.diff: Any = None
        self.missed: Any = None
        self.asked: list[Any] = []
        self.meanwhile: Any = None

        async def from_seq(ctx: Context[Any], seq: int) -> Any:
            self.asked.append(seq)
            if self.meanwhile is not None:
                self.meanwhile()
            return self.missed

        delta = Delta(version=lambda ctx: self.version, diff=lambda ctx, since: self.diff, from_seq=from_seq)

        @live.stream("rows", replay=replay, delta=delta, **options)
        async def rows(ctx: Context[Any]) -> list[Row]:
            return [{"id": "whole"}]

        self.rows = rows

    def env(self, **limits: Any) -> TestEnv:
        return TestEnv(serve(rows=self.rows, limits=Limits(**limits)))


class Endless:
    def __iter__(self) -> Any:
        return iter([(i, "created", "x" * 1000) for i in itertools.islice(itertools.count(1), 3000)])


@pytest.mark.parametrize("version", [object(), "\ud800", 1 + 2j, [object()], lambda: 0], ids=without_address)
async def test_a_version_without_json_form_costs_a_full_load(version: Any) -> None:
    odd = Odd()
    odd.version = version
    async with odd.env() as env:
        reply = await (await Raw.open(env)).subscribe("m/rows", version=1)
        assert (reply["ok"], reply["data"]) == (True, [{"id": "whole"}])
        assert "version" not in reply


@pytest.mark.parametrize(
    "diff", [[object()], ["\ud800"], {"id": 1}, "rows", 5, [{"_deleted": True}], [{"id": "x" * 2_000_000}]],
    ids=["object", "surrogate", "dict", "text", "number", "nameless", "huge"],
)  # fmt: skip
async def test_changes_that_cannot_be_sent_cost_a_full_load(diff: Any) -> None:
    odd = Odd()
    odd.version, odd.diff = 2, diff
    async with odd.env() as env:
        reply = await (await Raw.open(env)).subscribe("m/rows", version=1)
        assert (reply["ok"], reply["data"]) == (True, [{"id": "whole"}])
        assert "delta" not in reply


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize(
    "missed",
    [
        5, "events", {"id": 1}, [5], [(1, 2)], [("9", "created", 1)], [(2.5, "created", 1)], [(True, "created", 1)],
        [(3, None, 1)], [(3, b"created", 1)], [(3, "created", object())], [(3, "created", "\ud800")],
        [(1, "created", 1)], [(0, "created", 1), (3, "created", 1)], [(-5, "created", 1)], Endless(),
    ],
    ids=without_address,
)  # fmt: skip
async def test_events_that_cannot_be_right_cost_a_full_load(missed: Any, replay: bool) -> None:
    odd = Odd(replay=replay)
    odd.missed = missed
    async with odd.env(replay_events=1) as env:
        for n in range(4):
            env.server.publish_nowait("rows", "created", {"id": n})
        reply = await (await Raw.open(env)).subscribe("m/rows", seq=1)
        assert (reply["ok"], reply["data"], reply["replay"]) == (True, [{"id": "whole"}], False)
        assert odd.asked == [1]


async def test_an_event_published_while_the_application_looks_for_the_missed_ones_is_no_stranger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = Odd()
    async with odd.env(replay_events=1) as env:
        base = (await (await Raw.open(env)).subscribe("m/rows"))["seq"]
        for n in range(1, 4):
            env.server.publish_nowait("rows", "created", {"id": n})
        odd.missed = [(base + n, "created", {"id": n}) for n in (2, 3, 4)]
        odd.meanwhile = lambda: env.server.publish_nowait("rows", "created", {"id": 4})
        raw = await Raw.open(env)
        reply = await raw.subscribe("m/rows", seq=base + 1)
        assert (reply["replay"], reply["seq"], len(reply["data"])) == (True, base + 4, 3)
        assert (await raw.recv())["seq"] == base + 4  # a client that counts has had it
    assert not caplog.records


async def test_a_log_cleared_while_the_application_looks_gives_no_number_of_another_log() -> None:
    odd = Odd()
    async with odd.env(replay_events=1) as env:
        for n in range(3):
            env.server.publish_nowait("rows", "created", {"id": n})
        odd.missed = [(2, "created", {"id": 2}), (3, "created", {"id": 3})]
        odd.meanwhile = lambda: env.server._hub.log.forget("rows")
        reply = await (await Raw.open(env)).subscribe("m/rows", seq=1)
        assert (reply["replay"], reply["data"]) == (False, [{"id": "whole"}])


async def test_without_its_log_nobody_says_what_a_number_means() -> None:
    odd = Odd()
    odd.missed = []
    async with odd.env() as env:
        first = await (await Raw.open(env)).subscribe("m/rows")
        env.server.publish_nowait("rows", "created", {"id": 1})

        def away(*args: Any) -> Any:
            raise ConnectionError("the log is away")

        log: Any = env.server._hub.log._log
        log.read_now = away
        reply = await (await Raw.open(env)).subscribe("m/rows", seq=first["seq"], epoch=first["epoch"])
        assert (reply["replay"], reply["data"]) == (False, [{"id": "whole"}])
        assert odd.asked == []


@pytest.mark.parametrize("seq", [2**53, 2**63, 10**400])
async def test_the_application_is_asked_about_no_number_that_cannot_be(seq: int) -> None:
    odd = Odd(replay=False)
    odd.missed = []
    async with odd.env() as env:
        assert "replay" not in await (await Raw.open(env)).subscribe("m/rows", seq=seq)
        assert odd.asked == []
        await (await Raw.open(env)).subscribe("m/rows", seq=2**53 - 1)
        assert odd.asked == [2**53 - 1]


@pytest.mark.parametrize("size", range(2800, 4400, 100))
async def test_what_is_too_long_to_be_replayed_is_never_refused(size: int) -> None:
    @live.stream("{topic}", replay=True)
    async def rows(ctx: Context[Any], topic: str) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows, limits=Limits(reply_bytes=4096))) as env:
        for topic in ("t", "😀" * 250):
            raw = await Raw.open(env)
            first = await raw.subscribe("m/rows", topic)
            await raw.send(type="unsubscribe", topic=topic)
            await env.settle()
            parts = size // 400
            for _ in range(parts):
                env.server.publish_nowait(topic, "😀", "x" * (size // parts))
            reply = await raw.subscribe("m/rows", topic, seq=first["seq"], epoch=first["epoch"])
            assert reply["ok"], reply


@pytest.mark.parametrize(("size", "fits"), [(2900, True), (4000, False)])
async def test_a_cursor_counts_towards_the_size_of_a_reply(size: int, fits: bool) -> None:
    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> Page[Row]:
        return Page([], has_more=True, cursor="x" * size)

    async with TestEnv(serve(rows=rows, limits=Limits(reply_bytes=4096))) as env:
        reply = await (await Raw.open(env)).subscribe("m/rows")
        assert (reply.get("code") is None) == fits
        assert len(json.dumps(reply)) < 4096


# -- what others are robbed of


async def test_clients_that_only_listen_push_no_log_out() -> None:
    @live.stream("rows", replay=True)
    async def rows(ctx: Context[Any]) -> list[Row]:
        return []

    @live.stream("room:{name}", replay=True)
    async def room(ctx: Context[Any], name: int) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows, room=room, limits=Limits(replay_topics=10))) as env:
        first = await (await Raw.open(env)).subscribe("m/rows")
        env.server.publish_nowait("rows", "created", {"id": 1})
        attacker = await Raw.open(env)
        for n in range(50):
            await attacker.subscribe("m/room", n)
            await attacker.send(type="unsubscribe", topic=f"room:{n}")
        reply = await (await Raw.open(env)).subscribe("m/rows", seq=first["seq"], epoch=first["epoch"])
        assert reply["replay"] is True


async def test_clients_that_only_listen_make_no_topic_with_listeners_forgotten() -> None:
    @live.stream(lambda ctx, name: f"any:{name}", replay=True)
    async def rows(ctx: Context[Any], name: str) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows, limits=Limits(replay_topics=10))) as env:
        victim = await Raw.open(env)
        first = await victim.subscribe("m/rows", "busy")
        attacker = await Raw.open(env)
        for n in range(50):
            env.server.publish_nowait("any:busy", "created", {"id": n})
            await victim.recv()
            await attacker.subscribe("m/rows", str(n))
            await attacker.send(type="unsubscribe", topic=f"any:{n}")
        reply = await (await Raw.open(env)).subscribe("m/rows", "busy", seq=first["seq"], epoch=first["epoch"])
        assert reply["replay"] is True


async def test_what_is_remembered_of_topics_that_clients_name_has_an_end() -> None:
    @live.stream(lambda ctx, name: f"any:{name}", replay=True)
    async def rows(ctx: Context[Any], name: str) -> list[Row]:
        return []

    async with TestEnv(serve(rows=rows, limits=Limits(replay_topics=10))) as env:
        raw = await Raw.open(env)
        for n in range(50):
            await raw.subscribe("m/rows", str(n))
            await raw.send(type="unsubscribe", topic=f"any:{n}")
        hub = env.server._hub
        assert len(hub.rules._learnt) <= 10
        log: Any = hub.log._log
        assert len(log._topics) <= 10
        assert not hub.log._torn


async def test_refusals_of_a_loader_reach_the_asker_alone() -> None:
    refuse = False

    @live.stream("rows")
    async def rows(ctx: Context[Any]) -> list[Row]:
        await asyncio.sleep(1)
        if refuse:
            raise LiveError("NO", "not now")
        return []

    async with TestEnv(serve(rows=rows)) as env:
        raw, other = await Raw.open(env), await Raw.open(env)
        await raw.subscribe("m/rows")
        await other.subscribe("m/rows")
        refuse = True
        for asked in ({"resync": True}, {"cursor": 1}, {}):
            await raw.send(rpc="m/rows", id="x", args=[], stream=True, **asked)
            await asyncio.sleep(0.5)
            env.server.publish_nowait("rows", "created", {"id": 1})
            got = {frame["topic"]: frame["data"] for frame in [await raw.recv(), await raw.recv()]}
            assert (got["__rpc"]["code"], got["rows"]) == ("NO", {"id": 1})
            assert (await other.recv())["data"] == {"id": 1}
        await leave(env, raw, other)
        quiet_and_clean(env)


async def test_a_page_that_was_sent_to_all_is_a_page_to_those_who_missed_it_too() -> None:
    @live.stream("rows", replay=True, invalidate_on="changes")
    async def rows(ctx: Context[Any]) -> Page[Row]:
        return Page([{"id": 1}], has_more=True, cursor=1)

    async with TestEnv(serve(rows=rows)) as env:
        stays = await Raw.open(env)
        first = await stays.subscribe("m/rows")
        env.server.publish_nowait("changes", "created", {"id": 2})
        frame = await stays.recv()
        assert (frame["event"], frame["hasMore"], frame["cursor"]) == ("refreshed", True, 1)
        reply = await (await Raw.open(env)).subscribe("m/rows", seq=first["seq"], epoch=first["epoch"])
        told = reply["data"] if reply.get("replay") else [reply]
        assert [(each.get("hasMore"), each.get("cursor")) for each in told] == [(True, 1)]
