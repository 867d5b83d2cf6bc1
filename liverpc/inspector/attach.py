"""The attach endpoint: who may look, and one session per observer."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from liverpc.config import Inspect, Level, Token
from liverpc.hub.connection import Connection
from liverpc.hub.gatekeeper import Gatekeeper, host_name, is_loopback_name
from liverpc.hub.link import ConnectRequest, Link, Refuse
from liverpc.inspector.answers import Answers
from liverpc.inspector.leases import Leases
from liverpc.inspector.protocol import (
    SUBPROTOCOL,
    VERSION,
    Budget,
    Bye,
    ClientFrame,
    Credit,
    Err,
    Get,
    Hello,
    Kick,
    Look,
    Ok,
    Ping,
    Pong,
    Redact,
    Resync,
    ServerFrame,
    Try,
    Unwatch,
    Watch,
    Welcome,
)
from liverpc.inspector.protocol import frames as protocol
from liverpc.inspector.rooms import RoomsTold
from liverpc.inspector.telling import encoded
from liverpc.inspector.view import View
from liverpc.inspector.watching import Watching, granted
from liverpc.wire.close import CloseCode
from liverpc.wire.framing import text_frame

if TYPE_CHECKING:
    from liverpc.inspector.inspector import Inspector

__all__ = ["SKIP_ABOVE", "AttachEndpoint", "Observer"]

log = logging.getLogger("liverpc.inspector")

_MAX_KEY = 64  # characters of a key that is to be redacted
_MAX_KEYS = 256  # that are redacted, those of the settings included
_MAX_BACKLOG = 4 << 20
_READING = 20e-6  # seconds: what a frame costs before it gets here
_MAX_HOLD = protocol.Limits.LEASE / 2  # seconds; who is not read for longer seems to be gone
SKIP_ABOVE = 256 * 1024  # unsent bytes of an observer above which it has to wait
_MAX_NAMED = 10  # connections in a line of the log
_decode = msgspec.json.Decoder(ClientFrame).decode


class AttachEndpoint:
    """Answers on ``/__liverpc/attach`` (``hub.link.Endpoint``).

    Browsers are kept out altogether: a request with an ``Origin`` is refused, which also ends DNS
    rebinding. Tokens travel in the ``Authorization`` header and are compared in constant time.
    """

    subprotocol: str | None = SUBPROTOCOL

    def __init__(self, inspector: Inspector, settings: Inspect, tokens: tuple[Token, ...]) -> None:
        self._inspector = inspector
        self._settings = settings
        self._gatekeeper = Gatekeeper(tokens, inspector.monotonic, inspector.wall)

    def refuses(self, request: ConnectRequest) -> Refuse | None:
        if self._inspector.closed:
            return Refuse(503, "server going away\n")
        if "origin" in request.headers:
            return Refuse(403, "devtools do not attach from browsers\n")
        name, host = host_name(request.headers), request.headers.get("host", "").lower()
        if not is_loopback_name(name) and not {"*", name, host} & set(self._settings.hosts):
            return Refuse(403, "this Host is not listed in Inspect(hosts=...)\n")
        if self._gatekeeper.exhausted(request.address):
            return Refuse(429, "too many refused tokens from here; wait a minute\n")
        if len(self._inspector.observers) >= self._settings.max_observers:
            return Refuse(503, f"{self._settings.max_observers} observers are attached already, the limit\n")
        return None

    def decide(self, request: ConnectRequest) -> Token | Refuse:
        token = self._gatekeeper.holder(request.headers, request.address)
        return token or Refuse(401, "the devtools token was refused\n", {"WWW-Authenticate": "Bearer"})

    def opened(self, link: Link, request: ConnectRequest, verdict: Token) -> Observer:
        return Observer(self._inspector, link, verdict)


class Observer:
    """One attached devtools client (``hub.link.Session``)."""

    running = 0

    def __init__(self, inspector: Inspector, link: Link, token: Token) -> None:
        self.inspector = inspector
        self.link = link
        self.token = token
        self.id = secrets.token_hex(4)
        self.name = ""
        self.level: Level = "metrics"
        self.view = View(inspector.source, "metrics", token.topics)
        self.watching = Watching(self.view, Budget(0.0, 0.0), inspector.monotonic)
        self._answers = Answers(inspector, self.view, self.may)
        self._backlog: deque[bytes] = deque()  # states that wait until earlier ones were taken by the socket
        self._backlog_limit = _MAX_BACKLOG
        self.heard_at = inspector.monotonic()
        self.greeted = False
        self.stale = False  # missed a delta: needs a full state
        self.rooms: RoomsTold | None = None  # while it looks at them
        self._leases = Leases(self)
        self.allowance = inspector.allowances[token.secret]
        self._held: asyncio.TimerHandle | None = None  # nothing is read before: it has asked too much
        inspector.joined(self)

    # -- hub.link.Session

    def receive(self, payload: bytes, text: bool) -> None:
        self.heard_at = self.inspector.monotonic()
        began = time.thread_time()
        self._handle(payload)
        spent = time.thread_time() - began
        self.inspector.tap.spent += spent
        self.allowance.spend(spent + _READING)
        if (wait := self.allowance.wait) and self._held is None:
            self.link.hold()
            self._held = asyncio.get_running_loop().call_later(min(wait, _MAX_HOLD), self._release)

    def _release(self) -> None:
        self._held = None
        self.link.release()

    def _handle(self, payload: bytes) -> None:
        try:
            frame = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # of an unknown kind, or nothing at all: a newer client may know more than we do
        if not self.greeted and not isinstance(frame, Hello):
            return
        if isinstance(frame, Hello):
            self._hello(frame)
        elif isinstance(frame, Ping):
            self.send(Pong(at=frame.at, server_at=self.heard_at))
        elif isinstance(frame, Credit):
            credit = self.watching.credit + max(0, frame.n)
            self.watching.credit = min(credit, 10 * protocol.Limits.INITIAL_CREDIT)
        elif isinstance(frame, Watch):
            self._watch(frame)
        elif isinstance(frame, Unwatch):
            self.watching.unwatch(frame.id)
            self.inspector.refocus()
        elif isinstance(frame, Resync):
            self.stale = True
        elif isinstance(frame, Get):
            self.send(self._answers.answer(frame))
        elif isinstance(frame, Look):
            self._look(frame)
        else:
            self._act(frame)

    def closed(self, code: int, reason: str) -> None:
        if self._held is not None:
            self._held.cancel()
        self.inspector.left(self)

    # -- frames

    def send(self, frame: ServerFrame) -> bool:
        """Send one frame to this observer."""
        return self.link.send(text_frame(encoded(frame)))

    def send_state(self, *frames: bytes, full: bool = False) -> None:
        """Send states in order, no faster than the socket takes them.

        A full state replaces what still waits. Who then falls behind by more than 4 MiB misses the changes and
        gets another full state later.
        """
        if full:
            self.stale = False
            self._backlog.clear()
            self._backlog_limit = _MAX_BACKLOG + sum(map(len, frames))
        self._backlog.extend(frames)
        while self._backlog and self.link.buffered <= SKIP_ABOVE:
            self.link.send(self._backlog.popleft())
        if sum(map(len, self._backlog)) > self._backlog_limit:
            self._backlog.clear()
            self.stale = True

    def _hello(self, hello: Hello) -> None:
        if self.greeted:
            return
        if hello.v != VERSION:
            text = f"this server speaks attach protocol {VERSION}, {hello.client!r} speaks {hello.v}"
            self.send(Bye(code="VERSION", text=text))
            self.link.close(CloseCode.NORMAL, "version")
            return
        inspector = self.inspector
        levels = protocol.LEVELS
        self.level = levels[min(levels.index(hello.want), levels.index(self.token.level))]
        denied: list[str] = []
        if self.level != hello.want:
            denied.append(f"{hello.want}: the token opens {self.token.level}")
        if hello.want == "chaos" and not inspector.settings.chaos:
            denied.append("chaos: the server was not started with Inspect(chaos=True)")
            if self.level == "chaos":
                self.level = "observe"
        self.name = "".join(filter(str.isprintable, hello.client[:64]))  # it goes into the log
        self.view = View(inspector.source, self.level, self.token.topics)
        budget = granted(hello.budget, inspector.settings)
        self.watching = Watching(self.view, budget, inspector.monotonic)
        self._answers = Answers(inspector, self.view, self.may)
        self.greeted = True
        self.send(
            Welcome(
                v=VERSION,
                session=self.id,
                granted=self.level,
                denied=denied,
                server=inspector.info,
                at=inspector.monotonic(),
                wall=inspector.wall(),
                redacted=sorted(inspector.tap.redactor.keys),
                ring=inspector.settings.ring,
                history=inspector.settings.history,
                chaos=inspector.settings.chaos,
                budget=budget,
            )
        )
        log.info("%s attached at level %s", self.name or "an observer", self.level)
        inspector.greeted(self)

    def _watch(self, watch: Watch) -> None:
        wrong = self.watching.watch(watch)
        if wrong is None:
            self.inspector.refocus()
        else:
            self.send(Err(id=watch.id, text=wrong))

    # -- rooms

    def _look(self, look: Look) -> None:
        if not look.rooms:
            self.rooms = None
            return
        self.rooms = self.rooms or RoomsTold(self.view, self.inspector.survey)
        self.rooms.look(look)
        self.tell_rooms()

    def tell_rooms(self) -> None:
        """Send what is new about the rooms, if the observer looks at them and has taken what was sent before."""
        if self.rooms is not None and self.link.buffered <= SKIP_ABOVE:
            news = self.rooms.news(self.inspector.monotonic())
            if news is not None:
                self.send(news)

    # -- actions

    def _act(self, frame: Any) -> None:
        if isinstance(frame, Kick):
            self._kick(frame)
        elif isinstance(frame, Try):
            self._try(frame)
        elif isinstance(frame, Redact):
            self._redact(frame)
        else:
            self.send(self._leases.answer(frame))

    def _kick(self, kick: Kick) -> None:
        if not self.may("admin"):
            self.send(Err(id=kick.id, text="closing connections needs level admin"))
            return
        hub = self.inspector.source.hub
        meant: list[Connection | None]
        meant = [*hub.people.connections(kick.user)] if kick.user else [hub.connections.get(kick.connection)]
        found = [each for each in meant if each is not None and self.view.shows(each)]
        if not found:
            what = "user of that name is connected" if kick.user else "such connection is open"
            self.send(Err(id=kick.id, text=f"no {what}"))
            return
        code = CloseCode.FORBIDDEN if kick.for_good else CloseCode.RESTART
        for each in found:
            each.close(code, "kicked")
        self.inspector.source.counters.connections_kicked += len(found)
        named = ", ".join(f"{each.id} (user {each.user_id!r:.100})" for each in found[:_MAX_NAMED])
        more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        log.warning("%s (level %s) closed %s%s with %d", self.name, self.level, named, more, code)
        self.send(Ok(id=kick.id, closed=len(found)))

    def _try(self, wish: Try) -> None:
        if self.view.scoped or not self.may("admin"):
            self.send(Err(id=wish.id, text="calls are tried at level admin (--admin), by tokens for all topics"))
            return
        self.inspector.trials.start(self, self.name, wish, self.send)

    def _redact(self, wish: Redact) -> None:
        if self.view.scoped or not self.may("admin"):
            self.send(Err(id=wish.id, text="keys are redacted at level admin, by tokens for all topics"))
            return
        keys = [key.strip() for key in wish.keys]
        redactor = self.inspector.tap.redactor
        if not keys or not all(0 < len(key) <= _MAX_KEY and key.isprintable() for key in keys):
            self.send(Err(id=wish.id, text=f"a key has 1 to {_MAX_KEY} printable characters"))
        elif len(redactor.keys) + len(keys) > _MAX_KEYS:
            self.send(Err(id=wish.id, text=f"at most {_MAX_KEYS} keys are redacted"))
        else:
            redactor.add(keys)
            self.send(Ok(id=wish.id))
            told = ", ".join(keys)
            log.warning("%s (level %s) redacts from now on: %s", self.name, self.level, told)
            self.inspector.note(f"{self.name or 'an observer'} redacts from now on: {told}")

    def may(self, level: Level) -> bool:
        """Whether it has this level, or one above."""
        return protocol.LEVELS.index(self.level) >= protocol.LEVELS.index(level)
