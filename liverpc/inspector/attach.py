"""The attach endpoint: who may look, and one session per observer."""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from liverpc.config import Inspect, Level, Token
from liverpc.errors import ConfigError
from liverpc.hub.connection import Connection
from liverpc.hub.gatekeeper import Gatekeeper, host_name, is_loopback_name
from liverpc.hub.link import ConnectRequest, Link, Refuse
from liverpc.inspector.protocol import (
    SUBPROTOCOL,
    VERSION,
    Bye,
    ChaosArm,
    ChaosClear,
    ChaosRenew,
    ClientFrame,
    Credit,
    Err,
    Event,
    Events,
    Get,
    Got,
    Hello,
    Kick,
    Look,
    Ok,
    Ping,
    Pong,
    Resync,
    ServerFrame,
    Unwatch,
    Watch,
    Welcome,
)
from liverpc.inspector.protocol import frames as protocol
from liverpc.inspector.rooms import RoomsTold
from liverpc.inspector.view import View, matcher
from liverpc.wire.close import CloseCode
from liverpc.wire.framing import text_frame
from liverpc.wire.names import MAX_TOPIC_LENGTH

if TYPE_CHECKING:
    from liverpc.inspector.inspector import Inspector

__all__ = ["SKIP_ABOVE", "AttachEndpoint", "Observer"]

log = logging.getLogger("liverpc.inspector")

_MAX_WATCHES = 16
_MAX_GLOBS = 16  # in a watch
_MAX_EVENTS = 512 * 1024  # bytes of events in one frame
_MAX_BACKLOG = 4 << 20
SKIP_ABOVE = 256 * 1024  # unsent bytes of an observer above which it has to wait
_MAX_WAITING = 4096  # events kept for one observer between two flushes
_MAX_NAMED = 10  # connections in a line of the log
_decode = msgspec.json.Decoder(ClientFrame).decode
_encode = msgspec.json.Encoder().encode


class AttachEndpoint:
    """Answers on ``/__liverpc/attach`` (``hub.link.Endpoint``).

    Browsers are kept out altogether: a request with an ``Origin`` is refused, which also ends DNS
    rebinding. Tokens travel in the ``Authorization`` header and are compared in constant time.
    """

    subprotocol: str | None = SUBPROTOCOL

    def __init__(self, inspector: Inspector, settings: Inspect, tokens: tuple[Token, ...]) -> None:
        self._inspector = inspector
        self._settings = settings
        self._gatekeeper = Gatekeeper(tokens, inspector.monotonic)

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
        self.watches: dict[int, tuple[Watch, Callable[[Event], bool]]] = {}
        self.credit = protocol.Limits.INITIAL_CREDIT
        self.lost = 0
        self._backlog: deque[bytes] = deque()  # states that wait until earlier ones were taken by the socket
        self._backlog_limit = _MAX_BACKLOG
        self.heard_at = inspector.monotonic()
        self.greeted = False
        self.stale = False  # missed a delta: needs a full state
        self.rooms: RoomsTold | None = None  # while it looks at them
        self._waiting: list[Event] = []
        inspector.joined(self)

    # -- hub.link.Session

    def receive(self, payload: bytes, text: bool) -> None:
        self.heard_at = self.inspector.monotonic()
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
            self.credit = min(self.credit + max(0, frame.n), 10 * protocol.Limits.INITIAL_CREDIT)
        elif isinstance(frame, Watch):
            self._watch(frame)
        elif isinstance(frame, Unwatch):
            self.watches.pop(frame.id, None)
            self.inspector.refocus()
        elif isinstance(frame, Resync):
            self.stale = True
        elif isinstance(frame, Get):
            self._get(frame)
        elif isinstance(frame, Look):
            self._look(frame)
        elif isinstance(frame, Kick):
            self._kick(frame)
        else:
            self._chaos(frame)

    def closed(self, code: int, reason: str) -> None:
        self.inspector.left(self)

    # -- frames

    def send(self, frame: ServerFrame) -> bool:
        """Send one frame to this observer."""
        return self.link.send(text_frame(_encode(frame)))

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
            )
        )
        log.info("%s attached at level %s", self.name or "an observer", self.level)
        inspector.greeted(self)

    def _watch(self, watch: Watch) -> None:
        if len(self.watches) >= _MAX_WATCHES and watch.id not in self.watches:
            self.send(Err(id=watch.id, text=f"at most {_MAX_WATCHES} watches; end one first"))
            return
        globs = watch.match.topic, watch.match.path
        if any(len(each) > _MAX_GLOBS or any(len(g) > MAX_TOPIC_LENGTH for g in each) for each in globs):
            text = f"at most {_MAX_GLOBS} globs of {MAX_TOPIC_LENGTH} characters; watch less at once"
            self.send(Err(id=watch.id, text=text))
            return
        self.watches[watch.id] = (watch, matcher(watch.match))
        self.inspector.refocus()

    def _get(self, get: Get) -> None:
        tap = self.inspector.tap
        items: list[Event]
        if get.ref[:1] == ["calls"]:
            items = list(tap.history())
        elif get.ref[:1] == ["stream"] and len(get.ref) == 2:
            items = list(tap.rings.get(get.ref[1], ()))
        elif get.ref[:1] == ["call"] and len(get.ref) in (3, 4):
            self._get_call(get)
            return
        else:
            text = 'get takes ["stream", topic], ["calls"] or ["call", connection, call]'
            self.send(Err(id=get.id, text=text))
            return
        visible = [seen for item in items if (seen := self.view.event(item, True)) is not None]
        fitting, left_out = _newest(visible)
        self.send(Got(id=get.id, items=fitting, left_out=left_out))

    def _get_call(self, get: Get) -> None:
        if self.view.scoped or not self._may("observe"):
            self.send(Err(id=get.id, text="where a call waits is told at level observe, to tokens for all topics"))
            return
        began = time.thread_time()
        awaited = self.view.awaited(*get.ref[1:])
        self.inspector.tap.spent += time.thread_time() - began
        if awaited is None:
            self.send(Err(id=get.id, text="it does not run any more"))
        else:
            self.send(Got(id=get.id, items=[], awaited=awaited))

    # -- rooms

    def _look(self, look: Look) -> None:
        if not look.rooms:
            self.rooms = None
            return
        began = time.thread_time()
        self.rooms = self.rooms or RoomsTold(self.view, self.inspector.survey)
        self.rooms.look(look)
        self.tell_rooms()
        self.inspector.tap.spent += time.thread_time() - began

    def tell_rooms(self) -> None:
        """Send what is new about the rooms, if the observer looks at them and has taken what was sent before."""
        if self.rooms is not None and self.link.buffered <= SKIP_ABOVE:
            news = self.rooms.news(self.inspector.monotonic())
            if news is not None:
                self.send(news)

    def _kick(self, kick: Kick) -> None:
        if not self._may("admin"):
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

    def _may(self, level: Level) -> bool:
        return protocol.LEVELS.index(self.level) >= protocol.LEVELS.index(level)

    # -- faults

    def _chaos(self, frame: ChaosArm | ChaosRenew | ChaosClear) -> None:
        faults = self.inspector.source.faults
        if isinstance(frame, ChaosClear):
            # Whoever may see a fault may end it: stopping harm needs no permission.
            if not self._may("observe"):
                self.send(Err(id=frame.id, text="clearing faults needs level observe"))
                return
            gone = 0
            for rule in list(faults.rules):
                if frame.rule in (0, rule.number) and self.view.covers(rule.topic):
                    gone += faults.clear(rule.number, by=self.name)
            known = frame.rule == 0 or gone
            self.send(Ok(id=frame.id) if known else Err(id=frame.id, text=f"there is no fault {frame.rule}"))
            return
        if not self._may("chaos") or not self.inspector.settings.chaos:
            self.send(Err(id=frame.id, text="injecting faults needs a chaos token and a server that allows it"))
            return
        detached = isinstance(frame, ChaosArm) and frame.detach
        longest = protocol.Limits.MAX_DETACHED_TTL if detached else protocol.Limits.MAX_TTL
        try:
            if not 0 < frame.ttl <= longest:
                raise ConfigError(f"a fault lives between 0 and {longest:g} seconds, not {frame.ttl:g}")
            if isinstance(frame, ChaosRenew):
                visible = any(rule.number == frame.rule and self.view.covers(rule.topic) for rule in faults.rules)
                if not visible or not faults.renew(frame.rule, frame.ttl):
                    raise ConfigError(f"there is no fault {frame.rule}")
                self.send(Ok(id=frame.id, rule=frame.rule))
                return
            wish = frame.rule
            if wish.action != "drop":
                raise ConfigError(f"this server knows the fault 'drop', not {wish.action!r}")
            if not self.view.covers(wish.topic):
                raise ConfigError(f"the topics {wish.topic!r} are outside this token's scope")
            rule = faults.arm(
                rate=wish.rate,
                topic=wish.topic,
                seed=wish.seed or secrets.token_hex(4),
                ttl=frame.ttl,
                limit=wish.limit,
                owner=None if frame.detach else self,
                by=self.name,
            )
            self.send(Ok(id=frame.id, rule=rule.number))
        except ConfigError as error:
            self.send(Err(id=frame.id, text=str(error)))

    # -- events

    def offer(self, event: Event) -> None:
        """Keep an event for the next flush, if a watch wants it and the observer may see it."""
        for watch, wants in self.watches.values():
            if wants(event):
                seen = self.view.event(event, watch.payload)
                if seen is None:
                    return
                if self.credit <= 0 or len(self._waiting) >= _MAX_WAITING:
                    self.lost += 1
                    return
                self.credit -= 1
                self._waiting.append(seen)
                return

    def flush(self, lost: int, sample: float) -> None:
        """Send what was kept. ``lost`` counts what was not captured at all."""
        lost = self.lost + (0 if self.view.scoped else lost)
        if not self._waiting and not (lost and self.watches):
            return
        items, left_out = _newest(self._waiting)
        lost += left_out
        self._waiting = []
        self.lost = 0
        self.send(Events(items=items, lost=lost if self.watches else 0, sample=round(sample, 4)))


def _newest(events: list[Event]) -> tuple[list[Any], int]:
    """As many of the newest events, already encoded, as fit into a frame; and how many older ones did not."""
    fitting: list[msgspec.Raw] = []
    room = _MAX_EVENTS
    for event in reversed(events):
        encoded = _encode(event)
        room -= len(encoded)
        if room < 0:
            break
        fitting.append(msgspec.Raw(encoded))
    fitting.reverse()
    return fitting, len(events) - len(fitting)
