"""``@live.validated``: a schema that is no annotation."""

import datetime
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import (
    Context,
    DeclarationError,
    LiveError,
    LiveServer,
    RoomContext,
    RpcError,
    live,
    public,
    remote,
)
from liverpc.schema.signature import Signature
from liverpc.schema.validated import with_schema
from liverpc.testing import TestEnv, create_test_context


class Struct(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(min_length=1)]
    due: datetime.date | None = None
    tags: list[str] = []


@dataclass
class Dataclass:
    title: str
    due: datetime.date | None = None
    tags: tuple[str, ...] = ()


@attrs.define
class Attrs:
    title: str
    due: datetime.date | None = None
    tags: list[str] = attrs.field(factory=list)


class Dict(TypedDict, total=False):
    title: str
    due: datetime.date
    tags: list[str]


class Model(pydantic.BaseModel):
    title: str = pydantic.Field(min_length=1)
    due: datetime.date | None = None
    tags: list[str] = []


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    title: Annotated[str, pydantic.Field(min_length=1)]
    due: datetime.date | None = None
    tags: list[str] = field(default_factory=list)


class Wrapped(msgspec.Struct):
    inner: PydanticDataclass


SCHEMAS: list[Any] = [
    Struct,
    Dataclass,
    Attrs,
    Dict,
    Annotated[Struct, msgspec.Meta(title="a todo")],
    Struct | None,
    Model,
    Model | None,
    Annotated[Model, "a todo"],
    PydanticDataclass,
    pydantic.TypeAdapter(Model),
    pydantic.TypeAdapter(Dataclass),
    Model.model_validate,
    lambda value: msgspec.convert(value, Struct),
]


def serving(**members: Any) -> LiveServer:
    return LiveServer({"m": SimpleNamespace(**members, _guard=public())})


def read(schema: Any, args: str, handler: Any = None) -> list[Any]:
    def one(ctx: Context[Any], todo: Any) -> None: ...

    return [*with_schema(Signature(handler or one), schema).decode(args.encode())]


def issues(schema: Any, args: str, handler: Any = None) -> list[tuple[list[str], str]]:
    with pytest.raises(LiveError) as caught:
        read(schema, args, handler)
    assert (caught.value.code, caught.value.message) == ("VALIDATION", "Validation failed")
    return [(issue.path, issue.message) for issue in caught.value.issues]


def paths(schema: Any, args: str, handler: Any = None) -> list[list[str]]:
    return [path for path, _ in issues(schema, args, handler)]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_parsed_value_takes_the_place_of_the_argument(schema: Any) -> None:  # acceptance 104
    [todo] = read(schema, '[{"title":"milk","due":"2026-02-03"}]')
    found = todo if isinstance(todo, dict) else {name: getattr(todo, name) for name in ("title", "due", "tags")}
    assert (found["title"], found["due"]) == ("milk", datetime.date(2026, 2, 3))
    assert isinstance(todo, dict) or not found["tags"]


# acceptance 105
@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_does_not_fit_is_named_with_its_place(schema: Any) -> None:
    assert paths(schema, '[{"title":"milk","tags":["a",5]}]') == [["tags", "1"]]
    assert paths(schema, '[{"title":7}]') == [["title"]]


def test_a_missing_field_is_named_as_if_it_were_wrong() -> None:
    for schema in (Struct, Dataclass, Model, PydanticDataclass):
        assert paths(schema, "[{}]") == [["title"]]


def test_a_value_that_is_no_object_at_all_is_named_by_the_parameter() -> None:
    for schema in (Struct, Model, pydantic.TypeAdapter(int), int):
        assert paths(schema, '["milk"]') == [["todo"]]
        assert paths(schema, "[]") == [["todo"]]


def test_beside_other_arguments_the_place_begins_with_the_parameter() -> None:
    def several(ctx: Context[Any], todo: Any, day: datetime.date, *more: int) -> None: ...

    assert read(Struct, '[{"title":"milk"},"2026-02-03",1,2]', several) == [
        Struct("milk"),
        datetime.date(2026, 2, 3),
        1,
        2,
    ]
    wrong = '[{"title":"milk","tags":["a",5]},"today",1,"2"]'
    for schema in (Struct, Model):
        assert paths(schema, wrong, several) == [["todo", "tags", "1"], ["day"], ["more", "1"]]
        assert paths(schema, '[{"title":"milk"},"today"]', several) == [["day"]]
        assert paths(schema, "[]", several) == [["todo"], ["day"]]
        assert paths(schema, '[{"title":"milk","tags":1},"2026-02-03"]', several) == [["todo", "tags"]]


def test_a_default_of_the_function_is_taken_as_it_is() -> None:
    def optional(ctx: Context[Any], todo: Any = "no todo", times: int = 3) -> None: ...

    assert read(Struct, "[]", optional) == ["no todo", 3]
    assert read(Struct, '[{"title":"milk"}]', optional) == [Struct("milk"), 3]
    assert paths(Struct, "[null]", optional) == [["todo"]]


@pytest.mark.parametrize("raw", [b"{}", b"5", b"[", b'["\xff"', b'"x"'])
def test_arguments_that_are_no_list_are_no_request(raw: bytes) -> None:
    def one(ctx: Context[Any], todo: Any) -> None: ...

    with pytest.raises(LiveError, match="INVALID_REQUEST"):
        with_schema(Signature(one), Struct).decode(raw)


@pytest.mark.parametrize("schema", [Struct, Model, pydantic.TypeAdapter(str), str, lambda value: value])
@pytest.mark.parametrize("item", [b'"\xff"', b'"\\ud800"', b'{"title":"\xff"}'])
def test_a_text_that_is_no_unicode_is_a_fault_of_the_client(schema: Any, item: bytes) -> None:
    def one(ctx: Context[Any], todo: Any) -> None: ...

    with pytest.raises(LiveError, match=r"VALIDATION|INVALID_REQUEST"):
        with_schema(Signature(one), schema).decode(b"[" + item + b"]")


def test_constraints_of_pydantic_hold() -> None:
    for schema in (Model, PydanticDataclass, list[PydanticDataclass], dict[str, Model]):
        raw = '[{"title":""}]' if schema in (Model, PydanticDataclass) else '[[{"title":""}]]'
        raw = '[{"a":{"title":""}}]' if schema == dict[str, Model] else raw
        assert paths(schema, raw)[0][-1] == "title"


def test_as_an_annotation_what_is_of_pydantic_is_refused_rather_than_unchecked() -> None:
    for annotation in (PydanticDataclass, list[PydanticDataclass], Wrapped, Model, list[Model]):

        def call(ctx: Context[Any], todo: Any) -> None: ...

        call.__annotations__["todo"] = annotation
        with pytest.raises(DeclarationError, match=r"pydantic reads (PydanticDataclass|Model); .*@live\.validated"):
            serving(call=live(call))


def test_pydantic_converts_and_says_nothing_of_what_was_sent() -> None:
    assert read(pydantic.TypeAdapter(int), '["7"]') == [7]
    assert "secret" not in str(issues(Model, '[{"title":["secret"]}]'))
    assert "secret" not in str(issues(Model.model_validate, '[{"title":["secret"]}]'))


def test_a_page_of_faults_is_enough() -> None:
    many = "[[" + ",".join(["1"] * 50) + "]]"
    assert len(issues(pydantic.TypeAdapter(list[str]), many)) == 16


TITLES = st.one_of(st.text(max_size=2), st.integers(), st.none())
TODOS = st.one_of(
    st.none(),
    st.integers(),
    st.fixed_dictionaries({}, optional={"title": TITLES, "tags": st.lists(TITLES, max_size=3), "due": TITLES}),
)


def outcome(signature: Signature, args: bytes) -> Any:
    try:
        return [*signature.decode(args)]
    except LiveError as error:
        return error.code, error.issues


def annotated(ctx: Context[Any], todo: Struct, times: int = 3) -> None: ...


def alone(ctx: Context[Any], todo: Struct) -> None: ...


def with_rest(ctx: Context[Any], todo: Struct, *more: int) -> None: ...


PAIRS = [(Signature(handler), with_schema(Signature(handler), Struct)) for handler in (annotated, alone, with_rest)]


@given(st.lists(st.one_of(TODOS, st.integers()), max_size=4))
def test_a_type_reads_as_it_would_as_an_annotation(args: list[Any]) -> None:
    raw = json.dumps(args).encode()
    for annotation, schema in PAIRS:
        assert outcome(schema, raw) == outcome(annotation, raw)


# -- functions


def positive(value: Any) -> int:
    if value <= 0:
        raise ValueError("it must be more than 0")
    return int(value)


class Checker:
    def __call__(self, value: Any) -> int:
        return positive(value)

    async def later(self, value: Any) -> int:
        return positive(value)


class AsyncChecker:
    async def __call__(self, value: Any) -> int:
        return positive(value)


@pytest.mark.parametrize("schema", [positive, Checker(), functools.partial(positive)])
def test_a_function_gives_the_value_or_says_why_not(schema: Callable[[Any], int]) -> None:
    assert read(schema, "[7.0]") == [7]
    assert issues(schema, "[0]") == [(["todo"], "it must be more than 0")]
    assert issues(schema, '["x"]')[0][0] == ["todo"], "a TypeError is a fault of the value, too"


def test_a_function_without_a_word_says_something_all_the_same() -> None:
    def silent(value: Any) -> Any:
        raise ValueError

    assert issues(silent, "[1]") == [(["todo"], "Invalid value")]


def test_a_function_sees_a_value_once() -> None:
    seen: list[Any] = []

    def look(value: Any) -> Any:
        seen.append(value)
        raise ValueError("no")

    def several(ctx: Context[Any], todo: Any, day: int) -> None: ...

    assert paths(look, '["x","y"]', several) == [["todo"], ["day"]]
    assert paths(look, '["z",1]', several) == [["todo"]]
    assert seen == ["x", "z"]


def test_other_failures_of_a_function_are_its_own() -> None:
    def fails(value: Any) -> Any:
        raise KeyError("price")

    def refuses(value: Any) -> Any:
        raise LiveError("SOLD_OUT", "come back later")

    with pytest.raises(KeyError):
        read(fails, "[1]")
    with pytest.raises(LiveError, match="SOLD_OUT"):
        read(refuses, "[1]")


# -- declarations


def declare(schema: Any) -> Any:
    @live
    @live.validated(schema)
    def call(ctx: Context[Any], todo: Any) -> None: ...

    return call


# acceptance 107
@pytest.mark.parametrize("schema", [Checker().later, AsyncChecker(), functools.partial(Checker().later)])
def test_an_asynchronous_validator_is_refused(schema: Any) -> None:
    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*is async.*@live\.scoped"):
        declare(schema)


async def test_what_turns_out_to_be_asynchronous_lets_nothing_pass(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[Any] = []

    @live
    @live.validated(lambda value: Checker().later(value))
    def call(ctx: Context[Any], todo: Any) -> None:
        ran.append(todo)

    async with TestEnv(serving(call=call)) as env:
        with pytest.raises(RpcError, match="INTERNAL_ERROR"):
            await env.connect().call(remote("m/call"), 7)
    assert ran == []
    assert "gave something to await" in caplog.text


@pytest.mark.parametrize("schema", [5, "Struct", None, [Struct], {"title": str}, Struct("milk"), (Struct,)])
def test_what_is_no_schema_is_refused_where_it_stands(schema: Any) -> None:
    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*no schema; take a type"):
        declare(schema)


class Unreadable:
    pass


def test_a_class_that_no_json_becomes_is_refused_when_the_server_is_made() -> None:
    for schema in (Unreadable, list[Unreadable], dict[str, Model | Unreadable]):
        with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*cannot be read from JSON"):
            serving(call=declare(schema))


def test_it_needs_an_argument() -> None:
    def nothing(ctx: Context[Any]) -> None: ...

    def anything(ctx: Context[Any], *more: int) -> None: ...

    async def data_alone(ctx: Context[Any], data: bytes) -> None: ...

    for target in (live(nothing), live(anything), live.binary()(data_alone), nothing, anything):
        with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*there is none"):
            declared: Any = live.validated(Struct)(target)
            live(declared)


def test_it_comes_once() -> None:
    def call(ctx: Context[Any], todo: Any) -> None: ...

    wrong: list[Callable[[], Any]] = [
        lambda: live.validated(Struct)(live(live.validated(Struct)(call))),
        lambda: live(live.validated(Struct)(live.validated(Model)(call))),
        lambda: live.validated(Struct)(live.validated(Struct)(live(call))),
    ]
    for declare_it in wrong:
        with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*twice"):
            declare_it()


def test_without_live_it_says_so() -> None:
    @live.validated(Struct)
    def call(ctx: Context[Any], todo: Any) -> None: ...

    with pytest.raises(DeclarationError, match=r"@live\.validated and no @live above"):
        call(create_test_context(), None)


def test_what_was_declared_without_schema_stays_as_it_is() -> None:
    @live
    def call(ctx: Context[Any], todo: Any) -> Any:
        return todo

    checked = live.validated(Struct)(call)
    assert [*call.signature.decode(b"[5]")] == [5]
    with pytest.raises(LiveError):
        checked.signature.decode(b"[5]")
    assert checked(create_test_context(), 5) == 5, "the function itself asks nobody"


def test_a_room_and_its_streams_have_no_schema_of_their_own() -> None:
    @live.room("board:{board_id}", cursors=True)
    async def board(ctx: Context[Any], board_id: str) -> list[Struct]:
        return []

    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*Annotated"):
        live.validated(Struct)(board)
    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*Annotated"):
        cursors: Any = board.cursors
        live.validated(Struct)(cursors)

    @board.presence
    def who(ctx: Context[Any], board_id: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*Annotated"):
        live.validated(Struct)(who)

    @board.action
    def clear(ctx: RoomContext[Any], board_id: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"test_validated\.py, line \d+.*there is none"):
        live.validated(Struct)(clear)
