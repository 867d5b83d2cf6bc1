"""What the commands without a screen share: how they write, and how they ask a server for something.

Standard output is data only, one JSON object a line, ASCII only; narration goes to standard error. The output
is the same whether or not a person looks at it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from liverpc.inspector.protocol import ClientFrame, Err, Ok, Welcome
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.text import clean

__all__ = ["Refused", "emit", "narrate", "request", "tell"]


class Refused(Exception):
    """The server was reached and would not do what was asked."""


def emit(record: dict[str, Any]) -> None:
    """Write one record to standard output."""
    # ASCII only: what was put into topics and payloads cannot act on a terminal.
    sys.stdout.write(json.dumps(record, default=msgspec.to_builtins) + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Tell people what happens."""
    sys.stderr.write(f"liverpc-tui: {clean(text)}\n")
    sys.stderr.flush()


def tell(welcome: Welcome) -> None:
    """Tell people what was wanted and not granted."""
    for each in welcome.denied:
        narrate(each)


async def request(attachment: Attachment, frame: ClientFrame, number: int) -> Ok:
    """Send a frame and wait for its answer.

    Args:
        attachment: The session.
        frame: A request.
        number: Its id.

    Raises:
        Refused: The server would not.
    """
    attachment.send(frame)
    while True:
        answer = await attachment.receive()
        if isinstance(answer, Ok) and answer.id == number:
            return answer
        if isinstance(answer, Err) and answer.id == number:
            raise Refused(clean(answer.text))
