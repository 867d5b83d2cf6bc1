"""What another server of the protocol said, recorded, is understood by the client's core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
from liverpc.client.subscription import Subscription
from liverpc.errors import RpcError

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "wire" / "transcripts").glob("*.jsonl"))


class Tab:
    """One recorded client, replaced by ours: it asks the same and hears the same."""

    def __init__(self) -> None:
        self.core = ClientCore()
        self.calls: dict[str, Call] = {}  # by recorded id
        self.streams: dict[str, tuple[Subscription, Call]] = {}
        self.open_streams: dict[str, Subscription] = {}  # by path and arguments

    def open(self) -> None:
        if self.core.status != "connected":
            self.core.connection_opened()

    def ask(self, frame: Any) -> None:
        if frame.get("type") == "unsubscribe":
            for name, stream in tuple(self.open_streams.items()):
                if stream.topic == frame["topic"]:
                    self.core.unsubscribe(self.open_streams.pop(name))
            self.core.end_turn()
        for request in frame.get("batch", [frame]):
            if not isinstance(request, dict) or not isinstance(request.get("id"), str) or "rpc" not in request:
                continue
            args = request.get("args")
            args = args if isinstance(args, list) else []
            if request.get("stream") is True:
                self._stream(request, args)
            else:
                self.calls[request["id"]] = self.core.call(request["rpc"], args)

    def _stream(self, request: Any, args: list[Any]) -> None:
        name = json.dumps([request["rpc"], args])
        stream = self.open_streams.get(name)
        again = stream is not None and (stream.store in self.core.streams._requests or "cursor" in request)
        if stream is None or not again:
            version = request.get("schemaVersion")
            stream = self.open_streams[name] = self.core.subscribe(request["rpc"], args, schema_version=version)
        if "cursor" in request:
            assert self.core.streams.load_more(stream, [], lambda _: None)
            call = self.core.streams._pages[stream.store]
        else:
            call = self.core.streams._requests[stream.store]
        expected = request | {"id": call.id, "args": args}
        if "epoch" not in request:
            expected.pop("seq", None)  # ours sends no number of a log that has no name
        assert json.loads(call.frame) == expected
        self.streams[request["id"]] = stream, call

    def hear(self, frame: Any) -> None:
        if frame.get("topic") != "__rpc" or "event" not in frame:
            self.core.receive(json.dumps(frame))
            return
        bodies = [self._ours(body, frame["event"]) for body in frame["data"].get("batch", [frame["data"]])]
        if "batch" in frame["data"]:
            self.core.receive(json.dumps(frame | {"data": {"batch": bodies}}))
        else:
            (body,) = bodies
            self.core.receive(json.dumps(frame | {"event": body["id"], "data": body}))
        for body in frame["data"].get("batch", [frame["data"]]):
            recorded = body.get("id", frame["event"])
            if recorded in self.calls:
                self._check_call(self.calls[recorded], body)
            elif recorded in self.streams:
                self._check_stream(self.streams[recorded][0], body)

    def _ours(self, body: Any, event: str) -> Any:
        """The recorded answer, to the request that ours made in place of the recorded one."""
        recorded = body.get("id", event)
        if recorded in self.calls:
            return body | {"id": self.calls[recorded].id}
        if recorded in self.streams:
            return body | {"id": self.streams[recorded][1].id}
        return body | {"id": recorded}

    def _check_call(self, call: Call, body: Any) -> None:
        if body["ok"]:
            assert call.result() == body.get("data")
        else:
            with pytest.raises(RpcError) as caught:
                call.result()
            assert caught.value.code == body["code"]
            assert len(caught.value.issues) == len(body.get("issues", ()))

    def _check_stream(self, stream: Subscription, body: Any) -> None:
        if not body["ok"]:
            assert stream.error is not None
            assert (stream.status, stream.error.code) == ("error", body["code"])
            return
        assert (stream.status, stream.error, stream.topic) == ("connected", None, body.get("topic"))
        assert stream.has_value is not body.get("gated", False)
        if body.get("delta"):
            for row in body["data"]:
                assert (row in stream.value) is not row.get("_deleted", False)
        elif body.get("replay"):
            assert [event["data"] in stream.value for event in body["data"]] == [True] * len(body["data"])
        elif stream.has_value and not body.get("unchanged"):
            shown = stream.value
            assert (shown[-len(body["data"]) :] if "hasMore" in body else shown) == body["data"]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_recorded_answers_are_understood(path: Path) -> None:
    tabs: dict[str, Tab] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        tab = tabs.setdefault(entry["conn"], Tab())
        note = entry.get("note", "")
        if note.startswith("open"):
            tab.open()
        elif note.startswith("closed"):
            tab.core.connection_lost(int(note.split()[1]))
        elif "text" in entry and "len" not in entry:  # not cut short
            try:
                frame = json.loads(entry["text"])
            except ValueError:
                continue  # sent on purpose
            if isinstance(frame, dict):
                (tab.ask if entry["dir"] == "c2s" else tab.hear)(frame)
    for tab in tabs.values():
        tab.core.close()
        assert all(call.done for call in tab.calls.values())
