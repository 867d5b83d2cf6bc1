"""What a blocking program holds of a contract that it has opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from liverpc._types import P, R
from liverpc.client import contract as pages
from liverpc.client.contract import JoinLost
from liverpc.client.opened import PageStatus
from liverpc.client.portal import Blocking, Portal
from liverpc.errors import RpcError
from liverpc.pages import Action, Events, Joinable, PageContract

if TYPE_CHECKING:
    from liverpc.client.sync import Client

__all__ = ["ContractPage", "PageCalls"]

C_co = TypeVar("C_co", bound=PageContract[Any], covariant=True)
E = TypeVar("E", bound=Events)
D = TypeVar("D")


class ContractPage(Generic[C_co]):
    """A contract on one connection, opened again on each that follows; made by ``connect`` or ``client.open``.

    ``with`` opens it, which waits for the server's answer, and leaves it. What ``connect`` made has a client of its
    own, which is connected and closed with it. Words and errors are those of the asyncio client's page.

    Callbacks are called on the client's own thread, where waiting for the client is a ``RuntimeError``.

    Args:
        client: What others may use the connection with.
        portal: Gives the client's portal; RuntimeError before there is one.
        make: Makes the asyncio client's page.
        owns: Whether client and page live and end together.
    """

    def __init__(
        self,
        client: Client,
        portal: Callable[[], Portal],
        make: Callable[[], pages.ContractPage[C_co]],
        *,
        owns: bool = False,
    ) -> None:
        self.client = client
        self._get_portal = portal
        self._make = make
        self._owns = owns
        self._made: pages.ContractPage[C_co] | None = None

    # -- life

    def open(self) -> Self:
        """Open the contract and wait until that is done; raises what the asyncio client's page does."""
        if self._made is not None:
            raise RuntimeError("a page is opened once; connect() and client.open() make others")
        if self._owns:
            self.client.__enter__()
        try:
            page = self._made = self._portal.do(self._make)
            self._portal.run(page.open)
        except BaseException:
            if self._owns:
                self.client.close()
            raise
        return self

    def close(self) -> None:
        """Leave the contract and its rooms; iterators end. Harmless when done already."""
        if self._owns:
            self.client.close()
        elif self._made is not None:
            with suppress(RpcError):  # the client was closed, and the page with it
                self._portal.run(self._made.aclose)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _portal(self) -> Portal:
        return self._get_portal()

    @property
    def _page(self) -> pages.ContractPage[C_co]:
        if self._made is None:
            raise RuntimeError("this page is not open: use it in its `with` block")
        return self._made

    # -- state

    @property
    def status(self) -> PageStatus:
        """As of the asyncio client's page."""
        return self._page.status

    @property
    def error(self) -> RpcError | None:
        """As of the asyncio client's page."""
        return self._page.error

    @property
    def joined(self) -> tuple[str, ...]:
        """The rooms that the server let this page join without being asked, when it was last opened."""
        return self._page.joined

    @property
    def refused(self) -> tuple[str, ...]:
        """Those that the page should have joined so, and could not."""
        return self._page.refused

    def on_status(self, callback: Callable[[PageStatus], object]) -> Callable[[], None]:
        """Call ``callback`` with the new status after each change. Returns a function that ends it."""
        return self._stopper(lambda: self._page.on_status(callback))

    # -- use

    def call(self, action: Action[C_co, P, Any, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an action of the contract and wait for what it returns."""
        page = self._page
        return self._portal.run(lambda: page.call(action, *args, **kwargs))

    def using(self, *, timeout: float | None = None, idempotency_key: str | None = None) -> PageCalls[C_co]:
        """Calls with other options: ``page.using(idempotency_key=key).call(Till.pay, Pay(5))``."""
        return PageCalls(self._portal, self._page.using(timeout=timeout, idempotency_key=idempotency_key))

    def join(self, room: Joinable[C_co, P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Join a room, now and after each reconnect."""
        page = self._page
        self._portal.run(lambda: page.join(room, *args, **kwargs))

    @overload
    def leave(self, room: Joinable[C_co, ...], /) -> None: ...
    @overload
    def leave(self, room: Joinable[C_co, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    def leave(self, room: Joinable[C_co, Any], /, *args: Any, **kwargs: Any) -> None:
        """Leave a room: with the payload it was joined with; without, all of that name."""
        page = self._page
        self._portal.run(lambda: page.leave(room, *args, **kwargs))

    # -- news

    @overload
    def on(
        self: ContractPage[PageContract[E]], event: Callable[[E, D], None], callback: Callable[[D], object], /
    ) -> Callable[[], None]: ...
    @overload
    def on(
        self: ContractPage[PageContract[E]], event: Callable[[E], None], callback: Callable[[], object], /
    ) -> Callable[[], None]: ...
    def on(self, event: Any, callback: Any, /) -> Callable[[], None]:
        """Call ``callback`` with the payload of each such event. Returns a function that ends it."""
        return self._stopper(lambda: self._page.on(event, callback))

    @overload
    def events(
        self: ContractPage[PageContract[E]], event: Callable[[E, D], None], /, timeout: float | None = None
    ) -> Iterator[D]: ...
    @overload
    def events(
        self: ContractPage[PageContract[E]], event: Callable[[E], None], /, timeout: float | None = None
    ) -> Iterator[None]: ...
    def events(self, event: Any, /, timeout: float | None = None) -> Iterator[Any]:
        """The payloads of such events, from now on until the page is closed.

        Args:
            event: Such as ``ToClient.message``.
            timeout: Seconds after which asking for the next one raises ``TimeoutError``; it can be asked for again.
        """
        return Blocking(self._portal, self._portal.do(lambda: self._page.events(event)), timeout)

    def on_join_lost(self, callback: JoinLost) -> Callable[[], None]:
        """Call ``callback`` when a room is lost, as ``ContractPage.on_join_lost``. Returns a function that ends it."""
        return self._stopper(lambda: self._page.on_join_lost(callback))

    def _stopper(self, register: Callable[[], Callable[[], None]]) -> Callable[[], None]:
        portal = self._portal
        stop = portal.do(register)
        return lambda: portal.do(stop)


class PageCalls(Generic[C_co]):
    """Calls of a page with other options; made by :meth:`ContractPage.using`."""

    def __init__(self, portal: Portal, calls: pages.PageCalls[C_co]) -> None:
        self._portal = portal
        self._calls = calls

    def call(self, action: Action[C_co, P, Any, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As :meth:`ContractPage.call`."""
        return self._portal.run(lambda: self._calls.call(action, *args, **kwargs))
