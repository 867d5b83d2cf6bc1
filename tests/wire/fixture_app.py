"""The application of fixture-contract.md: what the recorded transcripts talk to.

Any svelte-realtime client can be pointed at it: ``python -m tests.wire.fixture_app --port 8765``. What the
contract asks for and liverpc has no feature for yet is absent: what ``waiting.py`` names, and locks.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

from liverpc import (
    Clock,
    ConnectRequest,
    Context,
    HttpRequest,
    HttpResponse,
    Limits,
    LiveError,
    LiveServer,
    Reject,
    guard,
    live,
)
from tests.wire import fixture_demo, fixture_push
from tests.wire.fixture_world import REPLAYED, Caller, World

demo = SimpleNamespace(**vars(fixture_demo) | vars(fixture_push))


# -- module admin: for one role


def admins_only(ctx: Context[Caller]) -> None:
    if ctx.user.role != "admin":
        raise LiveError("FORBIDDEN", "Admins only")


@live
def secret(ctx: Context[Caller]) -> int:
    return 42


admin = SimpleNamespace(_guard=guard(admins_only), secret=secret)


# -- module members: its guard fails by accident, and the text of that stays here


def known_callers_only(ctx: Context[Caller]) -> None:
    if ctx.user.id is None:
        raise ValueError("internal guard text")


@live
def area(ctx: Context[Caller]) -> str:
    return f"hello {ctx.user.id}"


members = SimpleNamespace(_guard=guard(known_callers_only), area=area)


# -- the server


def caller(request: ConnectRequest, world: World) -> Caller:
    """Who connects, by the query parameter ``token``."""
    match request.query.get("token"):
        case None:
            return Caller(world)
        case "alice" | "bob" as name:
            return Caller(world, name, name.title(), "user")
        case "admin":
            return Caller(world, "admin", "Admin", "admin")
        case "expired":
            raise Reject("UNAUTHENTICATED", "token expired")
        case _:
            raise Reject("UNAUTHENTICATED", "unknown token", before_upgrade=True)


def may_listen(ctx: Context[Caller], topic: str) -> bool | str:
    """Every topic is open but two kinds, with and without a stream."""
    if topic.startswith("locked:"):
        return "NO_ENTRY"
    return not topic.startswith("forbidden:")


def resend(ctx: Context[Caller], session_id: str, seqs: dict[str, int]) -> None:
    """Send a client that came back what it missed of ``demo:replayed``."""
    if (seen := seqs.get(REPLAYED)) is None:
        return
    missed = ctx.user.world.server.missed(REPLAYED, seen)
    for seq, event, data in missed or ():
        ctx.connection.send_event(f"__replay:{REPLAYED}", "msg", {"seq": seq, "event": event, "data": data})
    ctx.connection.send_event(f"__replay:{REPLAYED}", "end", {"truncated": True} if missed is None else None)


def authenticate(request: HttpRequest) -> bool | HttpResponse:
    """Sets a cookie, unless the query wants it to go wrong.

    Without ``Path=/`` browsers would keep it for ``/__ws`` and not send it with the handshake on ``/ws``.
    """
    match request.query:
        case "deny=1":
            return False
        case "broken=1":
            raise RuntimeError("the session store is away")
        case _:
            return HttpResponse(204, cookies=("sid=fixture; Path=/",))


class _Clock(Clock):
    """Events are numbered from 1, as in the recordings."""

    def new_numbers(self) -> int:
        return 0


def make_server(*, fast_path: bool | None = None, with_on_topic: bool = True) -> LiveServer:
    """A new server with a world of its own; without ``on_topic`` it is not that of the contract."""
    world = World()
    server = LiveServer(
        {"demo": demo, "admin": admin, "members": members},
        on_connect=lambda request: caller(request, world),
        on_topic=may_listen if with_on_topic else None,
        on_resume=resend,
        authenticate=authenticate,
        clock=_Clock(),
        limits=Limits(presence_grace_seconds=0.5),  # the contract's 9 seconds are a long time for a test
        naming="camel",
        name="fixture",
        fast_path=fast_path,
    )
    world.server = server
    return server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    make_server().run(options.host, options.port)


if __name__ == "__main__":
    main()
