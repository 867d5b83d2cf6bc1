"""What is different since observers were last told."""

from __future__ import annotations

import msgspec

__all__ = ["Changes"]


class Changes(msgspec.Struct):
    """What is different since somebody last looked."""

    topics: set[str] = msgspec.field(
        default_factory=set
    )  #: in the hub: published on, with other subscribers, or failed
    born: set[str] = msgspec.field(default_factory=set)  #: of those, the ones with a new subscriber
    ended: dict[int, str] = {}  #: topics that are gone: number, and what clients know them as
    opened: set[str] = msgspec.field(default_factory=set)  #: connections
    closed: set[str] = msgspec.field(default_factory=set)
    joined: set[str] = msgspec.field(default_factory=set)  #: connections that subscribed to something
    left: dict[str, set[str]] = {}  #: connections that left topics, as clients know these

    def clear(self) -> None:
        """Everything was told. The sets stay the same objects: the hub fills one of them."""
        for each in (self.topics, self.born, self.ended, self.opened, self.closed, self.joined, self.left):
            each.clear()
