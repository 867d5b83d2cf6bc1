"""What a recording says about how a server was used."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import ConfigError
from liverpc.contrib.locust.lines import Damaged, lines_of
from liverpc.contrib.locust.mix import Mix, Recorded, is_whole
from liverpc.inspector.protocol import (
    CallEvent,
    ConnectionInfo,
    Event,
    Events,
    PathInfo,
    PathStats,
    ServerFrame,
    ServerInfo,
    State,
    StreamInfo,
    StreamStats,
    Welcome,
)
from liverpc.inspector.redact import Redactor

HEADER = {"t": "liverpc.recording", "schema": 1, "program": "1", "protocol": 1}


def welcome(pid: int = 1) -> Welcome:
    return Welcome(1, "", "observe", [], ServerInfo("shop", "1", pid, float(pid)), 0.0, 0.0, [], 20, 500, chaos=False)


def called(*counts: tuple[str, int]) -> dict[str, Any]:
    """The part of a state with the calls of each path since the server started."""
    return {
        "paths": [PathInfo(number, path) for number, (path, _) in enumerate(counts)],
        "path_stats": [PathStats(number, calls, 0, 0.0, 0.0) for number, (_, calls) in enumerate(counts)],
    }


def stream(number: int, topic: str, path: str) -> StreamInfo:
    return StreamInfo(number, topic, "crud", path)


def figures(number: int, subscribers: int, published: int = 0) -> StreamStats:
    return StreamStats(number, subscribers, published, 0, 0, 0, "", 0.0, 0, "")


def connections(*names: str) -> list[ConnectionInfo]:
    return [ConnectionInfo(name, "", "", 0.0) for name in names]


def call(path: str, args: Any, **more: Any) -> CallEvent:
    return CallEvent(0.0, path, "c", 1.0, more.pop("ok", True), args=args, **more)


def lines(*entries: tuple[float, ServerFrame]) -> list[bytes]:
    return [json.dumps(HEADER).encode(), *(msgspec.json.encode({"at": at, "frame": frame}) for at, frame in entries)]


def written(folder: Path, *entries: tuple[float, ServerFrame]) -> Path:
    path = folder / "x.lrec.gz"
    path.write_bytes(b"".join(gzip.compress(line + b"\n") for line in lines(*entries)))
    return path


def read(folder: Path, *entries: tuple[float, ServerFrame]) -> Mix:
    return Mix.read(written(folder, *entries))


def whole(*, rev: int = 0, **parts: Any) -> State:
    return State(rev, 0.0, full=True, **parts)


def delta(**parts: Any) -> State:
    return State(1, 0.0, **parts)


# -- calls


def test_rates_are_those_of_the_servers_figures_and_not_of_the_events_it_had_room_for(tmp_path: Path) -> None:
    mix = read(
        tmp_path,
        (1.0, welcome()),
        (1.0, whole(connections=connections("a", "b"), **called(("shop/buy", 500)))),
        (2.0, Events(items=[call("shop/buy", {"item": "tea"})])),
        (3.0, delta(**called(("shop/buy", 540), ("shop/look", 20)))),
        (5.0, delta(**called(("shop/buy", 580), ("shop/look", 20)))),
    )
    assert (mix.seconds, mix.connections, mix.rate) == (4.0, 2.0, 25.0)
    assert [(each.path, each.rate) for each in mix.calls] == [("shop/buy", 20.0), ("shop/look", 5.0)]
    assert mix.calls[0].samples == [Recorded("shop/buy", {"item": "tea"})]
    assert mix.calls[1].samples == [Recorded("shop/look", missing="its arguments are not in the recording")]


def test_parts_that_tell_again_what_is_known_count_nothing_twice(tmp_path: Path) -> None:
    again = {
        "streams": [stream(1, "t", "shop/t")],
        "stream_stats": [figures(1, 2, 10)],
        "connections": connections("a", "b"),
        **called(("shop/buy", 10)),
    }
    mix = read(
        tmp_path,
        (0.0, welcome()),
        (0.0, whole(**again)),
        (5.0, welcome()),
        (5.0, whole(**again)),
        (10.0, delta(**called(("shop/buy", 30)), stream_stats=[figures(1, 2, 30)])),
    )
    assert mix.rate == 2.0
    assert [(each.number, each.published) for each in mix.streams] == [(2.0, 2.0)]


def test_a_server_that_is_restarted_begins_at_nought(tmp_path: Path) -> None:
    mix = read(
        tmp_path,
        (0.0, welcome()),
        (0.0, whole(**called(("shop/buy", 100)))),
        (5.0, delta(**called(("shop/buy", 110)))),
        (6.0, welcome(pid=2)),
        (6.0, whole(**called(("shop/look", 3), ("shop/buy", 2)))),
        (10.0, delta(**called(("shop/look", 3), ("shop/buy", 20)))),
    )
    assert {each.path: each.rate for each in mix.calls} == {"shop/buy": 3.0, "shop/look": 0.3}


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ({"user": "ann"}, ""),
        ({}, ""),
        ({"user": "ann", "password": "x"}, "its arguments were redacted or cut"),
        ({"deep": [[[[[[1]]]]]]}, "its arguments were redacted or cut"),
        ({"many": list(range(60))}, "its arguments were redacted or cut"),
        ({"many": dict.fromkeys(map(str, range(60)))}, "its arguments were redacted or cut"),
        ({"long": "x" * 3000}, "its arguments were redacted or cut"),
        ({"key" * 1000: 1}, "its arguments were redacted or cut"),
        ({"…": "[2 arguments without a name]"}, "its arguments were redacted or cut"),
        ("[no argument list]", "its arguments are not in the recording"),
        (msgspec.UNSET, "its arguments are not in the recording"),
    ],
)
def test_arguments_that_are_not_there_as_they_were_are_known(tmp_path: Path, args: Any, missing: str) -> None:
    recorded = args if args is msgspec.UNSET else Redactor()(args)
    mix = read(
        tmp_path,
        (0.0, whole(**called(("auth/login", 0)))),
        (1.0, Events(items=[call("auth/login", recorded)])),
        (2.0, delta(**called(("auth/login", 2)))),
    )
    (sample,) = mix.calls[0].samples
    assert sample.missing == missing
    assert is_whole(list(sample.args.values())) or missing


def test_what_a_replay_cannot_do_is_left_out_and_named(tmp_path: Path) -> None:
    paths = ("files/store", "chat/__open", "chat/__event/send", "chat/send")
    mix = read(
        tmp_path,
        (0.0, whole(**called(*((path, 0) for path in paths)))),
        (1.0, Events(items=[call("files/store", {"name": "x"}, carries="upload", received=7)])),
        (2.0, delta(**called(*((path, 4) for path in paths)))),
    )
    assert [each.path for each in mix.calls] == ["chat/send"]
    assert {path: why.partition(" ")[0] for path, why in mix.left_out.items()} == {
        "files/store": "the",
        "chat/__open": "it",
        "chat/__event/send": "it",
    }


def test_of_many_calls_some_are_kept(tmp_path: Path) -> None:
    events: list[Event] = [call("shop/buy", {"item": number}) for number in range(5000)]
    mix = read(
        tmp_path,
        (0.0, whole(**called(("shop/buy", 0)))),
        (1.0, Events(items=events)),
        (2.0, delta(**called(("shop/buy", 5000)))),
    )
    items = [each.args["item"] for each in mix.calls[0].samples]
    assert len(items) == len(set(items)) == 200
    assert 2000 < sum(items) / len(items) < 3000  # from all of them, not the first or the last ones


# -- the schedule


def busy(folder: Path) -> Mix:
    return read(
        folder,
        (0.0, whole(connections=connections("a", "b", "c", "d"), **called(("shop/buy", 0), ("shop/look", 0)))),
        (1.0, Events(items=[call("shop/buy", {"item": "tea"}), call("shop/look", {})])),
        (10.0, delta(**called(("shop/buy", 300), ("shop/look", 100)))),
    )


def within(schedule: Iterator[tuple[float, Recorded]], until: float) -> list[tuple[float, Recorded]]:
    return list(itertools.takewhile(lambda each: each[0] < until, schedule))


def test_each_connection_has_its_share_of_the_calls(tmp_path: Path) -> None:
    mix = busy(tmp_path)
    due = within(mix.schedule(100.0, "a"), 200.0)
    counts = Counter(recorded.path for _, recorded in due)
    assert abs(counts["shop/buy"] - 750) < 4 * 750**0.5
    assert abs(counts["shop/look"] - 250) < 4 * 250**0.5
    assert all(100.0 < at < 200.0 for at, _ in due)
    faster = within(mix.schedule(100.0, "a", speed=3.0), 200.0)
    assert abs(len(faster) - 3000) < 4 * 3000**0.5


def test_equal_seeds_do_the_same_and_others_do_not(tmp_path: Path) -> None:
    mix = busy(tmp_path)
    one, same, other = (within(mix.schedule(0.0, seed), 50.0) for seed in (1, 1, 2))
    assert one == same != other


def test_without_calls_nothing_is_ever_due(tmp_path: Path) -> None:
    mix = read(tmp_path, (0.0, whole(connections=connections("a"))), (9.0, delta()))
    assert list(mix.schedule(0.0, 1)) == []
    assert (mix.rate, mix.connections) == (0.0, 1.0)


# -- streams


def subscriptions(mix: Mix, users: int = 1000) -> Counter[str]:
    return Counter(
        f"{each.topic}{json.dumps(list(each.args.values()))}"
        for number in range(users)
        for each in mix.subscriptions(number)
    )


def test_streams_are_subscribed_in_the_recorded_proportion(tmp_path: Path) -> None:
    mix = read(
        tmp_path,
        (
            0.0,
            whole(
                connections=connections("a", "b", "c", "d"),
                streams=[stream(1, "chat:x", "chat/lines"), stream(2, "prices", "shop/prices")],
                stream_stats=[figures(1, 0), figures(2, 3, 7)],
                **called(("chat/lines", 0), ("shop/prices", 4)),
            ),
        ),
        (0.0, delta(streams=[stream(3, "chat:y", "chat/lines")], stream_stats=[figures(1, 1), figures(3, 1)])),
        (0.0, Events(items=[call("chat/lines", {"room": room}, stream=True) for room in "xyx"])),
        (5.0, delta(streams_gone=[3], stream_stats=[figures(2, 3, 27)], **called(("chat/lines", 3)))),
        (10.0, delta(stream_stats=[figures(2, 3, 27)])),
    )
    assert mix.calls == []
    assert {each.path: (each.number, each.published) for each in mix.streams} == {
        "chat/lines": (1.5, 0.0),
        "shop/prices": (3.0, 2.0),
    }
    counts = subscriptions(mix)
    assert abs(counts["prices[]"] - 750) < 60  # three of four, and of it the topic is known only
    assert abs(counts['["x"]'] + counts['["y"]'] - 375) < 60
    assert counts['["x"]'] > 1.4 * counts['["y"]']


def test_of_a_stream_that_was_subscribed_to_before_the_topics_are_known_with_their_subscribers(tmp_path: Path) -> None:
    mix = read(
        tmp_path,
        (
            0.0,
            whole(
                connections=connections(*"abcdefghij"),
                streams=[stream(1, "chat:x", "chat/lines"), stream(2, "chat:y", "chat/lines")],
                stream_stats=[figures(1, 9), figures(2, 1)],
            ),
        ),
        (10.0, delta()),
    )
    counts = subscriptions(mix)
    assert abs(counts["chat:x[]"] - 900) < 60
    assert abs(counts["chat:y[]"] - 100) < 60
    assert {each.missing.partition(",")[0] for each in mix.streams[0].samples} == {
        "it was subscribed to before the recording began"
    }


def test_a_whole_state_may_come_in_parts(tmp_path: Path) -> None:
    def parts(published: int) -> list[State]:
        return [
            whole(streams=[stream(1, "x", "a/x")], stream_stats=[figures(1, 1)], more=True),
            whole(streams=[stream(2, "y", "a/y")], stream_stats=[figures(2, 1, published)]),
        ]

    mix = read(tmp_path, *((0.0, part) for part in parts(100)), *((10.0, part) for part in parts(110)))
    assert [(each.path, each.number, each.published) for each in mix.streams] == [("a/x", 1.0, 0.0), ("a/y", 1.0, 1.0)]


def test_a_stream_that_nobody_was_let_into_is_no_call(tmp_path: Path) -> None:
    mix = read(
        tmp_path,
        (0.0, whole(**called(("chat/lines", 0)))),
        (1.0, Events(items=[call("chat/lines", {}, stream=True, ok=False, code="FORBIDDEN")])),
        (2.0, delta(**called(("chat/lines", 3)))),
    )
    assert (mix.calls, mix.streams) == ([], [])


# -- files


def test_a_recording_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    states = [(float(at), delta(**called(("shop/buy", 10 * at)))) for at in range(1, 200)]
    path = written(tmp_path, (0.0, whole(**called(("shop/buy", 0)))), *states)
    data = path.read_bytes()
    assert (Mix.read(path).seconds, Mix.read(path).problems) == (199.0, [])
    path.write_bytes(data[: len(data) // 2 + 7])
    mix = Mix.read(path)
    assert 90 < mix.seconds < 110
    assert mix.rate == 10.0
    assert mix.problems == ["it breaks off in the middle of a part"]
    path.write_bytes(data[: len(data) // 2] + b"nonsense" * 100)
    assert len(Mix.read(path).problems) == 1


def test_a_recording_may_be_unpacked_and_have_lines_that_are_not_known(tmp_path: Path) -> None:
    first, *others = lines((0.0, whole(**called(("shop/buy", 0)))), (2.0, delta(**called(("shop/buy", 4)))))
    odd = [b'{"at":1,"frame":{"t":"of-the-future"}}', b'{"at":1,"mark":"here"}', b"{", b"[" * 100_000]
    deep = '{"kind":"rpc","path":"shop/buy","ok":true,"args":{"x":%s}}' % ("[" * 900 + "]" * 900)
    odd.append(f'{{"at":1,"frame":{{"t":"ev","items":[{deep}]}}}}'.encode())
    path = tmp_path / "x.lrec"
    path.write_bytes(b"\n".join([first, *odd, *others, b'{"t":"index"}', b""]))
    assert (Mix.read(path).rate, Mix.read(path).problems) == (2.0, [])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is no recording"),
        (b"user,token\nann,secret\n", "is no recording"),
        (gzip.compress(b"{}\n"), "is no recording"),
        (b"\x1f\x8bnonsense", "is no recording"),
        (json.dumps(HEADER).encode() + b"\n", "too short"),
        (b"\n".join([*lines((3.0, whole())), b""]), "too short"),
        (gzip.compress(json.dumps(HEADER).encode() + b"\n") + b"\x1f\x8b\x08", r"too short .*\(it breaks off"),
    ],
)
def test_what_is_no_recording_is_told(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "x.lrec.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        Mix.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.lrec\.gz: No such file"):
        Mix.read(tmp_path / "none.lrec.gz")


@given(st.lists(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line))), st.booleans())
def test_lines_come_back_from_any_number_of_members(members: Sequence[Sequence[bytes]], packed: bool) -> None:
    texts = [b"".join(line + b"\n" for line in member) for member in members]
    data = b"".join(gzip.compress(text) if packed else text for text in texts)
    if not packed and data.startswith(b"\x1f\x8b"):
        return  # it says that it is packed
    assert list(lines_of(io.BytesIO(data))) == [line for member in members for line in member]


def test_a_line_without_end_takes_no_memory_without_end() -> None:
    with pytest.raises(Damaged, match="longer than any"):
        list(lines_of(io.BytesIO(gzip.compress(bytes(64 << 20)))))
