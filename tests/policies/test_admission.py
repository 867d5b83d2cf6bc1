"""Classes of service under pressure."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import (
    ConfigError,
    Context,
    LiveServer,
    Pressure,
    PressureThresholds,
    RpcError,
    UploadContext,
    live,
    public,
    remote,
)
from liverpc.testing import TestEnv, create_test_context
from tests.streams.raw_client import Raw


def server(**options: Any) -> LiveServer:
    @live.stream("rows", class_of_service="reports")
    async def rows(ctx: Context[Any]) -> list[Any]:
        return []

    @live
    def shed(ctx: Context[Any], name: str) -> bool:
        return ctx.shed(name)

    return LiveServer({"demo": SimpleNamespace(rows=rows, shed=shed, _guard=public())}, **options)


async def test_117_under_pressure_new_subscribers_of_a_class_are_refused_and_others_stay() -> None:
    app = server(thresholds=PressureThresholds(subscribers=1))
    app.admission({"reports": ["SUBSCRIBERS"], "other": ["MEMORY"]})
    async with TestEnv(app) as env:
        first = await Raw.open(env)
        assert (await first.subscribe("demo/rows"))["ok"]
        app._gauge.stop()  # the next look measures anew
        second = await Raw.open(env)
        reply = await second.subscribe("demo/rows")
        # acceptance 117
        assert (reply["ok"], reply["code"]) == (False, "OVERLOADED")
        assert env.counters.streams_shed == 1
        app.publish_nowait("rows", "created", {"id": 1})
        assert (await first.recv())["data"] == {"id": 1}
        app.admission(None)
        assert (await second.subscribe("demo/rows"))["ok"]


async def test_who_is_refused_for_want_of_room_has_not_used_up_anything() -> None:
    @live.stream("rows", class_of_service="reports")
    @live.rate_limit(points=1, per=60.0)
    async def rows(ctx: Context[Any], n: int) -> list[Any]:
        return []

    refusing = True
    app = LiveServer({"demo": SimpleNamespace(rows=rows, _guard=public())})
    app.admission({"reports": lambda pressure: refusing})
    async with TestEnv(app) as env:
        raw = await Raw.open(env)
        codes = [(await raw.subscribe("demo/rows", "no number")).get("code") for _ in range(2)]
        refusing = False
        codes += [(await raw.subscribe("demo/rows", "no number")).get("code") for _ in range(2)]
        assert codes == ["OVERLOADED", "OVERLOADED", "VALIDATION", "RATE_LIMITED"]
        assert (env.counters.streams_shed, env.counters.calls_shed) == (2, 0)


async def test_116_shed_asks_the_same_and_knows_its_classes() -> None:
    app = server()
    async with TestEnv(app) as env:
        raw = await Raw.open(env)

        async def shed(name: str) -> Any:
            await raw.send(rpc="demo/shed", id="c", args=[name])
            reply = (await raw.recv())["data"]
            return reply["data"] if reply["ok"] else reply["code"]

        # acceptance 116
        assert await shed("anything") is False
        seen: list[Pressure] = []

        def refuse(pressure: Pressure) -> bool:
            seen.append(pressure)
            return True

        app.admission({"reports": refuse})
        assert await shed("reports") is True
        assert await shed("unknown") == "INVALID_REQUEST"
        assert [type(each) for each in seen] == [Pressure]
    assert create_test_context().shed("anything") is False


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"reports": ["HUNGER"]}, "names 'HUNGER'; reasons are MEMORY, PUBLISH_RATE, SUBSCRIBERS"),
        ({"reports": ["NONE"]}, "names 'NONE'"),
        ({"reports": "MEMORY"}, "takes a list of reasons or a function"),
        ({"other": ["MEMORY"]}, "no rule for 'reports', the class of service of demo/rows"),
    ],
)
def test_116_rules_that_cannot_be_are_refused_at_once(rules: Any, text: str) -> None:
    # acceptance 116
    with pytest.raises(ConfigError, match=text):
        server().admission(rules)


async def test_calls_of_a_class_are_refused_before_anybody_looks_at_their_arguments() -> None:
    @live(class_of_service="reports")
    @live.rate_limit(points=1, per=60.0)
    def report(ctx: Context[Any], n: int) -> int:
        return n

    @live.binary(path="demo/binary", class_of_service="reports")
    async def binary(ctx: Context[Any], data: bytes) -> int:
        return len(data)

    @live.upload(path="demo/upload", class_of_service="reports")
    async def upload(ctx: UploadContext[Any]) -> int:
        return sum([len(chunk) async for chunk in ctx.upload])

    refusing = True
    app = LiveServer({"demo": SimpleNamespace(report=report, binary=binary, upload=upload, _guard=public())})
    app.admission({"reports": lambda pressure: refusing})
    with pytest.raises(ConfigError, match="no rule for 'reports', the class of service of demo/report"):
        app.admission({"other": ["MEMORY"]})
    async with TestEnv(app) as env:
        client = env.connect().using(fresh=True)

        async def codes() -> list[str]:
            answers = await asyncio.gather(
                client.call(remote("demo/report"), "no number"),
                client.binary(binary, b"1"),
                client.upload(upload, b"1"),
                return_exceptions=True,
            )
            return [each.code if isinstance(each, RpcError) else "ok" for each in answers]

        assert await codes() == ["OVERLOADED"] * 3
        assert env.counters.calls_shed == 3
        refusing = False
        assert await codes() == ["VALIDATION", "ok", "ok"]
        refusing = True
        assert await codes() == ["OVERLOADED"] * 3  # nor does it count for the limit
