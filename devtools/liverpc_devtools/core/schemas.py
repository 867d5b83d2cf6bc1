"""JSON schemas for people who write a value: types in words, an example, what does not fit.

As much of JSON schema as servers tell of their types. What is unknown fits: the server has the last word.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from liverpc_devtools.core.text import clean

__all__ = ["Schemas", "dump"]

_DEEP = 8  # types within types
_MOST_WORDS = 8  # of an enumeration
_MOST_PROBLEMS = 5
_NAMES = {"string": "text", "integer": "int", "number": "number", "boolean": "bool", "array": "list", "null": "null"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_EXAMPLES = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "PT5S",
    "email": "ann@example.org",
}
_RANGES = (
    ("minimum", "at least", operator.ge),
    ("maximum", "at most", operator.le),
    ("exclusiveMinimum", "above", operator.gt),
    ("exclusiveMaximum", "below", operator.lt),
)
_LENGTHS = {str: ("minLength", "maxLength", " characters"), list: ("minItems", "maxItems", " items")}


def dump(value: Any) -> str:
    """A value as JSON in one line that no terminal acts upon."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


@dataclass(frozen=True)
class Schemas:
    """Schemas that share definitions.

    Args:
        definitions: What ``#/$defs/NAME`` refers to, unless the schema has such ``$defs`` itself.
    """

    definitions: Mapping[str, Any] = field(default_factory=dict)

    def meant(self, schema: Any) -> dict[str, Any]:
        """A schema, or the one it refers to."""
        for _ in range(_DEEP):
            if not isinstance(schema, dict):
                return {}
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            rest = {name: each for name, each in schema.items() if name != "$ref"}
            found = self.definitions.get(reference.rpartition("/")[2])
            schema = {**found, **rest} if isinstance(found, dict) else rest
        return {}

    def within(self, schema: Any) -> Schemas:
        """For a schema with definitions of its own."""
        own = schema.get("$defs") if isinstance(schema, dict) else None
        return Schemas({**self.definitions, **own}) if isinstance(own, dict) else self

    def variants(self, schema: Any, depth: int = _DEEP) -> list[dict[str, Any]]:
        """What a value may be: one schema, or those of a union."""
        schema = self.meant(schema)
        parts = schema.get("anyOf", schema.get("oneOf"))
        if not isinstance(parts, list) or not depth:
            kinds = schema.get("type")
            return [{**schema, "type": each} for each in kinds] if isinstance(kinds, list) else [schema]
        return [each for part in parts for each in self.variants(part, depth - 1)]

    # -- in words

    def words(self, schema: Any, depth: int = _DEEP) -> str:
        """A type in words, such as ``list of Card`` or ``int, 1 to 1000``; harmless in a terminal."""
        if not isinstance(schema, dict) or not depth:
            return "anything"
        if isinstance(reference := schema.get("$ref"), str):
            name = reference.rpartition("/")[2]
            found = self.definitions.get(name)
            return clean(str(found.get("title", name))) if isinstance(found, dict) else clean(name)
        if isinstance(parts := schema.get("anyOf", schema.get("oneOf")), list):
            return " or ".join(dict.fromkeys(self.words(each, depth - 1) for each in parts))
        if "const" in schema:
            return clean(dump(schema["const"]))
        if isinstance(values := schema.get("enum"), list):
            more = ", …" if len(values) > _MOST_WORDS else ""
            return "one of " + clean(", ".join(map(dump, values[:_MOST_WORDS]))) + more
        kind = schema.get("type")
        if kind == "array":
            if isinstance(each := schema.get("prefixItems"), list):
                return f"[{', '.join(self.words(item, depth - 1) for item in each)}]"
            what = f" of {self.words(schema['items'], depth - 1)}" if schema.get("items") else ""
            return f"list{what}{_bounds(schema, 'minItems', 'maxItems', ' items')}"
        if kind == "object":
            if isinstance(more_of := schema.get("additionalProperties"), dict) and "properties" not in schema:
                return f"map of {self.words(more_of, depth - 1)}"
            return clean(str(schema.get("title", "object")))
        if isinstance(kind, list):
            return " or ".join(_NAMES.get(str(each), clean(str(each))) for each in kind)
        name = clean(str(schema.get("format") or _NAMES.get(str(kind), str(kind)))) if kind else "anything"
        name += _bounds(schema, "minimum", "maximum") + _bounds(schema, "minLength", "maxLength", " characters")
        return f"{name}, fits {clean(str(schema['pattern']))}" if "pattern" in schema else name

    # -- examples

    def example(self, schema: Any, depth: int = _DEEP) -> Any:
        """A value that fits, as small as possible."""
        schema = next((each for each in self.variants(schema) if each.get("type") != "null"), {})
        for given in (schema.get("default"), schema.get("const"), *_list(schema, "enum")[:1]):
            if given is not None:
                return given
        if examples := _list(schema, "examples"):
            return examples[0]
        kind = schema.get("type")
        if kind == "object":
            members = _object(schema, "properties")
            return {name: self.example(members.get(name), depth - 1) for name in _list(schema, "required") if depth}
        if kind == "array":
            items = _list(schema, "prefixItems") or [schema.get("items")] * min(_whole(schema, "minItems"), 3)
            return [self.example(each, depth - 1) for each in items if depth]
        if kind == "string":
            return _EXAMPLES.get(str(schema.get("format")), "").ljust(_whole(schema, "minLength"), "x")
        if kind in ("integer", "number"):
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
            return min(max(least, 0), schema.get("maximum", max(least, 0)))
        return False if kind == "boolean" else None

    # -- what does not fit

    def problems(self, value: Any, schema: Any) -> list[str]:
        """What of a value does not fit, and where; at most 5 sentences, none when it fits."""
        found = self._problems(value, schema, "", _DEEP)
        return [clean(each) for each, _ in zip(found, range(_MOST_PROBLEMS), strict=False)]

    def _problems(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        if not depth:
            return
        variants = self.variants(schema)
        if len(variants) > 1:
            each = [list(self._one(value, variant, at, depth)) for variant in variants]
            if all(each):
                kinds = [variant.get("type") for variant in variants]
                fitting = [part for part, kind in zip(each, kinds, strict=True) if _is(value, kind)]
                yield from fitting[0] if len(fitting) == 1 else [f"{at}takes {self.words(schema)}"]
            return
        yield from self._one(value, variants[0], at, depth)

    def _one(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> Iterator[str]:
        kind = schema.get("type")
        if "enum" in schema or "const" in schema:
            if value not in [*_list(schema, "enum"), *([schema["const"]] if "const" in schema else [])]:
                yield f"{at}takes {self.words(schema)}"
        elif isinstance(kind, str) and not _is(value, kind):
            yield f"{at}takes {self.words({**schema, 'title': schema.get('title', 'object')})}, not {_kind(value)}"
        elif isinstance(value, dict):
            yield from self._members(value, schema, at, depth)
        elif isinstance(value, str | list):
            yield from _length(value, schema, at)
            if isinstance(value, list):
                first = _list(schema, "prefixItems")
                for index, item in enumerate(value):
                    yield from self._problems(
                        item, first[index] if index < len(first) else schema.get("items"), f"{at}[{index}] ", depth - 1
                    )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            for name, how, fits in _RANGES:
                bound = schema.get(name)
                if isinstance(bound, int | float) and not fits(value, bound):
                    yield f"{at}has to be {how} {bound}"

    def _members(self, value: dict[str, Any], schema: dict[str, Any], at: str, depth: int) -> Iterator[str]:
        members = _object(schema, "properties")
        for name in _list(schema, "required"):
            if name not in value:
                yield f"{at}lacks {name}"
        others = schema.get("additionalProperties")
        for name, each in value.items():
            if name in members:
                yield from self._problems(each, members[name], f"{at}{name}: ", depth - 1)
            elif others is False:
                yield f"{at}has no {name}"
            elif isinstance(others, dict):
                yield from self._problems(each, others, f"{at}{name}: ", depth - 1)


def _is(value: Any, kind: Any) -> bool:
    types = _TYPES.get(kind) if isinstance(kind, str) else None
    if types is None:
        return True
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) and not (kind == "integer" and isinstance(value, float) and not value.is_integer())


def _kind(value: Any) -> str:
    return "object" if isinstance(value, dict) else next(_NAMES[k] for k in _TYPES if k in _NAMES and _is(value, k))


def _length(value: str | list[Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    least, most, unit = _LENGTHS[type(value)]
    if len(value) < _whole(schema, least):
        yield f"{at}has at least {_so_many(schema[least], unit)}"
    if most in schema and len(value) > _whole(schema, most):
        yield f"{at}has at most {_so_many(schema[most], unit)}"


def _bounds(schema: dict[str, Any], least: str, most: str, unit: str = "") -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return f", {low} to {high}{unit}" if low != high else f", {_so_many(low, unit)}"
    if low is None and high is None:
        return ""
    return f", at most {_so_many(high, unit)}" if low is None else f", at least {_so_many(low, unit)}"


def _so_many(number: Any, unit: str) -> str:
    return f"{number}{unit[:-1] if number == 1 else unit}"


def _list(schema: dict[str, Any], name: str) -> list[Any]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _object(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found = schema.get(name)
    return found if isinstance(found, dict) else {}


def _whole(schema: dict[str, Any], name: str) -> int:
    found = schema.get(name)
    return found if isinstance(found, int) else 0
