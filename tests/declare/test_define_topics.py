"""``define_topics``: names, patterns, and what it refuses."""

from __future__ import annotations

import copy
import uuid
from datetime import date
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, DeclarationError, LiveServer, define_topics, live, public, remote
from liverpc.declare.topics import DYNAMIC
from liverpc.testing import TestEnv, create_test_context


def fails(org_id: str) -> str:
    return f"org:{int(org_id)}"


untyped: Any = define_topics
topics = untyped(
    {
        "lobby": "lobby",
        "room": "room:{room_id}",
        "seat": "room:{room_id}:seat:{seat}:{room_id}",
        "braces": "a{{b}}",
        "org": lambda org_id, team="all": f"org:{org_id}:{team}",
        "fails": fails,
        "number": lambda n: 3,
        "sized": len,
    }
)


def test_a_name_is_a_string_or_a_function_of_the_placeholders() -> None:
    assert topics.lobby == "lobby"
    assert topics.room("r1") == topics.room(room_id="r1") == "room:r1"
    assert topics.seat("r1", seat=4) == "room:r1:seat:4:r1"
    assert topics.braces == "a{b}"
    assert topics.org("o1") == "org:o1:all"


def test_placeholders_take_what_templates_of_streams_take() -> None:
    class Color(Enum):
        RED = "red"

    unique = uuid.UUID(int=1)
    for value, text in [
        (1, "1"),
        (1.5, "1.5"),
        (date(2026, 1, 2), "2026-01-02"),
        (unique, str(unique)),
        (Color.RED, "red"),
    ]:
        assert topics.room(value) == f"room:{text}"
    for unfit in (None, [], {}, object()):
        with pytest.raises(TypeError, match=r"room_id=.* cannot be part of the topic 'room:\{room_id\}'"):
            topics.room(unfit)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a", "b"), {}), ((), {"other": "a"})])
def test_values_that_do_not_fit_the_placeholders_are_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"the topic 'room:\{room_id\}': "):
        topics.room(*args, **kwargs)


def test_patterns_show_the_placeholders() -> None:
    # acceptance 233
    assert dict(topics.patterns) == {
        "lobby": "lobby",
        "room": "room:{room_id}",
        "seat": "room:{room_id}:seat:{seat}:{room_id}",
        "braces": "a{{b}}",
        "org": "org:{org_id}:{team}",
        "fails": DYNAMIC,
        "number": DYNAMIC,
        "sized": DYNAMIC,
    }
    assert topics.room.pattern == "room:{room_id}"
    assert topics.room.names == ("room_id",)


def test_iteration_gives_the_names_only() -> None:
    # acceptance 233
    assert list(topics) == ["lobby", "room", "seat", "braces", "org", "fails", "number", "sized"]
    assert len(topics) == 8
    assert {"lobby", "room", "patterns"} <= set(dir(topics))
    assert repr(define_topics({"a": "a", "b": "b:{x}"})) == "<Topics a, b>"
    assert repr(topics.room) == "<topic room:{room_id}>"


def test_it_is_complete_and_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match=r"no topic 'rom'.*lobby, room"):
        _ = topics.rom
    with pytest.raises(AttributeError):
        topics.room = "x"
    with pytest.raises(TypeError):
        topics.patterns["room"] = "x"
    assert list(define_topics({})) == []
    assert copy.copy(topics).lobby == "lobby"


async def give(x: str) -> str:
    return x


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([("a", "a")], "takes a mapping of names to topics"),
        ("a", "takes a mapping of names to topics"),
        (None, "takes a mapping of names to topics"),
        ({"a": ""}, "topic 'a': '' is empty"),
        ({"a": None}, "topic 'a' is a string or a plain function that gives one, not None"),
        ({"a": 3}, "topic 'a' is a string or a plain function"),
        ({"a": give}, "topic 'a' is a string or a plain function"),
        ({"a": "x" * 257}, "257 characters long"),
        ({"a": 'x"'}, "a quote"),
        ({"a": "__rpc"}, "is reserved"),
        ({"a": "__{x}"}, "is reserved"),
        ({"a": "x:{"}, "no valid template"),
        ({"a": "x:{}"}, r"only contain plain \{name\} parts"),
        ({"a": "x:{0}"}, r"only contain plain \{name\} parts"),
        ({"a": "x:{y!r}"}, r"only contain plain \{name\} parts"),
        ({"a": "x:{y:>3}"}, r"only contain plain \{name\} parts"),
        ({"a": "x:{y.z}"}, r"only contain plain \{name\} parts"),
        ({"__a": "a"}, "the name '__a' is reserved"),
        ({"__class__": "a"}, "the name '__class__' is reserved"),
        ({"patterns": "a"}, "the name 'patterns' is reserved"),
        ({"_a": "a"}, "the name '_a' is reserved"),
        ({"a b": "a"}, "'a b' cannot be the name of a topic"),
        ({"class": "a"}, "'class' cannot be the name of a topic"),
        ({"": "a"}, "'' cannot be the name of a topic"),
        ({3: "a"}, "3 cannot be the name of a topic"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(given: Any, why: str) -> None:
    # acceptance 233
    with pytest.raises(DeclarationError, match=rf"test_define_topics\.py, line \d+: .*{why}"):
        define_topics(given)


async def test_topics_are_published_on_and_declared_with() -> None:
    @live.stream(topics.room.pattern, merge="latest")
    async def room(ctx: Context[Any], room_id: str) -> list[str]:
        return []

    @live.stream(topics.lobby, merge="latest")
    async def lobby(ctx: Context[Any]) -> list[str]:
        return []

    server = LiveServer({"m": SimpleNamespace(room=room, lobby=lobby, _guard=public())})
    async with TestEnv(server) as env:
        seats = await env.connect().subscribe(remote("m/room"), "r1")
        people = await env.connect().subscribe(remote("m/lobby"))
        server.publish_nowait(topics.room("r1"), "said", "hi")
        server.publish_nowait(topics.lobby, "said", "ho")
        await seats.wait_for(lambda rows: rows == ["hi"])
        await people.wait_for(lambda rows: rows == ["ho"])
    ctx = create_test_context()
    ctx.publish(topics.room("r2"), "said", "x")
    assert ctx.events == [(room.topic("r2").name, "said", "x")]
