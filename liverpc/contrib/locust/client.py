"""The gevent shell around :class:`~liverpc.client.core.ClientCore`."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import gevent
import msgspec
from gevent.event import Event

from liverpc._types import Binary, Reachable, Rpc, Stream, Upload
from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
from liverpc.client.listeners import guarded
from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.client.store import StreamObserver
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.contrib.locust.socket import GeventSocket, open_socket
from liverpc.contrib.locust.target import live_url
from liverpc.contrib.locust.uploading import LiveUpload
from liverpc.wire.close import CloseCode, of_status
from liverpc.wire.frames import EventFrame

__all__ = ["Attempt", "LiveClient"]

log = logging.getLogger("liverpc.contrib.locust")

_CLOSE_SECONDS = 1.0


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to connect. Times in seconds; those of steps that were not reached are 0.0."""

    total: float
    tcp: float = 0.0  #: with TLS
    upgrade: float = 0.0  #: from there to the end of the handshake
    hello: float = 0.0  #: from there to the server's first message
    failure: str = ""  #: what it ended with, one of a few words; empty when it succeeded
    reason: str = ""  #: the same for people


class LiveClient:
    """A connection to a server that comes back when it is lost. Belongs to the greenlets of one thread.

    Args:
        url: As of :func:`~liverpc.contrib.locust.target.live_url`.
        headers: Sent with every handshake.
        tls: For ``wss://``. Default: the system's certificate authorities.
        config: Time limits, back-off, sizes.
        on_attempt: Called after each attempt to connect.
        on_lost: Called with the close code when a connection is lost, 1006 without one; not after :meth:`close`.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: Any = None,
        config: ClientConfig | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None:
        self.core = ClientCore(config, monotonic=time.monotonic)
        self._url = live_url(url)
        self._headers = headers
        self._tls = tls
        self._on_attempt = on_attempt
        self._on_lost = on_lost
        self._socket: GeventSocket | None = None
        self._opened = Event()
        self._runner: Any = None
        self._pump: Any = None  # sends the bytes of uploads, and everything else meanwhile
        self._timer: Any = None
        self._timer_due = 0.0
        self._away_until = 0.0

    # -- life

    def open(self) -> None:
        """Start, and wait for the first connection for as long as it takes.

        Raises:
            RpcError: ``CONNECTION_CLOSED``: the server refuses for good, or it failed
                ``config.max_attempts`` times.
        """
        self._runner = gevent.spawn(self._run)
        try:
            self._opened.wait()
        except BaseException:
            self.close()
            raise
        if self.core.status == "closed":
            raise self.core.closed_error()

    def close(self) -> None:
        """Say goodbye, wait a second at most for the answer, and leave nothing behind. Harmless when closed."""
        self.core.close()
        try:
            if self._runner is not None and self._socket is not None:
                # All of it may take long: a server that does not read takes no goodbye either.
                gevent.with_timeout(_CLOSE_SECONDS, self._part, self._socket, self._runner, timeout_value=None)
        finally:
            self._end()

    def abort(self, *, reset: bool = False) -> None:
        """Hang up without a goodbye, as a client that dies, and leave nothing behind. Harmless when closed.

        ``reset``: with a TCP reset, and what the network did not take yet is thrown away.
        """
        self.core.close()
        if self._socket is not None:
            self._socket.abort(reset=reset)
        self._end()

    def cut(self, away: float = 0.0, *, reset: bool = False) -> None:
        """Lose the connection as when the network fails: nobody says goodbye, and it comes back by itself.

        Args:
            away: For so many seconds there is no network, so that attempts to connect fail.
            reset: With a TCP reset, as of :meth:`abort`.
        """
        self._away_until = time.monotonic() + away
        if self._socket is not None:
            self._socket.abort(reset=reset)

    def _part(self, socket: GeventSocket, runner: Any) -> None:
        self._send()  # what was cancelled just now, or is being sent
        socket.close()
        runner.join()

    def _end(self) -> None:
        runner, self._runner = self._runner, None
        timer, self._timer = self._timer, None
        gevent.killall([each for each in (runner, timer) if each is not None])

    # -- use

    def call(self, fn: Rpc[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function, by declaration or by path, and wait for what it returns.

        A call that is abandoned because its greenlet was killed is forgotten.

        Raises:
            RpcError: The server's error, or ``TIMEOUT``, ``DISCONNECTED``, ``CONNECTION_CLOSED``,
                ``INVALID_RESULT``.
            TypeError: The arguments do not fit, or have no JSON form.
        """
        answered = Event()
        return self._answer(self.begin(fn, *args, on_done=lambda _: answered.set(), **kwargs), fn, answered)

    def begin(
        self,
        fn: Rpc[..., Any] | str,
        /,
        *args: Any,
        on_done: Callable[[Call], object] | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Send a call without waiting for its answer; ``on_done`` gets it when it has ended.

        ``idempotency_key`` lets the server recognise a repetition; 1 to 256 characters.
        """
        path, wire_args = _bound(fn, args, kwargs)
        call = self.core.call(path, wire_args, idempotency_key=idempotency_key, on_done=on_done)
        self._settle()
        return call

    def binary(self, fn: Binary[..., Any] | str, data: bytes, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function with bytes, and wait for what it returns; raises as :meth:`call`."""
        path, wire_args = _bound(fn, args, kwargs)
        answered = Event()
        call = self.core.binary(path, wire_args, data, on_done=lambda _: answered.set())
        return self._answer(call, fn, answered)

    def upload(
        self,
        fn: Upload[..., Any] | str,
        source: bytes | Iterable[bytes | memoryview],
        /,
        *args: Any,
        size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Upload bytes, and wait for the answer. Calls of other greenlets go on meanwhile.

        An upload that is abandoned, because its source raised or its greenlet was killed, is cancelled.

        Args:
            fn: The function's declaration or path.
            source: The bytes, or pieces of them, taken as fast as the server takes them; not to the end when the
                answer comes earlier.
            args: The function's arguments.
            size: How many bytes it will be, if known; of ``bytes`` it is.
            kwargs: More arguments.

        Raises:
            RpcError: The server's error, or ``DISCONNECTED``, ``CONNECTION_CLOSED``, ``INVALID_RESULT``.
            TypeError: The arguments do not fit, or have no JSON form.
        """
        if isinstance(source, bytes):
            size, source = len(source), (source,)
        upload = self.begin_upload(fn, *args, size=size, **kwargs)
        try:
            if all(upload.send(piece) for piece in source):
                upload.send(b"", last=True)
            return upload.result()
        finally:
            upload.cancel()

    def begin_upload(
        self, fn: Upload[..., Any] | str, /, *args: Any, size: int | None = None, **kwargs: Any
    ) -> LiveUpload:
        """An upload whose bytes its user sends piece by piece; arguments and errors are those of :meth:`upload`."""
        path, wire_args = _bound(fn, args, kwargs)
        return LiveUpload(self.core.uploads, path, wire_args, size, _result_type(fn), self._send_soon)

    def subscribe(
        self,
        fn: Stream[..., Any] | str,
        /,
        *args: Any,
        on_event: Callable[[EventFrame], object] | None = None,
        observer: StreamObserver | None = None,
        **kwargs: Any,
    ) -> Subscription:
        """Listen to a stream, through reconnects, and wait for its first answer.

        Args:
            fn: The stream's declaration or path.
            args: The stream's arguments.
            on_event: Gets each event undecoded. Without it, the subscription's ``value`` is kept up to date.
            observer: Is told each step by which the value comes about, such as a
                :class:`~liverpc.contrib.locust.audit.ResumeAudit`.
            kwargs: More arguments.

        Raises:
            RpcError: The server refused it, or did not answer in time.
        """
        path, wire_args = _bound(fn, args, kwargs)
        answered = Event()
        subscription = self.core.subscribe(
            path,
            wire_args,
            result_type=_result_type(fn),
            on_change=lambda _: answered.set(),
            on_event=on_event,
            observer=observer,
        )
        self._settle()
        try:
            while not subscription.answered and self.core.status != "closed":
                answered.wait()
                answered.clear()
        except BaseException:
            self.unsubscribe(subscription)
            raise
        if subscription.error is not None:
            self.unsubscribe(subscription)
            raise subscription.error
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening. Harmless when done already."""
        self.core.unsubscribe(subscription)
        self.core.end_turn()
        self._settle()

    # -- inside

    def _answer(self, call: Call, fn: Reachable | str, answered: Event) -> Any:
        try:
            self._settle()
            answered.wait()
        finally:
            self.core.cancel(call)
        return call.result(_result_type(fn))

    def _run(self) -> None:
        try:
            while True:
                code, reason = self._session()
                self.core.connection_lost(code, reason)
                if self.core.retry_delay is None:
                    return
                gevent.sleep(self.core.retry_delay)
        finally:
            self._hang_up()
            self.core.close()  # unless the core closed itself, which says why
            self._opened.set()

    def _session(self) -> tuple[int, str]:
        """One attempt and, if it succeeds, one connection; returns how it ended."""
        began = time.perf_counter()
        try:
            with gevent.Timeout(self.core.config.connect_timeout):
                self._socket = socket = self._dial()
                upgraded = time.perf_counter()
                # Only its first words say that the server lets us in; and it always says them.
                messages = socket.recv()
        except (Exception, gevent.Timeout) as error:
            code, word, reason = _failure(error)
            self._hang_up()
            self._tell(Attempt(time.perf_counter() - began, failure=word, reason=reason))
            return code, reason
        now = time.perf_counter()
        try:
            self._tell(Attempt(now - began, tcp=socket.tcp, upgrade=socket.upgrade, hello=now - upgraded))
            self.core.connection_opened()
            self._settle()
            self._opened.set()
            while True:
                for message in messages:
                    self.core.receive(message)
                self._set_timer()
                if self.core.has_outgoing:
                    self._send_soon()  # whoever receives must not wait for the network
                messages = socket.recv()
        except SocketClosed as closed:
            if self._on_lost is not None and self.core.status != "closed":
                guarded(self._on_lost, closed.code)
            return closed.code, closed.reason
        finally:
            self._hang_up()

    def _dial(self) -> GeventSocket:
        config = self.core.config
        if time.monotonic() < self._away_until:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return open_socket(
            self._url,
            headers=self._headers,
            tls=self._tls,
            timeout=config.connect_timeout,
            silence=config.silence_seconds,
            message_max=config.message_bytes,
        )

    def _hang_up(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.abort()

    def _tell(self, attempt: Attempt) -> None:
        if self._on_attempt is not None and self.core.status != "closed":  # else it was given up
            guarded(self._on_attempt, attempt)

    def _settle(self) -> None:
        """Follow up on a change of the core: send, set the timer."""
        if self._pump is None:  # else it sends this, too, and does not keep whoever calls until uploads pause
            self._send()
        self._set_timer()

    def _send_soon(self) -> None:
        """Let what waits be sent, without waiting for the network."""
        if self._pump is None and self.core.has_outgoing:
            self._pump = gevent.spawn(self._send_all)
        self._set_timer()

    def _send_all(self) -> None:
        try:
            self._send()
        finally:
            self._pump = None

    def _send(self) -> None:
        with suppress(SocketClosed):  # receiving tells
            while self._socket is not None and self.core.has_outgoing:
                self._socket.send(self.core.outgoing())

    def _set_timer(self) -> None:
        due = self.core.next_deadline()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return  # early is harmless
        if self._timer is not None:
            self._timer.kill(block=False)
        self._timer_due = due
        self._timer = gevent.spawn_later(max(0.0, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.core.tick()
        self._settle()


def _result_type(fn: Reachable | str) -> Any:
    return Any if isinstance(fn, str) else fn.result_type


def _bound(fn: Reachable | str, args: Any, kwargs: Any) -> tuple[str, list[Any]]:
    if isinstance(fn, str):
        if kwargs:
            names = ", ".join(kwargs)
            raise TypeError(
                f"{fn} is only a path, so its parameters have no names here: pass {names} by position, "
                "or the declaration instead of the path"
            )
        return fn, list(args)
    return fn.path, fn.bind(args, kwargs)


def _failure(error: BaseException) -> tuple[int, str, str]:
    """Close code for the core, one of a few words for statistics, and a reason for people."""
    if isinstance(error, HandshakeRefused):
        text = f"HTTP {error.status} {error.text}".strip()
        return of_status(error.status), f"http_{error.status}", text
    if isinstance(error, SocketClosed):
        return error.code, f"close_{error.code}", error.reason or f"the server closed the connection ({error.code})"
    if isinstance(error, (TimeoutError, gevent.Timeout)):
        return CloseCode.LOST, "timeout", "the server does not answer"
    if isinstance(error, ConnectionRefusedError):
        return CloseCode.LOST, "refused", "connection refused; is the server running?"
    if isinstance(error, OSError):
        return CloseCode.LOST, "network", error.strerror or str(error) or type(error).__name__
    log.exception("connecting failed in a way it should not", exc_info=error)
    return CloseCode.LOST, "error", repr(error)
