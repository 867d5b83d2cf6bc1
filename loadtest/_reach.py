"""Whether a server can be driven as a run shall, and the way to its devtools."""

from __future__ import annotations

import math
import resource
from typing import Any

from locust.runners import MasterRunner

from liverpc.config import ClientConfig
from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.target import devtools_url
from liverpc.contrib.locust.words import printable
from liverpc.errors import ConfigError, RpcError
from liverpc.inspector.protocol import find_token, shown_url
from liverpc.wire.names import glob
from loadtest._profile import Plan
from loadtest._scenario import Scenario

__all__ = ["FAULT_SECONDS", "attached", "check_faults", "check_files", "try_out"]

FAULT_SECONDS = 30.0  #: a fault outlives the run by that much at most, should this process be gone
_CHAOS_MAX = 900.0  # seconds a fault lives at most
_FILES = resource.RLIMIT_NOFILE
_OTHER_FILES = 32  # besides connections: logs, devtools, processes


def try_out(plan: Plan, scenario: type[Scenario]) -> None:
    """Whether the server is there and is what the scenario needs.

    Raises:
        ConfigError: It is not.
    """
    url = plan.url
    attempts: list[Attempt] = []
    client = LiveClient(
        url, config=ClientConfig(max_attempts=1, timeout=5, connect_timeout=5), on_attempt=attempts.append
    )
    try:
        client.open()
    except RpcError:
        raise ConfigError(f"cannot connect to {shown_url(url)}: {attempts[-1].reason}") from None
    try:
        if scenario.calls_demo:
            client.call("load/echo", 1)
    except RpcError as error:
        raise ConfigError(
            f"{shown_url(url)} does not answer load/echo ({printable(str(error))}); "
            "this scenario drives `liverpc demo --users 0`, which --serve starts; for other servers there are "
            "connect, idle and replay, and docs/load-your-server.md"
        ) from None
    finally:
        client.close()


def check_files(users: int, processes: int | None, runner: Any) -> None:
    """Whether this machine lets the users of a process have their connections. Others know their own.

    Raises:
        ConfigError: It does not.
    """
    if processes is None and isinstance(runner, MasterRunner):
        return  # they are on other machines
    wanted, allowed = math.ceil(users / (processes or 1)) + _OTHER_FILES, resource.getrlimit(_FILES)[0]
    if allowed != resource.RLIM_INFINITY and wanted > allowed:
        raise ConfigError(
            f"{users} users need {wanted} open files in a process, which may have {allowed}: "
            "raise `ulimit -n`, or take more --processes"
        )


def check_faults(plan: Plan, scenario: type[Scenario]) -> None:
    """Whether what shall go wrong on purpose can be made to.

    Raises:
        ConfigError: It cannot.
    """
    chaos = plan.options.chaos
    if chaos is not None:
        if not scenario.topic:
            raise ConfigError(
                f"--chaos drops publishes, and the scenario {scenario.name} makes none that are accounted for"
            )
        if not plan.options.seconds or plan.options.seconds + FAULT_SECONDS > _CHAOS_MAX:
            raise ConfigError(f"--chaos needs --run-time (-t), of at most {_CHAOS_MAX - FAULT_SECONDS:g} s")
        if not glob(chaos.topic)(scenario.topic.format(id=plan.id)):
            raise ConfigError(f"--chaos topic={chaos.topic} spares the topics of the test: use load:*")


def attached(plan: Plan, scenario: type[Scenario], token_file: str | None) -> Attachment:
    """A session with the devtools of the server, at the level that the run needs.

    Raises:
        AttachError: As of ``Attachment.open``.
        ConfigError: The token file cannot be read.
    """
    url = devtools_url(plan.url)
    token = find_token(url, file=token_file)
    chaos = plan.options.chaos is not None or scenario.needs == "chaos"
    attachment = Attachment.open(url, token.secret, want="chaos" if chaos else "metrics")
    attachment.local = token.renewable and bool(token.secret)  # a server of this user left it on this machine
    return attachment
