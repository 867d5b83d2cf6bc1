"""What the asyncio and the blocking client say in the same words: call options, and what may be called."""

from __future__ import annotations

import msgspec

from liverpc._types import Binary, Reachable, Rpc, Stream, Topic, Upload

__all__ = ["CallOptions", "check_data", "check_target"]

_KEY_MAX = 256  # characters; the wire's limit


class CallOptions(msgspec.Struct, frozen=True):
    """How calls are made; set with ``client.using(...)``."""

    timeout: float | None = None  #: seconds for the answer; None: as configured
    fresh: bool = False  #: always a request of its own
    idempotency_key: str | None = None  #: lets the server recognise a repetition

    @property
    def shared(self) -> bool:
        """Whether identical calls of one loop turn become one request."""
        return self.idempotency_key is not None or (not self.fresh and self.timeout is None)

    def using(
        self,
        timeout: float | None,
        fresh: bool | None,
        idempotency_key: str | None,
    ) -> CallOptions:
        """These options with others on top; None: as they are.

        Raises:
            ValueError: The key is empty or longer than 256 characters, or the timeout is not above 0.
        """
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= _KEY_MAX:
            raise ValueError(f"an idempotency key has 1 to {_KEY_MAX} characters, not {len(idempotency_key)}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        return CallOptions(
            self.timeout if timeout is None else timeout,
            self.fresh if fresh is None else fresh,
            self.idempotency_key if idempotency_key is None else idempotency_key,
        )

    def keyless(self, what: str) -> CallOptions:
        """These options for ``what``, which carries no idempotency key; ValueError when there is one."""
        if self.idempotency_key is not None:
            raise ValueError(f"an idempotency key belongs to an ordinary call, not to {what}")
        return self


_USES: dict[type[Reachable], tuple[str, str]] = {  # how each is made and used
    Rpc: ("a function", "call()"),
    Stream: ("a stream", "stream()"),
    Binary: ("a function with bytes", "binary()"),
    Upload: ("an upload", "upload()"),
}
_DECORATORS: dict[type[Reachable], str] = {Stream: ".stream", Binary: ".binary", Upload: ".upload"}


def check_target(target: object, kind: type[Reachable], what: str) -> None:
    """Make sure that ``target`` can be given to ``what``, such as ``call()``.

    Raises:
        TypeError: It cannot; the text tells the cure.
    """
    if isinstance(target, kind):
        return
    if isinstance(target, str):
        cure = f"a path is made callable with remote({target!r})"
    elif isinstance(target, Topic):
        cure = "it is the stream itself that is subscribed to, not its topic"
    else:
        uses = [use for each, use in _USES.items() if isinstance(target, each)]
        cure = f"{target!r} is no declaration: decorate it with @live{_DECORATORS.get(kind, '')}"
        if uses:
            cure = f"{target!r} is {uses[0][0]}: use {uses[0][1]}"
    raise TypeError(f"{what} takes a live function or remote(...); {cure}")


def check_data(data: object) -> None:
    """Make sure that a binary call can carry ``data``; TypeError tells the cure."""
    if not isinstance(data, bytes | bytearray | memoryview):
        cure = ": .encode() makes bytes of it" if isinstance(data, str) else ""
        raise TypeError(f"binary() takes bytes, a bytearray or a memoryview, not a {type(data).__name__}{cure}")
