"""``kick``: close connections."""

from __future__ import annotations

import msgspec

from liverpc.errors import AttachError
from liverpc.inspector.protocol import Kick
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.target import Target
from liverpc_devtools.core.text import clean
from liverpc_devtools.headless.output import emit, request

__all__ = ["kick"]


async def kick(target: Target, wish: Kick) -> None:
    """Close connections, and write how many.

    Raises:
        Refused: There are none, or not within this token's topics.
        AttachError: The token may not close connections.
    """
    async with await Attachment.open(target, "admin") as attachment:
        welcome = attachment.welcome
        if welcome.granted != "admin":
            raise AttachError("refused", clean("; ".join(welcome.denied)) or "this token may not close connections")
        number = attachment.session.new_id()
        done = await request(attachment, msgspec.structs.replace(wish, id=number), number)
        emit({"t": "kicked", "connection": wish.connection, "user": wish.user, "closed": done.closed})
