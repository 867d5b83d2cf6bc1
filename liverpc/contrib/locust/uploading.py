"""An upload of one greenlet, around :class:`~liverpc.client.uploads.Upload`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.event import Event

from liverpc.client.uploads import Uploads

__all__ = ["LiveUpload"]


class LiveUpload:
    """An upload whose bytes are sent piece by piece; made by ``LiveClient.begin_upload()``.

    Whoever made it sends all of it, the last piece marked, or cancels it.

    Attributes:
        upload: What became of it: ``sent`` (bytes), ``done``, ``outcome``.
    """

    def __init__(
        self,
        uploads: Uploads,
        path: str,
        args: list[Any],
        size: int | None,
        result_type: Any,
        flush: Callable[[], object],
    ) -> None:
        self._changed = Event()
        self._uploads = uploads
        self._result_type = result_type
        self._flush = flush
        self.upload = uploads.start(path, args, size=size, on_change=lambda _: self._changed.set())
        flush()  # it may have to wait for the server, which has a deadline

    def send(self, data: bytes | memoryview, *, last: bool = False) -> bool:
        """Send a piece; waits while the server does not take it.

        Returns:
            False: the upload has ended already, and nothing more is to be sent.
        """
        rest = memoryview(data)
        while rest or last:
            room = self._uploads.room(self.upload)
            while rest and room == 0 and not self.upload.done:
                self._wait()
                room = self._uploads.room(self.upload)
            if self.upload.done:
                break
            piece, rest = rest[:room], rest[room:]
            last_piece = last and not rest
            self._uploads.put(self.upload, piece, last=last_piece)
            self._flush()
            if last_piece:
                return True
        return not self.upload.done

    def result(self) -> Any:
        """Wait for the answer.

        Raises:
            RpcError: As of ``LiveClient.upload()``.
        """
        while not self.upload.done:
            self._wait()
        return self.upload.result(self._result_type)

    def cancel(self) -> None:
        """Give it up: it has ended with ``CANCELLED`` at once. Harmless when it has ended."""
        self._uploads.cancel(self.upload)
        self._flush()

    def _wait(self) -> None:
        self._changed.wait()
        self._changed.clear()
