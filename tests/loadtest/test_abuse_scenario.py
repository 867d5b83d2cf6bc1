"""The scenario ``abuse``: attackers end as promised, and a server that breaks a promise is noticed."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from liverpc import Limits
from loadtest._attackers import KINDS, attacks
from loadtest._peer import Aim, Ended, Peer
from tests.loadtest.load_kit import ROOT, cells, first_url, locust, process, result_in

pytestmark = pytest.mark.realtime

#: Of a server of which one need not wait long for anything.
QUICK = {
    "CONNECT_SECONDS": "0.5",
    "CLOSE_SECONDS": "0.5",
    "PING_SECONDS": "0.2",
    "PONG_SECONDS": "0.2",
    "STREAMS_PER_CONNECTION": "100",
}
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
CLOSED = b"\x88\x02\x03\xe8"  # with 1000


@pytest.fixture(scope="module")
def quick(environ: dict[str, str]) -> dict[str, str]:
    return environ | {f"LIVERPC_LIMITS_{name}": value for name, value in QUICK.items()}


@pytest.fixture(scope="module")
def url(quick: dict[str, str]) -> Iterator[str]:
    with process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", "--rate", "0", environ=quick) as running:
        yield first_url(running)


def answered(ref: str, **members: object) -> bytes:
    text = json.dumps(
        {"topic": "__rpc", "event": ref, "data": {"id": ref, "ok": True, **members}}, separators=(",", ":")
    )
    return bytes((0x81, 126)) + len(text).to_bytes(2, "big") + text.encode()


@contextmanager
def saying(words: bytes, *, cut: bool) -> Iterator[str]:
    """A server that says the same to everybody who has said something; ``cut``: and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(words)
                if cut:
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        thread.join()


def test_every_attack_on_a_real_server_ends_as_promised(url: str, quick: dict[str, str]) -> None:
    limits = Limits.from_env(quick)
    kinds = attacks(limits)

    def attack(kind: str) -> tuple[str, bool]:
        ending = kinds[kind].run(Aim(url, limits), random.Random(kind))
        return f"{kind}: {ending}", ending.right

    with ThreadPoolExecutor(len(kinds)) as pool:
        ended = list(pool.map(attack, kinds))
    assert [what for what, right in ended if not right] == []


def test_manual_tells_of_every_kind() -> None:
    manual = (ROOT / "docs" / "load-scenarios.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in manual] == []


@pytest.mark.parametrize(
    ("kind", "words", "cut", "how"),
    [
        ("oversize", UPGRADED + CLOSED, True, "close 1000"),
        ("unmasked", UPGRADED + b"\x88\x02\x03\xea", False, "close 1002, but not cut"),
        ("unmasked", UPGRADED, True, "cut"),
        ("unmasked", UPGRADED, False, "silence"),
        ("noise", UPGRADED + b"\x81\x80", False, "breaks the protocol: the server masked a frame"),
        ("bad_utf8", UPGRADED + answered("1"), False, 'answers: {"topic": "__rpc"'),
        ("bad_json", UPGRADED + answered("2"), False, 'answers: {"topic": "__rpc"'),
        ("deep_json", UPGRADED + answered("attack") + answered("honest"), False, "ok"),
        ("deep_json", UPGRADED + answered("attack", ok=False, code="INVALID_REQUEST"), True, "cut"),
        ("batch_bomb", UPGRADED + answered("__batch", batch=[{"ok": True}]) + answered("honest"), True, "ok"),
        ("call_bomb", UPGRADED + answered("1") * 640, False, "more at once than calls_in_flight"),
        ("subscribe_bomb", UPGRADED + answered("1") * 150, False, "answers: {'ok': 150}"),
        ("refused", UPGRADED + answered("welcome"), False, 'answers: {"topic": "__rpc"'),
        ("refused", UPGRADED + b"\x81\x02{x", False, "answers without sense"),
        ("batch_bomb", UPGRADED + b'\x81\x14{"event": "__batch"}', False, "answers without sense"),
        ("huge_header", b"HTTP/1.1 200 OK\r\n\r\n", True, "http 200"),
        ("many_headers", b"HTTP/1.1 431 Too many\r\n\r\n", False, "http 431, but not cut"),
        ("many_headers", b"SSH-2.0-OpenSSH\r\n\r\n", False, "no HTTP"),
        ("half_open", b"HTTP/1.1 400 Bad request\r\n\r\n", True, "answers: b'HTTP/1.1 400"),
        ("slowloris", b"HTTP/1.1 400 Bad request\r\n\r\n", True, "answers"),
        ("slow_body", b"", True, "cut, too soon"),  # honest clients may need that long
    ],
)
def test_server_that_breaks_a_promise_is_noticed(kind: str, words: bytes, cut: bool, how: str) -> None:
    limits = Limits(streams_per_connection=100)
    impatient = msgspec.structs.replace(attacks(limits)[kind], latest=0.3)
    with saying(words, cut=cut) as url:
        ending = impatient.run(Aim(url, limits), random.Random(1))
    assert ending.how.startswith(how)
    assert not ending.right


def test_peer_that_reads_is_not_dropped_for_silence(url: str) -> None:
    peer = Peer(Aim(url, Limits()), 0.8)
    peer.open()
    with pytest.raises(Ended, match="silence"):
        while True:
            peer.messages()
    peer.close()


def test_server_that_is_not_there_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ending = attacks(Limits())["oversize"].run(Aim(f"ws://127.0.0.1:{port}", Limits()), random.Random(1))
    assert (ending.how, ending.right) == ("no connection: Connection refused", False)


def test_run_of_all_kinds_harms_nobody_and_leaves_nothing(url: str, quick: dict[str, str], tmp_path: Path) -> None:
    done = locust(
        *("--headless", "--only-summary", "--scenario", "abuse", "-u", "5", "-t", "4s"),
        *("--attackers", str(len(KINDS)), "--host", url, "--run-dir", str(tmp_path)),
        environ=quick,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = cells(done.stdout)
    assert table["attacks: ended otherwise"] == ["0", "0", "ok"]
    assert table["lost"] == table["healthy calls: failed"] == ["0", "0", "ok"]
    assert table["server: connections left over"] == ["0", "0", "ok"]
    written = result_in(tmp_path)
    assert set(written.details["attacks"]) == set(KINDS)
    figures = {row.key: row.number for row in written.rows}
    assert figures["attacks"] == figures["right_endings"]
    assert figures["healthy_p99_ratio"] is not None
    assert figures["server_memory_growth_mb"] is not None
    assert {event.text for event in written.events} >= {"attack begins", "attack is over"}


def test_run_against_a_server_with_other_limits_fails(url: str, quick: dict[str, str]) -> None:
    done = locust(
        *("--headless", "--only-summary", "--scenario", "abuse", "-u", "2", "-t", "2s"),
        *("--kind", "subscribe_bomb", "--attackers", "1", "--host", url),
        environ=quick | {"LIVERPC_LIMITS_STREAMS_PER_CONNECTION": "20"},
    )
    assert done.returncode == 3, done.stdout + done.stderr
    wrong = cells(done.stdout)["attacks: ended otherwise"]
    assert wrong[0].endswith("(subscribe_bomb: answers: {'ok': 70})")
    assert wrong[1:] == ["0", "FAIL"]
