"""What a server says it declares."""

import enum
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import msgspec
import pytest

from liverpc import Context, Contract, Events, LiveServer, RateLimit, access, event, guard, live, public, room
from liverpc.inspector.protocol import Declarations, Declared, Err, Get, Got, Ok, Redact
from liverpc.testing import TestEnv
from tests.inspector.attach_kit import Observer, make_server


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Card(msgspec.Struct):
    """A card."""

    id: int
    password: str = "hunter2"
    tags: list[str] = []


class Said(Events):
    def line(self, text: str) -> None: ...


class Params(msgspec.Struct):
    room_id: str


class Hall(Contract[Said, Params, Any], path="/halls/{room_id}"):
    """A hall."""

    @event(rate_limit=RateLimit(3, 1.0))
    async def speak(self, text: str) -> int:
        """Say something."""
        return 1

    @room.expose
    def corner(self, data: str) -> str:
        """A corner."""
        return data

    @room.private(auto_join=True)
    def all(self) -> str:
        return "all"


_INSPECT = make_server()._inspect


def signed_in(ctx: Context[Any]) -> bool:
    return True


def may_write(ctx: Context[Any], *args: Any) -> bool:
    return True


def server() -> LiveServer:
    @live
    @live.scoped(may_write)
    @live.rate_limit(points=5, per=60.0)
    @live.idempotent(ttl=60.0)
    @live.lock("printer", max_wait=5.0)
    @live.breaker(failures=2, reset_after=3.0)
    async def put(ctx: Context[Any], card: Card, colour: Colour, place: Annotated[int, msgspec.Meta(ge=1)] = 3) -> Card:
        """Put a card
        somewhere.

        Nobody reads this.
        """
        return card

    @live
    async def secret(ctx: Context[Any], token: str = "abc", *more: int) -> None:
        pass

    @live
    @live.validated(dict[str, int])
    async def checked(ctx: Context[Any], value: Any) -> Literal["yes", "no"]:
        return "yes"

    @live.stream("cards:{board}", access=access.owner(), gate=may_write, max=10, stale_after=5.0)
    async def cards(ctx: Context[Any], board: str) -> list[Card]:
        return []

    @live.stream(lambda ctx: "mine")
    async def mine(ctx: Context[Any]) -> list[Any]:
        return []

    @live.room("board:{board_id}", cursors=True)
    async def board(ctx: Context[Any], board_id: str) -> list[Card]:
        return []

    @board.guard
    async def members_only(ctx: Context[Any], board_id: str) -> bool:
        return True

    @board.action
    async def add(ctx: Context[Any], board_id: str, title: str) -> None:
        pass

    @live.binary(max_size=1000)
    async def avatar(ctx: Context[Any], data: bytes) -> None:
        pass

    functions = {each.__name__: each for each in (put, secret, checked, cards, mine, board, avatar)}
    module = SimpleNamespace(**functions, _guard=guard(signed_in, authenticated=True))
    return LiveServer({"demo": module, "halls": SimpleNamespace(Hall=Hall, _guard=public())}, inspect=_INSPECT)


@pytest.fixture
def live_server() -> LiveServer:
    return server()


async def told(env: TestEnv, level: str = "observe") -> Declarations:
    observer = await Observer.attach(env, level)
    got = await observer.ask(Get(id=9, ref=["declared"]))
    assert isinstance(got, Got)
    assert got.declared is not None
    return got.declared


async def row(env: TestEnv, path: str) -> Declared:
    return next(each for each in (await told(env)).paths if each.path == path)


async def test_every_path_is_told_once_in_the_order_of_its_name(live_env: TestEnv) -> None:
    assert [each.path for each in (await told(live_env)).paths] == [
        "demo/avatar",
        "demo/board/__action/add",
        "demo/board/__action/move_cursor",
        "demo/board/__cursors",
        "demo/board/__data",
        "demo/cards",
        "demo/checked",
        "demo/mine",
        "demo/put",
        "demo/secret",
        "hall/__event/speak",
        "hall/__join/corner",
        "hall/__open",
    ]


async def test_a_function_is_told_with_all_that_stands_above_it(live_env: TestEnv) -> None:
    put = await row(live_env, "demo/put")
    assert (put.kind, put.doc, put.topic) == ("rpc", "Put a card somewhere.", "")
    assert "test_declared.py:" in put.place
    assert not put.place.startswith("/")
    assert put.guards == ["authenticated", "signed_in", "scoped may_write"]
    assert put.policies == [
        ("rate limit", "5 per 60 s"),
        ("idempotent", "the caller's key, kept 60 s"),
        ("lock", "printer, waits 5 s"),
        ("breaker", "demo/put: opens after 2 failures, tries again after 3 s"),
    ]
    assert put.parameters == [
        ("card", {"$ref": "#/$defs/Card"}, True),
        ("colour", {"$ref": "#/$defs/Colour"}, True),
        ("place", {"type": "integer", "minimum": 1, "default": 3}, False),
    ]
    assert put.result == {"$ref": "#/$defs/Card"}


async def test_types_are_defined_without_the_defaults_of_secrets(live_env: TestEnv) -> None:
    declared = await told(live_env)
    assert declared.definitions["Colour"]["enum"] == ["blue", "red"]
    assert declared.definitions["Card"]["properties"] == {
        "id": {"type": "integer"},
        "password": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "default": []},
    }
    secret = next(each for each in declared.paths if each.path == "demo/secret")
    assert secret.parameters[0] == ("token", {"type": "string"}, False)
    assert secret.parameters[1][0] == "*more"
    assert "hunter2" not in repr(declared)


async def test_a_key_that_is_redacted_later_loses_its_default(live_env: TestEnv) -> None:
    admin = await Observer.attach(live_env, "admin")
    assert "default" in (await row(live_env, "demo/put")).parameters[2][1]
    assert isinstance(await admin.ask(Redact(id=9, keys=["Place"])), Ok)
    assert "default" not in (await row(live_env, "demo/put")).parameters[2][1]


async def test_a_schema_takes_the_place_of_an_annotation(live_env: TestEnv) -> None:
    checked = await row(live_env, "demo/checked")
    assert checked.parameters == [("value", {"type": "object", "additionalProperties": {"type": "integer"}}, True)]
    assert checked.result == {"enum": ["no", "yes"]}
    assert checked.policies[0][0] == "validated"


async def test_streams_and_rooms_tell_topic_access_and_merge(live_env: TestEnv) -> None:
    declared = {each.path: each for each in (await told(live_env)).paths}
    cards = declared["demo/cards"]
    assert (cards.kind, cards.topic) == ("stream", "cards:{board}")
    assert cards.guards[2:] == ["access access.owner", "gate may_write"]
    assert dict(cards.policies) == {
        "merge": "crud by id, at most 10 rows",
        "stale after": "5 s without an event",
    }
    assert declared["demo/mine"].topic == ""
    add = declared["demo/board/__action/add"]
    assert add.guards[2:] == ["room guard members_only"]
    assert [name for name, _, _ in declared["demo/board/__action/move_cursor"].parameters] == ["board_id", "position"]
    assert dict(declared["demo/avatar"].policies) == {"max size": "1,000 bytes"}


async def test_what_pages_may_do_in_a_contract_is_told(live_env: TestEnv) -> None:
    speak = await row(live_env, "hall/__event/speak")
    assert (speak.doc, speak.guards) == ("Say something.", [])
    assert speak.parameters == [("text", {"type": "string"}, True)]
    assert speak.result == {"type": "integer"}
    assert speak.policies == [("of a page", "/halls/{room_id}"), ("rate limit", "3 per 1 s")]
    assert (await row(live_env, "hall/__open")).doc == "A hall."


async def test_what_is_configured_for_all_functions_is_told() -> None:
    app = server()
    app.rate_limits(RateLimit(7, 1.0))
    async with TestEnv(app) as env:
        assert ("rate limit", "7 per 1 s") in (await row(env, "demo/checked")).policies


async def test_level_metrics_and_scoped_tokens_are_told_nothing(live_env: TestEnv) -> None:
    for level in ("metrics", "scoped"):
        observer = await Observer.attach(live_env, level)
        answer = await observer.ask(Get(id=9, ref=["declared"]))
        assert isinstance(answer, Err)
        assert "observe" in answer.text


async def test_too_much_is_told_in_part_and_says_so() -> None:
    async def f(ctx: Context[Any], x: int) -> None:
        pass

    f.__doc__ = "x" * 400
    functions = {f"f{number}": live(f) for number in range(2000)}
    app = LiveServer({"many": SimpleNamespace(**functions, _guard=public())}, inspect=_INSPECT)
    async with TestEnv(app) as env:
        declared = await told(env)
    assert declared.left_out == ["definitions of types", "descriptions"]
    assert len(declared.paths) == 2000
    assert len(msgspec.json.encode(declared)) <= 512 * 1024


async def test_so_many_paths_that_some_are_left_out() -> None:
    async def f(ctx: Context[Any], x: int) -> None:
        pass

    functions = {f"{'f' * 80}{number}": live(f) for number in range(4000)}
    app = LiveServer({"many": SimpleNamespace(**functions, _guard=public())}, inspect=_INSPECT)
    async with TestEnv(app) as env:
        declared = await told(env)
    assert declared.left_out[:3] == ["definitions of types", "descriptions", "schemas"]
    assert declared.left_out[3] == f"{4000 - len(declared.paths):,} paths"
    assert len(msgspec.json.encode(declared)) <= 512 * 1024
