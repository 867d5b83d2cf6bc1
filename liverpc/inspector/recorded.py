"""A finished call as it is recorded: redacted, within bounds."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent
from liverpc.inspector.protocol.frames import CARRIERS, Limits
from liverpc.inspector.redact import REDACTED, Redactor
from liverpc.telemetry import CallFinished

__all__ = ["call_event", "carries"]

_MAX_PUBLISHED = 20  # topics of a call
_decode = msgspec.json.Decoder().decode


def call_event(event: CallFinished, at: float, redactor: Redactor, *, payload: bool = True) -> CallEvent:
    """The event that observers get.

    Args:
        event: What happened.
        at: When; loop time.
        redactor: Makes copies of arguments and result.
        payload: Whether there are to be any.
    """
    return CallEvent(
        at=at,
        path=event.path,
        connection=event.connection,
        ms=round(event.seconds * 1000, 3),
        ok=event.code is None,
        call=(event.call or "")[: Limits.MAX_CALL_ID],
        user=event.user or "",
        code=event.code or "",
        stream=event.kind == "stream",
        args=_arguments(event, redactor) if payload else msgspec.UNSET,
        result=_result(event, redactor) if payload else msgspec.UNSET,
        published=list(islice(dict.fromkeys(event.published), _MAX_PUBLISHED)),
        carries=carries(event),
        received=event.received,
        id=event.id,
        steps=_steps(event),
        fault=event.fault,
    )


def carries(event: CallFinished) -> str:
    """What a call brought besides its arguments; see :attr:`CallEvent.carries`."""
    return event.kind if event.kind in CARRIERS else ""


def _result(event: CallFinished, redactor: Redactor) -> Any:
    """The result, or the message and which argument was wrong how; messages may quote a value, so secret ones go."""
    if not event.issues:
        return redactor(event.result)
    issues: list[str] = []
    for issue in event.issues:
        secret = any(step.lower() in redactor.keys for step in issue.path)
        issues.append(f"{'.'.join(issue.path)}: {REDACTED if secret else issue.message}")
    return redactor({"message": event.result, "issues": issues})


def _arguments(event: CallFinished, redactor: Redactor) -> Any:
    """Arguments by parameter name, so that ``login(email, password)`` is covered by the keys."""
    try:
        values = _decode(event.args)
    except (msgspec.MsgspecError, RecursionError):
        values = None
    if not isinstance(values, list):
        return "[no argument list]"
    copy = redactor(dict(zip(event.parameters, values, strict=False)))
    if (surplus := len(values) - len(event.parameters)) > 0:
        # Values without a name cannot be judged; only how many there were is kept.
        copy["…"] = f"[{surplus} arguments without a name]"
    return copy


def _steps(event: CallFinished) -> list[tuple[str, float, float]]:
    """Name, begin and length of each step in ms; the first one begins with the call."""
    if not event.marks:
        return []
    steps: list[tuple[str, float, float]] = []
    name, first = event.marks[0]
    begin = 0
    for following, at in event.marks[1:]:
        end = int((at - first) * 1e6)  # microseconds; round() takes many times as long
        steps.append((name, begin / 1000, (end - begin) / 1000))
        name, begin = following, end
    steps.append((name, begin / 1000, max(0, int(event.seconds * 1e6) - begin) / 1000))
    return steps
