"""Tries to open outlets and prints why it cannot, as JSON; the arguments are packages to be without."""

from __future__ import annotations

import json
import os
import socket
import sys
from types import SimpleNamespace

from liverpc.errors import ConfigError, MissingExtraError
from loadtest._outlets import open_outlets


def refused(prometheus: str | None = None, *, otlp: bool = False, **variables: str) -> str:
    os.environ.update(variables)
    environment = SimpleNamespace(parsed_options=SimpleNamespace(prometheus=prometheus, otlp=otlp), web_ui=None)
    try:
        open_outlets(environment, "fanout").close()
    except (ConfigError, MissingExtraError) as error:
        return str(error)
    return ""


for package in sys.argv[1:]:
    sys.modules[package] = None  # type: ignore[assignment]  # Python takes it for not installed
with socket.create_server(("127.0.0.1", 0)) as taken:
    said = {
        "nothing": refused(),
        "prometheus": refused("0"),
        "taken": refused(str(taken.getsockname()[1])),
        "unknown": refused(otlp=True, OTEL_METRICS_EXPORTER="pigeon"),
        "grpc": refused(otlp=True, OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_PROTOCOL="grpc"),
        "interval": refused(otlp=True, OTEL_METRIC_EXPORT_INTERVAL="soon"),
    }
sys.stdout.write(json.dumps(said) + "\n")
