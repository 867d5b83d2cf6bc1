"""What a client will send, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from liverpc.client.calls import Batch, Call, Calls
from liverpc.client.uploads import Uploads
from liverpc.errors import ErrorCode, RpcError

__all__ = ["UNSENT_MAX", "Outbox"]

UNSENT_MAX = 4 << 20  # characters waiting for the socket; what is fired or answered beyond is dropped


class Outbox:
    """The messages of one connection that the socket has not taken yet; those of uploads wait behind all others.

    Not capped: each frame belongs to a call or stream that somebody holds, or was let in by
    :meth:`ClientCore.fire` or :meth:`Inbox.answer`, and a socket that takes none is lost before long.

    Attributes:
        unsent: Characters of all frames in it, those of uploads left out; bytes of binary calls.
    """

    def __init__(self, calls: Calls, uploads: Uploads) -> None:
        self._calls = calls
        self._uploads = uploads
        self._items: deque[tuple[int, str | Call | Batch]] = deque()  # with their size when they came
        self.unsent = 0

    def __bool__(self) -> bool:
        return bool(self._items) or self._uploads.has_messages

    @property
    def full(self) -> bool:
        """Whether more waits than what nobody holds may add to."""
        return self.unsent > UNSENT_MAX

    def put(self, item: str | Call | Batch) -> None:
        """Send it; a call with more bytes than the server is known to take ends with ``PAYLOAD_TOO_LARGE`` instead."""
        if isinstance(item, str):
            size = len(item)
        elif isinstance(item, Call):
            size = len(item.frame)
            if self._too_large(item):
                return
        else:
            size = sum(len(call.frame) for call in item.calls)
        self._items.append((size, item))
        self.unsent += size

    def take(self) -> Iterator[str | bytes]:
        """The messages, each once. What has ended when the iterator reaches it is left out."""
        while True:
            while self._items:
                size, item = self._items.popleft()
                self.unsent -= size
                if isinstance(item, Call):
                    # Whoever asked first may be gone while another one waits for the same answer.
                    call = self._calls.get(item.id)
                    frame = "" if call is None else call.frame
                else:
                    frame = item if isinstance(item, str) else item.text()
                if frame:
                    yield frame
            if not (chunk := self._uploads.take()):
                return
            yield chunk

    def check_sizes(self) -> None:
        """The same for what is in it, when it has become known what the server takes."""
        for _, item in tuple(self._items):
            if isinstance(item, Call):
                self._too_large(item)

    def _too_large(self, call: Call) -> bool:
        """Whether a call has more bytes than the server takes; it has ended then."""
        most, size = self._uploads.announced, len(call.frame)
        if most is None or size <= most or isinstance(call.frame, str):
            return False
        why = f"{call.path}: the message has {size} bytes, and the server takes {most}"
        self._calls.answer(call, RpcError(ErrorCode.PAYLOAD_TOO_LARGE, why))
        return True

    def requests(self) -> list[str]:
        """The ids of the calls in it, in order."""
        calls: list[str] = []
        for _, item in self._items:
            if not isinstance(item, str):
                calls += [call.id for call in (item.calls if isinstance(item, Batch) else (item,))]
        return calls

    def clear(self) -> None:
        self._items.clear()
        self.unsent = 0
