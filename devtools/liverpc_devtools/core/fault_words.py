"""Faults told to people: in a few words, as a command, and what they would strike. Untrusted text comes out clean."""

from __future__ import annotations

import shlex

from liverpc.inspector.protocol import Blast, ChaosRule
from liverpc_devtools.core.faults import ACTIONS, percent, period, texts
from liverpc_devtools.core.text import clean, count

__all__ = ["blast_lines", "command", "effect", "sweeping", "target"]


def command(rule: ChaosRule, ttl: float, url: str = "URL") -> str:
    """The command that puts ``rule`` in force."""
    given = texts(rule) if rule.action in ACTIONS else {}
    words = ["liverpc-tui", "chaos", url, "set", rule.action]
    if "rate" in given:
        words.append(given.pop("rate"))
    for name, text in given.items():
        words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
    return clean(shlex.join([*words, "--for", period(ttl)]))


def effect(rule: ChaosRule) -> str:
    """What it does and how often: ``drop 20%``, ``delay 300ms+-200ms``; untrusted text is clean."""
    fields = ACTIONS[rule.action].fields if rule.action in ACTIONS else frozenset(("rate",))
    words = [clean(rule.action)]
    if "seconds" in fields and rule.seconds:
        spread = f"+-{period(rule.jitter)}" if "jitter" in fields and rule.jitter else ""
        over = "over " if rule.action == "disconnect" else ""
        words.append(f"{over}{period(rule.seconds)}{spread}")
    if "copies" in fields and rule.copies != 1:
        words.append(f"{rule.copies} copies")
    if "code" in fields and rule.code:
        words.append(clean(rule.code))
    if "rate" in fields and (rule.rate < 1 or rule.action == "drop"):
        words.append(percent(rule.rate))
    return " ".join(words)


def target(rule: ChaosRule) -> str:
    """Whom it strikes: ``topic board:*``, ``path chat/* share 10%``; untrusted text is clean."""
    fields = ACTIONS[rule.action].fields if rule.action in ACTIONS else frozenset(("topic",))
    words = [f"{name} {clean(getattr(rule, name))}" for name in ("topic", "path") if name in fields]
    if len(words) > 1:  # only what narrows it
        words = [each for each in words if not each.endswith(" *")] or words[:1]
    if "event" in fields and rule.event != "*":
        words.append(f"event {clean(rule.event)}")
    if rule.connection:
        words.append(f"conn {clean(rule.connection)}")
    if rule.user:
        words.append(f"user {clean(rule.user)}")
    if rule.share < 1:
        words.append(f"share {percent(rule.share)}")
    return " ".join(words) or "all connections"


def sweeping(rule: ChaosRule, blast: Blast | None = None) -> str:
    """Why it is not armed without asking again, or nothing.

    Args:
        rule: The wish.
        blast: What it would have struck, if that is known.
    """
    if blast is not None and blast.wide and blast.connections > 1:
        return f"it concerns {count(blast.connections)} of {count(blast.of_connections)} connections"
    if rule.connection or rule.user or rule.share < 1:
        return ""
    fields = ACTIONS[rule.action].fields
    named = [name for name in ("topic", "path") if name in fields]
    if all(getattr(rule, name).strip("*") == "" for name in named):
        what = " and ".join(named) if ACTIONS[rule.action].aim else "connection"
        return f"it concerns every {what}"
    return ""


def blast_lines(rule: ChaosRule, blast: Blast) -> list[str]:
    """The preview of the blast radius as sentences."""
    lines = []
    fields = ACTIONS[rule.action].fields
    if "path" in fields and "event" not in fields:
        lines.append(f"would have met {count(blast.calls)} of the last {count(blast.of_calls)} calls")
    elif "topic" in fields:
        lines.append(f"would have met {count(blast.publishes)} of the last {count(blast.of_publishes)} publishes")
    where = f"{count(blast.connections)} of {count(blast.of_connections)} connections"
    if "topic" in fields:
        where = f"{count(blast.topics)} of {count(blast.of_topics)} topics, {where}"
    return [*lines, f"now: {where}"]
