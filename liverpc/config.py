"""Settings, frozen and documented; each can be read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import msgspec

from liverpc.errors import ConfigError

__all__ = ["ClientConfig", "DevWarnings", "Inspect", "Level", "Limits", "PressureThresholds", "Token"]

Level = Literal["metrics", "observe", "chaos", "admin"]


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    _PREFIX: ClassVar[str]
    _MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset()  # fields for which 0 says something

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The defaults, overridden by environment variables named after the class and the field.

        ``LIVERPC_LIMITS_DEPTH=32`` sets ``Limits.depth``. Lists are separated by commas. Tokens and test users
        are not read from the environment.

        Raises:
            ConfigError: A variable does not hold what its field takes.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            name = cls._PREFIX + field.name.upper()
            if name not in environ or field.name in ("tokens", "test_users"):
                continue
            text: Any = environ[name]
            value = [part.strip() for part in text.split(",")] if isinstance(field.default, tuple) else text
            try:
                values[field.name] = msgspec.convert(value, field.type, strict=False)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{name}={text!r}: {error}") from None
        return cls(**values)

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{type(self).__name__}.{field.name}: {error}") from None
            may_be_zero = field.name in self._MAY_BE_ZERO and value == 0
            if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0 and not may_be_zero:
                raise ConfigError(f"{type(self).__name__}.{field.name} must be positive, not {value!r}")


class Limits(_Settings, frozen=True, kw_only=True):
    """What one connection, or one server, may use at most. Sizes in bytes, times in seconds."""

    _PREFIX = "LIVERPC_LIMITS_"

    head_bytes: int = 16_384  #: request line and headers of a handshake; above: HTTP 431
    headers: int = 100  #: headers of one request; above, and for handshakes above 128: HTTP 431
    cookie_bytes: int = 8_192  #: all cookies of one request; above: HTTP 431
    early_bytes: int = 65_536  #: frames sent before the connection was accepted; above: reading stops
    message_bytes: int = 1 << 20  #: one message, all fragments together; above: close 1009
    body_bytes: int = 1 << 20  #: body of a plain HTTP request; above: HTTP 413
    requests_per_connection: int = 1_000  #: plain HTTP requests, one after the other; the last one closes
    depth: int = 64  #: nesting of one JSON frame, the frame itself being level 1; above: INVALID_REQUEST
    frames_per_turn: int = 256  #: frames of one connection handled in a row before others get their turn
    calls_in_flight: int = 64  #: unfinished calls of one connection; above: reading stops
    outbox_bytes: int = 1 << 20  #: unsent bytes of one connection; above: it is closed with 1013 "too slow"
    outbox_frames: int = 16_384  #: frames that wait for a full socket; above: closed with 1013, too
    reply_bytes: int = 1 << 20  #: a reply, in UTF-16 code units as browsers count; above: PAYLOAD_TOO_LARGE
    held_bytes: int = 1 << 20  #: events kept for one stream while its loader runs; above: OVERLOADED
    streams_per_connection: int = 10_000  #: open or loading ones; above: OVERLOADED
    rooms_per_contract: int = 256  #: that a client asked for, in one contract; above: OVERLOADED
    replay_events: int = 1_000  #: events kept of each topic with replay; above: the oldest are forgotten
    replay_bytes: int = 64 << 20  #: events kept of all topics; above: the log longest unused is forgotten
    replay_topics: int = 10_000  #: topics with replay; above: likewise
    reloads_at_once: int = 64  #: topics whose value is loaded anew; above: they wait for their turn
    requests_in_flight: int = 32  #: unanswered ones of the server to one connection; above: OVERLOADED
    uploads: int = 1_000  #: running ones of the whole server; above: TOO_MANY_UPLOADS
    uploads_per_connection: int = 4  #: running ones; above: TOO_MANY_UPLOADS
    upload_buffer_bytes: int = 4 << 20  #: of one upload that its handler has not taken yet; above: reading stops
    uploads_buffer_bytes: int = 64 << 20  #: of all uploads; above: reading stops, and new ones get OVERLOADED
    upload_stall_seconds: float = 10.0  #: reading stopped and its handler takes nothing: FLOW_BACKPRESSURE
    upload_idle_seconds: float = 120.0  #: nothing comes of an upload, and its handler waits for it: TIMEOUT
    upload_grace_seconds: float = 5.0  #: for a handler to end by itself when its upload ended early
    lock_waiters: int = 1_000  #: calls that wait for one lock, an eighth of one user; above: LOCK_QUEUE_FULL
    paced_keys: int = 5_000  #: throttled, debounced and skipped keys, each; above: published at once, not skipped
    rate_limit_keys: int = 100_000  #: callers counted, on each path; above: those longest idle start anew
    rate_limit_guests: int = 20_000  #: ... of anonymous callers and their addresses, besides; above: likewise
    idempotency_per_caller: int = 100  #: kept results of one caller; above: its oldest is forgotten
    idempotency_results: int = 10_000  #: ... of all known callers; above: the oldest tenth is forgotten
    idempotency_guests: int = 1_000  #: ... of all anonymous callers, besides; above: likewise
    idempotency_bytes: int = 64 << 20  #: ... of all: an eighth for anonymous ones, a 64th for each; above: likewise
    presence_grace_seconds: float = 5.0  #: after a user's last connection left a room, before all others hear of it
    presence_graces: int = 100  #: rooms in which one user is in its grace; above: it leaves at once
    presence_per_room: int = 10_000  #: users listed in one room; above: those in their grace go, then nobody is added
    upgrades_per_address: int = 100  #: handshakes of one address per window, loopback exempt; above: HTTP 429
    upgrade_window_seconds: float = 10.0  #: the window, which slides
    handshakes_in_flight: int = 1_000  #: undecided ones of the whole server; above: HTTP 503
    connect_seconds: float = 10.0  #: from the first byte until ``on_connect`` has decided; above: HTTP 503
    ping_seconds: float = 20.0  #: silence before the server sends a ping
    pong_seconds: float = 20.0  #: silence after it, or a socket that takes no bytes for so long: dropped
    idle_text_seconds: float = 90.0  #: a small text frame that often keeps idle browser pages connected
    close_seconds: float = 5.0  #: for the peer's close frame
    linger_seconds: float = 2.0  #: for the peer's FIN
    keep_alive_seconds: float = 5.0  #: for the next plain HTTP request on a connection
    drain_seconds: float = 5.0  #: for begun calls at a shutdown; goodbyes are spread over the first half


class PressureThresholds(_Settings, frozen=True, kw_only=True):
    """From which on a server is said to be under pressure."""

    _PREFIX = "LIVERPC_PRESSURE_"

    memory: float = 0.85  #: resident memory, as a share of what the process may use
    publish_rate: float = 10_000.0  #: publishes a second
    subscribers: int = 100_000  #: subscriptions, of all connections together


class DevWarnings(_Settings, frozen=True, kw_only=True):
    """What is warned of in development mode, and when."""

    _PREFIX = "LIVERPC_WARNINGS_"

    silent_seconds: float = 30.0  #: a topic has subscribers for so long and no event
    publish_rate: float = 200.0  #: more publishes a second on one topic, over 5 seconds
    reply_bytes: int = 262_144  #: a larger result
    quiet: tuple[str, ...] = ()  #: globs of topics and paths that are not warned of; ``*`` for none at all


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A key to the devtools and what it opens."""

    secret: str
    level: Level = "observe"
    topics: tuple[str, ...] = ("*",)  #: globs; everything else is invisible to the holder
    expires_at: float | None = None  #: wall clock, seconds since 1970; sessions end then, too. None: never

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise ConfigError("a devtools token needs at least 16 characters; `secrets.token_urlsafe()` makes one")
        if self.level not in get_args(Level):
            raise ConfigError(f"Token.level is one of {', '.join(get_args(Level))}, not {self.level!r}")

    def expired(self, wall: float) -> bool:
        """Whether it opens nothing any more, at this time of the wall clock."""
        return self.expires_at is not None and wall >= self.expires_at

    def __repr__(self) -> str:
        return f"Token(level={self.level!r}, topics={self.topics!r})"  # the secret is in no log


class Inspect(_Settings, frozen=True, kw_only=True):
    """The devtools' door into the server. Off unless asked for."""

    _PREFIX = "LIVERPC_INSPECT_"

    enabled: bool = False
    tokens: tuple[Token, ...] = ()  #: none: one is made at start and written to a file only the user can read
    chaos: bool = False  #: whether faults may be injected at all
    capture: Literal["attached", "always"] = "attached"  #: fill the history only while somebody looks, or always
    hosts: tuple[str, ...] = ()  #: Host headers to accept besides loopback names; ``*`` accepts any
    max_observers: int = 4
    history: int = 500  #: finished calls kept; half as many failed ones are kept besides
    ring: int = 20  #: events kept per topic
    max_events: float = 200.0  #: captured per second, with payload; the rest is counted only
    redact: tuple[str, ...] = ()  #: more keys whose values are never recorded
    test_users: Mapping[str, str] = {}  #: for calls tried in development mode: name to query of the URL, ``user=ann``


class ClientConfig(_Settings, frozen=True, kw_only=True):
    """How a client behaves. Times in seconds."""

    _PREFIX = "LIVERPC_CLIENT_"
    _MAY_BE_ZERO = frozenset({"resume_grace"})

    timeout: float = 30.0  #: for a call's or a stream's answer
    connect_timeout: float = 10.0
    backoff_base: float = 3.0  #: before the first reconnect; then times 2.2 each
    backoff_max: float = 300.0
    jitter: tuple[float, float] = (0.75, 1.25)
    max_attempts: int | None = None  #: failed attempts in a row before giving up; None: never
    message_bytes: int = 16 << 20  #: largest frame accepted from the server
    upload_frame_bytes: int = 65_535  #: largest message of uploads that the server paces; less where it takes less
    silence_seconds: float = 150.0  #: without a frame or a pong from the server: reconnect
    resume_grace: float = 60.0  #: a stream's value is kept after its last handle has left; 0: not at all
