"""Attach to a server: asyncio around :class:`~liverpc.inspector.protocol.AttachSession`."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import platform
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import (
    SUBPROTOCOL,
    VERSION,
    AttachSession,
    ClientFrame,
    ServerFrame,
    Welcome,
    closed_early,
    refusal,
)
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target
from liverpc_devtools.core.text import clean

__all__ = ["Attachment", "Ended", "Link", "Want"]

Want = Literal["observe", "chaos", "admin"]

_OPEN_SECONDS = 5.0  # for the handshake, and again for the welcome
_MESSAGE_BYTES = 8 << 20
_TICK = 0.5
_RETRY_MIN, _RETRY_MAX = 0.2, 10.0


class Ended(AttachError):
    """The session was open and ended."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # the token was given for this server, not for one it names


class Attachment:
    """One open session. Iterate it for the frames, starting with the welcome.

    It keeps itself alive with pings. Iteration ends by raising :class:`Ended`, or
    :class:`~liverpc.errors.AttachError` when the peer breaks the protocol.
    """

    def __init__(self, socket: ClientConnection, session: AttachSession, welcome: Welcome) -> None:
        self.session = session
        self.welcome = welcome
        self._socket = socket
        self._wake = asyncio.Event()
        self._writer = asyncio.create_task(self._write(), name="attach writer")

    @classmethod
    async def open(cls, target: Target, want: Want) -> Self:
        """Connect and wait for the welcome.

        Raises:
            AttachError: ``refused``, ``absent``, ``unreachable`` or ``version``; the text is one sentence.
        """
        session = AttachSession(client=_observer(), want=want, monotonic=time.monotonic)
        socket = await _connect(target)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                for data in session.outgoing():
                    await socket.send(data, text=True)
                while session.welcome is None:
                    session.receive(await socket.recv())
            if session.welcome.v != VERSION:
                raise AttachError(
                    "version",
                    f"the server speaks version {session.welcome.v} of the attach protocol, this program"
                    f" version {VERSION}; install the same liverpc on both sides",
                )
            return cls(socket, session, session.welcome)
        except BaseException as error:
            socket.transport.abort()
            if isinstance(error, ConnectionClosed):
                if error.rcvd is None:
                    raise closed_early(target.url) from None
                raise closed_early(target.url, error.rcvd.code, clean(error.rcvd.reason)) from None
            if isinstance(error, TimeoutError):
                raise AttachError("unreachable", f"{target.url} took the connection and kept silent") from None
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[ServerFrame]:
        yield self.welcome
        while True:
            if (frame := await self.receive()) is not None:
                yield frame

    async def receive(self) -> ServerFrame | None:
        """The next frame; None for a message that only kept the session alive."""
        try:
            frame = self.session.receive(await self._socket.recv())
        except ConnectionClosed as error:
            reason = error.rcvd.reason if error.rcvd is not None else ""
            raise Ended(clean(reason) or "the server closed the connection") from None
        except AttachError as error:
            if error.kind == "unreachable":
                raise Ended(clean(str(error))) from None
            raise
        self._wake.set()  # for the credit it may have earned
        return frame

    def send(self, frame: ClientFrame) -> None:
        """Queue a frame; it leaves with the next turn of the loop."""
        self.session.send(frame)
        self._wake.set()

    async def close(self) -> None:
        """Send what is queued and end the session."""
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await self._writer
        with contextlib.suppress(ConnectionClosed):
            for data in self.session.outgoing():
                await self._socket.send(data, text=True)
        await self._socket.close()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader says so
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK):
                        await self._wake.wait()
                self._wake.clear()
                self.session.tick()
                for data in self.session.outgoing():
                    await self._socket.send(data, text=True)


class Link:
    """Keeps a model attached to one server for as long as it runs.

    After a loss it comes back with growing, fully jittered pauses of 0.2 to 10 seconds, forever, unless the
    server refuses the token or speaks another version; then the model's state is ``gone``.

    Args:
        find: Finds the server, anew before each attempt: a local server that was restarted has another token.
        want: What may be done.
        model: Fed while :meth:`run` runs.
    """

    def __init__(self, find: Callable[[], Target], want: Want, model: Model) -> None:
        self._find = find
        self._target = find()
        self._want: Want = want
        self._model = model
        self._attachment: Attachment | None = None

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._target.url

    async def connect(self) -> None:
        """Open the first session, so that a failure can be told before a screen is drawn.

        Raises:
            AttachError: As :meth:`Attachment.open`.
        """
        self._attachment = await Attachment.open(self._target, self._want)

    async def run(self) -> None:
        """Feed the model until cancelled, or until coming back makes no sense."""
        model, failures = self._model, 0
        while True:
            began = time.monotonic()
            try:
                if self._attachment is None:
                    with contextlib.suppress(ConfigError):  # it is not running now
                        self._target = self._find()
                    self._attachment = await Attachment.open(self._target, self._want)
                await self._feed(self._attachment)
            except AttachError as error:
                if error.kind == "version" or (error.kind == "refused" and not self._target.renewable):
                    model.gone(str(error))
                    return
                # A server that ends each session at once is not asked again and again without pause.
                failures = 1 if time.monotonic() - began > _RETRY_MAX else min(failures + 1, 10)
                pause = random.uniform(_RETRY_MIN, min(_RETRY_MAX, _RETRY_MIN * 2**failures))
                model.detached(str(error), pause)
                await asyncio.sleep(pause)
            finally:
                attachment, self._attachment = self._attachment, None
                if attachment is not None:
                    await attachment.close()

    async def close(self) -> None:
        """End the session of :meth:`connect` when :meth:`run` never took it over."""
        if self._attachment is not None:
            await self._attachment.close()
            self._attachment = None

    async def _feed(self, attachment: Attachment) -> None:
        model = self._model
        model.attached(attachment.welcome, attachment.send)
        while True:
            frame = await attachment.receive()
            model.heard(attachment.session.offset)
            if frame is not None:
                model.apply(frame)


async def _connect(target: Target) -> ClientConnection:
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        socket = await _Connect(
            target.url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_SECONDS,
            close_timeout=1.0,
            max_size=_MESSAGE_BYTES,
        )
    except InvalidStatus as error:
        said = (error.response.body or b"").decode(errors="replace")
        raise refusal(target.url, error.response.status_code, said, with_token=bool(target.token)) from None
    except (InvalidMessage, EOFError):
        raise AttachError("absent", f"what listens at {target.url} does not speak HTTP") from None
    except InvalidHandshake as error:
        raise AttachError("absent", f"no devtools at {target.url}: {clean(str(error))}") from None
    except TimeoutError:
        raise AttachError("unreachable", f"{target.url} did not answer for {_OPEN_SECONDS:.0f} s") from None
    except OSError as error:
        raise AttachError("unreachable", f"cannot connect to {target.url}: {_reason(error)}") from None
    if socket.subprotocol != SUBPROTOCOL:
        socket.transport.abort()
        raise AttachError("version", f"{target.url} is a WebSocket that does not speak {SUBPROTOCOL}")
    return socket


def _reason(error: OSError) -> str:
    # asyncio joins the failures of all addresses of a name into one text without an errno.
    if error.errno is None and "refused" in str(error).lower():
        return "connection refused; is the server running?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the server running?"
    return clean(error.strerror or str(error))


def _observer() -> str:
    """The name under which others see this observer, such as ``al@laptop``."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (OSError, KeyError):  # no such user in the system's list
        return "liverpc-tui"
