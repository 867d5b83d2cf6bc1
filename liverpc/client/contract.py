"""What a program holds of a contract that it has opened."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import msgspec

from liverpc._types import P, R
from liverpc.client.connection import Connection
from liverpc.client.convert import read_result
from liverpc.client.incoming import Incoming
from liverpc.client.listeners import Listeners
from liverpc.client.opened import OpenContract, PageStatus
from liverpc.client.options import CallOptions
from liverpc.client.waiting import Waiters, next_change
from liverpc.errors import ErrorCode, RpcError
from liverpc.pages import Action, Events, Joinable, PageContract, payloads_of
from liverpc.wire.frames import EventFrame

if TYPE_CHECKING:
    from liverpc.client.aio import Client

__all__ = ["ContractPage", "JoinLost", "PageCalls"]

log = logging.getLogger("liverpc.client")

C_co = TypeVar("C_co", bound=PageContract[Any], covariant=True)
E = TypeVar("E", bound=Events)
D = TypeVar("D")

JoinLost = Callable[[str, Any, RpcError], object]  # gets the room's name, the payload or None, and why


class ContractPage(Generic[C_co]):
    """A contract on one connection, opened again on each that follows; made by ``connect`` or ``client.open``.

    ``async with`` opens it, which waits for the server's answer, and leaves it. What ``connect`` made has a client of
    its own, which is connected and closed with it.

    When the connection is lost, calls and joins wait for the next one as all calls of a client do. It begins with
    opening the contract, for which they wait, and with asking for its rooms again, which goes on beside them when the
    server takes long to decide. What was emitted meanwhile has not been heard, and nothing tells: load anew what you
    need, for instance in ``client.on_connect``.

    Args:
        client: What others may use the connection with.
        connection: Of the client.
        options: For calls; each is a request of its own.
        contract: What to open.
        parts: Of its URL, as text.
        owns: Whether client and page live and end together.

    Raises:
        ValueError: The options have an idempotency key, which belongs to one call.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        options: CallOptions,
        contract: type[C_co],
        parts: Mapping[str, str],
        *,
        owns: bool = False,
    ) -> None:
        assert contract.pattern is not None
        self.client = client
        self._connection = connection
        self._options = msgspec.structs.replace(options.keyless("a contract"), fresh=True)
        self._contract = contract
        self._owns = owns
        self._actions = contract.actions()
        self._rooms = contract.rooms()
        self._payloads = payloads_of(contract.events)
        self._listeners: dict[str, Listeners[Any]] = {event: Listeners() for event in self._payloads}
        self._unreadable: set[str] = set()  # events of which the log says so
        self._lost: Listeners[tuple[str, Any, RpcError]] = Listeners()
        self._statuses: Listeners[PageStatus] = Listeners()
        self._waiters = Waiters()
        self._begun = False
        self._open = OpenContract(
            contract.name,
            [dict(parts), contract.pattern.text],
            connection.core.config.timeout if options.timeout is None else options.timeout,
            on_change=self._changed,
            on_event=self._arrived,
            on_lost=self._tell_lost,
        )
        self._told = self.status

    # -- life

    async def open(self) -> Self:
        """Open the contract and wait until that is done; first, until another page of its name that is closed is gone.

        Raises:
            RpcError: The server did not open it, or did not answer in time; ``CONNECTION_CLOSED`` when the client is
                closed, also by the server because of a room that the contract requires. The page is closed then.
            RuntimeError: The page was used before, the client is not open, or has this contract open already.
        """
        if self._begun or self.status == "closed":
            raise RuntimeError(f"this page of {self._open.name} was used before; client.open() makes another")
        self._begun = True
        try:
            if self._owns:
                await self.client.__aenter__()
            self._connection.check_open()
            await self._connection.when_free(self._open.name)
            self._check()  # it may have been closed meanwhile
            self._connection.open_contract(self._open)
            while self.status == "connecting":
                await next_change([self._waiters])
            self._check()
            if (error := self._open.error) is not None:
                why = f"{self._open.name} ({self._open.args[1]}) was not opened: {error.message}"
                raise RpcError.from_dict(error.to_dict() | {"message": why})
        except BaseException:
            self._connection.leave_contract(self._open)
            if self._owns:
                await self.client.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Leave the contract and its rooms; iterators end. Harmless when done already.

        Calls, joins and leaves that are not answered end with ``CONNECTION_CLOSED``; those that were sent may have run.
        Returns when the server has answered, so that no event of this page reaches another one of the same contract.
        """
        left = self._connection.leave_contract(self._open)
        if self._owns:
            await self.client.aclose()
        await left.wait()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- state

    @property
    def status(self) -> PageStatus:
        """``connecting`` until the contract was opened, then ``connected``; ``reconnecting`` until it is open again.

        ``error`` while :attr:`error` says why it is not: the next connection tries again, and after an error that may
        pass this one, too. ``closed`` is final.
        """
        return self._open.status

    @property
    def error(self) -> RpcError | None:
        """Why the status is ``error``, or why the client was closed, and this with it; else None."""
        return self._open.error

    @property
    def joined(self) -> tuple[str, ...]:
        """The rooms that the server lets this page join without being asked; without a connection, as of the last."""
        return self._open.joined

    @property
    def refused(self) -> tuple[str, ...]:
        """Those that the page should have joined so, and could not."""
        return self._open.refused

    def on_status(self, callback: Callable[[PageStatus], object]) -> Callable[[], None]:
        """Call ``callback`` with the new status after each change; :attr:`error` says why, then.

        Returns:
            A function that ends it.

        Raises:
            RpcError: The page is closed (``CONNECTION_CLOSED``).
            TypeError: It is a coroutine function.
        """
        self._check_callback(callback)
        return self._statuses.add(callback)

    # -- use

    async def call(self, action: Action[C_co, P, Any, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an action of the contract: ``sent = await page.call(Chat.send, Send(text="hi"))``.

        What it emits to rooms of this page arrives before it returns. Otherwise as :meth:`Client.call`; but two
        identical calls are two requests.

        Raises:
            RpcError: As :meth:`Client.call`.
            TypeError: The action is not one of this contract, there are too many or too few arguments, or they have
                no JSON form.
            RuntimeError: The page is not open.
        """
        result: R = await self._call(action, args, kwargs, self._options)
        return result

    def using(self, *, timeout: float | None = None, idempotency_key: str | None = None) -> PageCalls[C_co]:
        """Calls with other options: ``await page.using(idempotency_key=key).call(Till.pay, Pay(5))``.

        Args:
            timeout: Seconds for the answer. Default: that of the page.
            idempotency_key: Lets the server recognise a repetition, for actions with ``@event(idempotent=True)``; 1 to
                256 characters.

        Raises:
            ValueError: An option has a value it cannot have.
        """
        return PageCalls(self, self._options.using(timeout, None, idempotency_key))

    async def _call(
        self, action: Action[C_co, ..., Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        self._check_member(action, self._actions, "an action")
        payload = action.bind(args, kwargs)
        await self._ready()
        return await self._connection.call_within(
            self._open, f"__event/{action.name}", payload, action.result_type, options
        )

    async def join(self, room: Joinable[C_co, P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Join a room, now and after each reconnect: ``await page.join(Chat.project, OpenProject("p1"))``.

        What is emitted to it from now on arrives. Returns at once when the page has joined with this payload already.
        If this is cancelled or fails with ``TIMEOUT``, the page may be in the room until its connection ends;
        :meth:`leave` makes sure that it is not.

        Raises:
            RpcError: ``JOIN_REJECTED``, whatever the reason; ``VALIDATION``; or as :meth:`Client.call`.
            TypeError: As :meth:`call`.
            RuntimeError: The page is not open.
        """
        self._check_member(room, self._rooms, "a room")
        payload = room.bind(args, kwargs)
        await self._ready()
        await self._connection.join_room(self._open, room.name, payload, self._options)

    @overload
    async def leave(self, room: Joinable[C_co, ...], /) -> None: ...
    @overload
    async def leave(self, room: Joinable[C_co, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    async def leave(self, room: Joinable[C_co, Any], /, *args: Any, **kwargs: Any) -> None:
        """Leave a room: with the payload it was joined with; without, all of that name. Harmless when not joined.

        Rooms that the page has not asked for stay: what the server joins by itself, it also leaves by itself.

        Raises:
            RpcError: As :meth:`Client.call`. It will not be joined again all the same.
            TypeError: As :meth:`call`.
            RuntimeError: The page is not open.
        """
        self._check_member(room, self._rooms, "a room")
        payload = room.bind(args, kwargs) if args or kwargs else []
        await self._ready()
        self._open.leave(room.name, payload)
        await self._connection.call_within(self._open, f"__leave/{room.name}", payload, Any, self._options)

    # -- news

    @overload
    def on(
        self: ContractPage[PageContract[E]], event: Callable[[E, D], None], callback: Callable[[D], object], /
    ) -> Callable[[], None]: ...
    @overload
    def on(
        self: ContractPage[PageContract[E]], event: Callable[[E], None], callback: Callable[[], object], /
    ) -> Callable[[], None]: ...
    def on(self, event: Callable[..., None], callback: Callable[..., object], /) -> Callable[[], None]:
        """Call ``callback`` with the payload of each such event: ``page.on(ToClient.message, show)``.

        It is called without argument for events that have no payload. What it raises is logged. An event whose payload
        does not fit the declared type is dropped and counted, and the first of its name is logged.

        Returns:
            A function that ends it. Others for the same event are not concerned.

        Raises:
            RpcError: The page is closed (``CONNECTION_CLOSED``).
            TypeError: The event is not one of this contract, or the callback a coroutine function.
        """
        name = self._name_of(event)
        self._check_callback(callback)
        if self._payloads[name] is not type(None):
            return self._listeners[name].add(callback)
        return self._listeners[name].add(lambda _: callback())

    @overload
    def events(self: ContractPage[PageContract[E]], event: Callable[[E, D], None], /) -> AsyncIterator[D]: ...
    @overload
    def events(self: ContractPage[PageContract[E]], event: Callable[[E], None], /) -> AsyncIterator[None]: ...
    def events(self, event: Callable[..., None], /) -> AsyncIterator[Any]:
        """The payloads of such events, from now on until the page is closed: ``async for m in page.events(...)``.

        1000 of them wait; with one more the oldest is dropped, and counted as ``contract_events_dropped``. An iterator
        that nobody holds any more is forgotten.

        Raises:
            TypeError: The event is not one of this contract.
        """
        listeners = self._listeners[self._name_of(event)]
        return Incoming(listeners, lambda: self.status == "closed", self._waiters, self._dropped)

    def on_join_lost(self, callback: JoinLost) -> Callable[[], None]:
        """Call ``callback`` when a room is lost: with name, payload and error.

        It could not be joined again after a reconnect, or the user may not be in it any more. The page is not in that
        room, and does not ask for it again by itself. Without a payload there is None.
        For a room that the server joined by itself, and refuses now, the error is a ``JOIN_REJECTED``.

        Returns:
            A function that ends it.

        Raises:
            RpcError, TypeError: As :meth:`on_status`.
        """
        self._check_callback(callback)
        return self._lost.add(lambda lost: callback(*lost))

    # -- inside

    async def _ready(self) -> None:
        """Make sure that it is open, or comes back."""
        self._check()

    def _check(self) -> None:
        if not self._begun:
            raise RuntimeError(f"this page of {self._open.name} is not open: use it in its `async with` block")
        self._check_not_closed()

    def _check_not_closed(self) -> None:
        if self.status == "closed":
            why = f"the page of {self._open.name} was closed" if self.error is None else self.error.message
            raise RpcError(ErrorCode.CONNECTION_CLOSED, why)

    def _check_callback(self, callback: Any) -> None:
        if inspect.iscoroutinefunction(callback):
            raise TypeError(
                f"{callback!r} is a coroutine function; callbacks are plain ones, and what is to be awaited goes into "
                "`async for ... in page.events(...)` or a task"
            )
        self._check_not_closed()

    def _changed(self) -> None:
        self._waiters.wake()
        before, self._told = self._told, self.status
        if before != self._told:  # it stays ``error`` when the server refuses once more
            self._statuses.tell(self._told)

    def _check_member(self, member: Any, known: Mapping[str, Any], what: str) -> None:
        if known.get(getattr(member, "name", "")) is not member:
            name = self._contract.__qualname__
            raise TypeError(f"{member!r} is not {what} of {name}, which has {', '.join(known) or 'none'}")

    def _name_of(self, event: Callable[..., None]) -> str:
        name = getattr(event, "__name__", "")
        if name not in self._payloads or getattr(self._contract.events, name) is not event:
            events = self._contract.events.__qualname__
            raise TypeError(f"{event!r} is not an event of {events}, which has {', '.join(self._payloads) or 'none'}")
        return name

    def _arrived(self, frame: EventFrame) -> None:
        listeners = self._listeners.get(frame.event)
        if not listeners:  # one that nobody wants is not decoded
            return
        payload, declared = None, self._payloads[frame.event]
        if declared is not type(None):
            try:
                payload = read_result(frame.event, frame.data, declared)
            except RpcError as error:
                self._connection.core.contracts.unreadable += 1
                if frame.event not in self._unreadable:
                    self._unreadable.add(frame.event)
                    log.warning(
                        "%s: %r is dropped, for its payload does not fit; further ones are only counted: %s",
                        self._open.name,
                        frame.event,
                        error.__cause__,
                    )
                return
        listeners.tell(payload)

    def _dropped(self) -> None:
        self._connection.core.contracts.dropped += 1

    def _tell_lost(self, room: str, args: list[Any], error: RpcError) -> None:
        if not self._lost:
            log.warning("%s: the room %r is lost: %s", self._open.name, room, error)
        self._lost.tell((room, next(iter(args), None), error))


class PageCalls(Generic[C_co]):
    """Calls of a page with other options; made by :meth:`ContractPage.using`."""

    def __init__(self, page: ContractPage[C_co], options: CallOptions) -> None:
        self._page = page
        self._options = options

    async def call(self, action: Action[C_co, P, Any, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As :meth:`ContractPage.call`."""
        result: R = await self._page._call(action, args, kwargs, self._options)
        return result
