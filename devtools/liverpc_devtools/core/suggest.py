"""What a filter that is being typed may become: names of fields, and values that there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from liverpc_devtools.core.filter import FIELDS, MACROS
from liverpc_devtools.core.terms import Term, show

__all__ = ["suggestions"]

_MOST = 8
_ROWS = 500  # whose values are looked at
_LONGEST = 60  # characters of a value that is worth suggesting
_LAST = re.compile(r"(?:^|[\s(!-])(([A-Za-z_][\w.]*)(!=|[:=])?([^\s()\"/]*))$")
_KNOWN = {"is": MACROS, "ok": ("true", "false"), "kind": ("pub", "rpc", "conn")}


def suggestions(text: str, fields: Sequence[str], values: Callable[[str], Iterable[object]]) -> list[str]:
    """Whole filters that ``text`` may become, at most eight; none when the last word is no field.

    Args:
        text: What was typed.
        fields: The names of those that the rows have; of none, those of events.
        values: The values of a field that there are now.
    """
    found = _LAST.search(text)
    if found is None:
        return []
    word, name, operator, begun = found.groups()
    before = text[: len(text) - len(word)]
    if operator is None:
        names = [each for each in (fields or FIELDS) if each.startswith(name)]
        return [f"{before}{each}:" for each in names[:_MOST]]
    wanted = [*_KNOWN.get(name, ()), *_values(values(name))] if name in (*fields, *FIELDS) else []
    fitting = [each for each in dict.fromkeys(wanted) if each.casefold().startswith(begun.casefold()) and each != begun]
    shown = (show(Term(name, operator, each)) for each in fitting[:_MOST])
    return [before + each for each in shown]


def _values(found: Iterable[object]) -> list[str]:
    flat: list[str] = []
    for value in islice(found, _ROWS):
        each = value if isinstance(value, list | tuple) else (value,)
        flat += [str(one) for one in each if isinstance(one, str | int) and not isinstance(one, bool)]
    return sorted({one for one in flat if one and len(one) <= _LONGEST and one.isprintable()})
