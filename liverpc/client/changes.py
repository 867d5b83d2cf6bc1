"""What a program changes itself in the value of a stream: before the server agrees, and back and forth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, overload

from msgspec import UNSET

from liverpc._types import P, R, Row, RowChange, Rpc, T
from liverpc.client.options import check_target
from liverpc.client.overlay import Change, Overlay

if TYPE_CHECKING:
    from liverpc.client.aio import Client

__all__ = ["LocalChanges", "check_maker", "create_optimistic"]


class LocalChanges(Generic[T]):
    """The part of a handle that changes the value on this side only.

    Handles of the same stream share one value, and with it the changes and the history.
    """

    def _overlay(self) -> Overlay:
        """Of the stream that is held; RuntimeError when none is."""
        raise NotImplementedError

    # -- before the server agrees

    @overload
    async def mutate(self: LocalChanges[list[Row]], call: Awaitable[R], *, optimistic: RowChange[Row]) -> R: ...
    @overload
    async def mutate(self, call: Awaitable[R], *, optimistic: Callable[[T], T | None]) -> R: ...
    async def mutate(self, call: Awaitable[R], *, optimistic: Change) -> R:
        """Show the change at once, make the call, and let the server's answer decide.

        ``await handle.mutate(client.call(send, "hi"), optimistic=Created(row))``. The change is made before the
        call begins: a coroutine begins when it is awaited, here; a task has begun already. When the call fails
        or is cancelled, the change disappears; other changes stay. When it succeeds, the change stays, but
        what the server says of the same row replaces it. A stream that is loaded anew has the server's value.

        Args:
            call: What asks the server, such as ``client.call(...)``, not awaited yet.
            optimistic: ``Created(row)``, ``Updated(row)`` or ``Deleted(key)``, which the server confirms with an
                event about a row with the same key; or a function. It gets a shallow copy of the value and
                returns the new one, or None when it changed the copy; rows are shared, so replace them. It is
                called again whenever the value changes below it, so it must not depend on anything else. As
                nothing confirms a function, its change is dropped on success when the server has changed the
                value since; so is ``Created`` under ``latest``.

        Returns:
            The call's result.

        Raises:
            RpcError: The call's, or ``QUEUE_FULL``: 1000 changes of this stream wait for the server.
            TypeError: ``call`` cannot be awaited, or the change does not fit the stream.
            RuntimeError: The handle is not open.
            Exception: The function's or the call's own. Unless it is the call's, nothing was changed and the
                call was not made.
        """
        try:
            overlay = self._overlay()
            if not isinstance(call, Awaitable):
                raise TypeError(
                    "mutate() takes the call itself, not awaited: handle.mutate(client.call(...), optimistic=...); "
                    f"it was given a {type(call).__name__}"
                )
            entry = overlay.begin(optimistic)
        except BaseException:
            if isinstance(call, Coroutine):
                call.close()
            raise
        try:
            result = await call
        except BaseException:
            overlay.withdraw(entry)
            raise
        overlay.agreed(entry)
        return result

    @overload
    def optimistic(self: LocalChanges[list[Row]], change: RowChange[Row]) -> Callable[[], None]: ...
    @overload
    def optimistic(self, change: Callable[[T], T | None]) -> Callable[[], None]: ...
    def optimistic(self, change: Change) -> Callable[[], None]:
        """Show a change until the server confirms it or it is taken back; for what is no call.

        Args:
            change: As of :meth:`mutate`. A function is never confirmed.

        Returns:
            A function that takes the change back; harmless when called again.

        Raises:
            As :meth:`mutate`, but for the call's errors.
        """
        overlay = self._overlay()
        entry = overlay.begin(change)
        return lambda: overlay.withdraw(entry)

    @overload
    def create_optimistic(
        self: LocalChanges[list[Row]], client: Client, fn: Rpc[P, R], change: Callable[P, RowChange[Row]]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def create_optimistic(
        self, client: Client, fn: Rpc[P, R], change: Callable[P, Callable[[T], T | None]]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def create_optimistic(
        self, client: Client, fn: Rpc[P, R], change: Callable[P, Any]
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        """As the function :func:`create_optimistic`."""
        return create_optimistic(client, fn, self, change)

    # -- history

    def enable_history(self, limit: int = 50) -> None:
        """Remember the value after each change, the server's and this client's, for :meth:`undo` and :meth:`redo`.

        Lists with more than 200 rows are not remembered: a step back leads to the last value that was. A stream
        that is loaded anew forgets all steps.

        A change that fails or is taken back is no step any more, and one that the server confirms with another row
        remains one step: then :meth:`undo` takes it back as a whole.

        Args:
            limit: Steps back at most. Called again, only this changes.

        Raises:
            ValueError: The limit is less than 1.
            RuntimeError: The handle is not open.
        """
        self._overlay().enable_history(limit)

    def undo(self) -> bool:
        """Show the value before the last change. The server does not hear of it.

        Events and further changes apply to the value that is shown now, and after one of them there is nothing
        to redo. The server's value comes back when the stream is loaded anew, when the server reloads it, and when
        a change fails that waited for the server at the time of the step.

        Returns:
            Whether there was such a value. Before :meth:`enable_history` there is none, and this enables it.
        """
        return self._step(back=True)

    def redo(self) -> bool:
        """Take back the last :meth:`undo`. Returns whether there was one to take back."""
        return self._step(back=False)

    def _step(self, *, back: bool) -> bool:
        overlay = self._overlay()
        if overlay.history is None:
            self.enable_history()
            return False
        value = overlay.history.undo() if back else overlay.history.redo()
        if value is UNSET:
            return False
        overlay.step_to(value)
        return True

    @property
    def can_undo(self) -> bool:
        """Whether :meth:`undo` would do anything."""
        history = self._overlay().history
        return history is not None and history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether :meth:`redo` would do anything."""
        history = self._overlay().history
        return history is not None and history.can_redo

    def pause_history(self) -> None:
        """Remember no values until :meth:`resume_history`; a step back then skips what happened meanwhile."""
        history = self._overlay().history
        if history is not None:
            history.pause()

    def resume_history(self) -> None:
        """Remember values again, beginning with the current one. Harmless when not paused."""
        overlay = self._overlay()
        if overlay.history is not None:
            overlay.history.resume(overlay.moment())


def check_maker(change: object) -> None:
    """TypeError when this does not make changes from the arguments of a call."""
    if not callable(change):
        raise TypeError(
            "create_optimistic() takes a function that makes the change from the arguments of the call, such as "
            f"lambda text: Created(Message(text)); it was given {change!r}"
        )


@overload
def create_optimistic(
    client: Client, fn: Rpc[P, R], handle: LocalChanges[list[Row]], change: Callable[P, RowChange[Row]]
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def create_optimistic(
    client: Client, fn: Rpc[P, R], handle: LocalChanges[T], change: Callable[P, Callable[[T], T | None]]
) -> Callable[P, Coroutine[Any, Any, R]]: ...
def create_optimistic(
    client: Client, fn: Rpc[P, R], handle: LocalChanges[Any], change: Callable[P, Any]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """A function that calls ``fn`` and shows at once what that is expected to change.

    ``send = create_optimistic(client, send_message, messages, lambda text: Created(Message(text=text)))``, then
    ``await send("hi")`` does what ``messages.mutate(client.call(send_message, "hi"), optimistic=...)`` does.

    Args:
        client: Makes the calls, with its options.
        fn: What to call.
        handle: The stream that shows the change.
        change: Makes the change from the arguments of the call.

    Raises:
        TypeError: ``fn`` cannot be called, or ``change`` is no function.

    Calling the result raises what :meth:`LocalChanges.mutate` does, and TypeError, before anything else happens,
    when the arguments do not fit ``fn``.
    """
    check_target(fn, Rpc, "create_optimistic()")
    check_maker(change)

    async def send(*args: P.args, **kwargs: P.kwargs) -> R:
        fn.bind(args, kwargs)
        optimistic = change(*args, **kwargs)
        return await handle.mutate(client.call(fn, *args, **kwargs), optimistic=optimistic)

    return send
