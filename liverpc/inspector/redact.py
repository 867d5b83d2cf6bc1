"""Redaction, at the moment of recording: a secret never reaches a ring, an observer or a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import msgspec

__all__ = ["DEFAULT_KEYS", "REDACTED", "Redactor"]

REDACTED = "[REDACTED]"
DEFAULT_KEYS = (
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "accesstoken",
    "refreshtoken",
    "client_secret",
    "clientsecret",
    "apikey",
    "api_key",
    "authorization",
    "auth",
    "cookie",
    "set-cookie",
    "session",
    "sessionid",
    "session_id",
    "credentials",
    "csrf",
    "csrftoken",
    "private_key",
    "privatekey",
    "creditcard",
    "credit_card",
    "card_number",
    "cvv",
    "ssn",
)

_SCALARS = (str, int, float, bool, type(None))


class Redactor:
    """Copies payloads as plain JSON data, without secrets and within bounds.

    Values under a listed key (whole key, any case) become ``[REDACTED]``. Nesting ends at ``depth`` with
    ``[depth-cap]``, lists and objects at ``items`` with ``[+N more]``, strings at ``text`` characters, and
    everything at ``nodes`` values, whatever the payload's size: the cost of a recording is bounded. A
    container within itself becomes ``[cycle]``.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        depth: int = 5,
        items: int = 50,
        nodes: int = 2000,
        text: int = 2000,
    ) -> None:
        self.keys = frozenset(key.lower() for key in (*DEFAULT_KEYS, *keys))
        self._depth = depth
        self._items = items
        self._nodes = nodes
        self._text = text

    def add(self, keys: Iterable[str]) -> None:
        """Redact the values of these keys, too, from now on."""
        self.keys |= {key.lower() for key in keys}

    def __call__(self, value: Any) -> Any:
        """The redacted copy; never raises."""
        return self._copy(value, self._depth, [self._nodes, 32_768], set())

    def _copy(self, value: Any, depth: int, budget: list[int], parents: set[int]) -> Any:
        budget[0] -= 1
        if isinstance(value, str):
            return self._clip(value, budget)
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, Mapping):
            pairs: Iterable[tuple[Any, Any]] = value.items()
            size = len(value)
        elif isinstance(value, list | tuple | set | frozenset):
            return self._list(value, depth, budget, parents)
        elif isinstance(value, msgspec.Struct):
            names = value.__struct_encode_fields__
            pairs = zip(names, (getattr(value, name, None) for name in value.__struct_fields__), strict=True)
            size = len(names)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = tuple(field.name for field in dataclasses.fields(value))
            pairs = ((name, getattr(value, name, None)) for name in names)
            size = len(names)
        else:
            return self._other(value, budget)
        if depth <= 0:
            return "[depth-cap]"
        if id(value) in parents:
            return "[cycle]"
        parents.add(id(value))
        copy: dict[str, Any] = {}
        for key, item in pairs:
            if len(copy) >= self._items or budget[0] <= 0:
                copy["…"] = f"[+{size - len(copy)} more]"
                break
            told = _key(key)
            name = self._clip(told, budget)
            copy[name] = REDACTED if told.lower() in self.keys else self._copy(item, depth - 1, budget, parents)
        parents.discard(id(value))
        return copy

    def _list(self, value: Any, depth: int, budget: list[int], parents: set[int]) -> Any:
        if depth <= 0:
            return "[depth-cap]"
        if id(value) in parents:
            return "[cycle]"
        parents.add(id(value))
        copy: list[Any] = []
        for item in value:
            if len(copy) >= self._items or budget[0] <= 0:
                copy.append(f"[+{len(value) - len(copy)} more]")
                break
            copy.append(self._copy(item, depth - 1, budget, parents))
        parents.discard(id(value))
        return copy

    def _clip(self, text: str, budget: list[int]) -> str:
        room = max(0, min(self._text, budget[1]))
        budget[1] -= min(len(text), room)
        return text if len(text) <= room else f"{text[:room]}[+{len(text) - room} characters]"

    def _other(self, value: Any, budget: list[int]) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return f"[{len(value)} bytes]"
        try:
            plain = msgspec.to_builtins(value)
        except Exception:
            return f"[{type(value).__name__}]"
        if isinstance(plain, str):
            return self._clip(plain, budget)
        return plain if isinstance(plain, _SCALARS) else f"[{type(value).__name__}]"


def _key(key: Any) -> str:
    """A key as clients get it."""
    try:
        return str(key.value if isinstance(key, Enum) else key)
    except Exception:  # of classes with code of their own
        return f"[{type(key).__name__}]"
