"""What a room may be declared with, and what is wrong with others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveServer, RoomContext, RpcError, define_topics, live, public
from liverpc.declare.rooms import RoomFunction
from liverpc.testing import TestEnv, create_room_context

Row = dict[str, Any]


def make(topic: Any = "board:{board_id}", **options: Any) -> RoomFunction[[str], Any, Any, Any]:
    @live.room(topic, path="m/board", **options)
    def board(ctx: Context[Any], board_id: str) -> list[Row]:
        return []

    return board


def serve(**members: Any) -> LiveServer:
    return LiveServer({"m": SimpleNamespace(**members, _guard=public())})


def refusal(build: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        build()
    assert "test_room_declarations.py" in str(caught.value)
    return str(caught.value)


def test_an_action_begins_with_the_parameters_of_its_room() -> None:
    board = make()

    def add(ctx: RoomContext[Any], title: str) -> None: ...

    text = refusal(lambda: board.action(add))
    assert "(ctx, board_id, ...), not (ctx, title)" in text


def test_an_action_reads_the_arguments_of_its_room_as_the_room_does() -> None:
    board = make()

    @board.action
    def add(ctx: RoomContext[Any], board_id: int) -> None: ...

    assert "'board_id' is annotated with <class 'int'> here and with <class 'str'>" in refusal(
        lambda: serve(board=board)
    )


def test_two_actions_of_one_name_are_refused() -> None:
    board = make()

    def add(ctx: RoomContext[Any], board_id: str) -> None: ...

    board.action(add)
    assert "has an action of that name" in refusal(lambda: board.action(add))


def test_presence_takes_exactly_the_parameters_of_its_room_and_is_declared_once() -> None:
    board = make()

    who: Any = lambda ctx: None  # noqa: E731 - not typed on purpose

    def right(ctx: Context[Any], board_id: str) -> None: ...

    assert "presence takes the parameters of its room, (ctx, board_id)" in refusal(lambda: board.presence(who))
    board.presence(right)
    assert "has a presence function already" in refusal(lambda: board.presence(right))


@pytest.mark.parametrize("what", ["guard", "on_join", "on_leave"])
def test_guards_and_hooks_take_the_parameters_of_their_room(what: str) -> None:
    board: Any = make()

    def check(ctx: Context[Any]) -> None: ...

    text = refusal(lambda: getattr(board, what)(check))
    assert "takes the parameters of its room, (ctx, board_id), not (ctx)" in text


@pytest.mark.parametrize("topic", ["board", define_topics({"board": "board"}).board])
def test_a_topic_names_every_parameter_or_several_rooms_would_be_one(topic: Any) -> None:
    assert "the topic 'board' does not name board_id" in refusal(lambda: make(topic))


def test_a_room_is_scoped_before_anything_belongs_to_it() -> None:
    board = make()

    @board.action
    def add(ctx: RoomContext[Any], board_id: str) -> None: ...

    assert "put @live.scoped and the like next to @live.room" in refusal(
        lambda: board.scoped(lambda ctx, board_id: False)
    )


def test_a_hook_is_declared_once() -> None:
    board = make()

    def hook(ctx: Context[Any], board_id: str) -> None: ...

    for add in (board.on_join, board.on_leave):
        assert add(hook) is hook
        assert "has such a hook already" in refusal(lambda add=add: add(hook))


def test_a_room_takes_no_further_arguments() -> None:
    def board(ctx: Context[Any], *names: str) -> list[Row]:
        return []

    assert "a room takes no *names" in refusal(lambda: live.room("board")(board))


def test_a_room_without_cursors_says_how_to_have_them() -> None:
    board = make()
    for get in (lambda: board.cursors, lambda: board.move_cursor):
        assert "declare it with cursors=True" in refusal(get)


def test_two_rooms_with_one_topic_are_refused() -> None:
    @live.room("board:{board_id}", path="m/other")
    def other(ctx: Context[Any], board_id: str) -> list[Row]:
        return []

    assert "give each room a topic of its own" in refusal(lambda: serve(board=make(), other=other))


def test_a_room_without_a_loader_is_named() -> None:
    with pytest.raises(DeclarationError, match=r"m.board is live.room\(...\) without a loader"):
        serve(board=live.room("board"))


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("board:{board_id}", "board:b1"),
        (lambda ctx, board_id: f"board:{board_id}", "board:b1"),
        (define_topics({"board": "board:{board_id}"}).board, "board:b1"),
    ],
    ids=["template", "function", "defined"],
)
async def test_presence_and_cursors_stand_beside_any_topic(topic: Any, name: str) -> None:  # acceptance 141
    board = make(topic, cursors=True)

    @board.presence
    def who(ctx: Context[Any], board_id: str) -> str:
        return "here"

    async with TestEnv(serve(board=board, who=who)) as env:
        client = env.connect(user={"id": "ann"})
        for stream, suffix in ((board, ""), (who, ":presence"), (board.cursors, ":cursors")):
            await client.subscribe(stream, "b1")
            assert env.server.subscribers(name + suffix) == 1


async def test_scoped_above_or_below_holds_for_an_action_and_for_presence() -> None:
    board = make()

    @live.scoped(lambda ctx, board_id: False)
    @board.action
    def above(ctx: RoomContext[Any], board_id: str) -> None: ...

    @board.action
    @live.scoped(lambda ctx, board_id: False)
    def below(ctx: RoomContext[Any], board_id: str) -> None: ...

    @live.scoped(lambda ctx, board_id: False)
    @board.presence
    def who(ctx: Context[Any], board_id: str) -> str:
        return "here"

    async with TestEnv(serve(board=board, above=above, below=below)) as env:
        client = env.connect(user={"id": "ann"})
        await client.subscribe(board, "b1")
        for refused in (client.call(above, "b1"), client.call(below, "b1"), client.subscribe(who, "b1")):
            with pytest.raises(RpcError) as caught:
                await refused
            assert caught.value.code == "FORBIDDEN"


async def test_an_action_can_be_tested_alone() -> None:
    board = make()

    @board.action
    async def add(ctx: RoomContext[str], board_id: str, title: str) -> str:
        ctx.room.publish("created", {"id": title})
        return ctx.user

    ctx = create_room_context(board.topic("b1"), user="ann")
    assert await add(ctx, "b1", "Milk") == "ann"
    assert (ctx.events, ctx.room.members) == ([("board:b1", "created", {"id": "Milk"})], [])


def test_a_context_without_a_room_says_where_to_get_one() -> None:
    ctx = create_room_context(make().topic("b1"))
    ctx.here = None
    with pytest.raises(LookupError, match="create_room_context"):
        _ = ctx.room
