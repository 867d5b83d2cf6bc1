"""The asyncio shell around :class:`~liverpc.client.core.ClientCore`: one socket at a time, and the clock."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from liverpc.client.core import ClientCore, Status
from liverpc.client.inbox import Health
from liverpc.client.listeners import Listeners
from liverpc.client.offline import OfflineQueue
from liverpc.client.push import PushHandlers
from liverpc.client.requests import Requests
from liverpc.client.sleep import SleepWatch
from liverpc.client.socket import (
    BulkSocket,
    Connector,
    HandshakeRefused,
    PreflightFailed,
    Socket,
    SocketClosed,
)
from liverpc.client.waiting import Waiters, next_change
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.close import CloseCode, of_status

__all__ = ["Connection"]

log = logging.getLogger("liverpc.client")

_LAST_SECONDS = 1.0  # for what was fired, answered or cancelled just before the end
_CLOSE_SECONDS = 5.0  # for saying goodbye to a server that may not listen any more


class Connection(Requests):
    """Keeps one client connected, in one task that it owns together with the writer of each socket.

    Used on one event loop only, which must be running when it is made.

    Attributes:
        core: The client without I/O.
        on_status: Told the status after each change.
        on_health: Told the server's health after each change.
        pushes: What answers the server's questions.
        uploads: What reads the sources of uploads.

    Args:
        connector: Opens one socket.
        config: Time limits, back-off.
        offline: Gives the client a queue for the calls made without a connection.
        silence: Seconds without a message after which a socket counts as lost. None: its connector sees
            to that.
        rng: For ids and for the back-off's jitter.
        wall: Seconds since the epoch, to notice that the device slept. None: nobody looks.
        path: Where the connector connects, for error texts.
    """

    def __init__(
        self,
        connector: Connector,
        config: ClientConfig,
        *,
        offline: OfflineQueue | None = None,
        silence: float | None,
        rng: random.Random | None = None,
        wall: Callable[[], float] | None = None,
        path: str = "",
    ) -> None:
        self._connector = connector
        self._config = config
        self._silence = silence
        self._path = path
        self._sleep = SleepWatch(wall, self._slept)
        monotonic = asyncio.get_running_loop().time
        super().__init__(ClientCore(config, offline=offline, monotonic=monotonic, wall=wall or time.time, rng=rng))
        self.pushes = PushHandlers(self.core, self._settle)
        self.on_status: Listeners[Status] = Listeners()
        self.on_health: Listeners[Health] = Listeners()
        self._told: Status = self.core.status
        self._told_health: Health = self.core.inbox.health
        self._settled = Waiters()  # for quiescence
        self._wake = asyncio.Event()  # for the writer
        self._awake = asyncio.Event()  # set when the device has slept
        self._reading: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving = False

    # -- life

    async def open(self) -> None:
        """Start, and wait for the first connection.

        Raises:
            RpcError: ``CONNECTION_CLOSED`` when the server refuses for good, ``TIMEOUT`` when there was no
                connection within ``config.connect_timeout``.
            RuntimeError: It was opened before.
        """
        closed = self.core.status == "closed"
        if self._task is not None or closed:
            raise RuntimeError("a client is opened once; connect() makes another")
        self._task = self._loop.create_task(self._run(), name="liverpc client")
        opened = asyncio.Event()
        stop = self.on_status.add(lambda _: opened.set())
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                await opened.wait()
            if self.core.status == "closed":
                raise RpcError(ErrorCode.CONNECTION_CLOSED, self.core.closed_error().message + self._cure())
        except TimeoutError:
            why = str(self.core.failure or "the server does not answer") + self._cure()
            await self.close()
            text = f"no connection within {self._config.connect_timeout:g} s: {why}"
            raise RpcError(ErrorCode.TIMEOUT, text) from None
        except BaseException:
            await self.close()
            raise
        finally:
            stop()

    def _cure(self) -> str:
        """What may be wrong with the URL, behind a reason."""
        failure = self.core.failure
        if failure is None or failure.code != of_status(404):
            return ""
        return (
            f"; asked for {self._path}; a LiveServer's path is /ws unless it says otherwise, and a contract takes the "
            "server's URL without path"
        )

    async def close(self) -> None:
        """End everything. Afterwards no task and no timer of this connection is left."""
        self.core.close()
        self._wake.set()  # the writer ends
        self._settle()
        task = self._task
        if task is not None and not task.done():
            if not self._leaving:  # a second one waits with the first, and does not cut its goodbye short
                self._leaving = True
                task.cancel()
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()  # do not even say goodbye
                raise
        await self.uploads.close()

    async def wait_quiescent(self) -> None:
        """Return when no stream is loading or reconnecting; at once if that is so already."""
        while not self.core.quiescent:
            await next_change([self._settled])

    def on_transition(self, callback: Callable[[], object], *, back: bool) -> Callable[[], None]:
        """Call back whenever the connection is back, or whenever it has ended. Returns what ends that."""
        was = self.core.status

        def look(status: Status) -> None:
            nonlocal was
            before, was = was, status
            if before == "reconnecting" and status == "connected" if back else before == "connected":
                callback()

        return self.on_status.add(look)

    # -- inside

    def check_open(self) -> None:
        """RuntimeError when it was never opened."""
        if self._task is None and self.core.status != "closed":
            raise RuntimeError("the client is not open: use `async with connect(...) as client:`")

    def _settle(self) -> None:
        """Follow up on a change of the core: send, set the timer, tell the status."""
        if self.core.turn_is_open and self._turn is None:
            self._turn = self._loop.call_soon(self._end_turn)
        if self.core.has_outgoing:
            self._wake.set()
        self._set_timer()
        if self._settled and self.core.quiescent:
            self._settled.wake()
        if self.core.inbox.health != self._told_health:
            self._told_health = self.core.inbox.health
            self.on_health.tell(self._told_health)
        if self.core.status != self._told:
            self._told = self.core.status
            self.on_status.tell(self._told)

    def _set_timer(self) -> None:
        due = self.core.next_deadline()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # early is harmless
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.core.tick()
        self._settle()

    def _end_turn(self) -> None:
        self._turn = None
        self.core.end_turn()
        self._settle()

    def _slept(self) -> None:
        self._awake.set()
        if self._reading is not None:
            self._reading.reschedule(self._loop.time())

    # -- the task

    async def _run(self) -> None:
        try:
            self._sleep.start()
            while True:
                self._awake.clear()
                socket = await self._dial()
                if socket is not None:
                    await self._serve(socket)
                if self.core.retry_delay is None:
                    return
                await self._wait(self.core.retry_delay)
        finally:
            self.core.close()  # unless it is closed already, and says why
            self._settle()
            self._sleep.stop()
            await self.pushes.close()

    async def _wait(self, seconds: float) -> None:
        """Until the next attempt, which is due at once when the device has slept."""
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
            self.core.retry_afresh()
        except TimeoutError:
            pass

    async def _dial(self) -> Socket | None:
        """One attempt; when it fails, the core knows why."""
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                return await self._connector()
        except PreflightFailed as failed:
            self.core.preflight_failed(failed.status, failed.reason)
            self._settle()
        except HandshakeRefused as refusal:
            self._lost(of_status(refusal.status), f"HTTP {refusal.status} {refusal.text}".strip())
        except TimeoutError:
            self._lost(CloseCode.LOST, f"no answer within {self._config.connect_timeout:g} s")
        except OSError as error:
            self._lost(CloseCode.LOST, str(error) or type(error).__name__)
        except Exception as error:
            log.exception("the connector failed in a way that connectors should not")
            self._lost(CloseCode.LOST, repr(error))
        return None

    async def _serve(self, socket: Socket) -> None:
        """One connection, until it is lost."""
        self._awake.clear()
        self.core.connection_opened()
        self._settle()
        writer = self._loop.create_task(self._write(socket), name="liverpc client writer")
        patience = _CLOSE_SECONDS
        try:
            # Told before the goodbye, which a dead server draws out.
            self._lost(*await self._read(socket))
        except asyncio.CancelledError:
            if self.core.status == "closed":
                patience = 0.0  # of who cancels that, too
                await asyncio.wait([writer], timeout=_LAST_SECONDS)
                patience = _CLOSE_SECONDS
            raise
        finally:
            writer.cancel()
            try:
                await asyncio.wait([writer])
            finally:
                # After a sleep nobody is there to hear it, and the next attempt is due at once.
                await self._goodbye(socket, 0.0 if self._awake.is_set() else patience)

    async def _read(self, socket: Socket) -> tuple[int, str]:
        """Hand messages to the core; returns how the connection ended."""
        try:
            while True:
                async with asyncio.timeout(self._silence) as self._reading:
                    message = await socket.recv()
                self.core.receive(message)
                self._settle()
        except SocketClosed as closed:
            return closed.code, closed.reason
        except TimeoutError:
            # Nobody knows what became of a socket during a sleep.
            slept = self._awake.is_set()
            return CloseCode.LOST, "this device slept" if slept else f"the server was silent for {self._silence:g} s"
        except Exception as error:
            log.exception("the socket failed in a way that sockets should not")
            return CloseCode.LOST, repr(error)
        finally:
            self._reading = None  # a timeout that is over cannot be rescheduled

    def _lost(self, code: int, reason: str) -> None:
        self.core.connection_lost(code, reason)
        self._settle()

    async def _write(self, socket: Socket) -> None:
        bulk = socket if isinstance(socket, BulkSocket) else None  # once: it is slow
        try:
            while True:
                self._wake.clear()
                if bulk is not None:
                    await bulk.send_all(self.core.outgoing())
                else:
                    for message in self.core.outgoing():
                        await socket.send(message)
                if self.core.status == "closed":
                    return
                await self._wake.wait()
        except SocketClosed:
            pass  # the reader gets the same
        except Exception:
            log.exception("the socket failed in a way that sockets should not")
            await self._goodbye(socket, _CLOSE_SECONDS)

    async def _goodbye(self, socket: Socket, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await socket.close(CloseCode.NORMAL)
        except Exception as error:
            log.debug("closing the socket failed: %r", error)
