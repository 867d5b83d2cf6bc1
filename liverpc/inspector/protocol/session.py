"""A devtools client's half of the conversation, without I/O.

Feed it what arrived with :meth:`AttachSession.receive`; send what :meth:`AttachSession.outgoing` returns;
call :meth:`AttachSession.tick` at least every two seconds. The terminal program, the headless commands and
the load tests are loops around these three calls.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from liverpc.config import Level
from liverpc.errors import AttachError
from liverpc.inspector.protocol import frames as f

_KINDS = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (f.Welcome, f.State, f.Events, f.Rooms, f.Got, f.Ok, f.Err, f.ChaosChanged, f.Note, f.Pong, f.Bye)
)
_REASONS = {"VERSION": "version", "REVOKED": "refused"}  # why a session ended; otherwise it may be tried again
_decode = msgspec.json.Decoder(f.ServerFrame).decode
_encode = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct):
    t: str = ""


_kind = msgspec.json.Decoder(_Kind).decode


class AttachSession:
    """Client state of one attach connection.

    Attributes:
        welcome: What the server said about itself; None before it did.
        rtt: Seconds of the fastest ping so far; None before the first answer.
        offset: Add it to our monotonic time to get the server's.
    """

    def __init__(
        self, *, client: str, want: Level, monotonic: Callable[[], float], budget: f.Budget | None = None
    ) -> None:
        self.welcome: f.Welcome | None = None
        self.rtt: float | None = None
        self.offset = 0.0
        self._monotonic = monotonic
        self._rev: int | None = None  # of the last state; None while a full one is awaited
        self._partial = False  # between the parts of a full state
        self._next_id = 0
        self._spent = 0  # events received since credit was last granted
        self._pinged = 0.0
        self._out: list[bytes] = []
        self.send(f.Hello(v=f.VERSION, client=client, want=want, budget=budget or f.Budget()))

    def outgoing(self) -> list[bytes]:
        """Text frames to send now, in order."""
        out, self._out = self._out, []
        return out

    def send(self, frame: f.ClientFrame) -> None:
        """Queue a frame."""
        self._out.append(_encode(frame))

    def new_id(self) -> int:
        """An id for the next watch or request."""
        self._next_id += 1
        return self._next_id

    def tick(self) -> None:
        """Queue a ping when one is due."""
        now = self._monotonic()
        if now - self._pinged >= f.Limits.HEARTBEAT:
            self._pinged = now
            self.send(f.Ping(at=now))

    def receive(self, data: str | bytes) -> f.ServerFrame | None:
        """Decode one message and do what it asks of a client.

        Returns:
            The frame, or None when it is of an unknown kind, a pong, or a delta that cannot be applied
            because an earlier one is missing (a full state was then requested).

        Raises:
            AttachError: The message is no frame of this protocol, or the server ended the session.
        """
        try:
            frame: f.ServerFrame = _decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            try:
                known = _kind(data).t in _KINDS
            except (msgspec.MsgspecError, RecursionError):
                known = True
            if known:
                raise AttachError(
                    "version", f"the server sent something that is not {f.SUBPROTOCOL}: {error}"
                ) from None
            return None
        if isinstance(frame, f.Welcome):
            self.welcome = frame
            self.offset = frame.at - self._monotonic()
        elif isinstance(frame, f.Pong):
            rtt = self._monotonic() - frame.at
            if self.rtt is None or rtt <= self.rtt:
                self.rtt = rtt
                self.offset = frame.server_at - self._monotonic() + rtt / 2
            return None
        elif isinstance(frame, f.State):
            return frame if self._follows(frame) else None
        elif isinstance(frame, f.Events):
            self._spent += len(frame.items)
            if self._spent >= f.Limits.INITIAL_CREDIT // 2:
                self.send(f.Credit(n=self._spent))
                self._spent = 0
        elif isinstance(frame, f.Bye):
            reason = _REASONS.get(frame.code, "unreachable")
            raise AttachError(reason, frame.text or frame.code)
        return frame

    def _follows(self, state: f.State) -> bool:
        if state.full:
            self._rev = state.rev
        elif self._rev is None or self._partial or state.rev != self._rev + 1:
            if self._rev is not None:
                self._rev = None
                self.send(f.Resync())
            return False
        self._rev = state.rev
        self._partial = state.full and state.more
        return True
