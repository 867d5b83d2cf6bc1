"""The options that the load tests add to Locust's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from loadtest._outlets import parse_address
from loadtest._profile import Options
from loadtest._words import parse_chaos, parse_freeze, seconds

__all__ = ["add_options", "given_options"]

_COMMON = ("rate", "arrivals", "size", "seed", "warmup", "chaos", "freeze")


def add_options(parser: argparse.ArgumentParser, scenarios: Mapping[str, type[msgspec.Struct]]) -> None:
    """Locust's hook ``init_command_line_parser``: ``scenarios`` are the types of their own options, by name.

    Nothing has a default here: a profile's or the scenario's counts unless the command line says something.
    """
    group = parser.add_argument_group("liverpc load tests")
    group.add_argument("--scenario", choices=[*scenarios], help="what to do; -u tells the number of connections")
    group.add_argument(
        "--serve", action="store_true", help="start the demo for the run, instead of --host; some scenarios need it"
    )
    hints = get_type_hints(Options, include_extras=True)
    group.add_argument(
        "--rate", type=_of_type(hints["rate"]), metavar="N", help="operations per second, of all users together"
    )
    group.add_argument(
        "--arrivals", choices=("constant", "poisson"), help="evenly spaced, or at random as independent users would"
    )
    group.add_argument("--size", type=_of_type(hints["size"]), metavar="BYTES", help="of padding in each message")
    group.add_argument(
        "--seed", metavar="TEXT", help="of everything random: the same again with the same text (default: 1)"
    )
    group.add_argument(
        "--warmup", type=_checked(seconds), metavar="TIME", help="at the beginning, not in the latencies (default: 0s)"
    )
    group.add_argument(
        "--chaos",
        type=_checked(parse_chaos),
        metavar="drop=RATE[,seed=S][,topic=GLOB]",
        help="let the server drop publishes for the time of the run, and check the losses against the seed",
    )
    group.add_argument(
        "--freeze",
        type=_checked(parse_freeze),
        metavar="SECONDS[/EVERY]",
        help="stop the server's process so long, once in so many seconds (1); needs --serve",
    )
    group.add_argument(
        "--attach-token-file",
        metavar="FILE",
        help="holds the devtools token; default: LIVERPC_ATTACH_TOKEN, or a local server's own",
    )
    group.add_argument("--run-dir", metavar="FOLDER", help="write a folder about this run in there")
    group.add_argument(
        "--prometheus",
        type=_checked(parse_address),
        metavar="[HOST:]PORT",
        help="serve /metrics of the run while it lasts (default host: 127.0.0.1)",
    )
    group.add_argument(
        "--otlp", action="store_true", help="export the same through OpenTelemetry, as the variables OTEL_... say"
    )
    group.add_argument(
        "--record",
        action="store_true",
        help="let the devtools record the server into the folder of the run, which costs the server some time",
    )
    group.add_argument("--pin", action="store_true", help="server and generator on cores of their own; needs --serve")
    having: dict[str, list[tuple[str, Any, Any]]] = {}
    for name, knobs in scenarios.items():
        hints = get_type_hints(knobs, include_extras=True)
        for field in msgspec.structs.fields(knobs):
            having.setdefault(field.name, []).append((name, field.default, hints[field.name]))
    for knob, owners in having.items():
        _add_knob(group, knob, owners)


def given_options(given: Any, scenarios: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """What the command line, or the form of the web interface, says of them; None where it says nothing."""
    names = {*_COMMON, *(field.name for knobs in scenarios for field in msgspec.structs.fields(knobs))}
    values = {name: getattr(given, name, None) for name in names}
    values |= {"users": given.num_users, "spawn_rate": given.spawn_rate, "seconds": given.run_time}
    return {name: None if value == "" else value for name, value in values.items()}


def _add_knob(group: Any, name: str, owners: Sequence[tuple[str, Any, Any]]) -> None:
    """The option of one or several scenarios; ``owners`` are their names, its defaults and its types."""
    hint = owners[0][2]
    about, kind = "", hint
    if get_origin(hint) is Annotated:
        kind = get_args(hint)[0]
        about = next((meta.description for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)), None) or ""
    defaults = {default for _, default, _ in owners}
    told = f"{defaults.pop()}" if len(defaults) == 1 else ", ".join(f"{each} {default}" for each, default, _ in owners)
    text = f"{', '.join(each for each, _, _ in owners)}: {about}" + (f" (default: {told})" if told else "")
    flag, text = f"--{name.replace('_', '-')}", text.replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    choices = f"{{{','.join(get_args(kind))}}}" if get_origin(kind) is Literal else None
    group.add_argument(flag, type=_of_type(hint), metavar=choices or ("TEXT" if kind is str else "N"), help=text)


def _of_type(hint: Any) -> Callable[[str], str]:
    return _checked(partial(msgspec.convert, type=hint, strict=False))


def _checked(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """The text itself, for workers get it as it was written; what is wrong with it is said at once."""

    def check(text: str) -> str:
        try:
            parse(text)
        except (ValueError, msgspec.ValidationError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check
