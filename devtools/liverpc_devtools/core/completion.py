"""What may come next in a line of JSON that is being written, by its schema."""

from __future__ import annotations

import json
import re
from typing import Any

from liverpc_devtools.core.schemas import Schemas, dump

__all__ = ["complete"]

_DEEP = 24
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORD = re.compile(r"[^\s,\]}:]*")


class _End(Exception):
    """The text ends here: before it stands ``done``, then the beginning of one of the choices."""

    def __init__(self, done: str, begun: str, choices: list[str]) -> None:
        self.found = [done + each for each in choices if each.startswith(begun) and each != begun]


def complete(text: str, schema: Any, schemas: Schemas) -> list[str]:
    """Texts that begin with ``text`` and are one step further: a value, the name of a member, a bracket."""
    try:
        _Reader(text, schemas.within(schema)).value(0, schema, 0)
    except _End as end:
        return end.found
    except (ValueError, IndexError):  # it is no JSON
        pass
    return []


class _Reader:
    def __init__(self, text: str, schemas: Schemas) -> None:
        self._text = text
        self._schemas = schemas

    def value(self, at: int, schema: Any, depth: int) -> int:
        """Read a value; returns where it ends."""
        text = self._text
        at = self._skip(at)
        if depth > _DEEP:
            raise ValueError
        if at == len(text):
            raise _End(text, "", self._values(schema))
        if text[at] == "{":
            return self._object(at + 1, schema, depth)
        if text[at] == "[":
            return self._array(at + 1, schema, depth)
        found = _STRING.match(text, at) if text[at] == '"' else _WORD.match(text, at)
        if found is None or (found.end() == len(text) and text[at] != '"'):
            raise _End(text[:at], text[at:], self._values(schema))
        return found.end()

    def _skip(self, at: int) -> int:
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        return at

    def _object(self, at: int, schema: Any, depth: int) -> int:
        text, seen = self._text, list[str]()
        members: dict[str, Any] = {}
        required: list[str] = []
        for each in self._schemas.variants(schema):
            members |= each.get("properties", {})
            required += each.get("required", [])
        while True:
            at = self._skip(at)
            names = [f"{dump(name)}: " for name in members if name not in seen]
            if at == len(text):
                raise _End(text, "", names or ["}"])
            if text[at] == "}":
                return at + 1
            found = _STRING.match(text, at)
            if found is None:
                raise _End(text[:at], text[at:], names)
            name = json.loads(found[0])
            seen.append(name)
            at = self._skip(found.end())
            if at == len(text):
                raise _End(text, "", [": "])
            if text[at] != ":":
                raise ValueError
            at = self._skip(self.value(at + 1, members.get(name), depth + 1))
            if at == len(text):
                missing = [f", {dump(each)}: " for each in required if each not in seen]
                raise _End(text, "", missing or ["}"])
            at += text[at] == ","

    def _array(self, at: int, schema: Any, depth: int) -> int:
        text, index = self._text, 0
        variants = [each for each in self._schemas.variants(schema) if each.get("type") == "array"]
        kind = variants[0] if variants else {}
        first = kind.get("prefixItems", [])
        while True:
            at = self._skip(at)
            if at < len(text) and text[at] == "]":
                return at + 1
            at = self._skip(self.value(at, first[index] if index < len(first) else kind.get("items"), depth + 1))
            index += 1
            if at == len(text):
                raise _End(text, "", ["]"])
            at += text[at] == ","

    def _values(self, schema: Any) -> list[str]:
        choices: list[str] = []
        for each in self._schemas.variants(schema):
            kind = each.get("type")
            if isinstance(each.get("enum"), list):
                choices += map(dump, each["enum"])
            elif "const" in each:
                choices.append(dump(each["const"]))
            elif kind == "boolean":
                choices += ["true", "false"]
            elif kind in ("null", "object", "array"):
                choices.append(dump(self._schemas.example(each)))
            if each.get("default") is not None:
                choices.append(dump(each["default"]))
        return list(dict.fromkeys(choices))
