"""What the tests run in a process of its own: ``gevent_probe.py ACTION URL``.

Each action prints what happened as lines of JSON.
"""

from __future__ import annotations

import json
import sys
import time
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
