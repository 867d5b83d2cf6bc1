"""Changes that the server has not agreed to yet, kept apart from what it has sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import UNSET, ValidationError

from liverpc._types import Created, Deleted, Json, RowChange, Updated
from liverpc.client.history import History, Moment
from liverpc.errors import ErrorCode, RpcError
from liverpc.merge import REFRESHED, Fold

if TYPE_CHECKING:
    from liverpc.client.store import StreamCounters

__all__ = ["PAGE", "Change", "Entry", "Overlay"]

log = logging.getLogger("liverpc.client")

PAGE = '"page"'  # what Overlay.rebase calls it; no event can be called so
DEPTH_MAX = 1000  # changes of one stream that the server has not agreed to; the next one is refused

Change: TypeAlias = RowChange[Any] | Callable[[Any], Any]


class Entry:
    """One change that waits for the server; made by :meth:`Overlay.begin`."""

    __slots__ = ("change", "event", "frozen", "row", "seen", "warned")

    def __init__(self, change: Change, seen: int) -> None:
        self.change = change
        self.seen = seen  # how often the server had changed the value when it began
        self.event: tuple[str, Json] | None = None  # what a server would say; None for functions and while unknown
        self.row: tuple[Hashable, bool] | None = None  # which row that is about, and whether it goes
        self.frozen = False  # a step of the history holds what it did, or did not
        self.warned = False


class Overlay:
    """The value of a stream as the user sees it: the server's, and over it what this client did meanwhile.

    Whenever the server's value changes, the changes that wait are made again over the new one. The server
    confirms a change of a row by an event about the same row: the change is dropped, for the event did it.
    Each event confirms one change, the oldest; that a row was removed confirms all changes of that row up to
    its removal, and nothing else confirms a removal.

    A step of the history is another value to begin with instead of the server's. Events change both. The history
    follows what becomes of a change: one that is given up is in no step any more, and one that the server confirms
    is in all of them what the server says.

    Args:
        base: Gives what the server has sent, None while that is nothing.
        changed: Called after each change of the value that the server did not make.
        counters: Where refused changes are counted.
    """

    def __init__(
        self, base: Callable[[], Fold | None], changed: Callable[[], object], counters: StreamCounters
    ) -> None:
        self._base = base
        self._changed = changed
        self._counters = counters
        self._entries: dict[Entry, None] = {}  # in the order in which they began
        self._seen = 0  # changes that the server made
        self._local: Fold | None = None  # a step of the history, and the events since
        self._shown: Fold | None = None  # the changes that wait, over that or the base; None when there are none
        self._history: History | None = None

    @property
    def shown(self) -> Fold | None:
        """What is shown in place of the server's value; None: that itself."""
        return self._shown or self._local

    @property
    def value(self) -> Any:
        """What the user sees; ``UNSET`` before the server's first value."""
        fold = self.shown or self._base()
        return UNSET if fold is None else fold.value

    # -- changes of this client

    def begin(self, change: Change) -> Entry:
        """Make a change that the server has not agreed to yet.

        Before the first value it is only noted, and made when there is one.

        Raises:
            TypeError: It is no change, it does not fit the stream, or the function's result does not.
            RpcError: ``QUEUE_FULL``: 1000 changes wait.
            Exception: Whatever the function raises. In all cases nothing has happened.
        """
        if isinstance(change, type) and issubclass(change, Created | Updated | Deleted):
            missing = "key" if issubclass(change, Deleted) else "row"
            raise TypeError(f"{change.__name__}({missing}) is missing its {missing}")
        if not (isinstance(change, Created | Updated | Deleted) or callable(change)):
            raise TypeError(
                f"a change is Created(row), Updated(row), Deleted(key) or a function, not {type(change).__name__}"
            )
        if len(self._entries) >= DEPTH_MAX:
            self._counters.changes_refused += 1
            raise RpcError(
                ErrorCode.QUEUE_FULL,
                f"{DEPTH_MAX} optimistic changes of this stream wait for the server: wait for some of them first",
            )
        entry = Entry(change, self._seen)
        changed = False
        start = self._local or self._base()
        if start is not None:
            shown = self._shown or start.fork()
            try:
                changed = _make(entry, shown)
            except ValidationError as error:
                raise TypeError(
                    f"{type(change).__name__}(...) does not fit the rows of this stream: {error}"
                ) from error
            self._shown = shown
        self._entries[entry] = None
        if changed:
            if self._history is not None:
                self._history.record(self.moment())
            self._changed()
        return entry

    def agreed(self, entry: Entry) -> None:
        """The server did what was asked: the change becomes part of its value, unless it was confirmed.

        A change without a row, that is a function or a row under ``latest``, is dropped when the server has
        changed the value since: what it said counts, and the change would be made twice. Harmless when done.
        """
        if entry not in self._entries:
            return
        first = next((other for other in self._entries if not other.frozen), None)
        del self._entries[entry]
        base = self._base()
        if base is None:
            return  # what is loaded later tells of it
        kept = entry.row is not None or entry.seen == self._seen
        if kept:
            self._try(entry, base)
            if self._local is not None and not entry.frozen:
                self._try(entry, self._local)
        if entry.frozen or (kept and entry is first):
            return  # the same changes in the same order: nothing to be seen
        self._replay()
        self._settle_in_history(entry, gone=not kept)
        self._changed()

    def withdraw(self, entry: Entry) -> None:
        """Take the change back. Harmless when it was settled or confirmed.

        If it began before a step of the history, that step is given up: what of its value is due to the change,
        nobody knows.
        """
        if entry not in self._entries:
            return
        del self._entries[entry]
        if entry.frozen:
            self._forget_step()
        if self._base() is not None:
            self._replay()
            self._settle_in_history(entry, gone=True)
            self._changed()

    # -- changes of the server

    def rebase(self, event: str | None, data: Json) -> None:
        """The server's value has changed: by this event, by a ``PAGE``, or with None as a whole.

        In the last case the history is empty, and a step of it is no longer shown. After ``refreshed``, too,
        the server's value is, but it is a step like others.
        """
        confirmed = None
        if event is None:
            self._seen += 1
            self._forget_step()
            for entry in self._entries:
                entry.event = entry.row = None  # another kind of fold may have other words for it
        elif event == PAGE:
            if self._local is not None:
                self._local.extend(data)
        else:
            self._seen += 1
            confirmed = self._confirm(event, data)
            if event == REFRESHED:
                self._forget_step()
            elif self._local is not None:
                self._local.apply(event, data)
        self._replay()
        if self._history is None:
            return
        if event is None:
            self._history.clear(self.moment())
        elif confirmed is not None:
            self._settle_in_history(confirmed, gone=False)
        else:
            self._history.record(self.moment())

    def _confirm(self, event: str, data: Json) -> Entry | None:
        """Drop the changes that the server has made. Returns the one that the event stands for, if any."""
        base = self._base()
        about = None if base is None else base.about(event, data)
        if about is None:
            return None
        identity, removed = about
        for entry in tuple(self._entries):
            if entry.row is None or entry.row[0] != identity:
                continue
            removes = entry.row[1]
            if removes and not removed:
                continue
            del self._entries[entry]
            if removes == removed:
                entry.event = event, data  # for the history
                return entry
        return None

    # -- history

    @property
    def history(self) -> History | None:
        """The steps back and forth; None until it is enabled."""
        return self._history

    def enable_history(self, limit: int) -> None:
        """Remember the value after each change from now on; called again it only changes the limit.

        Raises:
            ValueError: The limit is less than 1.
        """
        if limit < 1:
            raise ValueError(f"a history keeps 1 step or more, not {limit}")
        if self._history is None:
            self._history = History(limit, self.moment())
        else:
            self._history.limit(limit)

    def step_to(self, value: Any) -> None:
        """Show this value, one of the history, and what events and new changes make of it."""
        base = self._base()
        if base is None:
            return
        local = base.fork()
        local.adopt(value)
        self._local = local
        for entry in self._entries:
            entry.frozen = True
        self._shown = None
        self._changed()

    def moment(self) -> Moment:
        """The present value, and what it is made of."""
        waiting = tuple(entry for entry in self._entries if not entry.frozen)
        inside = tuple(entry for entry in self._entries if entry.frozen)
        start = self._local or self._base()
        return Moment(self.value, None if start is None or not waiting else start.value, waiting, inside)

    def _settle_in_history(self, entry: Entry, *, gone: bool) -> None:
        """A change does not wait any more: it is gone from all steps, or in all what the server made of it."""
        history = self._history
        if history is None:
            return
        # What becomes of a change is a step only when the change was undone, or in the way of the step that is shown.
        silent = history.made_with(entry) and not (gone and entry.frozen)

        def anew(moment: Moment) -> Moment | None:
            if gone and entry in moment.inside:
                return None
            if entry not in moment.changes:
                return moment
            changes = tuple(other for other in moment.changes if not (gone and other is entry))
            return Moment(self._made(moment.start, changes), moment.start, changes, moment.inside)

        history.revise(anew)
        (history.replace if silent else history.record)(self.moment())

    def _made(self, start: Any, changes: Iterable[Entry]) -> Any:
        base = self._base()
        assert base is not None  # or there were no steps
        fold = base.fork()
        fold.adopt(start)
        for entry in changes:
            self._try(entry, fold)
        return fold.value

    def _forget_step(self) -> None:
        self._local = None
        for entry in self._entries:
            entry.frozen = False

    # -- the value

    def _replay(self) -> None:
        start = self._local or self._base()
        waiting = [entry for entry in self._entries if not entry.frozen]
        if start is None or not waiting:
            self._shown = None
            return
        self._shown = start.fork()
        for entry in waiting:
            self._try(entry, self._shown)

    def _try(self, entry: Entry, fold: Fold) -> None:
        """Make a change again; it is left out when the value is no longer one that it can be made of."""
        try:
            _make(entry, fold)
        except Exception:
            if not entry.warned:
                entry.warned = True
                log.warning("an optimistic change cannot be made over the new value; it is not shown", exc_info=True)


def _make(entry: Entry, fold: Fold) -> bool:
    change = entry.change
    if isinstance(change, Created | Updated | Deleted):
        if entry.event is None:
            event = fold.express(change)
            entry.row = fold.about(*event)
            entry.event = event
        return fold.apply(*entry.event)
    draft = copy(fold.value)
    value = change(draft)
    fold.adopt(draft if value is None else value)
    return True
