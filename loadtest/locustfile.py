"""What ``locust -f loadtest`` loads: options, scenarios and verdict; see README.md in this folder.

Every other file here begins with an underscore, or Locust would load it as a second locustfile.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Locust knows this file by its path only; the rest is imported as a package, from any working directory.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from locust import events

from loadtest._cli import add_options
from loadtest._run import prepare
from loadtest._scenarios import ConnectUser, FanoutUser, RpcUser
from loadtest._uploads import UploadUser

__all__ = ["ConnectUser", "FanoutUser", "RpcUser", "UploadUser"]

events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
