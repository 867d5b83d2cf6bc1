"""What a page sends: decoded by the declared type, and without members that it does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.schema.incoming import Incoming, split_args

D = TypeVar("D")


class Point(msgspec.Struct):
    x: int = 0
    y: int = 0


class Send(msgspec.Struct, rename="camel"):
    text: str
    at_point: Point | None = None
    many: list[Point] = []
    named: dict[str, Point] = {}
    pair: tuple[Point, int] | None = None
    anything: Any = None
    child: Send | None = None


class Circle(msgspec.Struct, tag=True):
    r: int


class Square(msgspec.Struct, tag="sq", tag_field="kind"):
    side: int


class Rectangle(msgspec.Struct, tag="re", tag_field="kind"):
    inner: Point


class Row(msgspec.Struct, array_like=True):
    a: int
    inner: Point


class Pair(NamedTuple):
    a: Point
    b: int = 0


class Box(msgspec.Struct, Generic[D]):
    value: D


class Movie(TypedDict):
    title: str


@dataclass
class Data:
    inner: Point


def take(annotation: Any, payload: str) -> Any:
    """The decoded payload, or the paths of what is wrong with it."""
    incoming = Incoming("data", annotation, required=True, place="here")
    try:
        (value,) = incoming(split_args(f"[{payload}]".encode()))
    except LiveError as error:
        assert error.code == ErrorCode.VALIDATION
        return [".".join(issue.path) for issue in error.issues]
    return value


FITTING: list[tuple[Any, str, Any]] = [
    (Send, '{"text":"a"}', Send("a")),
    (Send, '{"text":"a","atPoint":{"x":1},"many":[{}],"named":{"n":{}},"pair":[{},1],"child":{"text":"b"}}',
     Send("a", Point(1), [Point()], {"n": Point()}, (Point(), 1), None, Send("b"))),
    (Send, '{"text":"a","anything":{"what":{"ever":1}}}', Send("a", anything={"what": {"ever": 1}})),
    (str, '"text"', "text"),
    (dict[str, Any], '{"a":{"b":1}}', {"a": {"b": 1}}),
    (dict[str, list[int]], '{"a":[1]}', {"a": [1]}),
    (Any, '{"a":1}', {"a": 1}),
    (Point | None, "null", None),
    (Circle, '{"type":"Circle","r":1}', Circle(1)),
    (Circle | None, '{"r":1}', Circle(1)),
    (Square | Rectangle, '{"kind":"sq","side":1}', Square(1)),
    (Square | Rectangle | str, '"text"', "text"),
    (list[Point] | Point, "[{}]", [Point()]),
    (Row, "[1,{}]", Row(1, Point())),
    (Pair, "[{}]", Pair(Point())),
    (Box[Point], '{"value":{}}', Box(Point())),
    (Movie, '{"title":"a"}', {"title": "a"}),
    (Data, '{"inner":{}}', Data(Point())),
    (frozenset[int], "[1]", frozenset({1})),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "payload", "value"), FITTING)
def test_a_payload_that_fits_becomes_its_type(annotation: Any, payload: str, value: Any) -> None:
    assert take(annotation, payload) == value


UNKNOWN: list[tuple[Any, str, list[str]]] = [
    (Send, '{"text":"a","admin":true}', ["admin"]),
    (Send, '{"text":"a","at_point":{}}', ["at_point"]),  # the Python name is not that on the wire
    (Send, '{"text":"a","atPoint":{"z":1}}', ["atPoint.z"]),
    (Send, '{"text":"a","many":[{},{"z":1,"w":2}]}', ["many.1.z", "many.1.w"]),
    (Send, '{"text":"a","named":{"n":{"z":1}}}', ["named.n.z"]),
    (Send, '{"text":"a","pair":[{"z":1},1]}', ["pair.0.z"]),
    (Send, '{"text":"a","child":{"text":"b","child":{"text":"c","admin":1}}}', ["child.child.admin"]),
    (Point | None, '{"z":1}', ["z"]),
    (list[Point] | Point, '[{"z":1}]', ["0.z"]),
    (list[Point] | Point, '{"z":1}', ["z"]),
    (Circle | None, '{"type":"Circle","r":1,"side":1}', ["side"]),
    (Square | Rectangle, '{"kind":"sq","side":1,"inner":{}}', ["inner"]),
    (Square | Rectangle, '{"kind":"re","inner":{"z":1}}', ["inner.z"]),
    (Row, '[1,{"z":1}]', ["1.z"]),
    (Row, "[1,{},5]", ["2"]),
    (Pair, '[{"z":1},1]', ["0.z"]),
    (Box[Point], '{"value":{"z":1}}', ["value.z"]),
    (Movie, '{"title":"a","secret":1}', ["secret"]),
    (Data, '{"inner":{"z":1}}', ["inner.z"]),
    (Data, '{"inner":{"z":1},"w":1}', ["w", "inner.z"]),
    (dict[str, Point], '{"a":{"z":1}}', ["a.z"]),
]


@pytest.mark.parametrize(("annotation", "payload", "paths"), UNKNOWN)
def test_a_member_that_the_type_does_not_have_is_an_issue_with_its_path(
    annotation: Any, payload: str, paths: list[str]
) -> None:
    assert take(annotation, payload) == paths


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_no_object_gets_in_with_a_member_too_many(members: dict[str, int]) -> None:
    taken = take(Point, msgspec.json.encode({"x": 1, **members}).decode())
    assert isinstance(taken, Point) == (members.keys() <= {"x", "y"})


def test_a_hostile_payload_gets_a_short_answer() -> None:
    payload = msgspec.json.encode({f"{position}{'n' * 500}": 1 for position in range(100)}).decode()
    issues = take(Point, payload)
    assert len(issues) == 16
    assert all(len(path) == 100 for path in issues)


def test_what_else_is_wrong_is_an_issue_too() -> None:
    assert take(Send, "5") == ["data"]
    assert take(Send, '{"text":5,"admin":1}') == ["text"]
    assert take(Send, "{}") == ["text"]


def test_a_missing_payload_is_refused_unless_it_has_a_default() -> None:
    with pytest.raises(LiveError) as refused:
        Incoming("data", Send, required=True, place="here")([])
    assert refused.value.code == ErrorCode.VALIDATION
    assert refused.value.issues[0].path == ["data"]
    assert Incoming("data", Send, required=False, place="here")([]) == ()


def test_surplus_arguments_are_dropped_and_can_be_counted() -> None:
    args = split_args(b'[{"x":1},5,"more"]')
    assert len(args) == 3
    assert Incoming("data", Point, required=True, place="here")(args) == (Point(1),)


@pytest.mark.parametrize("raw", [b"{}", b"5", b"null", b"[", b"", b'["\xff"]{', b'["\\ud800"]'])
def test_arguments_that_are_no_list_are_an_invalid_request(raw: bytes) -> None:
    with pytest.raises(LiveError) as refused:
        split_args(raw)
    assert refused.value.code == ErrorCode.INVALID_REQUEST


def test_a_type_that_cannot_be_read_is_refused_with_its_place() -> None:
    with pytest.raises(DeclarationError, match=r"here: the payload 'data' .*complex"):
        Incoming("data", complex, required=True, place="here")


# -- pydantic


class Inner(BaseModel):
    n: int


class Model(BaseModel):
    text: str
    inner: Inner | None = None

    @field_validator("text")
    @classmethod
    def polite(cls, text: str) -> str:
        if text == "rude":
            raise ValueError("mind your words")
        return text


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str


def test_models_are_read_by_pydantic() -> None:
    assert take(Model, '{"text":"a","inner":{"n":1}}') == Model(text="a", inner=Inner(n=1))
    assert take(list[Model] | None, '[{"text":"a"}]') == [Model(text="a")]
    assert take(Model, '{"text":"rude"}') == ["text"]
    assert take(Model, '{"text":"a","inner":{"n":"x"}}') == ["inner.n"]


def test_a_value_that_is_no_object_at_all_is_named_by_the_payload() -> None:
    assert take(Model, "5") == ["data"]
    assert take(list[Model], "{}") == ["data"]


@pydantic_dataclass
class Checked:
    times: Annotated[int, Field(gt=0)]


def test_dataclasses_of_pydantic_are_checked_by_pydantic() -> None:
    assert take(Checked, '{"times":"3"}') == Checked(3)
    assert take(list[Checked], '[{"times":0}]') == ["0.times"]
    assert take(Checked, '{"times":1,"admin":1}') == ["admin"]


def test_models_refuse_unknown_members_unless_they_say_what_becomes_of_them() -> None:
    assert take(Model, '{"text":"a","admin":1}') == ["admin"]
    assert take(Model, '{"text":"a","inner":{"n":1,"admin":1}}') == ["inner.admin"]
    assert take(Open, '{"text":"a","more":1}') == Open(text="a", more=1)  # type: ignore[call-arg]  # wrong on purpose


def test_issues_of_models_do_not_repeat_what_was_sent() -> None:
    incoming = Incoming("data", Model, required=True, place="here")
    with pytest.raises(LiveError) as refused:
        incoming(split_args(b'[{"text":"a","inner":{"n":"my password"}}]'))
    assert "password" not in str(refused.value)


class Note(msgspec.Struct):
    text: str


ODD = st.sampled_from(
    ["1e999", "-1e999", "9" * 5000, r'"\ud800"', "NaN", "[" * 300 + "]" * 300, r'{"\ud800":1}', "{", ""]
)


@given(ODD, st.sampled_from(['{{"text":"a","x":{}}}', '{{"text":{}}}', '{{"text":"a","x":[{{"y":{}}}]}}', "{}"]))
def test_what_cannot_be_read_is_a_fault_of_the_payload_wherever_it_stands(odd: str, around: str) -> None:
    incoming = Incoming("data", Note, required=True, place="here")
    with pytest.raises(LiveError) as refused:
        incoming([msgspec.Raw(around.format(odd).encode())])
    assert refused.value.code == "VALIDATION"
