"""The Locust user that talks to a liverpc server."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, overload

import msgspec
from gevent import GreenletExit, get_hub
from locust import User, events

from liverpc._types import Binary, P, R, Rpc, Stream, Upload
from liverpc.client.store import StreamObserver
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.people import People, Person
from liverpc.contrib.locust.recorder import Recorder, recorder_of
from liverpc.contrib.locust.seats import seats_of
from liverpc.errors import ConfigError, RpcError
from liverpc.wire.frames import EventFrame

__all__ = ["ConnectOptions", "LiveUser"]

log = logging.getLogger("liverpc.contrib.locust")


class ConnectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one user connects."""

    url: str  #: ``ws://`` or ``wss://``; the path is ``/ws`` when there is none
    headers: Mapping[str, str] = {}  #: such as ``Authorization`` or ``Cookie``
    tls: ssl.SSLContext | None = None  #: for ``wss://``; None: the system's certificate authorities
    config: ClientConfig = ClientConfig()


class LiveUser(User):  # type: ignore[misc]  # Locust ships no types that mypy could follow
    """A user with one connection, opened when the user starts and closed when it stops.

    Everything appears in Locust's statistics: ``WS connect`` with its steps, ``RPC <path>``, ``UP <path>`` and
    ``SUB <path>``; failures under their codes. A lost connection comes back by itself, after the pauses of
    ``ClientConfig``, and a user whose first connection fails keeps trying in the same way; a user whom the
    server refuses for good stops.

    ::

        class Visitor(LiveUser):
            wait_time = constant_throughput(2)

            def on_start(self):
                super().on_start()
                self.stream("chat/messages", "general")

            @task
            def talk(self):
                self.call("chat/send", "general", "hello")

    Attributes:
        people: Who the users are, each somebody else, in all processes of the run; see :attr:`person`.
        client: The connection, while the user runs.
        recorder: For latencies of your own: ``self.recorder.add("PUB", "chat", seconds)``.
    """

    abstract = True
    people: ClassVar[People | None] = None

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.recorder: Recorder = recorder_of(environment)
        self.client: LiveClient
        self._person: Person | None = None
        self._seat: int | None = None

    @property
    def person(self) -> Person:
        """The row of :attr:`people` that is this user's, from before :meth:`connect_options` on until it stops.

        Raises:
            ConfigError: The class has no ``people``, or the user does not run.
        """
        if self._person is None:
            raise ConfigError(f"{type(self).__name__}.people is not set, or this user does not run")
        return self._person

    def connect_options(self) -> ConnectOptions:
        """Where and how this user connects; override it for credentials per user.

        The default is the URL of ``--host``, with the path ``/ws`` when it has none.
        """
        return ConnectOptions(url=self.host or "")

    def on_start(self) -> None:
        """Connect. An override calls it first.

        Raises:
            ConfigError: ``connect_options()`` names no server.
        """
        self._become_somebody()
        options = self.connect_options()
        self.client = LiveClient(
            options.url,
            headers=options.headers,
            tls=options.tls,
            config=options.config,
            on_attempt=self.on_attempt,
            on_lost=self.on_lost,
        )
        try:
            self.client.open()
        except RpcError as error:
            log.warning("a user stops: %s", error)
            raise GreenletExit from None  # of what else is raised here, Locust prints a traceback

    def on_stop(self) -> None:
        """Close the connection. An override calls it last."""
        try:
            if hasattr(self, "client"):
                self.client.close()
        finally:
            if self.people is not None and self._seat is not None:
                seats_of(self.environment).give_back(str(self.people.path), self._seat)
                self._seat = self._person = None

    def on_attempt(self, attempt: Attempt) -> None:
        """Record an attempt to connect; called for each, the later ones included."""
        if attempt.failure:
            self.recorder.fail("WS", "connect", attempt.total, attempt.failure)
            return
        self.recorder.add("WS", "connect", attempt.total)
        self.recorder.add("WS", "connect.tcp", attempt.tcp, part=True)
        self.recorder.add("WS", "connect.upgrade", attempt.upgrade, part=True)
        self.recorder.add("WS", "connect.hello", attempt.hello, part=True)

    def on_lost(self, code: int) -> None:
        """A connection was lost, with this close code, 1006 without one: count it in ``recorder.lost``."""
        self.recorder.lost += 1

    @overload
    def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, fn: str, /, *args: Any) -> Any: ...
    def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function, by declaration or by path, and record how long it took.

        Returns:
            The result, of the declaration's type; of a path the decoded JSON.

        Raises:
            RpcError: It failed, which is recorded under the error's code.
            TypeError: The arguments do not fit, or have no JSON form.
        """
        return self._recorded("RPC", fn, lambda: self.client.call(fn, *args, **kwargs))

    @overload
    def binary(self, fn: Binary[P, R], data: bytes, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def binary(self, fn: str, data: bytes, /, *args: Any) -> Any: ...
    def binary(self, fn: Any, data: bytes, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function with bytes, and record how long it took; returns and raises as :meth:`call`."""
        return self._recorded("RPC", fn, lambda: self.client.binary(fn, data, *args, **kwargs))

    @overload
    def upload(
        self, fn: Upload[P, R], source: bytes | Iterable[bytes | memoryview], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def upload(
        self, fn: str, source: bytes | Iterable[bytes | memoryview], /, *args: Any, size: int | None = None
    ) -> Any: ...
    @overload
    def upload(
        self,
        fn: Upload[..., R],
        source: bytes | Iterable[bytes | memoryview],
        /,
        *args: Any,
        size: int | None,
        **kwargs: Any,
    ) -> R: ...
    def upload(self, fn: Any, source: bytes | Iterable[bytes | memoryview], /, *args: Any, **kwargs: Any) -> Any:
        """Upload bytes, and record how long it took until the answer; takes what :meth:`LiveClient.upload` takes.

        Returns:
            As :meth:`call`.

        Raises:
            RpcError: It failed, which is recorded under the error's code.
            TypeError: The arguments do not fit, or have no JSON form.
        """
        return self._recorded("UP", fn, lambda: self.client.upload(fn, source, *args, **kwargs))

    @overload
    def stream(self, fn: Stream[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Subscription: ...
    @overload
    def stream(
        self, fn: Stream[..., Any], /, *args: Any, on_event: Callable[[EventFrame], object], **kwargs: Any
    ) -> Subscription: ...
    @overload
    def stream(self, fn: Stream[..., Any], /, *args: Any, observer: StreamObserver, **kwargs: Any) -> Subscription: ...
    @overload
    def stream(
        self,
        fn: str,
        /,
        *args: Any,
        on_event: Callable[[EventFrame], object] | None = None,
        observer: StreamObserver | None = None,
    ) -> Subscription: ...
    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Subscription:
        """Listen to a stream, and record how long its first answer took.

        Takes what :meth:`LiveClient.subscribe` takes: with ``on_event=``, each event is handed over undecoded,
        which is cheap; without, the ``value`` of what is returned is kept up to date.

        Returns:
            What ``self.client.unsubscribe`` takes to end it.

        Raises:
            RpcError: The server refused it or did not answer, which is recorded under the error's code.
        """
        subscription: Subscription = self._recorded("SUB", fn, lambda: self.client.subscribe(fn, *args, **kwargs))
        return subscription

    def _become_somebody(self) -> None:
        if self.people is None:
            return
        self._seat = seats_of(self.environment).take(str(self.people.path))
        self._person = self.people.person(self._seat)
        if self._person is None:
            raise GreenletExit

    def _recorded(self, kind: str, fn: Any, action: Callable[[], Any]) -> Any:
        name = fn if isinstance(fn, str) else fn.path
        began = time.perf_counter()
        try:
            result = action()
        except RpcError as error:
            self.recorder.fail(kind, name, time.perf_counter() - began, error.code)
            raise
        self.recorder.add(kind, name, time.perf_counter() - began)
        return result


def _wake(**_: Any) -> None:
    get_hub().loop.update_now()


# gevent's clock has stood still while Python was starting; by as much, --run-time would be over too early.
events.init.add_listener(_wake)
