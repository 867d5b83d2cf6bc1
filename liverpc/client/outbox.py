"""What a client will send, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from liverpc.client.calls import Batch, Call, Calls

__all__ = ["UNSENT_MAX", "Outbox"]

UNSENT_MAX = 4 << 20  # characters waiting for the socket; what is fired or answered beyond is dropped


class Outbox:
    """The frames of one connection that the socket has not taken yet.

    Not capped: each frame belongs to a call or stream that somebody holds, or was let in by
    :meth:`ClientCore.fire` or :meth:`Inbox.answer`, and a socket that takes none is lost before long.

    Attributes:
        unsent: Characters of all frames in it.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._items: deque[tuple[int, str | Call | Batch]] = deque()  # with their size when they came
        self.unsent = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        """Whether more waits than what nobody holds may add to."""
        return self.unsent > UNSENT_MAX

    def put(self, item: str | Call | Batch) -> None:
        if isinstance(item, str):
            size = len(item)
        elif isinstance(item, Call):
            size = len(item.text)
        else:
            size = sum(len(call.text) for call in item.calls)
        self._items.append((size, item))
        self.unsent += size

    def take(self) -> Iterator[str]:
        """The frames, each once. What has ended when the iterator reaches it is left out."""
        while self._items:
            size, item = self._items.popleft()
            self.unsent -= size
            if isinstance(item, Call):
                # Whoever asked first may be gone while another one waits for the same answer.
                call = self._calls.get(item.id)
                text = "" if call is None else call.text
            else:
                text = item if isinstance(item, str) else item.text()
            if text:
                yield text

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
