"""What a run shall be: from the scenario's defaults, a profile in TOML, and the command line, which wins."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from liverpc.errors import ConfigError
from loadtest._words import Chaos, Freeze, parse_chaos, parse_freeze, seconds

__all__ = ["FOLDER", "HealthLimits", "Meta", "OptionError", "Options", "Plan", "Profile", "make_plan", "read_profile"]

_READY_SECONDS = 20.0
FOLDER = Path(__file__).with_name("profiles")

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class OptionError(ConfigError):
    """What was asked for makes no sense."""


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[meta]``."""

    repeat: int = 1  #: runs of each scenario, by ``python -m loadtest run``
    warmup: str = "0s"
    measure: str = "30s"  #: after the warm-up
    abort_after: str = ""  #: of a limit of the headline series broken in each second; empty: never
    processes: int = 1
    jobs: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1  #: scenarios at the same time, where nothing is measured
    pin: bool = False  #: server and generator on cores of their own


class HealthLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[generator]``: above, a run is INVALID."""

    cpu_max: _Positive = 0.75  #: share of a core, of each process
    schedule_lag_p99_ms: _Positive = 5.0
    loop_lag_p99_ms: _Positive = 10.0
    gate: bool | None = None  #: False: only told; None: told in runs below 30 s


class Profile(msgspec.Struct, frozen=True):
    """A file of profiles/, or one's own."""

    name: str = ""
    meta: Meta = Meta()
    generator: HealthLimits = HealthLimits()
    scenarios: dict[str, dict[str, Any]] = {}  #: the sections of scenarios, in the file's order

    def check(self, known: Collection[str]) -> None:
        """Refuse a section that is no scenario: what stands in it, limits above all, would mean nothing.

        Raises:
            OptionError: There is one; the text names it, and the scenarios there are.
        """
        for section in self.scenarios:
            if section not in known:
                raise OptionError(
                    f"the profile {self.name} has a section [{section}], which is no scenario: "
                    f"there are {', '.join(sorted(known))}, besides [meta] and [generator]"
                )


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every scenario has."""

    users: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50
    spawn_rate: Annotated[float, msgspec.Meta(ge=0.001, le=1e6)] = 100.0  # Locust warns above
    rate: Annotated[float, msgspec.Meta(gt=0, lt=1e6)] = 50.0  #: operations per second, of all users together
    arrivals: Literal["constant", "poisson"] = "constant"
    size: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0  #: bytes of padding in each message
    seed: str = "1"
    warmup: float = 0.0  #: seconds that are not in the latencies
    seconds: float = 0.0  #: of the whole run; 0: until it is ended
    chaos: Chaos | None = None
    freeze: Freeze | None = None
    abort_after: float = 0.0  #: seconds; 0: never

    @property
    def ready_seconds(self) -> float:
        """How long it may take until all users are ready."""
        return 1.2 * self.users / self.spawn_rate + _READY_SECONDS

    @property
    def random_arrivals(self) -> str | None:
        """The seed of ``due_times``: None for a constant rate."""
        return self.seed if self.arrivals == "poisson" else None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one run shall be; the same in all its processes."""

    id: str  #: of this run: what it creates on the server bears it
    scenario: str
    url: str
    nodes: list[str] = []  #: its processes with users; known when it starts
    options: Options
    knobs: dict[str, Any]  #: of the scenario
    profile: str = ""
    limits: dict[str, float] = {}
    health: HealthLimits = HealthLimits()

    @property
    def processes(self) -> int:
        """How many have users."""
        return len(self.nodes)


def read_profile(name: str) -> Profile:
    """A profile by name, or by the path of a ``.toml`` file.

    Raises:
        OptionError: There is none, or it makes no sense; the text says where.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
        raise OptionError(f"there is no profile {path}: choose one of {known}, or name a .toml file") from None
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"cannot read the profile {path}: {error}") from None
    try:
        meta = msgspec.convert(table.pop("meta", {}), Meta)
        generator = msgspec.convert(table.pop("generator", {}), HealthLimits)
        for text in (meta.warmup, meta.measure, meta.abort_after or "0s"):
            seconds(text)
        return Profile(path.stem, meta, generator, msgspec.convert(table, dict[str, dict[str, Any]]))
    except (msgspec.ValidationError, ValueError) as error:
        raise OptionError(f"the profile {path} is wrong: {error}") from None


def make_plan(
    *,
    scenario: str,
    url: str,
    defaults: Mapping[str, Any],
    knobs: type[msgspec.Struct],
    profile: Profile,
    given: Mapping[str, Any],
) -> Plan:
    """Put together what the run shall be.

    Args:
        scenario: Its name.
        url: Of the server.
        defaults: The scenario's own.
        knobs: The type of the scenario's options.
        profile: Its section of this scenario is used.
        given: What the command line says, None for what it does not say; texts and numbers.

    Raises:
        OptionError: It makes no sense; the text says what and where.
    """
    section = dict(profile.scenarios.get(scenario, {}))
    limits = section.pop("limits", {})
    meta = profile.meta
    values: dict[str, Any] = {"warmup": meta.warmup, "abort_after": meta.abort_after or "0s"}
    if profile.name:
        values["seconds"] = seconds(meta.warmup) + seconds(meta.measure)
    values |= {**defaults, **section, **{name: value for name, value in given.items() if value is not None}}
    own = {field.name for field in msgspec.structs.fields(knobs)}
    common = {field.name for field in msgspec.structs.fields(Options)}
    surplus = sorted(set(section) - own - common)
    if surplus:
        raise OptionError(
            f"the profile {profile.name} says [{scenario}] {surplus[0]}, which the scenario does not have: "
            f"it has {', '.join(sorted(own | common))}, and limits"
        )
    try:
        for name in ("warmup", "seconds", "abort_after"):
            values[name] = seconds(values.get(name, 0))
        for name, parse in (("chaos", parse_chaos), ("freeze", parse_freeze)):
            if values.get(name):
                values[name] = parse(str(values[name]))
        options = msgspec.convert({name: values[name] for name in common & set(values)}, Options, strict=False)
        if 0 < options.seconds <= options.warmup:
            raise ValueError(f"a warm-up of {options.warmup:g} s leaves nothing of {options.seconds:g} s to measure")
        chosen = msgspec.convert({name: values[name] for name in own & set(values)}, knobs, strict=False)
        return Plan(
            id=secrets.token_hex(4),
            scenario=scenario,
            url=url,
            options=options,
            knobs=msgspec.to_builtins(chosen),
            profile=profile.name,
            limits=msgspec.convert(limits, dict[str, Annotated[float, msgspec.Meta(ge=-1e300)]]),  # nan is not
            health=profile.generator,
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise OptionError(f"the options of {scenario} are wrong: {error}") from None
