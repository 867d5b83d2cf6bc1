"""The options that the load tests add to Locust's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

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
    group.add_argument("--rate", type=_of_type(hints["rate"]), help="operations per second, of all users together")
    group.add_argument(
        "--arrivals", choices=("constant", "poisson"), help="evenly spaced, or at random as independent users would"
    )
    group.add_argument("--size", type=_of_type(hints["size"]), help="bytes of padding per message")
    group.add_argument("--seed", help="of everything random here")
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
    seen: set[str] = set()
    for name, knobs in scenarios.items():
        hints = get_type_hints(knobs, include_extras=True)
        for field in msgspec.structs.fields(knobs):
            if field.name not in seen:
                seen.add(field.name)
                _add_knob(group, name, field, hints[field.name])


def given_options(given: Any, scenarios: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """What the command line, or the form of the web interface, says of them; None where it says nothing."""
    names = {*_COMMON, *(field.name for knobs in scenarios for field in msgspec.structs.fields(knobs))}
    values = {name: getattr(given, name, None) for name in names}
    values |= {"users": given.num_users, "spawn_rate": given.spawn_rate, "seconds": given.run_time}
    return {name: None if value == "" else value for name, value in values.items()}


def _add_knob(group: Any, scenario: str, field: Any, hint: Any) -> None:
    about, kind = "", hint
    if get_origin(hint) is Annotated:
        kind = get_args(hint)[0]
        about = next((meta.description for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)), None) or ""
    flag = f"--{field.name.replace('_', '-')}"
    text = f"{scenario}: {about} (default: {field.default})".replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    group.add_argument(flag, type=_of_type(hint), metavar=field.name.upper(), help=text)


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
