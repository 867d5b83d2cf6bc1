"""Connections within one process: no sockets, no threads, and every order of events repeatable.

Only the loop moves things here, so on a loop with a virtual clock latency and timeouts cost no time.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from liverpc.client.socket import HandshakeRefused
from liverpc.hub.link import Application, ConnectRequest, Endpoint, Refuse
from liverpc.transports.drain import see_off
from liverpc.transports.handshake import Admission, verdict_of
from liverpc.transports.memory_link import MemoryLink, MemorySocket
from liverpc.transports.pipe import Pipe
from liverpc.wire.close import FIRST_CLOSE_CODE

__all__ = ["MemorySocket", "MemoryTransport"]


def _perfect(link: MemoryLink, latency: float, context: contextvars.Context) -> Pipe:
    return Pipe(link.delivered, latency, context)


class MemoryTransport:
    """Opens in-memory connections to an application. Made inside a running loop.

    Limits hold as they do for sockets; there is no keep-alive, as nobody can vanish unnoticed.

    Args:
        application: What is served.
        latency: Seconds that everything takes in each direction; messages keep their order.
        network: Makes the way from the server to the client of each connection, of its link, the latency and the
            context in which everything arrives.
    """

    def __init__(
        self,
        application: Application,
        *,
        latency: float = 0.0,
        network: Callable[[MemoryLink, float, contextvars.Context], Pipe] = _perfect,
    ) -> None:
        self.application = application
        self.latency = latency
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self.network = network
        self.links: set[MemoryLink] = set()
        self.draining = False  #: no new connections
        self.empty = asyncio.Event()  #: no connections
        self.empty.set()
        self._admission = Admission(application, now=self.loop.time, start=self._start)

    async def connect(
        self,
        path: str = "/ws",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        address: str = "memory",
    ) -> MemorySocket:
        """Open a connection; takes one round trip and what the endpoint needs to decide.

        Cancelling it cancels the endpoint's decision. A refusal with a close code (from 4000 on) returns a
        socket that is closed with it.

        Raises:
            HandshakeRefused: The server refused with an HTTP status.
        """
        request = ConnectRequest(
            path,
            query=query,
            headers={name.lower(): value for name, value in (headers or {}).items()},
            address=address,
        )
        await asyncio.sleep(self.latency)
        admitted = self.context.copy().run(self._admission.admit, request, draining=self.draining)
        verdict = admitted if isinstance(admitted, Refuse) else await self._decide(admitted, request)
        if self.draining:
            verdict = Refuse(503, "server going away")
        link: MemoryLink | None = None
        if isinstance(verdict, Refuse):
            self.application.counters.handshakes_refused += 1
            if verdict.status >= FIRST_CLOSE_CODE:
                link = MemoryLink(self)
                link.close(verdict.status, verdict.text)
        else:
            assert not isinstance(admitted, Refuse)
            link = MemoryLink(self)
            link.open(admitted, request, verdict)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            if link is not None:
                link.cut()
            raise
        if link is None:
            raise HandshakeRefused(verdict.status, verdict.text)
        return link.socket

    def begin_drain(self) -> None:
        """Refuse new connections with HTTP 503; open ones go on."""
        self.draining = True

    async def drain(self) -> None:
        """What :meth:`liverpc.transports.listener.Listener.drain` does: begun calls may end, then 1001 to everyone."""
        self.begin_drain()
        await see_off(list(self.links), self.application.limits, self.empty)
        await self.empty.wait()

    async def aclose(self) -> None:
        """Close every connection with 1001, and who has not answered after ``close_seconds`` without."""
        self.begin_drain()
        for link in list(self.links):
            link.go_away()
        await self.empty.wait()

    async def _decide(self, endpoint: Endpoint, request: ConnectRequest) -> Any | Refuse:
        task = self.context.copy().run(self._admission.decide, endpoint, request)
        if not isinstance(task, asyncio.Task):
            return task
        try:
            await asyncio.wait({task}, timeout=self.application.limits.connect_seconds)
        finally:
            in_time = task.done() and not task.cancelled()
            task.cancel()
        return verdict_of(task) if in_time else Refuse(503, "timed out")

    def _start(self, decision: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.create_task(decision, context=self.context.copy())
