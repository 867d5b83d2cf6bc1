"""The seam between transports and everything above them.

A transport moves bytes. It knows an :class:`Application` (which endpoint answers which path, plain HTTP,
limits) and per socket one :class:`Session`; both know the transport only as a :class:`Link`. Client
connections and devtools sessions are two endpoints behind the same transports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from liverpc.config import Limits
from liverpc.telemetry import Counters

__all__ = [
    "Application",
    "ConnectRequest",
    "Endpoint",
    "HttpRequest",
    "HttpResponse",
    "Link",
    "Refuse",
    "Session",
    "Tally",
]

_NO_SECONDS = 1e11  # since the epoch; these are milliseconds


class ConnectRequest:
    """The HTTP request with which a client asks for a connection.

    Attributes:
        path: Of the URL, without the query, percent-encoding untouched.
        query: First value of each query parameter.
        params: Decoded parts of the path by name, on the URL of a contract; empty elsewhere.
        route: For the endpoint, what it found there.
        headers: Lower-case name to value; repeated headers are joined with ``", "``.
        address: The peer's IP address, or ``"memory"``.
        secure: Whether it came over TLS.
        asked: For the endpoint, when it asked whose it is.
    """

    __slots__ = ("_cookies", "_expires_at", "address", "asked", "headers", "params", "path", "query", "route", "secure")

    def __init__(
        self,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        address: str = "memory",
        secure: bool = False,
    ) -> None:
        self.path = path
        self.query: dict[str, str] = (
            {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()} if query else {}
        )
        self.params: Mapping[str, str] = {}
        self.route: Any = None
        self.headers: Mapping[str, str] = headers or {}
        self.address = address
        self.secure = secure
        self.asked = 0
        self._cookies: dict[str, str] | None = None
        self._expires_at: float | None = None

    @property
    def expires_at(self) -> float | None:
        """When the session ends, in seconds since the epoch, such as a token's ``exp``; None: with the connection.

        For ``on_connect`` to set. At that time the connection is closed with 4401.

        Raises:
            TypeError: It is set to something else.
        """
        return self._expires_at

    @expires_at.setter
    def expires_at(self, moment: float | None) -> None:
        given: object = moment
        is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < _NO_SECONDS
        if given is not None and not is_number:
            raise TypeError(f"request.expires_at takes seconds since the epoch, or None, not {given!r}")
        self._expires_at = moment

    @property
    def cookies(self) -> Mapping[str, str]:
        """Cookies by name; unreadable ones are left out."""
        if self._cookies is None:
            self._cookies = _cookies(self.headers)
        return self._cookies

    def __repr__(self) -> str:
        # Neither query, headers nor cookies: they hold credentials.
        return f"<ConnectRequest {self.path} from {self.address}>"


class Refuse(msgspec.Struct, frozen=True):
    """An endpoint's no. Below 1000 it is an HTTP status; from 4000 on the socket is accepted, then closed."""

    status: int
    text: str = ""
    headers: dict[str, str] = {}


class HttpRequest(msgspec.Struct, frozen=True):
    """A request that is not a WebSocket upgrade."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  #: lower-case names
    body: bytes
    address: str

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies by name; unreadable ones are left out."""
        return _cookies(self.headers)


class HttpResponse(msgspec.Struct, frozen=True):
    """The answer to one; ``Content-Length``, ``Date`` and ``Connection`` are the transport's business.

    Raises:
        TypeError: A part is of another type than it should be.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    cookies: tuple[str, ...] = ()  #: the value of one ``Set-Cookie`` header each, such as ``"sid=1; Path=/; HttpOnly"``

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes):
            raise TypeError(f"HttpResponse(body=) takes bytes, not {type(self.body).__name__}; encode text first")
        if isinstance(self.cookies, str):
            raise TypeError("HttpResponse(cookies=) takes a tuple with a text for each cookie; mind the comma in (a,)")
        for name, value in self.headers.items():
            if not isinstance(value, str):
                raise TypeError(f"HttpResponse(headers=) takes texts; {name} is {value!r}")


class Tally(Protocol):
    """Who wants to know which of its frames did not reach a full socket."""

    coalesced: int  #: a newer one took their place
    volatile_drops: int  #: nobody misses them


class Link(Protocol):
    """One open socket, as everything above the transports sees it. All methods return at once."""

    def send(self, frame: bytes) -> bool:
        """Queue a finished frame (``wire.framing.text_frame``); it leaves with the others of this loop turn.

        False when the socket is closing or closed: the frame went nowhere. While the socket is full, at most
        ``Limits.outbox_bytes`` and ``Limits.outbox_frames`` wait for it: with more the connection is closed
        with 1013 and counted. A socket that is not full takes a frame of any size; a transport that cannot write
        at once may end it likewise when several times ``outbox_bytes`` are sent before it does. Never calls back
        into the session before it returned.
        """
        ...

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        """As :meth:`send`, for a frame nobody misses: dropped and counted while the socket is full, in ``tally``, too.

        True for a dropped frame, too: the connection lives.
        """
        ...

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        """As :meth:`send`; while the socket is full, only the newest frame of each key waits, in place of its
        predecessor. Replaced frames are counted, in ``tally``, too.

        Frames that wait by key leave in the order in which their keys came, behind those of :meth:`send`.
        """
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what is queued, then begin the closing handshake. Harmless when closing already."""
        ...

    def hold(self) -> None:
        """Stop reading: too many calls of this peer are unfinished. What was read already may still arrive."""
        ...

    def release(self) -> None:
        """Read again."""
        ...

    def stall(self) -> None:
        """Write nothing from now on, as if the peer read nothing: the socket is full, with all that follows from it."""
        ...

    def unstall(self) -> None:
        """Write again. Harmless when the link is not stalled."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet taken by the operating system."""
        ...


class Session(Protocol):
    """What answers on one accepted socket."""

    def receive(self, payload: bytes, text: bool) -> None:
        """One whole message. Text is valid UTF-8. Must not raise; an exception closes the socket with 1011."""
        ...

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone; called exactly once, never from within ``Link.send``. 1006: without goodbye."""
        ...

    @property
    def running(self) -> int:
        """Unfinished handlers of this session."""
        ...


class Endpoint(Protocol):
    """What answers on one path."""

    subprotocol: str | None  #: the one subprotocol peers must offer and get echoed; None: any or none

    def refuses(self, request: ConnectRequest) -> Refuse | None:
        """Checks that need no waiting: origin, host, limits. Runs before :meth:`decide`."""
        ...

    def decide(self, request: ConnectRequest) -> Any | Refuse | Awaitable[Any | Refuse]:
        """Who the peer is: any value, handed to :meth:`opened`, or a refusal. Cancelled when the peer leaves."""
        ...

    def opened(self, link: Link, request: ConnectRequest, verdict: Any) -> Session:
        """The socket is open and may be sent to; called directly after the handshake."""
        ...


class Application(Protocol):
    """What a transport serves."""

    limits: Limits
    counters: Counters

    def endpoint(self, path: str) -> Endpoint | None:
        """Who answers WebSocket upgrades on ``path``; None: nobody, HTTP 404."""
        ...

    async def http(self, request: HttpRequest) -> HttpResponse:
        """Answers everything that is not an upgrade; an exception becomes a bare 500."""
        ...


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        jar.clear()
    return {name: morsel.value for name, morsel in jar.items()}
