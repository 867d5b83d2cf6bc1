"""``chaos``: put faults in force, list and remove them."""

from __future__ import annotations

import asyncio

import msgspec

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import (
    Blast,
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    ServerFrame,
    State,
)
from liverpc_devtools.core import fault_words, records
from liverpc_devtools.core.attach import Attachment, Want
from liverpc_devtools.core.target import Target
from liverpc_devtools.core.text import clean
from liverpc_devtools.headless.output import Refused, emit, narrate, request

__all__ = ["chaos_clear", "chaos_dry", "chaos_list", "chaos_renew", "chaos_set"]

_CLEAR_SECONDS = 2.0


async def chaos_list(target: Target) -> None:
    """Write the faults in force, one a line; nothing when there are none."""
    async with await Attachment.open(target, "observe") as attachment:
        async for frame in attachment:
            if isinstance(frame, State):
                for rule in frame.chaos:
                    emit({"t": "rule", **records.rule(rule)})
                return


async def chaos_clear(target: Target, rule: int = 0) -> None:
    """Remove one fault, or every fault with 0.

    Raises:
        Refused: There is no such fault.
    """
    async with await Attachment.open(target, "observe") as attachment:
        number = attachment.session.new_id()
        await request(attachment, ChaosClear(id=number, rule=rule), number)
        emit({"t": "cleared", "rule": rule} if rule else {"t": "cleared"})


async def chaos_renew(target: Target, rule: int, ttl: float) -> None:
    """Let a fault live ``ttl`` seconds from now.

    Raises:
        Refused: There is no such fault, or the server lets nobody inject any.
        AttachError: The token may not inject faults.
    """
    async with await Attachment.open(target, "chaos") as attachment:
        _may_arm(attachment)
        number = attachment.session.new_id()
        await request(attachment, ChaosRenew(id=number, rule=rule, ttl=ttl), number)
        emit({"t": "renewed", "rule": rule, "ttl": ttl})


async def chaos_dry(target: Target, rule: ChaosRule, ttl: float) -> None:
    """Write what a fault would strike, and arm nothing.

    Raises:
        Refused: The server would refuse it.
        AttachError: The token may not inject faults.
    """
    async with await Attachment.open(target, _level(rule)) as attachment:
        _may_arm(attachment)
        blast = await _blast(attachment, rule, ttl)
        emit({"t": "preview", **msgspec.structs.asdict(blast), "sweeping": fault_words.sweeping(rule, blast)})


async def chaos_set(target: Target, rule: ChaosRule, *, ttl: float, detach: bool, sure: bool = False) -> None:
    """Put a fault in force and stay until it ended; when cancelled, remove it first.

    With ``detach`` return at once; the server ends the fault after ``ttl`` seconds.

    Args:
        target: The server.
        rule: The wish.
        ttl: Seconds it lives.
        detach: It outlives this command.
        sure: Arm it, too, if it would strike most of the connections, or everything.

    Raises:
        Refused: The server lets nobody inject faults, or not this one.
        AttachError: The token may not inject faults.
        ConfigError: It is sweeping, and nobody is sure.
    """
    async with await Attachment.open(target, _level(rule)) as attachment:
        _may_arm(attachment)
        if not sure:
            blast = await _blast(attachment, rule, ttl)
            if why := fault_words.sweeping(rule, blast):
                told = "; ".join(fault_words.blast_lines(rule, blast))
                raise ConfigError(f"{why}; nothing was armed, --yes arms it. It {told}")
        number = attachment.session.new_id()
        armed = await request(attachment, ChaosArm(id=number, rule=rule, ttl=ttl, detach=detach), number)
        wish = {name: getattr(rule, name) for name in ("action", "topic", "rate")}
        emit({"t": "armed", "rule": armed.rule, **wish, "ttl": ttl, "detach": detach})
        if detach:
            narrate(f"rule {armed.rule} stays for {ttl:g} s; `liverpc-tui chaos URL clear` removes it")
            return
        narrate(f"rule {armed.rule} is in force for at most {ttl:g} s; Ctrl-C removes it")
        last = rule
        try:
            async for frame in attachment:
                rules = _rules(frame)
                if rules is None:
                    continue
                over = frame.ended if isinstance(frame, ChaosChanged) else []
                last = next((each for each in (*rules, *over) if each.id == armed.rule), last)
                if all(each.id != armed.rule for each in rules):
                    break
        except asyncio.CancelledError:
            await _remove(attachment, armed.rule)
            _ended(armed.rule, last, "removed")
            raise
        _ended(armed.rule, last, "ended")


def _level(rule: ChaosRule) -> Want:
    # To close what somebody picked takes more than to let chance close something.
    return "admin" if rule.action == "disconnect" and (rule.connection or rule.user) else "chaos"


def _may_arm(attachment: Attachment) -> None:
    welcome = attachment.welcome
    why = clean("; ".join(welcome.denied))
    if not welcome.chaos:
        raise Refused(why or "this server lets nobody inject faults")
    if welcome.granted not in ("chaos", "admin"):
        raise AttachError("refused", why or "this token may not inject faults")


async def _blast(attachment: Attachment, rule: ChaosRule, ttl: float) -> Blast:
    number = attachment.session.new_id()
    done = await request(attachment, ChaosArm(id=number, rule=rule, ttl=ttl, dry=True), number)
    if done.blast is None:
        raise Refused("the server did not tell what it would strike")
    return done.blast


async def _remove(attachment: Attachment, rule: int) -> None:
    number = attachment.session.new_id()
    try:
        async with asyncio.timeout(_CLEAR_SECONDS):
            await request(attachment, ChaosClear(id=number, rule=rule), number)
    except (TimeoutError, AttachError, Refused):
        narrate(f"rule {rule} could not be removed; the server ends it when it misses our pings")


def _rules(frame: ServerFrame) -> list[ChaosRule] | None:
    if isinstance(frame, ChaosChanged):
        return frame.active
    return frame.chaos if isinstance(frame, State) else None


def _ended(number: int, rule: ChaosRule, how: str) -> None:
    emit({"t": how, "rule": number, "hits": rule.hits, "seen": rule.seen, "seed": rule.seed})
