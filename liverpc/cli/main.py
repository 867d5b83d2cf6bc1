"""``liverpc``: the demo, a look at a server, generated clients, and uploads.

Usage errors end with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import liverpc
from liverpc.cli.routes import check_topics, load_server, show_routes
from liverpc.cli.schema import schema
from liverpc.cli.upload import HEADERS_VARIABLE, upload
from liverpc.demo.app import demo
from liverpc.errors import LiveRpcError

__all__ = ["main"]

DEMO_HELP = "a chat, a todo board, a ticker and simulated visitors, with the devtools enabled"
UPLOAD_HELP = "a file, or what comes in, to a server's upload function; its result is printed as JSON"
ROUTES_HELP = "the paths of a server, and the topics of its streams"
SCHEMA_HELP = "a module with a typed client of each contract of a server, and nothing else of the server"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="liverpc", description="Realtime RPC and streams over one WebSocket.")
    parser.add_argument("--version", action="version", version=f"liverpc {liverpc.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("demo", help=DEMO_HELP, description=f"Run the demo: {DEMO_HELP}.")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    run.add_argument("--port", type=_port, default=8000, help="port to listen on, 0 for any (default: %(default)s)")
    run.add_argument("--users", type=_count, default=6, metavar="N", help="simulated visitors (default: %(default)s)")
    run.add_argument("--seed", type=int, default=7, help="what they do depends on it (default: %(default)s)")
    run.add_argument("--rate", type=_count, default=4, metavar="N", help="prices a second (default: %(default)s)")
    run.add_argument(
        "--tui",
        action="store_true",
        help="open the devtools attached to it; without a terminal, print one snapshot instead and exit",
    )
    run.add_argument("--until-eof", action="store_true", help=argparse.SUPPRESS)  # for the process that started it
    routes = commands.add_parser("routes", help=ROUTES_HELP, description=f"Show {ROUTES_HELP}.")
    routes.add_argument("server", metavar="MODULE:SERVER", help="where the LiveServer is, such as app:server")
    routes.add_argument(
        "--check-topics",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="instead, show topics in its modules, and in the Python files of FOLDER, that fit no define_topics() "
        "and no stream; then the exit code is 1",
    )
    generate = commands.add_parser("schema", help=SCHEMA_HELP, description=f"Write {SCHEMA_HELP}.")
    generate.add_argument("server", metavar="MODULE:SERVER", help="where the LiveServer is, such as app:server")
    language = generate.add_mutually_exclusive_group(required=True)
    language.add_argument("--python", action="store_const", dest="language", const="python", help="for liverpc.client")
    language.add_argument(
        "--typescript", action="store_const", dest="language", const="typescript", help="for browsers and Node"
    )
    generate.add_argument("-o", "--output", metavar="FILE", help="where to (default: standard output)")
    send = commands.add_parser(
        "upload",
        help=f"send {UPLOAD_HELP}",
        description=f"Send {UPLOAD_HELP}.",
        epilog=f"Headers can also come from {HEADERS_VARIABLE}. Exit codes: 0 done, 1 the upload failed, 2 usage, "
        "130 cancelled with Ctrl-C.",
    )
    send.add_argument("url", metavar="URL", help="of the server, such as ws://127.0.0.1:8000/ws")
    send.add_argument("path", metavar="PATH", help="of the function, such as files/store")
    send.add_argument("file", metavar="FILE", help="what to send; - for standard input")
    send.add_argument(
        "args", metavar="ARG", nargs="*", help="further arguments: JSON, or else text; '\"123\"' is a string"
    )
    send.add_argument(
        "--header-file",
        metavar="FILE",
        help="headers of the handshake, such as Authorization: one 'Name: value' a line",
    )
    send.add_argument("--quiet", action="store_true", help="show no progress, which otherwise a terminal does")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "routes":
            return _routes(options)
        if options.command == "schema":
            return schema(options)
        if options.command == "upload":
            return upload(options)
        if options.tui:
            return _demo_with_devtools(options)
        asyncio.run(_demo(options))
    except LiveRpcError as error:
        print(f"liverpc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _routes(options: argparse.Namespace) -> int:
    server = load_server(options.server)
    if options.check_topics is not None:
        return check_topics(server, options.check_topics)
    show_routes(server)
    return 0


async def _demo(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def parent_ended() -> None:
        loop.remove_reader(sys.stdin)  # a closed pipe stays readable
        stop.set()

    if options.until_eof:
        # However our parent ends, even killed: then its end of the pipe is closed.
        loop.add_reader(sys.stdin, parent_ended)
    world = {"users": options.users, "seed": options.seed, "rate": options.rate}
    async with demo(host=options.host, port=options.port, **world) as listening:
        print(f"server    {listening.url}")
        print(f"token     in {listening.token_file}")
        print(f"devtools  liverpc-tui attach {listening.attach_url} --chaos", flush=True)
        await stop.wait()


def _demo_with_devtools(options: argparse.Namespace) -> int:
    """The demo in a process of its own, the devtools in the foreground of this terminal."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    command = [sys.executable, "-m", "liverpc.cli", "demo", "--host", options.host, "--port", str(options.port)]
    command += ["--users", str(options.users), "--seed", str(options.seed), "--until-eof"]
    with tempfile.NamedTemporaryFile("w+", prefix="liverpc-demo-", suffix=".log", delete=False) as log:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter and options, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,  # the terminal belongs to the devtools
            text=True,
            start_new_session=True,
        )
        with server:
            assert server.stdin is not None
            assert server.stdout is not None
            code = 2
            url = next((line.split()[3] for line in server.stdout if line.startswith("devtools")), "")
            if url:
                tool = ["attach", url, "--chaos"] if interactive else ["snapshot", url, "--wait-live"]
                devtools = [sys.executable, "-m", "liverpc_devtools.cli", *tool]
                code = subprocess.run(devtools, check=False).returncode  # noqa: S603 - as above
            server.stdin.close()
        log.seek(0)
        said = log.read()
    if not url or not said:
        os.unlink(log.name)
    if not url:
        sys.stderr.write(said)
        return server.returncode or code
    if said:
        print(f"what the demo logged is in {log.name}", file=sys.stderr)
    return code


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)
