"""Recorded conversations as steps, and messages in the one form in which they are compared.

What differs from run to run is replaced: session ids, event numbers, epochs, texts for people, and the numbers of the
server's requests, which count from 1 on each connection here. What is equivalent for a client is made equal: the
order of members, and a batch frame and its events. Everything else counts.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).parent / "transcripts"
CUT = 4096  # characters; longer frames were recorded up to here, with their length
ANY = "*"  # stands for what differs from run to run
CALL_ID = re.compile(r'"id":"([^"]*)"')


@dataclass(frozen=True)
class Open:
    """A client connects."""

    conn: str
    path: str
    query: str


@dataclass(frozen=True)
class Send:
    """A client sends a frame."""

    conn: str
    payload: str | bytes

    @property
    def frame(self) -> Message:
        """The frame as JSON object; empty when it is none."""
        try:
            value = json.loads(self.payload)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def answers(self) -> bool:
        """Whether it answers a request of the server."""
        return self.frame.get("type") == "reply"

    def answering(self, ref: Any) -> Send:
        """The same answer to another request."""
        return Send(self.conn, json.dumps({**self.frame, "ref": ref}))


@dataclass(frozen=True)
class Expect:
    """The server sends this message, or closes the connection."""

    conn: str
    message: Message

    @property
    def reply(self) -> Message:
        """The reply in it; empty when it is none."""
        return self.message["data"] if is_reply(self.message) else {}


@dataclass(frozen=True)
class Leave:
    """A client closes its connection; ``lost``: without a goodbye."""

    conn: str
    lost: bool


Step: TypeAlias = Open | Send | Expect | Leave


def names() -> list[str]:
    """Of all transcripts, without suffix."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def load(name: str) -> list[Step]:
    """A transcript's steps. A tab that connects again counts as another connection: ``81#1``, ``81#2``."""
    steps: list[Step] = []
    times: dict[str, int] = {}
    asked: defaultdict[str, list[Any]] = defaultdict(list)  # refs of the server's requests
    for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        note = record.get("note", "")
        if note.startswith("open "):
            times[record["conn"]] = times.get(record["conn"], 0) + 1
        conn = f"{record['conn']}#{times[record['conn']]}"
        if note.startswith("open "):
            path, _, query = note.removeprefix("open ").partition("?")
            steps.append(Open(conn, path, query))
        elif note.startswith("close "):
            code, _, reason = note.removeprefix("close ").partition(" ")
            steps.append(Expect(conn, closing(int(code), reason)))
        elif note.startswith("closed "):
            # Where the server closed, the client's side of it says nothing new.
            if note in ("closed 1005", "closed 1006"):
                steps.append(Leave(conn, lost=note == "closed 1006"))
        elif record["dir"] == "s2c":
            messages = normalised(record["text"], record.get("len"))
            steps += [Expect(conn, counted(message, asked[conn])) for message in messages]
        elif "text" in record:
            send = Send(conn, record["text"])
            steps.append(send.answering(1 + asked[conn].index(send.frame["ref"])) if send.answers else send)
        else:
            payload = bytes.fromhex(record["hex"].removesuffix("..."))
            missing = record["len"] - len(payload)
            # What was uploaded are zeros.
            assert not missing or not any(payload[-128:]), f"{name}: a frame was not recorded whole"
            steps.append(Send(conn, payload + bytes(missing)))
    return steps


def closing(code: int, reason: str) -> Message:
    """The server's goodbye as a message."""
    return {"close": code, "reason": reason}


def normalised(text: str, length: int | None = None) -> list[Message]:
    """The messages in a server's frame, as they are compared. ``length``: of a frame that is cut here."""
    if length is not None or len(text) > CUT:
        found = CALL_ID.search(text)
        reply = {"id": found and found[1], "starts": text[:CUT], "length": length or len(text)}
        return [{"topic": "__rpc", "event": found and found[1], "data": reply}]
    message = json.loads(text)
    messages = message["events"] if message.get("type") == "batch" else [message]
    for message in messages:
        if message.get("type") == "welcome" and isinstance(message.get("sessionId"), str):
            message["sessionId"] = ANY
        if type(message.get("seq")) is int:
            message["seq"] = ANY
        if message.get("topic") in ("__rpc", "__upload") and isinstance(message.get("data"), dict):
            hide_texts(message["data"])
    return messages


def counted(message: Message, asked: list[Any]) -> Message:
    """A request of the server with its number on this connection; its own is added to ``asked``."""
    if message.get("type") == "request":
        asked.append(message["ref"])
        message["ref"] = len(asked)
    return message


def hide_texts(reply: Message) -> None:
    for answer in reply.get("batch", ()):
        hide_texts(answer)
    if isinstance(reply.get("epoch"), str):
        reply["epoch"] = ANY
    if type(reply.get("retryAfter")) is int and reply["retryAfter"] > 0:
        reply["retryAfter"] = ANY
    told = reply.get("data")
    if isinstance(told, dict) and told.keys() == {"error", "code"} and told["code"] is not None:
        told["error"] = ANY  # of demo/pushMe; without a code the text is the client's own
    if isinstance(reply.get("error"), str):
        reply["error"] = ANY
    for issue in reply.get("issues", ()):
        if isinstance(issue.get("message"), str):
            issue["message"] = ANY


def is_reply(message: Message) -> bool:
    return message.get("topic") == "__rpc" and "event" in message


def slot(message: Message) -> str:
    """What a message is about. Messages about one thing have an order; those about different things need not."""
    if "close" in message:
        return "the server's goodbye"
    if is_reply(message):
        return f"the reply to {message.get('event')!r}"
    if message.get("topic") == "__upload":
        return f"the answer to upload {message.get('event')!r}"
    if message.get("topic") and "event" in message:
        return f"an event of {message['topic']!r}"
    if message.get("type") == "request":
        return f"the server's request {message['ref']}"
    if "ref" in message:
        return f"the answer for topic {message.get('topic')!r}, ref {message['ref']!r}"
    return f"a frame of type {message.get('type')!r}"


def with_members(step: Expect, **members: Any) -> Expect:
    """A copy that expects other members."""
    return replace(step, message={**step.message, **members})
