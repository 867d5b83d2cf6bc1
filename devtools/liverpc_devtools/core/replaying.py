"""Play a recording into a model, as if a server told it."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import (
    ClientFrame,
    Err,
    Events,
    Get,
    Got,
    Look,
    PublishEvent,
    Rooms,
    ServerFrame,
    Welcome,
)
from liverpc_devtools.core.lrec import Entry
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording

__all__ = ["SPEEDS", "Player", "moment"]

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

_EARLIER = 2  # parts before the one that is sought: events from before the moment
_RECENT = 5000  # publishes that questions about a topic are answered from
_RING, _ANSWERS = 20, 500
_HZ = 20


class Player:
    """A clock that can be stopped and set, and the entries of a recording up to it.

    Give its :meth:`time` to a model as its clock, then :meth:`feed` it.

    Args:
        recording: What is played.
        clock: Real time, for how fast it is played.

    Attributes:
        recording: What is played.
        speed: Seconds of the recording in a second.
        paused: Whether time stands still. At the end it does by itself.
    """

    def __init__(self, recording: Recording, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.recording = recording
        self.speed = 1.0
        self.paused = False
        self._clock = clock
        self._at = recording.begin
        self._since = clock()
        self._model: Model | None = None
        self._entries: Iterator[Entry] = iter(())
        self._next: Entry | None = None
        self._moments: list[float] = []  # when events came, as far as it was asked
        self._known: tuple[int, int] = (0, 0)
        self._recent: deque[PublishEvent] = deque(maxlen=_RECENT)
        self._rooms: list[Rooms] = []
        self._answers: deque[ServerFrame] = deque(maxlen=_ANSWERS)
        self._moment: float | None = None  # when that arrived which is told now
        self._whole = False  # the model knows all that was told before this moment

    def time(self) -> float:
        """The moment that is shown: seconds since the recording began."""
        if self._moment is not None:
            return self._moment
        if self.paused:
            return self._at
        return min(self._at + (self._clock() - self._since) * self.speed, self.recording.until)

    @property
    def ended(self) -> bool:
        """Whether everything was played."""
        return self.time() >= self.recording.until

    @property
    def moving(self) -> bool:
        """Whether time goes on."""
        return not (self.paused or self.ended)

    def wall(self, at: float) -> float:
        """The time of day at a moment of the recording."""
        return self.recording.header.wall + at

    def starting(self, text: str) -> float:
        """The moment that a text means, the beginning when it is empty.

        Raises:
            ConfigError: It means none.
        """
        at = moment(text.strip().removeprefix("+"), self) if text.strip() else self.recording.begin
        if at is None:
            raise ConfigError(f"a moment is a time of day such as 12:03:30, or +2m, or seconds; not {text!r}")
        return at

    # -- playing ------------------------------------------------------------------------------------------

    def feed(self, model: Model, at: float | None = None) -> None:
        """Show the moment ``at`` in ``model``, and go on from there with :meth:`advance`."""
        self._model = model
        self.seek(self._at if at is None else at)

    async def run(self) -> None:
        """Play until cancelled."""
        while True:
            self.advance()
            await asyncio.sleep(1 / _HZ)

    async def close(self) -> None:
        """Nothing is open between two entries."""

    def advance(self) -> None:
        """Tell the model everything up to now, and what it has asked for."""
        while self._answers and self._model is not None:
            self._model.apply(self._answers.popleft())
        now = self.time()
        try:
            while self._next is not None and self._next.at <= now:
                entry, self._next = self._next, next(self._entries, None)
                self._moment = entry.at
                self._apply(entry)
        finally:
            self._moment = None

    def seek(self, at: float) -> None:
        """Show another moment."""
        recording = self.recording
        self._set(min(max(at, recording.begin), recording.until))
        self._entries = recording.entries(max(recording.member_at(self._at) - _EARLIER, 0))
        self._next = next(self._entries, None)
        self._recent.clear()
        self._rooms.clear()
        self._answers.clear()
        self._whole = False
        if self._model is not None:
            self._model.forget()
            self.advance()

    def pause(self) -> None:
        """Stop, or go on; at the end begin again."""
        if self.ended:
            self.seek(self.recording.begin)
            self.paused = False
            return
        self._set(self.time())
        self.paused = not self.paused

    def step(self, by: int) -> None:
        """Stop at the next moment at which events came, or the one before."""
        at = self.time()
        moments = self._moments_around(at)
        place = bisect_right(moments, at) if by > 0 else bisect_left(moments, at) - 1
        self.paused = True
        self._at = at
        if not moments or not 0 <= place < len(moments):
            self.seek(self.recording.until if by > 0 else self.recording.begin)
        elif by > 0:  # everything before it was played already
            self._at = moments[place]
            self.advance()
        else:
            self.seek(moments[place])

    def faster(self, by: int) -> None:
        """Play at the next speed of :data:`SPEEDS`, or the one before."""
        self._set(self.time())
        place = min(range(len(SPEEDS)), key=lambda each: abs(SPEEDS[each] - self.speed)) + by
        self.speed = SPEEDS[min(max(place, 0), len(SPEEDS) - 1)]

    def _set(self, at: float) -> None:
        self._at, self._since = at, self._clock()

    def _moments_around(self, at: float) -> list[float]:
        """When events came in the part with ``at`` and in those beside it."""
        member, members = self.recording.member_at(at), self.recording.index.members
        first, after = max(member - 1, 0), min(member + 2, len(members))
        if (first, after) != self._known:
            end = members[after][1] if after < len(members) else float("inf")
            self._known = (first, after)
            self._moments = []
            for each in self.recording.entries(first):
                if each.at > end:
                    break
                if isinstance(each.frame, Events) and (not self._moments or each.at > self._moments[-1]):
                    self._moments.append(each.at)
        return self._moments

    # -- the server's part --------------------------------------------------------------------------------

    def _apply(self, entry: Entry) -> None:
        model, frame = self._model, entry.frame
        if model is None or (entry.again and self._whole):
            return
        if entry.lost:
            model.apply(Events(items=[], lost=entry.lost))
        self._whole = not (entry.lost or entry.again)
        if isinstance(frame, Welcome):
            # Nobody may do anything to a server of the past.
            model.attached(msgspec.structs.replace(frame, granted="observe", chaos=False, denied=[]), self._asked)
        elif frame is not None:
            if isinstance(frame, Rooms):
                self._rooms = [frame] if frame.full else [*self._rooms[-200:], frame]
            elif isinstance(frame, Events):
                self._recent.extend(each for each in frame.items if isinstance(each, PublishEvent))
            model.apply(frame)

    def _asked(self, frame: ClientFrame) -> None:
        answer: ServerFrame | None = None
        if isinstance(frame, Get) and frame.ref[:1] == ["stream"]:
            kept = [each for each in self._recent if [each.topic] == frame.ref[1:]]
            answer = Got(id=frame.id, items=list(kept[-_RING:]), left_out=max(len(kept) - _RING, 0))
        elif isinstance(frame, Get) and frame.ref == ["calls"]:
            answer = Got(id=frame.id, items=[])
        elif isinstance(frame, Look):
            self._answers.extend(self._rooms if frame.rooms else ())
        elif (number := getattr(frame, "id", 0)) and not type(frame).__name__.endswith("atch"):
            answer = Err(id=number, text="this is a recording: nothing can be asked or changed")
        # Not now: whoever asks is told later, as by a server.
        self._answers.extend([] if answer is None else [answer])


def moment(text: str, player: Player) -> float | None:
    """The moment that a text means; None when it means none.

    ``12:03:30`` is a time of day, ``+2m`` or ``-30s`` relative to the moment shown, ``90`` or ``1m30s`` since the
    beginning.
    """
    word = text.strip().lower()
    sign = word[:1] if word[:1] in ("+", "-") else ""
    seconds = _clock_seconds(word) if not sign else None
    if seconds is not None:
        return _of_day(seconds, player)
    amount = _amount(word.lstrip("+-"))
    if amount is None:
        return None
    return player.time() + (amount if sign == "+" else -amount) if sign else player.recording.begin + amount


def _clock_seconds(word: str) -> float | None:
    parts = word.split(":")
    if len(parts) not in (2, 3) or not word.isascii() or not all(each.replace(".", "", 1).isdigit() for each in parts):
        return None
    hours, minutes, *seconds = map(float, parts)
    return hours * 3600 + minutes * 60 + (seconds[0] if seconds else 0.0)


def _of_day(seconds: float, player: Player) -> float | None:
    try:
        began = time.localtime(player.wall(player.recording.begin))
    except (OverflowError, ValueError, OSError):  # the recording says that it is of a time no calendar has
        return None
    of_begin = began.tm_hour * 3600 + began.tm_min * 60 + began.tm_sec + player.wall(player.recording.begin) % 1
    return player.recording.begin + (seconds - of_begin) % 86_400


def _amount(word: str) -> float | None:
    """``90``, ``2m``, ``1m30s``, ``1h``."""
    total, number = 0.0, ""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    for each in word:
        if each.isascii() and (each.isdigit() or each == "."):
            number += each
        elif each in units and number.replace(".", "", 1).isdigit():
            total += float(number) * units[each]
            number = ""
        else:
            return None
    if number and not number.replace(".", "", 1).isdigit():
        return None
    return total + float(number or 0) if word else None
