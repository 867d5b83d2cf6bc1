"""``python -m loadtest._observer``: somebody who looks at a server through its devtools, and wants to hear everything.

It waits for a line on standard input, attaches, and reads until it gets SIGTERM or the session ends. Then it prints
what it was told, as JSON.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

import gevent
import msgspec

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.contrib.locust.socket import GeventSocket, open_socket
from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import SUBPROTOCOL, AttachSession, Budget, Events, Match, Watch, find_token

__all__ = ["Told", "main"]

_BUDGET = Budget(events=1e6, bytes=1e8)  # it gets what the server grants at most


class Told(msgspec.Struct):
    """What an observer was told."""

    events: int = 0
    lost: int = 0  #: events that it was not told, by the server's count
    ended: str = ""  #: why the server ended the session; empty: it did not


def _observe(url: str, token_file: str | None) -> Told:
    told = Told()
    token = find_token(url, file=token_file).secret
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        socket.abort()

    try:
        socket: GeventSocket = open_socket(url, headers=headers, subprotocol=SUBPROTOCOL)
        gevent.signal_handler(signal.SIGTERM, stop)
        session = AttachSession(client="load test", want="observe", monotonic=time.monotonic, budget=_BUDGET)
        session.send(Watch(id=session.new_id(), match=Match()))
        while True:
            socket.send(data.decode() for data in session.outgoing())
            for message in socket.recv():  # the server says something four times a second
                frame = session.receive(message)
                if isinstance(frame, Events):
                    told.events += len(frame.items)
                    told.lost += frame.lost
            session.tick()
    except HandshakeRefused as refused:
        told.ended = f"HTTP {refused.status} {refused.text}".strip()
    except SocketClosed as closed:
        told.ended = "" if stopped else closed.reason or f"closed with {closed.code}"
    except (AttachError, OSError) as error:
        told.ended = str(error)
    return told


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m loadtest._observer", description="Looks at a server.")
    parser.add_argument("url", help="of the devtools")
    parser.add_argument("--token-file", help="holds the token")
    options = parser.parse_args()
    if not sys.stdin.readline():
        return
    try:
        told = _observe(options.url, options.token_file)
    except ConfigError as error:
        told = Told(ended=str(error))
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")


if __name__ == "__main__":
    main()
