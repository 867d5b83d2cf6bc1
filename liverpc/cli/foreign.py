"""Pydantic models as msgspec structs with the same JSON, by way of their JSON schema. Nothing here imports pydantic."""

from __future__ import annotations

import datetime
import json
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Annotated, Any, ForwardRef, Literal, Union
from uuid import UUID

import msgspec
from msgspec.inspect import StructType, Type, type_info

__all__ = ["NO_TAG", "Foreign", "identifier"]

NO_TAG = "\0"
"""As the name of the member that tells a struct from others: there is none."""

_PLAIN: dict[Any, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_FORMATS: dict[str, Any] = {
    "date-time": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": UUID,
}


def identifier(text: str) -> str:
    """A name that Python accepts, as much like the text as that can be."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    name = f"_{name}" if not name or name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) else name


class Foreign:
    """Makes structs of JSON schemas; equal definitions become one struct.

    Args:
        readable: They are for reading messages, so that members of unions have to be told apart by a discriminator.
    """

    def __init__(self, *, readable: bool) -> None:
        self._readable = readable
        self._made: dict[str, Any] = {}  # by definition, with all that it refers to

    def node(self, schema: Mapping[str, Any], name: str) -> Type:
        """What msgspec says of a type with this JSON schema.

        Args:
            schema: Of pydantic; its definitions may refer to each other.
            name: For an object that is the schema itself, and not one of its definitions.

        Raises:
            TypeError, ValueError: Something in it cannot be told apart in JSON by its type alone, or has no name.
        """
        own = {name: schema} if "properties" in schema else {}
        converter = _Converter({**schema.get("$defs", {}), **own}, schema, readable=self._readable)
        with _module() as module:
            names = vars(module)
            for each in converter.definitions:
                key = converter.closure(each)
                if key not in self._made:
                    self._made[key] = converter.definition(each, module.__name__)
                names[identifier(each)] = self._made[key]
            annotation = names[identifier(name)] if own else converter.annotation(schema)
            # A struct around it, because the names in an annotation are those of a class's module.
            whole = msgspec.defstruct("Whole", [("it", annotation)], module=module.__name__)
            node = _inspected(whole)
        assert isinstance(node, StructType)
        return node.fields[0].type


def _inspected(whole: type[msgspec.Struct]) -> Type:
    try:
        return type_info(whole)
    except TypeError as error:
        union = re.search(r"type `(.*)` is not supported", str(error))
        if union is None:
            raise
        text = union[1].replace(f"{whole.__module__}.", "").replace("typing.", "")
        raise TypeError(
            f"in JSON, nothing tells what {text} holds; give models a member like kind: Literal['cat'] and the union "
            "pydantic.Field(discriminator='kind')"
        ) from None


@contextmanager
def _module() -> Iterator[ModuleType]:
    """A module for names that refer to each other, while they are resolved."""
    module = ModuleType("liverpc.cli.foreign.model")
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]


class _Converter:
    """One schema, whose objects are ``definitions``; for ``readable`` see :class:`Foreign`."""

    def __init__(self, definitions: Mapping[str, Any], schema: Mapping[str, Any], *, readable: bool) -> None:
        self.definitions = definitions
        self._readable = readable
        self._tags: dict[str, tuple[str, Any]] = {}  # by definition: member and value that tell it from others
        for each in _objects([schema, dict(definitions)]):
            discriminator = each.get("discriminator")
            if isinstance(discriminator, Mapping):
                for value, reference in discriminator.get("mapping", {}).items():
                    self._tags[_target(reference)] = (discriminator["propertyName"], value)

    def closure(self, name: str) -> str:
        """A definition with all it refers to, as text."""
        found = {each: [schema, self._tags.get(each)] for each, schema in self._reached(self.definitions[name]).items()}
        return json.dumps([name, self.definitions[name], self._tags.get(name), found], sort_keys=True)

    def _reached(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The definitions to which a schema refers, and those to which they do."""
        found: dict[str, Any] = {}
        todo = [schema]
        while todo:
            for each in _objects(todo.pop()):
                reference = each.get("$ref")
                if isinstance(reference, str) and (name := _target(reference)) not in found:
                    found[name] = self.definitions[name]
                    todo.append(found[name])
        return found

    def _is_secret(self, schema: Mapping[str, Any]) -> bool:
        """Whether there are passwords in it, whose default is not what it says."""
        return any(each.get("format") == "password" for each in _objects([schema, *self._reached(schema).values()]))

    def definition(self, name: str, module: str) -> Any:
        schema = self.definitions[name]
        if "properties" not in schema:
            return self.annotation(schema)
        discriminator, tag = self._tags.get(name, (None, None))
        required = (*schema.get("required", ()), discriminator)
        members = dict(schema["properties"])
        if self._readable:
            members.pop(discriminator, None)
            tag_field = discriminator
        else:
            tag_field, tag = NO_TAG, name  # msgspec inspects no unions of structs without tags
        rename = {identifier(member): member for member in members}
        if len(rename) < len(members):
            raise ValueError(f"{name} has members whose names differ only in what no Python name can have")
        return msgspec.defstruct(
            identifier(name),
            [self._field(member, inner, member in required) for member, inner in members.items()],
            module=module,
            rename=rename,
            tag_field=tag_field,
            tag=tag,
            kw_only=True,
        )

    def _field(self, member: str, schema: Mapping[str, Any], required: bool) -> tuple[Any, ...]:
        annotation = self.annotation(schema)
        if "description" in schema:
            annotation = Annotated[annotation, msgspec.Meta(description=schema["description"])]
        if required:
            return (identifier(member), annotation)
        simple = schema.get("default") in ([], {}) or isinstance(schema.get("default"), str | int | float | None)
        if "default" in schema and simple and not self._is_secret(schema):
            return (identifier(member), annotation, schema["default"])
        return (identifier(member), Union[annotation, msgspec.UnsetType], msgspec.UNSET)  # noqa: UP007 - ForwardRef has no |

    def annotation(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            return ForwardRef(identifier(_target(schema["$ref"])))
        if "const" in schema:
            return Literal[schema["const"]]
        if "enum" in schema:
            return Literal[tuple(schema["enum"])]
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return Union[tuple(self.annotation(each) for each in schema[union])]  # noqa: UP007 - ForwardRef has no |
        kind = schema.get("type")
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            if "properties" in schema:
                raise ValueError(f"{schema.get('title', 'an object')} in it has no name")
            values = schema.get("additionalProperties")
            made: Any = dict
            return made[str, self.annotation(values) if isinstance(values, Mapping) else Any]
        if kind == "string":
            return _FORMATS.get(schema.get("format", ""), str)
        return _PLAIN.get(kind, Any)

    def _array(self, schema: Mapping[str, Any]) -> Any:
        if items := schema.get("prefixItems"):
            fixed: Any = tuple
            return fixed[tuple(self.annotation(each) for each in items)]
        item = self.annotation(schema.get("items", {}))
        several: Any = set if schema.get("uniqueItems") else list
        return several[item]


def _target(reference: str) -> str:
    return reference.rpartition("/")[2]


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    """All objects in it, itself included."""
    if isinstance(schema, Mapping):
        yield schema
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        yield from _objects(each)
