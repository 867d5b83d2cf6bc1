"""``@live.gate``: the option ``gate=`` as a decorator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveServer, RpcError, live, public, remote
from liverpc.testing import TestEnv


def shut(ctx: Context[Any], *args: Any) -> bool:
    return False


async def for_ann(ctx: Context[Any], room: int) -> bool:
    return ctx.user == "ann" and room == 1


def rows(ctx: Context[Any], room: int) -> list[int]:
    return [room]


def call(ctx: Context[Any]) -> None: ...


async def test_51_it_stands_above_and_below_and_beside_scoped() -> None:
    # acceptance 51
    def known(ctx: Context[Any], *args: Any) -> bool:
        return ctx.user is not None

    streams = SimpleNamespace(
        above=live.gate(for_ann)(live.stream("above:{room}")(rows)),
        below=live.stream("below:{room}")(live.gate(for_ann)(rows)),
        scoped_below=live.gate(for_ann)(live.stream("sb:{room}")(live.scoped(known)(rows))),
        both_below=live.stream("bb:{room}")(live.scoped(known)(live.gate(for_ann)(rows))),
        both_above=live.scoped(known)(live.gate(for_ann)(live.stream("ba:{room}")(rows))),
        _guard=public(),
    )
    async with TestEnv(LiveServer({"demo": streams})) as env:
        ann, bob, nobody = (env.connect(user=user) for user in ("ann", "bob", None))
        for name in ("above", "below", "scoped_below", "both_below", "both_above"):
            assert (await ann.subscribe(remote(f"demo/{name}"), 1)).value == [1]
            assert (await ann.subscribe(remote(f"demo/{name}"), 2)).get() is None
            assert (await bob.subscribe(remote(f"demo/{name}"), 1)).get() is None
            assert env.server.subscribers(f"{streams.__dict__[name].topic(2)}") == 0
        # The gate comes first: who may not pass it does not learn that more is asked.
        assert (await nobody.subscribe(remote("demo/both_above"), 1)).get() is None


async def test_scoped_still_refuses_whom_the_gate_lets_pass() -> None:
    streams = SimpleNamespace(
        rows=live.gate(lambda ctx, room: True)(live.scoped(shut)(live.stream("r:{room}")(rows))), _guard=public()
    )
    async with TestEnv(LiveServer({"demo": streams})) as env:
        with pytest.raises(RpcError, match="FORBIDDEN"):
            await env.connect(user="ann").subscribe(remote("demo/rows"), 1)


async def test_a_channel_may_have_one() -> None:
    notices = live.gate(shut)(live.channel("notices", merge="latest", item=str))
    server = LiveServer({"demo": SimpleNamespace(notices=notices, _guard=public())})
    async with TestEnv(server) as env:
        assert (await env.connect().subscribe(remote("demo/notices"))).get() is None
        assert server.subscribers("notices") == 0


def test_the_stream_it_decorates_stays_as_it_is() -> None:
    stream = live.stream("r:{room}")(rows)
    assert live.gate(shut)(stream).options.gate is shut
    assert stream.options.gate is None


@pytest.mark.parametrize(
    "declare",
    [
        lambda: live.gate(shut)(live.gate(shut)(rows)),
        lambda: live.gate(shut)(live.stream("r", gate=shut)(call)),
        lambda: live.stream("r", gate=shut)(live.gate(shut)(call)),
        lambda: live.gate(shut)(live.gate(shut)(live.stream("r")(call))),
        lambda: live.gate(shut)(live.stream("r")(live.scoped(shut)(live.gate(shut)(call)))),
    ],
)
def test_two_gates_are_refused(declare: Any) -> None:
    with pytest.raises(DeclarationError, match=r"test_live_gate\.py, line \d+.*gate.*join them with access\.all\(\)"):
        declare()


@pytest.mark.parametrize("declare", [lambda: live.gate(shut)(live(call)), lambda: live(live.gate(shut)(call))])
def test_calls_have_no_gates(declare: Any) -> None:
    with pytest.raises(
        DeclarationError, match=r"test_live_gate\.py, line \d+.*@live\.gate is for streams.*live\.scoped"
    ):
        declare()


def test_one_without_a_function_or_without_live_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"@live\.gate takes a function of ctx and the arguments, not True"):
        live.gate(True)  # type: ignore[arg-type]  # what is tested
    half = live.gate(shut)(rows)
    with pytest.raises(DeclarationError, match=r"m\.half has @live\.gate but no @live"):
        LiveServer({"m": SimpleNamespace(half=half)})
    with pytest.raises(
        DeclarationError, match=r"test_live_gate\.py, line \d+.*it has @live\.gate and no @live above it"
    ):
        half(None, 1)  # type: ignore[arg-type]
