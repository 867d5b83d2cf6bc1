"""Keys that people change: what may be bound, and what is wrong with a wish."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from liverpc_devtools.core.fuzzy import ranked
from liverpc_devtools.core.settings import Settings
from liverpc_devtools.core.text import clean

__all__ = ["Key", "check", "key_names", "shown"]

_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "semicolon": ";",
    "at": "@",
    "comma": ",",
    "full_stop": ".",
    "minus": "-",
    "plus": "+",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "equals_sign": "=",
    "escape": "esc",
    "pagedown": "page down",
    "pageup": "page up",
}
_LONG = {short: long for long, short in _NAMES.items()}
# Terminals send the same for these as for other keys, or keep them to themselves.
_SWALLOWED = {
    "ctrl+i": "tab",
    "ctrl+m": "enter",
    "ctrl+j": "enter",
    "ctrl+h": "backspace",
    "ctrl+left_square_bracket": "esc",
}
_KEY = re.compile(r"(?:(?:ctrl|alt|shift)\+)*(?:[a-z0-9_]+|[^\s,])", re.IGNORECASE)
_RESERVED = ("ctrl+c", "ctrl+q")  # the ways out
_EVERYWHERE = frozenset(("app", "view", "table"))
# Over a screen: while one of them is open no other place hears keys.
_ALONE = frozenset(
    ("filter", "command", "palette", "menu", "ask", "fault", "preset", "kick", "composer", "jump", "help")
)


@dataclass(frozen=True)
class Key:
    """A binding.

    Args:
        id: ``<screen or table>.<action>``.
        keys: As the toolkit names them.
        description: What it does.
    """

    id: str
    keys: tuple[str, ...]
    description: str

    @property
    def place(self) -> str:
        """Where it works: ``app`` is everywhere."""
        return self.id.partition(".")[0]


def shown(keys: str | Iterable[str]) -> str:
    """Keys as people know them: ``? esc ctrl+d``."""
    names = keys.split(",") if isinstance(keys, str) else keys
    return " ".join(_NAMES.get(each, each) for each in names)


def key_names(text: str) -> list[str]:
    """The names of the keys in ``a,ctrl+b,?``.

    Raises:
        ValueError: One of them is no key, or none that a terminal tells from others; the text says which.
    """
    names = []
    for each in [",", ""] if text == "," else text.split(","):
        if not (name := each.strip()) and text == ",":
            continue
        if name == "space" or name in _NAMES or name in _LONG:
            names.append(_LONG.get(name, name))
        elif not _KEY.fullmatch(name) or not name.isprintable():
            raise ValueError(f"{clean(name)!r} is no key")
        elif name.lower() in _SWALLOWED:
            raise ValueError(f"terminals send {name} as {_SWALLOWED[name.lower()]}")
        elif re.fullmatch(r"ctrl\+shift\+.|ctrl\+[A-Z]", name):
            raise ValueError(f"many terminals do not tell {name} from ctrl+{name[-1].lower()}")
        elif name in _RESERVED:
            raise ValueError(f"{name} always ends the program")
        else:
            names.append(name)
    if not names:
        raise ValueError("a key is needed; to have the old one back, leave the line out")
    return names


def check(known: Iterable[Key], settings: Settings) -> tuple[dict[str, str], list[str]]:
    """The wishes that can be fulfilled, and what is wrong with the others, with file and line.

    Two bindings conflict when both work in the same place, or one of them everywhere and the other not in a form or a
    line that is open over everything.
    """
    by_id = {each.id: each for each in known}
    good: dict[str, str] = {}
    problems: list[str] = []
    for name, text in settings.keys.items():
        if name not in by_id:
            like = ranked(name, by_id, str)[:1]
            hint = f"; do you mean {like[0]}?" if like else "; liverpc-tui keys lists them"
            problems.append(f"{settings.at(name)}: nothing is called {clean(name)!r}{hint}")
            continue
        try:
            good[name] = ",".join(key_names(text))
        except ValueError as error:
            problems.append(f"{settings.at(name)}: {name}: {error}")
    for name, keys in list(good.items()):
        for other in _others(by_id, good, by_id[name]):
            if common := set(keys.split(",")) & set(_keys(other, good)):
                what = f"{shown(sorted(common))} is taken by {other.id} ({other.description})"
                problems.append(f"{settings.at(name)}: {name}: {what}")
                good.pop(name, None)
                break
    return good, problems


def _others(by_id: Mapping[str, Key], changed: Mapping[str, str], key: Key) -> list[Key]:
    """Bindings that work while ``key`` does; of two changed ones only the second is at fault."""
    before = list(changed)
    return [
        each
        for each in by_id.values()
        if each.id != key.id
        and _meet(each.place, key.place)
        and (each.id not in changed or before.index(each.id) < before.index(key.id))
    ]


def _meet(place: str, other: str) -> bool:
    """Whether keys of both places may be heard at the same time."""
    both = {place, other}
    return len(both) == 1 or (bool(both & _EVERYWHERE) and not both & _ALONE)


def _keys(key: Key, changed: Mapping[str, str]) -> Iterable[str]:
    return changed[key.id].split(",") if key.id in changed else key.keys
