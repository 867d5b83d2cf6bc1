"""A second module of that server, with names that the first one has, too."""

from __future__ import annotations

from msgspec import Struct

from liverpc import Contract, Events, event, public

_guard = public()


class Message(Struct):
    subject: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...


class Chat(Contract[ToClient], path="/mail"):
    @event
    async def send(self, data: Message) -> Message:
        return data


class Lobby(Contract[Events], path="/lobby"):
    @event
    def ping(self) -> None: ...
