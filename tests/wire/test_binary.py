"""Binary messages: their bytes as documented, everything malformed ignored, and what is encoded comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from liverpc.errors import LiveError
from liverpc.wire.binary import (
    BINARY_CALL,
    CHUNK_HEAD,
    HEADER_MAX,
    UPLOAD_CHUNK,
    UPLOAD_CONTROL,
    BinaryCall,
    UploadCancel,
    UploadChunk,
    binary_call,
    decode_binary_call,
    decode_upload,
    upload_cancel,
    upload_chunk,
    upload_header,
    upload_name,
    upload_reply,
)
from liverpc.wire.codec import (
    Ignored,
    decode_args,
    decode_reply,
    decode_server_frame,
    encode,
    error_members,
    ok_members,
)
from liverpc.wire.frames import EventFrame, UploadCredit, UploadLimits

STREAMS = st.integers(1, 2**32 - 1)
NUMBERS = st.integers(0, 2**32 - 1)
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
ARGS = st.lists(JSON, max_size=3)
DATA = st.binary(max_size=50)

CALL = bytes.fromhex("00 0017 7b22727063223a22612f62222c226964223a226b30227d 0701")
UPLOAD = bytes.fromhex("01 03 00000001 00000000 000e 7b22727063223a226d2f7570227d 6869")
CANCEL = bytes.fromhex("02 10 00000001")


def decode(message: bytes) -> BinaryCall | UploadChunk | UploadCancel:
    return decode_binary_call(message) if message[0] == BINARY_CALL else decode_upload(message)


def ignored(message: bytes) -> str:
    with pytest.raises(Ignored) as caught:
        decode(message)
    assert caught.value.frame is None, "nothing may be answered"
    return caught.value.reason


def call_with(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return b"\x00" + (len(header) if length is None else length).to_bytes(2, "big") + header + data


def chunk_with(
    header: bytes = b'{"rpc":"m/up"}',
    length: int | None = None,
    *,
    flags: int = 1,
    stream: int = 1,
    seq: int = 0,
    data: bytes = b"",
) -> bytes:
    head = bytes((UPLOAD_CHUNK, flags)) + stream.to_bytes(4, "big") + seq.to_bytes(4, "big")
    return head + (len(header) if length is None else length).to_bytes(2, "big") + header + data


def only(message: bytes) -> UploadChunk:
    chunk = decode_upload(message)
    assert isinstance(chunk, UploadChunk)
    return chunk


# -- the bytes


def test_a_binary_call_has_the_documented_bytes() -> None:
    assert binary_call("a/b", "k0", [], b"\x07\x01") == CALL
    call = decode_binary_call(CALL)
    assert (call.rpc, call.id, bytes(call.args), call.data) == ("a/b", "k0", b"[]", b"\x07\x01")


def test_an_upload_in_one_chunk_has_the_documented_bytes() -> None:
    header = upload_header("m/up", [], None)
    assert upload_chunk(1, 0, b"hi", last=True, header=header) == UPLOAD
    chunk = only(UPLOAD)
    assert (chunk.stream, chunk.seq, chunk.last, chunk.data, chunk.size) == (1, 0, True, b"hi", None)
    assert chunk.frame is not None
    assert (chunk.frame.rpc, chunk.frame.id, bytes(chunk.frame.args)) == ("m/up", UNSET, b"[]")


def test_giving_up_has_the_documented_bytes() -> None:
    assert upload_cancel(1) == CANCEL
    assert decode_upload(CANCEL) == UploadCancel(1)


def test_later_chunks_have_ten_bytes_before_their_data() -> None:
    message = upload_chunk(0x01020304, 0x05060708, b"data", last=False)
    assert message == bytes.fromhex("01 00 01020304 05060708") + b"data"
    assert only(message) == UploadChunk(0x01020304, 0x05060708, False, b"data")


def test_an_empty_upload_is_one_last_chunk_without_data() -> None:
    message = upload_chunk(1, 0, b"", last=True, header=upload_header("m/up", [], None))
    assert message[:2] == b"\x01\x03"
    assert len(message) == CHUNK_HEAD + 14
    assert only(message).data == b""


def test_the_announced_size_is_in_the_header() -> None:
    header = upload_header("m/up", [1, "a"], 7)
    assert json.loads(header) == {"rpc": "m/up", "args": [1, "a"], "size": 7}
    assert json.loads(upload_header("m/up", [], 0)) == {"rpc": "m/up", "size": 0}


def test_calls_without_arguments_name_none() -> None:
    assert b"args" not in binary_call("a/b", "k0", [], b"")
    assert b'"args":[null]' in binary_call("a/b", "k0", [None], b"")


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytes"), memoryview(b"-bytes-")[1:-1]])
def test_data_may_be_anything_like_bytes(data: Any) -> None:
    assert decode_binary_call(binary_call("a/b", "1", [], data)).data == b"bytes"
    header = upload_header("m/up", [], None)
    assert only(upload_chunk(1, 0, data, last=True, header=header)).data == b"bytes"
    assert only(upload_chunk(1, 1, data, last=True)).data == b"bytes"


@pytest.mark.parametrize(("stream", "name"), [(1, "00000001"), (0xABCDEF, "00abcdef"), (2**32 - 1, "ffffffff")])
def test_uploads_are_named_by_eight_lower_case_digits(stream: int, name: str) -> None:
    assert upload_name(stream) == name


def test_answers_to_uploads_have_the_documented_bytes() -> None:
    first = upload_reply("00000001", ok_members(encode({"bytes": 2})), 1048576)
    assert first == (b'{"topic":"__upload","event":"00000001","data":{"ok":true,"data":{"bytes":2},"__cap":1048576}}')
    second = upload_reply("00000002", error_members(LiveError("CANCELLED", "the client gave the upload up")), None)
    assert second == (
        b'{"topic":"__upload","event":"00000002","data":'
        b'{"ok":false,"code":"CANCELLED","error":"the client gave the upload up"}}'
    )


@pytest.mark.parametrize("cap", [None, 1, 1 << 20])
def test_clients_read_answers_to_uploads(cap: int | None) -> None:
    frame = decode_server_frame(upload_reply("0000000a", ok_members(b"[1]"), cap).decode())
    assert isinstance(frame, EventFrame)
    assert (frame.topic, frame.event) == ("__upload", "0000000a")
    reply = decode_reply(frame)
    assert reply is not None
    assert reply.data is not UNSET
    assert (reply.ok, bytes(reply.data), reply.frame_bytes) == (True, b"[1]", cap)


def test_clients_read_how_much_they_may_send() -> None:
    limits = decode_server_frame('{"type":"upload-limits","frameBytes":1048576,"windowBytes":4}')
    assert limits == UploadLimits(1048576, 4)
    credit = decode_server_frame('{"type":"upload-credit","stream":"00000001","bytes":5242880}')
    assert credit == UploadCredit("00000001", 5242880)


# -- what is malformed


@pytest.mark.parametrize("length", range(17))
@pytest.mark.parametrize("kind", [BINARY_CALL, UPLOAD_CHUNK, UPLOAD_CONTROL])
@pytest.mark.parametrize("filler", [0, 1, 255])
def test_short_messages_are_ignored(kind: int, length: int, filler: int) -> None:
    message = bytes([kind]) + bytes([filler]) * length
    assert ignored(message) in ("malformed", "not_ours")


@pytest.mark.parametrize("message", [CALL, UPLOAD, CANCEL], ids=["call", "upload", "cancel"])
def test_a_message_that_ends_within_its_head_is_ignored(message: bytes) -> None:
    data = {CALL: 2, UPLOAD: 2, CANCEL: 0}[message]
    for length in range(1, len(message) - data):
        assert ignored(message[:length]) == "malformed"
    decode(message[: len(message) - data])


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("last", [0, 2])
def test_of_the_flags_only_two_are_known(bit: int, last: int) -> None:
    flags = 1 | last | 1 << bit
    if bit < 2:
        assert only(chunk_with(flags=flags)).last is (flags & 2 != 0)
    else:
        assert ignored(chunk_with(flags=flags)) == "malformed"


@pytest.mark.parametrize("last", [0, 2])
def test_a_header_is_on_the_first_chunk_and_on_no_other(last: int) -> None:
    assert ignored(chunk_with(flags=last)) == "malformed"
    for seq in (1, 2**32 - 1):
        assert ignored(chunk_with(flags=1 | last, seq=seq)) == "malformed"
        assert only(chunk_with(flags=last, seq=seq)).seq == seq


@pytest.mark.parametrize("seq", [0, 1])
def test_no_upload_has_the_number_0(seq: int) -> None:
    assert ignored(chunk_with(stream=0, seq=seq, flags=seq ^ 1)) == "malformed"


@pytest.mark.parametrize("make", [call_with, chunk_with])
def test_the_length_of_a_header_has_to_fit(make: Any) -> None:
    header = b'{"rpc":"m/up","id":"k0"}'
    decode(make(header))
    assert ignored(make(header, 0)) == "malformed"
    assert ignored(make(header, len(header) - 1)) == "malformed"
    assert ignored(make(header, len(header) + 1)) == "malformed"
    assert ignored(make(header, HEADER_MAX)) == "malformed"
    assert ignored(make(header, 0, data=b"x")) == "malformed"
    assert ignored(make(header, len(header) + 2, data=b"x")) == "malformed"


@pytest.mark.parametrize("make", [call_with, chunk_with])
@pytest.mark.parametrize(
    "header",
    [
        b"null",
        b"[]",
        b'"m/up"',
        b"7",
        b" ",
        b"{",
        b"{}}",
        b"{} {}",
        b'{"rpc":"m/up","id":"k",}',
        b"{'rpc':'m/up','id':'k'}",
        b'{"rpc":"m/up","id":"k","args":[}',
        b'{"rpc":"m/up","id":"k","args":["\xff"]}',
        b'{"rpc":"m/up","id":"k","x":"\xc3"}',
        b'{"rpc":"m/\xed\xa0\x80","id":"k"}',
        b'{"rpc":"\\ud800","id":"k"}',
        b'\xef\xbb\xbf{"rpc":"m/up","id":"k"}',
        b'{"rpc":"m/up","id":"k","args":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
)
def test_a_header_that_cannot_be_read_is_ignored(make: Any, header: bytes) -> None:
    assert ignored(make(header, data=b"\x00\x01")) == "malformed"


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b'{"rpc":"a/b"}',
        b'{"id":"k"}',
        b'{"rpc":1,"id":"k"}',
        b'{"rpc":"a/b","id":1}',
        b'{"rpc":"a/b","id":null}',
    ],
)
def test_a_binary_call_names_path_and_id(header: bytes) -> None:
    assert ignored(call_with(header)) == "malformed"


@pytest.mark.parametrize("rpc", [None, 1, True, [], {}, ["m/up"]])
def test_an_upload_whose_path_is_no_text_can_still_be_refused(rpc: Any) -> None:
    frame = only(chunk_with(encode({"rpc": rpc}))).frame
    assert frame is not None
    assert frame.rpc is UNSET
    without = only(chunk_with(b"{}")).frame
    assert without is not None
    assert without.rpc is UNSET


@pytest.mark.parametrize("size", [-1, -(2**63), 1.0, 1.5, "1", True, False, None, [], {}, [1], 1e300])
def test_a_size_that_is_no_number_of_bytes_says_nothing(size: Any) -> None:
    assert only(chunk_with(encode({"rpc": "m/up", "size": size}))).size is None


@pytest.mark.parametrize("size", [0, 1, 2**53, 2**63, 2**64 - 1])
def test_any_number_of_bytes_may_be_announced(size: int) -> None:
    assert only(chunk_with(encode({"rpc": "m/up", "size": size}))).size == size


def test_members_it_does_not_know_are_skipped() -> None:
    header = b'{"x":[{"rpc":1}],"id":"k","stream":true,"batch":[],"rpc":"m/up","args":[1]}'
    call = decode_binary_call(call_with(header))
    assert (call.rpc, call.id, bytes(call.args), call.stream) == ("m/up", "k", b"[1]", False)
    frame = only(chunk_with(header)).frame
    assert frame is not None
    assert (frame.rpc, bytes(frame.args), frame.id, frame.stream) == ("m/up", b"[1]", UNSET, False)


@pytest.mark.parametrize("what", [what for what in range(256) if what != 0x10])
def test_other_messages_about_uploads_are_none_of_ours(what: int) -> None:
    assert ignored(bytes((UPLOAD_CONTROL, what, 0, 0, 0, 1))) == "not_ours"


def test_what_follows_in_a_message_that_gives_up_is_skipped() -> None:
    assert decode_upload(CANCEL + b"more") == UploadCancel(1)


# -- what a client cannot send


@pytest.mark.parametrize("value", [object(), "\ud800", {1, object()}])
def test_arguments_without_json_form_are_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        binary_call("a/b", "k", [value], b"")
    with pytest.raises(TypeError):
        upload_header("a/b", [value], None)


def test_arguments_that_contain_themselves_are_a_type_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="JSON"):
        binary_call("a/b", "k", [endless], b"")


def test_headers_have_at_most_65535_bytes() -> None:  # acceptance 160 and 192: at, below, above
    around = len(binary_call("a/b", "k", [""], b"")) - 3
    for room in (1, 0):
        message = binary_call("a/b", "k", ["x" * (HEADER_MAX - around - room)], b"!")
        assert decode_binary_call(message).data == b"!"
    with pytest.raises(ValueError, match="65536 bytes, and at most 65535"):
        binary_call("a/b", "k", ["x" * (HEADER_MAX - around + 1)], b"")
    around = len(upload_header("a/b", [""], 1))
    header = upload_header("a/b", ["x" * (HEADER_MAX - around)], 1)
    assert only(upload_chunk(1, 0, b"!", last=True, header=header)).data == b"!"
    with pytest.raises(ValueError, match="65536 bytes, and at most 65535"):
        upload_header("a/b", ["x" * (HEADER_MAX - around + 1)], 1)


# -- laws


@given(TEXT, TEXT, ARGS, DATA)
def test_a_binary_call_comes_back(path: str, call: str, args: list[Any], data: bytes) -> None:
    decoded = decode_binary_call(binary_call(path, call, args, data))
    assert (decoded.rpc, decoded.id, decoded.data) == (path, call, data)
    assert decode_args(decoded.args) == args


@given(STREAMS, TEXT, ARGS, st.none() | st.integers(0, 2**63), DATA, st.booleans())
def test_a_first_chunk_comes_back(
    stream: int, path: str, args: list[Any], size: int | None, data: bytes, last: bool
) -> None:
    chunk = only(upload_chunk(stream, 0, data, last=last, header=upload_header(path, args, size)))
    assert (chunk.stream, chunk.seq, chunk.last, chunk.data, chunk.size) == (stream, 0, last, data, size)
    assert chunk.frame is not None
    assert chunk.frame.rpc == path
    assert decode_args(chunk.frame.args) == args


@given(STREAMS, st.integers(1, 2**32 - 1), DATA, st.booleans())
def test_a_later_chunk_comes_back(stream: int, seq: int, data: bytes, last: bool) -> None:
    assert decode_upload(upload_chunk(stream, seq, data, last=last)) == UploadChunk(stream, seq, last, data)


@given(NUMBERS)
def test_giving_up_comes_back(stream: int) -> None:
    assert decode_upload(upload_cancel(stream)) == UploadCancel(stream)


HEADERS = (
    st.dictionaries(st.sampled_from(["rpc", "id", "args", "size", "x"]), JSON, max_size=4).map(encode)
    | st.binary(max_size=30)
    | st.just(b'{"rpc":"m/up","id":"k"}')
)
ANYTHING = st.one_of(
    st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 2), st.binary(max_size=60)),
    st.builds(call_with, HEADERS, st.none() | st.integers(0, 80), DATA),
    st.builds(
        chunk_with,
        HEADERS,
        st.none() | st.integers(0, 80),
        flags=st.integers(0, 3) | st.integers(0, 255),
        stream=st.integers(0, 2) | NUMBERS,
        seq=st.integers(0, 2) | NUMBERS,
        data=DATA,
    ),
)


@given(ANYTHING)
@example(UPLOAD)
@example(CALL)
@example(CANCEL)
def test_any_bytes_mean_something_or_are_ignored(message: bytes) -> None:
    try:
        decoded = decode(message)
    except Ignored as fault:
        assert fault.reason in ("malformed", "not_ours")
        assert fault.frame is None
        return
    match decoded:
        case BinaryCall(rpc=rpc, id=call, data=data):
            assert isinstance(rpc, str)
            assert isinstance(call, str)
            assert message.endswith(data)
        case UploadChunk(stream, seq, _, data, frame, size):
            assert stream > 0
            assert (seq == 0) == (frame is not None)
            assert size is None or (type(size) is int and size >= 0)
            assert message.endswith(data)
        case UploadCancel(stream):
            assert message[2:6] == stream.to_bytes(4, "big")
