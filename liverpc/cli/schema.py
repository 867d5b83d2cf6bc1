"""``liverpc schema``: clients of a server's contracts, as a Python or TypeScript module of their own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from liverpc.cli.pagespecs import described
from liverpc.cli.python import python_module
from liverpc.cli.routes import load_server
from liverpc.cli.typescript import typescript_module
from liverpc.errors import ConfigError

__all__ = ["schema"]


def schema(options: argparse.Namespace) -> int:
    """Write the module to a file, or to standard output.

    Returns:
        The exit code, 0.

    Raises:
        ConfigError: There is no such server, it has no contracts, a type has no form in the other language, or the file
            cannot be written.
    """
    contracts = sorted(
        load_server(options.server).registry.contracts, key=lambda each: (each.__module__, each.__qualname__)
    )
    if not contracts:
        raise ConfigError(f"{options.server} has no contracts; streams and functions need no generated client")
    command = f"liverpc schema {options.server} --{options.language}"
    pages, shapes = described(contracts, readable=options.language == "python")
    write = python_module if options.language == "python" else typescript_module
    text = write(pages, shapes, command)
    if options.output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(options.output).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{options.output} cannot be written: {error.strerror}") from None
    return 0
