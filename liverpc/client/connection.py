"""The asyncio shell around :class:`~liverpc.client.core.ClientCore`: one socket at a time, and the clock."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from liverpc.client.calls import Call
from liverpc.client.core import ClientCore, Status
from liverpc.client.socket import Connector, HandshakeRefused, Socket, SocketClosed
from liverpc.client.subscription import Subscription, guarded
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.close import CloseCode, of_status

__all__ = ["Connection"]

log = logging.getLogger("liverpc.client")

_CLOSE_SECONDS = 5.0  # for saying goodbye to a server that may not listen any more


class Connection:
    """Keeps one client connected, in one task that it owns together with the writer of each socket.

    Used on one event loop only, which must be running when it is made.

    Args:
        connector: Opens one socket.
        config: Time limits, back-off.
        silence: Seconds without a message after which a socket counts as lost. None: its connector sees
            to that.
        rng: For ids and for the back-off's jitter.
    """

    def __init__(
        self,
        connector: Connector,
        config: ClientConfig,
        *,
        silence: float | None,
        rng: random.Random | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._config = config
        self._silence = silence
        self.core = ClientCore(config, monotonic=self._loop.time, rng=rng)
        self._told: Status = self.core.status
        self._listeners: dict[object, Callable[[Status], object]] = {}
        self._wake = asyncio.Event()  # for the writer
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

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
        stop = self.on_status(lambda _: opened.set())
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                await opened.wait()
            if self.core.status == "closed":
                raise self.core.closed_error()
        except TimeoutError:
            failure = self.core.failure
            why = f"{failure.code} {failure.reason}".strip() if failure else "the server does not answer"
            await self.close()
            text = f"no connection within {self._config.connect_timeout:g} s: {why}"
            raise RpcError(ErrorCode.TIMEOUT, text) from None
        except BaseException:
            await self.close()
            raise
        finally:
            stop()

    async def close(self) -> None:
        """End everything. Afterwards no task and no timer of this connection is left."""
        self.core.close()
        self._settle()
        task = self._task
        if task is None or task.done():
            return
        task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()  # do not even say goodbye
            raise

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call back after each change of status. Returns what ends that."""
        key = object()
        self._listeners[key] = callback

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    # -- requests

    async def call(self, path: str, args: list[Any], result_type: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - the core keeps the deadline
        """One call, from start to result; forgotten when cancelled."""
        self._check_open()
        answered: asyncio.Future[None] = self._loop.create_future()

        def on_done(_: Call) -> None:
            if not answered.done():
                answered.set_result(None)

        call = self.core.call(path, args, timeout=timeout, on_done=on_done)
        self._settle()
        try:
            await answered
        finally:
            self.core.cancel(call)
        return call.result(result_type)

    def subscribe(
        self,
        path: str,
        args: list[Any],
        result_type: Any,
        timeout: float | None,
        on_change: Callable[[Subscription], object],
    ) -> Subscription:
        self._check_open()
        subscription = self.core.subscribe(path, args, result_type=result_type, timeout=timeout, on_change=on_change)
        self._settle()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self.core.unsubscribe(subscription)
        self._settle()

    def _check_open(self) -> None:
        if self._task is None and self.core.status != "closed":
            raise RuntimeError("the client is not open: use `async with connect(...) as client:`")

    def _settle(self) -> None:
        """Follow up on a change of the core: send, set the timer, tell the status."""
        if self.core.has_outgoing:
            self._wake.set()
        self._set_timer()
        if self.core.status != self._told:
            self._told = self.core.status
            for callback in tuple(self._listeners.values()):
                guarded(callback, self._told)

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

    # -- the task

    async def _run(self) -> None:
        try:
            while True:
                socket = await self._dial()
                if socket is not None:
                    await self._serve(socket)
                if self.core.retry_delay is None:
                    return
                await asyncio.sleep(self.core.retry_delay)
        finally:
            self.core.close()  # unless it is closed already, and says why
            self._settle()

    async def _dial(self) -> Socket | None:
        """One attempt; when it fails, the core knows why."""
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                return await self._connector()
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
        self.core.connection_opened()
        self._settle()
        writer = self._loop.create_task(self._write(socket), name="liverpc client writer")
        try:
            # Told before the goodbye, which a dead server draws out.
            self._lost(*await self._read(socket))
        finally:
            writer.cancel()
            try:
                await asyncio.wait([writer])
            finally:
                await self._goodbye(socket)

    async def _read(self, socket: Socket) -> tuple[int, str]:
        """Hand messages to the core; returns how the connection ended."""
        try:
            while True:
                async with asyncio.timeout(self._silence):
                    message = await socket.recv()
                self.core.receive(message)
                self._settle()
        except SocketClosed as closed:
            return closed.code, closed.reason
        except TimeoutError:
            return CloseCode.LOST, f"the server was silent for {self._silence:g} s"
        except Exception as error:
            log.exception("the socket failed in a way that sockets should not")
            return CloseCode.LOST, repr(error)

    def _lost(self, code: int, reason: str) -> None:
        self.core.connection_lost(code, reason)
        self._settle()

    async def _write(self, socket: Socket) -> None:
        try:
            while True:
                self._wake.clear()
                for text in self.core.outgoing():
                    await socket.send(text)
                await self._wake.wait()
        except SocketClosed:
            pass  # the reader gets the same
        except Exception:
            log.exception("the socket failed in a way that sockets should not")
            await self._goodbye(socket)

    async def _goodbye(self, socket: Socket) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await socket.close(CloseCode.NORMAL)
        except Exception as error:
            log.debug("closing the socket failed: %r", error)
