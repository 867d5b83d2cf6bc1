"""Wait for something to happen, tell people, and keep the 30 seconds before and after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from liverpc.errors import ConfigError
from liverpc.inspector.protocol import (
    CallEvent,
    ChaosChanged,
    Event,
    Events,
    Match,
    PublishEvent,
    Rooms,
    ServerFrame,
    State,
    Welcome,
)
from liverpc_devtools.core.fields import EventSubject
from liverpc_devtools.core.filter import Filter, parse
from liverpc_devtools.core.lrec import Entry
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recording import Recorder, Rotation, snapshot
from liverpc_devtools.core.text import clean

__all__ = ["Trigger", "Triggers", "desktop"]

BEFORE = AFTER = 30.0  #: seconds
EVERY = 10.0  #: seconds in which a trigger fires once
MOST_FILES = 20  #: of one session

_PART_SECONDS = 15.0
_RING_BYTES = 16 << 20
_ALARMS = 20
_MARKS = 100

_KEPT = (Welcome, State, Events, Rooms, ChaosChanged)
_encode = msgspec.json.Encoder().encode


class Trigger:
    """A filter that is waited for.

    Attributes:
        filter: What for.
        text: The filter, as it was given.
        fired: How often it came.
        ignored: How often it came so soon after the last time that nothing was done.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.filter: Filter = parse(text)
        self.fired = 0
        self.ignored = 0
        self._last = float("-inf")

    def saw(self, event: Event, at: float) -> bool:
        """Whether ``event`` is to be told of."""
        if not self.filter.matches(EventSubject(event)):
            return False
        if at - self._last < EVERY:
            self.ignored += 1
            return False
        self._last = at
        self.fired += 1
        return True


class _Part:
    """Some seconds of the past, with the whole state at their beginning."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.weight = 0
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.weight += len(_encode(entry))


class Triggers:
    """Looks at each event a model is told. While it waits for something, the last 30 to 45 seconds are kept.

    What happens while a file is written becomes a bookmark in that file, which then ends 30 seconds later.

    Args:
        model: Watches everything while somebody waits.
        folder: Where the recordings go.
        monotonic: Time.
        ring_bytes: How much of the past is kept at most; when it is more, it is shorter.

    Attributes:
        waiting: What is waited for.
        alarms: What happened, for whoever tells people; they take it out.
        made: The files.
        unsaved: How often nothing was saved, because there are 20 files already or the file could not be made.
    """

    def __init__(
        self,
        model: Model,
        *,
        folder: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        ring_bytes: int = _RING_BYTES,
    ) -> None:
        self.waiting: list[Trigger] = []
        self.alarms: deque[str] = deque(maxlen=_ALARMS)
        self.made: list[Path] = []
        self.unsaved = 0
        self._model = model
        self._monotonic = monotonic
        self._ring_bytes = ring_bytes
        self._recorder = Recorder(model, folder=folder, monotonic=monotonic)
        self._parts: deque[_Part] = deque()
        self._watch = 0
        self._until = 0.0
        model.taps.append(self._tap)

    @property
    def saving(self) -> Path | None:
        """The file that is written now."""
        return self._recorder.path if self._recorder.on else None

    def when(self, text: str) -> Trigger:
        """Wait for what this filter lets through; None of it twice.

        Raises:
            ConfigError: It is empty.
            FilterError: It is no filter.
        """
        known = next((each for each in self.waiting if each.text == text.strip()), None)
        if known is not None:
            return known
        if not text.strip():
            raise ConfigError("say what to wait for, such as code:INTERNAL_ERROR")
        trigger = Trigger(text.strip())
        if not self.waiting:
            self._watch = self._model.watch(Match())
        self.waiting.append(trigger)
        return trigger

    def forget(self, text: str) -> bool:
        """Wait for this no more; False when it was not waited for."""
        before = len(self.waiting)
        self.waiting = [each for each in self.waiting if each.text != text.strip()]
        if before and not self.waiting:
            self._model.unwatch(self._watch)
            self._parts.clear()
        return len(self.waiting) < before

    def close(self) -> None:
        """End the file that is written."""
        self._recorder.stop()

    def _tap(self, frame: ServerFrame) -> None:
        now = self._monotonic()
        if self._recorder.on and now >= self._until:
            self._recorder.end()
        if not self.waiting or not isinstance(frame, _KEPT):
            return
        self._keep(frame, now)  # first, so that what is waited for is among what is saved
        if isinstance(frame, Events):
            for event in frame.items:
                for trigger in self.waiting:
                    if trigger.saw(event, now):
                        self._fire(trigger, event, now)

    def _keep(self, frame: ServerFrame, now: float) -> None:
        parts = self._parts
        if not parts or now - parts[-1].at >= _PART_SECONDS or isinstance(frame, Welcome):
            if not self._model.rows.complete:
                return
            parts.append(_Part(now))
            for each in snapshot(self._model):
                parts[-1].add(Entry(at=now, frame=each, again=True))
        if isinstance(frame, Events | ChaosChanged | Rooms) or len(parts[-1].entries) > 1:
            parts[-1].add(Entry(at=now, frame=frame))
        while len(parts) > 1 and (parts[1].at <= now - BEFORE or sum(each.weight for each in parts) > self._ring_bytes):
            parts.popleft()
        if parts[0].weight > self._ring_bytes:  # one part alone: the next one begins with the next frame
            parts.clear()

    def _fire(self, trigger: Trigger, event: Event, now: float) -> None:
        what = f"{trigger.text}: {_phrase(event)}"
        if self._recorder.on:
            self._until = now + AFTER
        elif len(self.made) < MOST_FILES and self._save(now):
            self._until = now + AFTER
            assert self._recorder.path is not None
            what = f"{what}; saving to {self._recorder.path}"
        else:
            self.unsaved += 1
            what = f"{what}; not saved, {self._why_not()}"
        self._recorder.mark(clean(trigger.text)[:_MARKS])
        self.alarms.append(clean(what))

    def _save(self, now: float) -> bool:
        began = self._parts[0].at if self._parts else now
        before = [
            [msgspec.structs.replace(each, at=round(each.at - began, 6)) for each in part.entries]
            for part in self._parts
        ]
        try:
            path = self._recorder.start(before=before, seconds=now - began, rotation=Rotation(stop=True))
        except ConfigError as error:
            self._recorder.problem = str(error)
            return False
        self.made.append(path)
        return True

    def _why_not(self) -> str:
        if len(self.made) >= MOST_FILES:
            return f"there are {MOST_FILES} files already"
        return self._recorder.problem or "the recording ended"


def _phrase(event: Event) -> str:
    if isinstance(event, CallEvent):
        return f"{event.path} {event.code or 'ok'}"
    if isinstance(event, PublishEvent):
        return f"{event.event} on {event.topic}"
    return f"connection {event.what}"


def desktop(text: str) -> str:
    """Escape sequences that make terminals notify their user (OSC 9, and OSC 777 for those that know only that)."""
    # What is between the delimiters acts on the terminal: nothing but harmless characters, and few.
    plain = clean(text).replace(";", ",")[:200]
    return f"\x1b]9;{plain}\x07\x1b]777;notify;liverpc;{plain}\x07"
