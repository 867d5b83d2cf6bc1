"""What the tests run in a process of its own: ``gevent_probe.py ACTION URL``.

Each action prints what happened as lines of JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
import gevent.queue
import gevent.ssl

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.config import ClientConfig
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.socket import open_socket
from liverpc.errors import RpcError


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def session(url: str, pem: str, token: str) -> None:
    """Calls and a stream, over TLS and with a header."""
    tls = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    tls.load_verify_locations(pem)
    client = LiveClient(url, tls=tls, headers={"Authorization": token}, config=ClientConfig(max_attempts=1))
    try:
        client.open()
    except RpcError as error:
        say(opened=False, code=error.code, text=error.message)
        return
    say(opened=True, echo=client.call("desk/echo", "ä" * 100_000) == "ä" * 100_000)
    try:
        client.call("desk/echo", value=1)
    except TypeError as error:
        say(named=str(error))
    stream = client.subscribe("desk/numbers")
    client.call("desk/add", 1)
    while stream.version < 2:
        gevent.sleep(0)
    say(value=stream.value)
    try:
        client.subscribe("desk/nothing")
    except RpcError as error:
        say(code=error.code)
    waiting = gevent.spawn(client.call, "desk/wait")
    gevent.sleep(0)
    waiting.kill()
    try:
        client.call("desk/echo", 5)
    except RpcError as error:
        say(code=error.code)
    began = time.perf_counter()
    client.close()
    client.close()
    say(closed=client.core.status, quickly=time.perf_counter() - began < 1)


def comes_back(url: str) -> None:
    """A stream that outlives its server."""
    client = LiveClient(url, config=ClientConfig(backoff_base=0.05, backoff_max=0.2))
    client.open()
    events: Any = gevent.queue.Queue()
    stream = client.subscribe("desk/numbers", on_event=lambda frame: events.put(json.loads(bytes(frame.data))))
    say(subscribed=True)
    for status in ("reconnecting", "connected"):
        while stream.status != status:
            gevent.sleep(0)
    say(subscribed="again")
    say(event=events.get(timeout=20))
    client.close()


def times_out(url: str) -> None:
    """A call that is never answered, on a connection that says nothing else."""
    client = LiveClient(url, config=ClientConfig(timeout=0.2))
    client.open()
    try:
        client.call("desk/wait")
    except RpcError as error:
        say(code=error.code)
    client.close()


def stubborn(url: str) -> None:
    """Leaving a server that does not say goodbye."""
    client = LiveClient(url)
    client.open()
    began = time.perf_counter()
    client.close()
    say(closed=client.core.status, soon=time.perf_counter() - began < 3)


def unwelcome(url: str) -> None:
    """Giving up before the server has said that it lets anybody in."""
    attempts: list[str] = []
    client = LiveClient(url, on_attempt=lambda attempt: attempts.append(attempt.failure))
    opening = gevent.spawn(client.open)
    while client._socket is None:
        gevent.sleep(0)
    client.close()
    opening.join()
    say(attempts=attempts, left=client._socket is None)


def uploads(url: str) -> None:
    """Bytes in both ways, and what happens beside and instead."""
    client = LiveClient(url, config=ClientConfig(max_attempts=1))
    client.open()
    say(binary=client.binary("desk/weigh", b"x" * 70_000, 2))
    sources: list[Any] = [b"", b"abc", [b"a" * 100_000, memoryview(b"b" * 200_000), b""], iter([b"x" * 3_000_000])]
    for source in sources:
        say(bytes=client.upload("desk/store", source, "any"))
    # More than the server takes ahead of the function, which waits for a call on the same connection.
    waiting = gevent.spawn(client.upload, "desk/hold", (b"y" * 65_536 for _ in range(100)), size=6_553_600)
    while not client.call("desk/held"):
        gevent.sleep(0.01)
    say(waits=not waiting.ready())
    client.call("desk/release")
    say(bytes=waiting.get())
    try:
        client.upload("desk/refuse", itertools.repeat(b"z" * 1000))  # its end is not waited for
    except RpcError as error:
        say(code=error.code)
    try:
        client.upload("desk/store", broken_source(), "broken")
    except RuntimeError as error:
        say(raised=str(error))
    killed = gevent.spawn(client.upload, "desk/store", slow_source(), "killed")
    while not client.call("desk/seen", "killed"):
        gevent.sleep(0.01)
    killed.kill()
    given_up = client.begin_upload("desk/store", "given up", size=5)
    given_up.send(b"half")
    given_up.cancel()
    given_up.cancel()
    say(done=given_up.upload.done, sends=given_up.send(b"x", last=True))
    try:
        given_up.result()
    except RpcError as error:
        say(code=error.code)
    for reset in (False, True):
        cut = LiveClient(url, config=ClientConfig(max_attempts=1))
        cut.open()
        sending = cut.begin_upload("desk/store", f"cut {reset}")
        sending.send(b"half")
        while not client.call("desk/seen", f"cut {reset}"):
            gevent.sleep(0.01)
        cut.abort(reset=reset)
        cut.abort()
        try:
            sending.result()
        except RpcError as error:
            say(code=error.code)
    brief = LiveClient(url, config=ClientConfig(max_attempts=1))
    brief.open()
    sending = brief.begin_upload("desk/store", "brief")
    sending.send(b"half")
    while not client.call("desk/seen", "brief"):
        gevent.sleep(0.01)
    sending.cancel()
    brief.close()
    while len(ended := client.call("desk/ended")) < 5:
        gevent.sleep(0.01)
    say(ended=ended)
    client.close()


def broken_source() -> Iterator[bytes]:
    yield b"half"
    gevent.sleep(0.05)
    raise RuntimeError("no more")


def slow_source() -> Iterator[bytes]:
    while True:
        yield b"half"
        gevent.sleep(0.01)


def busy(url: str) -> None:
    """Sending what has no end until the server goes."""
    socket = open_socket(url, timeout=5, silence=5)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)
            gevent.sleep(0)

    def read() -> None:
        with suppress(SocketClosed):
            while True:
                socket.recv()

    reading = gevent.spawn(read)
    try:
        socket.send(endless())
    except SocketClosed:
        say(closed=True)
    reading.join()


def stuck(url: str) -> None:
    """Leaving a server that does not read any more."""
    client = LiveClient(url)
    client.open()
    sending = client.begin_upload("desk/store")
    sender = gevent.spawn(lambda: [sending.send(b"x" * 65_536) for _ in range(1000)])
    while sending.upload.sent == 0:
        gevent.sleep(0.01)
    while True:  # until the network takes nothing more
        sent = sending.upload.sent
        gevent.sleep(0.2)
        if sending.upload.sent == sent:
            break
    began = time.perf_counter()
    client.close()
    sender.join()
    soon = time.perf_counter() - began < 3
    try:
        sending.result()
    except RpcError as error:
        say(soon=soon, code=error.code)


def raw(url: str) -> None:
    """A socket, to its end."""
    try:
        socket = open_socket(url, timeout=5, silence=5, message_max=1 << 17)
    except (HandshakeRefused, SocketClosed, OSError) as error:
        say(refused=type(error).__name__, text=str(error.args))
        return
    socket.send(["one", "two" * 30_000])
    try:
        while True:
            for message in socket.recv():
                say(message=message.decode())
    except SocketClosed as closed:
        say(code=closed.code, reason=closed.reason)
    socket.abort()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
