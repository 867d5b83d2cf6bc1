"""What a client sends that is no call: control frames, and JSON that is not ours (docs/protocol.md section 2)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from liverpc.wire.codec import UNREADABLE, Ignored, json_depth_exceeds
from liverpc.wire.frames import CONTROL_MAX_BYTES, ControlFrame

__all__ = ["decode_control", "decode_object"]

_decode_control = msgspec.json.Decoder(ControlFrame).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def decode_control(payload: bytes, text: bool) -> ControlFrame:
    """The control frame in ``payload``.

    Raises:
        Ignored: It is none.
    """
    try:
        frame = _decode_control(payload)
    except UNREADABLE:
        raise Ignored("malformed") from None
    if frame.type is UNSET or not text or len(payload) > CONTROL_MAX_BYTES:
        raise Ignored("not_ours")
    return frame


def decode_object(payload: bytes, depth: int) -> dict[str, Any] | None:
    """Any JSON object, whoever it is for; None for what is none or nests too deep."""
    if json_depth_exceeds(payload, depth):
        return None
    try:
        return _decode_object(payload)
    except UNREADABLE:
        return None
