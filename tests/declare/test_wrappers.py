"""Whatever stands above and below a stream, in whatever order, loses none of its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import permutations
from types import SimpleNamespace
from typing import Any, Final

import pytest

from liverpc import Context, LiveServer, RpcError, live, pipe, public, remote
from liverpc.declare.access import holds
from liverpc.declare.decorators import declared
from liverpc.declare.functions import StreamFunction
from liverpc.declare.options import StreamOptions
from liverpc.schema.signature import Signature
from liverpc.testing import TestEnv, create_test_context

OPTIONS: Final = [option.name for option in fields(StreamOptions)]

CTX: Final = create_test_context()
Wrap = Callable[[Any], Any]


def mine(ctx: Context[Any], name: str) -> bool:
    return True


def also(ctx: Context[Any], name: str) -> bool:
    return False


def shut(ctx: Context[Any], name: str) -> bool:
    return True


def upper(value: Any) -> str:
    return str(value).upper()


LINES: Final[dict[str, Wrap]] = {
    "scoped": live.scoped(also),
    "gate": live.gate(shut),
    "validated": live.validated(upper),
    "rate_limit": live.rate_limit(points=9, per=1.0),
    "breaker": live.breaker(failures=3),
}
PIPED: Final[dict[str, Wrap]] = LINES | {"pipe": lambda stream: pipe(stream, pipe.limit(3), path="m/piped")}


def loader(ctx: Context[Any], name: str) -> list[Any]:
    return [{"id": name}]


def marked(stream: StreamFunction[Any, Any, Any, Any]) -> Any:
    """The stream with a mark of its own in every option, also in those that may be added one day."""
    marks: dict[str, Any] = {name: object() for name in OPTIONS} | {"access": mine, "gate": None}
    stream.options = replace(stream.options, **marks)
    return stream


async def kept(before: StreamOptions, after: StreamOptions) -> None:
    for name in set(OPTIONS) - {"access", "gate"}:
        assert getattr(after, name) is getattr(before, name), name
    assert after.gate is shut
    # Both predicates are asked: the one that says no is the second.
    assert after.access is not None
    assert before.access is not None
    assert await holds(before.access, CTX, ["x"]) is True
    assert await holds(after.access, CTX, ["x"]) is False


def check_policies(stream: Any) -> None:
    assert (stream.policies.rate_limit.points, stream.policies.breaker.failures) == (9, 3)
    assert [*stream.signature.decode(b'["x"]')] == ["X"]


async def test_a_wrapped_stream_keeps_every_option() -> None:
    for names in permutations(PIPED):
        stream = marked(live.stream("rows")(loader))
        before = stream.options
        for name in names:
            stream = PIPED[name](stream)
        await kept(before, stream.options)
        check_policies(stream)


async def test_lines_below_keep_them_as_well() -> None:
    for names in permutations(LINES):
        for above in range(len(names)):
            target: Any = loader
            for name in names[above:]:
                target = LINES[name](target)
            options: list[StreamOptions] = []

            def declare(handler: Any, options: list[StreamOptions] = options) -> Any:
                stream = marked(live.stream("rows")(handler))
                options.append(stream.options)
                return stream

            stream = declared(target, declare)
            for name in names[:above]:
                stream = LINES[name](stream)
            await kept(options[0], stream.options)
            check_policies(stream)


async def test_a_room_keeps_them() -> None:
    def lines(room: Any, names: tuple[str, ...]) -> Any:
        for name in names:
            room = LINES[name](room)
        return room

    for names in permutations(("scoped", "gate", "rate_limit", "breaker")):
        room: Any = live.room("board:{name}", access=mine, cursors=True)(loader)
        marks: dict[str, Any] = {name: object() for name in OPTIONS} | {"access": room.admits, "gate": None}
        room.options = replace(room.options, **marks)
        wrapped = lines(room, names)
        for name in set(OPTIONS) - {"access", "gate"}:
            assert getattr(wrapped.options, name) is marks[name], name
        assert wrapped.options.gate is shut
        assert wrapped.options.access == wrapped.admits, "that of the room before knows less"
        assert wrapped.cursors.options.access == wrapped.admits
        assert wrapped.move_cursor.room is wrapped
        assert wrapped.policies.rate_limit.points == 9


def test_every_option_can_be_given() -> None:
    given = set(inspect.signature(live.stream).parameters)
    assert set(OPTIONS) <= given
    assert given - set(OPTIONS) == {"topic", "path"}
    of_room = set(inspect.signature(live.room).parameters)
    assert set(OPTIONS) - of_room == {"gate", "on_subscribe", "on_unsubscribe", "volatile", "coalesce_by"}


def test_a_copy_is_no_other_signature() -> None:
    stream: Any = live.stream("rows:{name}")(loader)
    limited = live.rate_limit(points=1, per=1.0)(stream)
    assert type(limited.signature) is Signature
    assert limited.signature is stream.signature
    assert stream.policies.rate_limit is None, "the one before stays as it is"


def in_some_orders() -> list[tuple[str, ...]]:
    """Each line once at every place."""
    names = [*PIPED]
    return [tuple(names[turn:] + names[:turn]) for turn in range(len(names))] + [tuple(reversed(names))]


# acceptance 117
@pytest.mark.parametrize("names", in_some_orders(), ids="-".join)
async def test_under_pressure_a_wrapped_stream_is_refused_as_an_unwrapped_one(names: tuple[str, ...]) -> None:
    stream: Any = live.stream("rows:{name}", class_of_service="reports", max=7, prepend=True)(loader)
    for name in names:
        wrap = {"scoped": live.scoped(mine)}.get(name, PIPED[name])
        stream = wrap(stream)
    server = LiveServer({"m": SimpleNamespace(piped=stream, _guard=public())})
    pressed = False
    server.admission({"reports": lambda pressure: pressed})
    async with TestEnv(server) as env:
        handle = await env.connect().subscribe(remote("m/piped"), "x")
        assert handle.value == [{"id": "X"}]
        pressed = True
        with pytest.raises(RpcError, match="OVERLOADED"):
            await env.connect().subscribe(remote("m/piped"), "y")
        server.publish_nowait("rows:X", "created", {"id": 2})
        await env.settle()
        assert handle.value == [{"id": 2}, {"id": "X"}]


async def test_the_guard_of_a_room_with_a_gate_is_asked_for_all_its_parts() -> None:
    @live.gate(shut)
    @live.room("board:{name}", cursors=True)
    async def board(ctx: Context[Any], name: str) -> list[Any]:
        return []

    @board.guard
    def nobody(ctx: Context[Any], name: str) -> bool:
        return False

    async with TestEnv(LiveServer({"m": SimpleNamespace(board=board, _guard=public())})) as env:
        for part in ("__data", "__cursors"):
            with pytest.raises(RpcError, match="UNAUTHENTICATED"):
                await env.connect().subscribe(remote(f"m/board/{part}"), "x")
