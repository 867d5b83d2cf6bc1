"""What a client knows of one stream: its value, and how replies and events change it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from msgspec import UNSET, Raw

from liverpc._types import Json
from liverpc.client.convert import read_json, row_converter
from liverpc.client.listeners import guarded
from liverpc.client.overlay import PAGE, Overlay
from liverpc.client.position import Position
from liverpc.errors import ErrorCode, RpcError
from liverpc.merge import REFRESHED, Fold, make_fold
from liverpc.wire.codec import UNREADABLE, canonical, decode_replayed
from liverpc.wire.frames import EventFrame, Reply

if TYPE_CHECKING:
    from liverpc.client.subscription import Subscription

__all__ = ["Store", "StreamCounters", "StreamObserver", "StreamStatus"]

log = logging.getLogger("liverpc.client")

StreamStatus = Literal["loading", "connected", "reconnecting", "error"]


class StreamCounters:
    """What the streams of one client had to give up or ask for again."""

    def __init__(self) -> None:
        self.evicted = 0  #: values kept for those who come back that were forgotten before their time
        self.overflowed = 0  #: events dropped because too many waited for those before them
        self.resyncs = 0  #: requests for what was missed while connected
        self.changes_refused = 0  #: optimistic changes refused because too many waited for the server


class StreamObserver(Protocol):
    """Follows how a stream's value comes about: each answer to its request is one of the first two."""

    def whole(self, value: Json, /) -> None:
        """The server sent the whole value: at first, when it does not know what was missed, and when it reloads."""

    def missed(self, data: list[Json], /) -> None:
        """The server sent what was missed since the last connection, or else: events or changed rows, perhaps none."""

    def event(self, data: Json, /) -> None:
        """An event came, and it was its turn."""


class Store:
    """One stream of a client, shared by all its subscriptions; kept up to date by ``Streams``.

    Attributes:
        path: The stream's path.
        args: Its arguments, in wire order.
        timeout: Seconds an answer may take.
        pinned: The version of the rows' schema that its subscribers want; None: the server's.
        views: The subscriptions that show it.
        counters: The client's.
        status: As of :class:`Subscription`, like ``error``, ``topic``, ``version`` and ``answered``.
        base: The server's value, before any change of the client's own; None: it has sent none.
        overlay: The client's own changes; what it makes of ``base`` is shown.
        has_more: Whether there is a further page that can be asked for.
        cursor: Where it begins.
        generation: Counts how often the whole value was replaced.
        missing: Whether it has to be requested again: events are missing, or all is to be fetched anew.
        gated: Whether the server has nothing to stream at present.
        position: In the topic's log.
    """

    def __init__(
        self,
        path: str,
        args: list[Any],
        *,
        result_type: Any,
        timeout: float,
        schema_version: int | None,
        on_event: Callable[[EventFrame], object] | None,
        observer: StreamObserver | None,
    ) -> None:
        self.path = path
        self.args = args
        self.timeout = timeout
        self.pinned = schema_version
        self.views: dict[Subscription, None] = {}
        self.counters = StreamCounters()
        self.status: StreamStatus = "loading"
        self.error: RpcError | None = None
        self.topic: str | None = None
        self.version = 0
        self.answered = False
        self.base: Fold | None = None
        self.overlay: Overlay | None = None
        self.has_more = False
        self.cursor: Json = None
        self.generation = 0
        self.missing = False
        self.gated = False
        self.position = Position()
        self._result_type = result_type
        self._on_event = on_event
        self._observer = observer
        self._options: tuple[str, str, bool, int] | None = None
        self._hydrated: Any = UNSET  # shown while there is no base
        self._known_version: Json = None  # of the rows, by the server's count
        self._known_schema: int | None = None
        self._misfit: RpcError | None = None
        self._paged = False  # the loader returns pages

    @property
    def has_value(self) -> bool:
        """Whether there is a value to show."""
        return self.base is not None or self._hydrated is not UNSET

    @property
    def value(self) -> Any:
        """What is to be shown, when there is a value."""
        if self.base is None:
            return self._hydrated
        own = None if self.overlay is None else self.overlay.shown
        return (self.base if own is None else own).value

    def own_changes(self) -> Overlay:
        """The client's own changes, from now on there."""
        if self.overlay is None:
            self.overlay = Overlay(lambda: self.base, self._changed_here, self.counters)
        return self.overlay

    def _changed_here(self) -> None:
        self.version += 1
        self.changed()

    def key(self) -> Hashable:
        """What those who share a store have in common; None: they share none. TypeError without a JSON form."""
        args = canonical(self.args)
        if self._on_event is not None or self._observer is not None:
            return None
        declared = self._result_type
        try:
            hash(declared)
        except TypeError:
            declared = id(declared)  # this store keeps it alive
        return self.path, args, declared, self.pinned

    def last(self) -> Store:
        """A copy that nothing changes any more, for who has left and has read the value."""
        store = copy.copy(self)
        store.views = {}
        store.overlay = None
        return store

    # -- what requests say

    def request(self, *, resync: bool) -> dict[str, Json]:
        """The members of a request that say what is known here."""
        position = self.position
        members = {"seq": position.seq, "epoch": position.epoch, "schemaVersion": self._schema}
        # A delta tells rows, not events: the events that are missing here would be missing on.
        members |= {"resync": True} if resync else {"version": self._known_version}
        return {name: value for name, value in members.items() if value is not None}

    def page_request(self) -> dict[str, Json]:
        """The members of a request for the next page."""
        members: dict[str, Json] = {"cursor": self.cursor}
        return members if self._schema is None else members | {"schemaVersion": self._schema}

    @property
    def _schema(self) -> int | None:
        return self._known_schema if self.pinned is None else self.pinned

    def forget(self) -> bool:
        """The next request asks for the whole value. Returns whether it would not have anyway."""
        known = self.position.seq is not None or self._known_version is not None
        self.position.move(None, None)
        self._known_version = None
        return known

    # -- replies

    def hydrate(self, value: Any) -> None:
        """Show a value until the server's comes; nothing happens when there is one."""
        if self.has_value or self._on_event is not None:
            return
        try:
            convert = row_converter("set", self._result_type)
            self._hydrated = value if convert is None else convert(msgspec.to_builtins(value, str_keys=True))
        except Exception as error:  # a type's own __post_init__ may raise anything
            log.warning("%s: the value given to hydrate() does not fit and is not shown: %s", self.path, error)
            return
        self._changed_here()

    def load(self, reply: Reply) -> None:
        """Take the answer to a request."""
        self.topic, self.gated = reply.topic, reply.gated
        self.missing = False
        if self._on_event is None:
            try:
                if not self._install(reply):
                    self.missing = True
                    return
            except Exception as error:  # a type's own __post_init__ may raise anything
                self.forget()
                self.fail(RpcError(ErrorCode.STREAM_ERROR, f"{self.path}: the initial data: {error}"))
                return
            if self._misfit is not None:
                self.forget()
            self.missing = self.position.behind
        self.answered = True
        self._become("connected" if self._misfit is None else "error", self._misfit)

    def _install(self, reply: Reply) -> bool:
        """Returns False when the reply tells changes of something that is not here, and all is to be fetched anew."""
        self._misfit = None
        if reply.topic is None:
            self._empty(reply)
            return True
        options = (reply.merge, reply.key, reply.prepend, reply.max)
        whole = not (reply.unchanged or reply.delta or reply.replay)
        if whole:
            self._replace(reply, options)
        elif self.base is None or options != self._options or not self._patch(self.base, reply):
            if not self.forget():
                raise TypeError("the server tells what has changed, but was not told since when")
            return False
        self._take_position(reply, whole=whole)
        if self.base is not None:
            self._apply_due(self.base)
        return True

    def _empty(self, reply: Reply) -> None:
        """The server has nothing to stream at present."""
        if not reply.gated and reply.data is not UNSET and read_json(reply.data) is not None:
            raise TypeError("the answer names no topic; is this a call rather than a stream?")
        self.forget()
        self._turn_page(None, None)
        if self.has_value:
            self.base, self._options, self._hydrated = None, None, UNSET
            self._rebased(None, None)

    def _replace(self, reply: Reply, options: tuple[str, str, bool, int]) -> None:
        data = None if reply.data is UNSET else read_json(reply.data)
        placeholder = reply.channel or reply.derived
        fold = self.base
        if fold is None or options != self._options:
            merge, key, prepend, limit = options
            convert = row_converter(merge, self._result_type)
            fold = make_fold(merge, key=key, prepend=prepend, max=limit, convert=convert)
            if placeholder and self._hydrated is not UNSET:
                data = msgspec.to_builtins(self._hydrated, str_keys=True)
                if merge != "set" and not isinstance(data, list):
                    log.warning("%s: the value given to hydrate() is no list, as merge %r needs", self.path, merge)
        elif placeholder:
            return  # what was collected so far is more than a placeholder
        if not (reply.channel and data is None):
            fold.load(data)
        if self._observer is not None and not placeholder:
            guarded(self._observer.whole, data)
        self.base, self._options, self._hydrated = fold, options, UNSET
        self.generation += 1
        self._rebased(None, None)

    def _patch(self, base: Fold, reply: Reply) -> bool:
        changes = self._missed(reply)
        if changes is None:
            return False
        for event, data in changes:
            self._apply(base, event, data)
        if self._observer is not None:
            guarded(self._observer.missed, [data for _, data in changes])
        return True

    def _missed(self, reply: Reply) -> list[tuple[str, Json]] | None:
        """The events that bring the value up to date; None when the answer does not tell them."""
        if reply.unchanged:
            return []
        data = Raw(b"[]") if reply.data is UNSET else reply.data
        if reply.replay:
            events = decode_replayed(data)
            if events is None or (self._paged and any(event.event == REFRESHED for event in events)):
                return None  # of a page that was loaded anew, a log does not say where the next one begins
            seq = self.position.seq
            return [
                (event.event, read_json(event.data))
                for event in events
                if event.seq is None or seq is None or event.seq > seq
            ]
        rows = read_json(data)
        if not isinstance(rows, list):
            return None
        # Created replaces a row that is known; gone is what says true, or what JavaScript takes for it.
        return [("deleted" if isinstance(row, dict) and bool(row.get("_deleted")) else "created", row) for row in rows]

    def _take_position(self, reply: Reply, *, whole: bool) -> None:
        position = self.position
        if whole:
            position.move(reply.seq, reply.epoch)
            self._known_version = reply.version
            self._paged = reply.has_more is not None
        else:
            position.move(
                position.seq if reply.seq is None else reply.seq,
                position.epoch if reply.epoch is None else reply.epoch,
            )
            if reply.version is not None:
                self._known_version = reply.version
        if whole or reply.has_more is not None:
            self._turn_page(reply.has_more, reply.cursor)
        if reply.schema_version is not None:
            self._known_schema = reply.schema_version

    def extend(self, reply: Reply) -> None:
        """Take the answer to a request for a page.

        Raises:
            RpcError: ``STREAM_ERROR``: it does not fit the declared type. Nothing has changed.
        """
        data = None if reply.data is UNSET else read_json(reply.data)
        try:
            changed = self.base is not None and self.base.extend(data)
        except Exception as error:
            raise RpcError(ErrorCode.STREAM_ERROR, f"{self.path}: the next page: {error}") from error
        self._turn_page(reply.has_more, reply.cursor)
        if changed:
            self._rebased(PAGE, data)
        self.changed()

    def _turn_page(self, has_more: bool | None, cursor: Json) -> None:
        self.has_more, self.cursor = bool(has_more) and cursor is not None, cursor

    # -- events

    def receive(self, frame: EventFrame) -> None:
        """Take an event of the topic; ``missing`` tells what becomes of it."""
        if self._on_event is not None:
            guarded(self._on_event, frame)
            return
        if self.base is None:
            return
        before = self.version
        self._misfit = None
        try:
            data = read_json(frame.data)
        except UNREADABLE as error:
            self._misfits(frame.event, error)
        else:
            self._arrived(self.base, frame, data)
        if self._misfit is not None:
            self.fail(self._misfit)
        elif self.version != before:
            self.changed()

    def _arrived(self, base: Fold, frame: EventFrame, data: Json) -> None:
        if isinstance(data, dict) and data.get("truncated") is True and "reqId" in data:
            self.forget()
            self.missing = True
        elif self.position.is_turn_of(frame.seq):
            self._take(base, frame, data)
            self._apply_due(base)
        else:
            self.counters.overflowed += self.position.hold(frame)
            self.missing = self.missing or self.position.behind

    def _apply_due(self, base: Fold) -> None:
        for frame in self.position.due():
            self._take(base, frame, read_json(frame.data))

    def _take(self, base: Fold, frame: EventFrame, data: Json) -> None:
        self._apply(base, frame.event, data)
        if self._observer is not None:
            guarded(self._observer.whole if frame.event == REFRESHED else self._observer.event, data)
        if frame.event == REFRESHED and self._misfit is None:
            self._paged = frame.has_more is not None
            self._turn_page(frame.has_more, frame.cursor)

    def _apply(self, base: Fold, event: str, data: Json) -> None:
        try:
            changed = base.apply(event, data)
        except Exception as error:
            self._misfits(event, error)
            return
        if event == REFRESHED:
            self.generation += 1
        if changed:
            self._rebased(event, data)

    def _misfits(self, event: str, error: Exception) -> None:
        self._misfit = RpcError(ErrorCode.STREAM_ERROR, f"{self.path}: the event {event!r}: {error}")
        self.forget()  # to catch up from here would hide that this event is missing

    def _rebased(self, event: str | None, data: Json) -> None:
        """``base`` has changed: by this event, by a ``PAGE``, or with None as a whole."""
        self.version += 1
        if self.overlay is not None:
            self.overlay.rebase(event, data)

    # -- status

    def begin(self) -> None:
        """It will be asked for: by the first who wants it, or by one more after an error."""
        self.answered = False
        if self.status != "loading":
            self._become("loading")

    def fail(self, error: RpcError) -> None:
        """Enter the status ``error``. The value stays."""
        self.answered = True
        self._become("error", error)

    def suspend(self) -> None:
        """The connection is lost."""
        if self.status != "loading":
            self._become("reconnecting")

    def changed(self) -> None:
        """Tell all who show it."""
        for view in tuple(self.views):
            if view in self.views:  # a callback may have left it
                view.tell()

    def _become(self, status: StreamStatus, error: RpcError | None = None) -> None:
        self.status = status
        self.error = error
        self.changed()
