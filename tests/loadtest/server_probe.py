"""What the tests of the server's process run in a process of their own: ``server_probe.py ACTION FOLDER``.

Each action prints what happened as lines of JSON.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import psutil  # type: ignore[import-untyped]  # it has no types

from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.target import devtools_url
from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import State
from loadtest._result import ServerSecond
from loadtest._sampler import Sampler
from loadtest._server import Demo, Freezer, free_port
from loadtest._words import Freeze

LOOK_SECONDS = 0.3


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something; whether it came."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        gevent.sleep(0.02)
    return holds()


def life(folder: Path) -> None:
    """A server that is started, restarted, ended, and does not come back because another one has its port."""
    demo = Demo(folder / "server.log")
    say(pid=demo.pid)
    demo.terminate()
    demo.kill()
    starting = [gevent.spawn(demo.start) for _ in range(2)]
    gevent.joinall(starting, raise_error=True)
    first = demo.pid
    LiveClient(demo.url).open()
    demo.restart(kill=True)
    LiveClient(demo.url).open()
    say(starts=demo.starts, same=demo.pid == first, gone=first is not None and not psutil.pid_exists(first))
    demo.signal(signal.SIGSTOP)
    say(by_itself=demo.terminate(), pid=demo.pid)
    with socket.create_server(("127.0.0.1", urlsplit(demo.url).port or 0)):
        try:
            demo.start()
        except ConfigError as error:
            say(error=str(error), pid=demo.pid)


def watched(folder: Path) -> None:
    """What the sampler says of a server that works, is frozen, killed, and started again."""
    demo = Demo(folder / "server.log")
    demo.start()
    sampler = Sampler(devtools_url(demo.url), pid=lambda: demo.pid)
    sampler.start()
    client = LiveClient(demo.url)
    client.open()

    def look(is_meant: Callable[[ServerSecond | None], bool]) -> ServerSecond | None:
        deadline = time.monotonic() + 10
        while True:
            gevent.sleep(LOOK_SECONDS)
            began = time.monotonic()
            second = sampler.second()
            took = time.monotonic() - began
            if took > 0.1:
                say(waited=took)
            if is_meant(second) or time.monotonic() > deadline:
                return second
            if demo.pid is not None and client.core.status == "connected":
                client.call("load/echo", 1)

    whole = look(lambda second: second is not None and None not in (second.handler_ms, second.cpu))
    say(missing=[name for name in ServerSecond.__struct_fields__ if getattr(whole, name) is None])
    frozen = Freezer(demo, Freeze(0.2, 0.6))
    frozen.start()
    late = look(lambda second: second is not None and (second.lag_ms or 0) > 70)
    process = psutil.Process(demo.pid)
    stopped = until(lambda: process.status() == psutil.STATUS_STOPPED)
    frozen.stop()
    say(late=late is not None and late.lag_ms, stopped=stopped, goes_on=process.status() != psutil.STATUS_STOPPED)
    client.close()
    demo.kill()
    say(gone=look(lambda second: second is None) is None, trouble=sampler.trouble)
    demo.start()
    again = look(lambda second: second is not None and second.connections == 0 and second.cpu is not None)
    say(again=again is not None and again.lag_ms is not None, trouble=sampler.trouble, busy=sampler.rows()[0].number)
    sampler.close()
    demo.terminate()


def attached(folder: Path) -> None:
    """A session with the devtools whose URL and token are in ``FOLDER/attach``, until the server ends it."""
    url, token = (folder / "attach").read_text().split()
    states: list[State] = []
    attachment = Attachment.open(url, token, want="metrics", on_state=states.append)
    say(full=[state.full for state in states])
    told = len(states)
    until(lambda: len(states) > told + 2)
    changes = states[told:]
    say(by_itself=not any(state.full for state in changes), calls=sum(attachment.counts().counters.values()) > 0)
    attachment.wait()
    try:
        attachment.counts()
    except AttachError as error:
        say(error=str(error))
    attachment.close()


def parent(folder: Path) -> None:
    """Starts a server and does not end it; ``FOLDER/frozen``: which does not run at the moment."""
    demo = Demo(folder / "server.log")
    demo.start()
    if (folder / "frozen").exists():
        demo.signal(signal.SIGSTOP)
    say(pid=demo.pid)
    gevent.sleep(60)


def ports(folder: Path) -> None:
    """Ports for servers: one that is taken is passed over."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        choices = iter([port, port, port - 1])
        other = free_port(lambda least, most: next(choices))
    say(below=port < low, other=other - port)
    try:
        with socket.create_server(("127.0.0.1", port)):
            free_port(lambda least, most: port)
    except ConfigError as error:
        say(error=str(error))


if __name__ == "__main__":
    action = {each.__name__: each for each in (life, watched, attached, parent, ports)}[sys.argv[1]]
    action(Path(sys.argv[2]))
