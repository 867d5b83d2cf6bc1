"""The themes: which colours stand behind the names of styles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["THEMES", "Theme", "theme", "wear"]


@dataclass(frozen=True)
class Theme:
    """Colours behind names.

    Args:
        name: For people.
        colours: Of texts, by the name of their style.
        grounds: What they stand on, by name.
        edges: Further colours of the frame: ``input``, and ``bar-1`` to ``bar-3`` of a scrollbar at rest, under the
            mouse, and held.
        dark: Whether the ground is darker than the texts.
        plain: No colour at all, only bold, underlined and reversed text.
    """

    name: str
    colours: Mapping[str, str]
    grounds: Mapping[str, str]
    edges: Mapping[str, str]
    dark: bool = True
    plain: bool = False


_DARK = Theme(
    "dark",
    {
        "text": "#c5cdd6",
        "strong": "bold #f0f4f8",
        "dim": "#74808c",
        "head": "#93a4b5",
        "accent": "#7cc7ff",
        "key": "#9fb8d0",
        "string": "#a5cf8d",
        "number": "#e5b567",
        "ok": "#8fce7e",
        "warn": "#e6b450",
        "error": "bold #ff7b72",
        "alarm": "bold #ffffff",
    },
    # Greys with little colour: they stay apart on terminals of 256 colours, too.
    {
        "base": "#0f1113",
        "zebra": "#15181a",
        "bar": "#23282d",
        "head": "#1a1e22",
        "cursor": "#2b4a6b",
        "cursor-idle": "#2c3238",
        "chaos": "#a3161f",
    },
    {"input": "#2c3238", "bar-1": "#2a3643", "bar-2": "#3d4f61", "bar-3": "#4f667d"},
)
_LIGHT = Theme(
    "light",
    {
        "text": "#24292f",
        "strong": "bold #0b0d10",
        "dim": "#626b74",
        "head": "#4a5560",
        "accent": "#0a58a8",
        "key": "#2f5877",
        "string": "#2b6a2f",
        "number": "#7a4b00",
        "ok": "#1f6f2f",
        "warn": "#7f5000",
        "error": "bold #b3121c",
        "alarm": "bold #ffffff",
    },
    {
        "base": "#fbfbfa",
        "zebra": "#f3f4f4",
        "bar": "#e2e6ea",
        "head": "#eaedf0",
        "cursor": "#bcdcff",
        "cursor-idle": "#dde3e9",
        "chaos": "#a3161f",
    },
    {"input": "#ffffff", "bar-1": "#c3ccd5", "bar-2": "#a3b0bd", "bar-3": "#8495a6"},
    dark=False,
)
_CONTRAST = Theme(
    "contrast",
    {
        "text": "#ffffff",
        "strong": "bold #ffffff",
        "dim": "#c8c8c8",
        "head": "#e0e0e0",
        "accent": "bold #6fe3ff",
        "key": "#c7e4ff",
        "string": "#b8ff9e",
        "number": "#ffe08a",
        "ok": "#7dff7d",
        "warn": "bold #ffe14a",
        "error": "bold #ff9a94",
        "alarm": "bold #ffffff",
    },
    {
        "base": "#000000",
        "zebra": "#000000",
        "bar": "#1c1c1c",
        "head": "#121212",
        "cursor": "#003a80",
        "cursor-idle": "#303030",
        "chaos": "#9a0000",
    },
    {"input": "#202020", "bar-1": "#5a5a5a", "bar-2": "#8a8a8a", "bar-3": "#c8c8c8"},
)
# Blue, yellow and orange stay apart for those who do not tell red from green.
_SAFE = Theme(
    "colourblind",
    {
        **_DARK.colours,
        "accent": "#e3b7dc",
        "string": "#9fc9e8",
        "number": "#e8d27a",
        "ok": "#62b8ec",
        "warn": "#f0e442",
        "error": "bold #ff9248",
    },
    {**_DARK.grounds, "cursor": "#3c4660", "chaos": "#8f3a00"},
    _DARK.edges,
)
_MONO = Theme(
    "mono",
    {
        **dict.fromkeys(_DARK.colours, ""),
        **dict.fromkeys(("strong", "accent", "warn"), "bold"),
        "error": "bold underline",
    },
    {**dict.fromkeys(_DARK.grounds, ""), "cursor": "reverse", "cursor-idle": "underline", "chaos": "reverse bold"},
    dict.fromkeys(_DARK.edges, ""),
    plain=True,
)
THEMES = {each.name: each for each in (_DARK, _LIGHT, _CONTRAST, _SAFE, _MONO)}


class _Worn:
    """The theme that is worn: a process draws on one terminal."""

    theme = _DARK


def theme() -> Theme:
    """What the program draws with."""
    return _Worn.theme


def wear(name: str) -> Theme:
    """Draw with another theme from now on; whoever calls this has everything drawn anew."""
    _Worn.theme = THEMES[name]
    return _Worn.theme
