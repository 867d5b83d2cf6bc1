"""``tail``: events as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from liverpc.inspector.protocol import CallEvent, Event, Events, Match, PublishEvent, Watch, glob
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.fields import EventSubject
from liverpc_devtools.core.filter import Filter
from liverpc_devtools.core.target import Target
from liverpc_devtools.headless.events import EventWriter, Format
from liverpc_devtools.headless.output import Refused, narrate, tell

__all__ = ["FAILED", "Sink", "Wish", "fits", "tail"]

FAILED = 5  #: the exit code when something came that was not to come


class Wish(msgspec.Struct, frozen=True):
    """Which events are to be written, and until when."""

    match: Match = Match()
    filter: Filter | None = None  #: further narrows the match
    until: Filter | None = None  #: the first such event is the last one
    fail_on: Filter | None = None  #: the first such event is the last one, and a failure
    number: int | None = None  #: events
    seconds: float | None = None
    form: Format = "json"


class Sink:
    """Writes events that are wished for.

    Attributes:
        code: The exit code; None until it is known that no more events are wanted.
    """

    def __init__(self, wish: Wish) -> None:
        self.code: int | None = None
        self.writer = EventWriter(wish.form)
        self._wish = wish
        self._left = wish.number
        self._fits = fits(wish.match)

    def take(self, frame: Events) -> int | None:
        """Write what is wished for of a frame; returns the exit code when that was all."""
        if frame.lost:
            self.writer.gap(frame.lost, frame.sample)
        for event in frame.items:
            self._take(event)
            if self.code is not None:
                break
        return self.code

    def _take(self, event: Event) -> None:
        wish = self._wish
        subject = EventSubject(event)
        failed = wish.fail_on is not None and wish.fail_on.matches(subject)
        reached = wish.until is not None and wish.until.matches(subject)
        wanted = self._fits(event) and (wish.filter is None or wish.filter.matches(subject))
        if failed or reached or wanted:
            self.writer.event(event)
        if failed:
            narrate(f"this was not to come: {wish.fail_on}")
            self.code = FAILED
        elif reached:
            self.code = 0
        elif wanted and self._left is not None:
            self._left -= 1
            if not self._left:
                self.code = 0


def fits(match: Match) -> Callable[[Event], bool]:
    """Whether events are among those that a server sends for a match."""
    kinds = set(match.kind)
    topics, names, paths = ([glob(each) for each in globs] for globs in (match.topic, match.event, match.path))

    def one(tests: Iterable[Callable[[str], bool]], name: str) -> bool:
        tests = list(tests)
        return not tests or any(test(name) for test in tests)

    def test(event: Event) -> bool:
        kind = event.__struct_config__.tag
        if isinstance(event, PublishEvent):
            return (not kinds or kind in kinds) and one(topics, event.topic) and one(names, event.event)
        if isinstance(event, CallEvent):
            if kinds and kind not in kinds and event.carries not in kinds:
                return False
            return one(paths, event.path) and match.ok in (None, event.ok) and event.ms >= match.min_ms
        return not kinds or kind in kinds

    return test


def _watches(wish: Wish) -> list[Match]:
    """What the server is asked for: as little as is known to be enough."""
    filters = [each.capture() for each in (wish.until, wish.fail_on) if each is not None]
    own = wish.match
    if own == Match() and wish.filter is not None:
        own = wish.filter.capture()
    return [own, *filters]


async def tail(target: Target, wish: Wish) -> int:
    """Write events as they happen; returns the exit code.

    Raises:
        Refused: The time was over before what was waited for had come.
    """
    async with await Attachment.open(target, "observe") as attachment:
        tell(attachment.welcome)
        matches = _watches(wish)
        for match in matches:
            # What nobody here wants is not to cost what the server may spend on watching.
            capture = len(matches) == 1 and match != Match()
            attachment.send(Watch(id=attachment.session.new_id(), match=match, capture=capture))
        sink = Sink(wish)
        sink.writer.begin(attachment.welcome)
        try:
            async with asyncio.timeout(wish.seconds):
                while True:
                    frame = await attachment.receive()
                    if isinstance(frame, Events) and (code := sink.take(frame)) is not None:
                        return code
        except TimeoutError:
            if wish.until is not None:
                raise Refused(f"within {wish.seconds:g} s nothing came that is {wish.until}") from None
            return 0
