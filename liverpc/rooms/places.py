"""The groups that one contract of one connection is in, and why."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.rooms.census import How
from liverpc.rooms.groups import Group
from liverpc.telemetry import Subscribed, Telemetry

__all__ = ["Granted", "Member", "Places", "Wish"]

Wish: TypeAlias = tuple[str, bytes]
"""What a client asked for: the room's name, and a digest of the payload."""


class Member:
    """The connection's place in one group.

    Attributes:
        group: Which.
        reasons: Why it is there: ``auto``, ``handler``, and the wishes of its client. The last to go ends it.
        since: hub.monotonic.
    """

    __slots__ = ("group", "reasons", "since")

    def __init__(self, group: Group, since: float) -> None:
        self.group = group
        self.reasons: dict[str | Wish, None] = {}
        self.since = since

    @property
    def how(self) -> How:
        """The first of the reasons that still hold."""
        first = next(iter(self.reasons))
        return "auto" if first == "auto" else "handler" if first == "handler" else "asked"


class Granted(msgspec.Struct, frozen=True):
    """A wish that came true."""

    topic: str
    asked: bytes  #: the arguments of its call, as sent


class Places:
    """What a contract of a connection has joined. Once it has ended, as with its connection, nothing is joined.

    Attributes:
        members: By topic.
        wishes: Those that came true.
        ended: Everything was left for good.
    """

    __slots__ = ("_connection", "_hub", "_telemetry", "ended", "members", "wishes")

    def __init__(self, connection: Connection, hub: Hub, telemetry: Telemetry) -> None:
        self.members: dict[str, Member] = {}
        self.wishes: dict[Wish, Granted] = {}
        self.ended = False
        self._connection = connection
        self._hub = hub
        self._telemetry = telemetry

    def enter(self, group: Group, reason: str | Wish, asked: bytes = b"[]") -> None:
        """Join a group, for one more reason.

        Args:
            group: Which.
            reason: See :class:`Member`.
            asked: Of a wish, the arguments as sent.

        Raises:
            LiveError: ``OVERLOADED``: the connection has as many streams as it may.
        """
        if self.ended:
            return
        member = self.members.get(group.topic)
        if member is None:
            self._hub.attach_bare(self._connection, group.topic, wire=group.wire)
            member = self.members[group.topic] = Member(group, self._hub.monotonic())
            if self._telemetry.subscribed:
                self._telemetry.subscribed.emit(Subscribed(group.topic, "", self._connection.id))
        member.reasons[reason] = None
        if isinstance(reason, tuple):
            self.wishes[reason] = Granted(group.topic, asked)

    def check_wishes(self, others: int) -> None:
        """Whether the client may ask for one more group; payloads cost room also when many of them mean one group.

        Args:
            others: How many it asks for that are not decided.

        Raises:
            LiveError: ``OVERLOADED``: it has asked for as many as it may.
        """
        most = self._hub.limits.rooms_per_contract
        if len(self.wishes) + others >= most:
            self._telemetry.counters.streams_refused += 1
            raise LiveError(ErrorCode.OVERLOADED, f"{most} rooms were asked for, the limit; leave one first")

    def give_up(self, wish: Wish) -> None:
        """A wish is none any more. Harmless when it was none."""
        granted = self.wishes.pop(wish, None)
        if granted is not None:
            reasons = self.members[granted.topic].reasons
            del reasons[wish]
            if not reasons:
                self.leave(granted.topic)

    def leave(self, topic: str) -> None:
        """Leave a group, whatever the reasons are to be in it. Harmless for others."""
        member = self.members.pop(topic, None)
        if member is not None:
            for reason in member.reasons:
                if isinstance(reason, tuple):
                    del self.wishes[reason]
            self._hub.unsubscribe(self._connection, topic)

    def end(self) -> None:
        """Leave everything for good."""
        self.ended = True
        for topic in list(self.members):
            self.leave(topic)
