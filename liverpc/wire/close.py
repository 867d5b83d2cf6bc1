"""WebSocket close codes and what a client does about them (docs/protocol.md section 6)."""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["FIRST_APPLICATION_CODE", "FIRST_CLOSE_CODE", "Advice", "CloseCode", "advice", "of_status"]

FIRST_CLOSE_CODE = 1000  #: below it a refusal's number is an HTTP status
FIRST_APPLICATION_CODE = 4000  #: from here on codes mean what the application says


class CloseCode(IntEnum):
    """The close codes either side of liverpc sends, and two that stand for what was not sent."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005  #: the peer's goodbye had no code; never sent
    LOST = 1006  #: there was no goodbye; never sent
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_AGAIN_LATER = 1013
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    THROTTLED = 4429


class Advice(StrEnum):
    """How a client treats a lost connection."""

    RETRY = "RETRY"
    THROTTLE = "THROTTLE"  #: retry, but as if the fifth attempt had failed already
    TERMINAL = "TERMINAL"  #: never again


def advice(code: int) -> Advice:
    """What a client does after a close with ``code``."""
    if code in (CloseCode.POLICY, CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN):
        return Advice.TERMINAL
    if code == CloseCode.THROTTLED:
        return Advice.THROTTLE
    return Advice.RETRY


def of_status(status: int) -> int:
    """The close code under which a client reports a handshake refused with an HTTP ``status``.

    401, 403 and 429 become the codes of the same meaning; all others are retried.
    """
    return FIRST_APPLICATION_CODE + status
