"""The commands that change something on a server: ``chaos`` and ``kick``."""

from __future__ import annotations

import argparse
from typing import Any

from liverpc.inspector.protocol import Kick
from liverpc_devtools.cli import options
from liverpc_devtools.core.faults import ACTIONS, FIELDS, FaultError, fault_rate, fault_seconds, make_rule
from liverpc_devtools.headless.chaos import chaos_clear, chaos_dry, chaos_list, chaos_renew, chaos_set
from liverpc_devtools.headless.kick import kick

__all__ = ["add_to"]

_METAVARS = {
    **dict.fromkeys(("topic", "path", "event"), "GLOB"),
    **dict.fromkeys(("connection", "user"), "ID"),
    **dict.fromkeys(("seconds", "jitter"), "TIME"),
    **{"share": "SHARE", "copies": "N", "limit": "N", "code": "CODE"},
}


def add_to(commands: Any) -> None:
    """Add the commands."""
    chaos = options.command(commands, "chaos", None, "inject faults, list or remove them", url_required=True)
    verbs = chaos.add_subparsers(required=True, metavar="set|list|clear|renew")
    arm = verbs.add_parser(
        "set",
        help="put a fault in force, and remove it on leaving",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:<12}{each.sentence}" for name, each in ACTIONS.items()),
    )
    arm.add_argument("action", metavar="ACTION", choices=tuple(ACTIONS), help="what happens; see below")
    arm.add_argument("rate", metavar="RATE", nargs="?", type=options.checked(fault_rate), help=FIELDS["rate"].help)
    for name, each in FIELDS.items():
        if name != "rate":
            arm.add_argument(f"--{name}", metavar=_METAVARS.get(name, "TEXT"), help=each.help)
    arm.add_argument("--for", dest="ttl", default="60s", metavar="TIME", help="default 60s, at most 15m")
    arm.add_argument("--detach", action="store_true", help="leave it in force, for at most 5m")
    arm.add_argument("--dry-run", action="store_true", help="only tell what it would strike")
    arm.add_argument("--yes", action="store_true", help="even if it would strike most connections, or everything")
    arm.set_defaults(run=_chaos_set)
    verbs.add_parser("list", help="write the faults in force").set_defaults(run=_chaos_list)
    clear = verbs.add_parser("clear", help="remove a fault, or every fault")
    clear.add_argument(
        "rule", metavar="RULE", nargs="?", type=options.count, default=0, help="its number; default: all"
    )
    clear.set_defaults(run=_chaos_clear)
    renew = verbs.add_parser("renew", help="let a fault live longer")
    renew.add_argument("rule", metavar="RULE", type=options.count, help="its number")
    renew.add_argument("--for", dest="ttl", default="60s", metavar="TIME", help="from now on; default 60s, at most 15m")
    renew.set_defaults(run=_chaos_renew)

    kick = options.command(commands, "kick", _kick, "close a connection, or all of a user", url_required=True)
    whom = kick.add_mutually_exclusive_group(required=True)
    whom.add_argument("--connection", type=options.name, metavar="ID", help="as in snapshot, whole")
    whom.add_argument("--user", type=options.name, metavar="ID")
    kick.add_argument("--for-good", action="store_true", help="clients stop; default: they come back by themselves")
    kick.add_argument("--yes", action="store_true", required=True, help="yes, close them: nobody is asked")


def _chaos_set(given: argparse.Namespace) -> int:
    texts = {name: text for name in FIELDS if (text := getattr(given, name)) is not None}
    unread = [name for name in texts if name not in ACTIONS[given.action].fields]
    if unread:
        named = ", ".join("RATE" if name == "rate" else f"--{name}" for name in unread)
        raise FaultError(unread[0], f"{given.action} does not look at {named}")
    rule = make_rule(given.action, texts)
    ttl = fault_seconds(given.ttl, detached=given.detach)
    target = options.target(given)
    if given.dry_run:
        return options.run(chaos_dry(target, rule, ttl))
    return options.run(chaos_set(target, rule, ttl=ttl, detach=given.detach, sure=given.yes))


def _chaos_list(given: argparse.Namespace) -> int:
    return options.run(chaos_list(options.target(given)))


def _chaos_clear(given: argparse.Namespace) -> int:
    return options.run(chaos_clear(options.target(given), given.rule))


def _chaos_renew(given: argparse.Namespace) -> int:
    return options.run(chaos_renew(options.target(given), given.rule, fault_seconds(given.ttl)))


def _kick(given: argparse.Namespace) -> int:
    wish = Kick(id=0, connection=given.connection or "", user=given.user or "", for_good=given.for_good)
    return options.run(kick(options.target(given), wish))
