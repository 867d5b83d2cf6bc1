"""A client's message, decoded as a session does it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from liverpc.wire.codec import decode_call_carefully
from liverpc.wire.control import decode_control
from liverpc.wire.frames import NO_BATCH


def decode_client_frame(payload: bytes, depth: int, text: bool = True) -> Any:
    frame = decode_call_carefully(payload, depth, text)
    return decode_control(payload, text) if frame.rpc is UNSET and frame.batch is NO_BATCH else frame
