"""What the asyncio and the blocking client say in the same words: call options, and what may be called."""

from __future__ import annotations

from typing import Any

import msgspec

from liverpc._types import Reachable, Rpc, Stream, Topic

__all__ = ["CallOptions", "check_target"]

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


def check_target(target: object, kind: type[Rpc[..., Any] | Stream[..., Any]], what: str) -> None:
    """Make sure that ``target`` can be given to ``what``, such as ``call()``.

    Raises:
        TypeError: It cannot; the text tells the cure.
    """
    if isinstance(target, kind):
        return
    if isinstance(target, str):
        cure = f"a path is made callable with remote({target!r})"
    elif isinstance(target, Reachable):
        cure = f"{target!r} is {'a stream: use stream()' if kind is Rpc else 'a function: use call()'}"
    elif isinstance(target, Topic):
        cure = "it is the stream itself that is subscribed to, not its topic"
    else:
        cure = f"{target!r} is no declaration: decorate it with @live{'' if kind is Rpc else '.stream'}"
    raise TypeError(f"{what} takes a live function or remote(...); {cure}")
