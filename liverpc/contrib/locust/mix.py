"""What the clients of a server did, as a recording of ``liverpc-tui record`` tells: the mix that a replay makes again.

Counted are the server's own figures in the recording, which have every call; its events, of which a busy server tells
a part only, are where arguments are taken from.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from liverpc.contrib.locust.lines import Damaged, lines_of
from liverpc.contrib.locust.schedule import due_times
from liverpc.errors import ConfigError
from liverpc.inspector.protocol import ServerInfo, State, Welcome

__all__ = ["Calls", "Mix", "Recorded", "Subscribers", "is_whole"]

_SAMPLES = 200  # calls of a path whose arguments are kept; drawn from all of them
_SECONDS_MIN, _SECONDS_MAX, _RATE_MAX = 0.001, 1e9, 1e6  # of recordings that tell something that can be
_PATHS = 1000  # that calls are looked at of; a client may call what does not exist by any name
_GAPS = re.compile(r"^\[(REDACTED|depth-cap|cycle)\]$|\[\+\d+ (more|characters)\]$|^\[\d+ bytes\]$")
_OF_CONTRACT = re.compile(r"/__(open|close|event|join|leave)(/|$)")

UNTOLD = "its arguments are not in the recording"
EARLIER = "it was subscribed to before the recording began, so its arguments are not in it"
GAPS = "its arguments were redacted or cut"
CARRIES = "the bytes it was called with are not in the recording"
CONTRACT = "it belongs to a contract, which a replay does not open"


class Recorded(msgspec.Struct, frozen=True):
    """A call, or the use of a stream, that was recorded."""

    path: str
    args: dict[str, Any] = {}  #: by parameter name, in order, as far as they are known
    missing: str = ""  #: why they cannot be sent as they are; empty when they can
    code: str = ""  #: what it ended with; empty when it succeeded
    topic: str = ""  #: of a stream, when that is all that is known


class Calls(msgspec.Struct, frozen=True):
    """The calls of one path."""

    path: str
    rate: float  #: per second, of all connections together
    samples: list[Recorded]


class Subscribers(msgspec.Struct, frozen=True):
    """The uses of one stream path."""

    path: str
    number: float  #: at a time, on average, of all its topics together
    published: float  #: per second, on all its topics together; told only, the server does that by itself
    samples: list[Recorded]  #: different ones
    weights: list[float]  #: how often each was used, compared with the others


class Mix(msgspec.Struct, frozen=True):
    """What happened in a recording, per second and connection."""

    seconds: float  #: how long it is
    connections: float  #: open at a time, on average
    calls: list[Calls]
    streams: list[Subscribers]
    left_out: dict[str, str]  #: paths that can never be replayed, and why
    problems: list[str]  #: what could not be read of the file

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Mix:
        """Read a recording, ``.lrec.gz`` or unpacked. One that breaks off is read as far as it goes.

        Raises:
            ConfigError: It cannot be read, is no recording, or tells of no time at all.
        """
        path, reader = Path(path), _Reader()
        try:
            with path.open("rb") as file:
                for line in lines_of(file):
                    reader.take(line)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except Damaged as error:
            reader.problems.append(str(error))
        if not reader.is_recording:
            raise ConfigError(f"{path} is no recording of liverpc-tui")
        if reader.seconds < _SECONDS_MIN:
            why = "".join(f" ({problem})" for problem in reader.problems)
            raise ConfigError(f"{path.name} is too short to tell how often something happened{why}")
        mix = reader.mix()
        if not (mix.seconds < _SECONDS_MAX and mix.rate < _RATE_MAX):
            raise ConfigError(
                f"{path.name} is damaged: it tells of {mix.rate:.3g} calls per second in {mix.seconds:.3g} s"
            )
        return mix

    @property
    def rate(self) -> float:
        """Calls per second of all connections together."""
        return sum(each.rate for each in self.calls)

    def subscriptions(self, seed: object) -> list[Recorded]:
        """What one connection listens to; on average over many seeds, each stream in the recorded proportion."""
        rng = random.Random(f"streams {seed}")
        chosen = []
        for each in self.streams:
            wanted = each.number / max(self.connections, 1.0)
            number = int(wanted) + (rng.random() < wanted % 1)
            # Without repetition, each with a chance according to its weight (Efraimidis and Spirakis).
            lots = [(rng.random() ** (1 / weight), place) for place, weight in enumerate(each.weights)]
            chosen += [each.samples[place] for _, place in sorted(lots, reverse=True)[:number]]
        return chosen

    def schedule(self, start: float, seed: object, *, speed: float = 1.0) -> Iterator[tuple[float, Recorded]]:
        """The calls of one connection and when they are due, in order, without end; the same for equal seeds.

        They come at random, independent of each other, in the recorded mix and at the recorded rate.

        Args:
            start: The beginning, on any clock that counts seconds.
            seed: Another one for each connection.
            speed: 2.0: twice as many per second.
        """
        rate = self.rate * speed / max(self.connections, 1.0)
        if not rate > 0:
            return
        rng = random.Random(f"calls {seed}")
        weights = list(accumulate(each.rate for each in self.calls))
        for due in due_times(rate, start, f"moments {seed}"):
            (path,) = rng.choices(self.calls, cum_weights=weights)
            yield due, rng.choice(path.samples)


def is_whole(value: Any) -> bool:
    """Whether nothing in a recorded value was redacted or cut."""
    if isinstance(value, str):
        return _GAPS.search(value) is None
    if isinstance(value, Mapping):
        return "…" not in value and all(is_whole(key) and is_whole(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_whole, value))
    return True


class _Header(msgspec.Struct, tag="liverpc.recording", tag_field="t"):
    schema: int


class _Call(msgspec.Struct, tag="rpc", tag_field="kind"):
    """As much of a :class:`~liverpc.inspector.protocol.CallEvent` as is needed: most of a recording are events."""

    path: str
    ok: bool
    code: str = ""
    stream: bool = False
    carries: str = ""
    args: msgspec.Raw = msgspec.Raw(b"null")

    def recorded(self) -> Recorded:
        with suppress(msgspec.MsgspecError, RecursionError):
            args = msgspec.json.decode(self.args)
            if isinstance(args, dict):
                return Recorded(self.path, args, missing="" if is_whole(args) else GAPS, code=self.code)
        return Recorded(self.path, missing=UNTOLD, code=self.code)


class _Publish(msgspec.Struct, tag="pub", tag_field="kind"):
    pass


class _Connection(msgspec.Struct, tag="conn", tag_field="kind"):
    pass


class _Events(msgspec.Struct, tag="ev", tag_field="t"):
    items: list[_Call | _Publish | _Connection]


class _Entry(msgspec.Struct):
    """As much of a line as is needed; others do not fit."""

    at: float
    frame: Welcome | State | _Events


class _Sampled:
    """Some of the calls of a path, each with the same chance, and how many there were."""

    def __init__(self, path: str) -> None:
        self.samples: list[Recorded] = []
        self._seen = 0
        self._rng = random.Random(path)

    def add(self, call: _Call) -> None:
        self._seen += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(call.recorded())
        elif (place := self._rng.randrange(self._seen)) < _SAMPLES:
            self.samples[place] = call.recorded()


class _Use(msgspec.Struct):
    """A topic, and its figures when it was told of last."""

    path: str
    topic: str
    subscribers: int = 0
    since: float = 0.0  #: there have been so many
    published: int = 0


class _Reader:
    """Adds up what a recording tells. What it keeps is bounded by what the server declares and has subscribed."""

    def __init__(self) -> None:
        self.is_recording = False
        self.problems: list[str] = []
        self._entry = msgspec.json.Decoder(_Entry).decode
        self._server: ServerInfo | None = None
        self._whole = False  # this server's figures at the beginning are known
        self._began: float | None = None
        self._until = 0.0
        self._more = False
        self._paths: dict[int, str] = {}
        self._told: dict[str, int] = {}  # calls of this server's life, by path
        self._called: Counter[str] = Counter()
        self._topics: dict[int, _Use] = {}
        self._before: dict[int, _Use] = {}  # those of which a state that comes in parts has not told yet
        self._connected: set[str] = set()
        self._connection_seconds = 0.0
        self._use_seconds: dict[str, float] = defaultdict(float)  # subscribers, each for so long, by path
        self._topic_seconds: dict[str, dict[str, float]] = defaultdict(dict)  # the same by path and topic
        self._published: Counter[str] = Counter()
        self._calls: dict[str, _Sampled] = {}
        self._uses: dict[str, _Sampled] = {}  # of streams
        self._streams: set[str] = set()
        self._carrying: set[str] = set()

    @property
    def seconds(self) -> float:
        return 0.0 if self._began is None else self._until - self._began

    def take(self, line: bytes) -> None:
        """Take one line; what is not understood is left out, as newer recorders write more."""
        try:
            if not self.is_recording:
                msgspec.json.decode(line, type=_Header)
                self.is_recording = True
                return
            entry = self._entry(line)
        except (msgspec.MsgspecError, RecursionError):
            if not self.is_recording:
                raise Damaged("its first line is not that of a recording") from None
            return
        frame = entry.frame
        if isinstance(frame, Welcome):
            self._welcome(frame.server)
        elif isinstance(frame, State):
            self._state(frame, entry.at)
        else:
            for event in frame.items:
                if isinstance(event, _Call):
                    self._call(event)

    def _welcome(self, server: ServerInfo) -> None:
        if self._server is not None and (server.pid, server.started) != (self._server.pid, self._server.started):
            self._told = {}  # it was started during the recording: all it has counted belongs to it
            self._paths, self._connected = {}, set()
            self._settle_all()
        self._server = server

    def _state(self, state: State, at: float) -> None:
        if self._began is None:
            self._began = self._until = at
        at = max(at, self._until)
        self._connection_seconds += (at - self._until) * len(self._connected)
        self._until = at
        if state.full and not self._more:
            self._before, self._topics, self._connected = self._topics, {}, set()
        self._more = state.more
        self._connected.update(each.id for each in state.connections)
        self._connected.difference_update(state.connections_gone)
        for stream in state.streams:
            if stream.path:  # others are rooms of contracts
                use = self._before.pop(stream.id, None) or _Use(stream.path, stream.topic, since=at)
                self._topics.setdefault(stream.id, use)
        for stats in state.stream_stats:
            if stats.id in self._topics:
                use = self._topics[stats.id]
                self._settle(use, at, stats.subscribers)
                if self._whole:
                    self._published[use.path] += max(0, stats.published - use.published)
                use.published = stats.published
        for number in state.streams_gone:
            if number in self._topics:
                self._settle(self._topics.pop(number), at, 0)
        if not state.more:
            for use in self._before.values():
                self._settle(use, at, 0)
            self._before = {}
        self._count(state)
        self._whole = self._whole or (state.full and not state.more)

    def _settle(self, use: _Use, at: float, subscribers: int) -> None:
        """Add up how long there have been so many subscribers, of whom there is another number now."""
        used = use.subscribers * (at - use.since)
        self._use_seconds[use.path] += used
        topics = self._topic_seconds[use.path]
        if use.topic in topics or len(topics) < _SAMPLES:
            topics[use.topic] = topics.get(use.topic, 0.0) + used
        use.subscribers, use.since = subscribers, at

    def _settle_all(self) -> None:
        for use in [*self._topics.values(), *self._before.values()]:
            self._settle(use, self._until, 0)
        self._topics, self._before = {}, {}

    def _count(self, state: State) -> None:
        self._paths.update((each.id, each.path) for each in state.paths)
        for stats in state.path_stats:
            path = self._paths.get(stats.id)
            if path is None:
                continue
            if self._whole:
                self._called[path] += max(0, stats.calls - self._told.get(path, 0))
            self._told[path] = stats.calls

    def _call(self, event: _Call) -> None:
        samples = self._uses if event.stream else self._calls
        if event.path not in samples and len(samples) >= _PATHS:
            return
        if event.carries:
            self._carrying.add(event.path)
        if event.stream:
            self._streams.add(event.path)
            if not event.ok:
                return  # nobody listens to it
        samples.setdefault(event.path, _Sampled(event.path)).add(event)

    def mix(self) -> Mix:
        """All of it; asked once, at the end."""
        seconds = self.seconds
        self._settle_all()
        left_out: dict[str, str] = {}
        calls: list[Calls] = []
        for path, number in sorted(self._called.items()):
            if not number or path in self._topic_seconds or path in self._streams:
                continue
            if _OF_CONTRACT.search(path):
                left_out[path] = CONTRACT
            elif path in self._carrying:
                left_out[path] = CARRIES
            else:
                sampled = self._calls.get(path)
                samples = sampled.samples if sampled is not None else [Recorded(path, missing=UNTOLD)]
                calls.append(Calls(path, number / seconds, samples))
        streams = [self._subscribers(path, used / seconds) for path, used in sorted(self._use_seconds.items()) if used]
        return Mix(seconds, self._connection_seconds / seconds, calls, streams, left_out, self.problems)

    def _subscribers(self, path: str, number: float) -> Subscribers:
        """Different uses of a stream: those that were recorded, else its topics."""
        uses: dict[bytes, tuple[Recorded, float]] = {}
        if path in self._uses:
            for each in self._uses[path].samples:
                key = msgspec.json.encode(each)
                uses[key] = each, 1 + (uses[key][1] if key in uses else 0)
        else:
            for topic, used in self._topic_seconds[path].items():
                each = Recorded(path, missing=EARLIER, topic=topic)
                uses[topic.encode()] = each, max(used, 1e-9)  # of a moment only
        samples, weights = zip(*uses.values(), strict=True)
        return Subscribers(path, number, self._published[path] / self.seconds, [*samples], [*weights])
