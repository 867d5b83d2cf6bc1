"""The forms in which a payload is shown."""

from __future__ import annotations

import json
from typing import Any

from liverpc_devtools.core import diff
from liverpc_devtools.core.text import clean, count
from liverpc_devtools.widgets.palette import Line
from liverpc_devtools.widgets.payload import pretty, raw

__all__ = ["FORMS", "Form", "following", "written"]

Form = str
FORMS: tuple[Form, ...] = ("Pretty", "Raw", "Diff", "Hex")
_SIGNS = {"added": ("+ ", "ok"), "removed": ("- ", "error"), "changed": ("~ ", "warn")}
_HEX_BYTES, _HEX_ROW = 4096, 16


def following(form: Form, *, compares: bool = True) -> Form:
    """The next form; where there is nothing to compare with, ``Diff`` is left out."""
    forms = [each for each in FORMS if compares or each != "Diff"]
    return forms[(forms.index(form) + 1) % len(forms)]


def written(value: Any, form: Form, before: tuple[str, Any] | None = None) -> list[Line]:
    """A payload in a form.

    Args:
        value: Decoded JSON.
        form: One of :data:`FORMS`.
        before: What ``Diff`` compares it with: a word for it, and the value; None: there is nothing.
    """
    if form == "Pretty":
        return pretty(value)
    if form == "Raw":
        return raw(value)
    return _diff(value, before) if form == "Diff" else _hex(value)


def _diff(value: Any, before: tuple[str, Any] | None) -> list[Line]:
    if before is None:
        return [[("nothing to compare it with", "dim")], *pretty(value)]
    name, old = before
    changes = diff.between(old, value)
    number = "no differences" if not changes else f"{count(len(changes))} difference{'s' if len(changes) > 1 else ''}"
    lines: list[Line] = [[(f"{number} from {clean(name)}", "dim")]]
    for change in changes:
        sign, style = _SIGNS[change.what]
        where = ".".join(clean(str(step)) for step in change.where) or "everything"
        old_lines = [] if change.what == "added" else pretty(change.old)
        new_lines = [] if change.what == "removed" else pretty(change.new)
        head: Line = [(f"{sign}{where}", style)]
        if isinstance(change.old, dict | list) or isinstance(change.new, dict | list):
            lines.append(head)
            lines += [[("  - ", "error"), *line] for line in old_lines] + [
                [("  + ", "ok"), *line] for line in new_lines
            ]
        else:
            arrow: Line = [(" -> ", "dim")] if change.what == "changed" else []
            shown = [piece for line in old_lines for piece in line], [piece for line in new_lines for piece in line]
            lines.append([*head, ("  ", ""), *shown[0], *arrow, *shown[1]])
    return lines


def _hex(value: Any) -> list[Line]:
    """The bytes of a string, or of the JSON of anything else."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    data = text.encode("utf-8", "backslashreplace")
    lines: list[Line] = [[(f"{count(len(data))} bytes of {'the string' if isinstance(value, str) else 'JSON'}", "dim")]]
    for at in range(0, min(len(data), _HEX_BYTES), _HEX_ROW):
        row = data[at : at + _HEX_ROW]
        shown = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        lines.append([(f"{at:06x}  ", "dim"), (f"{row.hex(' '):<47}  ", "number"), (shown, "string")])
    if len(data) > _HEX_BYTES:
        lines.append([(f"{count(len(data) - _HEX_BYTES)} more bytes", "dim")])
    return lines
