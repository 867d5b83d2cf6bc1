"""The application of fixture-contract.md: what the recorded transcripts talk to.

Any svelte-realtime client can be pointed at it: ``python -m tests.wire.fixture_app --port 8765``. What the
contract asks for and liverpc has no feature for yet is absent; ``waiting.py`` says what that is.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace

from liverpc import ConnectRequest, Context, LiveError, LiveServer, Reject, guard, live
from tests.wire import fixture_demo
from tests.wire.fixture_world import Caller, World

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


def make_server(*, fast_path: bool | None = None) -> LiveServer:
    """A new server with a world of its own."""
    world = World()
    server = LiveServer(
        {"demo": fixture_demo, "admin": admin, "members": members},
        on_connect=lambda request: caller(request, world),
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
