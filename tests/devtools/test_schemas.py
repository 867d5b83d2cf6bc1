"""Schemas in words, as examples, as checks and as completion."""

from __future__ import annotations

from typing import Any

import pytest

from liverpc.inspector.protocol import Declared
from liverpc_devtools.core.completion import complete
from liverpc_devtools.core.explored import Unreadable, arguments, first_lines, signature
from liverpc_devtools.core.schemas import Schemas, dump

SCHEMAS = Schemas(
    {
        "Card": {
            "title": "Card",
            "type": "object",
            "properties": {
                "title": {"type": "string", "minLength": 1, "maxLength": 5},
                "done": {"type": "boolean", "default": False},
                "colour": {"$ref": "#/$defs/Colour"},
                "next": {"anyOf": [{"$ref": "#/$defs/Card"}, {"type": "null"}], "default": None},
            },
            "required": ["title", "colour"],
        },
        "Colour": {"title": "Colour", "enum": ["blue", "red"]},
        "Loop": {"type": "object", "properties": {"loop": {"$ref": "#/$defs/Loop"}}, "required": ["loop"]},
        "Itself": {"$ref": "#/$defs/Itself"},
    }
)
CARD: dict[str, Any] = {"$ref": "#/$defs/Card"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "anything"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "int, 1 to 1000"),
        ({"type": "string", "maxLength": 20}, "text, at most 20 characters"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "array", "items": CARD}, "list of Card"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map of number"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "int or null"),
        ({"enum": ["a", "b"]}, 'one of "a", "b"'),
        ({"enum": ["\x1b[2J"]}, 'one of "\\u001b[2J"'),
        ({"$ref": "#/$defs/Nothing\x1b"}, "Nothing\\x1b"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, "[int, text]"),
    ],
)
def test_words(schema: dict[str, Any], words: str) -> None:
    assert SCHEMAS.words(schema) == words


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        (CARD, {"title": "x", "colour": "blue"}),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "array", "items": CARD, "minItems": 1}, [{"title": "x", "colour": "blue"}]),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, False),
        ({"type": "string", "format": "date"}, "2030-01-31"),
        ({}, None),
        ({"$ref": "#/$defs/Itself"}, None),
    ],
)
def test_an_example_fits(schema: dict[str, Any], example: Any) -> None:
    assert SCHEMAS.example(schema) == example
    assert SCHEMAS.problems(example, schema) == []


def test_types_that_contain_themselves_have_an_end() -> None:
    assert dump(SCHEMAS.example({"$ref": "#/$defs/Loop"})).count("loop") < 20
    deep: Any = {}
    for _ in range(500):
        deep = {"loop": deep}
    assert SCHEMAS.problems(deep, {"$ref": "#/$defs/Loop"}) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"title": "x", "colour": "red"}, ""),
        ({"colour": "red"}, "lacks title"),
        ({"title": "", "colour": "red"}, "title: has at least 1 character"),
        ({"title": "longer", "colour": "red"}, "title: has at most 5 characters"),
        ({"title": 1, "colour": "red"}, "title: takes text, 1 to 5 characters, not int"),
        ({"title": "x", "colour": "pink"}, "colour: takes Colour"),
        ({"title": "x", "colour": "red", "done": 1}, "done: takes bool, not int"),
        ({"title": "x", "colour": "red", "next": {"title": "y"}}, "next: lacks colour"),
        ([], "takes Card, not list"),
        (True, "takes Card, not bool"),
    ],
)
def test_what_does_not_fit_is_said(value: Any, problem: str) -> None:
    found = SCHEMAS.problems(value, CARD)
    assert (found[0] if found else "") == problem or problem.replace("Colour", 'one of "blue", "red"') == found[0]


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (3, {"type": "integer", "minimum": 3}, True),
        (2, {"type": "integer", "minimum": 3}, False),
        (3.0, {"type": "integer"}, True),
        (3.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (float("inf"), {"type": "integer"}, False),
        ([1, "a"], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, True),
        (["a", 1], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, False),
        ({"a": 1}, {"type": "object", "properties": {}, "additionalProperties": False}, False),
        ({"a": "x"}, {"type": "object", "additionalProperties": {"type": "integer"}}, False),
        (None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, False),
        ("anything", {"type": "of the future"}, True),
        ("x", {"$ref": "#/$defs/Itself"}, True),
    ],
)
def test_checks(value: Any, schema: dict[str, Any], fits: bool) -> None:
    assert (SCHEMAS.problems(value, schema) == []) is fits


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", ['{"title": "x", "colour": "blue"}']),
        ("{", ['{"title": ', '{"done": ', '{"colour": ', '{"next": ']),
        ('{"ti', ['{"title": ']),
        ('{"title"', ['{"title": ']),
        ('{"title": "x"', ['{"title": "x", "colour": ']),
        ('{"title": "x", "c', ['{"title": "x", "colour": ']),
        ('{"colour": ', ['{"colour": "blue"', '{"colour": "red"']),
        ('{"colour": "r', ['{"colour": "red"']),
        ('{"done": t', ['{"done": true']),
        ('{"title": "x", "colour": "red"', ['{"title": "x", "colour": "red"}']),
        ('{"title": "x", "colour": "red"}', []),
        ('{"next": {"colour": "b', ['{"next": {"colour": "blue"']),
        ('{"x": [1, 2', []),
        ("}", []),
        ("{{{{", []),
        ("nonsense", []),
        ('{"a" 3', []),
        ('{"\\ud800": ', []),
    ],
)
def test_completion(text: str, choices: list[str]) -> None:
    assert complete(text, CARD, SCHEMAS) == choices


@pytest.mark.parametrize("text", ["[" * 5000, '{"next": ' * 5000, '"' * 999, "\\" * 99, "[1" * 400])
def test_completion_survives_anything(text: str) -> None:
    complete(text, CARD, SCHEMAS)
    complete(text, {"type": "array", "items": {"type": "array"}}, SCHEMAS)


def row(*parameters: tuple[str, dict[str, Any], bool]) -> Declared:
    return Declared("demo/f", "rpc", "", "", list(parameters), CARD, [], [])


A, B, C = ("a", {"type": "integer"}, True), ("b", {"default": 7}, False), ("c", {"type": "string"}, False)


def test_a_signature_in_words() -> None:
    assert signature(row(A, B, C), SCHEMAS) == "demo/f(a: int, b: anything = 7, c: text = …) -> Card"
    assert first_lines(row(A, B, C), SCHEMAS) == ["0", "", ""]


def test_lines_become_arguments() -> None:
    assert arguments(row(A, B, C), ["1", "", ""]) == [1]
    assert arguments(row(A, B, C), [" 1", "", '"x"']) == [1, 7, "x"]
    assert arguments(row(A, ("*more", {}, False)), ["1", "[2, 3]"]) == [1, 2, 3]
    assert arguments(row(A), ["1" + "0" * 40]) == [10**40]
    assert arguments(row(), []) == []


@pytest.mark.parametrize(
    ("lines", "line", "text"),
    [
        (["", "", ""], 0, "must be given"),
        (["1", "x", ""], 1, "text stands in quotes"),
        (["1", "", "{"], 2, "no JSON"),
        (["[" * 100_000, "", ""], 0, "cannot be sent"),
        (["NaN", "", ""], 0, "NaN is no JSON"),
        (['"\\ud800"', "", ""], 0, "cannot be sent"),
    ],
)
def test_lines_that_are_no_arguments(lines: list[str], line: int, text: str) -> None:
    with pytest.raises(Unreadable, match=text) as caught:
        arguments(row(A, B, C), lines)
    assert caught.value.line == line
    assert str(caught.value).isprintable()


def test_arguments_go_by_position() -> None:
    with pytest.raises(Unreadable, match="by position"):
        arguments(row(C, A), ["", "1"])
