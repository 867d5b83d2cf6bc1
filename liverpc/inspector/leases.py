"""What observers may do about faults: arm, renew and end them, and ask what one would strike."""

from __future__ import annotations

import logging
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.blast import blast
from liverpc.inspector.protocol import ChaosArm, ChaosClear, ChaosRenew, Err, Ok
from liverpc.inspector.protocol import frames as protocol
from liverpc.policies.faults import Fault, FaultRule, FaultRules

if TYPE_CHECKING:
    from liverpc.inspector.attach import Observer

__all__ = ["Leases"]

log = logging.getLogger("liverpc.inspector")

_OF_TOPICS = ("drop", "partition", "delay", "duplicate", "reorder", "loader")  # what a scoped token may do


class Leases:
    """The faults of one server, for one observer.

    A fault goes with its owner, unless it was detached. Whoever may see one may end it: stopping harm needs no
    permission. Each step is logged with the observer's name, its level and the beginning of the hash of its token.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    @property
    def _rules(self) -> FaultRules:
        return self._observer.inspector.source.faults

    def answer(self, frame: ChaosArm | ChaosRenew | ChaosClear) -> Ok | Err:
        """Carry out a request."""
        try:
            if isinstance(frame, ChaosClear):
                return self._clear(frame)
            observer = self._observer
            if not observer.may("chaos") or not observer.inspector.settings.chaos:
                raise ConfigError("injecting faults needs a chaos token and a server that allows it")
            return self._arm(frame) if isinstance(frame, ChaosArm) else self._renew(frame)
        except ConfigError as error:
            return Err(id=frame.id, text=str(error))

    def _clear(self, frame: ChaosClear) -> Ok:
        observer = self._observer
        if not observer.may("observe"):
            raise ConfigError("clearing faults needs level observe")
        gone = [rule for rule in self._rules.rules if frame.rule in (0, rule.number) and self._sees(rule)]
        if frame.rule and not gone:
            raise ConfigError(f"there is no fault {frame.rule}")
        for rule in gone:
            self._log("ended", rule)
            self._rules.clear(rule.number, by=observer.name)
        return Ok(id=frame.id)

    def _renew(self, frame: ChaosRenew) -> Ok:
        found = [rule for rule in self._rules.rules if rule.number == frame.rule and self._sees(rule)]
        _check_ttl(frame.ttl, detached=bool(found) and found[0].owner is None)
        if not found:
            raise ConfigError(f"there is no fault {frame.rule}")
        self._check_right(found[0].fault)
        self._rules.renew(frame.rule, frame.ttl)
        self._log("renewed", found[0])
        return Ok(id=frame.id, rule=frame.rule)

    def _arm(self, frame: ChaosArm) -> Ok:
        observer = self._observer
        _check_ttl(frame.ttl, detached=frame.detach)
        fault: Fault = msgspec.convert(frame.rule, Fault, from_attributes=True)
        if not fault.seed:
            fault = msgspec.structs.replace(fault, seed=secrets.token_hex(4))
        fault.check()
        self._check_right(fault)
        if frame.dry:
            return Ok(id=frame.id, blast=blast(fault, observer.view, observer.inspector.source, observer.inspector.tap))
        rule = self._rules.arm(
            fault, ttl=frame.ttl, owner=None if frame.detach else observer, by=observer.name or "an observer"
        )
        self._log("armed", rule)
        return Ok(id=frame.id, rule=rule.number)

    def _check_right(self, fault: Fault) -> None:
        """Whether the observer may strike like that."""
        if fault.action == "disconnect" and (fault.connection or fault.user) and not self._observer.may("admin"):
            raise ConfigError("disconnecting a chosen connection or user needs level admin")
        view = self._observer.view
        if not view.scoped:
            return
        if fault.action not in _OF_TOPICS or fault.connection or fault.user:
            raise ConfigError("this token is for topics: it may strike neither calls, connections nor users")
        if not view.covers(fault.topic):
            raise ConfigError(f"the topics {fault.topic!r} are outside this token's scope")

    def _sees(self, rule: FaultRule) -> bool:
        return self._observer.view.shows_fault(rule.fault)

    def _log(self, what: str, rule: FaultRule) -> None:
        observer = self._observer
        token = sha256(observer.token.secret.encode()).hexdigest()[:8]
        fault = str(rule.fault)
        if rule.fault.connection or rule.fault.user:
            fault += f" (connection {rule.fault.connection!r}, user {rule.fault.user!r})"
        log.warning(
            "%s (level %s, token %s) %s fault %d: %s", observer.name, observer.level, token, what, rule.number, fault
        )


def _check_ttl(ttl: float, *, detached: bool) -> None:
    longest = protocol.Limits.MAX_DETACHED_TTL if detached else protocol.Limits.MAX_TTL
    if not 0 < ttl <= longest:
        raise ConfigError(f"a fault lives between 0 and {longest:g} seconds, not {ttl:g}")
