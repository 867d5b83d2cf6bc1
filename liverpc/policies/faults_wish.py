"""What a fault is: the wish for one, and whether it makes sense."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from liverpc.errors import ConfigError, ErrorCode
from liverpc.wire.close import CloseCode

__all__ = ["ACTIONS", "Fault", "Place"]

Place: TypeAlias = Literal["publish", "delivery", "connection", "call", "load"]

ACTIONS = ("drop", "delay", "duplicate", "reorder", "disconnect", "error", "stall", "partition", "loader")
_MAX_TEXT = 256  # characters of a glob, an id or a seed
_MAX_CODE = 64  # characters of an error code
_MAX_SECONDS = 300.0
_MAX_COPIES = 10
_CLOSE_CODES = (1000, 1001, 1008, 1011, 1012, 1013)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault to inject; docs/devtools.md says which action reads which fields."""

    action: str = "drop"  #: one of :data:`ACTIONS`
    rate: float = 1.0  #: probability of each strike, 0 to 1
    topic: str = "*"  #: glob
    event: str = "*"  #: glob of event names
    path: str = "*"  #: glob; ``error`` and ``loader``
    connection: str = ""  #: id; empty: every one
    user: str = ""  #: id; empty: everybody
    share: float = 1.0  #: of the connections, by a hash of their ids: always the same ones
    seed: str = ""
    seconds: float = 0.0  #: of a delay, of a reordered event's patience, of a stall; the spread of ``disconnect``
    jitter: float = 0.0  #: seconds by which a delay differs, at most
    copies: int = 1  #: ``duplicate``: further ones
    code: str = ""  #: of ``error`` and ``loader``; the close code of ``disconnect``; empty: the usual one
    limit: int = 0  #: strikes after which it ends; 0: no limit

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigError: It does not; says which field takes what.
        """
        if self.action not in ACTIONS:
            raise ConfigError(f"there is no fault {self.action!r}; there are {', '.join(ACTIONS)}")
        self._check_texts()
        for name in ("rate", "share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # false for NaN, too
                raise ConfigError(f"a {name} is a number from 0 to 1, not {value!r}")
        if not 0 <= self.seconds <= _MAX_SECONDS:
            raise ConfigError(f"a fault's seconds are a number from 0 to {_MAX_SECONDS:g}, not {self.seconds!r}")
        if not 0 <= self.jitter <= self.seconds:
            raise ConfigError(f"jitter is a number from 0 to the fault's seconds, not {self.jitter!r}")
        if not 1 <= self.copies <= _MAX_COPIES:
            raise ConfigError(f"copies are 1 to {_MAX_COPIES} further ones, not {self.copies}")
        if self.limit < 0:
            raise ConfigError(f"a hit limit is 0 (none) or more, not {self.limit}")
        if not self.seconds and (self.action == "delay" or (self.action == "stall" and self.place == "delivery")):
            raise ConfigError(f"a {self.action} by event needs seconds, such as 0.5")

    def _check_texts(self) -> None:
        for name in ("topic", "event", "path"):
            if not 0 < len(getattr(self, name)) <= _MAX_TEXT:
                raise ConfigError(f"a {name} is a glob of 1 to {_MAX_TEXT} characters, such as 'board:*' or '*'")
        for name in ("connection", "user", "seed"):
            if len(getattr(self, name)) > _MAX_TEXT:
                raise ConfigError(f"a fault's {name} has at most {_MAX_TEXT} characters")
        if self.action != "disconnect":
            if len(self.code) > _MAX_CODE or not self.code.isprintable():
                raise ConfigError(f"an error code has at most {_MAX_CODE} printable characters")
        elif self.code:
            code = int(self.code) if self.code.isascii() and self.code.isdecimal() and len(self.code) == 4 else 0
            if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
                known = ", ".join(map(str, _CLOSE_CODES))
                raise ConfigError(f"a connection is closed with {known} or 3000 to 4999, not {self.code!r}")

    @property
    def narrow(self) -> bool:
        """Whether only some connections are meant."""
        return bool(self.connection or self.user) or self.share < 1

    @property
    def place(self) -> Place:
        """Where it strikes: ``connection`` is each targeted one as such, whatever is sent to it."""
        if self.action in ("disconnect", "stall"):
            return "connection" if self.rate == 1 and self.event == "*" else "delivery"
        if self.action in ("drop", "partition"):
            return "delivery" if self.narrow else "publish"
        return "call" if self.action == "error" else "load" if self.action == "loader" else "delivery"

    @property
    def lasts(self) -> bool:
        """Whether a strike takes time: the fault stays in force until its last one is over."""
        return self.action in ("delay", "reorder", "stall")

    @property
    def error_code(self) -> str:
        """Of ``error`` and ``loader``."""
        return self.code or str(ErrorCode.INTERNAL_ERROR)

    @property
    def close_code(self) -> int:
        """Of ``disconnect``."""
        return int(self.code) if self.code else CloseCode.RESTART

    def __str__(self) -> str:
        """For people and logs, in a few words; neither whose connection it is nor which."""
        chance = "" if self.action == "partition" or self.rate == 1 else f" {self.rate:.3g}"
        what = [f"{self.action}{chance} of {self.path if self.place == 'call' else self.topic}"]
        if self.event != "*":
            what.append(f"event {self.event}")
        if self.connection or self.user:
            what.append("one connection" if self.connection else "one user")
        if self.share < 1:
            what.append(f"{self.share:.3g} of the connections")
        if self.seconds:
            what.append(f"{self.seconds:g} s")
        text = ", ".join([*what, f"seed {self.seed!r}"])
        return "".join(each if each.isprintable() else "?" for each in text)
