"""What a blocking program changes itself in the value of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, overload

from liverpc._types import P, R, Row, RowChange, Rpc, T
from liverpc.client.changes import check_maker
from liverpc.client.handles import StreamHandle
from liverpc.client.options import check_target
from liverpc.client.overlay import Change, Entry
from liverpc.client.portal import Portal

if TYPE_CHECKING:
    from liverpc.client.sync import Client

__all__ = ["BlockingChanges"]


class BlockingChanges(Generic[T]):
    """The part of a blocking handle that changes the value on this side only.

    Functions that make a change are called on the client's own thread.
    """

    _portal: Portal
    _inner: StreamHandle[T]

    @overload
    def mutate(self: BlockingChanges[list[Row]], call: Callable[[], R], *, optimistic: RowChange[Row]) -> R: ...
    @overload
    def mutate(self, call: Callable[[], R], *, optimistic: Callable[[T], T | None]) -> R: ...
    def mutate(self, call: Callable[[], R], *, optimistic: Change) -> R:
        """Show the change at once, make the call, and let the server's answer decide.

        ``handle.mutate(lambda: client.call(send, "hi"), optimistic=Created(row))``. What becomes of the change,
        and what is raised, is as of the asyncio client's handle. Here the call is a function, called on this
        thread.
        """
        if not callable(call):
            raise TypeError(
                "mutate() takes a function that makes the call: handle.mutate(lambda: client.call(...), "
                f"optimistic=...); it was given a {type(call).__name__}"
            )
        portal = self._portal
        overlay = portal.do(self._inner._overlay)
        entries: list[Entry] = []  # an interrupted wait does not tell whether the change was made
        settle = overlay.withdraw
        try:
            portal.do(lambda: entries.append(overlay.begin(optimistic)))
            result = call()
            settle = overlay.agreed
            return result
        finally:
            portal.do(lambda: [settle(entry) for entry in entries])

    @overload
    def optimistic(self: BlockingChanges[list[Row]], change: RowChange[Row]) -> Callable[[], None]: ...
    @overload
    def optimistic(self, change: Callable[[T], T | None]) -> Callable[[], None]: ...
    def optimistic(self, change: Any) -> Callable[[], None]:
        """Show a change until the server confirms it, or until the function that is returned takes it back."""
        portal = self._portal
        rollback = portal.do(lambda: self._inner.optimistic(change))
        return lambda: portal.do(rollback)

    @overload
    def create_optimistic(
        self: BlockingChanges[list[Row]], client: Client, fn: Rpc[P, R], change: Callable[P, RowChange[Row]]
    ) -> Callable[P, R]: ...
    @overload
    def create_optimistic(
        self, client: Client, fn: Rpc[P, R], change: Callable[P, Callable[[T], T | None]]
    ) -> Callable[P, R]: ...
    def create_optimistic(self, client: Client, fn: Rpc[P, R], change: Callable[P, Any]) -> Callable[P, R]:
        """A function that calls ``fn`` and shows at once what that is expected to change.

        Args:
            client: Makes the calls, with its options.
            fn: What to call.
            change: Makes the change from the arguments of the call.

        Calling the result raises what :meth:`mutate` does, and TypeError, before anything else happens, when the
        arguments do not fit ``fn``.
        """
        check_target(fn, Rpc, "create_optimistic()")
        check_maker(change)

        def send(*args: P.args, **kwargs: P.kwargs) -> R:
            fn.bind(args, kwargs)
            return self.mutate(lambda: client.call(fn, *args, **kwargs), optimistic=change(*args, **kwargs))

        return send

    def enable_history(self, limit: int = 50) -> None:
        """As of the asyncio client's handle, like all that follows."""
        self._portal.do(lambda: self._inner.enable_history(limit))

    def undo(self) -> bool:
        """Show the value before the last change. Returns whether there was one."""
        return self._portal.do(self._inner.undo)

    def redo(self) -> bool:
        """Take back the last :meth:`undo`. Returns whether there was one to take back."""
        return self._portal.do(self._inner.redo)

    @property
    def can_undo(self) -> bool:
        """Whether :meth:`undo` would do anything."""
        return self._portal.do(lambda: self._inner.can_undo)

    @property
    def can_redo(self) -> bool:
        """Whether :meth:`redo` would do anything."""
        return self._portal.do(lambda: self._inner.can_redo)

    def pause_history(self) -> None:
        """Remember no values until :meth:`resume_history`."""
        self._portal.do(self._inner.pause_history)

    def resume_history(self) -> None:
        """Remember values again, beginning with the current one."""
        self._portal.do(self._inner.resume_history)
