"""Puts the faults in force where they strike, and takes them away again.

A server without faults has none of this in its way: ``hub.faults`` is None, connections have no gate, and calls run
as they were entered. All of that changes when a rule is armed, and back when the last one has ended.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, MutableMapping
from functools import partial
from math import inf
from typing import Any, Protocol, TypeAlias

from liverpc.hub.connection import Connection
from liverpc.hub.faults import Injected
from liverpc.hub.hub import Hub
from liverpc.policies.faults import FaultRule, FaultRules
from liverpc.policies.faults_breaker import Effects
from liverpc.policies.faults_gate import Gate
from liverpc.telemetry import Telemetry
from liverpc.wire.codec import decode_server_frame
from liverpc.wire.frames import EventFrame
from liverpc.wire.framing import payload_of

__all__ = ["Failing", "Injector"]

log = logging.getLogger("liverpc.faults")

_TICK = 0.25  # seconds between looks at the clock and at the effects, while a rule that can end is in force
_WARN_EVERY = 10.0
_NOT_CALLS = ("__open", "__close")  # without them a page has no contract, and nobody who tells it so

Runner: TypeAlias = Callable[..., None]
Refusal: TypeAlias = Callable[[Connection], Injected | None]


class Failing(Protocol):
    """How calls of a path are answered when something may refuse them first; None: nothing on it is a call."""

    def __call__(self, path: str, run: Runner, refusal: Refusal, /) -> Runner | None: ...


class Injector:
    """Carries out the faults of one server (``hub.faults.FaultGate``).

    Attributes:
        gates: Of connections that a rule targets, or a fault is closing.
    """

    def __init__(self, rules: FaultRules, hub: Hub, telemetry: Telemetry) -> None:
        self.gates: dict[Connection, Gate] = {}
        self._rules = rules
        self._hub = hub
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._running = False
        self._runners: MutableMapping[Any, Runner] = {}
        self._wrapped: dict[Any, Runner] = {}  # as they were entered
        self._failing: Failing = lambda path, run, refusal: None
        self._known: set[FaultRule] = set()  # that were put in force
        self._timers: dict[FaultRule, set[asyncio.TimerHandle]] = {}  # of disconnects that are spread
        self._stalled: dict[Connection, dict[FaultRule, asyncio.TimerHandle | None]] = {}
        self._handing_out = False  # receivers may not be exchanged
        self._befell = ("", "")  # topic, and name of a rule
        self._read = (b"", "")  # the frame that was looked into last, and the name of its event
        self._effects = Effects(self._counters)
        self._tick: asyncio.TimerHandle | None = None
        self._warned_at = 0.0

    # -- life

    def open(self, runners: MutableMapping[Any, Runner], failing: Failing) -> None:
        """The server runs; what answers on its paths."""
        self._runners = runners
        self._failing = failing
        self._running = True
        self.changed()

    def close(self) -> None:
        """It does not any more."""
        self._rules.clear()
        self._sync()
        self._running = False
        self._runners = {}

    def changed(self) -> None:
        """The rules are others now."""
        if self._handing_out:
            asyncio.get_running_loop().call_soon(self.changed, context=contextvars.Context())
            return
        self._read = (b"", "")
        self._hub.faults = self if self._rules.rules else None
        if self._running:
            self._sync()

    def _sync(self) -> None:
        rules = set(self._rules.rules)
        if rules == self._known:  # one may live longer now
            self._keep_time()
            return
        for rule in self._known - rules:
            for timer in self._timers.pop(rule, ()):
                timer.cancel()
            for connection in [each for each, by in self._stalled.items() if rule in by]:
                self._flow(rule, connection)
        new = [rule for rule in self._rules.rules if rule not in self._known]
        if new:
            self._effects.begin(len(self._hub.connections))
            self._warned_at = asyncio.get_running_loop().time()
        self._known = rules
        self._set_gates()
        self._wrap_calls()
        for rule in new:
            if rule.fault.place == "connection":
                self._strike_connections(rule)
        self._keep_time()

    # -- hub.faults.FaultGate

    @property
    def active(self) -> int:
        return len(self._rules.rules)

    @property
    def singly(self) -> bool:
        return bool(self.gates)

    def drops(self, topic: str, event: str) -> str:
        self.arrived()
        return self._rules.drops(topic, event)

    def arrived(self) -> None:
        self._befell = ("", "")

    def struck(self, topic: str) -> str:
        where, name = self._befell
        return name if where == topic else ""

    def load(self, topic: str, path: str, connection: Connection) -> None:
        rules = [rule for rule in self._rules.at("load") if rule.on(topic) and rule.of(path)]
        self._raise(rules, connection)

    def call(self, path: str, connection: Connection) -> None:
        self._raise([rule for rule in self._rules.at("call") if rule.of(path)], connection)

    def opened(self, connection: Connection) -> None:
        self._set_gate(connection, self._rules.at("delivery"))
        for rule in self._rules.at("connection"):
            if rule.fault.action == "stall" and rule.fault.topic == "*" and rule.targets(connection):
                self._later(0, partial(self._strike_connection, rule, connection))  # its handshake leaves before

    def _raise(self, rules: list[FaultRule], connection: Connection) -> None:
        struck = self._rules.strike(rule for rule in rules if rule.targets(connection))
        if struck is not None:
            rule = struck[0]
            error = Injected(rule.fault.error_code, "this is a fault injected on purpose")
            error.fault = rule.name
            self._effects.expected_errors += 1
            raise error

    # -- gates

    def _set_gates(self) -> None:
        rules = self._rules.at("delivery")
        for connection in list(self._hub.connections.values() if rules else self.gates):
            self._set_gate(connection, rules)

    def _set_gate(self, connection: Connection, rules: list[FaultRule]) -> None:
        targeting = [rule for rule in rules if rule.targets(connection)]
        gate = self.gates.get(connection)
        if gate is None:
            if not targeting:
                return
            gate = self._gate(connection)
        gate.set(targeting)
        if not (targeting or gate.closing or connection in self._stalled):
            del self.gates[connection]
            connection.gate = None

    def _gate(self, connection: Connection) -> Gate:
        limits = self._hub.limits
        gate = Gate(self, connection, limits.outbox_bytes, limits.outbox_frames)
        self.gates[connection] = connection.gate = gate
        return gate

    # -- what gates ask

    def decide(self, matching: list[FaultRule], topic: str) -> tuple[FaultRule, float] | None:
        """See :class:`.faults_gate.Gatekeeping`."""
        self._handing_out = True
        try:
            struck = self._rules.strike(matching)
        finally:
            self._handing_out = False
        if struck is not None:
            self._befell = (topic, struck[0].name)
        return struck

    def event_of(self, frame: bytes) -> str:
        """See :class:`.faults_gate.Gatekeeping`."""
        if frame is not self._read[0]:
            told = decode_server_frame(payload_of(frame))
            self._read = frame, told.event if isinstance(told, EventFrame) else ""
        return self._read[1]

    def lost(self) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        self._counters.fault_losses += 1

    def hurried(self) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        self._counters.fault_hurried += 1

    def released(self, rule: FaultRule) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        rule.lasting -= 1
        if rule.exhausted and not rule.lasting:
            asyncio.get_running_loop().call_soon(self._rules.settle, rule, context=contextvars.Context())

    def cut(self, rule: FaultRule, connection: Connection) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        asyncio.get_running_loop().call_soon(self._close, rule, connection, context=contextvars.Context())

    def forget(self, gate: Gate) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        self.gates.pop(gate.connection, None)
        for rule, timer in self._stalled.pop(gate.connection, {}).items():
            self.released(rule)
            if timer is not None:
                timer.cancel()

    def _close(self, rule: FaultRule, connection: Connection) -> None:
        if connection.closed:
            return
        gate = self.gates.get(connection) or self._gate(connection)
        gate.closing = rule.name
        self._effects.expected_closes += 1
        connection.close(rule.fault.close_code, "fault")

    # -- whole connections

    def _strike_connections(self, rule: FaultRule) -> None:
        for connection in list(self._hub.connections.values()):
            if rule.over or rule.exhausted:
                break
            if not connection.closed and rule.targets(connection) and rule.listens(connection):
                self._strike_connection(rule, connection)
        if rule.fault.action == "disconnect":
            self._end_when_done(rule)

    def _strike_connection(self, rule: FaultRule, connection: Connection) -> None:
        if rule.fault.action == "stall":
            if self._rules.strike([rule]) is not None:
                self.stall(rule, connection)
            return
        drawn = rule.draw()
        if drawn is not None:
            handles = self._timers.setdefault(rule, set())
            handle: asyncio.TimerHandle

            def close() -> None:
                handles.discard(handle)
                self._close(rule, connection)
                self._end_when_done(rule)

            handle = self._later(drawn * rule.fault.seconds, close)
            handles.add(handle)

    def _end_when_done(self, rule: FaultRule) -> None:
        if not self._timers.get(rule):
            self._rules.end(rule, f"{rule.hits} connections closed")

    def stall(self, rule: FaultRule, connection: Connection) -> None:
        """See :class:`.faults_gate.Gatekeeping`."""
        rule.lasting += 1
        if connection.closed or rule in self._stalled.get(connection, ()):
            self.released(rule)
        else:
            by = self._stalled.setdefault(connection, {})
            if connection not in self.gates:
                self._gate(connection)  # it tells when the connection is closed
            connection.link.stall()
            self._effects.expected_closes += 1  # who reads nothing may be closed for it
            seconds = rule.fault.seconds
            by[rule] = self._later(seconds, partial(self._flow, rule, connection)) if seconds else None

    def _flow(self, rule: FaultRule, connection: Connection) -> None:
        by = self._stalled.get(connection, {})
        if rule in by:
            timer = by.pop(rule)
            self.released(rule)
            if timer is not None:
                timer.cancel()
        if not by and self._stalled.pop(connection, None) is not None:
            connection.link.unstall()
            self._set_gate(connection, self._rules.at("delivery"))

    def _later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback, context=contextvars.Context())

    # -- calls

    def _wrap_calls(self) -> None:
        rules = self._rules.at("call")
        wanted = {path for path in self._runners if any(rule.of(path) for rule in rules)}
        for path in self._wrapped.keys() - wanted:
            self._runners[path] = self._wrapped.pop(path)
        for path in wanted - self._wrapped.keys():
            if not path.endswith(_NOT_CALLS):
                run = self._runners[path]
                failing = self._failing(path, run, partial(self._refusal, path))
                if failing is not None:
                    self._wrapped[path] = run
                    self._runners[path] = failing

    def _refusal(self, path: str, connection: Connection) -> Injected | None:
        try:
            self.call(path, connection)
        except Injected as error:
            return error
        return None

    # -- time, and the circuit breaker

    def _keep_time(self) -> None:
        """A test's own rules never end by themselves: no timer for them."""
        ends = any(rule.expires_at < inf for rule in self._rules.rules)
        if not ends and self._tick is not None:
            self._tick.cancel()
            self._tick = None
        elif ends and self._tick is None:
            due = asyncio.get_running_loop().time() + _TICK
            self._tick = self._later(_TICK, partial(self._look, due))

    def _look(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        self._tick = None
        self._rules.expire()
        trouble = self._effects.trouble(late=now - due)
        if trouble and self._rules.rules:
            self._rules.clear(by=f"the circuit breaker: {trouble}")
        self._keep_time()
        if self._rules.rules and now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            self._effects.begin(len(self._hub.connections))
            told = "; ".join(f"{rule.number} by {rule.by or 'a test'}: {rule.fault}" for rule in self._rules.rules)
            log.warning("faults in force: %s", told)
