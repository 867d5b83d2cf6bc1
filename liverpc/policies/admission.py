"""Who has to wait when the server is under pressure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from liverpc.errors import ConfigError, ErrorCode, LiveError
from liverpc.policies.pressure import Pressure, PressureGauge, PressureReason

__all__ = ["Admission", "AdmissionRule"]

AdmissionRule: TypeAlias = Sequence[PressureReason | str] | Callable[[Pressure], bool]
"""The reasons for which a class is refused, or a function that decides."""


class Admission:
    """The classes of service of one server and when each is refused. What was admitted stays.

    Args:
        gauge: Asked about the pressure, only while there are rules.
    """

    def __init__(self, gauge: PressureGauge) -> None:
        self._gauge = gauge
        self._rules: dict[str, Callable[[Pressure], bool]] = {}

    def configure(self, rules: Mapping[str, AdmissionRule] | None) -> None:
        """Replace all rules; None: nobody is refused.

        Raises:
            ConfigError: There is no such reason, or a rule is neither a list of reasons nor a function.
        """
        self._rules = {name: _rule(name, rule) for name, rule in (rules or {}).items()}

    def sheds(self, name: str) -> bool:
        """Whether somebody of a class is to be refused now; never without rules.

        Raises:
            LiveError: ``INVALID_REQUEST``: there are rules, but none for this class.
        """
        if not self._rules:
            return False
        rule = self._rules.get(name)
        if rule is None:
            known = ", ".join(self._rules)
            raise LiveError(ErrorCode.INVALID_REQUEST, f"there is no class of service {name!r}; there are {known}")
        return rule(self._gauge.read())


def _rule(name: str, rule: Any) -> Callable[[Pressure], bool]:
    if callable(rule):
        return cast("Callable[[Pressure], bool]", rule)
    if not isinstance(rule, list | tuple | set | frozenset):
        raise ConfigError(f"admission: {name!r} takes a list of reasons or a function of the pressure, not {rule!r}")
    reasons = {str(reason) for reason in rule}
    known = {str(reason) for reason in PressureReason if reason is not PressureReason.NONE}
    if unknown := reasons - known:
        raise ConfigError(f"admission: {name!r} names {sorted(unknown)[0]!r}; reasons are {', '.join(sorted(known))}")
    return lambda pressure: str(pressure.reason) in reasons
