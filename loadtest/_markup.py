"""Elements of HTML, SVG and XML, in which any text is safe."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, tostring

__all__ = ["Element", "as_html", "as_xml", "element", "printable"]

# What XML 1.0 cannot hold even as a reference, and what cannot be encoded at all.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """The text, with U+FFFD for every character that no document may contain."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def element(tag: str, /, *children: Element | str | None, **attributes: object) -> Element:
    """An element with its children in order; None is no child.

    Attributes are named as in Python: ``class_`` is ``class``, ``stroke_width`` is ``stroke-width``. Numbers are
    written with two decimals at most; an attribute that is None is left out.
    """
    made = Element(tag)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), _attribute(value))
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + printable(child)
        else:
            last.tail = (last.tail or "") + printable(child)
    return made


def as_html(root: Element) -> str:
    """A document for browsers."""
    return f"<!DOCTYPE html>\n{tostring(root, encoding='unicode', method='html')}\n"


def as_xml(root: Element) -> str:
    """A document for other programs."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return printable(str(value))
