"""What is measured: the servers, the loads on them, and the rows that compare two of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.machine import need_package, node_modules

__all__ = ["CONTESTS", "ROWS", "Contest", "Contestant", "Row", "Servant"]

PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Servant:
    """A server to measure: a module of ``peers`` with its arguments.

    Attributes:
        needs: Packages and modules without which it cannot run.
        path: Of the WebSocket.
        opening: What the load client does on each connection before it asks.
    """

    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    path: str = "/"
    opening: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """How to start it.

        Raises:
            NotRun: Something it needs is missing.
        """
        for name in self.needs:
            need_package(name)
        if self.module.endswith(".mjs"):
            return ["node", str(PEERS / self.module), node_modules()]
        return [sys.executable, "-m", f"tests.benchmarks.peers.{self.module}", *self.arguments]


@dataclass(frozen=True)
class Contestant:
    """A server and the load on it.

    Attributes:
        mode: Of the load client (``load.c``); or ``memory``: the client's ``open`` against a fresh server each
            time; or ``inside``: the process measures itself.
        options: For the client, or the line sent to a process that measures itself.
        beside: A module to run with its arguments while it is measured, on the load client's core, such as the
            devtools. ``{port}`` and the like stand for what the server said about itself; what it prints first says
            that it is at work.
    """

    servant: Servant
    mode: str
    options: tuple[str, ...]
    beside: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Contest:
    """Contestants that are measured in turn, round by round."""

    name: str
    contestants: dict[str, Contestant]
    files: int = 0  #: open files a server and the client need
    stretch: float = 1.0  #: loads are so many times as long: what they measure takes time to come about


@dataclass(frozen=True)
class Row:
    """A contestant beside another one of the same contest.

    Attributes:
        metric: Of a sample; ``rate`` is better when higher, everything else when lower.
        must: What the ratio has to reach; None: the row is for information.
        target: What it should reach.
        scale: The peer's figure is multiplied by it first.
    """

    name: str
    contest: str
    subject: str
    against: str
    metric: str = "rate"
    must: float | None = None
    target: float | None = None
    scale: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        return self.metric == "rate"


# -- the servers ----------------------------------------------------------------------------------------------

LIVERPC = Servant("liverpc_server", ("asyncio",), path="/ws", opening=("hear",))
LIVERPC_UVLOOP = Servant("liverpc_server", ("uvloop",), ("uvloop",), "/ws", ("hear",))
DOOR = Servant("liverpc_asgi", ("door",), ("uvloop", "fastapi", "liverpc.transports.uvicorn"), "/ws", ("hear",))
PLAIN = Servant("liverpc_asgi", ("plain",), ("uvloop", "liverpc.transports.asgi"), "/ws", ("hear",))
RAW_ASGI = Servant("asgi_echo", needs=("uvloop",))
WEBSOCKETS = Servant("websockets_server", ("echo",))
SOCKETIO = Servant(
    "socketio_server",
    needs=("socketio", "aiohttp"),
    path="/socket.io/?EIO=4&transport=websocket",
    opening=("hear", "say=40", "hear"),
)
NODE = Servant("ws.mjs")

# -- calls ----------------------------------------------------------------------------------------------------

CALL = '{"rpc":"bench/echo","id":"k####","args":["hello"]}'
CALL_ASYNC = '{"rpc":"bench/echo_async","id":"k####","args":["hello"]}'


def _rpc(connections: int, depth: int) -> Contest:
    load = (f"connections={connections}", f"depth={depth}", "expect=hello")

    def calling(servant: Servant, request: str) -> Contestant:
        return Contestant(servant, "rpc", (*load, f"request={request}"))

    return Contest(
        f"rpc-{connections}x{depth}",
        {
            "def": calling(LIVERPC, CALL),
            "async": calling(LIVERPC, CALL_ASYNC),
            "websockets": calling(WEBSOCKETS, CALL),
            "node-ws": calling(NODE, CALL),
            "socketio": calling(SOCKETIO, '42####["echo","hello"]'),
            "def-uvloop": calling(LIVERPC_UVLOOP, CALL),
            "async-uvloop": calling(LIVERPC_UVLOOP, CALL_ASYNC),
            "def-uvicorn": calling(DOOR, CALL),
            "async-uvicorn": calling(DOOR, CALL_ASYNC),
            "def-asgi": calling(PLAIN, CALL),
            "raw-asgi": calling(RAW_ASGI, CALL),
        },
    )


#: Must and target by load, subject and peer.
_RPC_GOALS = {
    ("rpc-16x16", "def", "websockets"): (4.5, 6.0),
    ("rpc-16x16", "async", "websockets"): (2.3, 3.0),
    ("rpc-16x1", "def", "websockets"): (1.6, 2.0),
    ("rpc-16x1", "async", "websockets"): (1.2, 1.45),
    ("rpc-16x16", "def", "node-ws"): (2.5, 3.5),
    ("rpc-16x16", "async", "socketio"): (10.0, 14.0),
    ("rpc-16x16", "def-uvicorn", "def-uvloop"): (0.9, 1.0),
    ("rpc-16x16", "async-uvicorn", "async-uvloop"): (0.9, 1.0),
    ("rpc-16x1", "def-uvicorn", "def-uvloop"): (0.9, 1.0),
    ("rpc-16x1", "async-uvicorn", "async-uvloop"): (0.9, 1.0),
    ("rpc-16x16", "def-asgi", "raw-asgi"): (0.8, 0.9),
}


def _rpc_rows(contest: Contest) -> Iterator[Row]:
    pairs = [(subject, peer) for peer in ("websockets", "node-ws", "socketio") for subject in ("def", "async")]
    if contest.name.startswith("rpc-16x"):
        pairs += [("def-uvicorn", "def-uvloop"), ("async-uvicorn", "async-uvloop"), ("def-asgi", "raw-asgi")]
    for subject, peer in pairs:
        must, target = _RPC_GOALS.get((contest.name, subject, peer), (None, None))
        yield Row(f"{contest.name}-{subject}/{peer}", contest.name, subject, peer, must=must, target=target)


# -- events ---------------------------------------------------------------------------------------------------

SUBSCRIBE = ('say={"rpc":"bench/events","id":"s","args":[],"stream":true}', "hear")
EVENT_BYTES = 200
#: Frames of this size are events, smaller ones answers.
LEAST_BYTES = 150


def _burst(turns: int, per_turn: int, size: int = EVENT_BYTES) -> dict[str, str]:
    """By dialect the request for ``turns`` times ``per_turn`` events."""
    numbers = f"{turns},{per_turn},{size}"
    return {
        "liverpc": f'request={{"rpc":"bench/burst","id":"b","args":[{numbers}]}}',
        "websockets": f"request=[{numbers}]",
        "socketio": f'request=42["burst",{numbers}]',
    }


BROADCAST = Servant("websockets_server", ("broadcast",))


def _fan(per_turn: int) -> Contest:
    def publishing(servant: Servant, dialect: str, events: int, *subscribe: str) -> Contestant:
        request = _burst(events // per_turn, per_turn)[dialect]
        load = ("connections=1000", f"events={events}", f"least={LEAST_BYTES}", request)
        return Contestant(servant, "fan", (*subscribe, *load))

    return Contest(
        f"fan-{per_turn}",
        {
            "liverpc": publishing(LIVERPC, "liverpc", 40, *SUBSCRIBE),
            "broadcast": publishing(BROADCAST, "websockets", 40),
            # A burst is not cut short, and this one's take long.
            "socketio": publishing(SOCKETIO, "socketio", 10),
        },
        files=1200,
    )


# -- connections ----------------------------------------------------------------------------------------------


def _connections(name: str, mode: str, options: tuple[str, ...]) -> Contest:
    servants = {"liverpc": LIVERPC, "websockets": WEBSOCKETS, "node-ws": NODE, "socketio": SOCKETIO}
    return Contest(name, {key: Contestant(servant, mode, options) for key, servant in servants.items()}, files=3200)


def _stalled() -> Contest:
    # A hundred subscribers, the last five of whom read in one case and stall in the other; the others are measured.
    # At 2 MB/s a stalled peer's kernel buffers are full after 1.5 s and its outbox half a second later.
    load = ("connections=100", "idle=5", "every=10", "warmup=1", "least=1000", _burst(1, 1, 20_000)["liverpc"])
    return Contest(
        "stalled",
        {
            "stalled": Contestant(LIVERPC, "stalled", (*SUBSCRIBE, *load, "stall=1")),
            "reading": Contestant(LIVERPC, "stalled", (*SUBSCRIBE, *load)),
        },
        stretch=5,
    )


def _snapshot() -> Contest:
    load = ("connections=16", "depth=1", "expect=number 999")
    leave = 'also={"type":"unsubscribe","topic":"cards"}'
    request = 'request={"rpc":"bench/cards","id":"k####","args":[],"stream":true}'
    return Contest(
        "snapshot",
        {
            "liverpc": Contestant(LIVERPC, "rpc", (*load, request, leave)),
            "websockets": Contestant(Servant("websockets_server", ("rows",)), "rpc", (*load, request)),
            "socketio": Contestant(SOCKETIO, "rpc", (*load, 'request=42####["rows"]')),
        },
    )


# -- uploads --------------------------------------------------------------------------------------------------

UPLOAD = '{"rpc":"bench/sink"}'
#: Bytes of a message: a browser at first, our own client, and a browser that knows what the server takes.
UPLOAD_SIZES = {"12k": 12_288, "64k": 65_535, "1m": 1 << 20}
UPLOAD_BYTES = 16 << 20


def _upload(connections: int, name: str) -> Contest:
    size = UPLOAD_SIZES[name]
    messages = UPLOAD_BYTES // size
    heads = 10 * messages + 2 + len(UPLOAD)
    load = (f"connections={connections}", f"upload={UPLOAD}", f"size={size}", f"messages={messages}")
    return Contest(
        f"upload-{connections}x{name}",
        {
            "liverpc": Contestant(LIVERPC, "upload", (*load, f'expect="data":{messages * size - heads}')),
            "websockets": Contestant(SINK, "upload", (*load, f"expect={messages * size}", "also=done")),
        },
    )


SINK = Servant("websockets_server", ("sink",))
_UPLOADS = [_upload(connections, name) for name in UPLOAD_SIZES for connections in (1, 4)]


def _bystander() -> Contest:
    load = ("connections=5", "idle=4", "every=5", f"request={CALL}")
    upload = (f"upload={UPLOAD}", f"size={UPLOAD_SIZES['64k']}", f"messages={UPLOAD_BYTES // UPLOAD_SIZES['64k']}")
    return Contest(
        "bystander",
        {
            "uploads": Contestant(LIVERPC, "stalled", (*load, *upload)),
            "alone": Contestant(LIVERPC, "stalled", load),
        },
        stretch=3,
    )


# -- abuse ----------------------------------------------------------------------------------------------------

ABUSED = Servant("abused_server", path="/ws?token=somebody.acme", opening=("hear",))
#: Floods of ten messages or a batch, and newcomers, so many a second.
ABUSES = "100"


def _abuse() -> Contest:
    load = ("connections=1", "every=5", f"request={CALL_ASYNC}")
    return Contest(
        "abuse",
        {
            "abused": Contestant(ABUSED, "stalled", load, ("tests.e2e.abuse_programs", "abuse", "{port}", ABUSES)),
            "alone": Contestant(ABUSED, "stalled", load),
        },
        stretch=3,
    )


# -- inside one process ---------------------------------------------------------------------------------------

_DISPATCH = Contest(
    "dispatch",
    {
        "liverpc": Contestant(Servant("dispatch", ("liverpc",)), "inside", ()),
        "bare": Contestant(Servant("dispatch", ("bare",)), "inside", ()),
    },
)
_PIPELINE = Contest(
    "pipeline",
    {
        kind: Contestant(Servant("dispatch", (kind,)), "inside", ())
        for kind in ("def", "direct-def", "pieces-def", "async", "direct-async", "pieces-async")
    },
)
#: The JS original takes 1.5 us for a call on a machine on which the bare loop takes 1.0 us.
JS_PER_BARE = 1.5

_MERGES = [
    Contest(
        f"merge-{strategy}",
        {str(rows): Contestant(Servant("merging"), "inside", (strategy, str(rows))) for rows in (10, 1_000, 100_000)},
    )
    for strategy in ("crud", "latest", "presence", "cursor")
]

# -- the devtools ---------------------------------------------------------------------------------------------

TAIL = ("liverpc_devtools.cli", "tail", "{attach}")
FOUR = ("tests.benchmarks.peers.observers", "4", "{attach}")
INSPECTED = Servant("liverpc_server", ("asyncio", "inspect"), path="/ws", opening=("hear",))


def _observed(name: str, mode: str, options: tuple[str, ...], program: tuple[str, ...] = TAIL) -> Contest:
    return Contest(
        f"observer-{name}",
        {
            "attached": Contestant(INSPECTED, mode, options, program),
            "alone": Contestant(INSPECTED, mode, options),
        },
        # What an observer gets in full is a budget per second, which it finds unspent when it attaches.
        stretch=3,
    )


_OBSERVED_CALLS = ("connections=16", "depth=64", "expect=hello", f"request={CALL}")
_OBSERVED_EVENTS = (
    *SUBSCRIBE,
    "connections=100",
    "events=200",
    f"least={LEAST_BYTES}",
    _burst(200, 1)["liverpc"],
)
_OBSERVERS = [
    _observed("echo", "rpc", _OBSERVED_CALLS),
    _observed("fan", "fan", _OBSERVED_EVENTS),
    # As the TUI does for the topic it has open: it is captured with a budget of its own.
    _observed("fan-open", "fan", _OBSERVED_EVENTS, (*TAIL, "--topic", "bench")),
    _observed("echo-4", "rpc", _OBSERVED_CALLS, FOUR),
    _observed("fan-4", "fan", _OBSERVED_EVENTS, FOUR),
]

# -- all of them ----------------------------------------------------------------------------------------------

_RPC = [_rpc(connections, depth) for depth in (1, 16) for connections in (1, 16, 128)]

#: By name, in the order in which they are run.
CONTESTS: dict[str, Contest] = {
    contest.name: contest
    for contest in (
        *_RPC,
        _fan(1),
        _fan(10),
        _connections("accept", "open", ("connections=2000",)),
        _connections("memory", "memory", ()),
        _snapshot(),
        _stalled(),
        *_UPLOADS,
        _bystander(),
        _abuse(),
        _DISPATCH,
        _PIPELINE,
        *_MERGES,
        *_OBSERVERS,
    )
}

ROWS: list[Row] = [
    *(row for contest in _RPC for row in _rpc_rows(contest)),
    Row("fan-1/broadcast", "fan-1", "liverpc", "broadcast", must=1.2, target=1.4),
    Row("fan-1/socketio", "fan-1", "liverpc", "socketio", must=6, target=8),
    Row("fan-10/broadcast", "fan-10", "liverpc", "broadcast", must=5, target=8),
    Row("fan-10/socketio", "fan-10", "liverpc", "socketio"),
    Row("accept/websockets", "accept", "liverpc", "websockets", must=1.0, target=1.3),
    Row("accept/node-ws", "accept", "liverpc", "node-ws"),
    Row("accept/socketio", "accept", "liverpc", "socketio"),
    Row("memory/websockets", "memory", "liverpc", "websockets", "kb", must=1.0, target=0.6),
    Row("memory/node-ws", "memory", "liverpc", "node-ws", "kb"),
    Row("memory/socketio", "memory", "liverpc", "socketio", "kb"),
    Row("snapshot/websockets", "snapshot", "liverpc", "websockets"),
    Row("snapshot/socketio", "snapshot", "liverpc", "socketio"),
    Row("stalled/reading", "stalled", "stalled", "reading", "p99_us", must=1.2, target=1.05),
    *(
        Row(f"{contest.name}/websockets", contest.name, "liverpc", "websockets", must=0.8, target=1.0)
        for contest in _UPLOADS
    ),
    Row("bystander/alone", "bystander", "uploads", "alone", "p99_us"),
    Row("abuse/alone", "abuse", "abused", "alone", "p99_us", must=1.2, target=1.2),
    Row("dispatch/js", "dispatch", "liverpc", "bare", "ns", must=1.5, target=1.0, scale=JS_PER_BARE),
    *(
        Row(f"pipeline-{kind}/{peer}", "pipeline", kind, f"{peer}-{kind}", "ns", must=must, target=must)
        for peer, must in (("direct", 1.15), ("pieces", None))
        for kind in ("def", "async")
    ),
    *(
        Row(f"{contest.name}-{rows}/10", contest.name, rows, "10", "ns", must=must, target=must)
        for contest in _MERGES
        for rows, must in (("1000", None), ("100000", 2.0))
    ),
    *(Row(f"{contest.name}/alone", contest.name, "attached", "alone") for contest in _OBSERVERS),
]
