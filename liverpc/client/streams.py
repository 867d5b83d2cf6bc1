"""The streams a client listens to, through all its connections."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from liverpc.client.calls import Call, Calls
from liverpc.client.failure import TRANSIENT, Backoff, Retry
from liverpc.client.store import Store, StreamCounters
from liverpc.client.subscription import Subscription
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.codec import control_text
from liverpc.wire.frames import EventFrame, Reply
from liverpc.wire.names import is_reserved

__all__ = ["KEPT_MAX", "Streams"]

KEPT_MAX = 1000  # values kept for those who come back; with one more the oldest is forgotten

OnPage = Callable[[bool | RpcError], object]


class Streams:
    """Asks for each stream on each connection, hands it its events, and leaves topics nobody holds.

    Subscriptions of the same stream share a store. When the last one leaves, the store is left at the end of
    the turn, and kept for a while: who comes back sees the old value at once, and the server is asked for
    what has changed only.

    Attributes:
        counters: What was given up or asked for again.

    Args:
        calls: Where the requests are made and waited for.
        start: Sends a request, now or when there is a connection.
        say: Sends a frame.
        now: The clock of the deadlines.
        backoff: Makes what tells how long to wait before a failed request is repeated.
        grace: Seconds a store is kept; 0: not at all.
    """

    def __init__(
        self,
        calls: Calls,
        start: Callable[[Call], object],
        say: Callable[[str], object],
        *,
        now: Callable[[], float],
        backoff: Callable[[], Backoff],
        grace: float,
    ) -> None:
        self._calls = calls
        self._start = start
        self._say = say
        self._now = now
        self._backoff = backoff
        self._grace = grace
        self.counters = StreamCounters()
        self._stores: dict[Store, None] = {}  # in the order in which they were opened
        self._shared: dict[Hashable, Store] = {}  # those that can be joined, the kept ones included
        self._keys: dict[Store, Hashable] = {}  # of these
        self._kept: OrderedDict[Store, float] = OrderedDict()  # until when, oldest first
        self._leaving: dict[Store, None] = {}  # lost their last subscription in this turn
        self._requests: dict[Store, Call] = {}  # of those that wait for their answer
        self._pages: dict[Store, Call] = {}
        self._retries: dict[Store, Retry] = {}
        self._topics: dict[str, dict[Store, None]] = {}  # answered on this connection
        self._unheld: dict[str, None] = {}  # topics to leave, in order
        self._connected = False

    @property
    def quiescent(self) -> bool:
        """Whether every stream in use has a value or an error of this connection."""
        return not any(store.views and store.status in ("loading", "reconnecting") for store in self._stores)

    # -- coming and leaving

    def add(self, subscription: Subscription) -> None:
        """Show the stream from now on, through all connections; TypeError when its arguments have no JSON form."""
        key = subscription.store.key()
        store = self._shared.get(key) if key is not None else None
        if store is None:
            store = subscription.store
            store.counters = self.counters
            if key is not None:
                self._shared[key] = store
                self._keys[store] = key
        else:
            subscription.join(store)
        store.views[subscription] = None
        self._leaving.pop(store, None)
        self._kept.pop(store, None)
        if store not in self._stores or store.status == "error":
            self._stores[store] = None
            store.begin()
            self._ask(store)

    def remove(self, subscription: Subscription) -> None:
        """Stop listening. Harmless when done already."""
        store = subscription.store
        if subscription not in store.views:
            return
        del store.views[subscription]
        subscription.leave()
        if not store.views and store in self._stores:
            self._leaving[store] = None

    @property
    def turn_is_open(self) -> bool:
        """Whether :meth:`end_turn` has something to do."""
        return bool(self._leaving)

    def end_turn(self) -> None:
        """Leave the streams that nobody has come back to."""
        leaving, self._leaving = self._leaving, {}
        for store in leaving:
            self._leave(store)
        if leaving:
            self._say_goodbyes()

    def _leave(self, store: Store) -> None:
        del self._stores[store]
        self._retries.pop(store, None)
        request = self._requests.pop(store, None)
        if request is not None:
            self._calls.cancel(request)
        page = self._pages.get(store)
        if page is not None:
            self._calls.answer(page, RpcError(ErrorCode.CONNECTION_CLOSED, f"nobody uses {store.path} any more"))
        self._attach(store, None)
        if store in self._keys:
            self._kept[store] = self._now() + self._grace
            if not store.has_value or self._grace == 0:
                self._forget(store)
            elif len(self._kept) > KEPT_MAX:
                self.counters.evicted += 1
                self._forget(next(iter(self._kept)))

    def _forget(self, store: Store) -> None:
        del self._kept[store]
        del self._shared[self._keys.pop(store)]

    # -- requests

    def _ask(self, store: Store) -> None:
        """Request it, unless that is being done; who listens to it already asks for what is missing only."""
        if store in self._requests or store not in self._stores:
            return
        resync = store in self._topics.get(store.topic or "", ())
        done = partial(self._answered, store, resync)
        call = self._calls.new(
            store.path, store.args, store.timeout, done, stream=True, members=store.request(resync=resync)
        )
        self.counters.resyncs += resync
        self._requests[store] = call
        self._start(call)

    def _answered(self, store: Store, resync: bool, call: Call) -> None:
        del self._requests[store]
        outcome = call.outcome
        if isinstance(outcome, Reply):
            before = store.position.seq, store.position.epoch
            self._attach(store, outcome.topic)
            store.load(outcome)
            if not store.missing:
                self._retries.pop(store, None)
            elif resync and before == (store.position.seq, store.position.epoch):
                self._ask_later(store)  # the server does not know better
            else:
                self._ask(store)
        elif outcome is not None:
            if outcome.code in TRANSIENT:
                self._ask_later(store, outcome.retry_after or 0.0)
            else:
                # Whoever is refused what is missing listens no longer: each further event would ask again.
                self._retries.pop(store, None)
                self._attach(store, None)
            store.fail(outcome)
        self._say_goodbyes()

    def _ask_later(self, store: Store, at_least: float = 0.0) -> None:
        if store not in self._stores or not self._connected:  # the next connection asks for all of them
            return
        retry = self._retries.get(store) or Retry(self._backoff(), 0.0)
        retry.postpone(self._now(), at_least)
        self._retries[store] = retry

    def load_more(self, subscription: Subscription, args: list[Any], on_done: OnPage) -> bool:
        """Request the next page; TypeError when the arguments have no JSON form.

        Args:
            subscription: Whose stream.
            args: Behind the stream's own.
            on_done: Told whether there are further pages, or the error, when the answer has come.

        Returns:
            Whether it was requested: there is one, and it is not requested already.
        """
        store = subscription.store
        if not store.has_more or store in self._pages or store not in self._stores:
            return False
        done = partial(self._paged, store, store.generation, on_done)
        call = self._calls.new(
            store.path, [*store.args, *args], store.timeout, done, stream=True, members=store.page_request()
        )
        self._pages[store] = call
        self._start(call)
        return True

    def _paged(self, store: Store, generation: int, on_done: OnPage, call: Call) -> None:
        del self._pages[store]
        outcome = call.outcome
        if isinstance(outcome, RpcError):
            on_done(outcome)
            return
        # The page of a value that was replaced meanwhile is none of the new one's.
        if isinstance(outcome, Reply) and generation == store.generation:
            try:
                store.extend(outcome)
            except RpcError as error:
                on_done(error)
                return
        on_done(store.has_more)

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`expire` has something to do next."""
        kept = next(iter(self._kept.values()), math.inf)
        due = min((retry.due for store, retry in self._retries.items() if store not in self._requests), default=kept)
        due = min(due, kept)
        return None if due == math.inf else due

    def expire(self) -> None:
        """Ask again for what has failed or is missing, and forget what was kept long enough."""
        now = self._now()
        while self._kept and next(iter(self._kept.values())) <= now:
            self._forget(next(iter(self._kept)))
        for store, retry in tuple(self._retries.items()):
            if retry.due <= now:
                self._ask(store)

    # -- the connection

    def reopen(self) -> list[Call]:
        """Ask again for every stream that is not asked for. Returns all unanswered requests."""
        self.end_turn()
        self._connected = True
        for store in self._stores:
            self._ask(store)
        return [*(self._requests[store] for store in self._stores), *self._pages.values()]

    def forget_connection(self) -> None:
        """The connection is gone, and with it what the server knew of our topics."""
        self._connected = False
        self._topics.clear()
        self._unheld.clear()
        self._retries.clear()

    def opening(self) -> set[Call]:
        """The requests of streams that were never answered; the others are given up.

        Whoever opens a stream waits on when the connection is lost, for as long as was agreed. Who waits for
        a page does not.
        """
        for page in tuple(self._pages.values()):
            self._calls.answer(page, RpcError(ErrorCode.DISCONNECTED, f"{page.path}: the connection was lost"))
        for store, request in tuple(self._requests.items()):
            if store.answered:
                self._calls.cancel(request)
                del self._requests[store]
        return set(self._requests.values())

    def suspend(self) -> None:
        """Tell every stream that the connection is lost."""
        for store in tuple(self._stores):
            if store in self._stores:  # a callback may have closed the client
                store.suspend()

    def drop(self) -> list[Store]:
        """Forget everything. Returns the streams, which nobody keeps up to date any more."""
        for request in self._requests.values():
            self._calls.cancel(request)
        self._requests.clear()
        self._leaving.clear()
        self._kept.clear()
        self._keys.clear()
        self._shared.clear()
        stores, self._stores = self._stores, {}
        return list(stores)

    # -- frames

    def event(self, frame: EventFrame) -> bool:
        """Whether a stream has this topic; it has got the event then."""
        stores = tuple(self._topics.get(frame.topic, ()))
        for store in stores:
            store.receive(frame)
            if store.missing and store not in self._retries:
                self._ask(store)
        return bool(stores)

    def denied(self, topic: str, reason: str) -> None:
        for store in tuple(self._topics.get(topic, ())):
            store.fail(RpcError(reason, f"the server refuses the topic {topic!r}"))

    def unexpected(self, topic: str) -> None:
        """A request nobody waits for any more was answered: for the server, we listen to this topic."""
        self._unheld[topic] = None
        self._say_goodbyes()

    def _attach(self, store: Store, topic: str | None) -> None:
        """The server sends the store's events on this topic from now on, and on no other."""
        before = self._topics.get(store.topic or "", {})
        if store.topic is not None and store.topic != topic and store in before:
            del before[store]
            if not before:
                del self._topics[store.topic]
                self._unheld[store.topic] = None
        if topic is not None:
            self._topics.setdefault(topic, {})[store] = None
            self._unheld.pop(topic, None)

    def _say_goodbyes(self) -> None:
        """Unsubscribe from the topics nobody holds.

        Not while a stream request is being answered: it may be about such a topic, and the server might
        handle it before the goodbye.
        """
        if not self._unheld or self._requests:
            return
        for topic in self._unheld:
            if topic not in self._topics and not is_reserved(topic):
                self._say(control_text("unsubscribe", topic=topic))
        self._unheld.clear()
