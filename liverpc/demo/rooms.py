"""The page of a chat room, as a contract: what is said there is heard by all who have the page open, and not kept."""

from __future__ import annotations

from msgspec import Struct

from liverpc import Contract, Events, RoomKey, event, public, room
from liverpc.demo.chat import RoomName, Text
from liverpc.demo.world import Message, Session

_guard = public()


class Params(Struct, frozen=True):
    """Of the URL."""

    room_id: RoomName


class Send(Struct, frozen=True):
    """What somebody says."""

    text: Text


class Sent(Struct, frozen=True):
    """What became of it."""

    id: int


class OpenProject(Struct, frozen=True):
    """The wish to hear of a project."""

    project: str


class ToClient(Events):
    """What pages hear."""

    def message(self, data: Message) -> None:
        """Somebody said something in the room."""

    def note(self, data: Message) -> None:
        """Somebody said something to the team, or to those who have a project open."""


class Chat(Contract[ToClient, Params, Session], path="/rooms/{room_id}"):
    """One room: everybody may talk there, those with a name also to their team and in their projects."""

    @room.private(auto_join=True)
    def chat(self) -> RoomKey:
        """All who have the page of this room open."""
        return self.params.room_id

    @room.private
    def team(self) -> RoomKey:
        """The visitor's team, whatever room they are in."""
        return self.require(self.locals.user.team)

    @room.expose
    def project(self, data: OpenProject) -> RoomKey | None:
        """One of the visitor's projects."""
        return data.project if data.project in self.locals.user.projects else None

    @event
    async def send(self, data: Send) -> Sent:
        """Say something in the room."""
        self.chat.emit.message(message := self._said(data))
        return Sent(message.id)

    @event
    async def tell_team(self, data: Send) -> Sent:
        """Say something to the team, wherever they are."""
        self.team.emit.note(message := self._said(data))
        return Sent(message.id)

    @event
    async def tell_projects(self, data: Send) -> Sent:
        """Say something in all projects that this page has open."""
        self.project.emit.note(message := self._said(data))
        return Sent(message.id)

    def _said(self, data: Send) -> Message:
        user = self.locals.user
        return Message(user.world.next_id(), user.id, data.text)
