"""What ``locust -f loadtest`` loads: options, scenarios and verdict; see README.md in this folder.

Every other file here begins with an underscore, or Locust would load it as a second locustfile.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Locust knows this file by its path only; the rest is imported as a package, from any working directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from locust import events

from loadtest._abuse import AbuseUser
from loadtest._chaos import ChaosUser
from loadtest._cli import add_options
from loadtest._connect import ConnectUser
from loadtest._devtools import DevtoolsUser
from loadtest._fanout import FanoutUser
from loadtest._idle import IdleUser
from loadtest._prepare import prepare
from loadtest._replay import ReplayUser
from loadtest._rolling import RollingUser
from loadtest._rooms import RoomsUser
from loadtest._rpc import RpcUser
from loadtest._rpc_burst import RpcBurstUser
from loadtest._server import free_port
from loadtest._slow import SlowConsumerUser
from loadtest._soak import SoakUser
from loadtest._steps import StepsUser
from loadtest._storm import ReconnectStormUser
from loadtest._subscribe import SubscribeUser
from loadtest._uploads import UploadUser

USERS = (
    AbuseUser,
    ChaosUser,
    ConnectUser,
    DevtoolsUser,
    FanoutUser,
    IdleUser,
    ReconnectStormUser,
    ReplayUser,
    RollingUser,
    RoomsUser,
    RpcBurstUser,
    RpcUser,
    SlowConsumerUser,
    SoakUser,
    StepsUser,
    SubscribeUser,
    UploadUser,
)
_SCENARIOS = {user.scenario.name: user.scenario for user in USERS}


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust has no types
def _options(parser: Any, **_: Any) -> None:
    add_options(parser, {name: scenario.Knobs for name, scenario in _SCENARIOS.items()})
    if any(word.partition("=")[0] == "--processes" for word in sys.argv):
        # By default all runs of a machine have one port, and would get each other's processes.
        port = free_port()
        parser.set_defaults(master_port=port, master_bind_port=port)


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust has no types
def _prepared(environment: Any, **_: Any) -> None:
    prepare(environment, _SCENARIOS)
