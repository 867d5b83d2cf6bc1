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
        self.streams: dict[str, Subscription] = {}
        self.values: dict[str, Any] = {}

    def open(self) -> None:
        if self.core.status != "connected":
            self.core.connection_opened()
            # The recorded client asks for its streams again by itself; so does ours, but under other ids.
            self.streams.clear()

    def ask(self, frame: Any) -> None:
        for request in frame.get("batch", [frame]):
            if not isinstance(request, dict) or not isinstance(request.get("id"), str) or "rpc" not in request:
                continue
            if request.keys() & {"seq", "version", "cursor"}:
                continue  # ours does not ask for changes only
            args = request.get("args")
            args = args if isinstance(args, list) else []
            if request.get("stream") is True:
                self.streams[request["id"]] = self.core.subscribe(request["rpc"], args)
            else:
                self.calls[request["id"]] = self.core.call(request["rpc"], args)

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
                self._check_stream(self.streams[recorded], body)

    def _ours(self, body: Any, event: str) -> Any:
        """The recorded answer, to the request that ours made in place of the recorded one."""
        recorded = body.get("id", event)
        if recorded in self.calls:
            return body | {"id": self.calls[recorded].id}
        if recorded in self.streams:
            request = self.core._streams._requests[self.streams[recorded]]
            assert request is not None
            return body | {"id": request.id}
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
        else:
            assert (stream.status, stream.error, stream.topic) == ("connected", None, body.get("topic"))
            if body.get("topic") is not None:
                assert stream.value == body["data"]


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
