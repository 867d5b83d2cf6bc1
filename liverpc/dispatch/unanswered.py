"""Why nothing answers: what frames get that are for no path, or of the wrong kind for theirs."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from liverpc.declare.registry import Entry
from liverpc.errors import ErrorCode, LiveError
from liverpc.rooms.catalogue import is_of_contract
from liverpc.rooms.membership import not_there
from liverpc.wire.frames import BATCH_MAX, CallFrame
from liverpc.wire.names import is_path

__all__ = ["DEEP", "TOO_MANY", "nothing_there", "wrong_kind"]

_HOW = {
    "rpc": "is a function; call it",
    "stream": "is a stream; subscribe to it",
    "channel": "is a stream; subscribe to it",
    "binary": "is for binary calls: one message with all of the data",
    "upload": "is for uploads: data in chunks",
}
DEEP: Final = "the arguments nest too deep; flatten them"
TOO_MANY: Final = LiveError(
    ErrorCode.INVALID_REQUEST, f"a batch has at most {BATCH_MAX} calls, this one more; send several batches"
)


def wrong_kind(entry: Entry) -> LiveError:
    """What a message gets of another kind than its path is for."""
    return LiveError(ErrorCode.INVALID_REQUEST, f"{entry.path} {_HOW[entry.kind]}")


def nothing_there(frame: CallFrame) -> LiveError:
    """What a call gets whose path nobody answers on, or of a contract that is not open."""
    path = frame.rpc
    if path is UNSET:
        return LiveError(ErrorCode.INVALID_REQUEST, "in a batch, every call needs a path and an id, both strings")
    if not is_path(path):
        text = "a path is two or more parts of letters, digits, _ and -, joined by /"
        return LiveError(ErrorCode.INVALID_REQUEST, text)
    if bytes(frame.args)[:1] != b"[":
        return LiveError(ErrorCode.INVALID_REQUEST, "args must be a list of JSON values in UTF-8")
    if is_of_contract(path):
        return not_there()
    return LiveError(ErrorCode.NOT_FOUND, f"nothing answers on {path!r}")
