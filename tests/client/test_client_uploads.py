"""Uploads and binary calls of the client without I/O."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from liverpc.client import OfflineQueue, QueuedCall, RpcError
from liverpc.client.core import QUEUE_MAX, ClientCore
from liverpc.client.uploads import Upload
from liverpc.config import ClientConfig
from liverpc.wire.binary import UploadCancel, UploadChunk, decode_binary_call, decode_upload
from tests.client.core_kit import Now, failed, make, opened, reply

LIMITS = '{"type":"upload-limits","frameBytes":%d,"windowBytes":%d}'


def ready(frame_bytes: int = 1 << 20, window: int = 1 << 20, **settings: Any) -> ClientCore:
    core = opened(**settings)
    core.receive(LIMITS % (frame_bytes, window))
    return core


def chunks(core: ClientCore) -> list[Any]:
    """What is sent of uploads, decoded; text as it is."""
    return [decode_upload(each) if isinstance(each, bytes) else each for each in core.outgoing()]


def answer(core: ClientCore, number: int = 1, data: Any = None, **members: Any) -> None:
    body = {"ok": True, "data": data} | members
    core.receive(json.dumps({"topic": "__upload", "event": f"{number:08x}", "data": body}))


def credit(core: ClientCore, number: int, size: int) -> None:
    core.receive(json.dumps({"type": "upload-credit", "stream": f"{number:08x}", "bytes": size}))


def put_all(core: ClientCore, upload: Upload, data: bytes) -> list[bytes]:
    """Send as much of the data as the core takes; returns the messages."""
    sent: list[bytes] = []
    start = 0
    while start < len(data) and (room := core.uploads.room(upload)):
        core.uploads.put(upload, data[start : start + room], last=start + room >= len(data))
        start += room
        sent += [each for each in core.outgoing() if isinstance(each, bytes)]
    return sent


def code_of(upload: Upload) -> str:
    with pytest.raises(RpcError) as caught:
        upload.result()
    return caught.value.code


def test_an_upload_goes_out_in_chunks_and_ends_with_the_answer() -> None:  # acceptance 183
    core = ready(frame_bytes=1_000)
    upload = core.uploads.start("m/up", ["a"], size=2_500)
    with pytest.raises(RuntimeError, match="not done"):
        upload.result()
    messages = put_all(core, upload, bytes(2_500))
    assert max(len(each) for each in messages) == 1_000
    first, *rest = [decode_upload(each) for each in messages]
    assert isinstance(first, UploadChunk)
    assert first.frame is not None
    assert (first.stream, first.frame.rpc, bytes(first.frame.args), first.size) == (1, "m/up", b'["a"]', 2_500)
    assert [(each.seq, each.last) for each in (first, *rest) if isinstance(each, UploadChunk)] == [
        (0, False),
        (1, False),
        (2, True),
    ]
    assert upload.sent == 2_500
    assert not upload.done
    answer(core, data=[1])
    assert upload.result(list[int]) == [1]
    answer(core, data=[2])
    assert upload.result() == [1], "there is one answer"


def test_an_empty_upload_is_one_message() -> None:  # acceptance 183
    core = ready()
    upload = core.uploads.start("m/up", [])
    core.uploads.put(upload, b"")
    assert chunks(core) == []
    core.uploads.put(upload, b"", last=True)
    (chunk,) = chunks(core)
    assert (chunk.seq, chunk.last, chunk.data) == (0, True, b"")


def test_small_pieces_become_one_chunk() -> None:
    core = ready()
    upload = core.uploads.start("m/up", [])
    for _ in range(10):
        core.uploads.put(upload, b"ab")
    core.uploads.put(upload, b"", last=True)
    (chunk,) = chunks(core)
    assert (chunk.data, chunk.last) == (b"ab" * 10, True)


@pytest.mark.parametrize("server", [True, False])
def test_the_first_chunk_waits_for_what_the_server_takes_but_only_a_second(server: bool) -> None:
    now = Now()
    core = opened(now)
    changes: list[Upload] = []
    upload = core.uploads.start("m/up", [], on_change=changes.append)
    assert (core.uploads.room(upload), core.next_deadline()) == (0, 1.0)
    now.seconds = 0.9
    core.tick()
    assert core.uploads.room(upload) == 0
    now.seconds = 1.0
    if server:
        core.receive(LIMITS % (30_000, 20_000))
    else:
        core.tick()
    assert changes == [upload]
    assert core.next_deadline() is None
    assert core.uploads.room(upload) == (20_000 if server else 262_144)
    messages = put_all(core, upload, bytes(200_000))
    assert max(len(each) for each in messages) == (20_026 if server else 12_288)


def test_an_answer_tells_how_much_a_server_takes_that_has_not_said_it() -> None:
    now = Now()
    core = opened(now)
    now.seconds = 1.0
    core.tick()
    first, second = (core.uploads.start("m/up", []) for _ in range(2))
    put_all(core, first, b"a")
    answer(core, 1, __cap=50_000)
    assert max(len(each) for each in put_all(core, second, bytes(200_000))) == 50_000
    answer(core, 2, __cap=100)  # only the first one counts
    third = core.uploads.start("m/up", [])
    assert max(len(each) for each in put_all(core, third, bytes(200_000))) == 50_000


def test_messages_stay_below_the_configured_size() -> None:
    core = ready(frame_bytes=100_000)
    upload = core.uploads.start("m/up", [])
    assert max(len(each) for each in put_all(core, upload, bytes(500_000))) == 65_535
    core = ready(frame_bytes=100_000, upload_frame_bytes=5_000)
    upload = core.uploads.start("m/up", [])
    assert max(len(each) for each in put_all(core, upload, bytes(50_000))) == 5_000


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_long_arguments_make_messages_longer_up_to_what_the_server_takes(more: int, fits: bool) -> None:
    # acceptance 192: a header of 2000 bytes, and room for one byte beside it
    core = ready(frame_bytes=2_013, upload_frame_bytes=1_000)
    text = "x" * (2_000 + more - len('{"rpc":"m/up","args":[""]}'))
    upload = core.uploads.start("m/up", [text])
    core.uploads.put(upload, b"abc", last=True)
    messages = list(core.outgoing())
    if fits:
        assert all(len(each) <= 2_013 for each in messages)
        assert b"".join(each.data for each in map(decode_upload, messages) if isinstance(each, UploadChunk)) == b"abc"  # type: ignore[arg-type]
    else:
        assert messages == []
        assert code_of(upload) == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_header_has_65535_bytes_at_most(more: int, fits: bool) -> None:  # acceptance 181
    core = ready()
    text = "x" * (65_535 + more - len('{"rpc":"m/up","args":[""]}'))
    assert core.uploads.start("m/up", [text]).done is not fits
    call = core.binary("m/bin", ["x" * (65_535 + more - len('{"rpc":"m/bin","id":"12345","args":[""]}'))], b"")
    assert call.done is not fits
    if not fits:
        assert code_of(core.uploads.start("m/up", [text])) == "PAYLOAD_TOO_LARGE"
        assert failed(call).code == "PAYLOAD_TOO_LARGE"


def test_arguments_without_json_form_are_a_mistake_of_the_program() -> None:
    core = ready()
    with pytest.raises(TypeError):
        core.uploads.start("m/up", [object()])
    with pytest.raises(TypeError):
        core.binary("m/bin", [object()], b"")


def test_the_server_sets_the_pace() -> None:
    core = ready(window=1_000)
    changes: list[int] = []
    upload = core.uploads.start("m/up", [], on_change=lambda each: changes.append(core.uploads.room(each)))
    assert core.uploads.room(upload) == 1_000
    with pytest.raises(ValueError, match="room for 1000"):
        core.uploads.put(upload, bytes(1_001))
    core.uploads.put(upload, bytes(1_000))
    assert core.uploads.room(upload) == 0
    list(core.outgoing())
    assert changes == [0]
    credit(core, 1, 1_500)
    assert changes == [0, 500]
    credit(core, 1, 1_200)
    assert core.uploads.room(upload) == 500, "credit only grows"
    credit(core, 2, 5_000)  # of nobody
    core.receive('{"type":"upload-credit","stream":"no number","bytes":5000}')
    assert core.uploads.room(upload) == 500
    core.uploads.put(upload, bytes(500), last=True)
    assert core.uploads.room(upload) == 0
    with pytest.raises(ValueError, match="last"):
        core.uploads.put(upload, b"")


def test_what_waits_for_the_socket_is_bounded_and_shared() -> None:
    core = ready()
    first = core.uploads.start("m/up", [])
    assert core.uploads.room(first) == 262_144
    second = core.uploads.start("m/up", [])
    core.uploads.put(second, b"12345")
    assert (core.uploads.room(first), core.uploads.room(second)) == (131_072, 131_067)


def test_uploads_take_turns() -> None:
    core = ready(frame_bytes=1_100)
    for _ in range(2):
        core.uploads.put(core.uploads.start("m/up", []), bytes(2_500), last=True)
    assert [each.stream for each in chunks(core)] == [1, 2, 1, 2, 1, 2]


def test_everything_else_passes_the_chunks() -> None:
    core = ready(frame_bytes=1_100)
    upload = core.uploads.start("m/up", [])
    core.uploads.put(upload, bytes(5_000))
    messages = core.outgoing()
    assert isinstance(next(messages), bytes)
    call = core.call("a/b", [])
    core.fire("a/c", [])
    assert [json.loads(next(messages))["rpc"] for _ in range(2)] == ["a/b", "a/c"]
    assert isinstance(next(messages), bytes)
    core.receive(reply(call, 1))
    assert call.result() == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_cancelled_upload_ends_at_once_and_the_server_hears_of_what_it_knows(begun: bool) -> None:  # acceptance 184
    core = ready(frame_bytes=1_100)
    ended: list[Upload] = []
    upload = core.uploads.start("m/up", [], on_change=lambda each: ended.append(each) if each.done else None)
    core.uploads.put(upload, bytes(5_000))
    if begun:
        next(core.outgoing())
    core.uploads.cancel(upload)
    core.uploads.cancel(upload)
    assert ended == [upload]
    assert code_of(upload) == "CANCELLED"
    assert chunks(core) == ([UploadCancel(1)] if begun else [])
    core.uploads.put(upload, b"x")
    assert chunks(core) == []
    answer(core, 1, ok=False, code="CANCELLED", error="the client gave the upload up")
    assert ended == [upload]


def test_an_early_answer_stops_the_sending() -> None:  # acceptance 191
    core = ready(frame_bytes=1_100)
    upload = core.uploads.start("m/up", [])
    core.uploads.put(upload, bytes(5_000))
    next(core.outgoing())
    answer(core, 1, data="enough")
    assert upload.result() == "enough"
    assert chunks(core) == []
    assert core.uploads.room(upload) == 0


def test_answers_to_nobody_are_ignored() -> None:
    core = ready()
    waiting = core.uploads.start("m/up", [])
    for name in ("00000001", "00000000", "00000009", "1", "-0000001", "x", ""):
        core.receive(json.dumps({"topic": "__upload", "event": name, "data": {"ok": True}}))
    core.receive('{"topic":"__upload","event":"00000001","data":"nonsense"}')
    assert not waiting.done, "it has not begun"
    put_all(core, waiting, b"a")
    core.receive('{"topic":"__upload","event":"00000001","data":"nonsense"}')
    assert code_of(waiting) == "INVALID_RESULT"


def test_a_lost_connection_ends_what_has_begun_and_the_rest_begins_with_the_next() -> None:  # acceptance 185
    core = ready()
    begun, waiting = (core.uploads.start("m/up", [number]) for number in range(2))
    put_all(core, begun, b"a")
    core.uploads.put(waiting, b"b", last=True)
    core.connection_lost(1006, "gone")
    assert code_of(begun) == "DISCONNECTED"
    assert not waiting.done
    assert core.uploads.room(waiting) == 0
    core.connection_opened()
    assert [each for each in chunks(core) if not isinstance(each, str)] == []
    core.receive(LIMITS % (1_000, 1_000))
    (chunk,) = chunks(core)
    assert (chunk.stream, chunk.data, chunk.last) == (2, b"b", True)


def test_closing_ends_every_upload_and_there_are_no_others() -> None:
    core = ready()
    uploads = [core.uploads.start("m/up", []) for _ in range(2)]
    put_all(core, uploads[0], b"a")
    core.close()
    uploads.append(core.uploads.start("m/up", []))
    assert [code_of(upload) for upload in uploads] == ["CONNECTION_CLOSED"] * 3
    assert chunks(core) == []


def test_uploads_wait_for_a_connection_with_the_calls_and_no_more_of_them() -> None:
    core = make()
    for _ in range(QUEUE_MAX // 2):
        core.call("a/b", [])
        core.uploads.start("m/up", [])
    assert code_of(core.uploads.start("m/up", [])) == "DISCONNECTED"
    assert (core.uploads.refused, len(core.uploads)) == (1, QUEUE_MAX // 2)
    assert failed(core.call("a/b", [])).code == "DISCONNECTED"


def test_numbers_are_not_given_twice_while_the_server_may_know_them() -> None:
    core = ready()
    core.uploads._number = 0xFFFF_FFFD
    first = core.uploads.start("m/up", [])
    put_all(core, first, b"a")
    core.uploads.cancel(first)  # not answered yet
    second = core.uploads.start("m/up", [])
    assert (first.stream, second.stream) == (0xFFFF_FFFE, 0xFFFF_FFFF)
    assert core.uploads.start("m/up", []).stream == 1
    core.uploads._number = 0xFFFF_FFFD
    assert core.uploads.start("m/up", []).stream == 2
    answer(core, 0xFFFF_FFFE)
    core.uploads._number = 0xFFFF_FFFD
    assert core.uploads.start("m/up", []).stream == 0xFFFF_FFFE


# -- binary calls


@pytest.mark.parametrize("data", [b"", b"\x07\x01", bytearray(b"\x07\x01"), memoryview(b"\x07\x01")])
def test_a_binary_call_is_an_ordinary_call_whose_message_is_bytes(data: bytes) -> None:  # acceptance 181
    core = opened()
    call = core.binary("a/b", [1], data)
    (message,) = core.outgoing()
    assert isinstance(message, bytes)
    decoded = decode_binary_call(message)
    assert (decoded.rpc, decoded.id, bytes(decoded.args)) == ("a/b", call.id, b"[1]")
    assert decoded.data == bytes(data)
    core.receive(reply(call, 5))
    assert call.result() == 5


def test_binary_calls_have_a_timeout_and_wait_for_a_connection() -> None:
    now = Now()
    core = make(now)
    call = core.binary("a/b", [], b"x", timeout=2.0)
    late = core.binary("a/b", [], b"y", timeout=20.0)
    now.seconds = 3.0
    core.tick()
    assert failed(call).code == "TIMEOUT"
    core.connection_opened()
    assert [decode_binary_call(each).data for each in core.outgoing() if isinstance(each, bytes)] == [b"y"]
    core.connection_lost(1006)
    assert failed(late).code == "DISCONNECTED"


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_a_message_larger_than_the_server_takes_is_not_sent(more: int, fits: bool) -> None:  # acceptance 192
    for known in (True, False):
        core = opened()
        if known:
            core.receive(LIMITS % (1_000, 1_000))
        size = 1_000 + more - 3 - len('{"rpc":"a/b","id":"12345"}')
        call = core.binary("a/b", [], bytes(size))
        small = core.binary("a/b", [], b"")
        if not known:
            core.receive(LIMITS % (1_000, 1_000))
        assert call.done is not fits
        assert [len(each) for each in core.outgoing()] == ([1_000 + more] if fits else []) + [29]
        assert not small.done
        if not fits:
            assert failed(call).code == "PAYLOAD_TOO_LARGE"


def test_binary_calls_wait_in_an_offline_queue_which_sees_their_arguments() -> None:
    seen: list[Any] = []

    def look(call: QueuedCall) -> bool:
        seen.append((call.path, call.args, call.idempotency_key))
        return True

    core = ClientCore(ClientConfig(), offline=OfflineQueue(before_replay=look, replay="concurrent"))
    for args in ([1], []):
        core.binary("a/b", args, b"x")
    core.connection_opened()
    assert [decode_binary_call(each).data for each in core.outgoing() if isinstance(each, bytes)] == [b"x"] * 2
    assert seen == [("a/b", [1], None), ("a/b", [], None)]


def test_a_queued_call_that_is_too_large_does_not_stop_the_queue() -> None:
    core = ClientCore(ClientConfig(), offline=OfflineQueue())
    first = core.call("a/first", [])
    large = core.binary("a/large", [], bytes(1_000))
    last = core.call("a/last", [])
    core.connection_opened()
    core.receive(LIMITS % (500, 500))
    list(core.outgoing())
    core.receive(reply(first))
    assert failed(large).code == "PAYLOAD_TOO_LARGE"
    assert [json.loads(each)["rpc"] for each in core.outgoing()] == ["a/last"]
    assert not last.done


def test_a_callback_of_an_upload_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    core = ready()

    def fail(_: Upload) -> None:
        raise RuntimeError("oops")

    upload = core.uploads.start("m/up", [], on_change=fail)
    put_all(core, upload, b"a")
    answer(core, 1, data=1)
    assert upload.result() == 1
    assert "oops" in caplog.text


def test_nothing_of_a_lost_connection_is_said_on_the_next_one() -> None:
    core = ready()
    uploads: list[Upload] = []

    def cancel_the_others(upload: Upload) -> None:
        for each in uploads if upload.done else ():
            core.uploads.cancel(each)

    uploads += [core.uploads.start("m/up", [], on_change=cancel_the_others) for _ in range(3)]
    for upload in uploads:
        core.uploads.put(upload, b"x")
    assert len(chunks(core)) == 3
    core.connection_lost(1006)
    assert [code_of(each) for each in uploads] == ["DISCONNECTED", "CANCELLED", "CANCELLED"]
    core.connection_opened()
    core.receive(LIMITS % (1 << 20, 1 << 20))
    assert [each for each in chunks(core) if not isinstance(each, str)] == []


def test_ended_uploads_are_forgotten_though_nothing_is_sent() -> None:
    core = make()

    def empty() -> None:
        upload = core.uploads.start("m/up", [])
        core.uploads.put(upload, b"", last=True)
        core.uploads.cancel(upload)

    for _ in range(20):
        empty()
    gc.collect()
    assert sum(isinstance(each, Upload) for each in gc.get_objects()) == 0


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_put_before_the_server_counts_waits_for_its_credit(begun: bool) -> None:
    now = Now()
    core = opened(now)
    upload = core.uploads.start("m/up", [])
    now.seconds = 1.0
    core.tick()  # the server has said nothing
    core.uploads.put(upload, bytes(100_000))
    if begun:
        assert isinstance(next(core.outgoing()), bytes)
    else:
        core.connection_lost(1006)
        core.connection_opened()
    core.receive(LIMITS % (1 << 20, 20_000))
    list(core.outgoing())
    assert upload.sent == 20_000
    assert not core.has_outgoing
    assert core.uploads.room(upload) == 0
    credit(core, 1, 50_000)
    list(core.outgoing())
    assert upload.sent == 50_000
    core.receive(LIMITS % (1 << 20, 90_000))
    list(core.outgoing())
    assert upload.sent == 90_000
    credit(core, 1, 1 << 20)
    list(core.outgoing())
    assert upload.sent == 100_000
    core.uploads.put(upload, b"", last=True)
    assert [each.last for each in chunks(core)] == [True]


def test_a_closed_client_still_says_what_nobody_waits_for() -> None:
    core = ready()
    upload, other = (core.uploads.start("m/up", []) for _ in range(2))
    for each in (upload, other):
        core.uploads.put(each, b"x")
    assert len(chunks(core)) == 2
    core.uploads.put(other, b"y")
    core.call("m/call", [])
    core.binary("m/binary", [], b"x")
    core.fire("m/fire", [])
    core.uploads.cancel(upload)
    core.close()
    fired, cancel = chunks(core)
    assert json.loads(fired)["rpc"] == "m/fire"
    assert (cancel.stream, isinstance(cancel, UploadCancel)) == (1, True)
    assert code_of(other) == "CONNECTION_CLOSED"
    assert not core.has_outgoing


def test_a_client_whose_connection_was_closed_for_good_says_nothing() -> None:
    core = ready()
    upload = core.uploads.start("m/up", [])
    core.uploads.put(upload, b"x")
    assert len(chunks(core)) == 1
    core.fire("m/fire", [])
    core.uploads.cancel(upload)
    core.connection_lost(4401)
    assert core.status == "closed"
    assert not core.has_outgoing
    assert list(core.outgoing()) == []


def test_what_is_offered_is_taken_if_there_is_room_for_all_of_it() -> None:
    core = ready(window=10)
    upload = core.uploads.start("m/up", [])
    assert not core.uploads.offer(upload, bytes(11))
    assert upload.unsent == b""
    assert core.uploads.offer(upload, b"")
    assert not core.uploads.has_messages
    assert core.uploads.offer(upload, bytes(9))
    assert core.uploads.offer(upload, bytes(1))
    assert not core.uploads.offer(upload, b"x")
    assert len(chunks(core)) == 1
    assert upload.sent == 10
    core.uploads.cancel(upload)
    assert not core.uploads.offer(upload, b"x")
