"""docs/protocol.md says what the code does: its examples are frames, its numbers the defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from liverpc.config import Limits
from liverpc.errors import ErrorCode
from liverpc.wire.binary import (
    BINARY_CALL,
    UPLOAD_CHUNK,
    UPLOAD_CONTROL,
    UploadCancel,
    binary_call,
    decode_binary_call,
    decode_upload,
    upload_cancel,
    upload_chunk,
    upload_header,
)
from liverpc.wire.close import Advice, CloseCode, advice
from liverpc.wire.codec import decode_args, decode_batch, decode_reply, decode_server_frame
from liverpc.wire.frames import (
    CONTROL_MAX_BYTES,
    RPC_TOPIC,
    SUBSCRIBE_BATCH_MAX,
    UPLOAD_TOPIC,
    EventBatch,
    EventFrame,
)
from liverpc.wire.names import MAX_TOPIC_LENGTH
from tests.wire.client_frames import decode_client_frame
from tests.wire.differences import DIFFERENCES

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BLOCKS = re.findall(r"^```(\w*) ?(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def examples(sender: str) -> list[str]:
    return [line for _, by, block in BLOCKS if by == sender for line in block.splitlines()]


def section(number: int) -> str:
    return TEXT.split(f"\n## {number} ")[1].split("\n## ")[0]


def rows(number: int) -> list[list[str]]:
    """The cells of all tables of a section, without heads."""
    lines = [line for line in section(number).splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {i + offset for i, cells in enumerate(table) if set(cells) == {"---"} for offset in (-1, 0)}
    return [cells for i, cells in enumerate(table) if i not in heads]


def messages() -> list[bytes]:
    """The binary ones."""
    return [bytes.fromhex(block) for language, _, block in BLOCKS if language == "hex"]


def test_every_block_is_binary_or_json_of_a_known_sender() -> None:
    assert BLOCKS
    for language, sender, block in BLOCKS:
        assert (language, sender) in [("json", ""), ("json", "client"), ("json", "server"), ("hex", "")]
        if language == "json":
            for line in block.splitlines():
                json.loads(line)


@pytest.mark.parametrize("line", examples("client"))
def test_the_server_understands_a_clients_example(line: str) -> None:
    frame = decode_client_frame(line.encode(), Limits().depth)
    known = {field.encode_name for field in msgspec.structs.fields(frame)}
    unread = {"caps"}  # of hello: what a client can do beyond single frames changes nothing here
    assert set(json.loads(line)) - unread <= known


@pytest.mark.parametrize("line", examples("server"))
def test_a_client_understands_a_servers_example(line: str) -> None:
    frame = decode_server_frame(line)
    unread = {"welcome", "subscribed", "resumed", "ping"}  # nothing depends on them here
    assert frame is not None or json.loads(line)["type"] in unread
    if isinstance(frame, EventBatch):
        assert len(decode_batch(frame)) == len(frame.events)
    if isinstance(frame, EventFrame) and frame.topic in (RPC_TOPIC, UPLOAD_TOPIC):
        assert decode_reply(frame) is not None


@pytest.mark.parametrize("message", messages(), ids=bytes.hex)
def test_the_server_understands_a_binary_example(message: bytes) -> None:
    """And a client sends the same bytes."""
    if message[0] == BINARY_CALL:
        call = decode_binary_call(message)
        assert isinstance(call.rpc, str)
        assert isinstance(call.id, str)
        assert binary_call(call.rpc, call.id, decode_args(call.args), call.data) == message
        return
    upload = decode_upload(message)
    if isinstance(upload, UploadCancel):
        assert upload_cancel(upload.stream) == message
        return
    assert upload.frame is not None
    assert isinstance(upload.frame.rpc, str)
    header = upload_header(upload.frame.rpc, decode_args(upload.frame.args), upload.size)
    assert upload_chunk(upload.stream, upload.seq, upload.data, last=upload.last, header=header) == message


def test_there_is_an_example_of_each_binary_message() -> None:
    assert {message[0] for message in messages()} == {BINARY_CALL, UPLOAD_CHUNK, UPLOAD_CONTROL}


def test_sections_keep_the_numbers_that_the_code_cites() -> None:
    assert re.findall(r"^## (\d+) (.*)$", TEXT, re.MULTILINE) == [
        ("1", "Connection"),
        ("2", "Telling frames apart"),
        ("3", "Names"),
        ("4", "Calls and control frames"),
        ("5", "Streams"),
        ("6", "Close codes"),
        ("7", "Errors"),
        ("8", "Limits"),
        ("9", "Interoperability"),
        ("10", "Plain HTTP"),
        ("11", "Bytes"),
        ("12", "Rooms and contracts"),
    ]


def test_the_table_of_limits_has_every_setting_with_its_default() -> None:
    documented = {
        name.strip("`"): float(default)
        for name, default, *_ in (row for row in rows(8) if row[0].startswith("`"))
        if default.isdigit()
    }
    assert documented == {field.name: field.default for field in msgspec.structs.fields(Limits)}


def test_the_limits_of_the_protocol_are_those_of_the_code() -> None:
    for number in (CONTROL_MAX_BYTES, SUBSCRIBE_BATCH_MAX, MAX_TOPIC_LENGTH):
        assert any(re.search(rf"\b{number}\b", cells[1]) for cells in rows(8))


def test_every_error_code_is_explained() -> None:
    explained = {cells[0].strip("`") for cells in rows(7)}
    assert {str(code) for code in ErrorCode} <= explained


def test_every_close_code_is_explained_with_what_clients_do() -> None:
    said = {Advice.RETRY: "comes back", Advice.TERMINAL: "stops", Advice.THROTTLE: "comes back much later"}
    documented = {int(code): cells[2] for cells in rows(6) for code in re.findall(r"\d+", cells[0])}
    assert {int(code) for code in CloseCode} <= set(documented)
    assert documented == {code: said[advice(code)] for code in documented}


def test_the_differences_are_those_that_the_replay_allows() -> None:
    assert [cells[0] for cells in rows(9)] == [difference.name for difference in DIFFERENCES]
