"""WebSocket close codes and what a client does about them (docs/protocol.md section 6)."""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["Advice", "CloseCode", "advice"]


class CloseCode(IntEnum):
    """The close codes either side of liverpc sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
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
    """What a client does after a close with ``code``; 1006 stands for a connection lost without one."""
    if code in (CloseCode.POLICY, CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN):
        return Advice.TERMINAL
    if code == CloseCode.THROTTLED:
        return Advice.THROTTLE
    return Advice.RETRY
