"""What declarations may ask for around a call, as frozen settings. What runs by them belongs to a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction, signature
from typing import Any, Final

import msgspec

from liverpc.errors import ConfigError

__all__ = ["NO_FALLBACK", "Breaking", "Idempotency", "Locking", "Policies", "RateLimit", "asked_by", "takes"]

_MOST = 10**9  # of points or seconds
NO_FALLBACK: Final[Any] = object()
"""None, [] and the like are fallbacks; this is none."""


class RateLimit(msgspec.Struct, frozen=True):
    """How often one caller may do something: ``points`` at once, and they come back evenly, all in ``per`` seconds.

    Args:
        points: At least 1.
        per: Seconds.
        key: ``(ctx) -> str | None``, at once: who is counted. None, or no such function: the user, or for anonymous
            callers their connection and, ten times as often, their address.

    Raises:
        ConfigError: A value cannot be what it is.
    """

    points: int
    per: float
    key: Callable[[Any], str | None] | None = None

    def __post_init__(self) -> None:
        given: Any = self.points
        if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= _MOST:
            raise ConfigError(f"a rate limit takes points=, a whole number from 1 on, not {self.points!r}")
        check_seconds("a rate limit takes per=", self.per)
        check_function("a rate limit takes key=, a function of ctx", self.key)


class Locking(msgspec.Struct, frozen=True):
    """One call at a time for each key. See ``live.lock``."""

    key: str | Callable[..., str | None]
    max_wait: float | None = 30.0

    def __post_init__(self) -> None:
        given: Any = self.key
        is_name = isinstance(given, str) and given
        if is_name and "{" in given:
            raise ConfigError(f"the name of a lock is no template; take a function: lambda ctx, ...: f{given!r}")
        if not is_name and (not callable(given) or iscoroutinefunction(given)):
            raise ConfigError(
                f"a lock takes a name, or a function of ctx and the arguments that is not async, not {given!r}"
            )
        if self.max_wait is not None:
            check_seconds("a lock takes max_wait=", self.max_wait, least=0.0)


class Idempotency(msgspec.Struct, frozen=True):
    """A repeated request gets the first one's result. See ``live.idempotent``."""

    key: Callable[..., str | None] | None = None
    ttl: float = 172_800.0
    max_wait: float = 10.0

    def __post_init__(self) -> None:
        check_function("@live.idempotent takes key=, a function of ctx and the arguments", self.key)
        check_seconds("@live.idempotent takes ttl=", self.ttl, least=0.0)
        check_seconds("@live.idempotent takes max_wait=", self.max_wait, least=0.0)


class Breaking(msgspec.Struct, frozen=True):
    """Calls that fail anyway are not made for a while. See ``live.breaker``."""

    name: str | None = None  #: functions with one name share a breaker; None: it is this one's own
    failures: int = 5
    reset_after: float = 30.0
    fallback: Any = NO_FALLBACK

    def __post_init__(self) -> None:
        name: Any = self.name
        if name is not None and not (isinstance(name, str) and name):
            raise ConfigError(f"@live.breaker takes a name, not {name!r}")
        failures: Any = self.failures
        if not isinstance(failures, int) or isinstance(failures, bool) or failures < 1:
            raise ConfigError(f"@live.breaker takes failures=, a whole number from 1 on, not {failures!r}")
        check_seconds("@live.breaker takes reset_after=", self.reset_after)


class Policies(msgspec.Struct, frozen=True):
    """All that one declaration asks for."""

    class_of_service: str | None = None
    rate_limit: RateLimit | None = None
    idempotent: Idempotency | None = None
    lock: Locking | None = None
    breaker: Breaking | None = None

    def __post_init__(self) -> None:
        name: Any = self.class_of_service
        if name is not None and not (isinstance(name, str) and name):
            raise ConfigError(f"class_of_service= takes the name of a class, not {name!r}")


def asked_by(name: str, policy: Any, arguments: int) -> Iterator[tuple[str, Callable[..., Any], int]]:
    """The functions in a policy: what each is, and with how many arguments it is called.

    Args:
        name: Of the policy.
        policy: Its value.
        arguments: Of the function that has it, without ``ctx``.
    """
    key = getattr(policy, "key", None)
    if callable(key):
        yield "key", key, 1 if name == "rate_limit" else 1 + arguments
    fallback = getattr(policy, "fallback", None)
    if callable(fallback):
        yield "fallback", fallback, 1 + arguments


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as that can be known."""
    try:
        signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of some builtins
        pass
    return True


def check_seconds(what: str, given: Any, *, least: float | None = None) -> None:
    """Refuse what is no time.

    Raises:
        ConfigError: It is no number, not finite, or too small; ``least`` None: it must be more than 0.
    """
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) <= _MOST
    if not is_number or (given <= 0 if least is None else given < least):
        bound = "more than 0" if least is None else f"at least {least:g}"
        raise ConfigError(f"{what} in seconds, {bound}, not {given!r}")


def check_function(what: str, given: Any) -> None:
    """Refuse what is neither a function that gives its value at once nor None.

    Raises:
        ConfigError: It is not.
    """
    if given is not None and (not callable(given) or iscoroutinefunction(given)):
        raise ConfigError(f"{what} that is not async, not {given!r}")
