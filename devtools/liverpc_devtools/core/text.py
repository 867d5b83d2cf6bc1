"""Text for one line of a terminal: untrusted text made harmless, figures made readable.

Topics, event names and payloads were chosen by whoever talks to the server. Nothing of them may reach the
terminal before it went through :func:`clean`.
"""

from __future__ import annotations

import time

__all__ = ["age", "clean", "clock", "count", "date", "duration", "ms", "ordinal", "rate", "size"]


_LONGEST = 1e12  # seconds, also of what is told to last for ever


def clean(text: str) -> str:
    r"""``text`` without anything a terminal acts upon, in one line.

    Control characters (C0, C1, escape), bidirectional and other invisible formatting, line separators,
    lone surrogates and unassigned code points become visible escapes such as ``\x1b`` or ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def count(number: int) -> str:
    """``1,204``."""
    return f"{number:,}"


def ordinal(number: int) -> str:
    """Which event it was: ``1,204``; of the long numbers of topics with replay the last digits, ``…204,017``."""
    return count(number) if number < 1_000_000 else f"…{number % 1_000_000 // 1000:03},{number % 1000:03}"


def rate(per_second: float) -> str:
    """A rate in at most five cells: ``0``, ``0.3``, ``48.0``, ``1,204``, ``10.6k``, ``3.1M``."""
    if per_second < 0.05:
        return "0"
    if per_second < 100:
        return f"{per_second:.1f}"
    if per_second < 9_999.5:
        return f"{per_second:,.0f}"
    if per_second < 999_950:
        return f"{per_second / 1e3:.1f}k" if per_second < 99_950 else f"{per_second / 1e3:.0f}k"
    return f"{per_second / 1e6:.1f}M"


def size(number: int) -> str:
    """Bytes in at most seven cells: ``212 B``, ``1.2 KB``, ``3.4 MB``."""
    if number < 1000:
        return f"{number} B"
    amount = float(number)
    for unit in ("KB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"
    return f"{amount / 1000:.1f} TB"


def age(seconds: float) -> str:
    """How long ago, in at most five cells: ``0.2s``, ``41s``, ``3m12s``, ``2h05m``, ``3d02h``."""
    seconds = min(max(0.0, seconds), _LONGEST)  # 0.0 first: what is no number becomes it
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def duration(seconds: float) -> str:
    """Time left: ``0:41``, ``12:03``."""
    whole = int(min(max(0.0, seconds + 0.999), _LONGEST))
    return f"{whole // 60}:{whole % 60:02}"


def ms(milliseconds: float) -> str:
    """A duration in at most seven cells: ``0.42ms``, ``14.0ms``, ``812ms``, ``1.42s``."""
    if milliseconds < 10:
        return f"{milliseconds:.2f}ms"
    if milliseconds < 100:
        return f"{milliseconds:.1f}ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    return f"{milliseconds / 1000:.2f}s" if milliseconds < 100_000 else age(milliseconds / 1000)


def clock(wall: float, *, millis: bool = True) -> str:
    """Local time of day, ``12:04:31.204``; dashes for a time no calendar has."""
    if not (text := date(wall, "%H:%M:%S")):
        return "--:--:--.---" if millis else "--:--:--"
    return f"{text}.{min(int(wall % 1 * 1000), 999):03}" if millis else text


def date(wall: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Local date and time; empty for a time no calendar has."""
    try:
        return time.strftime(form, time.localtime(wall))
    except (OverflowError, ValueError, OSError):
        return ""
